/* SPDX-License-Identifier: MIT
 *
 * Tables of binary weights for the products of ternary_product_neon.c, which look them up as they do those of
 * three ternary weights: a group of five columns has all its 32 signed sums (ER_FORM_BITS). NEON. */
#if defined(__ARM_NEON)

#include <arm_neon.h>
#include <stddef.h>

#include "kernels.h"
#include "opaque.h"

enum { GROUP_COLUMNS = 5, GROUP_TABLE = 32 };

/* Byte n of both halves takes column k with + if bit k of n is 1; column 4 is subtracted in the first half and
 * added in the second. */
void er_binary_five_tables_neon(const er_product *product, const int8_t *operands, uint8_t *tables)
{
    static const uint8_t minus[4][16] = {
        { 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0 },
        { 255, 255, 0, 0, 255, 255, 0, 0, 255, 255, 0, 0, 255, 255, 0, 0 },
        { 255, 255, 255, 255, 0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0 },
        { 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0 },
    };
    const uint8x16_t m0 = vld1q_u8(minus[0]), m1 = vld1q_u8(minus[1]), m2 = vld1q_u8(minus[2]),
                     m3 = vld1q_u8(minus[3]);
    const uint8x16_t bias = vdupq_n_u8((uint8_t)product->table_bias);
    uint32_t left = product->group_count;

    while (left > 0) {
        const uint8_t *x = (const uint8_t *)operands;
        const uint8x16_t last = vld1q_dup_u8(x + 4);
        uint8x16_t sums = vaddq_u8(bias, vsubq_u8(veorq_u8(vld1q_dup_u8(x), m0), m0));

        sums = vaddq_u8(sums, vsubq_u8(veorq_u8(vld1q_dup_u8(x + 1), m1), m1));
        sums = vaddq_u8(sums, vsubq_u8(veorq_u8(vld1q_dup_u8(x + 2), m2), m2));
        sums = vaddq_u8(sums, vsubq_u8(veorq_u8(vld1q_dup_u8(x + 3), m3), m3));
        vst1q_u8(tables, vsubq_u8(sums, last));
        vst1q_u8(tables + 16, vaddq_u8(sums, last));
        operands += GROUP_COLUMNS;
        tables += GROUP_TABLE;
        ER_OPAQUE(operands);
        ER_OPAQUE(tables);
        left--;
    }
}

#else
typedef int er_binary_tables_neon_is_empty;     /* a file must not be */
#endif
