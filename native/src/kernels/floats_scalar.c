/* SPDX-License-Identifier: MIT
 * The way from and to floats: the part of a step that multiplies. */
#include "../mathf.h"      /* refuses compilers that would round differently */
#include "../model.h"
#include "kernels.h"

/* Round one input (FORMAT.md, section 4). Clamped before the conversion to int, whose range ends; a
 * comparison with not-a-number is false, so it passes the clamp as -bound and is made 0 at the end.
 * Without branches: on features the rounding's is a coin toss, and 1024 inputs took 30 us instead of 1.6. */
static inline int32_t quantize(float x, float scale, float offset, float bound)
{
    float product = x * scale;
    float sum = product + offset;
    int32_t is_number;
    int32_t q;

    sum = sum + 0.5f;
    is_number = sum == sum;
    sum = sum > -bound ? sum : -bound;
    sum = sum < bound ? sum : bound;
    q = (int32_t)sum;
    q -= (float)q > sum;
    return q & -is_number;
}

/* See kernels.h. */
void er_quantize_scalar(const float *x, const uint8_t *scale, const uint8_t *offset, uint32_t count, int8_t *x_out)
{
    uint32_t i;

    for (i = 0; i < count; i++) {
        x_out[i] = (int8_t)quantize(x[i], er_read_f32(scale + 4 * (size_t)i), er_read_f32(offset + 4 * (size_t)i),
                                    127.0f);
    }
}

/* See kernels.h. */
void er_quantize16(const float *x, const uint8_t *scale, const uint8_t *offset, uint32_t count, int16_t *x_out)
{
    uint32_t i;

    for (i = 0; i < count; i++) {
        x_out[i] = (int16_t)quantize(x[i], er_read_f32(scale + 4 * (size_t)i), er_read_f32(offset + 4 * (size_t)i),
                                     32767.0f);
    }
}

/* See kernels.h. */
void er_logits_scalar(const int16_t *logits, uint32_t count, float unit, float *y_out)
{
    uint32_t i;

    for (i = 0; i < count; i++) {
        y_out[i] = (float)logits[i] * unit;
    }
}
