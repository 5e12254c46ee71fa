/* SPDX-License-Identifier: MIT
 *
 * Products of ternary weights by look-up, AVX-512 with BW but without VBMI: the pairs and the tables of
 * ternary_product_avx2.c, in blocks of 64 rows; and the operands of all of AVX-512. */
#if defined(__AVX512BW__)

#include <immintrin.h>
#include <stddef.h>

#include "kernels.h"
#include "opaque.h"
#include "tiles.h"

enum {
    MOST_BLOCKS = 10,       /* 2 accumulators each of 32 registers */
    PAIR_TABLE = 32         /* bytes: p twice, then q */
};

/* N1 on 32 values at a time; rs(t, s) = ((t >> (s - 1)) + 1) >> 1 keeps to 16 bits. A masked load reads
 * nothing behind x, and gives zeros for it. */
void er_operands_avx512(const er_product *product, const int16_t *x, int8_t *operands)
{
    const __m512i quarter = _mm512_set1_epi16(product->three_quarters ? -1 : 0);
    const __m512i one = _mm512_set1_epi16(product->operand_shift > 0 ? 1 : 0);
    const __m128i shift = _mm_cvtsi32_si128((int)(product->operand_shift - (product->operand_shift > 0)));
    const __m128i last = _mm_cvtsi32_si128(product->operand_shift > 0 ? 1 : 0);
    const __m256i most = _mm256_set1_epi8((char)product->clamp);
    const __m256i least = _mm256_set1_epi8((char)-product->clamp);
    uint32_t left = product->columns;

    while (left > 0) {
        const __mmask32 mask = left < 32 ? (1u << left) - 1 : 0xFFFFFFFFu;
        __m512i v = _mm512_maskz_loadu_epi16(mask, x);
        __m256i u;

        v = _mm512_sub_epi16(v, _mm512_and_si512(_mm512_srai_epi16(v, 2), quarter));
        v = _mm512_sra_epi16(_mm512_adds_epi16(_mm512_sra_epi16(v, shift), one), last);
        u = _mm512_cvtsepi16_epi8(v);
        u = _mm256_max_epi8(_mm256_min_epi8(u, most), least);
        _mm256_storeu_si256((__m256i *)(void *)operands, u);
        x += 32;
        operands += 32;
        ER_OPAQUE(x);
        ER_OPAQUE(operands);
        left = left < 32 ? 0 : left - 32;
    }
    _mm512_storeu_si512(operands, _mm512_setzero_si512());
    _mm512_storeu_si512(operands + 64, _mm512_setzero_si512());
}

/* 16 bytes in all quarters of a register. */
static inline __m512i load_table(const uint8_t *table)
{
    return _mm512_broadcast_i32x4(_mm_load_si128((const __m128i *)(const void *)table));
}

/* The biased sums that 64 weight bytes stand for in one group. */
static inline __attribute__((always_inline)) __m512i look_up(const uint8_t *weights, __m512i p, __m512i q)
{
    const __m512i w = _mm512_load_si512(weights);
    const __m512i high = _mm512_and_si512(_mm512_srli_epi16(w, 3), _mm512_set1_epi8(15));

    return _mm512_add_epi8(_mm512_shuffle_epi8(p, w), _mm512_shuffle_epi8(q, high));
}

/* Keeps two accumulators in registers and blocks in order: gcc otherwise takes all loads and look-ups of a
 * pass first, and spills. */
#define IN_REGISTERS(a, b) __asm__ volatile("" : "+v"(a), "+v"(b))

#define START(i) { h[i] = start; a[i] = first; }
#define PASS(i)                                                                                   \
    {                                                                                             \
        const uint8_t *w = weights + (i) * groups * 64;                                           \
        __m512i v = look_up(w, p0, q0);                                                           \
        if (groups > 1) {                                                                         \
            v = _mm512_add_epi8(v, look_up(w + 64, p1, q1));                                      \
        }                                                                                         \
        a[i] = _mm512_add_epi16(a[i], v);                                                         \
        h[i] = _mm512_add_epi16(h[i], _mm512_srli_epi16(v, 8));                                   \
        IN_REGISTERS(a[i], h[i]);                                                                 \
    }
#define FINISH(i)                                                                                 \
    {                                                                                             \
        _mm512_store_si512(sums + (i) * 64, _mm512_sub_epi16(a[i], _mm512_slli_epi16(h[i], 8)));  \
        _mm512_store_si512(sums + (i) * 64 + 32, h[i]);                                           \
    }

/* A tile: the sums of `blocks` row blocks over all groups. Returns the weights behind it. groups (of a
 * pass) and blocks are constants. */
static inline __attribute__((always_inline)) const uint8_t *
run_tile(const er_product *product, const uint8_t *weights, const uint8_t *tables, int16_t *sums,
         const uint32_t groups, const uint32_t blocks)
{
    const __m512i start = _mm512_set1_epi16((short)product->start);
    const __m512i first = _mm512_set1_epi16((short)product->start_both);
    __m512i a[MOST_BLOCKS], h[MOST_BLOCKS];
    uint32_t left = product->pass_count;

    ER_EACH_OF_10(blocks, START);
    do {
        const __m512i p0 = load_table(tables), q0 = load_table(tables + 16);
        const __m512i p1 = groups > 1 ? load_table(tables + PAIR_TABLE) : p0;
        const __m512i q1 = groups > 1 ? load_table(tables + PAIR_TABLE + 16) : q0;

        ER_EACH_OF_10(blocks, PASS);
        tables += groups * PAIR_TABLE;
        weights += blocks * groups * 64;
        ER_OPAQUE(tables);
        ER_OPAQUE(weights);
    } while (--left > 0);
    ER_EACH_OF_10(blocks, FINISH);
    return weights;
}

ER_TILES_TO_10(pairs_single, 1)
ER_TILES_TO_10(pairs_double, 2)

/* One group a pass: operands up to 31. */
void er_ternary_pairs_single_avx512bw(const er_product *product, const uint8_t *tables, int16_t *sums)
{
    er_run_tiles(product, tables, sums, pairs_single, 6);
}

/* Two groups a pass: operands up to 15. */
void er_ternary_pairs_double_avx512bw(const er_product *product, const uint8_t *tables, int16_t *sums)
{
    er_run_tiles(product, tables, sums, pairs_double, 6);
}

#else
typedef int er_ternary_product_avx512bw_is_empty;   /* a file must not be */
#endif
