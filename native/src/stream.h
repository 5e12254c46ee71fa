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
    int8_t *x;              /* [ER_CHUNK_FRAMES][model->input_size] quantized inputs of er_stream_step and _run */
    int16_t *x16;           /* [model->input_size] the same of numeric profile 2, which has no x and no frames */
    int16_t *logits;        /* [ER_CHUNK_FRAMES][model->output_size] their logits */
    int16_t *frames;        /* [ER_CHUNK_FRAMES][frame_size] inputs and then outputs of a layer in a run, padded
                             * as values; null if no layer of the model has a fast product */
    int16_t *frame_sums;    /* [ER_CHUNK_FRAMES][frame_sum_count] of W or W_x */
    uint8_t *frame_tables;  /* [ER_VECTORS - 1][frame_table_bytes] */
    size_t frame_size;
    size_t frame_sum_count;
    size_t frame_table_bytes;
    uint32_t seen;          /* of er_streams_check */
};

enum { ER_CHUNK_FRAMES = 8 };   /* steps that a run takes layer by layer */

/* One step: x int8 [shape=(input_size)]. Returns the logits, int16 [shape=(output_size)], in the stream's memory
 * until its next call. */
const int16_t *er_stream_advance(er_stream *stream, const int8_t *x);

/* ER_OK if the streams are there, each once, and of one model; else ER_ERROR_ARGUMENT. */
er_status er_streams_check(er_stream *const *streams, size_t stream_count);

/* One step of each stream. x and logits_out are as in er_stream_step_many_quantized, or both null: then they are
 * x and logits of each stream. */
void er_streams_advance(er_stream *const *streams, size_t stream_count, const int8_t *x, int16_t *logits_out);

#endif
