/* SPDX-License-Identifier: MIT
 *
 * What the fast kernels need, made once at load: weights in their own layouts, row scales in arrays, loop
 * bounds, and the proof that each row's sums fit 16 bits; where they do not, how they are put together from sums
 * that do. Matrices and layers for which a kernel does not exist keep the scalar form. */
#ifndef ER_PLAN_H
#define ER_PLAN_H

#include "model.h"

/* Bytes of a plan for these kernels, a multiple of ER_ALIGNMENT; 0 if they need none. */
size_t er_plan_size(const struct er_model *model, const er_kernels *kernels);

/* Make the plan in memory, er_plan_size bytes, aligned, and let the model's matrices and layers point to
 * it. Sets model->kernels and the sizes of a stream's scratch. */
void er_plan_make(struct er_model *model, const er_kernels *kernels, void *memory);

#endif
