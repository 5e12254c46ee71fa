/* SPDX-License-Identifier: MIT
 *
 * An input device through ALSA's library, libasound, which is opened at run time: a program without it, or a static
 * one, which can open none, hears through arecord. */
#ifndef EDGE_DIGITS_ALSA_H
#define EDGE_DIGITS_ALSA_H

#include <stddef.h>
#include <stdint.h>

#include "problem.h"

typedef struct alsa_input {
    uint32_t sample_rate;       /* Hz */
    uint32_t channels;          /* 1 or 2 */
    unsigned long overflows;    /* times audio was lost */
    uint64_t lost_frames;       /* then, by the clock */
    char reason[256];           /* why no more audio comes */
    /* private */
    void *pcm;
    double last_s;              /* of the last audio */
} alsa_input;

/* Is the library there? It is opened by the first call. verbose: let it write its messages to standard error. */
int alsa_is_there(int verbose);

/* Names and descriptions of what can be recorded from, as `arecord -L` prints them; to be freed. Null: none. */
char *alsa_list(void);

/* As arecord_open, arecord_read, arecord_close. 16-bit samples; the library keeps half a second. */
int alsa_open(alsa_input *input, const char *pcm, const uint32_t *rates, size_t rate_count,
              struct problem *problem);
long alsa_read(alsa_input *input, uint8_t *data, size_t frames, int timeout_ms);
void alsa_close(alsa_input *input);

#endif
