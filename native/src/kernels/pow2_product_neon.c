/* SPDX-License-Identifier: MIT
 *
 * Products of power-of-two weights by look-up: NEON of AArch64 and ARMv7. As in pow2_product_avx512.c, with groups
 * of two columns: the first in the low nibbles of a block's 16 bytes, the second in the high ones. */
#if defined(__ARM_NEON)

#include <stddef.h>

#include "kernels.h"
#include "neon.h"
#include "opaque.h"
#include "tiles.h"

enum { GROUP_TABLE = 64 };      /* bytes: fine and coarse of the first column, then of the second */

/* What tables are made with, in each lane: 2^(k-1) - 1, the mask of k bits, 2^(k-1), and -k. */
typedef struct splitter {
    int16x8_t round, mask, bias, right;
} splitter;

/* The tables of a column. Entries 0 to 7 are its products, 8 to 15 their negatives. */
INLINE void make_tables(int8_t operand, int16x8_t shifts, const splitter *s, uint8_t *tables)
{
    const int16x8_t x = vshlq_s16(vdupq_n_s16(operand), shifts);
    const int16x8_t low = vaddq_s16(s->round, x), high = vsubq_s16(s->round, x);
    const int16x8_t coarse_low = vaddq_s16(vshlq_s16(low, s->right), s->bias);
    const int16x8_t coarse_high = vaddq_s16(vshlq_s16(high, s->right), s->bias);

    vst1_u8(tables, vreinterpret_u8_s8(vmovn_s16(vandq_s16(low, s->mask))));
    vst1_u8(tables + 8, vreinterpret_u8_s8(vmovn_s16(vandq_s16(high, s->mask))));
    vst1_u8(tables + 16, vreinterpret_u8_s8(vmovn_s16(coarse_low)));
    vst1_u8(tables + 24, vreinterpret_u8_s8(vmovn_s16(coarse_high)));
}

/* See kernels.h. table_bias is 2^(k-1) - 1, the bias of fine entries; those of coarse ones have one more. */
void er_pow2_tables_neon(const er_product *product, const int8_t *operands, uint8_t *tables)
{
    static const int16_t exponents[8] = { 16, 0, 1, 2, 3, 4, 5, 6 };    /* a shift by 16 leaves nothing */
    const int16x8_t shifts = vld1q_s16(exponents);
    const int16_t round = (int16_t)product->table_bias;
    const splitter s = {
        vdupq_n_s16(round),
        vdupq_n_s16((int16_t)(round + round + 1)),
        vdupq_n_s16((int16_t)(round + 1)),
        vdupq_n_s16((int16_t)-(int32_t)product->kind->split),
    };
    uint32_t left = product->group_count;

    while (left > 0) {
        const int8_t first = operands[0], second = operands[1];     /* before a store */

        make_tables(first, shifts, &s, tables);
        make_tables(second, shifts, &s, tables + 32);
        operands += 2;
        tables += GROUP_TABLE;
        ER_OPAQUE(operands);
        ER_OPAQUE(tables);
        left--;
    }
}

/* Keeps accumulators in registers and blocks in order, as in ternary_product_avx512.c. */
#define IN_REGISTERS(a, b, c, d) __asm__ volatile("" : "+w"(a), "+w"(b), "+w"(c), "+w"(d))

#define START(i) { a[i] = fine_first; h[i] = fine_start; b[i] = coarse_first; g[i] = coarse_start; }
#define LOOK_UP(t)                                                                                \
    {                                                                                             \
        const uint8x16_t n = vld1q_u8(weights);                                                   \
        const uint8x16_t even = vandq_u8(n, vdupq_n_u8(15)), odd = vshrq_n_u8(n, 4);              \
        fine = vaddq_u8(fine, er_lookup16(vld1q_u8(t), even));                                    \
        coarse = vaddq_u8(coarse, er_lookup16(vld1q_u8((t) + 16), even));                         \
        fine = vaddq_u8(fine, er_lookup16(vld1q_u8((t) + 32), odd));                              \
        coarse = vaddq_u8(coarse, er_lookup16(vld1q_u8((t) + 48), odd));                          \
        weights += 16;                                                                            \
    }
#define PASS(i)                                                                                   \
    {                                                                                             \
        uint8x16_t fine = vdupq_n_u8(0), coarse = vdupq_n_u8(0);                                  \
        LOOK_UP(tables)                                                                           \
        if (groups > 1) LOOK_UP(tables + GROUP_TABLE)                                             \
        a[i] = vaddq_u16(a[i], vreinterpretq_u16_u8(fine));                                       \
        h[i] = vsraq_n_u16(h[i], vreinterpretq_u16_u8(fine), 8);                                  \
        b[i] = vaddq_u16(b[i], vreinterpretq_u16_u8(coarse));                                     \
        g[i] = vsraq_n_u16(g[i], vreinterpretq_u16_u8(coarse), 8);                                \
        IN_REGISTERS(a[i], h[i], b[i], g[i]);                                                     \
    }
#define FINISH(i)                                                                                 \
    {                                                                                             \
        store_rows(sums + (i) * 16, a[i], h[i]);                                                  \
        store_rows(coarse_sums + (i) * 16, b[i], g[i]);                                           \
    }

/* The sums of 16 rows from the sums of both bytes of words, and of the odd ones. */
INLINE void store_rows(int16_t *sums, uint16x8_t both, uint16x8_t odd)
{
    vst1q_s16(sums, vreinterpretq_s16_u16(vsubq_u16(both, vshlq_n_u16(odd, 8))));
    vst1q_s16(sums + 8, vreinterpretq_s16_u16(odd));
}

/* A tile: the sums of `blocks` row blocks over all groups. Returns the weights behind it. groups (of a pass) and
 * blocks are constants. */
INLINE const uint8_t *
run_tile(const er_product *product, const uint8_t *weights, const uint8_t *tables, int16_t *sums,
         const uint32_t groups, const uint32_t blocks)
{
    const uint16x8_t fine_start = vdupq_n_u16((uint16_t)product->start);
    const uint16x8_t fine_first = vdupq_n_u16((uint16_t)product->start_both);
    const uint16x8_t coarse_start = vdupq_n_u16((uint16_t)product->coarse_start);
    const uint16x8_t coarse_first = vdupq_n_u16((uint16_t)product->coarse_start_both);
    int16_t *coarse_sums = sums + product->coarse_offset;
    uint16x8_t a[4], h[4], b[4], g[4];      /* as many as ER_EACH_OF_4 names */
    uint32_t left = product->pass_count;

    ER_EACH_OF_4(blocks, START);
    do {
        ER_EACH_OF_4(blocks, PASS);
        tables += groups * GROUP_TABLE;
        ER_OPAQUE(tables);
        ER_OPAQUE(weights);
    } while (--left > 0);
    ER_EACH_OF_4(blocks, FINISH);
    return weights;
}

/* All tiles of a product, first the tall ones. groups is a constant. */
INLINE void run_tiles(const er_product *product, const uint8_t *tables, int16_t *sums, const uint32_t groups)
{
    const uint8_t *weights = product->weights;
    uint32_t blocks = product->tile_blocks;
    uint32_t left = product->tall_count;
    uint32_t part;

    for (part = 0; part < 2; part++) {
        while (left > 0) {
            switch (blocks) {
#if defined(__aarch64__)
            case 4:
                weights = run_tile(product, weights, tables, sums, groups, 4);
                break;
            case 3:
                weights = run_tile(product, weights, tables, sums, groups, 3);
                break;
#endif
            case 2:
                weights = run_tile(product, weights, tables, sums, groups, 2);
                break;
            default:
                weights = run_tile(product, weights, tables, sums, groups, 1);
                break;
            }
            sums += blocks << 4;
            ER_OPAQUE(sums);
            left--;
        }
        blocks--;
        left = product->low_count;
    }
}

/* One group a pass, split at 7 bits: operands up to 127. */
void er_pow2_single_neon(const er_product *product, const uint8_t *tables, int16_t *sums)
{
    run_tiles(product, tables, sums, 1);
}

/* Two groups a pass, split at 6 bits: operands up to 31. */
void er_pow2_double_neon(const er_product *product, const uint8_t *tables, int16_t *sums)
{
    run_tiles(product, tables, sums, 2);
}

#else
typedef int er_pow2_product_neon_is_empty;      /* a file must not be */
#endif
