/* SPDX-License-Identifier: MIT
 *
 * A fuzz target without libFuzzer:
 *
 *     fuzz_TARGET FILE ...                     each once: a corpus, or the input of a finding
 *     fuzz_TARGET --mutate N SEED FILE ...     then N changes of them, by the target's mutator if it has one
 *
 * With --mutate, the input at hand when a check fails is written to ./finding first. */
#include <signal.h>
#include <string.h>

#include "fuzz.h"

enum { MAX_BYTES = 16384, MOST_FILES = 4096 };

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) __attribute__((weak));

static uint32_t random_state = 1;
static const uint8_t *current;
static size_t current_size;

static void keep_finding(int number)
{
    FILE *file = fopen("finding", "wb");

    (void)number;
    if (file != NULL) {
        fwrite(current, 1, current_size, file);
        fclose(file);
    }
}

/* In memory of just its size, so that the address sanitizer sees more. */
static void try_input(const uint8_t *data, size_t size)
{
    uint8_t *exact = take_memory_of(size);

    memcpy(exact, data, size);
    current = exact;
    current_size = size;
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

static size_t read_input(const char *path, uint8_t *data)
{
    FILE *file = fopen(path, "rb");
    size_t size;

    if (file == NULL) {
        fprintf(stderr, "%s: cannot be read\n", path);
        exit(2);
    }
    size = fread(data, 1, MAX_BYTES, file);
    fclose(file);
    return size;
}

int main(int argc, char **argv)
{
    static uint8_t data[MAX_BYTES];
    unsigned long rounds = 0, round;
    int first = 1, i;

    if (argc > 4 && strcmp(argv[1], "--mutate") == 0) {
        rounds = strtoul(argv[2], NULL, 10);
        random_state = (uint32_t)strtoul(argv[3], NULL, 10) * 2654435761u | 1u;
        first = 4;
    }
    if (first >= argc) {
        fprintf(stderr, "usage: %s [--mutate N SEED] FILE ...\n", argv[0]);
        return 2;
    }
    for (i = first; i < argc; i++) {
        try_input(data, read_input(argv[i], data));
    }
    signal(SIGABRT, keep_finding);
    for (round = 0; round < rounds; round++) {
        size_t size = read_input(argv[first + (int)(next_random(&random_state) % (uint32_t)(argc - first))], data);
        uint32_t changes = 1 + next_random(&random_state) % 4;

        for (; changes > 0; changes--) {
            size = LLVMFuzzerCustomMutator != NULL
                       ? LLVMFuzzerCustomMutator(data, size, MAX_BYTES, next_random(&random_state))
                       : LLVMFuzzerMutate(data, size, MAX_BYTES);
        }
        try_input(data, size);
    }
    printf("%d files, %lu changes of them\n", argc - first, rounds);
    return 0;
}
