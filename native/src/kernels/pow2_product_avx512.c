/* SPDX-License-Identifier: MIT
 *
 * Products of power-of-two weights by look-up, AVX-512 with BW. A block is 16 rows, four columns of each side by
 * side in a register: 16-byte lane l holds column l of a group of eight in the low nibbles of its bytes and
 * column l + 4 in the high ones (ER_FORM_NIBBLES). vpshufb looks up 64 products at once in the tables of four
 * columns.
 *
 * A product v of an operand and a weight takes more than a byte. With k the kind's split, fine = v rounded away
 * to a multiple of 2^k, of -2^(k-1) + 1 to 2^(k-1), and coarse = (v - fine) / 2^k have tables of their own,
 * biased to be unsigned, and sums of their own: the sums of a row are fine + coarse * 2^k. Bytes are added up as
 * in ternary_product_avx512.c, and at the end the four lanes. */
#if defined(__AVX512BW__)

#include <immintrin.h>
#include <stddef.h>
#include <string.h>

#include "kernels.h"
#include "opaque.h"
#include "tiles.h"

enum {
    MOST_BLOCKS = 4,        /* 4 accumulators each of 32 registers */
    GROUP_BYTES = 64,       /* of weights in a block */
    GROUP_TABLE = 256       /* bytes: fine and coarse of columns 0 to 3, then of columns 4 to 7 */
};

/* The tables of four columns. Words hold the products first, entries 0 to 7 of a column in one register, 8 to 15,
 * their negatives, in another. */
static inline __attribute__((always_inline)) void four_columns(const int8_t *operands, __m128i split, __m512i round,
                                                               __m512i bias, uint8_t *tables)
{
    const __m512i place = _mm512_set_epi64(0x0380038003800380, 0x0380038003800380, 0x0280028002800280,
                                           0x0280028002800280, 0x0180018001800180, 0x0180018001800180,
                                           0x0080008000800080, 0x0080008000800080);
    const __m512i shifts = _mm512_broadcast_i32x4(_mm_setr_epi16(0, 0, 1, 2, 3, 4, 5, 6));
    const __m512i mask = _mm512_add_epi16(round, _mm512_add_epi16(round, _mm512_set1_epi16(1)));
    int32_t bits;
    __m512i x, low, high;

    memcpy(&bits, operands, sizeof bits);
    x = _mm512_srai_epi16(_mm512_shuffle_epi8(_mm512_set1_epi32(bits), place), 8);
    x = _mm512_maskz_sllv_epi16(0xFEFEFEFE, x, shifts);
    low = _mm512_add_epi16(round, x);
    high = _mm512_sub_epi16(round, x);
    _mm512_store_si512(tables, _mm512_packus_epi16(_mm512_and_si512(low, mask), _mm512_and_si512(high, mask)));
    low = _mm512_add_epi16(_mm512_sra_epi16(low, split), bias);
    high = _mm512_add_epi16(_mm512_sra_epi16(high, split), bias);
    _mm512_store_si512(tables + 64, _mm512_packus_epi16(low, high));
}

/* See kernels.h. table_bias is 2^(k-1) - 1, the bias of fine entries; those of coarse ones have one more. */
void er_pow2_tables_avx512(const er_product *product, const int8_t *operands, uint8_t *tables)
{
    const __m128i split = _mm_cvtsi32_si128((int)product->kind->split);
    const __m512i round = _mm512_set1_epi16((short)product->table_bias);
    const __m512i bias = _mm512_add_epi16(round, _mm512_set1_epi16(1));
    uint32_t left = product->group_count;

    while (left > 0) {
        four_columns(operands, split, round, bias, tables);
        four_columns(operands + 4, split, round, bias, tables + 128);
        operands += 8;
        tables += GROUP_TABLE;
        ER_OPAQUE(operands);
        ER_OPAQUE(tables);
        left--;
    }
}

/* Keeps accumulators in registers and blocks in order, as in ternary_product_avx512.c. */
#define IN_REGISTERS(a, b, c, d) __asm__ volatile("" : "+v"(a), "+v"(b), "+v"(c), "+v"(d))

#define START(i) { a[i] = fine_first; h[i] = fine_start; b[i] = coarse_first; g[i] = coarse_start; }
#define LOOK_UP(w, fine_even, coarse_even, fine_odd, coarse_odd)                                  \
    {                                                                                             \
        const __m512i n = _mm512_load_si512(w);                                                   \
        const __m512i even = _mm512_and_si512(n, nibble);                                         \
        const __m512i odd = _mm512_and_si512(_mm512_srli_epi16(n, 4), nibble);                    \
        fine = _mm512_add_epi8(fine, _mm512_shuffle_epi8(fine_even, even));                       \
        coarse = _mm512_add_epi8(coarse, _mm512_shuffle_epi8(coarse_even, even));                 \
        fine = _mm512_add_epi8(fine, _mm512_shuffle_epi8(fine_odd, odd));                         \
        coarse = _mm512_add_epi8(coarse, _mm512_shuffle_epi8(coarse_odd, odd));                   \
    }
#define PASS(i)                                                                                   \
    {                                                                                             \
        const uint8_t *w = weights + (i) * groups * GROUP_BYTES;                                  \
        __m512i fine = _mm512_setzero_si512(), coarse = _mm512_setzero_si512();                   \
        LOOK_UP(w, t0, t1, t2, t3)                                                                \
        if (groups > 1) LOOK_UP(w + GROUP_BYTES, t4, t5, t6, t7)                                  \
        a[i] = _mm512_add_epi16(a[i], fine);                                                      \
        h[i] = _mm512_add_epi16(h[i], _mm512_srli_epi16(fine, 8));                                \
        b[i] = _mm512_add_epi16(b[i], coarse);                                                    \
        g[i] = _mm512_add_epi16(g[i], _mm512_srli_epi16(coarse, 8));                              \
        IN_REGISTERS(a[i], h[i], b[i], g[i]);                                                     \
    }
#define FINISH(i)                                                                                 \
    {                                                                                             \
        store_rows(sums + (i) * 16, a[i], h[i]);                                                  \
        store_rows(coarse_sums + (i) * 16, b[i], g[i]);                                           \
    }

/* The sum of the four lanes. */
static inline __m128i fold(__m512i v)
{
    const __m256i half = _mm256_add_epi16(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));

    return _mm_add_epi16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

/* The sums of 16 rows from the sums of both bytes of words, and of the odd ones. */
static inline void store_rows(int16_t *sums, __m512i both, __m512i odd)
{
    _mm_store_si128((__m128i *)(void *)sums, fold(_mm512_sub_epi16(both, _mm512_slli_epi16(odd, 8))));
    _mm_store_si128((__m128i *)(void *)(sums + 8), fold(odd));
}

/* A tile: the sums of `blocks` row blocks over all groups. Returns the weights behind it. groups (of a pass) and
 * blocks are constants. */
static inline __attribute__((always_inline)) const uint8_t *
run_tile(const er_product *product, const uint8_t *weights, const uint8_t *tables, int16_t *sums,
         const uint32_t groups, const uint32_t blocks)
{
    const __m512i fine_start = _mm512_set1_epi16((short)product->start);
    const __m512i fine_first = _mm512_set1_epi16((short)product->start_both);
    const __m512i coarse_start = _mm512_set1_epi16((short)product->coarse_start);
    const __m512i coarse_first = _mm512_set1_epi16((short)product->coarse_start_both);
    const __m512i nibble = _mm512_set1_epi8(15);
    int16_t *coarse_sums = sums + product->coarse_offset;
    __m512i a[MOST_BLOCKS], h[MOST_BLOCKS], b[MOST_BLOCKS], g[MOST_BLOCKS];
    uint32_t left = product->pass_count;

    ER_EACH_OF_4(blocks, START);
    do {
        const uint8_t *second = groups > 1 ? tables + GROUP_TABLE : tables;
        const __m512i t0 = _mm512_load_si512(tables), t1 = _mm512_load_si512(tables + 64);
        const __m512i t2 = _mm512_load_si512(tables + 128), t3 = _mm512_load_si512(tables + 192);
        const __m512i t4 = _mm512_load_si512(second), t5 = _mm512_load_si512(second + 64);
        const __m512i t6 = _mm512_load_si512(second + 128), t7 = _mm512_load_si512(second + 192);

        ER_EACH_OF_4(blocks, PASS);
        tables += groups * GROUP_TABLE;
        weights += blocks * groups * GROUP_BYTES;
        ER_OPAQUE(tables);
        ER_OPAQUE(weights);
    } while (--left > 0);
    ER_EACH_OF_4(blocks, FINISH);
    return weights;
}

ER_TILES_TO_4(single, 1)
ER_TILES_TO_4(two, 2)

/* One group a pass, split at 7 bits: operands up to 127. */
void er_pow2_single_avx512(const er_product *product, const uint8_t *tables, int16_t *sums)
{
    er_run_tiles(product, tables, sums, single, 4);
}

/* Two groups a pass, split at 6 bits: operands up to 31. */
void er_pow2_double_avx512(const er_product *product, const uint8_t *tables, int16_t *sums)
{
    er_run_tiles(product, tables, sums, two, 4);
}

#else
typedef int er_pow2_product_avx512_is_empty;    /* a file must not be */
#endif
