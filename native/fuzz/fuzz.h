/* SPDX-License-Identifier: MIT
 * What the fuzz targets share. A target is a C file that defines LLVMFuzzerTestOneInput; it is linked with
 * libFuzzer, or with replay.c where there is none. */
#ifndef ER_FUZZ_H
#define ER_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "edge_runtime.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Of libFuzzer or replay.c: change bytes in place, at most to max_size of them; returns how many there are then. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

/* A finding: say where, and die so that the input is kept. */
#define REQUIRE(condition)                                                                \
    do {                                                                                  \
        if (!(condition)) {                                                               \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);       \
            abort();                                                                      \
        }                                                                                 \
    } while (0)

/* The input as a supply of numbers; zeros when it is used up. */
typedef struct fuzz_input {
    const uint8_t *data;
    size_t size;
} fuzz_input;

static inline uint32_t take_u8(fuzz_input *input)
{
    if (input->size == 0) {
        return 0;
    }
    input->size--;
    return *input->data++;
}

static inline uint32_t take_u16(fuzz_input *input)
{
    const uint32_t low = take_u8(input);

    return low | take_u8(input) << 8;
}

static inline uint32_t take_u32(fuzz_input *input)
{
    const uint32_t low = take_u16(input);

    return low | take_u16(input) << 16;
}

/* 0 .. limit - 1; limit is 1 or more, at most 65536. */
static inline uint32_t take_below(fuzz_input *input, uint32_t limit)
{
    return (limit <= 256 ? take_u8(input) : take_u16(input)) % limit;
}

static inline void *take_memory_of(size_t size)
{
    void *memory = malloc(size == 0 ? 1 : size);

    REQUIRE(memory != NULL);
    return memory;
}

/* xorshift32; the state must not be zero. */
static inline uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* ISA words of the kernels that this machine runs, "scalar" first: [shape=(5)]. Returns how many. */
static inline uint32_t find_kernels(const char **words_out)
{
    static const char *const words[5] = { "scalar", "avx2", "avx512bw", "avx512", "neon" };
    uint32_t count = 0, i;

    for (i = 0; i < 5; i++) {
        const er_model_options options = { 0, words[i] };
        size_t bytes;

        /* The kernel is looked for before anything else. */
        if (er_model_size("", 0, &options, &bytes, NULL) != ER_ERROR_KERNEL) {
            words_out[count++] = words[i];
        }
    }
    return count;
}

#endif
