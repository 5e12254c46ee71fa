/* SPDX-License-Identifier: MIT
 * Runs at load, and may multiply. */
#include "plan.h"

#include <string.h>

#include "matrix.h"

enum {
    MOST_SUM = INT16_MAX,
    ROW_PADDING = 64            /* weights behind the last column that the groups of a row take, at most */
};

/* A plan being laid out; with base null, only counted. */
typedef struct planner {
    char *base;
    size_t used;
    struct er_model *model;
    const er_kernels *kernels;
    uint64_t weight_count;                  /* of the model */
    int8_t trits[243][5];                   /* the weights of each byte of ternary weights */
    uint8_t magnitudes[4][256];             /* by ER_ENCODING_*, the sum of those of the weights of each byte */
    int8_t row[ER_MAX_SIZE + ROW_PADDING];  /* of the row being packed */
} planner;

static void *take(planner *p, size_t size)
{
    return er_memory_take(p->base, &p->used, 1, size);
}

static uint32_t round_up(uint32_t n, uint32_t to)
{
    return (n + to - 1) / to * to;
}

static void grow(size_t *size, size_t needed)
{
    *size = *size < needed ? needed : *size;
}

static void fill_tables(planner *p)
{
    static const int8_t digit[3] = { 0, 1, -1 };
    uint32_t byte, k;

    for (byte = 0; byte < 243; byte++) {
        uint32_t rest = byte, count = 0;

        for (k = 0; k < 5; k++, rest /= 3) {
            p->trits[byte][k] = digit[rest % 3];
            count += rest % 3 != 0;
        }
        p->magnitudes[ER_ENCODING_TERNARY][byte] = (uint8_t)count;
    }
    for (byte = 0; byte < 256; byte++) {
        const uint32_t low = 1u << (byte & 7) >> 1, high = 1u << (byte >> 4 & 7) >> 1;

        p->magnitudes[ER_ENCODING_POW2][byte] = (uint8_t)(low + high);
    }
}

/* The greatest sum that a row of a plane can have. */
static int64_t row_bound(const planner *p, const er_matrix *matrix, uint32_t plane, uint32_t row)
{
    const uint8_t *bytes = matrix->weights[plane] + (size_t)row * matrix->row_bytes;
    const uint8_t *magnitudes = p->magnitudes[matrix->encoding];
    int64_t sum = 0;
    uint32_t i;

    if (matrix->encoding == ER_ENCODING_BINARY) {
        return (int64_t)matrix->columns * matrix->clamp;
    }
    for (i = 0; i < matrix->row_bytes; i++) {
        sum += magnitudes[bytes[i]];
    }
    return sum * matrix->clamp;
}

/* The greatest sum that a row could have whatever its weights are. */
static int64_t columns_bound(const er_matrix *matrix)
{
    return (int64_t)matrix->columns * matrix->clamp * (matrix->encoding == ER_ENCODING_POW2 ? 64 : 1);
}

/* Whether 16 bits hold all sums of a plane. */
static int plane_fits(const planner *p, const er_matrix *matrix, uint32_t plane)
{
    uint32_t row;

    if (columns_bound(matrix) > MOST_SUM) {
        for (row = 0; row < matrix->rows; row++) {
            if (row_bound(p, matrix, plane, row) > MOST_SUM) {
                return 0;
            }
        }
    }
    return 1;
}

/* What the rounding of N3 adds to a sum before it is shifted. */
static int64_t half_of(const er_matrix *matrix)
{
    return matrix->left_shift < 0 ? (int64_t)1 << (-matrix->left_shift - 1) : 0;
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
static const er_product_kind *choose_kind(const planner *p, uint32_t encoding, int32_t clamp)
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
static void unpack_row(planner *p, const er_matrix *matrix, uint32_t plane, uint32_t row)
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
    memset(p->row + matrix->columns, 0, ROW_PADDING);
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
static void pack_rows(planner *p, packer *at, const er_matrix *matrix, uint32_t plane, uint32_t first_column)
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
static method choose_method(const planner *p, const er_matrix *matrix)
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
    most_columns = (uint32_t)(MOST_SUM / greatest_term(&m));
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
static uint8_t *plan_product(planner *p, er_product *product, const method *m, const er_matrix *matrix, uint32_t rows,
                             uint32_t columns)
{
    const er_product_kind *kind = m->kind;
    const uint32_t blocks = round_up(rows, kind->block_rows) / kind->block_rows;
    const uint32_t tiles = (blocks + kind->most_blocks - 1) / kind->most_blocks;
    const uint32_t groups = round_up(columns, column_unit(kind)) / kind->group_columns;
    const size_t size = (size_t)blocks * block_bytes(kind) * groups;
    uint8_t *weights = take(p, size);

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
        product->coarse_offset = round_up(rows, ER_BLOCK_ROWS);
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
static er_matrix *matrix_below(const planner *p, uint32_t i)
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
    return next->rows <= round_up(w_h->rows, above.kind->block_rows) - w_h->rows ? next : NULL;
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
    for (i = 0; i < round_up(product->columns, 64); i++) {
        group_of[i] = (uint16_t)(i / kind->group_columns);
    }
}

/* Lay out a matrix that is one product, with another (or null) below it. */
static void plan_single(planner *p, er_matrix *matrix, er_matrix *below, const method *m)
{
    const uint32_t rows = matrix->rows + (below == NULL ? 0 : below->rows);
    const size_t sums = round_up(rows, ER_BLOCK_ROWS) + ER_SUM_PADDING;
    er_product *place = take(p, sizeof *place), product;
    packer at = { &product, plan_product(p, &product, m, matrix, rows, matrix->columns), 0, 0, 0, 0 };
    const int can_change = m->kind->changing != NULL && 4 * m->clamp * (int32_t)m->kind->group_columns <= UINT8_MAX;
    er_group *groups = can_change ? take(p, product.group_count * sizeof *groups) : NULL;
    uint16_t *group_of = can_change ? take(p, round_up(matrix->columns, 64) * sizeof *group_of) : NULL;

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
    grow(&p->model->sum_count, sums);
    memcpy(place, &product, sizeof product);
}

/* Lay out a matrix that is a compound. */
static void plan_compound(planner *p, er_matrix *matrix, const method *m)
{
    er_compound *compound = take(p, sizeof *compound);
    er_product *products = take(p, (size_t)matrix->plane_count * m->part_count * sizeof *products);
    uint32_t plane, part;

    if (p->base != NULL) {
        memset(compound, 0, sizeof *compound);
        compound->products = products;
        compound->plane_count = matrix->plane_count;
        compound->part_count = m->part_count;
        compound->digit_count = m->digit_count;
        compound->narrow = matrix->plane_count == 1 && plane_fits(p, matrix, 0);
        compound->rows = matrix->rows;
        compound->digit_bytes = round_up(matrix->columns, 64) + ER_BYTE_PADDING;
        compound->part_tables = (size_t)(m->part_columns / m->kind->group_columns) * m->kind->group_table;
        matrix->compound = compound;
        grow(&p->model->sum_count, round_up(matrix->rows, ER_BLOCK_ROWS) + ER_SUM_PADDING);
        grow(&p->model->part_count, (m->kind->split > 0 ? 2 : 1) * (size_t)round_up(matrix->rows, ER_BLOCK_ROWS));
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
        whole->group_count = round_up(matrix->columns, column_unit(m->kind)) / m->kind->group_columns;
        compound->digit_tables = (size_t)whole->group_count * m->kind->group_table;
    }
}

/* Lay out the products of a matrix for which there is a kind, with another matrix (or null) below it. */
static void plan_matrix(planner *p, er_matrix *matrix, er_matrix *below)
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
        const size_t groups = round_up(matrix->columns, column_unit(m.kind)) / m.kind->group_columns;

        grow(&p->model->operand_byte_count, m.digit_count * (round_up(matrix->columns, 64) + (size_t)ER_BYTE_PADDING));
        grow(&p->model->table_bytes, m.digit_count * groups * m.kind->group_table);
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
static void keep_tables(struct er_model *model)
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
static int layer_fits(const planner *p, const er_layer *layer)
{
    const uint32_t rows = layer->matrix[0].rows;
    int64_t all = 0;            /* the greatest sum of any row, whatever the weights are */
    uint32_t row, k;

    for (k = 0; k < layer->matrix_count; k++) {
        if (layer->matrix[k].plane_count != 1 || layer->matrix[k].left_shift < -14) {
            return 0;
        }
        all += columns_bound(&layer->matrix[k]) + half_of(&layer->matrix[k]);
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
            if (all > MOST_SUM) {
                sum = (shared ? sum : 0) + row_bound(p, matrix, 0, row);
                if (sum + half_of(matrix) > MOST_SUM) {
                    return 0;
                }
            }
        }
    }
    return 1;
}

/* Term codes and biases of the rows first_row .. first_row + row_count - 1 of a matrix, for sums of 32 bits, of
 * which each plane has plane_rows. other: the matrix whose bias is added, or null. */
static void plan_outputs(planner *p, er_outputs *outputs, const er_matrix *matrix, const er_matrix *other,
                         uint32_t first_row, uint32_t row_count, uint32_t plane_rows)
{
    const uint32_t padded = round_up(row_count, ER_OUTPUT_ROWS);
    const size_t terms_size = (size_t)matrix->plane_count * padded * sizeof(uint16_t);
    int32_t *bias = take(p, padded * sizeof *bias);
    uint16_t *terms = take(p, terms_size);
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
static uint32_t shifts_are_exact(const planner *p, const er_layer *layer)
{
    uint32_t row, k;

    for (row = 0; row < layer->matrix[0].rows; row++) {
        int64_t sum = 0;

        for (k = 0; k < layer->matrix_count; k++) {
            sum = (row < shared_rows(layer) ? sum : 0) + row_bound(p, &layer->matrix[k], 0, row);
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
static void plan_halves(planner *p, er_layer *layer)
{
    er_matrix *place = take(p, 2 * sizeof *place);
    uint32_t k, plane;

    for (k = 0; k < 2; k++) {
        er_matrix half = layer->matrix[1];

        half.rows = k == 0 ? 2 * layer->output_size : layer->output_size;
        for (plane = 0; plane < half.plane_count; plane++) {
            half.weights[plane] += k == 0 ? 0 : 2 * (size_t)layer->output_size * half.row_bytes;
        }
        plan_matrix(p, &half, NULL);
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
static void plan_fine(planner *p, er_layer *layer)
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
static void plan_gates(planner *p, er_layer *layer)
{
    const er_kernels *kernels = p->kernels;
    const er_matrix *w_x = &layer->matrix[0], *w_h = &layer->matrix[1];
    const uint32_t units = layer->output_size, rows = w_x->rows;
    const uint32_t unit_blocks = round_up(units, ER_BLOCK_UNITS) / ER_BLOCK_UNITS;
    const int wide = !layer_fits(p, layer), reset_before = (layer->flags & ER_LAYER_RESET_BEFORE) != 0;
    er_gates *gates;
    er_scale_block *scale, *reset_scale;
    er_packed_scale *packed;
    uint32_t first, gate, k;

    if (kernels->gates[layer->kind] == NULL) {
        return;
    }
    gates = take(p, sizeof *gates);
    scale = take(p, (size_t)unit_blocks * (rows / units) * layer->matrix_count * sizeof *scale);
    reset_scale = take(p, reset_before ? (size_t)unit_blocks * 2 * sizeof *scale : 0);
    if (reset_before) {
        plan_halves(p, layer);
    }
    if (wide) {
        er_outputs *place = take(p, 4 * sizeof *place);
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
        gates->late_offset = round_up(rows, ER_BLOCK_ROWS) + ER_SUM_PADDING;
        grow(&p->model->sum_count, gates->late_offset + round_up(units, ER_BLOCK_ROWS) + ER_SUM_PADDING);
    }
    layer->gates = gates;
    grow(&p->model->sum_count, round_up(rows, ER_BLOCK_ROWS) + ER_SUM_PADDING);
}

/* Lay out the whole plan behind base, or only count with base null. Returns the size in bytes. */
static size_t lay_out(struct er_model *model, const er_kernels *kernels, void *base)
{
    planner p = { .base = base, .model = model, .kernels = kernels };
    uint32_t i, k;

    fill_tables(&p);
    for (i = 0; i < model->layer_count; i++) {
        for (k = 0; k < model->layers[i].matrix_count; k++) {
            const er_matrix *matrix = &model->layers[i].matrix[k];

            p.weight_count += (uint64_t)matrix->rows * matrix->columns * matrix->plane_count;
        }
    }
    for (i = 0; i < model->layer_count; i++) {
        er_layer *layer = &model->layers[i];

        for (k = 0; k < layer->matrix_count; k++) {
            if (k == 1 && (layer->flags & ER_LAYER_RESET_BEFORE) != 0) {
                continue;                   /* see plan_halves */
            }
            if (k == 0 && i > 0 && matrix_below(&p, i - 1) != NULL) {
                continue;                   /* laid out below the W_h before it */
            }
            plan_matrix(&p, &layer->matrix[k], k == 1 ? matrix_below(&p, i) : NULL);
        }
        if (model->profile == ER_PROFILE_FINE) {
            plan_fine(&p, layer);
        } else {
            plan_gates(&p, layer);
        }
    }
    if (base != NULL) {
        keep_tables(model);
    }
    return p.used;
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
