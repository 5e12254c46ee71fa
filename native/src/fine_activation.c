/* SPDX-License-Identifier: MIT */
#include "fine_activation.h"

#include "fine_fixed.h"
#include "fine_table.h"

/* N19: the table, 2^s steps of a from entry to entry, at the magnitude a of p; odd in p. */
static int32_t interpolate(int32_t p, uint32_t s)
{
    const uint32_t last = (512u << s) - 1;      /* beyond, the last value */
    uint32_t a = (uint32_t)(p < 0 ? -p : p);
    int32_t low, t;

    a = a > last ? last : a;
    low = er_fine_table[a >> s];
    t = low + er_fine_part(er_fine_table[(a >> s) + 1] - low, a & ((1u << s) - 1), s);
    return p < 0 ? -t : t;
}

/* N20: from 0 to 8. */
int32_t er_fine_tanh(int32_t p)
{
    return interpolate(p, 10);
}

/* N21: sigmoid(p) = (1 + tanh(p / 2)) / 2. */
uint32_t er_fine_sigmoid(int32_t p)
{
    return (uint32_t)(32768 + interpolate(p, 11));
}
