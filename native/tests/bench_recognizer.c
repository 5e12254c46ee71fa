/* SPDX-License-Identifier: MIT
 *
 * What 10 ms of audio cost a recognizer, awake and idle: bench_recognizer MODEL.ernn [KERNEL]
 *
 * White noise at -50 dBFS, first with the gate off, then resting behind it; processor time of the least of ten
 * turns, each of ten seconds of audio in pieces of 10 ms, at the usual sample rates. */
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "edge_runtime.h"
#include "files.h"

enum { TURNS = 10, PIECES = 1000, WORDS = 4 };

static double now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return 1e6 * (double)t.tv_sec + 1e-3 * (double)t.tv_nsec;
}

static void check(er_status status, const char *what)
{
    if (status != ER_OK) {
        stop(what, er_status_text(status));
    }
}

/* Ten seconds in pieces; how many of them found the recognizer idle. */
static unsigned hear(er_recognizer *recognizer, const float *samples, size_t piece)
{
    er_word words[WORDS];
    size_t i, begin, word_count, consumed;
    unsigned idle = 0;

    for (i = 0; i < PIECES; i++) {
        for (begin = 0; begin < piece; begin += consumed) {
            check(er_recognizer_push(recognizer, samples + i * piece + begin, piece - begin, words, WORDS,
                                     &word_count, &consumed),
                  "er_recognizer_push");
        }
        idle += er_recognizer_is_idle(recognizer);
    }
    return idle;
}

/* Microseconds of 10 ms. */
static double measure(const er_model *model, uint32_t sample_rate, const float *samples, int idle)
{
    const size_t piece = sample_rate / 100;
    double least = 0;
    er_recognizer *recognizer;
    int turn;

    check(er_recognizer_create(model, sample_rate, &recognizer), "er_recognizer_create");
    check(er_recognizer_set_gate(recognizer, idle ? 2000 : 0), "er_recognizer_set_gate");
    hear(recognizer, samples, piece);
    for (turn = 0; turn < TURNS; turn++) {
        const double start = now_us();
        const unsigned rested = hear(recognizer, samples, piece);
        const double taken = (now_us() - start) / PIECES;

        if (rested != (idle ? PIECES : 0)) {
            stop("bench_recognizer", "the gate did not do as told");
        }
        least = turn == 0 || taken < least ? taken : least;
    }
    er_recognizer_destroy(recognizer);
    return least;
}

int main(int argc, char **argv)
{
    static const uint32_t rates[] = {16000, 44100, 48000};
    const size_t count = 48000 / 100 * (size_t)PIECES;
    er_model_options options = {0, argc > 2 ? argv[2] : NULL};
    float *samples = take_memory(count * sizeof *samples);
    uint32_t seed = 1;
    er_model *model;
    size_t i;

    if (argc < 2) {
        fprintf(stderr, "usage: bench_recognizer MODEL.ernn [KERNEL]\n");
        return 2;
    }
    check(er_model_create_from_file(argv[1], &options, &model, NULL), argv[1]);
    for (i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        samples[i] = ((float)(seed >> 8) - 8388608.0f) * 6.5e-10f;
    }
    for (i = 0; i < sizeof rates / sizeof *rates; i++) {
        printf("%5u Hz: awake %.2f us per 10 ms, idle %.2f us\n", (unsigned)rates[i],
               measure(model, rates[i], samples, 0), measure(model, rates[i], samples, 1));
    }
    er_model_destroy(model);
    free(samples);
    return 0;
}
