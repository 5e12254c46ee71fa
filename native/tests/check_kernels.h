/* SPDX-License-Identifier: MIT
 * What the parts of check_kernels share. */
#ifndef ER_CHECK_KERNELS_H
#define ER_CHECK_KERNELS_H

#include "model.h"
#include "random_network.h"

enum { CLAMPS = 6, EDGES = 50 };
extern const int32_t clamps[CLAMPS];
extern const uint32_t edges[EDGES];     /* sizes around every tile edge */

extern const char *isa;                 /* being checked */

/* End with a message and the way to repeat the failure. */
void fail(const char *check, const char *what, uint64_t at);

/* Whether a plan has a fast form for a matrix. */
int is_fast(const er_matrix *matrix);

/* Checks "bounds" and "network" of check_kernels.c. */
void check_bounds(const er_kernels *kernels, random_state *random);
void check_networks(const er_kernels *kernels, random_state *random, unsigned long rounds);

#endif
