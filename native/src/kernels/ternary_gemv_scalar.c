/* SPDX-License-Identifier: MIT */
#include "lookup.h"

/* The 243 signed sums of five operands: base-3 digit k of the byte is 0, 1 or 2 for 0, +, - operand k. */
static void build(const int16_t *operands, int32_t *table)
{
    uint32_t k, size;

    table[0] = 0;
    for (k = 0, size = 1; k < 5; k++) {
        int32_t operand = operands[k];
        uint32_t twice = size + size;
        uint32_t i;

        ER_OPAQUE(twice);       /* else a compiler multiplies size by 3 */
        for (i = 0; i < size; i++) {
            table[size + i] = table[i] + operand;
            table[twice + i] = table[i] - operand;
        }
        size += twice;
    }
}

/* Five weights of -1, 0 or 1 a byte. */
void er_ternary_gemv_scalar(const uint8_t *weights, uint32_t rows, uint32_t row_bytes,
                            const int16_t *operands, int32_t *acc, int32_t *table)
{
    er_lookup_gemv(weights, rows, row_bytes, operands, acc, table, 5, build);
}
