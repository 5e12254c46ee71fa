/* SPDX-License-Identifier: MIT
 *
 * What is built in: files of the checkout as arrays, written by embed.cmake. */
#ifndef EDGE_DIGITS_BUILTIN_H
#define EDGE_DIGITS_BUILTIN_H

#include <stddef.h>
#include <stdint.h>

extern const uint8_t builtin_model[];           /* edge_runtime/models/digits.ernn, 64-byte aligned */
extern const size_t builtin_model_size;
extern const uint8_t builtin_small_model[];     /* edge_runtime/models/digits_small.ernn, likewise */
extern const size_t builtin_small_model_size;
extern const uint8_t builtin_recording[];       /* self_test.wav: "three one" */
extern const size_t builtin_recording_size;

#endif
