/* SPDX-License-Identifier: MIT
 *
 * Damage to model files: check_corruption [--stride N] FILE.ernn ...
 *
 * For each file, which must be a good one:
 *   every byte replaced by every N-th other value (default 1: all 255), as it is and with the
 *   checksum made right; every shorter length, and longer ones; with length and checksum made right too;
 *   and random changes of several bytes.
 *
 * With the checksum as it was, each of them must be refused. With the checksum made right, a change may make
 * another legal model: then it is run. Built with the address and undefined-behavior sanitizers, as
 * tests/test_corruption.py does, nothing of this may trip them. The bytes stand in memory of just
 * their size and are borrowed, so that reading beyond them is noticed.
 *
 * Prints a line of counts per file. Exit status 1 at the first violation, with how to repeat it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge_runtime.h"

enum { STEPS = 3, RANDOM_CHANGES = 20000, PCM_SAMPLES = 2000 };

typedef struct counts {
    unsigned long refused;
    unsigned long accepted;
} counts;

static const char *current_file;

static void die(const char *what, size_t offset, unsigned value)
{
    fprintf(stderr, "%s: %s (offset or length %lu, value %u)\n", current_file, what,
            (unsigned long)offset, value);
    exit(1);
}

static uint32_t read_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void write_u32(uint8_t *p, uint32_t value)
{
    int i;

    for (i = 0; i < 4; i++) {
        p[i] = (uint8_t)(value >> (8 * i));
    }
}

/* Make the checksum of a file right. */
static void fix_checksum(uint8_t *data, size_t size)
{
    if (size >= 64) {
        write_u32(data + 12, 0);
        write_u32(data + 12, er_crc32(data, size));
    }
}

/* Use everything that a model offers: texts, some steps from random input, words from noise. */
static void use(const er_model *model, int with_audio)
{
    er_model_info info;
    er_stream *stream;
    er_recognizer *recognizer;
    const char *key;
    const char *value;
    int16_t *x;                 /* also as so many int8 */
    int16_t *logits;
    er_status status;
    uint32_t i;
    size_t length = 0;

    if (er_model_describe(model, &info) != ER_OK) {
        die("describe failed", 0, 0);
    }
    for (i = 0; i < info.label_count; i++) {
        length += strlen(er_model_label(model, i));
    }
    for (i = 0; i < info.metadata_count; i++) {
        if (er_model_metadata(model, i, &key, &value) != ER_OK) {
            die("metadata failed", i, 0);
        }
        length += strlen(key) + strlen(value);
    }
    if (length > info.file_bytes) {
        die("texts longer than the file", length, 0);
    }
    if (er_stream_create(model, &stream) != ER_OK) {
        die("stream failed", 0, 0);
    }
    x = malloc(STEPS * (size_t)info.input_size * sizeof *x);
    logits = malloc(STEPS * (size_t)info.output_size * sizeof *logits);
    for (i = 0; i < STEPS * info.input_size; i++) {
        x[i] = (int16_t)(i * 20011 + i / 7);
    }
    status = info.profile == 2 ? er_stream_run_quantized16(stream, x, STEPS, logits)
                               : er_stream_run_quantized(stream, (int8_t *)x, STEPS, logits);
    if (status != ER_OK) {
        die("run failed", 0, 0);
    }
    free(x);
    free(logits);
    er_stream_destroy(stream);
    if (with_audio && info.has_decoder) {
        float *samples = malloc(PCM_SAMPLES * sizeof *samples);
        er_word words[4];
        size_t count;
        size_t consumed;

        for (i = 0; i < PCM_SAMPLES; i++) {
            samples[i] = (float)((int)(i * 7919u % 2001u) - 1000) / 1000.0f;
        }
        if (er_recognizer_create(model, 16000, &recognizer) != ER_OK) {
            die("recognizer failed", 0, 0);
        }
        if (er_recognizer_push(recognizer, samples, PCM_SAMPLES, words, 4, &count, &consumed) != ER_OK) {
            die("push failed", 0, 0);
        }
        er_recognizer_destroy(recognizer);
        free(samples);
    }
}

/* Parse bytes in place; use the model if there is one. Returns whether there was. */
static int try(const uint8_t *data, size_t size, int with_audio, counts *counts_io)
{
    er_model_options options = { ER_MODEL_BORROW, NULL };
    uint8_t *exact = malloc(size == 0 ? 1 : size);
    er_model *model = NULL;
    er_error error;
    er_status status;

    memcpy(exact, data, size);
    memset(&error, 0, sizeof error);
    status = er_model_create(exact, size, &options, &model, &error);
    if (status == ER_OK) {
        use(model, with_audio);
        er_model_destroy(model);
        counts_io->accepted++;
    } else {
        if (model != NULL || error.status != status || error.rule < 1 || error.rule > 33 ||
            status > ER_ERROR_TRUNCATED || status < ER_ERROR_METADATA || error.offset > size) {
            die("refused without a proper error", (size_t)error.offset, error.rule);
        }
        counts_io->refused++;
    }
    free(exact);
    return status == ER_OK;
}

/* Whether an offset is in a section of the front end or the decoder of a good file, where damage
 * is heard, not seen in the logits. */
static int is_audio(const uint8_t *data, size_t offset)
{
    uint32_t count = read_u32(data + 16);
    uint32_t i;

    for (i = 0; i < count; i++) {
        const uint8_t *entry = data + 64 + 16 * i;
        size_t begin = read_u32(entry + 4);

        if ((memcmp(entry, "FRNT", 4) == 0 || memcmp(entry, "DECO", 4) == 0) && offset >= begin &&
            offset < begin + read_u32(entry + 8)) {
            return 1;
        }
    }
    return 0;
}

static void change_every_byte(uint8_t *data, size_t size, unsigned stride, counts *counts_io)
{
    uint8_t checksum[4];
    size_t at;
    unsigned change;

    memcpy(checksum, data + 12, 4);
    for (at = 0; at < size; at++) {
        const int with_audio = is_audio(data, at);
        const uint8_t before = data[at];

        for (change = 1 + (unsigned)(at % stride); change < 256; change += stride) {
            data[at] = (uint8_t)(before + change);
            if (try(data, size, 0, counts_io)) {
                die("a damaged byte went unnoticed", at, data[at]);
            }
            fix_checksum(data, size);
            try(data, size, with_audio, counts_io);
            data[at] = before;
            memcpy(data + 12, checksum, 4);
        }
    }
}

/* Shorter and longer files, filled with zeros or ones. */
static void change_length(const uint8_t *data, size_t size, counts *counts_io)
{
    uint8_t *copy = malloc(size + 256);
    size_t length;
    unsigned fill;

    for (fill = 0; fill < 256; fill += 255) {
        for (length = 0; length <= size + 256; length++) {
            memcpy(copy, data, size);
            memset(copy + size, (int)fill, 256);
            if (try(copy, length, 0, counts_io) != (length == size)) {
                die("a wrong length went unnoticed", length, fill);
            }
            if (length >= 64) {
                write_u32(copy + 8, (uint32_t)length);
                fix_checksum(copy, length);
                try(copy, length, 0, counts_io);
            }
        }
    }
    free(copy);
}

/* Some bytes at once, by a generator of Marsaglia's, with the checksum made right. */
static void change_at_random(const uint8_t *data, size_t size, unsigned stride, counts *counts_io)
{
    uint8_t *copy = malloc(size);
    uint32_t random = 2463534242u;
    unsigned round;

    for (round = 0; round < RANDOM_CHANGES / stride; round++) {
        unsigned changes = 2 + round % 4;

        memcpy(copy, data, size);
        for (; changes > 0; changes--) {
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            copy[(random >> 8) % size] = (uint8_t)random;
        }
        fix_checksum(copy, size);
        try(copy, size, round % 64 == 0, counts_io);
    }
    free(copy);
}

/* All of a file into memory of its size. */
static uint8_t *read_file(const char *path, size_t *size_out)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(1 << 20);

    if (file == NULL || data == NULL) {
        fprintf(stderr, "%s: cannot be read\n", path);
        exit(2);
    }
    *size_out = fread(data, 1, 1 << 20, file);
    fclose(file);
    return data;
}

int main(int argc, char **argv)
{
    unsigned stride = 1;
    int i = 1;

    if (argc > 2 && strcmp(argv[1], "--stride") == 0) {
        stride = (unsigned)strtoul(argv[2], NULL, 10);
        i = 3;
    }
    if (stride == 0 || i == argc) {
        fprintf(stderr, "usage: check_corruption [--stride N] FILE.ernn ...\n");
        return 2;
    }
    for (; i < argc; i++) {
        counts total = { 0, 0 };
        size_t size;
        uint8_t *data = read_file(argv[i], &size);

        current_file = argv[i];
        if (!try(data, size, 1, &total)) {
            die("not a good file", 0, 0);
        }
        change_every_byte(data, size, stride, &total);
        change_length(data, size, &total);
        change_at_random(data, size, stride, &total);
        if (!try(data, size, 1, &total)) {
            die("the file was not restored", 0, 0);
        }
        printf("%s: %lu refused, %lu accepted and run\n", argv[i], total.refused, total.accepted);
        fflush(stdout);
        free(data);
    }
    return 0;
}
