/* SPDX-License-Identifier: MIT
 * The way from and to floats, the part of a step that multiplies: AArch64. floats_scalar.c says how inputs are
 * rounded. Eight values at a time; the rest, fewer than eight, through arrays of that size, so that nothing
 * behind the count is read or written. */
#if defined(__aarch64__)

#include <arm_neon.h>
#include <stddef.h>
#include <string.h>

#include "kernels.h"

/* Round four inputs. The conversion rounds down, saturates, and makes not-a-number 0. */
static inline int16x4_t round_four(const float *x, const uint8_t *scale, const uint8_t *offset)
{
    float32x4_t v = vmulq_f32(vld1q_f32(x), vreinterpretq_f32_u8(vld1q_u8(scale)));

    v = vaddq_f32(v, vreinterpretq_f32_u8(vld1q_u8(offset)));
    v = vaddq_f32(v, vdupq_n_f32(0.5f));
    return vqmovn_s32(vcvtmq_s32_f32(v));
}

/* Round eight inputs. */
static inline void quantize(const float *x, const uint8_t *scale, const uint8_t *offset, int8_t *x_out)
{
    const int16x8_t v = vcombine_s16(round_four(x, scale, offset), round_four(x + 4, scale + 16, offset + 16));

    vst1_s8(x_out, vmax_s8(vqmovn_s16(v), vdup_n_s8(-127)));
}

/* See kernels.h. */
void er_quantize_neon(const float *x, const uint8_t *scale, const uint8_t *offset, uint32_t count, int8_t *x_out)
{
    for (; count >= 8; count -= 8) {
        quantize(x, scale, offset, x_out);
        x += 8;
        scale += 8 * sizeof(float);
        offset += 8 * sizeof(float);
        x_out += 8;
    }
    if (count > 0) {
        float rest[8] = { 0 };
        uint8_t rest_scale[8 * sizeof(float)] = { 0 }, rest_offset[8 * sizeof(float)] = { 0 };
        int8_t rest_out[8];

        memcpy(rest, x, count * sizeof(float));
        memcpy(rest_scale, scale, count * sizeof(float));
        memcpy(rest_offset, offset, count * sizeof(float));
        quantize(rest, rest_scale, rest_offset, rest_out);
        memcpy(x_out, rest_out, count);
    }
}

/* Eight logits. */
static inline void convert(const int16_t *logits, float unit, float *y_out)
{
    const int16x8_t v = vld1q_s16(logits);

    vst1q_f32(y_out, vmulq_n_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(v))), unit));
    vst1q_f32(y_out + 4, vmulq_n_f32(vcvtq_f32_s32(vmovl_high_s16(v)), unit));
}

/* See kernels.h. */
void er_logits_neon(const int16_t *logits, uint32_t count, float unit, float *y_out)
{
    for (; count >= 8; count -= 8) {
        convert(logits, unit, y_out);
        logits += 8;
        y_out += 8;
    }
    if (count > 0) {
        int16_t rest[8] = { 0 };
        float rest_out[8];

        memcpy(rest, logits, count * sizeof(int16_t));
        convert(rest, unit, rest_out);
        memcpy(y_out, rest_out, count * sizeof(float));
    }
}

#else
typedef int er_floats_neon_is_empty;    /* a file must not be */
#endif
