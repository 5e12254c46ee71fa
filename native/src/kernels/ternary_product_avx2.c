/* SPDX-License-Identifier: MIT
 *
 * Products of ternary weights by look-up, AVX2. A block is 32 rows, a weight byte of each side by side in a
 * register. A byte holds two pairs of weights (ER_FORM_PAIRS), p = w0 + 3 w1 and q = w2 + 3 w3: bit 7 says
 * that p is 0, else bits 0 to 2 count its eight other values; bits 3 to 6 are q + 4. vpshufb looks up p by
 * the byte as it is, giving 0 where bit 7 is set and taking bit 3 along, for which the table repeats itself;
 * q takes a shift and a mask. The table of q carries the bias. Even and odd bytes are added up as in
 * ternary_product_avx512.c. */
#if defined(__AVX2__)

#include <immintrin.h>
#include <stddef.h>
#include <string.h>

#include "changes.h"
#include "kernels.h"
#include "opaque.h"
#include "tiles.h"

enum {
    MOST_BLOCKS = 4,        /* 2 accumulators each of 16 registers */
    PAIR_TABLE = 32,        /* bytes: p twice, then q */
    MOST_WORDS = 8192 / 64  /* of a bit for each column */
};

/* N1 made ready: rs(t, s) = ((t >> (s - 1)) + 1) >> 1 keeps to 16 bits. In registers, since operands of 8
 * bits might otherwise lie over the product: 512 of them in 0.04 us instead of 0.09. */
typedef struct rounding {
    __m256i quarter, one, most, least;
    __m128i shift, last;
} rounding;

static inline rounding make_rounding(const er_product *product)
{
    const int32_t some = product->operand_shift > 0;
    rounding r;

    r.quarter = _mm256_set1_epi16(product->three_quarters ? -1 : 0);
    r.one = _mm256_set1_epi16((short)some);
    r.most = _mm256_set1_epi8((char)product->clamp);
    r.least = _mm256_set1_epi8((char)-product->clamp);
    r.shift = _mm_cvtsi32_si128((int32_t)product->operand_shift - some);
    r.last = _mm_cvtsi32_si128(some);
    return r;
}

/* The 16 values at x. */
static inline __m256i rounded(const rounding *r, const int16_t *x)
{
    __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)x);

    v = _mm256_sub_epi16(v, _mm256_and_si256(_mm256_srai_epi16(v, 2), r->quarter));
    return _mm256_sra_epi16(_mm256_adds_epi16(_mm256_sra_epi16(v, r->shift), r->one), r->last);
}

/* N1 on 32 values. */
static inline void make_operands(const rounding *r, const int16_t *x, int8_t *operands)
{
    __m256i u = _mm256_packs_epi16(rounded(r, x), rounded(r, x + 16));

    u = _mm256_max_epi8(_mm256_min_epi8(_mm256_permute4x64_epi64(u, 0xD8), r->most), r->least);
    _mm256_storeu_si256((__m256i *)(void *)operands, u);
}

/* See kernels.h. The last values go through a copy: nothing behind x is read. */
void er_operands_avx2(const er_product *product, const int16_t *x, int8_t *operands)
{
    const rounding r = make_rounding(product);
    int16_t rest[32] = { 0 };
    uint32_t left = product->columns;
    uint32_t i;

    while (left >= 32) {
        make_operands(&r, x, operands);
        x += 32;
        operands += 32;
        left -= 32;
        ER_OPAQUE(x);
        ER_OPAQUE(operands);
        ER_OPAQUE(left);
    }
    for (i = 0; i < left; i++) {
        rest[i] = x[i];
    }
    make_operands(&r, rest, operands);
    operands += left;
    for (i = 0; i < ER_BYTE_PADDING; i += 32) {
        _mm256_storeu_si256((__m256i *)(void *)(operands + i), _mm256_setzero_si256());
    }
}

/* The table of a group: in the low half the eight values of p other than 0, twice, in the high half the
 * nine of q. A sign of 1, 0 or -1 takes an operand as it is, leaves it out, or negates it. */
void er_ternary_pairs_tables_avx2(const er_product *product, const int8_t *operands, uint8_t *tables)
{
    const __m256i first = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                           2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2);
    const __m256i second = _mm256_add_epi8(first, _mm256_set1_epi8(1));
    const __m256i first_sign = _mm256_setr_epi8(-1, 0, 1, -1, 1, -1, 0, 1, -1, 0, 1, -1, 1, -1, 0, 1,
                                                -1, 0, 1, -1, 0, 1, -1, 0, 1, 0, 0, 0, 0, 0, 0, 0);
    const __m256i second_sign = _mm256_setr_epi8(-1, -1, -1, 0, 0, 1, 1, 1, -1, -1, -1, 0, 0, 1, 1, 1,
                                                 -1, -1, -1, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0);
    const __m256i bias = _mm256_inserti128_si256(_mm256_setzero_si256(),
                                                 _mm_set1_epi8((char)product->table_bias), 1);
    uint32_t left = product->group_count;

    while (left > 0) {
        int32_t bits;
        __m256i four, p;

        memcpy(&bits, operands, sizeof bits);
        four = _mm256_set1_epi32(bits);
        p = _mm256_add_epi8(_mm256_sign_epi8(_mm256_shuffle_epi8(four, first), first_sign), bias);
        p = _mm256_add_epi8(p, _mm256_sign_epi8(_mm256_shuffle_epi8(four, second), second_sign));
        _mm256_store_si256((__m256i *)(void *)tables, p);
        operands += 4;
        tables += PAIR_TABLE;
        ER_OPAQUE(tables);
        left--;
    }
}

/* 16 bytes in both halves of a register. */
static inline __m256i load_table(const uint8_t *table)
{
    return _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)(const void *)table));
}

/* The biased sums that 32 weight bytes stand for in one group. */
static inline __attribute__((always_inline)) __m256i look_up(const uint8_t *weights, __m256i p, __m256i q)
{
    const __m256i w = _mm256_load_si256((const __m256i *)(const void *)weights);
    const __m256i high = _mm256_and_si256(_mm256_srli_epi16(w, 3), _mm256_set1_epi8(15));

    return _mm256_add_epi8(_mm256_shuffle_epi8(p, w), _mm256_shuffle_epi8(q, high));
}

/* Keeps two accumulators in registers and blocks in order: gcc otherwise takes all loads and look-ups of a
 * pass first, and spills. */
#define IN_REGISTERS(a, b) __asm__ volatile("" : "+x"(a), "+x"(b))

#define START(i) { h[i] = start; a[i] = first; }
#define PASS(i)                                                                                   \
    {                                                                                             \
        const uint8_t *w = weights + (i) * groups * 32;                                           \
        __m256i v = look_up(w, p0, q0);                                                           \
        if (groups > 1) {                                                                         \
            v = _mm256_add_epi8(v, look_up(w + 32, p1, q1));                                      \
        }                                                                                         \
        a[i] = _mm256_add_epi16(a[i], v);                                                         \
        h[i] = _mm256_add_epi16(h[i], _mm256_srli_epi16(v, 8));                                   \
        IN_REGISTERS(a[i], h[i]);                                                                 \
    }
#define FINISH(i)                                                                                 \
    {                                                                                             \
        _mm256_store_si256((__m256i *)(void *)(sums + (i) * 32),                                  \
                           _mm256_sub_epi16(a[i], _mm256_slli_epi16(h[i], 8)));                   \
        _mm256_store_si256((__m256i *)(void *)(sums + (i) * 32 + 16), h[i]);                      \
    }

/* A tile: the sums of `blocks` row blocks over all groups. Returns the weights behind it. groups (of a
 * pass) and blocks are constants. */
static inline __attribute__((always_inline)) const uint8_t *
run_tile(const er_product *product, const uint8_t *weights, const uint8_t *tables, int16_t *sums,
         const uint32_t groups, const uint32_t blocks)
{
    const __m256i start = _mm256_set1_epi16((short)product->start);
    const __m256i first = _mm256_set1_epi16((short)product->start_both);
    __m256i a[MOST_BLOCKS], h[MOST_BLOCKS];
    uint32_t left = product->pass_count;

    ER_EACH_OF_4(blocks, START);
    do {
        const __m256i p0 = load_table(tables), q0 = load_table(tables + 16);
        const __m256i p1 = groups > 1 ? load_table(tables + PAIR_TABLE) : p0;
        const __m256i q1 = groups > 1 ? load_table(tables + PAIR_TABLE + 16) : q0;

        ER_EACH_OF_4(blocks, PASS);
        tables += groups * PAIR_TABLE;
        weights += blocks * groups * 32;
        ER_OPAQUE(tables);
        ER_OPAQUE(weights);
    } while (--left > 0);
    ER_EACH_OF_4(blocks, FINISH);
    return weights;
}

ER_TILES_TO_4(pairs_single, 1)
ER_TILES_TO_4(pairs_double, 2)

/* As run_tile for changed groups only, on top of the sums as they are. Changes are up to twice the clamp, so that
 * bytes are not added up. low: 1 if the tile is a low one. */
#define START_CHANGED(i)                                                                          \
    {                                                                                             \
        h[i] = _mm256_add_epi16(_mm256_load_si256((const __m256i *)(void *)(sums + (i) * 32 + 16)), start); \
        a[i] = _mm256_add_epi16(_mm256_load_si256((const __m256i *)(void *)(sums + (i) * 32)), start); \
        a[i] = _mm256_add_epi16(a[i], _mm256_slli_epi16(h[i], 8));                                \
    }
#define PASS_CHANGED(i)                                                                           \
    {                                                                                             \
        const __m256i v = look_up(w + (i) * 64, p, q);                                            \
                                                                                                  \
        a[i] = _mm256_add_epi16(a[i], v);                                                         \
        h[i] = _mm256_add_epi16(h[i], _mm256_srli_epi16(v, 8));                                   \
        IN_REGISTERS(a[i], h[i]);                                                                 \
    }

static inline __attribute__((always_inline)) void
run_changed_tile(const uint8_t *weights, const er_change *changes, uint32_t count, const uint8_t *tables,
                 int32_t first_sum, int16_t *sums, uint32_t low, const uint32_t blocks)
{
    const __m256i start = _mm256_set1_epi16((short)first_sum);
    __m256i a[MOST_BLOCKS], h[MOST_BLOCKS];

    ER_EACH_OF_4(blocks, START_CHANGED);
    do {
        const uint8_t *w = weights + (low ? changes->low : changes->tall);
        const __m256i p = load_table(tables + changes->first), q = load_table(tables + changes->second);

        ER_EACH_OF_4(blocks, PASS_CHANGED);
        changes++;
        ER_OPAQUE(changes);
    } while (--count > 0);
    ER_EACH_OF_4(blocks, FINISH);
}

typedef void changed_fn(const uint8_t *weights, const er_change *changes, uint32_t count, const uint8_t *tables,
                        int32_t start, int16_t *sums, uint32_t low);

#define CHANGED(blocks)                                                                           \
    static void changed_##blocks(const uint8_t *weights, const er_change *changes, uint32_t count, \
                                 const uint8_t *tables, int32_t start, int16_t *sums, uint32_t low) \
    {                                                                                             \
        run_changed_tile(weights, changes, count, tables, start, sums, low, blocks);              \
    }

CHANGED(1)
CHANGED(2)
CHANGED(3)
CHANGED(4)
static changed_fn *const changed_tiles[MOST_BLOCKS + 1] = { NULL, changed_1, changed_2, changed_3, changed_4 };

/* All tiles of a product of two groups a pass with changed groups. */
static void run_changed(const er_product *product, const er_change *changes, uint32_t count, const uint8_t *tables,
                        int32_t start, int16_t *sums)
{
    const uint8_t *weights = product->weights;
    uint32_t blocks = product->tile_blocks;
    uint32_t left = product->tall_count, low, pass;

    for (low = 0; low < 2; low++) {
        while (left > 0) {
            changed_tiles[blocks](weights, changes, count, tables, start, sums, low);
            for (pass = product->pass_count; pass > 0; pass--) {
                weights += low ? product->low_bytes : product->tall_bytes;
                ER_OPAQUE(weights);
            }
            sums += blocks << 5;
            ER_OPAQUE(sums);
            left--;
        }
        blocks--;
        left = product->low_count;
    }
}

/* As find_differences in ternary_product_avx512.c, and the list. */
static uint32_t find_changed(const er_product *product, const int8_t *operands, const int8_t *last,
                             int8_t *differences, er_change *changes, int8_t *slots)
{
    uint64_t changed[MOST_WORDS];
    int8_t *difference = differences;
    uint32_t left, count = 0, word = 0, half;

    for (left = product->columns; left > 0; left -= left < 64 ? left : 64) {
        uint64_t same[2];

        for (half = 0; half < 2; half++) {
            const __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)operands);
            const __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)last);

            same[half] = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(a, b));
            _mm256_storeu_si256((__m256i *)(void *)difference, _mm256_sub_epi8(a, b));
            operands += 32;
            last += 32;
            difference += 32;
        }
        changed[word] = ~(same[0] | same[1] << 32);
        count += (uint32_t)__builtin_popcountll(changed[word]);
        word++;
    }
    if (count > product->columns >> 2) {
        return ER_TOO_MANY;
    }
    return er_list_changes(product, changed, differences, changes, slots, 4, UINT64_MAX, PAIR_TABLE);
}

const er_changing er_ternary_pairs_changing_avx2 = {
    find_changed, run_changed, 1, { 0, 0 }, { 16, 16 }, { 0, 0 },
};

/* Four vectors at once, one block at a time: 8 accumulators. What is taken out of a weight byte serves all of
 * them; the tables come from memory. */
#define EACH_VECTOR(X) { X(0) X(1) X(2) X(3) }
#define MOVE_ON(n) { tables[n] += groups * PAIR_TABLE; ER_OPAQUE(tables[n]); }
#define PASS_VECTOR(n)                                                                            \
    {                                                                                             \
        const uint8_t *t = tables[n];                                                             \
        __m256i v = _mm256_add_epi8(_mm256_shuffle_epi8(load_table(t), w0),                       \
                                    _mm256_shuffle_epi8(load_table(t + 16), high0));              \
                                                                                                  \
        if (groups > 1) {                                                                         \
            v = _mm256_add_epi8(v, _mm256_shuffle_epi8(load_table(t + PAIR_TABLE), w1));          \
            v = _mm256_add_epi8(v, _mm256_shuffle_epi8(load_table(t + PAIR_TABLE + 16), high1));  \
        }                                                                                         \
        a[n] = _mm256_add_epi16(a[n], v);                                                         \
        h[n] = _mm256_add_epi16(h[n], _mm256_srli_epi16(v, 8));                                   \
        IN_REGISTERS(a[n], h[n]);                                                                 \
    }
#define FINISH_VECTOR(n)                                                                          \
    {                                                                                             \
        int16_t *sum = sums[n] + first_sum;                                                       \
                                                                                                  \
        _mm256_store_si256((__m256i *)(void *)sum,                                                \
                           _mm256_sub_epi16(a[n], _mm256_slli_epi16(h[n], 8)));                   \
        _mm256_store_si256((__m256i *)(void *)(sum + 16), h[n]);                                  \
    }

/* The sums, from first_sum on, of a block of a tile whose passes are pass_bytes long. */
static inline __attribute__((always_inline)) void
run_block_of_four(const er_product *product, const uint8_t *weights, size_t pass_bytes,
                  const uint8_t *const *tables_of, int16_t *const *sums, size_t first_sum, const uint32_t groups)
{
    const __m256i start = _mm256_set1_epi16((short)product->start);
    const __m256i first = _mm256_set1_epi16((short)product->start_both);
    const __m256i fifteen = _mm256_set1_epi8(15);
    const uint8_t *tables[4] = { tables_of[0], tables_of[1], tables_of[2], tables_of[3] };
    __m256i a[4] = { first, first, first, first }, h[4] = { start, start, start, start };
    uint32_t left = product->pass_count;

    do {
        __m256i w0 = _mm256_load_si256((const __m256i *)(const void *)weights), w1 = w0;
        __m256i high0 = _mm256_and_si256(_mm256_srli_epi16(w0, 3), fifteen), high1 = high0;

        if (groups > 1) {
            w1 = _mm256_load_si256((const __m256i *)(const void *)(weights + 32));
            high1 = _mm256_and_si256(_mm256_srli_epi16(w1, 3), fifteen);
            IN_REGISTERS(w1, high1);
        }
        IN_REGISTERS(w0, high0);
        EACH_VECTOR(PASS_VECTOR)
        EACH_VECTOR(MOVE_ON)
        weights += pass_bytes;
        ER_OPAQUE(weights);
    } while (--left > 0);
    EACH_VECTOR(FINISH_VECTOR)
}

/* All tiles for four vectors. groups: of a pass, a constant. */
static inline __attribute__((always_inline)) void
run_tiles_of_four(const er_product *product, const uint8_t *const *tables, int16_t *const *sums,
                  const uint32_t groups)
{
    const uint32_t block_shift = groups > 1 ? 6 : 5;
    const uint8_t *weights = product->weights;
    uint32_t blocks = product->tile_blocks;
    uint32_t tiles = product->tall_count;
    size_t first_sum = 0;
    uint32_t low;

    for (low = 0; low < 2; low++) {
        const size_t pass_bytes = (size_t)blocks << block_shift;

        while (tiles > 0) {
            uint32_t pass, left;

            for (left = blocks; left > 0; left--) {
                run_block_of_four(product, weights, pass_bytes, tables, sums, first_sum, groups);
                weights += (size_t)1 << block_shift;
                first_sum += 32;
                ER_OPAQUE(weights);
                ER_OPAQUE(first_sum);
            }
            for (pass = product->pass_count; pass > 1; pass--) {    /* the blocks led through one pass */
                weights += pass_bytes;
                ER_OPAQUE(weights);
            }
            tiles--;
        }
        blocks--;
        tiles = product->low_count;
    }
}

/* One group a pass: operands up to 31. */
void er_ternary_pairs_single_avx2(const er_product *product, const uint8_t *tables, int16_t *sums)
{
    er_run_tiles(product, tables, sums, pairs_single, 5);
}

/* Two groups a pass: operands up to 15. */
void er_ternary_pairs_double_avx2(const er_product *product, const uint8_t *tables, int16_t *sums)
{
    er_run_tiles(product, tables, sums, pairs_double, 5);
}

/* The same two for four vectors. */
void er_ternary_pairs_single_four_avx2(const er_product *product, const uint8_t *const *tables,
                                       int16_t *const *sums)
{
    run_tiles_of_four(product, tables, sums, 1);
}

void er_ternary_pairs_double_four_avx2(const er_product *product, const uint8_t *const *tables,
                                       int16_t *const *sums)
{
    run_tiles_of_four(product, tables, sums, 2);
}

#else
typedef int er_ternary_product_avx2_is_empty;   /* a file must not be */
#endif
