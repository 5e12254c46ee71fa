/* SPDX-License-Identifier: MIT
 *
 * Elementary functions that give the same bits on every IEEE 754 platform.
 *
 * The C library's sin, log and exp differ in the last place from one platform to the next, and a
 * feature that differs in the last place can end in another quantized input. These are plain sums
 * and products in a fixed order instead. The files that include this header must be compiled
 * without contraction of a * b + c into one rounding (-ffp-contract=off) and without -ffast-math.
 */
#ifndef EDGE_RUNTIME_MATHF_H
#define EDGE_RUNTIME_MATHF_H

#include <float.h>
#include <stdint.h>

#if defined(__FAST_MATH__)
#error "edge_runtime: compile without -ffast-math"
#endif
#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16
#error "edge_runtime: float must be evaluated as float (on 32-bit x86: -msse2 -mfpmath=sse)"
#endif
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(_MSC_VER)
#pragma fp_contract(off)
#endif

#define ER_PI 3.14159265358979323846

/* sin(2 pi k / n) and cos(2 pi k / n); n > 0, |k| and n below 2^59. For tables. */
double er_sin_turns(int64_t k, int64_t n);
double er_cos_turns(int64_t k, int64_t n);

/* Natural logarithm of a positive finite x, within 3e-16, absolute below 1, else relative. For
 * tables. */
double er_log(double x);

/* e^x for |x| <= 700. For tables. */
double er_exp(double x);

/* Natural logarithm of a positive finite x, within 2 units in the last place. For run time. */
float er_logf(float x);

/* e^x for x <= 0, within 2 units in the last place; 0 below -87. For run time. */
float er_expf(float x);

/* x, but within -limit to limit, and 0 for not-a-number. One bad value of the input must not stay in a
 * filter or a running mean for ever. */
static inline float er_sanitizef(float x, float limit)
{
    return x != x ? 0.0f : x > limit ? limit : x < -limit ? -limit : x;
}

#endif
