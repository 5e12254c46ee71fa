/* SPDX-License-Identifier: MIT
 * Many steps in one call: one of each of several streams of a model, or as many of one stream. Layers are
 * then gone through one after the other, so that the weights of each stay in the nearest cache, and products
 * that do not wait for each other are run together. No multiply instruction is in this object, nor in any
 * that it calls. */
#include <string.h>

#include "layers.h"
#include "opaque.h"
#include "stream.h"

/* Run the products of a layer for ER_VECTORS streams together. What is carried is there already. */
static void run_products(const er_layer *layer, er_stream *const *streams, const int16_t *const *inputs,
                         int16_t *const *states)
{
    static uint8_t *const tables[ER_VECTORS];
    const er_matrix *matrix = layer->matrix;
    uint32_t k, v;

    for (k = 0; k < layer->matrix_count; k++) {
        const er_product *product = matrix->product;
        const er_work *works[ER_VECTORS];
        const int16_t *x[ER_VECTORS];
        int16_t *sums[ER_VECTORS];

        if (product != NULL && (k == 0 || !product->carried)) {
            for (v = 0; v < ER_VECTORS; v++) {
                er_work *work = &streams[v]->work;

                x[v] = k == 0 ? inputs[v] : states[v];
                sums[v] = product->carried ? work->carried + product->carried_offset
                          : k == 0         ? work->sums_x
                                           : work->sums_h;
                works[v] = work;
                work->ready[k] = product;
                work->ready_sums[k] = sums[v];
            }
            er_product_run_together(product, works, x, tables, sums);
        }
        matrix++;
        ER_OPAQUE(matrix);
    }
}

/* One step each of ER_VECTORS streams. */
static void advance_together(er_stream *const *streams, const int8_t *const *x, int16_t *const *logits_out)
{
    const er_model *model = streams[0]->model;
    const er_layer *layer = model->layers;
    const int16_t *inputs[ER_VECTORS];
    int16_t *states[ER_VECTORS];
    uint32_t left, v;

    for (v = 0; v < ER_VECTORS; v++) {
        model->kernels->widen(x[v], model->input_size, streams[v]->values);
        inputs[v] = streams[v]->values;
        states[v] = streams[v]->state;
    }
    for (left = model->layer_count; left > 0; left--) {
        run_products(layer, streams, inputs, states);
        for (v = 0; v < ER_VECTORS; v++) {
            er_work *work = &streams[v]->work;

            inputs[v] = er_layer_step(layer, work, inputs[v], states[v], streams[v]->values);
            states[v] += layer->state_size;
            work->ready[0] = work->ready[1] = NULL;
        }
        layer++;
        ER_OPAQUE(layer);
    }
    for (v = 0; v < ER_VECTORS; v++) {
        streams[v]->work.carried_valid = 1;
        memcpy(logits_out[v], inputs[v], model->output_size * sizeof **logits_out);
    }
}

/* See stream.h. */
er_status er_streams_check(er_stream *const *streams, size_t stream_count)
{
    er_status status = ER_OK;
    size_t seen = 0, i;

    if (streams == NULL) {
        return stream_count == 0 ? ER_OK : ER_ERROR_ARGUMENT;
    }
    while (seen < stream_count && status == ER_OK) {
        er_stream *stream = streams[seen];

        if (stream == NULL || stream->model != streams[0]->model || stream->seen) {
            status = ER_ERROR_ARGUMENT;
        } else {
            stream->seen = 1;
            seen++;
        }
    }
    for (i = 0; i < seen; i++) {
        streams[i]->seen = 0;
    }
    return status;
}

/* How many of the streams are stepped together: streams that skip are not. */
static uint32_t count_together(er_stream *const *streams, size_t stream_count)
{
    uint32_t v;

    if (stream_count < ER_VECTORS) {
        return 1;
    }
    for (v = 0; v < ER_VECTORS; v++) {
        if (streams[v]->work.skipping) {
            return 1;
        }
    }
    return ER_VECTORS;
}

/* See stream.h. */
void er_streams_advance(er_stream *const *streams, size_t stream_count, const int8_t *x, int16_t *logits_out)
{
    const int8_t *inputs[ER_VECTORS];
    int16_t *logits[ER_VECTORS];
    uint32_t v;

    while (stream_count > 0) {
        const uint32_t count = count_together(streams, stream_count);

        for (v = 0; v < count; v++) {
            inputs[v] = x == NULL ? streams[v]->x : x;
            logits[v] = x == NULL ? streams[v]->logits : logits_out;
            if (x != NULL) {
                x += streams[v]->model->input_size;
                logits_out += streams[v]->model->output_size;
                ER_OPAQUE(x);
                ER_OPAQUE(logits_out);
            }
        }
        if (count == ER_VECTORS) {
            advance_together(streams, inputs, logits);
        } else {
            memcpy(logits[0], er_stream_advance(streams[0], inputs[0]),
                   streams[0]->model->output_size * sizeof *logits_out);
        }
        streams += count;
        stream_count -= count;
    }
}

/* See edge_runtime.h. */
er_status er_stream_step_many_quantized(er_stream *const *streams, size_t stream_count, const int8_t *x,
                                        int16_t *logits_out)
{
    const er_status status = er_streams_check(streams, stream_count);

    if (status != ER_OK || (stream_count > 0 && (x == NULL || logits_out == NULL ||
                                                 streams[0]->model->profile != ER_PROFILE_TRAINED))) {
        return ER_ERROR_ARGUMENT;
    }
    er_streams_advance(streams, stream_count, x, logits_out);
    return ER_OK;
}

/* The sums of W or W_x for all frames of a chunk. The last frame's tables are made in the stream's own place,
 * where they may have to be kept. */
static void project(er_stream *stream, const er_product *product, uint32_t frame_count)
{
    const int16_t *frame = stream->frames;
    int16_t *sum = stream->frame_sums;

    while (frame_count > 0) {
        const uint32_t count = frame_count < ER_VECTORS ? 1 : ER_VECTORS;
        const er_work *works[ER_VECTORS];
        const int16_t *x[ER_VECTORS];
        uint8_t *tables[ER_VECTORS], *table = stream->frame_tables;
        int16_t *sums[ER_VECTORS];
        uint32_t v;

        for (v = 0; v < count; v++) {
            works[v] = &stream->work;
            x[v] = frame;
            tables[v] = v + 1 == count ? NULL : table;
            sums[v] = sum;
            frame += stream->frame_size;
            table += stream->frame_table_bytes;
            sum += stream->frame_sum_count;
            ER_OPAQUE(frame);
            ER_OPAQUE(table);
            ER_OPAQUE(sum);
        }
        if (count == ER_VECTORS) {
            er_product_run_together(product, works, x, tables, sums);
        } else {
            er_product_run(product, works[0], x[0], tables[0], sums[0]);
        }
        frame_count -= count;
    }
}

/* The steps of a layer in all frames of a chunk, whose outputs take the place of the inputs. next: the layer
 * behind it, or null. have_sums: those of W_x have been made. Returns whether those of the next layer's W have:
 * where it takes the tables of W_h, they are at hand here. */
static int advance_layer(er_stream *stream, const er_layer *layer, const er_layer *next, int16_t *state,
                         uint32_t frame_count, int have_sums)
{
    const er_product *product = layer->matrix[0].product, *w_h = layer->matrix[1].product;
    const er_product *sharing = w_h != NULL && w_h->tables_kept ? next->matrix[0].product : NULL;
    const er_layer *below = next != NULL && next->matrix[0].first_sum > 0 ? next : NULL;
    er_work *work = &stream->work;
    int16_t *frame = stream->frames;
    int16_t *sum = stream->frame_sums;

    if (!have_sums && product != NULL && er_product_is_shared(product)) {
        project(stream, product, frame_count);
        have_sums = 1;
    }
    while (frame_count > 0) {
        const int16_t *output;

        work->ready[0] = have_sums ? product : NULL;
        work->ready_sums[0] = sum;
        output = er_layer_step(layer, work, frame, state, frame);
        work->ready[0] = NULL;
        if (below != NULL) {
            er_dense_step(below, work, output, frame);
        } else if (sharing != NULL) {
            er_product_run(sharing, work, output, NULL, sum);
        } else if (output != frame) {
            memcpy(frame, output, layer->output_size * sizeof *frame);
        }
        work->carried_valid = below != NULL || sharing != NULL;
        frame += stream->frame_size;
        sum += stream->frame_sum_count;
        ER_OPAQUE(frame);
        ER_OPAQUE(sum);
        frame_count--;
    }
    return sharing != NULL;
}

/* Steps of a stream, layer by layer. */
static void advance_chunk(er_stream *stream, const int8_t *x, uint32_t frame_count, int16_t *logits_out)
{
    const er_model *model = stream->model;
    const uint32_t carried_valid = stream->work.carried_valid;
    const er_layer *layer = model->layers;
    int16_t *state = stream->state, *frame = stream->frames;
    int have_sums = 0;
    uint32_t left;

    for (left = frame_count; left > 0; left--) {
        model->kernels->widen(x, model->input_size, frame);
        x += model->input_size;
        frame += stream->frame_size;
        ER_OPAQUE(x);
        ER_OPAQUE(frame);
    }
    for (left = model->layer_count; left > 0; left--) {
        const er_layer *next = left > 1 ? layer + 1 : NULL;

        stream->work.carried_valid = carried_valid;
        have_sums = advance_layer(stream, layer, next, state, frame_count, have_sums);
        state += layer->state_size;
        if (next != NULL && next->matrix[0].first_sum > 0) {    /* done with this one */
            layer++;
            left--;
        }
        layer++;
        ER_OPAQUE(state);
        ER_OPAQUE(layer);
    }
    stream->work.carried_valid = 1;
    for (frame = stream->frames, left = frame_count; left > 0; left--) {
        memcpy(logits_out, frame, model->output_size * sizeof *logits_out);
        logits_out += model->output_size;
        frame += stream->frame_size;
        ER_OPAQUE(logits_out);
        ER_OPAQUE(frame);
    }
}

/* See edge_runtime.h. */
er_status er_stream_run_quantized(er_stream *stream, const int8_t *x, size_t step_count,
                                  int16_t *logits_out)
{
    if (stream == NULL || stream->model->profile != ER_PROFILE_TRAINED ||
        ((x == NULL || logits_out == NULL) && step_count > 0)) {
        return ER_ERROR_ARGUMENT;
    }
    while (step_count > 0) {
        const uint32_t most = stream->frames == NULL || stream->work.skipping ? 1 : ER_CHUNK_FRAMES;
        const uint32_t count = step_count < most ? (uint32_t)step_count : most;
        uint32_t i;

        if (count == 1) {
            memcpy(logits_out, er_stream_advance(stream, x), stream->model->output_size * sizeof *logits_out);
        } else {
            advance_chunk(stream, x, count, logits_out);
        }
        for (i = 0; i < count; i++) {
            x += stream->model->input_size;
            logits_out += stream->model->output_size;
            ER_OPAQUE(x);
            ER_OPAQUE(logits_out);
        }
        step_count -= count;
    }
    return ER_OK;
}
