/* SPDX-License-Identifier: MIT
 *
 * The network's integer logits for a recording: what two machines are compared by. */
#ifndef EDGE_DIGITS_LOGITS_H
#define EDGE_DIGITS_LOGITS_H

#include <stdio.h>

#include "edge_runtime.h"
#include "problem.h"

struct logits {
    size_t steps;
    uint32_t outputs;           /* per step */
    uint32_t crc;               /* CRC-32 of all so far, int16 little-endian */
    /* private */
    const er_model *model;
    FILE *out;
    uint32_t inputs, profile;
    er_resampler *resampler;
    er_frontend *frontend;
    er_stream *stream;
    float *features;
    int16_t *quantized;         /* as int8 in numeric profile 1 */
    int16_t *values;
};

/* out: null, or where a line per step goes. Only after 0 it is to be closed. */
int logits_open(struct logits *logits, const er_model *model, uint32_t sample_rate, FILE *out,
                struct problem *problem);

/* Hear a block, float [shape=(count)], full scale 1.0, at the sample rate. */
void logits_hear(struct logits *logits, const float *samples, size_t count);

/* End of the recording: 0.3 s of quiet, as the recognizer hears. */
void logits_finish(struct logits *logits);

void logits_close(struct logits *logits);

#endif
