/* SPDX-License-Identifier: MIT
 * The way from and to floats, the part of a step that multiplies: AVX-512 with BW. floats_scalar.c says how inputs are
 * rounded; nothing behind the count is read or written. */
#if defined(__AVX512BW__)

#include <immintrin.h>
#include <stddef.h>

#include "kernels.h"

/* The first `left` of 16 lanes. */
static inline __mmask16 lanes(uint32_t left)
{
    return (__mmask16)(left < 16 ? (1u << left) - 1 : 0xFFFFu);
}

/* See kernels.h. */
void er_quantize_avx512(const float *x, const uint8_t *scale, const uint8_t *offset, uint32_t count, int8_t *x_out)
{
    const __m512 most = _mm512_set1_ps(127.0f), least = _mm512_set1_ps(-127.0f), half = _mm512_set1_ps(0.5f);

    while (count > 0) {
        const __mmask16 mask = lanes(count);
        __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x), _mm512_maskz_loadu_ps(mask, scale));
        __mmask16 is_number;

        v = _mm512_add_ps(_mm512_add_ps(v, _mm512_maskz_loadu_ps(mask, offset)), half);
        is_number = _mm512_cmp_ps_mask(v, v, _CMP_ORD_Q);
        v = _mm512_max_ps(_mm512_min_ps(v, most), least);
        _mm512_mask_cvtepi32_storeu_epi8(
            x_out, mask,
            _mm512_maskz_cvt_roundps_epi32(is_number, v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC));
        x += 16;
        scale += 16 * sizeof(float);
        offset += 16 * sizeof(float);
        x_out += 16;
        count = count < 16 ? 0 : count - 16;
    }
}

/* See kernels.h. */
void er_logits_avx512(const int16_t *logits, uint32_t count, float unit, float *y_out)
{
    const __m512 units = _mm512_set1_ps(unit);

    while (count > 0) {
        const __mmask16 mask = lanes(count);
        const __m512i v = _mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16(mask, logits));

        _mm512_mask_storeu_ps(y_out, mask, _mm512_mul_ps(_mm512_cvtepi32_ps(v), units));
        logits += 16;
        y_out += 16;
        count = count < 16 ? 0 : count - 16;
    }
}

#else
typedef int er_floats_avx512_is_empty;  /* a file must not be */
#endif
