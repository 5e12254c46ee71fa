/* SPDX-License-Identifier: MIT
 *
 * Reading files in the programs of this folder. At the first thing wrong they say so and exit with
 * status 2: a check that could not run must not look like one that passed. */
#ifndef ER_TESTS_FILES_H
#define ER_TESTS_FILES_H

#include <stddef.h>
#include <stdint.h>

/* Print "WHAT: WHY" to stderr and exit with status 2. */
_Noreturn void stop(const char *what, const char *why);

/* malloc that stops the program instead of failing; size 0 gives memory too. */
void *take_memory(size_t size);

/* All bytes of a file; release with free. */
uint8_t *read_file(const char *path, size_t *size_out);

/* Samples of a WAV file of 16-bit mono PCM, full scale 1.0; without a RIFF header the bytes are the
 * samples themselves. sample_rate_out: the header's, 16000 without one. Release with free. */
float *read_samples(const char *path, size_t *count_out, uint32_t *sample_rate_out);

#endif
