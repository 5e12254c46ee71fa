/* SPDX-License-Identifier: MIT
 * A mutator of model files that knows their structure (exporters/FORMAT.md). */
#ifndef ER_MODEL_MUTATOR_H
#define ER_MODEL_MUTATOR_H

#include <stddef.h>
#include <stdint.h>

/* Change a file into another with 1 to 4 changes of what it says (layers, sizes, encodings, profile, optional
 * sections, settings), all lengths made to fit; half of the results are damaged afterwards, with sizes and checksum
 * made right but for one in 16. The rest are legal but for rules that take more than one section to keep.
 *   data         uint8 [shape=(max_size)], of which size are the file; changed
 * Returns the new size. Not thread-safe. */
size_t model_mutate(uint8_t *data, size_t size, size_t max_size, uint32_t seed);

/* The same, beginning with layers and sections of two files. out: uint8 [shape=(max_size)]. */
size_t model_cross(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size, uint8_t *out, size_t max_size,
                   uint32_t seed);

#endif
