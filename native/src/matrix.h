/* SPDX-License-Identifier: MIT
 * Matrix times vector by the rules N1 to N5 of exporters/FORMAT.md, and the pre-activations of N6. */
#ifndef ER_MATRIX_H
#define ER_MATRIX_H

#include "kernels/kernels.h"
#include "model.h"

/* What a stream that skips knows of a product. */
typedef struct er_skip {
    int8_t *operands;       /* [padded columns + 16] of the last step, */
    int16_t *sums;          /* and its sums */
    uint32_t valid;         /* 1: they are there */
    uint32_t full;          /* 1: the tables of the last step are of operands, not of what was added to them */
} er_skip;

/* What a step needs besides model and state: scratch of one stream, shared by its layers. */
typedef struct er_work {
    const er_kernels *kernels;
    int16_t *operands;      /* [largest column count + ER_OPERAND_PADDING] */
    int32_t *acc_x;         /* [largest plane_count * rows + ER_OUTPUT_ROWS - 1] sums of W or W_x, plane after
                             * plane */
    int32_t *acc_h;         /* likewise of W_h */
    int16_t *gated;         /* [largest output size] r * h of a gru */
    int32_t *table;         /* [ER_GEMV_TABLE_SIZE] */
    int16_t *sums_x;        /* [ER_BLOCK_ROWS-padded rows + ER_SUM_PADDING] as acc_x, of layers with a plan */
    int16_t *sums_h;
    int16_t *carried;       /* [model->carried_count] sums that stay to the next step, see er_product */
    int16_t *part;          /* [model->part_count] the sums of a product of a compound */
    int8_t *operand_bytes;  /* [padded columns + ER_BYTE_PADDING] of each digit */
    uint8_t *tables;        /* [model->table_bytes] of the products in turn, or kept (er_product) */
    uint32_t carried_valid; /* 1: carried sums and kept tables are those of the present state */
    const er_product *ready[2];     /* products of the present layer that have been run already, or null; */
    int16_t *ready_sums[2];         /* their sums */
    uint32_t skipping;              /* 1: products take only the groups of columns that changed */
    er_skip *skips;                 /* [1 + model->skip_count]; the first is nobody's */
    er_change *changes;             /* [largest group_count] */
    int8_t *differences;    /* as operand_bytes: what was added to operands, */
    int8_t *slots;          /* and to those of changed groups */
} er_work;

/* Where a stream has what it knows of a product. */
static inline er_skip *er_skip_of(const er_work *work, const er_product *product)
{
    return (er_skip *)(void *)((char *)work->skips + product->skip);
}

/* N1, N2 by the scalar kernels: the sums of the rows first_row .. first_row + row_count - 1, every plane, on x
 * (int16 [shape=(matrix->columns)]), into acc[plane * rows + row]. Other rows of acc are left alone. */
void er_matrix_product(const er_matrix *matrix, uint32_t first_row, uint32_t row_count, const int16_t *x,
                       const er_work *work, int32_t *acc);

/* N1, N2 of a matrix with a product or a narrow compound: all its sums, which fit int16. Returns where they are:
 * in sums, or, if the product is carried, with those. */
const int16_t *er_matrix_sums(const er_matrix *matrix, const int16_t *x, const er_work *work, int16_t *sums);

/* N1, N2 of a matrix with a product or a compound: all its sums into acc[plane * rows + row]. Uses work->sums_x. */
void er_matrix_wide_sums(const er_matrix *matrix, const int16_t *x, const er_work *work, int32_t *acc);

/* Sums of W or W_x and of W_h. */
typedef struct er_sums {
    const int16_t *x, *h;
} er_sums;

/* What the gates of a layer take, if it has any: the sums of its matrices on x and, unless it is dense, on h; where
 * 16 bits do not hold them, the outputs by N3 to N6. */
er_sums er_layer_sums(const er_layer *layer, const int16_t *x, const int16_t *h, const er_work *work);

/* The rest of a gru with RESET_BEFORE, whose er_layer_sums leave out the rows n of W_h: these on gated. */
void er_layer_late_sums(const er_layer *layer, const int16_t *gated, const er_work *work);

/* N1, N2 of a product. Tables are made at tables, or, if that is null, where they belong in work, unless
 * they have been kept there. */
void er_product_run(const er_product *product, const er_work *work, const int16_t *x, uint8_t *tables,
                    int16_t *sums);

/* The same in a stream that skips. Returns the sums, which must not be changed. */
const int16_t *er_product_run_skipping(const er_product *product, const er_work *work, const int16_t *x);

/* Whether it is quicker to run a product on ER_VECTORS vectors together. Of few columns it is not: 24
 * accumulators are set up for each part of a tile. */
static inline int er_product_is_shared(const er_product *product)
{
    return product->kind->run_four != NULL && product->pass_count >= 16;
}

/* The same for ER_VECTORS vectors, each with its own x, tables and sums. Works may be one and the same. */
void er_product_run_together(const er_product *product, const er_work *const *works, const int16_t *const *x,
                             uint8_t *const *tables, int16_t *const *sums);

/* N3 to N5: the matrix's output a[row], an int16, from its sums. */
int32_t er_matrix_output(const er_matrix *matrix, const int32_t *acc, uint32_t row);

/* N6: the pre-activation of a row that W_x and W_h of a recurrent layer share, an int16, from the sums
 * work->acc_x and work->acc_h. */
int32_t er_matrix_preactivation(const er_layer *layer, const er_work *work, uint32_t row);

#endif
