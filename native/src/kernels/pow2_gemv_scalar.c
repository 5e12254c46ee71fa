/* SPDX-License-Identifier: MIT */
#include "lookup.h"

/* The 16 values of one nibble: 0, x, 2x ... 64x, then their negatives (code 8, minus zero, is 0 too). */
static void build_nibble(int32_t x, int32_t *values)
{
    uint32_t e;

    values[0] = 0;
    values[8] = 0;
    for (e = 1; e < 8; e++) {
        values[e] = x;
        values[e + 8] = -x;
        x += x;
        ER_OPAQUE(x);
    }
}

/* The 256 sums of two operands, each times the power of two of its nibble. */
static void build(const int16_t *operands, int32_t *table)
{
    int32_t low[16], high[16];
    uint32_t i, j;

    build_nibble(operands[0], low);
    build_nibble(operands[1], high);
    for (j = 0; j < 16; j++) {
        for (i = 0; i < 16; i++) {
            table[i] = high[j] + low[i];
        }
        table += 16;
    }
}

/* Two weights of 0 or +-2^0 .. +-2^6 a byte. */
void er_pow2_gemv_scalar(const uint8_t *weights, uint32_t rows, uint32_t row_bytes, const int16_t *operands,
                         int32_t *acc, int32_t *table)
{
    er_lookup_gemv(weights, rows, row_bytes, operands, acc, table, 2, build);
}
