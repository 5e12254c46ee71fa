/* SPDX-License-Identifier: MIT
 *
 * What matrices need that are not one product of 16-bit sums: digits of operands, sums of products, and row
 * scales on 32-bit lanes. AVX2; compound_avx512.c says more. */
#if defined(__AVX2__)

#include <immintrin.h>
#include <stddef.h>

#include "kernels.h"
#include "opaque.h"

/* N1 on 16 values, on 16 bits. */
static inline __m256i make_operands(const er_product *product, __m256i v)
{
    const __m256i quarter = _mm256_set1_epi16(product->three_quarters ? -1 : 0);
    const __m256i one = _mm256_set1_epi16(product->operand_shift > 0 ? 1 : 0);
    const __m128i shift = _mm_cvtsi32_si128((int)product->operand_shift);
    const __m128i below = _mm_cvtsi32_si128((int)(product->operand_shift - (product->operand_shift > 0)));
    const __m256i most = _mm256_set1_epi16((short)product->clamp);
    const __m256i least = _mm256_set1_epi16((short)-product->clamp);

    v = _mm256_sub_epi16(v, _mm256_and_si256(_mm256_srai_epi16(v, 2), quarter));
    v = _mm256_add_epi16(_mm256_sra_epi16(v, shift), _mm256_and_si256(_mm256_sra_epi16(v, below), one));
    return _mm256_max_epi16(_mm256_min_epi16(v, most), least);
}

/* Write 16 values that fit bytes. */
static inline void store_bytes(int8_t *p, __m256i v)
{
    _mm_storeu_si128((__m128i *)(void *)p,
                     _mm_packs_epi16(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1)));
}

/* See kernels.h. The last values go through a copy: nothing behind x is read. */
void er_digits_avx2(const er_product *product, const int16_t *x, uint32_t digit_count, int8_t *digits,
                    size_t digit_bytes)
{
    uint32_t left = product->columns, i;

    while (left > 0) {
        int16_t rest[16] = { 0 };
        const int16_t *from = x;
        int8_t *digit = digits;
        uint32_t more = digit_count;
        __m256i v, next;

        if (left < 16) {
            for (i = 0; i < left; i++) {
                rest[i] = x[i];
            }
            from = rest;
        }
        v = make_operands(product, _mm256_loadu_si256((const __m256i *)(const void *)from));
        while (--more > 0) {
            next = _mm256_srai_epi16(_mm256_add_epi16(_mm256_srai_epi16(v, 3), _mm256_set1_epi16(1)), 1);
            store_bytes(digit, _mm256_sub_epi16(v, _mm256_slli_epi16(next, 4)));
            v = next;
            digit += digit_bytes;
            ER_OPAQUE(digit);
        }
        store_bytes(digit, v);
        x += 16;
        digits += 16;
        ER_OPAQUE(x);
        ER_OPAQUE(digits);
        left = left < 16 ? 0 : left - 16;
    }
    for (; digit_count > 0; digit_count--) {
        for (i = 0; i < ER_BYTE_PADDING; i += 32) {
            _mm256_storeu_si256((__m256i *)(void *)(digits + i), _mm256_setzero_si256());
        }
        digits += digit_bytes;
        ER_OPAQUE(digits);
    }
}

/* See kernels.h. */
void er_add_narrow_avx2(int16_t *sums, const int16_t *part, uint32_t count, uint32_t shift, uint32_t add)
{
    const __m128i by = _mm_cvtsi32_si128((int)shift);
    const __m256i keep = _mm256_set1_epi16((short)-(int32_t)add);

    while (count > 0) {
        const __m256i v = _mm256_sll_epi16(_mm256_loadu_si256((const __m256i *)(const void *)part), by);
        const __m256i old = _mm256_loadu_si256((const __m256i *)(const void *)sums);

        _mm256_storeu_si256((__m256i *)(void *)sums, _mm256_add_epi16(v, _mm256_and_si256(old, keep)));
        sums += 16;
        part += 16;
        ER_OPAQUE(sums);
        ER_OPAQUE(part);
        count = count < 16 ? 0 : count - 16;
    }
}

/* See kernels.h. */
void er_add_wide_avx2(int32_t *sums, const int16_t *part, uint32_t count, uint32_t shift, uint32_t add)
{
    const __m128i by = _mm_cvtsi32_si128((int)shift);
    const __m256i keep = _mm256_set1_epi32(-(int32_t)add);

    while (count > 0) {
        const __m256i v = _mm256_sll_epi32(
            _mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)(const void *)part)), by);
        const __m256i old = _mm256_loadu_si256((const __m256i *)(const void *)sums);

        _mm256_storeu_si256((__m256i *)(void *)sums, _mm256_add_epi32(v, _mm256_and_si256(old, keep)));
        sums += 8;
        part += 8;
        ER_OPAQUE(sums);
        ER_OPAQUE(part);
        count = count < 8 ? 0 : count - 8;
    }
}

/* N4: one term of v by the code in the low byte of each lane. */
static inline __m256i term(__m256i v, __m256i codes)
{
    const __m256i present = _mm256_srai_epi32(_mm256_slli_epi32(codes, 24), 31);
    const __m256i negative = _mm256_srai_epi32(_mm256_slli_epi32(codes, 25), 31);
    const __m256i t = _mm256_srav_epi32(v, _mm256_and_si256(codes, _mm256_set1_epi32(15)));

    return _mm256_and_si256(_mm256_sub_epi32(_mm256_xor_si256(t, negative), negative), present);
}

/* What N3 needs: one of the two shifts is by 0. */
typedef struct shifter {
    __m128i right, left;
    __m256i half;
} shifter;

/* N3 to N5 of eight rows, without the last saturation. */
static inline __m256i eight_rows(const er_outputs *outputs, const shifter *s, const int32_t *sums,
                                 const int32_t *other, const int32_t *bias, const uint16_t *terms)
{
    const __m256i most = _mm256_set1_epi32(INT16_MAX), least = _mm256_set1_epi32(INT16_MIN);
    __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)bias);
    uint32_t planes = outputs->plane_count;

    while (planes > 0) {
        const __m256i codes = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)terms));
        __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)sums);

        if (other != NULL) {
            v = _mm256_add_epi32(v, _mm256_loadu_si256((const __m256i *)(const void *)other));
        }
        v = _mm256_sra_epi32(_mm256_add_epi32(v, s->half), s->right);
        v = _mm256_sll_epi32(_mm256_max_epi32(_mm256_min_epi32(v, most), least), s->left);
        v = _mm256_max_epi32(_mm256_min_epi32(v, most), least);
        a = _mm256_add_epi32(a, _mm256_add_epi32(term(v, codes), term(v, _mm256_srli_epi32(codes, 8))));
        sums += outputs->plane_rows;
        terms += outputs->row_count;
        ER_OPAQUE(sums);
        ER_OPAQUE(terms);
        planes--;
    }
    return a;
}

/* See kernels.h. */
void er_outputs_avx2(const er_outputs *outputs, const int32_t *sums, const int32_t *other, int16_t *out)
{
    const int32_t left_shift = outputs->left_shift;
    const int32_t *bias = outputs->bias;
    const uint16_t *terms = outputs->terms;
    uint32_t rows = outputs->row_count;
    shifter s;

    s.right = _mm_cvtsi32_si128(left_shift < 0 ? -left_shift : 0);
    s.left = _mm_cvtsi32_si128(left_shift < 0 ? 0 : left_shift);
    s.half = _mm256_set1_epi32(left_shift < 0 ? 1 << (-left_shift - 1) : 0);
    while (rows > 0) {
        const __m256i a = eight_rows(outputs, &s, sums, other, bias, terms);
        const __m256i b = eight_rows(outputs, &s, sums + 8, other == NULL ? NULL : other + 8, bias + 8, terms + 8);

        _mm256_storeu_si256((__m256i *)(void *)out, _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xD8));
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
typedef int er_compound_avx2_is_empty;  /* a file must not be */
#endif
