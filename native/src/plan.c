/* SPDX-License-Identifier: MIT
 * Runs at load, and may multiply. */
#include "plan.h"

#include <string.h>

enum { MOST_SUM = INT16_MAX };

/* The five weights of each byte of ternary weights, and how many are not zero. */
typedef struct trits {
    int8_t weights[243][5];
    uint8_t count[243];
} trits;

/* Where the next part of the plan goes; base is null while only counting. */
typedef struct arena {
    char *base;
    size_t used;
} arena;

static void *take(arena *a, size_t size)
{
    return er_memory_take(a->base, &a->used, 1, size);
}

static uint32_t round_up(uint32_t n, uint32_t to)
{
    return (n + to - 1) / to * to;
}

static void fill_trits(trits *t)
{
    static const int8_t digit[3] = { 0, 1, -1 };
    uint32_t byte, k;

    for (byte = 0; byte < 243; byte++) {
        uint32_t rest = byte;

        t->count[byte] = 0;
        for (k = 0; k < 5; k++, rest /= 3) {
            t->weights[byte][k] = digit[rest % 3];
            t->count[byte] = (uint8_t)(t->count[byte] + (rest % 3 != 0));
        }
    }
}

/* Magnitude sum of a row of the first plane. */
static int64_t row_sum(const er_matrix *matrix, const trits *t, uint32_t row)
{
    const uint8_t *bytes = matrix->weights[0] + (size_t)row * matrix->row_bytes;
    int64_t sum = 0;
    uint32_t i;

    if (matrix->encoding != ER_ENCODING_TERNARY) {
        return er_matrix_row_sum(matrix, 0, row);
    }
    for (i = 0; i < matrix->row_bytes; i++) {
        sum += t->count[bytes[i]];
    }
    return sum;
}

/* What the rounding of N3 adds to a sum before it is shifted. */
static int64_t half_of(const er_matrix *matrix)
{
    return matrix->left_shift < 0 ? (int64_t)1 << (-matrix->left_shift - 1) : 0;
}

/* The kind of product for a matrix, or null: the last that its encoding, its clamp and the size of the
 * model allow. */
static const er_product_kind *choose_kind(const er_kernels *kernels, const er_matrix *matrix,
                                          uint64_t weight_count)
{
    const er_product_kind *chosen = NULL;
    uint32_t i;

    if (matrix->encoding != ER_ENCODING_TERNARY || matrix->plane_count != 1) {
        return NULL;
    }
    for (i = 0; i < kernels->product_count; i++) {
        const er_product_kind *kind = &kernels->products[i];

        if (matrix->clamp <= kind->most_clamp && weight_count >= kind->least_weights) {
            chosen = kind;
        }
    }
    return chosen;
}

/* The code of an all-zero group of a form. */
static uint8_t zero_code(uint32_t form)
{
    static const uint8_t codes[5] = { 0, 1 + 3 + 9 + 27, 0, 0x80 | 4 << 3, 1 + 3 + 9 };

    return codes[form];
}

/* The code of the weights of a group. ER_FORM_PAIRS: the pairs p = w0 + 3 w1 and q = w2 + 3 w3 of -4 .. 4;
 * bits 3 to 6 are q + 4; p = 0 is bit 7, else bits 0 to 2 count -4, -3, -2, -1, 1, 2, 3, 4. */
static uint8_t group_code(uint32_t form, const int8_t *w)
{
    const int32_t p = w[0] + 3 * w[1], q = w[2] + 3 * w[3];
    int32_t n;

    switch (form) {
    case ER_FORM_FOUR:
        return (uint8_t)(p + 4 + 9 * (q + 4));
    case ER_FORM_FIVE:
        n = p + 9 * q + 81 * w[4];
        return (uint8_t)(n < 0 ? 0x80 | -n : n);
    case ER_FORM_THREE:
        return (uint8_t)(p + 4 + 9 * (w[2] + 1));
    default:
        return (uint8_t)((p == 0 ? 0x80 : p < 0 ? p + 4 : p + 3) | (q + 4) << 3);
    }
}

/* Weights of one row in the layout of a product: the code of each group. to: the place of the row's lane in
 * the first pass. */
static void pack_row(const er_product *product, const uint8_t *row, const uint8_t *row_end, const trits *t,
                     size_t pass_bytes, uint8_t *to)
{
    const er_product_kind *kind = product->kind;
    int8_t weights[10] = { 0 };         /* those of a row byte, behind those left over from the last */
    uint32_t have = 0, group = 0, left = product->group_count, i;

    for (; left > 0 && (row < row_end || have > 0); row++) {
        if (row < row_end) {
            memcpy(weights + have, t->weights[*row], 5);
            have += 5;
        } else {
            memset(weights + have, 0, sizeof weights - have);
            have = kind->group_columns;
        }
        while (have >= kind->group_columns && left > 0) {
            to[group * kind->block_rows] = group_code(kind->form, weights);
            left--;
            have -= kind->group_columns;
            for (i = 0; i < have; i++) {
                weights[i] = weights[kind->group_columns + i];
            }
            if (++group == kind->pass_groups) {
                group = 0;
                to += pass_bytes;
            }
        }
    }
}

/* All weights in the layout of a product: the rows of one matrix, then those of another, which may be null.
 * Half of a block's rows have the even bytes, the others the odd. */
static void pack_weights(const er_product *product, const er_matrix *first, const er_matrix *second,
                         const trits *t, uint8_t *to, size_t size)
{
    const er_product_kind *kind = product->kind;
    const er_matrix *const parts[3] = { first, second, NULL };
    const uint32_t half = kind->block_rows / 2;
    const size_t block_bytes = (size_t)kind->block_rows * kind->pass_groups;
    const size_t tall_bytes = block_bytes * product->tile_blocks * product->pass_count;
    uint32_t part, row, tile = 0, tile_blocks = product->tile_blocks, block = 0, lane = 0;

    memset(to, zero_code(kind->form), size);
    for (part = 0; parts[part] != NULL; part++) {
        for (row = 0; row < parts[part]->rows; row++) {
            const uint8_t *bytes = parts[part]->weights[0] + (size_t)row * parts[part]->row_bytes;
            const uint32_t place = lane < half ? 2 * lane : 2 * (lane - half) + 1;

            pack_row(product, bytes, bytes + parts[part]->row_bytes, t, block_bytes * tile_blocks,
                     to + block * block_bytes + place);
            if (++lane < kind->block_rows) {
                continue;
            }
            lane = 0;
            if (++block == tile_blocks) {
                to += tall_bytes / product->tile_blocks * tile_blocks;
                block = 0;
                tile_blocks -= ++tile == product->tall_count;
            }
        }
    }
}

/* Whether all sums of a matrix fit 16 bits. */
static int sums_fit(const er_matrix *matrix, const trits *t)
{
    uint32_t row;

    for (row = 0; row < matrix->rows; row++) {
        if (row_sum(matrix, t, row) * matrix->clamp > MOST_SUM) {
            return 0;
        }
    }
    return 1;
}

/* The matrix that goes below W_h of a layer, or null: that of a dense layer which follows, if it takes the same
 * operands from h and its rows fit in the padding of W_h. One product at the end of a step then serves the
 * outputs of this step and W_h of the next, 6 % less of W1 on one Zen 5 core. Where it takes one more
 * block there is nothing to gain. */
static er_matrix *matrix_below(struct er_model *model, uint32_t i, const er_kernels *kernels,
                               uint64_t weight_count)
{
    const er_layer *layer = &model->layers[i];
    const er_matrix *w_h = &layer->matrix[1];
    er_matrix *next = i + 1 < model->layer_count ? &model->layers[i + 1].matrix[0] : NULL;
    const er_product_kind *kind;

    if (layer->matrix_count != 2 || (layer->flags & ER_LAYER_RESET_BEFORE) != 0 || next == NULL ||
        model->layers[i + 1].kind != ER_LAYER_DENSE || next->encoding != w_h->encoding ||
        next->plane_count != w_h->plane_count || next->clamp != w_h->clamp ||
        next->operand_shift != w_h->operand_shift || next->three_quarters != w_h->three_quarters) {
        return NULL;
    }
    kind = choose_kind(kernels, w_h, weight_count);
    return kind != NULL && next->rows <= round_up(w_h->rows, kind->block_rows) - w_h->rows ? next : NULL;
}

/* Lay out the product of a matrix with another (or null) below it, and unless only counting decide for each
 * whether it is possible. */
static void plan_product(arena *a, struct er_model *model, er_matrix *matrix, er_matrix *below,
                         const er_kernels *kernels, const trits *t, uint64_t weight_count)
{
    const er_product_kind *kind = choose_kind(kernels, matrix, weight_count);
    er_product *product = take(a, kind == NULL ? 0 : sizeof *product);
    uint32_t rows = matrix->rows + (below == NULL ? 0 : below->rows);
    uint32_t blocks, tiles, groups;
    uint8_t *weights;
    size_t size;

    if (kind == NULL) {
        return;
    }
    blocks = round_up(rows, kind->block_rows) / kind->block_rows;
    groups = round_up(round_up(matrix->columns, kind->group_columns) / kind->group_columns,
                      kind->pass_groups > 2 ? kind->pass_groups : 2);
    size = (size_t)blocks * kind->block_rows * groups;
    weights = take(a, size);
    if (a->base == NULL) {
        return;
    }
    if (below != NULL && !sums_fit(below, t)) {
        below = NULL;
    }
    if (!sums_fit(matrix, t)) {
        matrix = below;
        below = NULL;
    }
    if (matrix == NULL) {
        return;
    }
    rows = matrix->rows + (below == NULL ? 0 : below->rows);
    blocks = round_up(rows, kind->block_rows) / kind->block_rows;
    tiles = (blocks + kind->most_blocks - 1) / kind->most_blocks;
    memset(product, 0, sizeof *product);
    product->kind = kind;
    product->weights = weights;
    product->columns = matrix->columns;
    product->group_count = groups;
    product->pass_count = groups / kind->pass_groups;
    product->tile_blocks = (blocks + tiles - 1) / tiles;
    product->tall_count = blocks - tiles * (product->tile_blocks - 1);
    product->low_count = tiles - product->tall_count;
    product->clamp = matrix->clamp;
    product->table_bias = matrix->clamp * kind->bias_clamps;
    product->start = (int16_t)(uint16_t)(0u - groups * (uint32_t)product->table_bias);
    product->start_both = (int16_t)(uint16_t)((uint32_t)product->start + ((uint32_t)product->start << 8));
    product->operand_shift = matrix->operand_shift;
    product->three_quarters = matrix->three_quarters;
    pack_weights(product, matrix, below, t, weights, size);
    matrix->product = product;
    if (below != NULL) {
        below->product = product;
        below->first_sum = matrix->rows;
        product->carried = 1;
        product->carried_offset = model->carried_count;
        model->carried_count += round_up(rows, ER_BLOCK_ROWS) + ER_SUM_PADDING;
    } else if (model->sum_count < round_up(rows, ER_BLOCK_ROWS) + ER_SUM_PADDING) {
        model->sum_count = round_up(rows, ER_BLOCK_ROWS) + ER_SUM_PADDING;
    }
    if (model->operand_byte_count < round_up(matrix->columns, 64) + ER_BYTE_PADDING) {
        model->operand_byte_count = round_up(matrix->columns, 64) + ER_BYTE_PADDING;
    }
    if (model->table_bytes < (size_t)groups * ER_GROUP_TABLE) {
        model->table_bytes = (size_t)groups * ER_GROUP_TABLE;
    }
}

/* Whether two products of the same vector have the same tables. */
static int share_tables(const er_product *a, const er_product *b)
{
    return a != NULL && b != NULL && a->kind->tables == b->kind->tables && a->columns == b->columns &&
           a->group_count == b->group_count && a->clamp == b->clamp && a->table_bias == b->table_bias &&
           a->operand_shift == b->operand_shift && a->three_quarters == b->three_quarters;
}

/* The layer that follows a recurrent layer makes tables of its state h; a step later its W_h needs them
 * again, if both have the same operands. Such tables get a place of their own, behind those of all other
 * products. A quarter of a step of W1 without it. */
static void keep_tables(struct er_model *model)
{
    uint32_t i;

    for (i = 0; i + 1 < model->layer_count; i++) {
        er_product *w_h = (er_product *)model->layers[i].matrix[1].product;
        er_product *next = (er_product *)model->layers[i + 1].matrix[0].product;

        if (model->layers[i].matrix_count == 2 && w_h != next && share_tables(w_h, next)) {
            w_h->tables_kept = 1;
            w_h->table_offset = next->table_offset = model->table_bytes;
            model->table_bytes += (size_t)w_h->group_count * ER_GROUP_TABLE;
        }
    }
}

/* Whether a row that W_x and W_h share is scaled once (N6). */
static int is_shared(const er_layer *layer, uint32_t row)
{
    return (layer->flags & ER_LAYER_SHARED_SCALE) != 0 &&
           (layer->kind != ER_LAYER_GRU || row < 2 * layer->output_size);
}

/* The bias of a row, with what negative terms lack as complements. */
static int32_t row_bias(const er_matrix *matrix, uint32_t row, int with_terms)
{
    const uint8_t *scale = matrix->scales + 2 * (size_t)row;
    const int32_t bias = matrix->bias == NULL ? 0 : er_read_i16(matrix->bias + 2 * (size_t)row);

    return with_terms ? bias + ((scale[0] >> 6) & 1) + ((scale[1] >> 6) & 1) : bias;
}

/* Whether the fast gates are exact for a layer: sums fit 16 bits, biases too, shifts are in their range. */
static int gates_fit(const er_layer *layer, const trits *t)
{
    uint32_t row, k;

    for (k = 0; k < layer->matrix_count; k++) {
        if (layer->matrix[k].plane_count != 1 || layer->matrix[k].left_shift < -14) {
            return 0;
        }
    }
    for (row = 0; row < layer->matrix[0].rows; row++) {
        int64_t sum = 0;
        int32_t bias = 0;
        const int shared = is_shared(layer, row);

        for (k = 0; k < layer->matrix_count; k++) {
            const er_matrix *matrix = &layer->matrix[k];

            sum = (shared ? sum : 0) + row_sum(matrix, t, row) * matrix->clamp;
            bias = (shared ? bias : 0) + row_bias(matrix, row, !shared || k == 0);
            if (sum + half_of(matrix) > MOST_SUM || bias > INT16_MAX || bias < INT16_MIN) {
                return 0;
            }
        }
    }
    return 1;
}

/* Row scales and biases of the rows from `row` on, at most count, in the form of the kernels. other: the
 * matrix whose bias is added, or null. */
static void fill_scale(er_scale_block *block, const er_matrix *matrix, const er_matrix *other, uint32_t row,
                       uint32_t count, uint32_t term_words)
{
    const uint32_t kept = term_words ? 0xC00F : 0x000F;     /* of a term code and itself 8 bits further up */
    uint32_t i;

    memset(block, 0, sizeof *block);
    for (i = 0; i < ER_BLOCK_UNITS && i < count; i++, row++) {
        const uint8_t *scale = matrix->scales + 2 * (size_t)row;
        const int32_t bias = row_bias(matrix, row, 1) + (other == NULL ? 0 : row_bias(other, row, 0));

        block->shift1[i] = (int16_t)(uint16_t)(((uint32_t)scale[0] | (uint32_t)scale[0] << 8) & kept);
        block->shift2[i] = (int16_t)(uint16_t)(((uint32_t)scale[1] | (uint32_t)scale[1] << 8) & kept);
        block->bias[i] = (int16_t)bias;
        block->present1 |= (uint32_t)(scale[0] >> 7) << i;
        block->present2 |= (uint32_t)(scale[1] >> 7) << i;
        block->negative1 |= (uint32_t)((scale[0] >> 6) & 1) << i;
        block->negative2 |= (uint32_t)((scale[1] >> 6) & 1) << i;
        block->opposite = block->negative1 ^ block->negative2;
    }
}

/* Lay out the gates of a layer, and unless only counting decide whether they are possible. */
static void plan_gates(arena *a, struct er_model *model, er_layer *layer, const er_kernels *kernels,
                       const trits *t)
{
    const uint32_t units = layer->output_size;
    const uint32_t unit_blocks = round_up(units, ER_BLOCK_UNITS) / ER_BLOCK_UNITS;
    const uint32_t rows = layer->matrix[0].rows;
    const int possible = kernels->gates[layer->kind] != NULL && (layer->flags & ER_LAYER_RESET_BEFORE) == 0;
    er_gates *gates;
    er_scale_block *scale;
    uint32_t first, gate, k;

    if (!possible) {
        return;
    }
    gates = take(a, sizeof *gates);
    scale = take(a, (size_t)unit_blocks * (rows / units) * layer->matrix_count * sizeof *scale);
    if (a->base == NULL || !gates_fit(layer, t)) {
        return;
    }
    gates->scales = scale;
    gates->units = units;
    gates->shared = (layer->flags & ER_LAYER_SHARED_SCALE) != 0;
    gates->left_shift_x = layer->matrix[0].left_shift;
    gates->left_shift_h = layer->matrix[layer->matrix_count - 1].left_shift;
    gates->activation = layer->activation;
    for (first = 0; first < units; first += ER_BLOCK_UNITS) {
        for (gate = 0; gate < rows / units; gate++) {
            const uint32_t row = gate * units + first;

            if (is_shared(layer, row)) {
                fill_scale(scale++, &layer->matrix[0], &layer->matrix[1], row, units - first,
                           kernels->term_words);
                continue;
            }
            for (k = 0; k < layer->matrix_count; k++) {
                fill_scale(scale++, &layer->matrix[k], NULL, row, units - first,
                           kernels->term_words);
            }
        }
    }
    layer->gates = gates;
    if (model->sum_count < round_up(rows, ER_BLOCK_ROWS) + ER_SUM_PADDING) {
        model->sum_count = round_up(rows, ER_BLOCK_ROWS) + ER_SUM_PADDING;
    }
}

/* Lay out the whole plan behind base, or only count with base null. Returns the size in bytes. */
static size_t lay_out(struct er_model *model, const er_kernels *kernels, void *base)
{
    arena a = { base, 0 };
    trits t;
    uint64_t weight_count = 0;
    uint32_t i, k;

    fill_trits(&t);
    for (i = 0; i < model->layer_count; i++) {
        for (k = 0; k < model->layers[i].matrix_count; k++) {
            const er_matrix *matrix = &model->layers[i].matrix[k];

            weight_count += (uint64_t)matrix->rows * matrix->columns;
        }
    }
    for (i = 0; i < model->layer_count; i++) {
        er_layer *layer = &model->layers[i];

        for (k = 0; k < layer->matrix_count; k++) {
            if (k == 1 && (layer->flags & ER_LAYER_RESET_BEFORE) != 0) {
                continue;                   /* its rows are needed in two parts */
            }
            if (k == 0 && i > 0 && matrix_below(model, i - 1, kernels, weight_count) != NULL) {
                continue;                   /* laid out below the W_h before it */
            }
            plan_product(&a, model, &layer->matrix[k],
                         k == 1 ? matrix_below(model, i, kernels, weight_count) : NULL, kernels, &t, weight_count);
        }
        plan_gates(&a, model, layer, kernels, &t);
    }
    if (base != NULL) {
        keep_tables(model);
    }
    return a.used;
}

/* See plan.h. Counting changes nothing in the model. */
size_t er_plan_size(const struct er_model *model, const er_kernels *kernels)
{
    return lay_out((struct er_model *)model, kernels, NULL);
}

/* See plan.h. */
void er_plan_make(struct er_model *model, const er_kernels *kernels, void *memory)
{
    model->kernels = kernels;
    if (memory != NULL) {
        lay_out(model, kernels, memory);
    }
}
