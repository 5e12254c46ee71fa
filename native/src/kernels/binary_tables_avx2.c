/* SPDX-License-Identifier: MIT
 *
 * Tables of binary weights for the products of ternary_product_avx2.c, which look them up as they do pairs of
 * ternary weights: bits 0 to 2 of a byte (ER_FORM_BITS) are looked up in the first half of a group's table,
 * with bit 3 along, for which the eight sums of columns 0 to 2 stand there twice; bits 3 to 6 in the second
 * half, the 16 biased sums of columns 3 to 6. AVX2. */
#if defined(__AVX2__)

#include <immintrin.h>
#include <stddef.h>
#include <string.h>

#include "kernels.h"
#include "opaque.h"

enum { GROUP_COLUMNS = 7, GROUP_TABLE = 32 };

/* Byte n of a half takes its column k as it is if bit k of n is 1, else negated. */
void er_binary_seven_tables_avx2(const er_product *product, const int8_t *operands, uint8_t *tables)
{
    static const int8_t sign[4][16] = {
        { -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1 },
        { -1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1 },
        { -1, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1, 1, 1, 1, 1 },
        { -1, -1, -1, -1, -1, -1, -1, -1, 1, 1, 1, 1, 1, 1, 1, 1 },
    };
    const __m256i first = _mm256_inserti128_si256(_mm256_setzero_si256(), _mm_set1_epi8(3), 1);
    const __m256i columns[4] = {
        first, _mm256_add_epi8(first, _mm256_set1_epi8(1)), _mm256_add_epi8(first, _mm256_set1_epi8(2)),
        _mm256_inserti128_si256(_mm256_set1_epi8(-128), _mm_set1_epi8(6), 1),
    };
    const __m256i bias = _mm256_inserti128_si256(_mm256_setzero_si256(), _mm_set1_epi8((char)product->table_bias), 1);
    __m256i signs[4];
    uint32_t left = product->group_count, k;

    for (k = 0; k < 4; k++) {
        signs[k] = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)sign[k]));
    }
    while (left > 0) {
        int64_t bits;
        __m256i all, sums = bias;

        memcpy(&bits, operands, sizeof bits);
        all = _mm256_set1_epi64x(bits);
        for (k = 0; k < 4; k++) {
            sums = _mm256_add_epi8(sums, _mm256_sign_epi8(_mm256_shuffle_epi8(all, columns[k]), signs[k]));
        }
        _mm256_store_si256((__m256i *)(void *)tables, sums);
        operands += GROUP_COLUMNS;
        tables += GROUP_TABLE;
        ER_OPAQUE(operands);
        ER_OPAQUE(tables);
        left--;
    }
}

#else
typedef int er_binary_tables_avx2_is_empty;     /* a file must not be */
#endif
