/* SPDX-License-Identifier: MIT
 *
 * Products of power-of-two weights by look-up, AVX2. As in pow2_product_avx512.c, with two columns of 16 rows
 * side by side in a register: lane l holds column l of a group of four in the low nibbles and column l + 2 in
 * the high ones. */
#if defined(__AVX2__)

#include <immintrin.h>
#include <stddef.h>
#include <string.h>

#include "kernels.h"
#include "opaque.h"
#include "tiles.h"

enum {
    MOST_BLOCKS = 2,        /* 4 accumulators each of 16 registers */
    GROUP_BYTES = 32,       /* of weights in a block */
    GROUP_TABLE = 128       /* bytes: fine and coarse of columns 0 and 1, then of columns 2 and 3 */
};

static inline __m256i load(const uint8_t *p)
{
    return _mm256_load_si256((const __m256i *)(const void *)p);
}

/* Keeps a compiler from knowing a value: clang makes a multiplication of shifts of some words. */
#define HIDE(x) __asm__("" : "+x"(x))

/* The tables of the two columns whose operands `place` picks. Shifts by a count per word are made of shifts by
 * 1, 2 and 4 of some words. */
static inline __attribute__((always_inline)) void two_columns(__m256i operands, __m256i place, __m128i split,
                                                              __m256i round, __m256i bias, uint8_t *tables)
{
    const __m256i mask = _mm256_add_epi16(round, bias);
    __m256i x = _mm256_srai_epi16(_mm256_shuffle_epi8(operands, place), 8), low, high;

    x = _mm256_blend_epi16(x, _mm256_setzero_si256(), 0x01);
    x = _mm256_blend_epi16(x, _mm256_slli_epi16(x, 1), 0x54);
    HIDE(x);
    x = _mm256_blend_epi16(x, _mm256_slli_epi16(x, 2), 0x98);
    HIDE(x);
    x = _mm256_blend_epi16(x, _mm256_slli_epi16(x, 4), 0xE0);
    HIDE(x);
    low = _mm256_add_epi16(round, x);
    high = _mm256_sub_epi16(round, x);
    _mm256_store_si256((__m256i *)(void *)tables,
                       _mm256_packus_epi16(_mm256_and_si256(low, mask), _mm256_and_si256(high, mask)));
    low = _mm256_add_epi16(_mm256_sra_epi16(low, split), bias);
    high = _mm256_add_epi16(_mm256_sra_epi16(high, split), bias);
    _mm256_store_si256((__m256i *)(void *)(tables + 32), _mm256_packus_epi16(low, high));
}

/* See kernels.h. table_bias is 2^(k-1) - 1, the bias of fine entries; those of coarse ones have one more. */
void er_pow2_tables_avx2(const er_product *product, const int8_t *operands, uint8_t *tables)
{
    const __m256i first = _mm256_inserti128_si256(_mm256_set1_epi16(0x0080), _mm_set1_epi16(0x0180), 1);
    const __m256i second = _mm256_inserti128_si256(_mm256_set1_epi16(0x0280), _mm_set1_epi16(0x0380), 1);
    const __m128i split = _mm_cvtsi32_si128((int)product->kind->split);
    const __m256i round = _mm256_set1_epi16((short)product->table_bias);
    const __m256i bias = _mm256_add_epi16(round, _mm256_set1_epi16(1));
    uint32_t left = product->group_count;

    while (left > 0) {
        int32_t bits;
        __m256i four;

        memcpy(&bits, operands, sizeof bits);
        four = _mm256_set1_epi32(bits);
        two_columns(four, first, split, round, bias, tables);
        two_columns(four, second, split, round, bias, tables + 64);
        operands += 4;
        tables += GROUP_TABLE;
        ER_OPAQUE(operands);
        ER_OPAQUE(tables);
        left--;
    }
}

/* Keeps accumulators in registers and blocks in order, as in ternary_product_avx2.c. */
#define IN_REGISTERS(a, b, c, d) __asm__ volatile("" : "+x"(a), "+x"(b), "+x"(c), "+x"(d))

#define START(i) { a[i] = fine_first; h[i] = fine_start; b[i] = coarse_first; g[i] = coarse_start; }
#define LOOK_UP(w, t)                                                                             \
    {                                                                                             \
        const __m256i n = load(w);                                                                \
        const __m256i even = _mm256_and_si256(n, nibble);                                         \
        const __m256i odd = _mm256_and_si256(_mm256_srli_epi16(n, 4), nibble);                    \
        fine = _mm256_add_epi8(fine, _mm256_shuffle_epi8(load(t), even));                         \
        coarse = _mm256_add_epi8(coarse, _mm256_shuffle_epi8(load((t) + 32), even));              \
        fine = _mm256_add_epi8(fine, _mm256_shuffle_epi8(load((t) + 64), odd));                   \
        coarse = _mm256_add_epi8(coarse, _mm256_shuffle_epi8(load((t) + 96), odd));               \
    }
#define PASS(i)                                                                                   \
    {                                                                                             \
        const uint8_t *w = weights + (i) * groups * GROUP_BYTES;                                  \
        __m256i fine = _mm256_setzero_si256(), coarse = _mm256_setzero_si256();                   \
        LOOK_UP(w, tables)                                                                        \
        if (groups > 1) LOOK_UP(w + GROUP_BYTES, tables + GROUP_TABLE)                            \
        a[i] = _mm256_add_epi16(a[i], fine);                                                      \
        h[i] = _mm256_add_epi16(h[i], _mm256_srli_epi16(fine, 8));                                \
        b[i] = _mm256_add_epi16(b[i], coarse);                                                    \
        g[i] = _mm256_add_epi16(g[i], _mm256_srli_epi16(coarse, 8));                              \
        IN_REGISTERS(a[i], h[i], b[i], g[i]);                                                     \
    }
#define FINISH(i)                                                                                 \
    {                                                                                             \
        store_rows(sums + (i) * 16, a[i], h[i]);                                                  \
        store_rows(coarse_sums + (i) * 16, b[i], g[i]);                                           \
    }

/* The sum of both lanes. */
static inline __m128i fold(__m256i v)
{
    return _mm_add_epi16(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
}

/* The sums of 16 rows from the sums of both bytes of words, and of the odd ones. */
static inline void store_rows(int16_t *sums, __m256i both, __m256i odd)
{
    _mm_store_si128((__m128i *)(void *)sums, fold(_mm256_sub_epi16(both, _mm256_slli_epi16(odd, 8))));
    _mm_store_si128((__m128i *)(void *)(sums + 8), fold(odd));
}

/* A tile: the sums of `blocks` row blocks over all groups. Returns the weights behind it. groups (of a pass) and
 * blocks are constants. */
static inline __attribute__((always_inline)) const uint8_t *
run_tile(const er_product *product, const uint8_t *weights, const uint8_t *tables, int16_t *sums,
         const uint32_t groups, const uint32_t blocks)
{
    const __m256i fine_start = _mm256_set1_epi16((short)product->start);
    const __m256i fine_first = _mm256_set1_epi16((short)product->start_both);
    const __m256i coarse_start = _mm256_set1_epi16((short)product->coarse_start);
    const __m256i coarse_first = _mm256_set1_epi16((short)product->coarse_start_both);
    const __m256i nibble = _mm256_set1_epi8(15);
    int16_t *coarse_sums = sums + product->coarse_offset;
    __m256i a[MOST_BLOCKS], h[MOST_BLOCKS], b[MOST_BLOCKS], g[MOST_BLOCKS];
    uint32_t left = product->pass_count;

    ER_EACH_OF_2(blocks, START);
    do {
        ER_EACH_OF_2(blocks, PASS);
        tables += groups * GROUP_TABLE;
        weights += blocks * groups * GROUP_BYTES;
        ER_OPAQUE(tables);
        ER_OPAQUE(weights);
    } while (--left > 0);
    ER_EACH_OF_2(blocks, FINISH);
    return weights;
}

/* All tiles of a product, first the tall ones. groups is a constant. */
static inline __attribute__((always_inline)) void run_tiles(const er_product *product, const uint8_t *tables,
                                                            int16_t *sums, const uint32_t groups)
{
    const uint8_t *weights = product->weights;
    uint32_t blocks = product->tile_blocks;
    uint32_t left = product->tall_count;
    uint32_t part;

    for (part = 0; part < 2; part++) {
        while (left > 0) {
            weights = blocks == 2 ? run_tile(product, weights, tables, sums, groups, 2)
                                  : run_tile(product, weights, tables, sums, groups, 1);
            sums += blocks << 4;
            ER_OPAQUE(sums);
            left--;
        }
        blocks--;
        left = product->low_count;
    }
}

/* One group a pass, split at 7 bits: operands up to 127. */
void er_pow2_single_avx2(const er_product *product, const uint8_t *tables, int16_t *sums)
{
    run_tiles(product, tables, sums, 1);
}

/* Two groups a pass, split at 6 bits: operands up to 31. */
void er_pow2_double_avx2(const er_product *product, const uint8_t *tables, int16_t *sums)
{
    run_tiles(product, tables, sums, 2);
}

#else
typedef int er_pow2_product_avx2_is_empty;      /* a file must not be */
#endif
