/* SPDX-License-Identifier: MIT */
#include "lookup.h"

/* The 256 signed sums of eight operands: bit k of the byte takes operand k with +, else with -. */
static void build(const int16_t *operands, int32_t *table)
{
    int32_t least = 0;
    uint32_t k, size;

    for (k = 0; k < 8; k++) {
        least -= operands[k];
    }
    table[0] = least;
    for (k = 0, size = 1; k < 8; k++, size += size) {
        int32_t twice = operands[k] + operands[k];
        uint32_t i;

        for (i = 0; i < size; i++) {
            table[size + i] = table[i] + twice;
        }
    }
}

/* Eight weights of -1 or 1 a byte. */
void er_binary_gemv_scalar(const uint8_t *weights, uint32_t rows, uint32_t row_bytes, const int16_t *operands,
                           int32_t *acc, int32_t *table)
{
    er_lookup_gemv(weights, rows, row_bytes, operands, acc, table, 8, build);
}
