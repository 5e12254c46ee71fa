/* SPDX-License-Identifier: MIT */
#include "kernels.h"

/* See kernels.h. */
void er_widen_scalar(const int8_t *x, uint32_t count, int16_t *values_out)
{
    uint32_t i;

    for (i = 0; i < count; i++) {
        values_out[i] = x[i] < -127 ? -127 : x[i];
    }
}
