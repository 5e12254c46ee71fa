/* SPDX-License-Identifier: MIT
 *
 * The inner kernels: matrix times vector on packed weights. They know integers and pointers, nothing
 * of models. Names: er_<encoding>_gemv_<isa>, in <encoding>_gemv_<isa>.c. The scalar kernels are the
 * definition; every other one gives the same sums, which are exact. */
#ifndef ER_KERNELS_H
#define ER_KERNELS_H

#include <stdint.h>

enum {
    ER_GEMV_BLOCK = 8,                          /* weight bytes of a row looked up in one pass */
    ER_GEMV_TABLE_SIZE = ER_GEMV_BLOCK * 256,   /* int32 values of scratch that a kernel may use */
    ER_OPERAND_PADDING = 8                      /* operands behind the last column, all zero */
};

/* N2: acc[row] += sum over columns of w[row][column] * operands[column], for one plane.
 *   weights      uint8 [shape=(rows, row_bytes)], as in the file (FORMAT.md, section 5.1); every byte is
 *                a legal code
 *   rows         0 or more
 *   row_bytes    0 or more
 *   operands     int16 [shape=(columns + ER_OPERAND_PADDING)], at least -32767; zero from columns on
 *   acc          int32 [shape=(rows)], updated
 *   table        int32 [shape=(ER_GEMV_TABLE_SIZE)], scratch, 64-byte aligned
 * sum |w| * max |operand| of a row, and every sum in acc, stay below 2^30 (R27). */
typedef void er_gemv_fn(const uint8_t *weights, uint32_t rows, uint32_t row_bytes, const int16_t *operands,
                        int32_t *acc, int32_t *table);

er_gemv_fn er_binary_gemv_scalar;
er_gemv_fn er_ternary_gemv_scalar;
er_gemv_fn er_pow2_gemv_scalar;

/* The kernels in use for one model. Static and constant: two models may use different ones. */
typedef struct er_kernels {
    const char *isa;        /* "scalar" */
    er_gemv_fn *gemv[4];    /* by ER_ENCODING_*; entry 0 is null */
} er_kernels;

/* The kernels of an ISA word; with null, the best for this CPU. Null: unknown, or not for this CPU. */
const er_kernels *er_kernels_find(const char *isa);

#endif
