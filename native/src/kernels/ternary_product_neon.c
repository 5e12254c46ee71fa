/* SPDX-License-Identifier: MIT
 *
 * Products of ternary weights by look-up: NEON of AArch64 and ARMv7. A block is 16 rows, a weight byte of each
 * side by side in a register. A byte holds three weights (ER_FORM_THREE); a group of three columns has a table
 * of 27 bytes in two registers. Even and odd bytes are added up as in ternary_product_avx512.c. */
#if defined(__ARM_NEON)

#include <stddef.h>

#include "kernels.h"
#include "neon.h"
#include "opaque.h"

enum { TRIPLE_TABLE = 32 };     /* bytes */

/* N1 on 8 values: srshl with a negative count is the rounding shift. */
INLINE int8x8_t make_operands(const er_product *product, int16x8_t v)
{
    const int16x8_t quarter = vdupq_n_s16(product->three_quarters ? -1 : 0);
    const int8x8_t most = vdup_n_s8((int8_t)product->clamp);

    v = vsubq_s16(v, vandq_s16(vshrq_n_s16(v, 2), quarter));
    v = vrshlq_s16(v, vdupq_n_s16((int16_t)-(int32_t)product->operand_shift));
    return vmax_s8(vmin_s8(vqmovn_s16(v), most), vneg_s8(most));
}

/* See kernels.h. The last values go through a copy: nothing behind x is read. */
void er_operands_neon(const er_product *product, const int16_t *x, int8_t *operands)
{
    int16_t rest[8] = { 0 };
    uint32_t left = product->columns;
    uint32_t i;

    while (left >= 8) {
        vst1_s8(operands, make_operands(product, vld1q_s16(x)));
        x += 8;
        operands += 8;
        left -= 8;
        ER_OPAQUE(x);
        ER_OPAQUE(operands);
        ER_OPAQUE(left);
    }
    for (i = 0; i < left; i++) {
        rest[i] = x[i];
    }
    vst1_s8(operands, make_operands(product, vld1q_s16(rest)));
    operands += left;
    for (i = 0; i < ER_BYTE_PADDING; i += 16) {
        vst1q_s8(operands + i, vdupq_n_s8(0));
    }
}

/* The table of a group: entry n is the sum number n mod 9 of its first two columns, which carries the bias,
 * and number n / 9 of its third. Those stand in bytes 0 to 8 and 9 to 11 of a register. */
void er_ternary_triples_tables_neon(const er_product *product, const int8_t *operands, uint8_t *tables)
{
    static const uint8_t constants[][16] = {
        { 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 2, 255, 255, 255, 255 },     /* operand of each byte, */
        { 1, 1, 1, 1, 1, 1, 1, 1, 1, 255, 255, 255, 255, 255, 255, 255 },   /* and the second one */
        { 0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0, 0, 0 },     /* where it is added, */
        { 255, 0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0, 0, 0, 0, 0 },     /* where subtracted */
        { 0, 0, 0, 0, 0, 0, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0 },
        { 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 },
        { 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0 },   /* where biased */
        { 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 2, 3, 4, 5, 6 },             /* n mod 9 */
        { 7, 8, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0 },
        { 9, 9, 9, 9, 9, 9, 9, 9, 9, 10, 10, 10, 10, 10, 10, 10 },      /* 9 + n / 9 */
        { 10, 10, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11 },
    };
    uint8x16_t c[11], bias;
    uint32_t left = product->group_count, i;

    for (i = 0; i < 11; i++) {
        c[i] = vld1q_u8(constants[i]);
    }
    bias = vandq_u8(c[6], vdupq_n_u8((uint8_t)product->table_bias));
    while (left > 0) {
        const uint8x16_t three = vcombine_u8(vld1_u8((const uint8_t *)operands), vdup_n_u8(0));
        const uint8x16_t a = er_lookup16(three, c[0]), b = er_lookup16(three, c[1]);
        uint8x16_t sums = vaddq_u8(bias, vandq_u8(a, c[2]));

        sums = vsubq_u8(sums, vandq_u8(a, c[3]));
        sums = vaddq_u8(sums, vandq_u8(b, c[4]));
        sums = vsubq_u8(sums, vandq_u8(b, c[5]));
        vst1q_u8(tables, vaddq_u8(er_lookup16(sums, c[7]), er_lookup16(sums, c[9])));
        vst1q_u8(tables + 16, vaddq_u8(er_lookup16(sums, c[8]), er_lookup16(sums, c[10])));
        operands += 3;
        tables += TRIPLE_TABLE;
        ER_OPAQUE(operands);
        ER_OPAQUE(tables);
        left--;
    }
}

/* The next 16 weight bytes. ARMv7 has loads that move their address on, but none with an offset. */
INLINE uint8x16_t next_bytes(const uint8_t **weights)
{
    const uint8x16_t bytes = vld1q_u8(*weights);

    *weights += 16;
#if !defined(__aarch64__)
    ER_OPAQUE(*weights);
#endif
    return bytes;
}

/* Do X(i) for i = 0 .. count - 1, count a constant: written out, since accumulators must be registers. */
#define EACH_BLOCK(count, X)    \
    do {                        \
        if ((count) > 0) X(0)   \
        if ((count) > 1) X(1)   \
        if ((count) > 2) X(2)   \
        if ((count) > 3) X(3)   \
        if ((count) > 4) X(4)   \
        if ((count) > 5) X(5)   \
        if ((count) > 6) X(6)   \
        if ((count) > 7) X(7)   \
    } while (0)

/* Keeps two accumulators in registers and blocks in order, as in ternary_product_avx512.c. */
#define IN_REGISTERS(a, b) __asm__ volatile("" : "+w"(a), "+w"(b))

#define START(i) { h[i] = start; a[i] = first; }
#define PASS(i)                                                                                   \
    {                                                                                             \
        uint8x16_t v = er_lookup32(t0, next_bytes(&weights));                                     \
        if (groups > 1) {                                                                         \
            v = vaddq_u8(v, er_lookup32(t1, next_bytes(&weights)));                               \
            v = vaddq_u8(v, er_lookup32(t2, next_bytes(&weights)));                               \
        }                                                                                         \
        a[i] = vaddq_u16(a[i], vreinterpretq_u16_u8(v));                                          \
        h[i] = vsraq_n_u16(h[i], vreinterpretq_u16_u8(v), 8);                                     \
        IN_REGISTERS(a[i], h[i]);                                                                 \
    }
#define FINISH(i)                                                                                 \
    {                                                                                             \
        vst1q_s16(sums + (i) * 16, vreinterpretq_s16_u16(vsubq_u16(a[i], vshlq_n_u16(h[i], 8)))); \
        vst1q_s16(sums + (i) * 16 + 8, vreinterpretq_s16_u16(h[i]));                              \
    }

/* A tile: the sums of `blocks` row blocks over all groups. Returns the weights behind it. groups (of a
 * pass, 1 or 3) and blocks are constants. */
INLINE const uint8_t *
run_tile(const er_product *product, const uint8_t *weights, const uint8_t *tables, int16_t *sums,
         const uint32_t groups, const uint32_t blocks)
{
    const uint16x8_t start = vdupq_n_u16((uint16_t)product->start);
    const uint16x8_t first = vdupq_n_u16((uint16_t)product->start_both);
    uint16x8_t a[8], h[8];          /* as many as EACH_BLOCK names */
    uint32_t left = product->pass_count;

    EACH_BLOCK(blocks, START);
    do {
        const er_table32 t0 = er_table32_load(tables);
        const er_table32 t1 = groups > 1 ? er_table32_load(tables + TRIPLE_TABLE) : t0;
        const er_table32 t2 = groups > 1 ? er_table32_load(tables + 2 * TRIPLE_TABLE) : t0;

        EACH_BLOCK(blocks, PASS);
        tables += groups * TRIPLE_TABLE;
        ER_OPAQUE(tables);
        ER_OPAQUE(weights);
    } while (--left > 0);
    EACH_BLOCK(blocks, FINISH);
    return weights;
}

typedef const uint8_t *tile_fn(const er_product *product, const uint8_t *weights, const uint8_t *tables,
                               int16_t *sums);

#define TILE(name, groups, blocks)                                                                \
    static const uint8_t *name##_##blocks(const er_product *product, const uint8_t *weights,      \
                                          const uint8_t *tables, int16_t *sums)                   \
    {                                                                                             \
        return run_tile(product, weights, tables, sums, groups, blocks);                          \
    }
#if defined(__aarch64__)
#define TILES(name, groups)                                                                       \
    TILE(name, groups, 1)                                                                         \
    TILE(name, groups, 2)                                                                         \
    TILE(name, groups, 3)                                                                         \
    TILE(name, groups, 4)                                                                         \
    TILE(name, groups, 5)                                                                         \
    TILE(name, groups, 6)                                                                         \
    TILE(name, groups, 7)                                                                         \
    TILE(name, groups, 8)                                                                         \
    static tile_fn *const name[ER_NEON_BLOCKS + 1] = {                                            \
        NULL, name##_1, name##_2, name##_3, name##_4, name##_5, name##_6, name##_7, name##_8,     \
    };
#else
#define TILES(name, groups)                                                                       \
    TILE(name, groups, 1)                                                                         \
    TILE(name, groups, 2)                                                                         \
    TILE(name, groups, 3)                                                                         \
    TILE(name, groups, 4)                                                                         \
    static tile_fn *const name[ER_NEON_BLOCKS + 1] = { NULL, name##_1, name##_2, name##_3, name##_4 };
#endif

TILES(triples_single, 1)
TILES(triples_three, 3)

/* All tiles of a product, first the tall ones. tiles: the functions by the number of blocks. */
static void run_tiles(const er_product *product, const uint8_t *tables, int16_t *sums, tile_fn *const *tiles)
{
    const uint8_t *weights = product->weights;
    uint32_t blocks = product->tile_blocks;
    uint32_t left = product->tall_count;
    uint32_t part;

    for (part = 0; part < 2; part++) {
        while (left > 0) {
            weights = tiles[blocks](product, weights, tables, sums);
            sums += blocks << 4;
            ER_OPAQUE(sums);
            left--;
        }
        blocks--;
        left = product->low_count;
    }
}

/* One group a pass: operands up to 31. */
void er_ternary_triples_single_neon(const er_product *product, const uint8_t *tables, int16_t *sums)
{
    run_tiles(product, tables, sums, triples_single);
}

/* Three groups a pass: operands up to 14. */
void er_ternary_triples_three_neon(const er_product *product, const uint8_t *tables, int16_t *sums)
{
    run_tiles(product, tables, sums, triples_three);
}

#else
typedef int er_ternary_product_neon_is_empty;   /* a file must not be */
#endif
