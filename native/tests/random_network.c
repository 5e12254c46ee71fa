/* SPDX-License-Identifier: MIT */
#include "random_network.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan.h"

void *take_memory(size_t size)
{
    void *memory = malloc(size == 0 ? 1 : size);

    if (memory == NULL) {
        fprintf(stderr, "out of memory\n");
        exit(2);
    }
    return memory;
}

uint32_t random_u32(random_state *random)
{
    random->s ^= random->s >> 12;
    random->s ^= random->s << 25;
    random->s ^= random->s >> 27;
    return (uint32_t)((random->s * 0x2545F4914F6CDD1Du) >> 32);
}

uint32_t random_below(random_state *random, uint32_t limit)
{
    return (uint32_t)(((uint64_t)random_u32(random) * limit) >> 32);
}

int16_t random_i16(random_state *random)
{
    static const int16_t extremes[8] = { -32768, -32767, -1, 0, 1, 32766, 32767, -16384 };
    const uint32_t r = random_u32(random);

    return (r >> 16) % 8 == 0 ? extremes[r % 8] : (int16_t)(uint16_t)r;
}

/* A ternary digit: 0 is 0, 1 is +1, 2 is -1. */
static uint32_t random_digit(random_state *random, uint32_t weights, uint32_t column)
{
    switch (weights) {
    case WEIGHTS_ZERO:
        return 0;
    case WEIGHTS_PLUS:
        return 1;
    case WEIGHTS_MINUS:
        return 2;
    case WEIGHTS_ALTERNATING:
        return 1 + column % 2;
    default:
        return random_below(random, 3);
    }
}

/* Weight bytes of a row by section 5.1 of exporters/FORMAT.md. */
static void random_row(random_state *random, const er_matrix *matrix, uint32_t weights, uint8_t *row)
{
    static const uint8_t power[5] = { 1, 3, 9, 27, 81 };
    uint32_t j;

    memset(row, 0, matrix->row_bytes);
    for (j = 0; j < matrix->columns; j++) {
        uint32_t code;

        switch (matrix->encoding) {
        case ER_ENCODING_BINARY:
            code = weights == WEIGHTS_MINUS ? 0 : weights == WEIGHTS_PLUS ? 1 : random_below(random, 2);
            row[j / 8] = (uint8_t)(row[j / 8] | code << (j % 8));
            break;
        case ER_ENCODING_TERNARY:
            code = random_digit(random, weights, j);
            row[j / 5] = (uint8_t)(row[j / 5] + code * power[j % 5]);
            break;
        default:
            code = weights == WEIGHTS_PLUS ? 7 : weights == WEIGHTS_MINUS ? 15 : random_below(random, 16);
            code = code == 8 ? 0 : code;
            row[j / 2] = (uint8_t)(row[j / 2] | code << (j % 2 * 4));
            break;
        }
    }
}

/* A term code of a row scale that is there. */
static uint8_t random_term(random_state *random, int typical)
{
    const uint32_t shift = typical ? 1 + random_below(random, 7) : random_below(random, 16);

    return (uint8_t)(0x80u | (random_below(random, 4) == 0 ? 0x40u : 0) | shift);
}

static void random_matrix(random_state *random, er_matrix *matrix, const layer_spec *spec, uint32_t rows,
                          uint32_t columns, int32_t clamp)
{
    static const uint8_t per_byte[4] = { 1, 8, 5, 2 };
    uint8_t *scales, *bias;
    uint32_t plane, row;

    memset(matrix, 0, sizeof *matrix);
    matrix->rows = rows;
    matrix->columns = columns;
    matrix->encoding = spec->encoding;
    matrix->plane_count = spec->plane_count;
    matrix->clamp = clamp;
    matrix->row_bytes = (columns + per_byte[spec->encoding] - 1) / per_byte[spec->encoding];
    matrix->three_quarters = (uint8_t)random_below(random, 2);
    matrix->operand_shift = (uint8_t)random_below(random, 16);
    matrix->left_shift = (int32_t)random_below(random, 40) - 24;
    if (spec->typical) {
        matrix->operand_shift = clamp < 16 ? 12 : 11;
        matrix->three_quarters = 0;
        matrix->left_shift = columns < 100 ? 6 : columns < 400 ? 5 : 4;
    }
    for (plane = 0; plane < matrix->plane_count; plane++) {
        uint8_t *weights = take_memory((size_t)rows * matrix->row_bytes);

        for (row = 0; row < rows; row++) {
            random_row(random, matrix, spec->weights, weights + (size_t)row * matrix->row_bytes);
        }
        matrix->weights[plane] = weights;
    }
    scales = take_memory(2 * (size_t)rows * matrix->plane_count);
    for (row = 0; row < rows * matrix->plane_count; row++) {
        const uint32_t terms = random_below(random, 8);

        scales[2 * row] = spec->typical ? 0x80 : terms == 0 ? 0 : random_term(random, 0);
        scales[2 * row + 1] = terms < 2 ? 0 : random_term(random, spec->typical);
    }
    matrix->scales = scales;
    if (random_below(random, 4) > 0) {
        const uint32_t shift = spec->typical ? 1 + random_below(random, 3) : random_below(random, 8);
        const int16_t most = spec->typical ? 16383 : random_below(random, 16) == 0 ? INT16_MAX : 16000;

        bias = take_memory(2 * (size_t)rows);
        for (row = 0; row < rows; row++) {
            int16_t b = (int16_t)(random_i16(random) >> shift);

            b = b > most ? most : spec->typical && b < -most ? (int16_t)-most : b;
            bias[2 * row] = (uint8_t)b;
            bias[2 * row + 1] = (uint8_t)((uint16_t)b >> 8);
        }
        /* INT16_MAX in a row with a negative term is refused by plans, so it is rare here. */
        matrix->bias = bias;
    }
}

void random_network(random_state *random, struct er_model *model, uint32_t input_size, const layer_spec *specs,
                    uint32_t layer_count)
{
    static const uint8_t gates[5] = { 0, 1, 3, 4, 1 };
    uint32_t i;

    memset(model, 0, sizeof *model);
    model->profile = ER_PROFILE_TRAINED;
    model->input_size = model->max_size = input_size;
    model->layer_count = layer_count;
    for (i = 0; i < layer_count; i++) {
        er_layer *layer = &model->layers[i];
        const layer_spec *spec = &specs[i];
        const uint32_t rows = gates[spec->kind] * spec->units;

        layer->kind = spec->kind;
        layer->activation = spec->activation;
        layer->flags = spec->flags;
        layer->matrix_count = spec->kind == ER_LAYER_DENSE ? 1 : 2;
        layer->input_size = input_size;
        layer->output_size = spec->units;
        layer->state_size = spec->kind == ER_LAYER_DENSE  ? 0
                            : spec->kind == ER_LAYER_LSTM ? 2 * spec->units
                                                          : spec->units;
        random_matrix(random, &layer->matrix[0], spec, rows, input_size, spec->clamp_x);
        if (spec->typical && i == 0) {
            layer->matrix[0].operand_shift = spec->clamp_x < 16 ? 4 : 3;
        }
        if (i > 0 && layer->matrix[0].clamp == model->layers[i - 1].matrix[1].clamp &&
            random_below(random, 2) == 0) {     /* tables can be kept */
            layer->matrix[0].operand_shift = model->layers[i - 1].matrix[1].operand_shift;
            layer->matrix[0].three_quarters = model->layers[i - 1].matrix[1].three_quarters;
        }
        if (layer->matrix_count == 2) {
            random_matrix(random, &layer->matrix[1], spec, rows, spec->units, spec->clamp_h);
        }
        if ((spec->flags & ER_LAYER_SHARED_SCALE) != 0) {
            const uint32_t shared = spec->kind == ER_LAYER_GRU ? 2 * spec->units : rows;

            memcpy((uint8_t *)layer->matrix[1].scales, layer->matrix[0].scales, 2 * (size_t)shared);
            layer->matrix[1].left_shift = layer->matrix[0].left_shift;
        }
        model->state_size += layer->state_size;
        model->max_size = model->max_size < spec->units ? spec->units : model->max_size;
        model->max_rows = model->max_rows < rows ? rows : model->max_rows;
        input_size = spec->units;
    }
    model->output_size = input_size;
}

void make_fine(random_state *random, struct er_model *model)
{
    uint32_t i, k, row, byte;

    model->profile = ER_PROFILE_FINE;
    for (i = 0; i < model->layer_count; i++) {
        er_layer *layer = &model->layers[i];

        if (layer->kind == ER_LAYER_LSTM) {
            layer->state_size += layer->output_size;
            model->state_size += layer->output_size;
        }
        for (k = 0; k < layer->matrix_count; k++) {
            er_matrix *matrix = &layer->matrix[k];
            uint8_t *bias = take_memory(4 * (size_t)matrix->rows);
            const uint32_t up = random_below(random, 12);

            if ((layer->flags & ER_LAYER_SHARED_SCALE) == 0) {
                matrix->left_shift = matrix->left_shift > 10 ? 15 : matrix->left_shift + 5;
            }
            for (row = 0; row < matrix->rows; row++) {
                const uint32_t b = (uint32_t)random_i16(random) << up;

                for (byte = 0; byte < 4; byte++) {
                    bias[4 * row + byte] = (uint8_t)(b >> (8 * byte));
                }
            }
            free((void *)matrix->bias);
            matrix->bias = bias;
        }
    }
}

void random_network_free(struct er_model *model)
{
    uint32_t i, k, plane;

    for (i = 0; i < model->layer_count; i++) {
        for (k = 0; k < model->layers[i].matrix_count; k++) {
            er_matrix *matrix = &model->layers[i].matrix[k];

            for (plane = 0; plane < matrix->plane_count; plane++) {
                free((void *)matrix->weights[plane]);
            }
            free((void *)matrix->scales);
            free((void *)matrix->bias);
        }
    }
}

void plan_network(struct er_model *planned, const struct er_model *network, const er_kernels *kernels,
                  void **memory_out)
{
    size_t size;
    char *memory;

    *planned = *network;
    size = er_plan_size(planned, kernels);
    memory = take_memory(size + ER_ALIGNMENT);
    er_plan_make(planned, kernels,
                 size == 0 ? NULL : memory + (ER_ALIGNMENT - (uintptr_t)memory % ER_ALIGNMENT));
    *memory_out = memory;
}
