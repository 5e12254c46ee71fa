/* SPDX-License-Identifier: MIT
 * Life cycle of a stream, and its steps on floats. The integer step itself is in step.c. */
#include "stream.h"

#include <stdlib.h>
#include <string.h>

#include "fine.h"

/* Sizes of the memory for layer-by-layer runs; all 0 if there is nothing to gain by them. */
static void lay_out_frames(er_stream *stream, const er_model *model)
{
    uint32_t i;

    stream->frame_size = stream->frame_sum_count = stream->frame_table_bytes = 0;
    for (i = 0; i < model->layer_count; i++) {
        const er_matrix *matrix = &model->layers[i].matrix[0];
        const er_product *product = matrix->product;

        if (product != NULL && model->profile == ER_PROFILE_TRAINED) {
            const size_t sums = (matrix->rows + ER_BLOCK_ROWS - 1) / ER_BLOCK_ROWS * ER_BLOCK_ROWS + ER_SUM_PADDING;
            const size_t bytes = (size_t)product->group_count * product->kind->group_table;

            stream->frame_size = (model->max_size + ER_BLOCK_UNITS - 1) / ER_BLOCK_UNITS * ER_BLOCK_UNITS;
            stream->frame_sum_count = stream->frame_sum_count < sums ? sums : stream->frame_sum_count;
            stream->frame_table_bytes = stream->frame_table_bytes < bytes ? bytes : stream->frame_table_bytes;
        }
    }
}

/* Where each product that may skip keeps its operands and sums. The sums of carried ones are kept anyway. */
static void lay_out_skips(er_stream *stream, char *base, size_t *used, const er_model *model)
{
    er_work *work = &stream->work;
    uint32_t i, k, groups = 0;

    work->skips = er_memory_take(base, used, 1 + (size_t)model->skip_count, sizeof *work->skips);
    for (i = 0; i < model->layer_count; i++) {
        for (k = 0; k < model->layers[i].matrix_count; k++) {
            const er_matrix *matrix = &model->layers[i].matrix[k];
            const er_product *product = matrix->product;

            if (product != NULL && product->skip > 0 && matrix->first_sum == 0) {
                const size_t sums = (matrix->rows + ER_BLOCK_ROWS - 1) / ER_BLOCK_ROWS * ER_BLOCK_ROWS + ER_SUM_PADDING;
                int8_t *operands = er_memory_take(base, used, matrix->columns + (size_t)ER_BYTE_PADDING, 1);
                int16_t *own = er_memory_take(base, used, product->carried ? 0 : sums, sizeof *own);

                groups = groups < product->group_count ? product->group_count : groups;
                if (base != NULL) {
                    er_skip_of(work, product)->operands = operands;
                    er_skip_of(work, product)->sums =
                        product->carried ? work->carried + product->carried_offset : own;
                }
            }
        }
    }
    work->changes = er_memory_take(base, used, groups, sizeof *work->changes);
    work->differences = er_memory_take(base, used, groups == 0 ? 0 : model->operand_byte_count, 1);
    work->slots = er_memory_take(base, used, groups == 0 ? 0 : model->operand_byte_count, 1);
}

/* Lay out a stream of model behind base, or only count with base null. Returns the size in bytes. */
static size_t lay_out(er_stream *stream, char *base, const er_model *model)
{
    const int fine = model->profile == ER_PROFILE_FINE;
    size_t used = 0, acc_size = 0, chunk;
    uint32_t i, k;

    for (i = 0; i < model->layer_count; i++) {
        for (k = 0; k < model->layers[i].matrix_count; k++) {
            const er_matrix *matrix = &model->layers[i].matrix[k];
            size_t size = (size_t)matrix->rows * matrix->plane_count;

            acc_size = size > acc_size ? size : acc_size;
        }
    }
    lay_out_frames(stream, model);
    chunk = stream->frame_size > 0 ? ER_CHUNK_FRAMES : 1;
    er_memory_take(base, &used, 1, sizeof *stream);
    stream->model = model;
    stream->allocation = NULL;
    stream->work.kernels = model->kernels;
    stream->state = er_memory_take(base, &used, model->state_size, sizeof(int16_t));
    stream->values = er_memory_take(base, &used, (size_t)model->max_size + ER_BLOCK_UNITS - 1, sizeof(int16_t));
    stream->work.operands = er_memory_take(base, &used, (size_t)model->max_size + ER_OPERAND_PADDING, sizeof(int16_t));
    stream->work.gated = er_memory_take(base, &used, model->max_size, sizeof(int16_t));
    stream->work.acc_x = er_memory_take(base, &used, acc_size + ER_OUTPUT_ROWS - 1, sizeof(int32_t));
    stream->work.acc_h = er_memory_take(base, &used, acc_size + ER_OUTPUT_ROWS - 1, sizeof(int32_t));
    stream->work.table = er_memory_take(base, &used, ER_GEMV_TABLE_SIZE, sizeof(int32_t));
    stream->work.sums_x = er_memory_take(base, &used, model->sum_count, sizeof(int16_t));
    stream->work.sums_h = er_memory_take(base, &used, model->sum_count, sizeof(int16_t));
    stream->work.carried = er_memory_take(base, &used, model->carried_count, sizeof(int16_t));
    stream->work.part = er_memory_take(base, &used, model->part_count, sizeof(int16_t));
    stream->work.operand_bytes = er_memory_take(base, &used, model->operand_byte_count, sizeof(int8_t));
    stream->work.tables = er_memory_take(base, &used, model->table_bytes, sizeof(uint8_t));
    lay_out_skips(stream, base, &used, model);
    stream->x = er_memory_take(base, &used, fine ? 0 : chunk * model->input_size, sizeof(int8_t));
    stream->x16 = er_memory_take(base, &used, fine ? model->input_size : 0, sizeof(int16_t));
    stream->logits = er_memory_take(base, &used, chunk * model->output_size, sizeof(int16_t));
    stream->frames = er_memory_take(base, &used, chunk * stream->frame_size, sizeof(int16_t));
    stream->frame_sums = er_memory_take(base, &used, chunk * stream->frame_sum_count, sizeof(int16_t));
    stream->frame_tables = er_memory_take(base, &used, ER_VECTORS - 1, stream->frame_table_bytes);
    if (stream->frame_size == 0) {
        stream->frames = NULL;
    }
    return used;
}

/* See edge_runtime.h. */
size_t er_stream_size(const er_model *model)
{
    er_stream stream;

    return model == NULL ? 0 : lay_out(&stream, NULL, model);
}

/* See edge_runtime.h. */
er_status er_stream_init(void *memory, size_t memory_size, const er_model *model, er_stream **stream_out)
{
    er_stream *stream = memory;

    if (memory == NULL || model == NULL || stream_out == NULL) {
        return ER_ERROR_ARGUMENT;
    }
    if (!er_memory_is_fit(memory, memory_size, er_stream_size(model))) {
        return ER_ERROR_MEMORY;
    }
    memset(memory, 0, er_stream_size(model));
    lay_out(stream, memory, model);
    er_stream_reset(stream);
    *stream_out = stream;
    return ER_OK;
}

/* See edge_runtime.h. */
er_status er_stream_create(const er_model *model, er_stream **stream_out)
{
    size_t size;
    void *allocation, *memory;
    er_status status;

    if (model == NULL || stream_out == NULL) {
        return ER_ERROR_ARGUMENT;
    }
    size = er_stream_size(model);
    memory = er_memory_allocate(size, &allocation);
    if (memory == NULL) {
        return ER_ERROR_MEMORY;
    }
    status = er_stream_init(memory, size, model, stream_out);
    if (status != ER_OK) {
        free(allocation);
        return status;
    }
    (*stream_out)->allocation = allocation;
    return ER_OK;
}

/* See edge_runtime.h. */
void er_stream_destroy(er_stream *stream)
{
    if (stream != NULL) {
        free(stream->allocation);
    }
}

/* See edge_runtime.h. */
void er_stream_reset(er_stream *stream)
{
    int16_t *state;
    uint32_t i, k;

    if (stream == NULL) {
        return;
    }
    state = stream->state;
    stream->work.carried_valid = 0;
    for (i = 0; i < stream->model->layer_count; i++) {
        const er_layer *layer = &stream->model->layers[i];

        for (k = 0; k < layer->state_size; k++) {
            const uint8_t *value = layer->initial_state;

            *state++ = (int16_t)(value == NULL ? 0 : er_read_i16(value + 2 * (size_t)k));
        }
    }
}

/* See edge_runtime.h. */
er_status er_model_quantize_input(const er_model *model, const float *x, int8_t *x_out)
{
    if (model == NULL || x == NULL || x_out == NULL || model->profile != ER_PROFILE_TRAINED) {
        return ER_ERROR_ARGUMENT;
    }
    model->kernels->quantize(x, model->input_scale, model->input_offset, model->input_size, x_out);
    return ER_OK;
}

/* See edge_runtime.h. */
er_status er_model_quantize_input16(const er_model *model, const float *x, int16_t *x_out)
{
    if (model == NULL || x == NULL || x_out == NULL || model->profile != ER_PROFILE_FINE) {
        return ER_ERROR_ARGUMENT;
    }
    er_quantize16(x, model->input_scale, model->input_offset, model->input_size, x_out);
    return ER_OK;
}

/* er_stream_run in numeric profile 2. */
static void run_fine(er_stream *stream, const float *x, size_t step_count, float *y_out)
{
    const er_model *model = stream->model;

    for (; step_count > 0; step_count--) {
        er_quantize16(x, model->input_scale, model->input_offset, model->input_size, stream->x16);
        model->kernels->logits(er_fine_advance(stream, stream->x16), model->output_size, er_logit_unit(model), y_out);
        x += model->input_size;
        y_out += model->output_size;
    }
}

/* See edge_runtime.h. */
er_status er_stream_step(er_stream *stream, const float *x, float *y_out)
{
    const er_model *model;

    if (stream == NULL || x == NULL || y_out == NULL) {
        return ER_ERROR_ARGUMENT;
    }
    model = stream->model;
    if (model->profile == ER_PROFILE_FINE) {
        run_fine(stream, x, 1, y_out);
        return ER_OK;
    }
    model->kernels->quantize(x, model->input_scale, model->input_offset, model->input_size, stream->x);
    model->kernels->logits(er_stream_advance(stream, stream->x), model->output_size, er_logit_unit(model), y_out);
    return ER_OK;
}

/* See edge_runtime.h. */
er_status er_stream_run(er_stream *stream, const float *x, size_t step_count, float *y_out)
{
    const er_model *model;
    float unit;

    if (stream == NULL || ((x == NULL || y_out == NULL) && step_count > 0)) {
        return ER_ERROR_ARGUMENT;
    }
    model = stream->model;
    unit = er_logit_unit(model);
    if (model->profile == ER_PROFILE_FINE) {
        run_fine(stream, x, step_count, y_out);
        return ER_OK;
    }
    while (step_count > 0) {
        const size_t most = stream->frames == NULL ? 1 : ER_CHUNK_FRAMES;
        const size_t count = step_count < most ? step_count : most;
        int8_t *inputs = stream->x;
        size_t i;

        for (i = 0; i < count; i++) {
            model->kernels->quantize(x, model->input_scale, model->input_offset, model->input_size, inputs);
            x += model->input_size;
            inputs += model->input_size;
        }
        er_stream_run_quantized(stream, stream->x, count, stream->logits);
        model->kernels->logits(stream->logits, (uint32_t)count * model->output_size, unit, y_out);
        y_out += count * model->output_size;
        step_count -= count;
    }
    return ER_OK;
}

/* See edge_runtime.h. */
er_status er_stream_step_many(er_stream *const *streams, size_t stream_count, const float *x, float *y_out)
{
    size_t i;

    if (er_streams_check(streams, stream_count) != ER_OK || ((x == NULL || y_out == NULL) && stream_count > 0)) {
        return ER_ERROR_ARGUMENT;
    }
    if (stream_count > 0 && streams[0]->model->profile == ER_PROFILE_FINE) {
        for (i = 0; i < stream_count; i++) {
            run_fine(streams[i], x, 1, y_out);
            x += streams[i]->model->input_size;
            y_out += streams[i]->model->output_size;
        }
        return ER_OK;
    }
    for (i = 0; i < stream_count; i++) {
        const er_model *model = streams[i]->model;

        model->kernels->quantize(x, model->input_scale, model->input_offset, model->input_size, streams[i]->x);
        x += model->input_size;
    }
    er_streams_advance(streams, stream_count, NULL, NULL);
    for (i = 0; i < stream_count; i++) {
        const er_model *model = streams[i]->model;

        model->kernels->logits(streams[i]->logits, model->output_size, er_logit_unit(model), y_out);
        y_out += model->output_size;
    }
    return ER_OK;
}

/* See edge_runtime.h. */
er_status er_stream_set_skipping(er_stream *stream, uint32_t enabled)
{
    uint32_t i;

    if (stream == NULL || enabled > 1) {
        return ER_ERROR_ARGUMENT;
    }
    stream->work.skipping = enabled;
    stream->work.carried_valid = 0;
    for (i = 0; i <= stream->model->skip_count; i++) {
        stream->work.skips[i].valid = 0;
    }
    return ER_OK;
}

/* See edge_runtime.h. */
er_status er_stream_get_state(const er_stream *stream, int16_t *state_out)
{
    if (stream == NULL || (state_out == NULL && stream->model->state_size > 0)) {
        return ER_ERROR_ARGUMENT;
    }
    if (stream->model->state_size > 0) {
        memcpy(state_out, stream->state, stream->model->state_size * sizeof *state_out);
    }
    return ER_OK;
}

/* See edge_runtime.h. */
er_status er_stream_set_state(er_stream *stream, const int16_t *state)
{
    if (stream == NULL || (state == NULL && stream->model->state_size > 0)) {
        return ER_ERROR_ARGUMENT;
    }
    stream->work.carried_valid = 0;
    if (stream->model->state_size > 0) {
        memcpy(stream->state, state, stream->model->state_size * sizeof *state);
    }
    return ER_OK;
}
