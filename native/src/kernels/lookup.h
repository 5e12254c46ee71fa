/* SPDX-License-Identifier: MIT
 *
 * Products by look-up, shared by the scalar kernels: for each weight byte position a table holds the
 * signed sum of operands that each of the 256 byte values stands for. It is built by additions once
 * per step; then every row costs one look-up and one addition per byte, for 8, 5 or 2 weights. */
#ifndef ER_LOOKUP_H
#define ER_LOOKUP_H

#include <stdint.h>

#include "kernels.h"
#include "opaque.h"

/* Add the look-ups of a full block, ER_GEMV_BLOCK bytes, of each row. weights points at the block's
 * first byte in the first row. Written out because gcc -O2 does not unroll: as a loop, a step of a GRU
 * of 200 units took a quarter more time. */
static inline void er_lookup_block(const uint8_t *weights, uint32_t rows, uint32_t row_bytes,
                                   const int32_t *table, int32_t *acc)
{
    while (rows > 0) {
        const uint8_t *w = weights;

#if defined(ER_SMALL_MEMORY)
        *acc++ += table[*w];
#else
        *acc++ += ((table[w[0]] + table[256 + w[1]]) + (table[512 + w[2]] + table[768 + w[3]])) +
                  ((table[1024 + w[4]] + table[1280 + w[5]]) + (table[1536 + w[6]] + table[1792 + w[7]]));
#endif
        weights += row_bytes;
        ER_OPAQUE(weights);
        rows--;
    }
}

/* As er_lookup_block for the last count bytes of each row, fewer than a block. */
static inline void er_lookup_rest(const uint8_t *weights, uint32_t rows, uint32_t row_bytes, uint32_t count,
                                  const int32_t *table, int32_t *acc)
{
    while (rows > 0) {
        int32_t sum = *acc;
        uint32_t i;

        for (i = 0; i < count; i++) {
            sum += table[(i << 8) + weights[i]];
        }
        *acc++ = sum;
        weights += row_bytes;
        ER_OPAQUE(weights);
        rows--;
    }
}

/* Fill the table of one byte position (256 int32) from its operands. */
typedef void er_lookup_build_fn(const int16_t *operands, int32_t *table);

/* A whole product, ER_GEMV_BLOCK bytes of every row at a time. columns_per_byte and build are
 * constants in each kernel. */
static inline void er_lookup_gemv(const uint8_t *weights, uint32_t rows, uint32_t row_bytes,
                                  const int16_t *operands, int32_t *acc, int32_t *table,
                                  uint32_t columns_per_byte, er_lookup_build_fn *build)
{
    uint32_t left = row_bytes;

    while (left > 0) {
        uint32_t count = left < ER_GEMV_BLOCK ? left : ER_GEMV_BLOCK;
        int32_t *t = table;
        uint32_t i;

        for (i = 0; i < count; i++) {
            build(operands, t);
            operands += columns_per_byte;
            ER_OPAQUE(operands);
            t += 256;
        }
        if (count == ER_GEMV_BLOCK) {
            er_lookup_block(weights, rows, row_bytes, table, acc);
        } else {
            er_lookup_rest(weights, rows, row_bytes, count, table, acc);
        }
        weights += count;
        left -= count;
    }
}

#endif
