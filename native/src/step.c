/* SPDX-License-Identifier: MIT
 * The step of a stream, from quantized input to logits. No multiply instruction is in this object, nor
 * in any that it calls. */
#include <string.h>

#include "layers.h"
#include "opaque.h"
#include "stream.h"

/* See layers.h. */
const int16_t *er_layer_step(const er_layer *layer, const er_work *work, const int16_t *x, int16_t *state,
                             int16_t *values)
{
    switch (layer->kind) {
    case ER_LAYER_RNN:
        er_rnn_step(layer, work, x, state);
        return state;
    case ER_LAYER_GRU:
        er_gru_step(layer, work, x, state);
        return state;
    case ER_LAYER_LSTM:
        er_lstm_step(layer, work, x, state);
        return state;
    default:
        er_dense_step(layer, work, x, values);
        return values;
    }
}

/* See stream.h. Each layer reads what the one before it left: the state h of a recurrent layer, or
 * stream->values after a dense one. */
const int16_t *er_stream_advance(er_stream *stream, const int8_t *x)
{
    const er_model *model = stream->model;
    const er_layer *layer = model->layers;
    const int16_t *input = stream->values;
    int16_t *state = stream->state;
    uint32_t left;

    model->kernels->widen(x, model->input_size, stream->values);
    for (left = model->layer_count; left > 0; left--) {
        input = er_layer_step(layer, &stream->work, input, state, stream->values);
        state += layer->state_size;
        layer++;
        ER_OPAQUE(state);
        ER_OPAQUE(layer);
    }
    stream->work.carried_valid = 1;
    return input;
}

/* See edge_runtime.h. */
er_status er_stream_step_quantized(er_stream *stream, const int8_t *x, int16_t *logits_out)
{
    if (stream == NULL || x == NULL || logits_out == NULL || stream->model->profile != ER_PROFILE_TRAINED) {
        return ER_ERROR_ARGUMENT;
    }
    memcpy(logits_out, er_stream_advance(stream, x), stream->model->output_size * sizeof *logits_out);
    return ER_OK;
}
