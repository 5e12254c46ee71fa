/* SPDX-License-Identifier: MIT
 *
 * What matrices need that are not one product of 16-bit sums: digits of operands, sums of products, and row
 * scales on 32-bit lanes. NEON of AArch64 and ARMv7; compound_avx512.c says more. */
#if defined(__ARM_NEON)

#include <stddef.h>

#include "kernels.h"
#include "neon.h"
#include "opaque.h"

/* N1 on 8 values, on 16 bits. */
INLINE int16x8_t make_operands(const er_product *product, int16x8_t v)
{
    const int16x8_t quarter = vdupq_n_s16(product->three_quarters ? -1 : 0);
    const int16x8_t most = vdupq_n_s16((int16_t)product->clamp);

    v = vsubq_s16(v, vandq_s16(vshrq_n_s16(v, 2), quarter));
    v = vrshlq_s16(v, vdupq_n_s16((int16_t)-(int32_t)product->operand_shift));
    return vmaxq_s16(vminq_s16(v, most), vnegq_s16(most));
}

/* See kernels.h. The last values go through a copy: nothing behind x is read. */
void er_digits_neon(const er_product *product, const int16_t *x, uint32_t digit_count, int8_t *digits,
                    size_t digit_bytes)
{
    uint32_t left = product->columns, i;

    while (left > 0) {
        int16_t rest[8] = { 0 };
        const int16_t *from = x;
        int8_t *digit = digits;
        uint32_t more = digit_count;
        int16x8_t v;

        if (left < 8) {
            for (i = 0; i < left; i++) {
                rest[i] = x[i];
            }
            from = rest;
        }
        v = make_operands(product, vld1q_s16(from));
        while (--more > 0) {
            const int16x8_t next = vrshrq_n_s16(v, 4);

            vst1_s8(digit, vmovn_s16(vsubq_s16(v, vshlq_n_s16(next, 4))));
            v = next;
            digit += digit_bytes;
            ER_OPAQUE(digit);
        }
        vst1_s8(digit, vmovn_s16(v));
        x += 8;
        digits += 8;
        ER_OPAQUE(x);
        ER_OPAQUE(digits);
        left = left < 8 ? 0 : left - 8;
    }
    for (; digit_count > 0; digit_count--) {
        for (i = 0; i < ER_BYTE_PADDING; i += 16) {
            vst1q_s8(digits + i, vdupq_n_s8(0));
        }
        digits += digit_bytes;
        ER_OPAQUE(digits);
    }
}

/* See kernels.h. */
void er_add_narrow_neon(int16_t *sums, const int16_t *part, uint32_t count, uint32_t shift, uint32_t add)
{
    const int16x8_t by = vdupq_n_s16((int16_t)shift), keep = vdupq_n_s16((int16_t)-(int32_t)add);

    while (count > 0) {
        const int16x8_t v = vshlq_s16(vld1q_s16(part), by);

        vst1q_s16(sums, vaddq_s16(v, vandq_s16(vld1q_s16(sums), keep)));
        sums += 8;
        part += 8;
        ER_OPAQUE(sums);
        ER_OPAQUE(part);
        count = count < 8 ? 0 : count - 8;
    }
}

/* See kernels.h. */
void er_add_wide_neon(int32_t *sums, const int16_t *part, uint32_t count, uint32_t shift, uint32_t add)
{
    const int32x4_t by = vdupq_n_s32((int32_t)shift), keep = vdupq_n_s32(-(int32_t)add);

    while (count > 0) {
        const int16x8_t v = vld1q_s16(part);
        const int32x4_t low = vshlq_s32(vmovl_s16(vget_low_s16(v)), by);
        const int32x4_t high = vshlq_s32(vmovl_s16(vget_high_s16(v)), by);

        vst1q_s32(sums, vaddq_s32(low, vandq_s32(vld1q_s32(sums), keep)));
        vst1q_s32(sums + 4, vaddq_s32(high, vandq_s32(vld1q_s32(sums + 4), keep)));
        sums += 8;
        part += 8;
        ER_OPAQUE(sums);
        ER_OPAQUE(part);
        count = count < 8 ? 0 : count - 8;
    }
}

/* N4: one term of v, which fits 16 bits, by the code in the low byte of each lane. */
INLINE int32x4_t term(int32x4_t v, int32x4_t codes)
{
    const int32x4_t present = vshrq_n_s32(vshlq_n_s32(codes, 24), 31);
    const int32x4_t negative = vshrq_n_s32(vshlq_n_s32(codes, 25), 31);
    const int32x4_t t = vshlq_s32(v, vnegq_s32(vandq_s32(codes, vdupq_n_s32(15))));

    return vandq_s32(vsubq_s32(veorq_s32(t, negative), negative), present);
}

/* N3 to N5 of four rows, without the last saturation. vqrshl rounds to the right, and to the left saturates;
 * vqmovn does to 16 bits. */
INLINE int32x4_t four_rows(const er_outputs *outputs, const int32_t *sums, const int32_t *other,
                           const int32_t *bias, const uint16_t *terms)
{
    const int32x4_t left_shift = vdupq_n_s32(outputs->left_shift);
    int32x4_t a = vld1q_s32(bias);
    uint32_t planes = outputs->plane_count;

    while (planes > 0) {
        const int32x4_t codes = vreinterpretq_s32_u32(vmovl_u16(vld1_u16(terms)));
        int32x4_t v = vld1q_s32(sums);

        if (other != NULL) {
            v = vaddq_s32(v, vld1q_s32(other));
        }
        v = vmovl_s16(vqmovn_s32(vqrshlq_s32(v, left_shift)));
        a = vaddq_s32(a, vaddq_s32(term(v, codes), term(v, vshrq_n_s32(codes, 8))));
        sums += outputs->plane_rows;
        terms += outputs->row_count;
        ER_OPAQUE(sums);
        ER_OPAQUE(terms);
        planes--;
    }
    return a;
}

/* See kernels.h. */
void er_outputs_neon(const er_outputs *outputs, const int32_t *sums, const int32_t *other, int16_t *out)
{
    const int32_t *bias = outputs->bias;
    const uint16_t *terms = outputs->terms;
    uint32_t rows = outputs->row_count;

    while (rows > 0) {
        vst1_s16(out, vqmovn_s32(four_rows(outputs, sums, other, bias, terms)));
        sums += 4;
        other = other == NULL ? NULL : other + 4;
        bias += 4;
        terms += 4;
        out += 4;
        ER_OPAQUE(sums);
        rows -= 4;
    }
}

#else
typedef int er_compound_neon_is_empty;  /* a file must not be */
#endif
