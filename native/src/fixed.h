/* SPDX-License-Identifier: MIT
 *
 * The arithmetic of numeric profile 1 on single values. This file, edge_runtime/reference.py and
 * training/quantizers.py are the only places that round, each citing exporters/FORMAT.md. */
#ifndef ER_FIXED_H
#define ER_FIXED_H

#include <stdint.h>

/* C leaves the right shift of negative numbers to the compiler; FORMAT.md, section 1 needs floor. */
_Static_assert((-3 >> 1) == -2, "edge_runtime: >> of a negative number must be an arithmetic shift");

/* Saturate to int16: sat16 of FORMAT.md, section 1. */
static inline int32_t er_sat16(int32_t a)
{
    a = a > INT16_MAX ? INT16_MAX : a;
    return a < INT16_MIN ? INT16_MIN : a;
}

/* a * 2^s for s in 0 .. 15 and |a| <= 2^15; a shift of a negative number is undefined in C. */
static inline int32_t er_shift_left(int32_t a, uint32_t s)
{
    return (int32_t)((uint32_t)a << s);
}

/* Rounding shift, half up: rs of FORMAT.md, section 1. s in 0 .. 24, |a| < 2^30. */
static inline int32_t er_shift_round(int32_t a, uint32_t s)
{
    return (a + (int32_t)((1u << s) >> 1)) >> s;
}

/* Mean, half up: the step of N7. */
static inline int32_t er_average(int32_t a, int32_t b)
{
    return (a + b + 1) >> 1;
}

/* N7: a gate b in 0 .. 255, meaning (b + 1) / 256, mixes p and q: ceil(((b + 1) p + (255 - b) q) / 256). */
static inline int32_t er_chain(uint32_t b, int32_t p, int32_t q)
{
    int32_t a = p;
    uint32_t k;

    for (k = 0; k < 8; k++) {
        a = er_average(a, (b >> k) & 1u ? p : q);
    }
    return a;
}

/* N3: the sum of a row times 2^left_shift, saturated; left_shift in -24 .. 15, |acc| < 2^30. Where
 * acc itself passes int16, so does acc * 2^left_shift for left_shift >= 0. */
static inline int32_t er_scale_sum(int32_t acc, int32_t left_shift)
{
    return left_shift < 0 ? er_sat16(er_shift_round(acc, (uint32_t)-left_shift))
                          : er_sat16(er_shift_left(er_sat16(acc), (uint32_t)left_shift));
}

/* N4: what one term of the row scale (section 5.2: bit 7 present, bit 6 negative, bits 0-3 right
 * shift) makes of v. */
static inline int32_t er_scale_term(int32_t v, uint8_t code)
{
    int32_t present = -(int32_t)(code >> 7);
    int32_t negative = -(int32_t)((code >> 6) & 1u);
    int32_t t = v >> (code & 15u);

    return ((t ^ negative) - negative) & present;
}

#endif
