/* SPDX-License-Identifier: MIT
 *
 * Time of a step: bench_step [--steps N] [--rounds N] [--kernel ISA] [--workload W] [--way step] [--clamp M]
 *                            [--shared 0] [--encoding binary|ternary|pow2] [--planes P] [--reset-before 1]
 *
 * The workloads W1, W2, W3, W4L and W4G, and a GRU of 512 units, with random weights, from quantized input to
 * logits, for every kernel of this machine: single steps of one stream; runs of 64 steps; and steps of 2, 4, 8 and
 * 16 streams in one call ("run", "2" ...; --way: only that one). Rounds of all are interleaved; printed are the median time of a round and, for single
 * steps, the least, in microseconds a step and stream. Warm: all of a round's steps are of one network. */
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "random_network.h"

enum { WORKLOADS = 6, MOST_KERNELS = 5, MOST_ROUNDS = 1000, INPUTS = 64, WAYS = 6, MOST_STREAMS = 16 };

typedef struct workload {
    const char *name;
    uint32_t input_size, layer_count, weight;   /* weight: steps of a round are divided by it */
    layer_spec layers[3];
} workload;

#define LAYER(kind, flags, units) { kind, 0, flags, 0, ER_ENCODING_TERNARY, 1, 1, units, 12, 12 }
#define DENSE(units) LAYER(ER_LAYER_DENSE, 0, units)

static workload workloads[WORKLOADS] = {
    { "W1", 39, 2, 1, { LAYER(ER_LAYER_GRU, ER_LAYER_SHARED_SCALE, 200), DENSE(11) } },
    { "W2", 40, 3, 4, { LAYER(ER_LAYER_GRU, ER_LAYER_SHARED_SCALE, 256),
                        LAYER(ER_LAYER_GRU, ER_LAYER_SHARED_SCALE, 256), DENSE(12) } },
    { "W3", 50, 2, 6, { LAYER(ER_LAYER_LSTM, ER_LAYER_SHARED_SCALE, 512), DENSE(50) } },
    { "W4L", 50, 1, 24, { LAYER(ER_LAYER_LSTM, ER_LAYER_SHARED_SCALE, 1024) } },
    { "G512", 50, 2, 5, { LAYER(ER_LAYER_GRU, ER_LAYER_SHARED_SCALE, 512), DENSE(50) } },
    { "W4G", 1024, 1, 40, { LAYER(ER_LAYER_GRU, ER_LAYER_SHARED_SCALE, 1024) } },
};

typedef struct runner {
    struct er_model model;
    er_stream *streams[MOST_STREAMS];
    double times[WAYS][MOST_ROUNDS];
} runner;

static double now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e6 * (double)t.tv_sec + 1e-3 * (double)t.tv_nsec;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* One round: so many steps on different inputs, in one of the ways. Microseconds a step and stream. */
static double time_round(runner *r, int way, const int8_t *x, unsigned long steps)
{
    static int16_t logits[INPUTS * ER_MAX_SIZE];
    const uint32_t input_size = r->model.input_size, count = way < 2 ? 1u : 1u << (way - 1);
    const double start = now_us();
    unsigned long i;

    if (way == 1) {
        steps = (steps + INPUTS - 1) / INPUTS * INPUTS;
        for (i = 0; i < steps; i += INPUTS) {
            er_stream_run_quantized(r->streams[0], x, INPUTS, logits);
        }
    } else if (way == 0) {
        for (i = 0; i < steps; i++) {
            er_stream_step_quantized(r->streams[0], x + (i % INPUTS) * input_size, logits);
        }
    } else {
        steps = (steps + count - 1) / count * count;
        for (i = 0; i < steps; i += count) {
            er_stream_step_many_quantized(r->streams, count, x + (i % INPUTS) * input_size, logits);
        }
    }
    return (now_us() - start) / (double)steps;
}

int main(int argc, char **argv)
{
    static const char *const words[MOST_KERNELS] = { "scalar", "avx2", "avx512bw", "avx512", "neon" };
    static const char *const ways[WAYS] = { "step", "run", "2", "4", "8", "16" };
    static runner runners[WORKLOADS][MOST_KERNELS];
    static int8_t inputs[INPUTS * 1024];
    unsigned long steps = 4000, rounds = 25, round;
    const char *only = NULL, *only_workload = NULL, *only_way = NULL;
    random_state random = { 1 };
    int i, w, k, way, clamp = 12, shared = 1, planes = 1, reset_before = 0;
    uint8_t encoding = ER_ENCODING_TERNARY;

    for (i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--steps") == 0) {
            steps = strtoul(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--rounds") == 0) {
            rounds = strtoul(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--clamp") == 0) {
            clamp = atoi(argv[i + 1]);
        } else if (strcmp(argv[i], "--shared") == 0) {
            shared = atoi(argv[i + 1]);
        } else if (strcmp(argv[i], "--planes") == 0) {
            planes = atoi(argv[i + 1]);
        } else if (strcmp(argv[i], "--reset-before") == 0) {
            reset_before = atoi(argv[i + 1]);
        } else if (strcmp(argv[i], "--encoding") == 0) {
            encoding = strcmp(argv[i + 1], "binary") == 0 ? ER_ENCODING_BINARY
                       : strcmp(argv[i + 1], "pow2") == 0 ? ER_ENCODING_POW2 : ER_ENCODING_TERNARY;
        } else if (strcmp(argv[i], "--kernel") == 0) {
            only = argv[i + 1];
        } else if (strcmp(argv[i], "--way") == 0) {
            only_way = argv[i + 1];
        } else if (strcmp(argv[i], "--workload") == 0) {
            only_workload = argv[i + 1];
        } else {
            fprintf(stderr, "%s: unknown option %s\n", argv[0], argv[i]);
            return 2;
        }
    }
    if (rounds == 0 || rounds > MOST_ROUNDS || steps < 100) {
        fprintf(stderr, "%s: rounds 1 .. %d, steps 100 or more\n", argv[0], MOST_ROUNDS);
        return 2;
    }
    for (i = 0; i < INPUTS * 1024; i++) {
        inputs[i] = (int8_t)((int)random_below(&random, 255) - 127);
    }
    for (w = 0; w < WORKLOADS; w++) {
        struct er_model network;

        if (only_workload != NULL && strcmp(only_workload, workloads[w].name) != 0) {
            continue;
        }
        for (i = 0; i < 3; i++) {
            layer_spec *layer = &workloads[w].layers[i];

            layer->clamp_x = layer->clamp_h = clamp;
            layer->encoding = encoding;
            layer->plane_count = (uint8_t)planes;
            layer->flags = shared && planes == 1 ? layer->flags : 0;
            layer->flags |= reset_before && layer->kind == ER_LAYER_GRU ? ER_LAYER_RESET_BEFORE : 0;
        }
        random_network(&random, &network, workloads[w].input_size, workloads[w].layers,
                       workloads[w].layer_count);
        for (k = 0; k < MOST_KERNELS; k++) {
            const er_kernels *kernels = er_kernels_find(words[k]);
            void *memory;

            if (kernels != NULL && (only == NULL || strcmp(only, words[k]) == 0)) {
                plan_network(&runners[w][k].model, &network, kernels, &memory);
                for (i = 0; i < MOST_STREAMS; i++) {
                    if (er_stream_create(&runners[w][k].model, &runners[w][k].streams[i]) != ER_OK) {
                        return 2;
                    }
                }
            }
        }
    }
    for (round = 0; round < rounds; round++) {
        for (w = 0; w < WORKLOADS; w++) {
            for (k = 0; k < MOST_KERNELS; k++) {
                for (way = 0; way < WAYS && runners[w][k].streams[0] != NULL; way++) {
                    const unsigned long count = steps / workloads[w].weight / (k == 0 ? 8 : 1);

                    if (only_way != NULL && strcmp(only_way, ways[way]) != 0) {
                        continue;
                    }
                    time_round(&runners[w][k], way, inputs, count / 4 + 1);
                    runners[w][k].times[way][round] = time_round(&runners[w][k], way, inputs, count + 1);
                }
            }
        }
    }
    for (w = 0; w < WORKLOADS; w++) {
        for (k = 0; k < MOST_KERNELS; k++) {
            runner *r = &runners[w][k];

            if (r->streams[0] == NULL) {
                continue;
            }
            printf("%-4s %-8s", workloads[w].name, words[k]);
            for (way = 0; way < WAYS; way++) {
                if (only_way != NULL && strcmp(only_way, ways[way]) != 0) {
                    continue;
                }
                qsort(r->times[way], rounds, sizeof r->times[way][0], compare_doubles);
                printf("  %s %.3f", ways[way], r->times[way][rounds / 2]);
            }
            if (only_way == NULL || strcmp(only_way, "step") == 0) {
                printf("  (least %.3f)", r->times[0][0]);
            }
            printf("\n");
        }
    }
    return 0;
}
