/* SPDX-License-Identifier: MIT */
#include "matrix.h"

#include <string.h>

#include "fixed.h"
#include "opaque.h"

/* N1: round and clamp the inputs of a matrix to its operands, and pad them with zeros. */
static void make_operands(const er_matrix *matrix, const int16_t *x, int16_t *operands)
{
    const int32_t quarter = -(int32_t)matrix->three_quarters;   /* all ones or zero */
    const int32_t clamp = matrix->clamp;
    const uint32_t shift = matrix->operand_shift;
    uint32_t i;

    for (i = 0; i < matrix->columns; i++) {
        int32_t v = x[i];
        int32_t u = er_shift_round(v - ((v >> 2) & quarter), shift);

        u = u > clamp ? clamp : u;
        u = u < -clamp ? -clamp : u;
        operands[i] = (int16_t)u;
    }
    operands += matrix->columns;
    for (i = 0; i < ER_OPERAND_PADDING; i++) {
        operands[i] = 0;
    }
}

/* The tables of a product, see er_product_run. */
static const uint8_t *product_tables(const er_product *product, const er_work *work, const int16_t *x,
                                     uint8_t *tables)
{
    tables = tables != NULL ? tables : work->tables + product->table_offset;
    if (!product->tables_kept || !work->carried_valid) {
        product->kind->operands(product, x, work->operand_bytes);
        product->kind->tables(product, work->operand_bytes, tables);
    }
    return tables;
}

/* See matrix.h. */
void er_product_run(const er_product *product, const er_work *work, const int16_t *x, uint8_t *tables,
                    int16_t *sums)
{
    product->kind->run(product, product_tables(product, work, x, tables), sums);
}

/* See matrix.h. */
void er_product_run_together(const er_product *product, const er_work *const *works, const int16_t *const *x,
                             uint8_t *const *tables, int16_t *const *sums)
{
    const uint8_t *made[ER_VECTORS];
    uint32_t v;

    for (v = 0; v < ER_VECTORS; v++) {
        made[v] = product_tables(product, works[v], x[v], tables[v]);
    }
    if (er_product_is_shared(product)) {
        product->kind->run_four(product, made, sums);
        return;
    }
    for (v = 0; v < ER_VECTORS; v++) {
        product->kind->run(product, made[v], sums[v]);
    }
}

/* The sums of a matrix by its plan's product. Those of a carried W_h are there already: the matrix below it
 * was multiplied with the same state at the end of the last step. */
static const int16_t *run_product(const er_matrix *matrix, const int16_t *x, const er_work *work, int16_t *sums)
{
    const er_product *product = matrix->product;

    if (work->ready[0] == product) {
        return work->ready_sums[0] + matrix->first_sum;
    }
    if (work->ready[1] == product) {
        return work->ready_sums[1];
    }
    if (product->carried) {
        sums = work->carried + product->carried_offset;
        if (matrix->first_sum == 0 && work->carried_valid) {
            return sums;
        }
    }
    if (work->skipping && product->skip > 0) {
        return er_product_run_skipping(product, work, x) + matrix->first_sum;
    }
    er_product_run(product, work, x, NULL, sums);
    return sums + matrix->first_sum;
}

/* The tables of a compound, digit by digit. */
static void make_tables(const er_compound *compound, const int16_t *x, const er_work *work)
{
    const er_product *whole = &compound->whole;
    uint8_t *tables = work->tables + whole->table_offset;
    int8_t *digits = work->operand_bytes;
    uint32_t left;

    if (compound->digit_count == 1) {
        whole->kind->operands(whole, x, digits);
    } else {
        work->kernels->digits(whole, x, compound->digit_count, digits, compound->digit_bytes);
    }
    for (left = compound->digit_count; left > 0; left--) {
        whole->kind->tables(whole, digits, tables);
        digits += compound->digit_bytes;
        tables += compound->digit_tables;
        ER_OPAQUE(digits);
        ER_OPAQUE(tables);
    }
}

/* Add the sums of a product, times 2^shift, to those of the matrix. */
static void add_part(const er_compound *compound, const er_kernels *kernels, const int16_t *part, uint32_t shift,
                     uint32_t add, int16_t *narrow, int32_t *wide)
{
    if (compound->narrow) {
        kernels->add_narrow(narrow, part, compound->rows, shift, add);
    } else {
        kernels->add_wide(wide, part, compound->rows, shift, add);
    }
}

/* The sums of a matrix by its plan's compound: added up in `narrow`, or if the compound is not, in `wide`,
 * plane after plane. */
static void run_compound(const er_compound *compound, const int16_t *x, const er_work *work, int16_t *narrow,
                         int32_t *wide)
{
    const er_kernels *kernels = work->kernels;
    const er_product *whole = &compound->whole, *product = compound->products;
    const uint32_t split = whole->kind->split;
    uint32_t plane, part, digit, shift;

    if (!whole->tables_kept || !work->carried_valid) {
        make_tables(compound, x, work);
    }
    for (plane = compound->plane_count; plane > 0; plane--) {
        const uint8_t *part_tables = work->tables + whole->table_offset;
        uint32_t add = 0;

        for (part = compound->part_count; part > 0; part--) {
            const uint8_t *tables = part_tables;

            for (digit = compound->digit_count, shift = 0; digit > 0; digit--, shift += ER_DIGIT_BITS) {
                product->kind->run(product, tables, work->part);
                add_part(compound, kernels, work->part, shift, add, narrow, wide);
                add = 1;
                if (split > 0) {
                    add_part(compound, kernels, work->part + product->coarse_offset, shift + split, 1, narrow, wide);
                }
                tables += compound->digit_tables;
                ER_OPAQUE(tables);
            }
            product++;
            part_tables += compound->part_tables;
            ER_OPAQUE(product);
            ER_OPAQUE(part_tables);
        }
        wide += compound->rows;
        ER_OPAQUE(wide);
    }
}

/* See matrix.h. */
const int16_t *er_matrix_sums(const er_matrix *matrix, const int16_t *x, const er_work *work, int16_t *sums)
{
    if (matrix->product != NULL) {
        return run_product(matrix, x, work, sums);
    }
    run_compound(matrix->compound, x, work, sums, work->acc_x);
    return sums;
}

/* See matrix.h. */
void er_matrix_wide_sums(const er_matrix *matrix, const int16_t *x, const er_work *work, int32_t *acc)
{
    if (matrix->compound != NULL && !matrix->compound->narrow) {
        run_compound(matrix->compound, x, work, work->sums_x, acc);
    } else {
        work->kernels->add_wide(acc, er_matrix_sums(matrix, x, work, work->sums_x), matrix->rows, 0, 0);
    }
}

/* See matrix.h. Rows that are scaled together come first: their padding is overwritten by the others. */
er_sums er_layer_sums(const er_layer *layer, const int16_t *x, const int16_t *h, const er_work *work)
{
    const er_matrix *w_x = &layer->matrix[0], *w_h = layer->halves != NULL ? layer->halves : &layer->matrix[1];
    const er_outputs *shared = layer->outputs, *of_x, *of_h;
    er_outputs_fn *outputs = work->kernels->outputs;
    er_sums sums = { work->sums_x, work->sums_h };

    if (shared == NULL) {
        sums.x = er_matrix_sums(w_x, x, work, work->sums_x);
        if (layer->matrix_count == 2) {
            sums.h = er_matrix_sums(w_h, h, work, work->sums_h);
        }
        return sums;
    }
    of_x = shared + 1;
    of_h = shared + 2;
    er_matrix_wide_sums(w_x, x, work, work->acc_x);
    if (layer->matrix_count == 2) {
        er_matrix_wide_sums(w_h, h, work, work->acc_h);
        outputs(shared, work->acc_x, work->acc_h, work->sums_x);
        memset(work->sums_h, 0, shared->row_count * sizeof *work->sums_h);
        outputs(of_h, work->acc_h + of_h->first_row, NULL, work->sums_h + of_h->first_row);
    }
    outputs(of_x, work->acc_x + of_x->first_row, NULL, work->sums_x + of_x->first_row);
    return sums;
}

/* See matrix.h. The rows n do not begin at a cache line as products want it: their sums are copied. */
void er_layer_late_sums(const er_layer *layer, const int16_t *gated, const er_work *work)
{
    const er_matrix *half = &layer->halves[1];
    er_work late = *work;           /* W_x has its sums in the scratch of others */
    int16_t *sums_n = work->sums_h + layer->output_size + layer->output_size;

    late.sums_x = work->sums_h + layer->gates->late_offset;
    if (layer->outputs == NULL) {
        memcpy(sums_n, er_matrix_sums(half, gated, &late, late.sums_x), layer->output_size * sizeof *sums_n);
        return;
    }
    er_matrix_wide_sums(half, gated, &late, work->acc_h);
    work->kernels->outputs(&layer->outputs[3], work->acc_h, NULL, sums_n);
}

/* See matrix.h. The first row's address is found by additions. */
void er_matrix_product(const er_matrix *matrix, uint32_t first_row, uint32_t row_count, const int16_t *x,
                       const er_work *work, int32_t *acc)
{
    er_gemv_fn *gemv = work->kernels->gemv[matrix->encoding];
    size_t offset = 0;
    uint32_t plane, row;

    make_operands(matrix, x, work->operands);
    for (row = 0; row < first_row; row++) {
        offset += matrix->row_bytes;
        ER_OPAQUE(offset);
    }
    acc += first_row;
    for (plane = 0; plane < matrix->plane_count; plane++) {
        for (row = 0; row < row_count; row++) {
            acc[row] = 0;
        }
        gemv(matrix->weights[plane] + offset, row_count, matrix->row_bytes, work->operands, acc, work->table);
        acc += matrix->rows;
        ER_OPAQUE(acc);
    }
}

/* N3, N4: one sum and its row scale, two term codes. */
static int32_t scaled(int32_t acc, int32_t left_shift, const uint8_t *scale)
{
    int32_t v = er_scale_sum(acc, left_shift);

    return er_scale_term(v, scale[0]) + er_scale_term(v, scale[1]);
}

/* The bias of a row, zero without one. */
static int32_t bias(const er_matrix *matrix, uint32_t row)
{
    return matrix->bias == NULL ? 0 : er_read_i16(matrix->bias + ((size_t)row << 1));
}

/* See matrix.h. */
int32_t er_matrix_output(const er_matrix *matrix, const int32_t *acc, uint32_t row)
{
    const uint8_t *scale = matrix->scales + ((size_t)row << 1);
    int32_t sum = bias(matrix, row);
    uint32_t plane;

    acc += row;
    for (plane = matrix->plane_count; plane > 0; plane--) {
        sum += scaled(*acc, matrix->left_shift, scale);
        acc += matrix->rows;
        scale += (size_t)matrix->rows << 1;
        ER_OPAQUE(acc);
        ER_OPAQUE(scale);
    }
    return er_sat16(sum);
}

/* See matrix.h. With SHARED_SCALE the sums are added before they are scaled. */
int32_t er_matrix_preactivation(const er_layer *layer, const er_work *work, uint32_t row)
{
    const er_matrix *w_x = &layer->matrix[0], *w_h = &layer->matrix[1];

    if ((layer->flags & ER_LAYER_SHARED_SCALE) != 0) {
        return er_sat16(bias(w_x, row) + bias(w_h, row) +
                        scaled(work->acc_x[row] + work->acc_h[row], w_x->left_shift,
                               w_x->scales + ((size_t)row << 1)));
    }
    return er_sat16(er_matrix_output(w_x, work->acc_x, row) + er_matrix_output(w_h, work->acc_h, row));
}
