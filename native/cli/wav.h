/* SPDX-License-Identifier: MIT
 *
 * WAV block by block, mixed down to one channel: PCM of 8, 16, 24 and 32 bits, float of 32 and 64 bits, plain or in
 * the extensible form, from a file or a pipe. Nothing in the file is trusted. */
#ifndef EDGE_DIGITS_WAV_H
#define EDGE_DIGITS_WAV_H

#include <stddef.h>
#include <stdint.h>

#include "problem.h"
#include "samples.h"

typedef struct wav_reader {
    const char *name;           /* path, or "standard input" */
    uint32_t sample_rate;       /* Hz, one that the recognizer takes */
    uint32_t channels;
    void (*idle)(void *context);    /* null, or called every 20 ms while no data comes; to be set after opening */
    void *idle_context;
    /* private */
    int descriptor;
    const uint8_t *memory;      /* instead of a file */
    size_t memory_bytes;        /* that are left of it */
    sample_format format;
    size_t frame_bytes;
    uint64_t position;          /* bytes read */
    uint64_t frames_left;
    int has_length;             /* frames_left is known */
    uint8_t *bytes;
    float *frame;
} wav_reader;

/* Open a file, or standard input for "-". With raw_rate other than 0 it is bare 16-bit samples of one channel at
 * that rate. Returns 0, FAILED or INTERRUPTED; only after 0 it is to be closed. path: kept. */
int wav_open(wav_reader *reader, const char *path, uint32_t raw_rate, struct problem *problem);

/* The same for a WAV file in memory, which is kept; name: for messages. */
int wav_open_memory(wav_reader *reader, const char *name, const uint8_t *data, size_t size,
                    struct problem *problem);

/* Read a block: as many frames as asked for, fewer at the end of the file.
 *   mono     receives float [shape=(frames)], full scale 1.0
 * Returns their number, 0 at the end; FAILED if the file ends before the length stated in it (the frames of this
 * block are dropped then); INTERRUPTED. */
long wav_read(wav_reader *reader, float *mono, size_t frames, struct problem *problem);

void wav_close(wav_reader *reader);

#endif
