/* SPDX-License-Identifier: MIT
 *
 * What matrices need that are not one product of 16-bit sums: digits of operands, sums of products, and row
 * scales on 32-bit lanes. AVX-512 with BW. */
#if defined(__AVX512BW__)

#include <immintrin.h>
#include <stddef.h>

#include "kernels.h"
#include "opaque.h"

/* See kernels.h. A digit is what is left of u after u is rounded to a multiple of 16, half up; the last takes
 * the rest. rs(t, s) = (t >> s) + the bit below, which fits 16 bits for every s. */
void er_digits_avx512(const er_product *product, const int16_t *x, uint32_t digit_count, int8_t *digits,
                      size_t digit_bytes)
{
    const __m512i quarter = _mm512_set1_epi16(product->three_quarters ? -1 : 0);
    const __m512i one = _mm512_set1_epi16(product->operand_shift > 0 ? 1 : 0);
    const __m128i shift = _mm_cvtsi32_si128((int)product->operand_shift);
    const __m128i below = _mm_cvtsi32_si128((int)(product->operand_shift - (product->operand_shift > 0)));
    const __m512i most = _mm512_set1_epi16((short)product->clamp);
    const __m512i least = _mm512_set1_epi16((short)-product->clamp);
    uint32_t left = product->columns;

    while (left > 0) {
        const __mmask32 mask = left < 32 ? (1u << left) - 1 : 0xFFFFFFFFu;
        __m512i v = _mm512_maskz_loadu_epi16(mask, x), next;
        int8_t *digit = digits;
        uint32_t more = digit_count;

        v = _mm512_sub_epi16(v, _mm512_and_si512(_mm512_srai_epi16(v, 2), quarter));
        v = _mm512_add_epi16(_mm512_sra_epi16(v, shift), _mm512_and_si512(_mm512_sra_epi16(v, below), one));
        v = _mm512_max_epi16(_mm512_min_epi16(v, most), least);
        while (--more > 0) {
            next = _mm512_srai_epi16(_mm512_add_epi16(_mm512_srai_epi16(v, 3), _mm512_set1_epi16(1)), 1);
            _mm256_storeu_si256((__m256i *)(void *)digit,
                                _mm512_cvtepi16_epi8(_mm512_sub_epi16(v, _mm512_slli_epi16(next, 4))));
            v = next;
            digit += digit_bytes;
            ER_OPAQUE(digit);
        }
        _mm256_storeu_si256((__m256i *)(void *)digit, _mm512_cvtepi16_epi8(v));
        x += 32;
        digits += 32;
        ER_OPAQUE(x);
        ER_OPAQUE(digits);
        left = left < 32 ? 0 : left - 32;
    }
    for (; digit_count > 0; digit_count--) {
        _mm512_storeu_si512(digits, _mm512_setzero_si512());
        _mm512_storeu_si512(digits + 64, _mm512_setzero_si512());
        digits += digit_bytes;
        ER_OPAQUE(digits);
    }
}

/* See kernels.h. */
void er_add_narrow_avx512(int16_t *sums, const int16_t *part, uint32_t count, uint32_t shift, uint32_t add)
{
    const __m128i by = _mm_cvtsi32_si128((int)shift);
    const __m512i keep = _mm512_set1_epi16((short)-(int32_t)add);

    while (count > 0) {
        const __m512i v = _mm512_sll_epi16(_mm512_loadu_si512(part), by);

        _mm512_storeu_si512(sums, _mm512_add_epi16(v, _mm512_and_si512(_mm512_loadu_si512(sums), keep)));
        sums += 32;
        part += 32;
        ER_OPAQUE(sums);
        ER_OPAQUE(part);
        count = count < 32 ? 0 : count - 32;
    }
}

/* See kernels.h. */
void er_add_wide_avx512(int32_t *sums, const int16_t *part, uint32_t count, uint32_t shift, uint32_t add)
{
    const __m128i by = _mm_cvtsi32_si128((int)shift);
    const __m512i keep = _mm512_set1_epi32(-(int32_t)add);

    while (count > 0) {
        const __m512i v = _mm512_sll_epi32(
            _mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)part)), by);

        _mm512_storeu_si512(sums, _mm512_add_epi32(v, _mm512_and_si512(_mm512_loadu_si512(sums), keep)));
        sums += 16;
        part += 16;
        ER_OPAQUE(sums);
        ER_OPAQUE(part);
        count = count < 16 ? 0 : count - 16;
    }
}

/* N4: one term of v by the code in the low byte of each lane. */
static inline __m512i term(__m512i v, __m512i codes)
{
    const __m512i t = _mm512_maskz_srav_epi32(_mm512_test_epi32_mask(codes, _mm512_set1_epi32(0x80)), v,
                                              _mm512_and_si512(codes, _mm512_set1_epi32(15)));

    return _mm512_mask_sub_epi32(t, _mm512_test_epi32_mask(codes, _mm512_set1_epi32(0x40)), _mm512_setzero_si512(),
                                 t);
}

/* See kernels.h. N3 for both signs of the left shift: one of the two shifts is by 0. */
void er_outputs_avx512(const er_outputs *outputs, const int32_t *sums, const int32_t *other, int16_t *out)
{
    const int32_t left_shift = outputs->left_shift;
    const __m128i right = _mm_cvtsi32_si128(left_shift < 0 ? -left_shift : 0);
    const __m128i left = _mm_cvtsi32_si128(left_shift < 0 ? 0 : left_shift);
    const __m512i half = _mm512_set1_epi32(left_shift < 0 ? 1 << (-left_shift - 1) : 0);
    const __m512i most = _mm512_set1_epi32(INT16_MAX), least = _mm512_set1_epi32(INT16_MIN);
    const int32_t *bias = outputs->bias;
    const uint16_t *terms = outputs->terms;
    uint32_t rows = outputs->row_count;

    while (rows > 0) {
        const int32_t *plane_sums = sums;
        const uint16_t *plane_terms = terms;
        __m512i a = _mm512_loadu_si512(bias);
        uint32_t planes = outputs->plane_count;

        while (planes > 0) {
            const __m512i codes =
                _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)plane_terms));
            __m512i v = _mm512_loadu_si512(plane_sums);

            if (other != NULL) {
                v = _mm512_add_epi32(v, _mm512_loadu_si512(other));
            }
            v = _mm512_sra_epi32(_mm512_add_epi32(v, half), right);
            v = _mm512_sll_epi32(_mm512_max_epi32(_mm512_min_epi32(v, most), least), left);
            v = _mm512_max_epi32(_mm512_min_epi32(v, most), least);
            a = _mm512_add_epi32(a, _mm512_add_epi32(term(v, codes), term(v, _mm512_srli_epi32(codes, 8))));
            plane_sums += outputs->plane_rows;
            plane_terms += outputs->row_count;
            ER_OPAQUE(plane_sums);
            ER_OPAQUE(plane_terms);
            planes--;
        }
        _mm256_storeu_si256((__m256i *)(void *)out, _mm512_cvtsepi32_epi16(a));
        sums += 16;
        other = other == NULL ? NULL : other + 16;
        bias += 16;
        terms += 16;
        out += 16;
        ER_OPAQUE(sums);
        rows -= 16;
    }
}

#else
typedef int er_compound_avx512_is_empty;    /* a file must not be */
#endif
