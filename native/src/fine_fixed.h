/* SPDX-License-Identifier: MIT
 *
 * The arithmetic of numeric profile 2 on single values (exporters/FORMAT.md, section 7.5); fixed.h has
 * what it shares with profile 1. */
#ifndef ER_FINE_FIXED_H
#define ER_FINE_FIXED_H

#include "fixed.h"

enum { ER_FINE_BOUND = 1 << 26 };       /* of pre-activations and cells, in magnitude */

/* clip of section 7.5. */
static inline int32_t er_fine_clip(int32_t a)
{
    a = a > ER_FINE_BOUND ? ER_FINE_BOUND : a;
    return a < -ER_FINE_BOUND ? -ER_FINE_BOUND : a;
}

/* N15: the sum of a row times 2^left_shift, clipped; left_shift in -24 .. 15, |acc| < 2^30. */
static inline int32_t er_fine_scale_sum(int32_t acc, int32_t left_shift)
{
    int32_t most;

    if (left_shift < 0) {
        return er_fine_clip(er_shift_round(acc, (uint32_t)-left_shift));
    }
    most = ER_FINE_BOUND >> left_shift;
    acc = acc > most ? most : acc;
    acc = acc < -most ? -most : acc;
    return (int32_t)((uint32_t)acc << left_shift);
}

/* N17: d * f / 2^s, rounded half up; f in 0 .. 2^s, s at least 1, |d| <= 2^27. From the least bit of f on, so that
 * 32 bits hold everything: the floor of a floor is that of the whole. A mask, not a branch, which would be
 * a coin toss. */
static inline int32_t er_fine_part(int32_t d, uint32_t f, uint32_t s)
{
    int32_t a = 0;

    for (; s > 1; s--) {
        a = (a + (d & -(int32_t)(f & 1u))) >> 1;
        f >>= 1;
    }
    a = (a + (d & -(int32_t)(f & 1u)) + 1) >> 1;
    return a + (d & -(int32_t)(f >> 1));
}

/* N18: a gate g in 0 .. 65536, in units of 2^-16, mixes p and q; both at most 2^26 in magnitude. */
static inline int32_t er_fine_mix(uint32_t g, int32_t p, int32_t q)
{
    return q + er_fine_part(p - q, g, 16);
}

#endif
