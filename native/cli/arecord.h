/* SPDX-License-Identifier: MIT
 *
 * An input device through ALSA's program arecord: 16-bit samples by a pipe.
 *
 * No thread and no ring stand between: the kernel keeps a megabyte in the pipe (five seconds of 48 kHz stereo) while
 * this program is held up, and recognition catches up many times faster than real time. Beyond that arecord itself
 * drops audio, and says how much. */
#ifndef EDGE_DIGITS_ARECORD_H
#define EDGE_DIGITS_ARECORD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "problem.h"

typedef struct arecord_input {
    uint32_t sample_rate;       /* Hz */
    uint32_t channels;          /* 1 or 2 */
    unsigned long overflows;    /* times audio was lost */
    uint64_t lost_frames;       /* then, at least */
    char reason[256];           /* why no more audio comes */
    /* private */
    pid_t process;
    int audio, messages;
    uint8_t rest[4];            /* a frame that is not complete yet */
    size_t rest_bytes;
    char line[256];
    size_t line_length;
    char last_line[256];
} arecord_input;

/* Path of arecord in PATH; FAILED if it is missing. */
int arecord_find(char *path_out, size_t size, struct problem *problem);

/* What `arecord -L` says, to be freed; null with a problem. */
char *arecord_list(struct problem *problem);

/* Record from an ALSA device, at the first of the rates that works, with one channel or two; returns when it delivers.
 * Returns 0, FAILED or INTERRUPTED; only after 0 it is to be closed. */
int arecord_open(arecord_input *input, const char *pcm, const uint32_t *rates, size_t rate_count,
                 struct problem *problem);

/* Wait for audio. Returns the number of frames, each of `channels` samples of 16 bits; 0 when nothing has come for so
 * long; FAILED when none will, `reason` says why; INTERRUPTED. data: [shape=(frames * channels * 2)]. */
long arecord_read(arecord_input *input, uint8_t *data, size_t frames, int timeout_ms);

void arecord_close(arecord_input *input);

#endif
