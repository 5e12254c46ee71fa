/* SPDX-License-Identifier: MIT
 * The way from and to floats, the part of a step that multiplies: AVX2. floats_scalar.c says how inputs are
 * rounded. Eight values at a time; the rest, fewer than eight, through arrays of that size, so that nothing
 * behind the count is read or written. */
#if defined(__AVX2__)

#include <immintrin.h>
#include <stddef.h>
#include <string.h>

#include "kernels.h"

/* Round eight inputs. */
static inline void quantize(const float *x, const void *scale, const void *offset, int8_t *x_out)
{
    __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x), _mm256_loadu_ps(scale));
    __m128i q;

    v = _mm256_add_ps(_mm256_add_ps(v, _mm256_loadu_ps(offset)), _mm256_set1_ps(0.5f));
    v = _mm256_and_ps(v, _mm256_cmp_ps(v, v, _CMP_ORD_Q));      /* not-a-number to 0 */
    v = _mm256_max_ps(_mm256_min_ps(v, _mm256_set1_ps(127.0f)), _mm256_set1_ps(-127.0f));
    q = _mm_packs_epi32(_mm256_castsi256_si128(_mm256_cvttps_epi32(_mm256_floor_ps(v))),
                        _mm256_extracti128_si256(_mm256_cvttps_epi32(_mm256_floor_ps(v)), 1));
    _mm_storel_epi64((__m128i *)(void *)x_out, _mm_packs_epi16(q, q));
}

/* See kernels.h. */
void er_quantize_avx2(const float *x, const uint8_t *scale, const uint8_t *offset, uint32_t count, int8_t *x_out)
{
    for (; count >= 8; count -= 8) {
        quantize(x, scale, offset, x_out);
        x += 8;
        scale += 8 * sizeof(float);
        offset += 8 * sizeof(float);
        x_out += 8;
    }
    if (count > 0) {
        float rest[3][8] = { { 0 } };
        int8_t rest_out[8];

        memcpy(rest[0], x, count * sizeof(float));
        memcpy(rest[1], scale, count * sizeof(float));
        memcpy(rest[2], offset, count * sizeof(float));
        quantize(rest[0], rest[1], rest[2], rest_out);
        memcpy(x_out, rest_out, count);
    }
}

/* Eight logits. */
static inline void convert(const int16_t *logits, __m256 units, float *y_out)
{
    const __m256i v = _mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)(const void *)logits));

    _mm256_storeu_ps(y_out, _mm256_mul_ps(_mm256_cvtepi32_ps(v), units));
}

/* See kernels.h. */
void er_logits_avx2(const int16_t *logits, uint32_t count, float unit, float *y_out)
{
    const __m256 units = _mm256_set1_ps(unit);

    for (; count >= 8; count -= 8) {
        convert(logits, units, y_out);
        logits += 8;
        y_out += 8;
    }
    if (count > 0) {
        int16_t rest[8] = { 0 };
        float rest_out[8];

        memcpy(rest, logits, count * sizeof(int16_t));
        convert(rest, units, rest_out);
        memcpy(y_out, rest_out, count * sizeof(float));
    }
}

#else
typedef int er_floats_avx2_is_empty;    /* a file must not be */
#endif
