/* SPDX-License-Identifier: MIT
 * The part of the plan that layers have: row scales, biases, what gates and outputs need. Runs at load, and may
 * multiply. */
#include <string.h>

#include "planner.h"

/* What the rounding of N3 adds to a sum before it is shifted. */
static int64_t half_of(const er_matrix *matrix)
{
    return matrix->left_shift < 0 ? (int64_t)1 << (-matrix->left_shift - 1) : 0;
}

/* The first so many rows of W_x and W_h are scaled together (N6). */
static uint32_t shared_rows(const er_layer *layer)
{
    if ((layer->flags & ER_LAYER_SHARED_SCALE) == 0) {
        return 0;
    }
    return layer->kind == ER_LAYER_GRU ? 2 * layer->output_size : layer->matrix[0].rows;
}

/* The bias of a row, with what negative terms lack as complements. */
static int32_t row_bias(const er_matrix *matrix, uint32_t row, int with_terms)
{
    const uint8_t *scale = matrix->scales + 2 * (size_t)row;
    const int32_t bias = matrix->bias == NULL ? 0 : er_read_i16(matrix->bias + 2 * (size_t)row);

    return with_terms ? bias + ((scale[0] >> 6) & 1) + ((scale[1] >> 6) & 1) : bias;
}

/* Whether 16 bits hold all that the gates of a layer make of its sums: sums with the rounding of N3, biases;
 * and shifts are in their range. */
static int layer_fits(const er_planner *p, const er_layer *layer)
{
    const uint32_t rows = layer->matrix[0].rows;
    int64_t all = 0;            /* the greatest sum of any row, whatever the weights are */
    uint32_t row, k;

    for (k = 0; k < layer->matrix_count; k++) {
        if (layer->matrix[k].plane_count != 1 || layer->matrix[k].left_shift < -14) {
            return 0;
        }
        all += er_plan_columns_bound(&layer->matrix[k]) + half_of(&layer->matrix[k]);
    }
    for (row = 0; row < rows; row++) {
        int64_t sum = 0;
        int32_t bias = 0;
        const int shared = row < shared_rows(layer);

        for (k = 0; k < layer->matrix_count; k++) {
            const er_matrix *matrix = &layer->matrix[k];

            bias = (shared ? bias : 0) + row_bias(matrix, row, !shared || k == 0);
            if (bias > INT16_MAX || bias < INT16_MIN) {
                return 0;
            }
            if (all > ER_MOST_SUM) {
                sum = (shared ? sum : 0) + er_plan_row_bound(p, matrix, 0, row);
                if (sum + half_of(matrix) > ER_MOST_SUM) {
                    return 0;
                }
            }
        }
    }
    return 1;
}

/* Term codes and biases of the rows first_row .. first_row + row_count - 1 of a matrix, for sums of 32 bits, of
 * which each plane has plane_rows. other: the matrix whose bias is added, or null. */
static void plan_outputs(er_planner *p, er_outputs *outputs, const er_matrix *matrix, const er_matrix *other,
                         uint32_t first_row, uint32_t row_count, uint32_t plane_rows)
{
    const uint32_t padded = er_plan_round_up(row_count, ER_OUTPUT_ROWS);
    const size_t terms_size = (size_t)matrix->plane_count * padded * sizeof(uint16_t);
    int32_t *bias = er_plan_take(p, padded * sizeof *bias);
    uint16_t *terms = er_plan_take(p, terms_size);
    uint32_t plane, row;

    if (p->base == NULL) {
        return;
    }
    memset(bias, 0, padded * sizeof *bias);
    memset(terms, 0, terms_size);
    outputs->bias = bias;
    outputs->terms = terms;
    outputs->row_count = padded;
    outputs->first_row = first_row;
    outputs->plane_count = matrix->plane_count;
    outputs->plane_rows = plane_rows;
    outputs->left_shift = matrix->left_shift;
    for (row = 0; row < row_count; row++) {
        bias[row] = row_bias(matrix, first_row + row, 0) + (other == NULL ? 0 : row_bias(other, first_row + row, 0));
    }
    for (plane = 0; plane < matrix->plane_count; plane++, terms += padded) {
        const uint8_t *scale = matrix->scales + 2 * ((size_t)plane * matrix->rows + first_row);

        for (row = 0; row < row_count; row++) {
            terms[row] = (uint16_t)er_read_u16(scale + 2 * (size_t)row);
        }
    }
}

/* A term code (section 5.2 of FORMAT.md) in a form of er_scale_block. */
static int16_t term_word(uint32_t code, uint32_t terms)
{
    switch (terms) {
    case ER_TERMS_FLAGS:
        return (int16_t)(uint16_t)((code << 8 | code) & 0xC00F);
    case ER_TERMS_COUNTS:
        return (int16_t)(uint16_t)(code >> 7 == 0 ? 64 : (code & 0x40) << 9 | ((0u - (code & 15)) & 0xFF));
    default:
        return (int16_t)(code & 15);
    }
}

/* A row scale of 1 and no bias for all rows of a block: their sums are outputs already. */
static void fill_plain(er_scale_block *block, uint32_t terms)
{
    uint32_t i;

    memset(block, 0, sizeof *block);
    for (i = 0; i < ER_BLOCK_UNITS; i++) {
        block->shift1[i] = term_word(0x80, terms);
        block->shift2[i] = term_word(0, terms);
    }
    block->present1 = 0xFFFFFFFFu;
}

/* Row scales and biases of the rows from `row` on, at most count, in the form of the kernels. other: the
 * matrix whose bias is added, or null. */
static void fill_scale(er_scale_block *block, const er_matrix *matrix, const er_matrix *other, uint32_t row,
                       uint32_t count, uint32_t terms)
{
    uint32_t i;

    memset(block, 0, sizeof *block);
    for (i = 0; i < ER_BLOCK_UNITS && i < count; i++, row++) {
        const uint8_t *scale = matrix->scales + 2 * (size_t)row;
        const int32_t bias = row_bias(matrix, row, 1) + (other == NULL ? 0 : row_bias(other, row, 0));

        block->shift1[i] = term_word(scale[0], terms);
        block->shift2[i] = term_word(scale[1], terms);
        block->bias[i] = (int16_t)bias;
        block->present1 |= (uint32_t)(scale[0] >> 7) << i;
        block->present2 |= (uint32_t)(scale[1] >> 7) << i;
        block->negative1 |= (uint32_t)((scale[0] >> 6) & 1) << i;
        block->negative2 |= (uint32_t)((scale[1] >> 6) & 1) << i;
        block->opposite = block->negative1 ^ block->negative2;
    }
}

/* Whether all scales of a layer can be er_unshifted_scale. */
static int scales_are_unshifted(const er_layer *layer)
{
    enum { PRESENT = 0x80, SHIFT = 0x0F, MOST_BIAS = 16383 };
    uint32_t row, k;

    for (row = 0; row < layer->matrix[0].rows; row++) {
        int32_t bias = 0;

        for (k = 0; k < layer->matrix_count; k++) {
            const er_matrix *matrix = &layer->matrix[k];
            const uint8_t *scale = matrix->scales + 2 * (size_t)row;

            bias = (row < shared_rows(layer) ? bias : 0) + row_bias(matrix, row, 0);
            if (matrix->left_shift < 1 || scale[0] != PRESENT || (scale[1] != 0 && (scale[1] & SHIFT) == 0) ||
                bias > MOST_BIAS || bias < -MOST_BIAS) {
                return 0;
            }
        }
    }
    return 1;
}

/* As fill_scale, for unshifted scales. */
static void fill_unshifted(er_unshifted_scale *block, const er_matrix *matrix, const er_matrix *other,
                           uint32_t row, uint32_t count)
{
    uint32_t i;

    memset(block, 0, sizeof *block);
    for (i = 0; i < ER_BLOCK_UNITS && i < count; i++, row++) {
        const uint8_t code = matrix->scales[2 * (size_t)row + 1];

        (i % 2 ? block->odd : block->even)[i / 2] = (code & 15u) + (i % 2 ? 0 : 16);
        block->sign[i] = (int16_t)(code == 0 ? 0 : (code & 0x40) != 0 ? -1 : 1);
        block->bias[i] = (int16_t)(row_bias(matrix, row, 0) + (other == NULL ? 0 : row_bias(other, row, 0)));
    }
}

/* As fill_unshifted, packed. */
static void fill_packed(er_packed_scale *block, const er_matrix *matrix, const er_matrix *other, uint32_t row,
                        uint32_t count)
{
    uint32_t i;

    memset(block, 0, sizeof *block);
    for (i = 0; i < ER_BLOCK_UNITS && i < count; i++, row++) {
        const uint8_t code = matrix->scales[2 * (size_t)row + 1];
        const uint32_t shift = code == 0 ? 16 : code & 15u, negative = (code >> 6) & 1;
        const int32_t half = (1 << 15) >> shift;        /* 2^15 >> k; that of the complement is one less */

        block->terms[i] = (uint16_t)(negative << 15 | shift);
        block->bias[i] = (int16_t)(uint16_t)(row_bias(matrix, row, 0) + (other == NULL ? 0 : row_bias(other, row, 0)) -
                                             half + (int32_t)negative);
    }
}

/* er_gates.exact of a layer with unshifted scales. */
static uint32_t shifts_are_exact(const er_planner *p, const er_layer *layer)
{
    uint32_t row, k;

    for (row = 0; row < layer->matrix[0].rows; row++) {
        int64_t sum = 0;

        for (k = 0; k < layer->matrix_count; k++) {
            sum = (row < shared_rows(layer) ? sum : 0) + er_plan_row_bound(p, &layer->matrix[k], 0, row);
            if (sum << layer->matrix[k].left_shift > INT16_MAX) {
                return 0;
            }
        }
    }
    return 1;
}

/* Rows whose output is `bias` whatever their sums are. With 32767 the gate is 255, and a product with that
 * changes nothing (N7). */
static void fill_open(er_scale_block *block, int16_t bias, uint32_t terms)
{
    uint32_t i;

    memset(block, 0, sizeof *block);
    for (i = 0; i < ER_BLOCK_UNITS; i++) {
        block->shift1[i] = block->shift2[i] = term_word(0, terms);
        block->bias[i] = bias;
    }
}

/* Lay out W_h of a gru with RESET_BEFORE, whose rows n are multiplied later than r and z, by another vector. */
static void plan_halves(er_planner *p, er_layer *layer)
{
    er_matrix *place = er_plan_take(p, 2 * sizeof *place);
    uint32_t k, plane;

    for (k = 0; k < 2; k++) {
        er_matrix half = layer->matrix[1];

        half.rows = k == 0 ? 2 * layer->output_size : layer->output_size;
        for (plane = 0; plane < half.plane_count; plane++) {
            half.weights[plane] += k == 0 ? 0 : 2 * (size_t)layer->output_size * half.row_bytes;
        }
        er_plan_matrix(p, &half, NULL);
        if (p->base != NULL) {
            if (half.product != NULL) {
                ((er_product *)half.product)->skip = 0;     /* the sums of both are put together */
            }
            memcpy(place + k, &half, sizeof half);
            layer->halves = place;
        }
    }
}

/* Let a compound add up 32 bits, which its layer wants, though 16 would do. */
static void widen_sums(const er_matrix *matrix)
{
    if (matrix->compound != NULL) {
        ((er_compound *)matrix->compound)->narrow = 0;
    }
}

/* What a layer of numeric profile 2 has besides the products of its matrices: all its sums are wanted on 32 bits. */
void er_plan_fine(er_planner *p, er_layer *layer)
{
    uint32_t k;

    if ((layer->flags & ER_LAYER_RESET_BEFORE) != 0 && p->kernels->product_count > 0) {
        plan_halves(p, layer);
    }
    for (k = 0; k < 2 && p->base != NULL; k++) {
        widen_sums(layer->halves != NULL && k == 1 ? &layer->halves[0] : &layer->matrix[k]);
    }
    if (layer->halves != NULL) {
        widen_sums(&layer->halves[1]);
    }
}

/* Lay out the gates of a layer, if there are kernels for them. Where 16 bits do not hold all sums, rows are
 * scaled on 32 bits first, and then the gates take outputs for sums. */
void er_plan_gates(er_planner *p, er_layer *layer)
{
    const er_kernels *kernels = p->kernels;
    const er_matrix *w_x = &layer->matrix[0], *w_h = &layer->matrix[1];
    const uint32_t units = layer->output_size, rows = w_x->rows;
    const uint32_t unit_blocks = er_plan_round_up(units, ER_BLOCK_UNITS) / ER_BLOCK_UNITS;
    const int wide = !layer_fits(p, layer), reset_before = (layer->flags & ER_LAYER_RESET_BEFORE) != 0;
    er_gates *gates;
    er_scale_block *scale, *reset_scale;
    er_packed_scale *packed;
    uint32_t first, gate, k;

    if (kernels->gates[layer->kind] == NULL) {
        return;
    }
    gates = er_plan_take(p, sizeof *gates);
    scale = er_plan_take(p, (size_t)unit_blocks * (rows / units) * layer->matrix_count * sizeof *scale);
    reset_scale = er_plan_take(p, reset_before ? (size_t)unit_blocks * 2 * sizeof *scale : 0);
    if (reset_before) {
        plan_halves(p, layer);
    }
    if (wide) {
        er_outputs *place = er_plan_take(p, 4 * sizeof *place);
        er_outputs outputs[4] = { 0 };
        const uint32_t shared = shared_rows(layer);
        const uint32_t early = reset_before ? 2 * units : rows;     /* rows of W_h, or of its first half */

        plan_outputs(p, &outputs[0], w_x, w_h, 0, shared, rows);
        plan_outputs(p, &outputs[1], w_x, NULL, shared, rows - shared, rows);
        if (layer->matrix_count == 2) {
            plan_outputs(p, &outputs[2], w_h, NULL, shared, early - shared, early);
            plan_outputs(p, &outputs[3], w_h, NULL, early, rows - early, rows - early);
        }
        if (p->base != NULL) {
            layer->outputs = memcpy(place, outputs, sizeof outputs);
            widen_sums(w_x);
            widen_sums(w_h);
        }
    }
    if (p->base == NULL) {
        return;
    }
    memset(gates, 0, sizeof *gates);
    gates->scales = scale;
    gates->reset_scales = reset_before ? reset_scale : NULL;
    gates->units = units;
    gates->shared = !wide && (layer->flags & ER_LAYER_SHARED_SCALE) != 0;
    packed = (er_packed_scale *)(void *)scale;
    gates->unshifted = !wide && !reset_before && kernels->unshifted != ER_UNSHIFTED_NONE && scales_are_unshifted(layer);
    gates->exact = gates->unshifted && shifts_are_exact(p, layer);
    gates->left_shift_x = wide ? 0 : w_x->left_shift;
    gates->left_shift_h = wide ? 0 : layer->matrix[layer->matrix_count - 1].left_shift;
    gates->activation = layer->activation;
    for (first = 0; first < units; first += ER_BLOCK_UNITS) {
        for (gate = 0; gate < rows / units; gate++) {
            const uint32_t row = gate * units + first;
            const int shared = !wide && row < shared_rows(layer), is_reset = reset_before && gate == 0;
            er_scale_block **to = is_reset ? &reset_scale : &scale;

            for (k = 0; k < (shared ? 1 : layer->matrix_count); k++) {
                const er_matrix *other = shared ? w_h : NULL;
                er_scale_block *block = (*to)++;

                if (wide) {
                    fill_plain(block, kernels->terms);
                } else if (gates->unshifted && kernels->unshifted == ER_UNSHIFTED_PACKED) {
                    fill_packed(packed++, &layer->matrix[k], other, row, units - first);
                } else if (gates->unshifted) {
                    fill_unshifted((er_unshifted_scale *)(void *)block, &layer->matrix[k], other, row, units - first);
                } else {
                    fill_scale(block, &layer->matrix[k], other, row, units - first, kernels->terms);
                }
                if (is_reset) {
                    fill_open(scale++, k == 0 ? INT16_MAX : 0, kernels->terms);
                }
            }
        }
    }
    if (reset_before) {
        gates->late_offset = er_plan_round_up(rows, ER_BLOCK_ROWS) + ER_SUM_PADDING;
        er_plan_grow(&p->model->sum_count,
                     gates->late_offset + er_plan_round_up(units, ER_BLOCK_ROWS) + ER_SUM_PADDING);
    }
    layer->gates = gates;
    er_plan_grow(&p->model->sum_count, er_plan_round_up(rows, ER_BLOCK_ROWS) + ER_SUM_PADDING);
}
