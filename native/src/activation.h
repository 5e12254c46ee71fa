/* SPDX-License-Identifier: MIT
 * tanh and sigmoid of numeric profile 1 (exporters/FORMAT.md, section 7.4). */
#ifndef ER_ACTIVATION_H
#define ER_ACTIVATION_H

#include <stdint.h>

/* N13: p int16 in units of 2^-11; result in units of 2^-15, odd in p. */
int32_t er_tanh(int32_t p);

/* N14: p int16 in units of 2^-11; result a gate b in 0 .. 255, meaning (b + 1) / 256. */
uint32_t er_sigmoid(int32_t p);

#endif
