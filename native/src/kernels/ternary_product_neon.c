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
#include "tiles.h"

enum { TRIPLE_TABLE = 32 };     /* bytes */

/* What N1 needs. */
typedef struct rounding {
    int16x8_t quarter, shift;
    int8x8_t least, most;
} rounding;

/* N1 on 8 values: a shift by a negative count rounds to the right. */
INLINE int8x8_t make_operands(const rounding *r, int16x8_t v)
{
    v = vsubq_s16(v, vandq_s16(vshrq_n_s16(v, 2), r->quarter));
    return vmax_s8(vmin_s8(vqmovn_s16(vrshlq_s16(v, r->shift)), r->most), r->least);
}

/* See kernels.h. The last values go through a copy: nothing behind x is read. */
void er_operands_neon(const er_product *product, const int16_t *x, int8_t *operands)
{
    const rounding r = {
        vdupq_n_s16(product->three_quarters ? -1 : 0),
        vdupq_n_s16((int16_t)-(int32_t)product->operand_shift),
        vdup_n_s8((int8_t)-product->clamp),
        vdup_n_s8((int8_t)product->clamp),
    };
    int16_t rest[8] = { 0 };
    uint32_t left = product->columns;
    uint32_t i;

    while (left >= 16) {        /* two registers, so that neither waits for itself */
        const int8x8_t a = make_operands(&r, vld1q_s16(x)), b = make_operands(&r, vld1q_s16(x + 8));

        vst1q_s8(operands, vcombine_s8(a, b));
        x += 16;
        operands += 16;
        left -= 16;
        ER_OPAQUE(x);
        ER_OPAQUE(operands);
        ER_OPAQUE(left);
    }
    if (left >= 8) {
        vst1_s8(operands, make_operands(&r, vld1q_s16(x)));
        x += 8;
        operands += 8;
        left -= 8;
    }
    for (i = 0; i < left; i++) {
        rest[i] = x[i];
    }
    vst1_s8(operands, make_operands(&r, vld1q_s16(rest)));
    operands += left;
    for (i = 0; i < ER_BYTE_PADDING; i += 16) {
        vst1q_s8(operands + i, vdupq_n_s8(0));
    }
}

/* The table of a group. at: for each of its two halves which bytes are added to the bias, of a register with the
 * operands in bytes 0 to 2 and their negatives in bytes 8 to 10. */
INLINE void make_table(int8x8_t x, const uint8x16_t at[6], uint8x16_t bias, uint8_t *table)
{
    const uint8x16_t both = vreinterpretq_u8_s8(vcombine_s8(x, vneg_s8(x)));
    uint8x16_t low = vaddq_u8(bias, er_lookup16(both, at[0]));
    uint8x16_t high = vaddq_u8(bias, er_lookup16(both, at[1]));

    low = vaddq_u8(low, er_lookup16(both, at[2]));
    high = vaddq_u8(high, er_lookup16(both, at[3]));
    vst1q_u8(table, vaddq_u8(low, er_lookup16(both, at[4])));
    vst1q_u8(table + 16, vaddq_u8(high, er_lookup16(both, at[5])));
}

/* Entry n of a table is the sum of what the three digits of n make of their columns, and the bias. */
void er_ternary_triples_tables_neon(const er_product *product, const int8_t *operands, uint8_t *tables)
{
    static const uint8_t terms[6][16] = {
        { 8, 99, 0, 8, 99, 0, 8, 99, 0, 8, 99, 0, 8, 99, 0, 8 },        /* 99: nothing */
        { 99, 0, 8, 99, 0, 8, 99, 0, 8, 99, 0, 99, 99, 99, 99, 99 },
        { 9, 9, 9, 99, 99, 99, 1, 1, 1, 9, 9, 9, 99, 99, 99, 1 },
        { 1, 1, 9, 9, 9, 99, 99, 99, 1, 1, 1, 99, 99, 99, 99, 99 },
        { 10, 10, 10, 10, 10, 10, 10, 10, 10, 99, 99, 99, 99, 99, 99, 99 },
        { 99, 99, 2, 2, 2, 2, 2, 2, 2, 2, 2, 99, 99, 99, 99, 99 },
    };
    uint8x16_t at[6];
    const uint8x16_t bias = vdupq_n_u8((uint8_t)product->table_bias);
    uint32_t left = product->group_count, i;

    for (i = 0; i < 6; i++) {
        at[i] = vld1q_u8(terms[i]);
    }
    while (left >= 2) {         /* a core that executes in order would wait within one */
        const int8x8_t x = vld1_s8(operands), next = vld1_s8(operands + 3);     /* before a store */

        make_table(x, at, bias, tables);
        make_table(next, at, bias, tables + TRIPLE_TABLE);
        operands += 6;
        tables += 2 * TRIPLE_TABLE;
        left -= 2;
        ER_OPAQUE(operands);
        ER_OPAQUE(tables);
        ER_OPAQUE(left);        /* else what is left is found by a multiplication */
    }
    if (left > 0) {
        make_table(vld1_s8(operands), at, bias, tables);
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

/* Keeps accumulators in registers and one half of the blocks behind the other. Among four, compilers find enough that
 * does not wait for a result: by llvm-mca a Cortex-A53 takes 103 cycles for eight blocks of three groups, 220 if every
 * block is kept in order, 120 without any order, which needs more registers than there are. ARMv7 has none to spare. */
#if defined(__aarch64__)
#define IN_ORDER(i) ((i) == 3)
#else
#define IN_ORDER(i) 1
#endif
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
        if (IN_ORDER(i)) {                                                                        \
            IN_REGISTERS(a[i], h[i]);                                                             \
        }                                                                                         \
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
    uint16x8_t a[8], h[8];          /* as many as ER_EACH_OF_8 names */
    uint32_t left = product->pass_count;

    ER_EACH_OF_8(blocks, START);
    do {
        const er_table32 t0 = er_table32_load(tables);
        const er_table32 t1 = groups > 1 ? er_table32_load(tables + TRIPLE_TABLE) : t0;
        const er_table32 t2 = groups > 1 ? er_table32_load(tables + 2 * TRIPLE_TABLE) : t0;

        ER_EACH_OF_8(blocks, PASS);
        tables += groups * TRIPLE_TABLE;
        ER_OPAQUE(tables);
        ER_OPAQUE(weights);
    } while (--left > 0);
    ER_EACH_OF_8(blocks, FINISH);
    return weights;
}

#if defined(__aarch64__)
#define TILES ER_TILES_TO_8
#else
#define TILES ER_TILES_TO_4
#endif

TILES(triples_single, 1)
TILES(triples_three, 3)

/* One group a pass: operands up to 31. */
void er_ternary_triples_single_neon(const er_product *product, const uint8_t *tables, int16_t *sums)
{
    er_run_tiles(product, tables, sums, triples_single, 4);
}

/* Three groups a pass: operands up to 14. */
void er_ternary_triples_three_neon(const er_product *product, const uint8_t *tables, int16_t *sums)
{
    er_run_tiles(product, tables, sums, triples_three, 4);
}

#else
typedef int er_ternary_product_neon_is_empty;   /* a file must not be */
#endif
