/* SPDX-License-Identifier: MIT
 *
 * Threads: check_threads MODEL.ernn RECORDING ROUNDS|control
 *
 * Eight threads, begun at once, use one model of each kernel of this machine: each has streams, recognizers, resamplers,
 * front ends and decoders of its own, asks the model for labels and metadata, and loads and releases models of any
 * kernel, from bytes and from the file, while the others run. What they get must be, bit for bit, what one thread gets.
 * Built with the thread sanitizer (tests/sanitizers.py), no access may race. With
 * "control" the threads do what they must not, step one stream of them all: that has to be found.
 *
 * Prints a line per kernel. Exit status: 0; 1 if a thread got something else; 2 if something could not be done. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge_runtime.h"
#include "files.h"

enum { THREADS = 8, STEPS = 12, STREAMS = 5, WORDS = 4, KERNELS = 5 };

static const char *const kernels[KERNELS] = { "scalar", "avx2", "avx512bw", "avx512", "neon" };

/* What all threads share and none changes. */
typedef struct shared {
    const char *path;
    const uint8_t *data;
    size_t size;
    const float *samples;
    size_t count;
    uint32_t sample_rate;
    unsigned long rounds;
    er_model *models[KERNELS];      /* null: not of this machine */
    uint32_t expected;              /* of every kind of work, see work */
    er_stream *common;              /* for the control, else null */
    pthread_barrier_t begin;
} shared;

typedef struct worker {
    pthread_t thread;
    shared *shared;
    unsigned number;
    unsigned long wrong;
} worker;

static void check(er_status status, const char *what)
{
    if (status != ER_OK) {
        stop(what, er_status_text(status));
    }
}

static uint32_t mix(uint32_t crc, const void *data, size_t size)
{
    return (crc << 1 | crc >> 31) ^ er_crc32(data, size);
}

/* Steps one by one, all at once, skipping, and of several streams together: the same logits. */
static uint32_t run_streams(const er_model *model, const er_model_info *info, const float *x)
{
    const size_t bytes = STEPS * (size_t)info->output_size * sizeof(float);
    float *y = take_memory(bytes), *many = take_memory(STREAMS * info->output_size * sizeof *many);
    float *inputs = take_memory(STREAMS * info->input_size * sizeof *inputs);
    er_stream *streams[STREAMS];
    uint32_t crc = 0;
    size_t i, k;

    for (k = 0; k < STREAMS; k++) {
        check(er_stream_create(model, &streams[k]), "er_stream_create");
        check(er_stream_set_skipping(streams[k], k % 2), "er_stream_set_skipping");
    }
    check(er_stream_run(streams[0], x, STEPS, y), "er_stream_run");
    crc = mix(crc, y, bytes);
    for (i = 0; i < STEPS; i++) {
        check(er_stream_step(streams[1], x + i * info->input_size, y + i * info->output_size), "er_stream_step");
    }
    crc = mix(crc, y, bytes);
    er_stream_reset(streams[0]);
    er_stream_reset(streams[1]);
    for (i = 0; i < STEPS; i++) {
        for (k = 0; k < STREAMS; k++) {
            memcpy(inputs + k * info->input_size, x + i * info->input_size, info->input_size * sizeof *x);
        }
        check(er_stream_step_many(streams, STREAMS, inputs, many), "er_stream_step_many");
        crc = mix(crc, many, STREAMS * info->output_size * sizeof *many);
    }
    for (k = 0; k < STREAMS; k++) {
        er_stream_destroy(streams[k]);
    }
    free(inputs);
    free(many);
    free(y);
    return crc;
}

/* The words of the recording and the posteriors behind each piece. */
static uint32_t recognize(const er_model *model, const er_model_info *info, const shared *s)
{
    float *posteriors = take_memory(info->output_size * sizeof *posteriors);
    er_recognizer *recognizer;
    er_word words[WORDS];
    uint32_t crc = 0;
    size_t begin, i, count, consumed;

    check(er_recognizer_create(model, s->sample_rate, &recognizer), "er_recognizer_create");
    for (begin = 0; begin < s->count; begin += consumed) {
        const size_t left = s->count - begin, piece = left < 1000 ? left : 1000;

        check(er_recognizer_push(recognizer, s->samples + begin, piece, words, WORDS, &count, &consumed),
              "er_recognizer_push");
        for (i = 0; i < count; i++) {
            crc = mix(crc, &words[i].label, sizeof words[i].label);
            crc = mix(crc, &words[i].confidence, sizeof words[i].confidence);
        }
        check(er_recognizer_posteriors(recognizer, posteriors), "er_recognizer_posteriors");
        crc = mix(crc, posteriors, info->output_size * sizeof *posteriors);
    }
    er_recognizer_destroy(recognizer);
    free(posteriors);
    return crc;
}

/* Everything that a model offers. */
static uint32_t use(const er_model *model, const shared *s)
{
    er_model_info info;
    const char *key, *value;
    float *x;
    uint32_t crc = 0, i;

    check(er_model_describe(model, &info), "er_model_describe");
    for (i = 0; i < info.label_count; i++) {
        crc = mix(crc, er_model_label(model, i), strlen(er_model_label(model, i)));
    }
    for (i = 0; i < info.metadata_count; i++) {
        check(er_model_metadata(model, i, &key, &value), "er_model_metadata");
        crc = mix(mix(crc, key, strlen(key)), value, strlen(value));
    }
    x = take_memory(STEPS * info.input_size * sizeof *x);
    for (i = 0; i < STEPS * info.input_size; i++) {
        x[i] = (float)((int)(i * 7919u % 201u) - 100) / 10.0f;
    }
    crc = mix(crc, &i, sizeof i) ^ run_streams(model, &info, x);
    free(x);
    return crc ^ recognize(model, &info, s);
}

/* A model of one's own, from the file or from bytes; all kernels give the same. */
static uint32_t load(const shared *s, const char *kernel, int from_file)
{
    const er_model_options options = { 0, kernel };
    er_model *model;
    uint32_t result;

    if (from_file) {
        check(er_model_create_from_file(s->path, &options, &model, NULL), "er_model_create_from_file");
    } else {
        check(er_model_create(s->data, s->size, &options, &model, NULL), "er_model_create");
    }
    result = use(model, s);
    er_model_destroy(model);
    return result;
}

/* A damaged model is refused, in any thread by the same rule. */
static unsigned long refuse(const shared *s, unsigned long round)
{
    uint8_t *copy = take_memory(s->size);
    er_model *model;
    er_error error;
    er_status status;

    memcpy(copy, s->data, s->size);
    copy[64 + round * 97 % (s->size - 64)] ^= 1;
    status = er_model_create(copy, s->size, NULL, &model, &error);
    free(copy);
    return status != ER_ERROR_CHECKSUM || error.rule != 5;
}

/* Two threads at once on one stream. */
static void race(const shared *s)
{
    er_model_info info;
    float *x, *y;
    unsigned long round;

    check(er_model_describe(s->models[0], &info), "er_model_describe");
    x = take_memory(info.input_size * sizeof *x);
    y = take_memory(info.output_size * sizeof *y);
    memset(x, 0, info.input_size * sizeof *x);

    for (round = 0; round < 100; round++) {
        er_stream_step(s->common, x, y);
    }
    free(x);
    free(y);
}

static void *work(void *argument)
{
    worker *w = argument;
    shared *s = w->shared;
    unsigned long round;

    pthread_barrier_wait(&s->begin);
    if (s->common != NULL) {
        race(s);
        return NULL;
    }
    for (round = 0; round < s->rounds; round++) {
        const unsigned k = (unsigned)((w->number + round) % KERNELS);

        if (s->models[k] == NULL) {
            continue;
        }
        w->wrong += refuse(s, round);
        if (w->number % 4 == 3) {
            w->wrong += load(s, kernels[k], round % 2) != s->expected;
        } else {
            w->wrong += use(s->models[k], s) != s->expected;
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    static shared s;
    static worker workers[THREADS];
    size_t k;
    unsigned i;
    unsigned long wrong = 0;

    if (argc != 4) {
        fprintf(stderr, "usage: check_threads MODEL.ernn RECORDING ROUNDS|control\n");
        return 2;
    }
    s.path = argv[1];
    s.data = read_file(argv[1], &s.size);
    s.samples = read_samples(argv[2], &s.count, &s.sample_rate);
    s.rounds = strtoul(argv[3], NULL, 10);
    for (k = 0; k < KERNELS; k++) {
        const er_model_options options = { 0, kernels[k] };

        if (er_model_create(s.data, s.size, &options, &s.models[k], NULL) != ER_OK) {
            s.models[k] = NULL;
        }
    }
    if (strcmp(argv[3], "control") == 0) {
        check(er_stream_create(s.models[0], &s.common), "er_stream_create");
    } else {
        s.expected = use(s.models[0], &s);
    }
    if (pthread_barrier_init(&s.begin, NULL, THREADS) != 0) {
        stop("pthread_barrier_init", "failed");
    }
    for (i = 0; i < THREADS; i++) {
        workers[i].shared = &s;
        workers[i].number = i;
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) {
            stop("pthread_create", "failed");
        }
    }
    for (i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        wrong += workers[i].wrong;
    }
    for (k = 0; k < KERNELS; k++) {
        if (s.models[k] != NULL && s.common == NULL) {
            printf("%s: %d threads, %lu rounds\n", kernels[k], THREADS, s.rounds);
        }
        er_model_destroy(s.models[k]);
    }
    er_stream_destroy(s.common);
    pthread_barrier_destroy(&s.begin);
    free((void *)s.data);
    free((void *)s.samples);
    if (wrong != 0) {
        fprintf(stderr, "%lu results differ from those of one thread\n", wrong);
        return 1;
    }
    return 0;
}
