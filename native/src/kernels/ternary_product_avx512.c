/* SPDX-License-Identifier: MIT
 *
 * Products of ternary weights by look-up, AVX-512 with VBMI. Rows stand in lanes: a block is 64 rows, a
 * weight byte of each side by side in a register. A group of four or five columns has a table of 81 or
 * 122 bytes in two registers, the signed sums of its operands; one vpermi2b looks up all 64 rows. The
 * bytes that a pass looks up are added as bytes, for which the clamp leaves room (er_product_kind).
 *
 * Even bytes belong to the rows 0 to 31 of the block, odd bytes to 32 to 63. Instead of widening both,
 * a += v and h += v >> 8 on 16-bit lanes: h is then the sum of the odd bytes and a - (h << 8) that of the
 * even ones, modulo 2^16. */
#if defined(__AVX512VBMI__)

#include <immintrin.h>
#include <stddef.h>
#include <string.h>

#include "changes.h"
#include "kernels.h"
#include "opaque.h"
#include "ternary_index.h"
#include "tiles.h"

enum {
    MOST_BLOCKS = 10,       /* 2 accumulators each of 32 registers */
    MOST_WORDS = 8192 / 64  /* of a bit for each column */
};

/* Write the tables of two groups from the sums of their columns, as ternary_index.h says; the sums of the
 * second group stand 32 bytes behind those of the first. */
static inline __attribute__((always_inline)) void write_tables(__m512i sums, const __m512i low[2],
                                                               const __m512i high[2], uint8_t *tables)
{
    const __m512i second = _mm512_set1_epi8(32);

    _mm512_store_si512(tables, _mm512_add_epi8(_mm512_permutexvar_epi8(low[0], sums),
                                               _mm512_permutexvar_epi8(high[0], sums)));
    _mm512_store_si512(tables + 64, _mm512_add_epi8(_mm512_permutexvar_epi8(low[1], sums),
                                                    _mm512_permutexvar_epi8(high[1], sums)));
    _mm512_store_si512(tables + 128,
                       _mm512_add_epi8(_mm512_permutexvar_epi8(_mm512_or_si512(low[0], second), sums),
                                       _mm512_permutexvar_epi8(_mm512_or_si512(high[0], second), sums)));
    _mm512_store_si512(tables + 192,
                       _mm512_add_epi8(_mm512_permutexvar_epi8(_mm512_or_si512(low[1], second), sums),
                                       _mm512_permutexvar_epi8(_mm512_or_si512(high[1], second), sums)));
}

/* The sums that tables of two groups of four columns are made of. 16-byte lanes 0 and 2 hold the nine biased sums
 * of columns 0 and 1 of each group, lanes 1 and 3 those of columns 2 and 3. bias: that of lanes 0 and 2. */
static inline __attribute__((always_inline)) __m512i sums_of_fours(const int8_t *operands, __m512i bias)
{
    const __m512i first = _mm512_set_epi64(0x0606060606060606, 0x0606060606060606, 0x0404040404040404,
                                           0x0404040404040404, 0x0202020202020202, 0x0202020202020202, 0, 0);
    const __m512i second = _mm512_add_epi8(first, _mm512_set1_epi8(1));
    int64_t bytes;
    __m512i eight, a, b, sums;

    memcpy(&bytes, operands, sizeof bytes);
    eight = _mm512_set1_epi64(bytes);
    a = _mm512_shuffle_epi8(eight, first);
    b = _mm512_shuffle_epi8(eight, second);
    sums = _mm512_mask_add_epi8(bias, 0x0124012401240124, bias, a);

    sums = _mm512_mask_sub_epi8(sums, 0x0049004900490049, sums, a);
    sums = _mm512_mask_add_epi8(sums, 0x01C001C001C001C0, sums, b);
    return _mm512_mask_sub_epi8(sums, 0x0007000700070007, sums, b);
}

/* Tables for ER_FORM_FOUR, two groups a turn. */
void er_ternary_four_tables_avx512(const er_product *product, const int8_t *operands, uint8_t *tables)
{
    const __m512i low[2] = { _mm512_loadu_si512(er_four_low), _mm512_loadu_si512(er_four_low + 64) };
    const __m512i high[2] = { _mm512_loadu_si512(er_four_high), _mm512_loadu_si512(er_four_high + 64) };
    const __m512i bias = _mm512_maskz_set1_epi8(0x0000FFFF0000FFFF, (char)product->table_bias);
    uint32_t left = product->group_count;

    while (left > 0) {
        write_tables(sums_of_fours(operands, bias), low, high, tables);
        operands += 8;
        tables += 2 * ER_GROUP_TABLE;
        ER_OPAQUE(tables);
        left -= 2;
    }
}

/* 32 index bytes, and in the upper half those of the second group. */
static inline __attribute__((always_inline)) __m512i both_groups(const uint8_t *index)
{
    const __m512i twice = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)(const void *)index));

    return _mm512_or_si512(twice, _mm512_maskz_set1_epi8(0xFFFFFFFF00000000, 32));
}

/* Tables for ER_FORM_TWO_FOURS: two groups have their first 64 entries in a register each, and the other 17
 * in the halves of a third. 5 % less of a step of W1. */
void er_ternary_two_fours_tables_avx512(const er_product *product, const int8_t *operands, uint8_t *tables)
{
    const __m512i low = _mm512_loadu_si512(er_four_low), high = _mm512_loadu_si512(er_four_high);
    const __m512i low_rest = both_groups(er_four_low + 64), high_rest = both_groups(er_four_high + 64);
    const __m512i second = _mm512_set1_epi8(32);
    const __m512i low_second = _mm512_or_si512(low, second), high_second = _mm512_or_si512(high, second);
    const __m512i bias = _mm512_maskz_set1_epi8(0x0000FFFF0000FFFF, (char)product->table_bias);
    uint32_t left = product->group_count;

    while (left > 0) {
        const __m512i sums = sums_of_fours(operands, bias);

        _mm512_store_si512(tables, _mm512_add_epi8(_mm512_permutexvar_epi8(low, sums),
                                                   _mm512_permutexvar_epi8(high, sums)));
        _mm512_store_si512(tables + 64, _mm512_add_epi8(_mm512_permutexvar_epi8(low_second, sums),
                                                        _mm512_permutexvar_epi8(high_second, sums)));
        _mm512_store_si512(tables + 128, _mm512_add_epi8(_mm512_permutexvar_epi8(low_rest, sums),
                                                         _mm512_permutexvar_epi8(high_rest, sums)));
        operands += 8;
        tables += 192;
        ER_OPAQUE(tables);
        left -= 2;
    }
}

/* Tables for ER_FORM_FIVE. Lanes 0 and 2 hold the nine biased sums of columns 0 and 1, lanes 1 and 3 the
 * fourteen of columns 2, 3 and 4 whose code is not negative. */
void er_ternary_five_tables_avx512(const er_product *product, const int8_t *operands, uint8_t *tables)
{
    const __m512i low[2] = { _mm512_loadu_si512(er_five_low), _mm512_loadu_si512(er_five_low + 64) };
    const __m512i high[2] = { _mm512_loadu_si512(er_five_high), _mm512_loadu_si512(er_five_high + 64) };
    const __m512i first = _mm512_set_epi64(0x0707070707070707, 0x0707070707070707, 0x0505050505050505,
                                           0x0505050505050505, 0x0202020202020202, 0x0202020202020202, 0, 0);
    const __m512i second = _mm512_add_epi8(first, _mm512_set1_epi8(1));
    const __m512i third = _mm512_add_epi8(first, _mm512_set1_epi8(2));
    const __m512i bias = _mm512_maskz_set1_epi8(0x0000FFFF0000FFFF, (char)product->table_bias);
    uint32_t left = product->group_count;

    while (left > 0) {
        const __m512i ten =
            _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)operands));
        const __m512i a = _mm512_shuffle_epi8(ten, first);
        const __m512i b = _mm512_shuffle_epi8(ten, second);
        const __m512i c = _mm512_shuffle_epi8(ten, third);
        __m512i sums = _mm512_mask_add_epi8(bias, 0x2492012424920124, bias, a);

        sums = _mm512_mask_sub_epi8(sums, 0x0924004909240049, sums, a);
        sums = _mm512_mask_add_epi8(sums, 0x381C01C0381C01C0, sums, b);
        sums = _mm512_mask_sub_epi8(sums, 0x00E0000700E00007, sums, b);
        sums = _mm512_mask_add_epi8(sums, 0x3FE000003FE00000, sums, c);
        write_tables(sums, low, high, tables);
        operands += 10;
        tables += 2 * ER_GROUP_TABLE;
        ER_OPAQUE(tables);
        left -= 2;
    }
}

/* The 64 sums that weight bytes stand for in one group. A negative code of ER_FORM_FIVE mirrors its entry
 * around the bias. vpermi2b takes no notice of bit 7. */
static inline __attribute__((always_inline)) __m512i look_up(const uint8_t *weights, __m512i table_low,
                                                             __m512i table_high, uint32_t form,
                                                             __m512i twice_bias)
{
    const __m512i w = _mm512_load_si512(weights);
    const __m512i t = _mm512_permutex2var_epi8(table_low, w, table_high);

    return form == ER_FORM_FIVE ? _mm512_mask_sub_epi8(t, _mm512_movepi8_mask(w), twice_bias, t) : t;
}

/* Keeps two accumulators in registers and blocks in order: gcc otherwise takes all loads and look-ups of a
 * pass first, and spills. */
#define IN_REGISTERS(a, b) __asm__ volatile("" : "+v"(a), "+v"(b))

#define START(i) { h[i] = start; a[i] = first; }
#define PASS(i)                                                                                   \
    {                                                                                             \
        __m512i v = look_up(weights + (i) * groups * 64, low0, high0, form, twice_bias);          \
        if (groups > 1) {                                                                         \
            v = _mm512_add_epi8(v, look_up(weights + (i) * groups * 64 + 64, low1, high1, form,   \
                                           twice_bias));                                          \
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

/* A tile: the sums of `blocks` row blocks over all groups. Tables are not made in this loop: where one tile is the
 * whole matrix, as in W1, that took 0.19 us instead of 0.18 for both. Returns the weights behind it. form, groups
 * (of a pass) and blocks are constants. */
static inline __attribute__((always_inline)) const uint8_t *
run_tile(const er_product *product, const uint8_t *weights, const uint8_t *tables, int16_t *sums,
         const uint32_t form, const uint32_t groups, const uint32_t blocks)
{
    const int together = form == ER_FORM_TWO_FOURS;
    const __m512i twice_bias = _mm512_set1_epi8((char)(product->table_bias + product->table_bias));
    const __m512i start = _mm512_set1_epi16((short)product->start);
    const __m512i first = _mm512_set1_epi16((short)product->start_both);
    __m512i a[MOST_BLOCKS], h[MOST_BLOCKS];
    uint32_t left = product->pass_count;

    ER_EACH_OF_10(blocks, START);
    do {
        const __m512i low0 = _mm512_load_si512(tables);
        const __m512i high0 = _mm512_load_si512(tables + (together ? 128 : 64));
        const __m512i low1 = groups > 1 ? _mm512_load_si512(tables + (together ? 64 : 128)) : low0;
        const __m512i high1 = groups > 1 && !together ? _mm512_load_si512(tables + 192) : high0;

        ER_EACH_OF_10(blocks, PASS);
        tables += together ? 192 : groups * ER_GROUP_TABLE;
        weights += blocks * groups * 64;
        ER_OPAQUE(tables);
        ER_OPAQUE(weights);
    } while (--left > 0);
    ER_EACH_OF_10(blocks, FINISH);
    return weights;
}

ER_TILES_TO_10(four_single, ER_FORM_FOUR, 1)
ER_TILES_TO_10(four_double, ER_FORM_TWO_FOURS, 2)
ER_TILES_TO_10(five_single, ER_FORM_FIVE, 1)
ER_TILES_TO_10(five_double, ER_FORM_FIVE, 2)
ER_TILES_TO_10(seven_double, ER_FORM_BITS, 2)

/* Seven binary weights a byte, whose tables binary_tables_avx512.c makes, two groups a pass: operands up to 9. One
 * group a pass is as er_ternary_four_single_avx512. */
void er_binary_seven_double_avx512(const er_product *product, const uint8_t *tables, int16_t *sums)
{
    er_run_tiles(product, tables, sums, seven_double, 6);
}

/* As run_tile for changed groups only, on top of the sums as they are. Changes are up to twice the clamp, so that
 * bytes are not added up. low: 1 if the tile is a low one. */
#define START_CHANGED(i)                                                                          \
    {                                                                                             \
        h[i] = _mm512_add_epi16(_mm512_load_si512(sums + (i) * 64 + 32), start);                  \
        a[i] = _mm512_add_epi16(_mm512_load_si512(sums + (i) * 64), start);                       \
        a[i] = _mm512_add_epi16(a[i], _mm512_slli_epi16(h[i], 8));                                \
    }
#define PASS_CHANGED(i)                                                                           \
    {                                                                                             \
        const __m512i v = look_up(w + (i) * 128, first, second, form, twice_bias);                \
                                                                                                  \
        a[i] = _mm512_add_epi16(a[i], v);                                                         \
        h[i] = _mm512_add_epi16(h[i], _mm512_srli_epi16(v, 8));                                   \
        IN_REGISTERS(a[i], h[i]);                                                                 \
    }

static inline __attribute__((always_inline)) void
run_changed_tile(const er_product *product, const uint8_t *weights, const er_change *changes, uint32_t count,
                 const uint8_t *tables, int32_t first_sum, int16_t *sums, uint32_t low, const uint32_t form,
                 const uint32_t blocks)
{
    const int32_t bias = product->table_bias + product->table_bias;
    const __m512i twice_bias = _mm512_set1_epi8((char)(bias + bias));
    const __m512i start = _mm512_set1_epi16((short)first_sum);
    __m512i a[MOST_BLOCKS], h[MOST_BLOCKS];

    ER_EACH_OF_10(blocks, START_CHANGED);
    do {
        const uint8_t *w = weights + (low ? changes->low : changes->tall);
        const __m512i first = _mm512_load_si512(tables + changes->first);
        const __m512i second = _mm512_load_si512(tables + changes->second);

        ER_EACH_OF_10(blocks, PASS_CHANGED);
        changes++;
        ER_OPAQUE(changes);
    } while (--count > 0);
    ER_EACH_OF_10(blocks, FINISH);
}

typedef void changed_fn(const er_product *product, const uint8_t *weights, const er_change *changes,
                        uint32_t count, const uint8_t *tables, int32_t start, int16_t *sums, uint32_t low);

#define CHANGED(name, form, blocks)                                                               \
    static void name##_##blocks(const er_product *product, const uint8_t *weights,                \
                                const er_change *changes, uint32_t count, const uint8_t *tables,  \
                                int32_t start, int16_t *sums, uint32_t low)                       \
    {                                                                                             \
        run_changed_tile(product, weights, changes, count, tables, start, sums, low, form, blocks); \
    }

CHANGED(fours_changed, ER_FORM_TWO_FOURS, 1)
CHANGED(fours_changed, ER_FORM_TWO_FOURS, 2)
CHANGED(fours_changed, ER_FORM_TWO_FOURS, 3)
CHANGED(fours_changed, ER_FORM_TWO_FOURS, 4)
CHANGED(fours_changed, ER_FORM_TWO_FOURS, 5)
CHANGED(fours_changed, ER_FORM_TWO_FOURS, 6)
CHANGED(fours_changed, ER_FORM_TWO_FOURS, 7)
CHANGED(fours_changed, ER_FORM_TWO_FOURS, 8)
CHANGED(fours_changed, ER_FORM_TWO_FOURS, 9)
CHANGED(fours_changed, ER_FORM_TWO_FOURS, 10)
CHANGED(fives_changed, ER_FORM_FIVE, 1)
CHANGED(fives_changed, ER_FORM_FIVE, 2)
CHANGED(fives_changed, ER_FORM_FIVE, 3)
CHANGED(fives_changed, ER_FORM_FIVE, 4)
CHANGED(fives_changed, ER_FORM_FIVE, 5)
CHANGED(fives_changed, ER_FORM_FIVE, 6)
CHANGED(fives_changed, ER_FORM_FIVE, 7)
CHANGED(fives_changed, ER_FORM_FIVE, 8)

static changed_fn *const fours_changed[MOST_BLOCKS + 1] = {
    NULL,            fours_changed_1, fours_changed_2, fours_changed_3, fours_changed_4, fours_changed_5,
    fours_changed_6, fours_changed_7, fours_changed_8, fours_changed_9, fours_changed_10,
};
static changed_fn *const fives_changed[MOST_BLOCKS + 1] = {
    NULL,            fives_changed_1, fives_changed_2, fives_changed_3, fives_changed_4, fives_changed_5,
    fives_changed_6, fives_changed_7, fives_changed_8, NULL,            NULL,
};

/* All tiles of a product with changed groups. */
static void run_changed(const er_product *product, const er_change *changes, uint32_t count, const uint8_t *tables,
                        int32_t start, int16_t *sums, changed_fn *const *tiles)
{
    const uint8_t *weights = product->weights;
    uint32_t blocks = product->tile_blocks;
    uint32_t left = product->tall_count, low, pass;

    for (low = 0; low < 2; low++) {
        while (left > 0) {
            tiles[blocks](product, weights, changes, count, tables, start, sums, low);
            for (pass = product->pass_count; pass > 0; pass--) {
                weights += low ? product->low_bytes : product->tall_bytes;
                ER_OPAQUE(weights);
            }
            sums += blocks << 6;
            ER_OPAQUE(sums);
            left--;
        }
        blocks--;
        left = product->low_count;
    }
}

/* Four vectors at once, by up to three blocks: 24 accumulators. Weights are read once for all, and so are the
 * signs of ER_FORM_FIVE, on which half of the time goes. Four weights a byte gain nothing by it. */
#define EACH_VECTOR(X, i) { X(0, i) X(1, i) X(2, i) X(3, i) }
#define EACH_OF_FOUR(count, X)                      \
    do {                                            \
        if ((count) > 0) EACH_VECTOR(X, 0)          \
        if ((count) > 1) EACH_VECTOR(X, 1)          \
        if ((count) > 2) EACH_VECTOR(X, 2)          \
    } while (0)

#define START_VECTOR(n, i) { h[n][i] = start; a[n][i] = first; }
#define PASS_VECTOR(n, i)                                                                         \
    {                                                                                             \
        __m512i v = signed_look_up(w0, negative0, tables[n], twice_bias);                \
        if (groups > 1) {                                                                         \
            v = _mm512_add_epi8(v, signed_look_up(w1, negative1, tables[n] + ER_GROUP_TABLE, \
                                                  twice_bias));                                   \
        }                                                                                         \
        a[n][i] = _mm512_add_epi16(a[n][i], v);                                                   \
        h[n][i] = _mm512_add_epi16(h[n][i], _mm512_srli_epi16(v, 8));                             \
        IN_REGISTERS(a[n][i], h[n][i]);                                                           \
    }
#define MOVE_ON(n) { tables[n] += groups * ER_GROUP_TABLE; ER_OPAQUE(tables[n]); }
#define PASS_OF_FOUR(i)                                                                           \
    {                                                                                             \
        const __m512i w0 = _mm512_load_si512(weights + (i) * groups * 64);                        \
        const __m512i w1 = groups > 1 ? _mm512_load_si512(weights + (i) * groups * 64 + 64) : w0; \
        const __mmask64 negative0 = _mm512_movepi8_mask(w0), negative1 = _mm512_movepi8_mask(w1); \
                                                                                                  \
        EACH_VECTOR(PASS_VECTOR, i)                                                               \
        __asm__ volatile("" : : : "memory");                                                      \
    }
#define FINISH_VECTOR(n, i)                                                                       \
    {                                                                                             \
        int16_t *sum = sums[n] + first_sum + (i) * 64;                                            \
                                                                                                  \
        _mm512_store_si512(sum, _mm512_sub_epi16(a[n][i], _mm512_slli_epi16(h[n][i], 8)));        \
        _mm512_store_si512(sum + 32, h[n][i]);                                                    \
    }

/* As look_up, of weights in a register whose bits 7 are known. */
static inline __attribute__((always_inline)) __m512i signed_look_up(__m512i weights, __mmask64 negative,
                                                                    const uint8_t *table, __m512i twice_bias)
{
    const __m512i t = _mm512_permutex2var_epi8(_mm512_load_si512(table), weights, _mm512_load_si512(table + 64));

    return _mm512_mask_sub_epi8(t, negative, twice_bias, t);
}

/* The sums, from first_sum on, of `blocks` blocks of a tile whose passes are pass_bytes long. */
static inline __attribute__((always_inline)) void
run_part_of_four(const er_product *product, const uint8_t *weights, size_t pass_bytes,
                 const uint8_t *const *tables_of, int16_t *const *sums, size_t first_sum, const uint32_t groups,
                 const uint32_t blocks)
{
    const __m512i twice_bias = _mm512_set1_epi8((char)(product->table_bias + product->table_bias));
    const __m512i start = _mm512_set1_epi16((short)product->start);
    const __m512i first = _mm512_set1_epi16((short)product->start_both);
    const uint8_t *tables[4] = { tables_of[0], tables_of[1], tables_of[2], tables_of[3] };
    __m512i a[4][3], h[4][3];
    uint32_t left = product->pass_count;

    EACH_OF_FOUR(blocks, START_VECTOR);
    do {
        if (blocks > 0) PASS_OF_FOUR(0)
        if (blocks > 1) PASS_OF_FOUR(1)
        if (blocks > 2) PASS_OF_FOUR(2)
        MOVE_ON(0) MOVE_ON(1) MOVE_ON(2) MOVE_ON(3)
        weights += pass_bytes;
        ER_OPAQUE(weights);
    } while (--left > 0);
    EACH_OF_FOUR(blocks, FINISH_VECTOR);
}

typedef void part_fn(const er_product *product, const uint8_t *weights, size_t pass_bytes,
                     const uint8_t *const *tables, int16_t *const *sums, size_t first_sum);

#define PART(name, groups, blocks)                                                                \
    static void name##_##blocks(const er_product *product, const uint8_t *weights, size_t pass_bytes, \
                                const uint8_t *const *tables, int16_t *const *sums, size_t first_sum) \
    {                                                                                             \
        run_part_of_four(product, weights, pass_bytes, tables, sums, first_sum, groups, blocks);  \
    }
#define PARTS(name, groups)                                                                       \
    PART(name, groups, 1)                                                                         \
    PART(name, groups, 2)                                                                         \
    PART(name, groups, 3)                                                                         \
    static part_fn *const name[4] = { NULL, name##_1, name##_2, name##_3 };

PARTS(five_single_four, 1)
PARTS(five_double_four, 2)

/* All tiles for four vectors. pass_shift: the binary logarithm of a pass's bytes of one block. Parts are of
 * three blocks, and of two where one would be left. */
static void run_tiles_of_four(const er_product *product, const uint8_t *const *tables, int16_t *const *sums,
                              part_fn *const *parts, uint32_t pass_shift)
{
    const uint8_t *weights = product->weights;
    uint32_t blocks = product->tile_blocks;
    uint32_t tiles = product->tall_count;
    size_t first_sum = 0;
    uint32_t low;

    for (low = 0; low < 2; low++) {
        const size_t pass_bytes = (size_t)blocks << pass_shift;

        while (tiles > 0) {
            uint32_t pass, left = blocks;

            while (left > 0) {
                const uint32_t count = left == 4 ? 2 : left < 3 ? left : 3;

                parts[count](product, weights, pass_bytes, tables, sums, first_sum);
                weights += (size_t)count << pass_shift;
                first_sum += (size_t)count << 6;
                left -= count;
                ER_OPAQUE(weights);
                ER_OPAQUE(first_sum);
            }
            for (pass = product->pass_count; pass > 1; pass--) {    /* the parts led through one pass */
                weights += pass_bytes;
                ER_OPAQUE(weights);
            }
            tiles--;
        }
        blocks--;
        tiles = product->low_count;
    }
}

/* Four weights a byte, one group a pass: operands up to 31. */
void er_ternary_four_single_avx512(const er_product *product, const uint8_t *tables, int16_t *sums)
{
    er_run_tiles(product, tables, sums, four_single, 6);
}

/* Four weights a byte, two groups a pass: operands up to 15. */
void er_ternary_four_double_avx512(const er_product *product, const uint8_t *tables, int16_t *sums)
{
    er_run_tiles(product, tables, sums, four_double, 6);
}

/* Five weights a byte, one group a pass: operands up to 25. */
void er_ternary_five_single_avx512(const er_product *product, const uint8_t *tables, int16_t *sums)
{
    er_run_tiles(product, tables, sums, five_single, 6);
}

/* Five weights a byte, two groups a pass: operands up to 12. */
void er_ternary_five_double_avx512(const er_product *product, const uint8_t *tables, int16_t *sums)
{
    er_run_tiles(product, tables, sums, five_double, 6);
}

/* Changed groups of er_ternary_four_double_avx512 and er_ternary_five_double_avx512. */
static void change_fours(const er_product *product, const er_change *changes, uint32_t count, const uint8_t *tables,
                         int32_t start, int16_t *sums)
{
    run_changed(product, changes, count, tables, start, sums, fours_changed);
}

static void change_fives(const er_product *product, const er_change *changes, uint32_t count, const uint8_t *tables,
                         int32_t start, int16_t *sums)
{
    run_changed(product, changes, count, tables, start, sums, fives_changed);
}

/* What was added to operands, and a bit for each that it changed. Returns whether it is more than a quarter of
 * them: speech changes half, and is done with here, in a hundredth of a step. */
static int find_differences(const er_product *product, const int8_t *operands, const int8_t *last,
                            int8_t *differences, uint64_t *changed)
{
    uint32_t left, count = 0;

    for (left = product->columns; left > 0; left -= left < 64 ? left : 64) {
        const __m512i a = _mm512_loadu_si512(operands), b = _mm512_loadu_si512(last);

        *changed = _mm512_cmpneq_epi8_mask(a, b);
        count += (uint32_t)__builtin_popcountll(*changed);
        _mm512_storeu_si512(differences, _mm512_sub_epi8(a, b));
        changed++;
        operands += 64;
        last += 64;
        differences += 64;
    }
    return count > product->columns >> 2;
}

static uint32_t find_fours(const er_product *product, const int8_t *operands, const int8_t *last,
                           int8_t *differences, er_change *changes, int8_t *slots)
{
    uint64_t changed[MOST_WORDS];

    if (find_differences(product, operands, last, differences, changed)) {
        return ER_TOO_MANY;
    }
    return er_list_changes(product, changed, differences, changes, slots, 8, 0xFFFFFFFF, 192);
}

static uint32_t find_fives(const er_product *product, const int8_t *operands, const int8_t *last,
                           int8_t *differences, er_change *changes, int8_t *slots)
{
    uint64_t changed[MOST_WORDS];

    if (find_differences(product, operands, last, differences, changed)) {
        return ER_TOO_MANY;
    }
    return er_list_changes(product, changed, differences, changes, slots, 5, UINT64_MAX, ER_GROUP_TABLE);
}

const er_changing er_ternary_four_changing_avx512 = {
    find_fours, change_fours, 2, { 0, 64 }, { 128, 128 }, { 0, 32 },
};
const er_changing er_ternary_five_changing_avx512 = {
    find_fives, change_fives, 1, { 0, 0 }, { 64, 64 }, { 0, 0 },
};

/* The same two for four vectors. */
void er_ternary_five_single_four_avx512(const er_product *product, const uint8_t *const *tables,
                                        int16_t *const *sums)
{
    run_tiles_of_four(product, tables, sums, five_single_four, 6);
}

void er_ternary_five_double_four_avx512(const er_product *product, const uint8_t *const *tables,
                                        int16_t *const *sums)
{
    run_tiles_of_four(product, tables, sums, five_double_four, 7);
}

#else
typedef int er_ternary_product_avx512_is_empty;     /* a file must not be */
#endif
