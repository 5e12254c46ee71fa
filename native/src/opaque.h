/* SPDX-License-Identifier: MIT
 *
 * Keeps a compiler from knowing a value.
 *
 * Compilers replace sums by closed forms: a pointer that moves on by one row per turn of a loop ends
 * at base + rows * row_bytes, and a multiply instruction appears. ER_OPAQUE(x) emits no code and
 * changes nothing, but the compiler must assume that x could have become anything.
 * tests/test_no_multiply.py checks the outcome. */
#ifndef ER_OPAQUE_H
#define ER_OPAQUE_H

#if defined(__GNUC__)
#define ER_OPAQUE(x) __asm__("" : "+r"(x))
#else
#define ER_OPAQUE(x) ((void)(x))
#endif

#endif
