/* SPDX-License-Identifier: MIT
 * A stream: the state of one input sequence and the scratch of its steps, in one block. stream.c makes
 * and fills it and takes floats; step.c advances it on integers alone. */
#ifndef ER_STREAM_H
#define ER_STREAM_H

#include "matrix.h"

struct er_stream {
    const er_model *model;
    void *allocation;       /* what er_stream_destroy releases; null in the caller's memory */
    er_work work;
    int16_t *state;         /* [model->state_size] layers in order */
    int16_t *values;        /* [model->max_size, padded to ER_BLOCK_UNITS] input of the first layer, then
                             * outputs of dense layers */
    int8_t *x;              /* [model->input_size] quantized input of er_stream_step and _run */
    int16_t *logits;        /* [model->output_size] their logits */
};

/* One step: x int8 [shape=(input_size)], logits_out int16 [shape=(output_size)]. */
void er_stream_advance(er_stream *stream, const int8_t *x, int16_t *logits_out);

#endif
