/* SPDX-License-Identifier: MIT
 *
 * Tables of binary weights for the products of ternary_product_avx512.c, which look them up as they do those of
 * four ternary weights: a group of seven columns has all its 128 signed sums (ER_FORM_BITS). AVX-512 with
 * VBMI. */
#if defined(__AVX512VBMI__)

#include <immintrin.h>
#include <stddef.h>

#include "kernels.h"
#include "opaque.h"

enum { GROUP_COLUMNS = 7 };

/* 16-byte lane k filled with the byte first + k. */
static inline __m512i lanes(int first)
{
    return _mm512_add_epi8(_mm512_set1_epi8((char)first),
                           _mm512_set_epi64(0x0303030303030303, 0x0303030303030303, 0x0202020202020202,
                                            0x0202020202020202, 0x0101010101010101, 0x0101010101010101, 0, 0));
}

/* Two groups a turn. Lanes 0 and 2 hold the 16 biased sums of columns 0 to 3 of each group, lanes 1 and 3 the
 * eight of columns 4 to 6, twice; byte n of a lane takes its column k with + if bit k of n is 1. */
void er_binary_seven_tables_avx512(const er_product *product, const int8_t *operands, uint8_t *tables)
{
    static const uint8_t column[64] = {     /* of k = 0; 128 and more is none */
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4,
        7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11,
    };
    static const uint64_t plus[4] = { 0xAAAAAAAAAAAAAAAA, 0xCCCCCCCCCCCCCCCC, 0xF0F0F0F0F0F0F0F0,
                                      0xFF00FF00FF00FF00 };
    const __m512i first = _mm512_loadu_si512(column);
    const __m512i columns[4] = {
        first, _mm512_add_epi8(first, _mm512_set1_epi8(1)), _mm512_add_epi8(first, _mm512_set1_epi8(2)),
        _mm512_mask_set1_epi8(_mm512_add_epi8(first, _mm512_set1_epi8(3)), 0xFFFF0000FFFF0000, -128),
    };
    const __m512i high[4] = { lanes(16), lanes(20), lanes(48), lanes(52) };
    const __m512i bias = _mm512_maskz_set1_epi8(0x0000FFFF0000FFFF, (char)product->table_bias);
    uint32_t left = product->group_count, k;

    while (left > 0) {
        const __m512i all = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)operands));
        __m512i sums = bias, low;

        for (k = 0; k < 4; k++) {
            const __m512i x = _mm512_shuffle_epi8(all, columns[k]);

            sums = _mm512_mask_add_epi8(_mm512_sub_epi8(sums, x), plus[k], sums, x);
        }
        low = _mm512_shuffle_i32x4(sums, sums, 0x00);
        _mm512_store_si512(tables, _mm512_add_epi8(low, _mm512_permutexvar_epi8(high[0], sums)));
        _mm512_store_si512(tables + 64, _mm512_add_epi8(low, _mm512_permutexvar_epi8(high[1], sums)));
        low = _mm512_shuffle_i32x4(sums, sums, 0xAA);
        _mm512_store_si512(tables + 128, _mm512_add_epi8(low, _mm512_permutexvar_epi8(high[2], sums)));
        _mm512_store_si512(tables + 192, _mm512_add_epi8(low, _mm512_permutexvar_epi8(high[3], sums)));
        operands += 2 * GROUP_COLUMNS;
        tables += 2 * ER_GROUP_TABLE;
        ER_OPAQUE(operands);
        ER_OPAQUE(tables);
        left -= 2;
    }
}

#else
typedef int er_binary_tables_avx512_is_empty;   /* a file must not be */
#endif
