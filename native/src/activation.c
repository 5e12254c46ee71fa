/* SPDX-License-Identifier: MIT */
#include "activation.h"

#include "activation_table.h"

/* Segment i at the centred fraction f (int16): seg(i, F) of section 7.4. */
static int32_t segment(uint32_t i, int32_t f)
{
    return er_activation_base[i] + (f >> er_activation_shift1[i]) + (f >> er_activation_shift2[i]) -
           (f >> er_activation_shift3[i]);
}

/* N13: 64 segments of 128 values over |p| < 4.0; beyond, the last value. */
int32_t er_tanh(int32_t p)
{
    int32_t magnitude = p < 0 ? -p : p;
    uint32_t a = (uint32_t)(magnitude > 8191 ? 8191 : magnitude);
    int32_t t = segment(a >> 7, (int32_t)((a & 127u) << 9) - 32768);

    return p < 0 ? -t : t;
}

/* N14: sigmoid(p) = (1 + tanh(p / 2)) / 2 from the same segments, each twice as long. */
uint32_t er_sigmoid(int32_t p)
{
    int32_t magnitude = p < 0 ? -p : p;
    uint32_t a = (uint32_t)(magnitude > 16383 ? 16383 : magnitude);
    int32_t t = segment(a >> 8, (int32_t)((a & 255u) << 8) - 32768);
    int32_t b = ((p < 0 ? -t : t) - 128 + 32768) >> 8;

    return (uint32_t)(b < 0 ? 0 : b);
}
