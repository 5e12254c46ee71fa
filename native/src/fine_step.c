/* SPDX-License-Identifier: MIT
 * The step of a stream in numeric profile 2, from quantized input to logits. No multiply instruction is in
 * this object, nor in any that it calls. */
#include <string.h>

#include "fine.h"
#include "opaque.h"

/* See fine.h. */
const int16_t *er_fine_advance(er_stream *stream, const int16_t *x)
{
    const er_model *model = stream->model;
    const er_layer *layer = model->layers;
    const int16_t *input = stream->values;
    int16_t *state = stream->state;
    uint32_t left, i;

    for (i = 0; i < model->input_size; i++) {
        stream->values[i] = x[i] < -INT16_MAX ? -INT16_MAX : x[i];
    }
    for (left = model->layer_count; left > 0; left--) {
        input = er_fine_layer_step(layer, &stream->work, input, state, stream->values);
        state += layer->state_size;
        layer++;
        ER_OPAQUE(state);
        ER_OPAQUE(layer);
    }
    stream->work.carried_valid = 1;
    return input;
}

/* See edge_runtime.h. */
er_status er_stream_step_quantized16(er_stream *stream, const int16_t *x, int16_t *logits_out)
{
    return stream == NULL || x == NULL || logits_out == NULL ? ER_ERROR_ARGUMENT
                                                             : er_stream_run_quantized16(stream, x, 1, logits_out);
}

/* See edge_runtime.h. */
er_status er_stream_run_quantized16(er_stream *stream, const int16_t *x, size_t step_count, int16_t *logits_out)
{
    if (stream == NULL || stream->model->profile != ER_PROFILE_FINE ||
        ((x == NULL || logits_out == NULL) && step_count > 0)) {
        return ER_ERROR_ARGUMENT;
    }
    while (step_count > 0) {
        memcpy(logits_out, er_fine_advance(stream, x), stream->model->output_size * sizeof *logits_out);
        x += stream->model->input_size;
        logits_out += stream->model->output_size;
        ER_OPAQUE(x);
        ER_OPAQUE(logits_out);
        step_count--;
    }
    return ER_OK;
}

/* See edge_runtime.h. */
er_status er_stream_step_many_quantized16(er_stream *const *streams, size_t stream_count, const int16_t *x,
                                          int16_t *logits_out)
{
    const er_status status = er_streams_check(streams, stream_count);

    if (status != ER_OK || (stream_count > 0 && (x == NULL || logits_out == NULL ||
                                                 streams[0]->model->profile != ER_PROFILE_FINE))) {
        return ER_ERROR_ARGUMENT;
    }
    for (; stream_count > 0; stream_count--) {
        memcpy(logits_out, er_fine_advance(*streams, x), (*streams)->model->output_size * sizeof *logits_out);
        x += (*streams)->model->input_size;
        logits_out += (*streams)->model->output_size;
        streams++;
        ER_OPAQUE(x);
        ER_OPAQUE(logits_out);
    }
    return ER_OK;
}
