/* SPDX-License-Identifier: MIT
 * tanh and sigmoid of numeric profile 2 (exporters/FORMAT.md, section 7.5). */
#ifndef ER_FINE_ACTIVATION_H
#define ER_FINE_ACTIVATION_H

#include <stdint.h>

/* N20: p in units of 2^-16, at most 2^26 in magnitude; result -32768 .. 32768 in units of 2^-15, odd in p. */
int32_t er_fine_tanh(int32_t p);

/* N21: p likewise; result a gate in 0 .. 65536, in units of 2^-16. */
uint32_t er_fine_sigmoid(int32_t p);

#endif
