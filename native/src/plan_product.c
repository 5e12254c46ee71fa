/* SPDX-License-Identifier: MIT
 * The part of the plan that matrices have: kinds of products, and weights in their layouts. Runs at load, and may
 * multiply. */
#include <string.h>

#include "planner.h"

/* Whether 16 bits hold all sums of a plane. */
static int plane_fits(const er_planner *p, const er_matrix *matrix, uint32_t plane)
{
    uint32_t row;

    if (er_plan_columns_bound(matrix) > ER_MOST_SUM) {
        for (row = 0; row < matrix->rows; row++) {
            if (er_plan_row_bound(p, matrix, plane, row) > ER_MOST_SUM) {
                return 0;
            }
        }
    }
    return 1;
}

/* The encoding whose weights a form codes. */
static uint32_t form_encoding(uint32_t form)
{
    return form == ER_FORM_BITS      ? ER_ENCODING_BINARY
           : form == ER_FORM_NIBBLES ? ER_ENCODING_POW2
                                     : ER_ENCODING_TERNARY;
}

/* The kind of product for an encoding and operands, or null: the last that they and the size of the model
 * allow. */
static const er_product_kind *choose_kind(const er_planner *p, uint32_t encoding, int32_t clamp)
{
    const er_product_kind *chosen = NULL;
    uint32_t i;

    for (i = 0; i < p->kernels->product_count; i++) {
        const er_product_kind *kind = &p->kernels->products[i];

        if (form_encoding(kind->form) == encoding && clamp <= kind->most_clamp &&
            p->weight_count >= kind->least_weights) {
            chosen = kind;
        }
    }
    return chosen;
}

/* The code of the weights of a group. ER_FORM_PAIRS: the pairs p = w0 + 3 w1 and q = w2 + 3 w3 of -4 .. 4;
 * bits 3 to 6 are q + 4; p = 0 is bit 7, else bits 0 to 2 count -4, -3, -2, -1, 1, 2, 3, 4. */
static uint8_t group_code(const er_product_kind *kind, const int8_t *w)
{
    const int32_t p = w[0] + 3 * w[1], q = w[2] + 3 * w[3];
    int32_t n = 0;
    uint32_t k;

    switch (kind->form) {
    case ER_FORM_BITS:
        for (k = 0; k < kind->group_columns; k++) {
            n |= (w[k] > 0) << k;
        }
        return (uint8_t)n;
    case ER_FORM_FOUR:
    case ER_FORM_TWO_FOURS:
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

/* The weights of a row, powers of two as their codes, with zeros behind them, into p->row. */
static void unpack_row(er_planner *p, const er_matrix *matrix, uint32_t plane, uint32_t row)
{
    const uint8_t *bytes = matrix->weights[plane] + (size_t)row * matrix->row_bytes;
    int8_t *to = p->row;
    uint32_t i;

    switch (matrix->encoding) {
    case ER_ENCODING_BINARY:
        for (i = 0; i < matrix->columns; i++) {
            to[i] = bytes[i / 8] >> (i % 8) & 1 ? 1 : -1;
        }
        break;
    case ER_ENCODING_POW2:
        for (i = 0; i < matrix->row_bytes; i++, to += 2) {
            to[0] = bytes[i] & 15;
            to[1] = (int8_t)(bytes[i] >> 4);
        }
        break;
    default:
        for (i = 0; i < matrix->row_bytes; i++, to += 5) {
            memcpy(to, p->trits[bytes[i]], 5);
        }
        break;
    }
    memset(p->row + matrix->columns, 0, ER_ROW_PADDING);
}

/* Bytes that a block of rows has in a group of columns. A byte of ER_FORM_NIBBLES has two of its columns, the
 * others one code for all of them. */
static uint32_t block_bytes(const er_product_kind *kind)
{
    return kind->form == ER_FORM_NIBBLES ? kind->block_rows * kind->group_columns / 2 : kind->block_rows;
}

/* The code or codes of a group of one row. to: the place of the row's lane. */
static void pack_group(const er_product_kind *kind, const int8_t *weights, uint8_t *to)
{
    const uint32_t half = kind->group_columns / 2;
    uint32_t k;

    if (kind->form != ER_FORM_NIBBLES) {
        *to = group_code(kind, weights);
        return;
    }
    for (k = 0; k < half; k++) {
        to[k * kind->block_rows] = (uint8_t)(weights[k] | weights[k + half] << 4);
    }
}

/* Weights of one row in the layout of a product. to: the place of the row's lane in the first pass. */
static void pack_row(const er_product *product, const int8_t *weights, size_t pass_bytes, uint8_t *to)
{
    const er_product_kind *kind = product->kind;
    uint32_t pass, group;

    for (pass = 0; pass < product->pass_count; pass++, to += pass_bytes) {
        for (group = 0; group < kind->pass_groups; group++, weights += kind->group_columns) {
            uint8_t *code = to + group * block_bytes(kind);

            pack_group(kind, weights, code);
            if (kind->form == ER_FORM_TWO_FOURS && group % 2 != 0 && *code >= 64) {
                *code += 32;
            }
        }
    }
}

/* Where the next row of a product goes. */
typedef struct packer {
    const er_product *product;
    uint8_t *to;                /* first block of the tile */
    uint32_t tile, tile_blocks, block, lane;
} packer;

/* Put the rows of a plane, from first_column on, behind those already packed. Half of a block's rows have the
 * even bytes, the others the odd. */
static void pack_rows(er_planner *p, packer *at, const er_matrix *matrix, uint32_t plane, uint32_t first_column)
{
    const er_product_kind *kind = at->product->kind;
    const uint32_t half = kind->block_rows / 2;
    const size_t in_block = (size_t)block_bytes(kind) * kind->pass_groups;
    const size_t in_tile = in_block * at->product->pass_count;      /* bytes of a block */
    uint32_t row;

    for (row = 0; row < matrix->rows; row++) {
        const uint32_t place = at->lane < half ? 2 * at->lane : 2 * (at->lane - half) + 1;

        unpack_row(p, matrix, plane, row);
        pack_row(at->product, p->row + first_column, in_block * at->tile_blocks, at->to + at->block * in_block + place);
        if (++at->lane < kind->block_rows) {
            continue;
        }
        at->lane = 0;
        if (++at->block == at->tile_blocks) {
            at->to += in_tile * at->tile_blocks;
            at->block = 0;
            at->tile_blocks -= ++at->tile == at->product->tall_count;
        }
    }
}

/* Columns of a product are padded to so many: whole passes, and an even number of groups. */
static uint32_t column_unit(const er_product_kind *kind)
{
    return kind->group_columns * (kind->pass_groups > 2 ? kind->pass_groups : 2);
}

/* How the sums of a matrix come about. */
typedef struct method {
    const er_product_kind *kind;    /* null: by gemv */
    int32_t clamp;                  /* of operands, or of their digits */
    uint32_t digit_count;
    uint32_t part_columns;          /* columns of a product */
    uint32_t part_count;
    int is_compound;
} method;

/* The greatest term of a sum of 16 bits, an operand, a digit, or a part of a split product. */
static int32_t greatest_term(const method *m)
{
    return m->kind->split > 0 ? 1 << (m->kind->split - 1) : m->clamp;
}

/* One product if there is a kind for the clamp and sums of all columns fit 16 bits, else a compound. */
static method choose_method(const er_planner *p, const er_matrix *matrix)
{
    method m = { choose_kind(p, matrix->encoding, matrix->clamp), matrix->clamp, 1, matrix->columns, 1, 0 };
    uint32_t plane, most_columns;

    if (m.kind == NULL) {
        m.digit_count = matrix->clamp <= INT8_MAX ? 2 : ER_MOST_DIGITS;
        m.clamp = ER_DIGIT_CLAMP;
        m.kind = choose_kind(p, matrix->encoding, m.clamp);
    }
    if (m.kind == NULL) {
        return m;
    }
    most_columns = (uint32_t)(ER_MOST_SUM / greatest_term(&m));
    for (plane = 0; plane < matrix->plane_count; plane++) {
        if (m.part_columns > most_columns && (m.kind->split > 0 || !plane_fits(p, matrix, plane))) {
            m.part_columns = most_columns / column_unit(m.kind) * column_unit(m.kind);
        }
    }
    m.part_count = (matrix->columns + m.part_columns - 1) / m.part_columns;
    m.is_compound = m.digit_count > 1 || m.part_count > 1 || matrix->plane_count > 1 || m.kind->split > 0;
    return m;
}

/* Minus so many biases, modulo 2^16. */
static int32_t less_biases(uint32_t count, int32_t bias)
{
    return (int16_t)(uint16_t)(0u - count * (uint32_t)bias);
}

/* The first value of sums of even and odd bytes together, modulo 2^16. */
static int32_t both_bytes(int32_t start)
{
    return (int16_t)(uint16_t)((uint32_t)start + ((uint32_t)start << 8));
}

/* Take memory for a product of so many rows and columns and fill it in, but for its weights. Returns the place
 * of the weights. */
static uint8_t *plan_product(er_planner *p, er_product *product, const method *m, const er_matrix *matrix,
                             uint32_t rows, uint32_t columns)
{
    const er_product_kind *kind = m->kind;
    const uint32_t blocks = er_plan_round_up(rows, kind->block_rows) / kind->block_rows;
    const uint32_t tiles = (blocks + kind->most_blocks - 1) / kind->most_blocks;
    const uint32_t groups = er_plan_round_up(columns, column_unit(kind)) / kind->group_columns;
    const size_t size = (size_t)blocks * block_bytes(kind) * groups;
    uint8_t *weights = er_plan_take(p, size);

    memset(product, 0, sizeof *product);
    product->kind = kind;
    product->weights = weights;
    product->columns = columns;
    product->group_count = groups;
    product->pass_count = groups / kind->pass_groups;
    product->tile_blocks = (blocks + tiles - 1) / tiles;
    product->tall_count = blocks - tiles * (product->tile_blocks - 1);
    product->low_count = tiles - product->tall_count;
    product->clamp = matrix->clamp;
    if (kind->split > 0) {      /* two look-ups a group in each sum */
        product->table_bias = greatest_term(m) - 1;
        product->start = less_biases(2 * groups, product->table_bias);
        product->coarse_start = less_biases(2 * groups, product->table_bias + 1);
        product->coarse_start_both = both_bytes(product->coarse_start);
        product->coarse_offset = er_plan_round_up(rows, ER_BLOCK_ROWS);
    } else {
        product->table_bias = m->clamp * kind->bias_clamps;
        product->start = less_biases(groups, product->table_bias);
    }
    product->start_both = both_bytes(product->start);
    product->operand_shift = matrix->operand_shift;
    product->three_quarters = matrix->three_quarters;
    product->tall_bytes = product->tile_blocks * block_bytes(kind) * kind->pass_groups;
    product->low_bytes = (product->tile_blocks - 1) * block_bytes(kind) * kind->pass_groups;
    if (p->base != NULL) {
        memset(weights, 0, size);
    }
    return weights;
}

/* The matrix that goes below W_h of a layer, or null: that of a dense layer which follows, if it takes the same
 * operands from h and its rows fit in the padding of W_h. One product at the end of a step then serves the
 * outputs of this step and W_h of the next, 6 % less of W1 on one Zen 5 core. Where it takes one more
 * block there is nothing to gain. */
er_matrix *er_plan_matrix_below(const er_planner *p, uint32_t i)
{
    er_layer *layer = &p->model->layers[i];
    const er_matrix *w_h = &layer->matrix[1];
    er_matrix *next = i + 1 < p->model->layer_count ? &layer[1].matrix[0] : NULL;
    method above, below;

    if (layer->matrix_count != 2 || (layer->flags & ER_LAYER_RESET_BEFORE) != 0 || next == NULL ||
        layer[1].kind != ER_LAYER_DENSE || next->encoding != w_h->encoding || next->clamp != w_h->clamp ||
        next->operand_shift != w_h->operand_shift || next->three_quarters != w_h->three_quarters) {
        return NULL;
    }
    above = choose_method(p, w_h);
    below = choose_method(p, next);
    if (above.kind == NULL || above.is_compound || below.is_compound) {
        return NULL;
    }
    return next->rows <= er_plan_round_up(w_h->rows, above.kind->block_rows) - w_h->rows ? next : NULL;
}

/* What lists of changed groups need (er_changing). */
static void fill_groups(const er_product *product, er_group *groups, uint16_t *group_of)
{
    const er_product_kind *kind = product->kind;
    uint32_t i;

    memset(groups, 0, product->group_count * sizeof *groups);
    for (i = 0; i < product->group_count; i++) {
        const uint32_t pass = i / 2, place = i % 2;

        groups[i].tall = pass * product->tall_bytes + place * block_bytes(kind);
        groups[i].low = pass * product->low_bytes + place * block_bytes(kind);
        groups[i].first = kind->changing->first[place];
        groups[i].second = kind->changing->second[place];
        groups[i].column = i * kind->group_columns;
        groups[i].end = (i + 1) * kind->group_columns;
        groups[i].shift = kind->changing->shift[place];
    }
    for (i = 0; i < er_plan_round_up(product->columns, 64); i++) {
        group_of[i] = (uint16_t)(i / kind->group_columns);
    }
}

/* Lay out a matrix that is one product, with another (or null) below it. */
static void plan_single(er_planner *p, er_matrix *matrix, er_matrix *below, const method *m)
{
    const uint32_t rows = matrix->rows + (below == NULL ? 0 : below->rows);
    const size_t sums = er_plan_round_up(rows, ER_BLOCK_ROWS) + ER_SUM_PADDING;
    er_product *place = er_plan_take(p, sizeof *place), product;
    packer at = { &product, plan_product(p, &product, m, matrix, rows, matrix->columns), 0, 0, 0, 0 };
    const int can_change = m->kind->changing != NULL && 4 * m->clamp * (int32_t)m->kind->group_columns <= UINT8_MAX;
    er_group *groups = can_change ? er_plan_take(p, product.group_count * sizeof *groups) : NULL;
    uint16_t *group_of = can_change ? er_plan_take(p, er_plan_round_up(matrix->columns, 64) * sizeof *group_of) : NULL;

    if (p->base == NULL) {
        return;
    }
    at.tile_blocks = product.tile_blocks;
    pack_rows(p, &at, matrix, 0, 0);
    matrix->product = place;
    if (below != NULL) {
        pack_rows(p, &at, below, 0, 0);
        below->product = place;
        below->first_sum = matrix->rows;
        product.carried = 1;
        product.carried_offset = p->model->carried_count;
        p->model->carried_count += sums;
    }
    product.skip = ++p->model->skip_count * sizeof(er_skip);
    product.most_changes = groups == NULL ? 0 : product.group_count / 2;
    product.groups = groups;
    product.group_of = group_of;
    if (groups != NULL) {
        fill_groups(&product, groups, group_of);
    }
    er_plan_grow(&p->model->sum_count, sums);
    memcpy(place, &product, sizeof product);
}

/* Lay out a matrix that is a compound. */
static void plan_compound(er_planner *p, er_matrix *matrix, const method *m)
{
    er_compound *compound = er_plan_take(p, sizeof *compound);
    er_product *products = er_plan_take(p, (size_t)matrix->plane_count * m->part_count * sizeof *products);
    uint32_t plane, part;

    if (p->base != NULL) {
        memset(compound, 0, sizeof *compound);
        compound->products = products;
        compound->plane_count = matrix->plane_count;
        compound->part_count = m->part_count;
        compound->digit_count = m->digit_count;
        compound->narrow = matrix->plane_count == 1 && plane_fits(p, matrix, 0);
        compound->rows = matrix->rows;
        compound->digit_bytes = er_plan_round_up(matrix->columns, 64) + ER_BYTE_PADDING;
        compound->part_tables = (size_t)(m->part_columns / m->kind->group_columns) * m->kind->group_table;
        matrix->compound = compound;
        er_plan_grow(&p->model->sum_count, er_plan_round_up(matrix->rows, ER_BLOCK_ROWS) + ER_SUM_PADDING);
        er_plan_grow(&p->model->part_count,
                     (m->kind->split > 0 ? 2 : 1) * (size_t)er_plan_round_up(matrix->rows, ER_BLOCK_ROWS));
    }
    for (plane = 0; plane < matrix->plane_count; plane++) {
        for (part = 0; part < m->part_count; part++) {
            const uint32_t first = part * m->part_columns, left = matrix->columns - first;
            er_product product;
            packer at = { &product, NULL, 0, 0, 0, 0 };

            at.to = plan_product(p, &product, m, matrix, matrix->rows, left < m->part_columns ? left : m->part_columns);
            if (p->base != NULL) {
                at.tile_blocks = product.tile_blocks;
                pack_rows(p, &at, matrix, plane, first);
                memcpy(products++, &product, sizeof product);
            }
        }
    }
    if (p->base != NULL) {
        er_product *whole = &compound->whole;

        *whole = compound->products[0];
        whole->weights = NULL;
        whole->columns = matrix->columns;
        whole->group_count = er_plan_round_up(matrix->columns, column_unit(m->kind)) / m->kind->group_columns;
        compound->digit_tables = (size_t)whole->group_count * m->kind->group_table;
    }
}

/* See planner.h. */
void er_plan_matrix(er_planner *p, er_matrix *matrix, er_matrix *below)
{
    const method m = choose_method(p, matrix);

    if (m.kind == NULL) {
        return;
    }
    if (m.is_compound) {
        plan_compound(p, matrix, &m);
    } else {
        plan_single(p, matrix, below, &m);
    }
    if (p->base != NULL) {
        const size_t groups = er_plan_round_up(matrix->columns, column_unit(m.kind)) / m.kind->group_columns;

        er_plan_grow(&p->model->operand_byte_count,
                     m.digit_count * (er_plan_round_up(matrix->columns, 64) + (size_t)ER_BYTE_PADDING));
        er_plan_grow(&p->model->table_bytes, m.digit_count * groups * m.kind->group_table);
    }
}

/* The product whose tables a matrix uses; null: none. */
static er_product *tables_of(const er_matrix *matrix)
{
    return (er_product *)(matrix->compound != NULL ? &matrix->compound->whole : matrix->product);
}

static uint32_t digits_of(const er_matrix *matrix)
{
    return matrix->compound != NULL ? matrix->compound->digit_count : 1;
}

/* Whether two matrices that are multiplied by the same vector have the same tables. */
static int share_tables(const er_matrix *one, const er_matrix *two)
{
    const er_product *a = tables_of(one), *b = tables_of(two);

    return a != NULL && b != NULL && a->kind->tables == b->kind->tables && a->columns == b->columns &&
           a->group_count == b->group_count && a->clamp == b->clamp && a->table_bias == b->table_bias &&
           a->operand_shift == b->operand_shift && a->three_quarters == b->three_quarters &&
           digits_of(one) == digits_of(two);
}

/* The layer that follows a recurrent layer makes tables of its state h; a step later its W_h needs them
 * again, if both have the same operands. Such tables get a place of their own, behind those of all other
 * products. A quarter of a step of W1 without it. */
void er_plan_keep_tables(struct er_model *model)
{
    uint32_t i;

    for (i = 0; i + 1 < model->layer_count; i++) {
        const er_layer *layer = &model->layers[i];
        const er_matrix *w_h = layer->halves != NULL ? layer->halves : &layer->matrix[1];
        const er_matrix *next = &layer[1].matrix[0];

        if (layer->matrix_count == 2 && tables_of(w_h) != tables_of(next) && share_tables(w_h, next)) {
            er_product *product = tables_of(w_h), *from = tables_of(next);

            product->tables_kept = 1;
            product->kept_from = from;
            if (product->skip == 0 || from->skip == 0) {        /* knows no tables of changes */
                product->skip = from->skip = 0;
            }
            product->table_offset = tables_of(next)->table_offset = model->table_bytes;
            model->table_bytes += (size_t)digits_of(w_h) * product->group_count * product->kind->group_table;
        }
    }
}
