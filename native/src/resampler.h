/* SPDX-License-Identifier: MIT
 *
 * What the recognizer needs of the resampler beyond the public header.
 */
#ifndef ER_RESAMPLER_H
#define ER_RESAMPLER_H

#include "edge_runtime.h"

/* When the last input sample that output number count - 1 needs has arrived, in seconds. */
double er_resampler_arrival_s(const er_resampler *resampler, uint64_t count);

#endif
