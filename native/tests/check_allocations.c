/* SPDX-License-Identifier: MIT
 *
 * Memory and files that fail: check_allocations FULL.ernn MODEL.ernn OTHER.ernn
 *
 * Linked with --wrap (WRAPPED in tests/test_allocations.py), so that every call of malloc and its relatives and of fopen
 * in the library comes here. Each kind of object is made again and again, with the first allocation failing, with
 * the second, ... until it succeeds; once with that one failing alone, once with all after it too. Each failure must
 * be ER_ERROR_MEMORY (of fopen: ER_ERROR_IO), leave the out-parameter alone, and leave nothing allocated or open; what
 * is made in the end must work as if nothing had happened.
 *
 * FULL: a model with front end and decoder. Then the file of MODEL, of at most 4 KB, is read from streams that give a byte at a time, fail or end at each of its bytes, never end,
 * claim more than they have, or turn into OTHER, a model of the same length, in the middle.
 *
 * Prints a line per object and per kind of stream, and the return address of every call that came here. Exit
 * status: 0; 1 at the first thing wrong; 2 if something could not be done. Linux with glibc. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "edge_runtime.h"
#include "files.h"

enum { MOST_SITES = 64, STEPS = 8, RATE = 48000 };

static _Noreturn void fail(const char *what, const char *why, unsigned long number)
{
    fprintf(stderr, "%s, %lu: %s\n", what, number, why);
    exit(1);
}

/* ------------------------------------------------------------------------- what the library calls */

static int watching;            /* 1 while the library is at work */
static unsigned long calls;     /* since watching began */
static unsigned long failing;   /* the call that fails; 0: none */
static int failing_on;          /* and all after it */
static long live;               /* allocations not yet freed */
static size_t largest;          /* bytes asked for at once */
static const void *sites[MOST_SITES];
static size_t site_count;

void *__real_malloc(size_t size);
void *__real_realloc(void *memory, size_t size);
void __real_free(void *memory);
FILE *__real_fopen(const char *path, const char *mode);
void *__wrap_malloc(size_t size);
void *__wrap_realloc(void *memory, size_t size);
void __wrap_free(void *memory);
FILE *__wrap_fopen(const char *path, const char *mode);

/* Note a call from the library; returns whether it is to fail. */
static int fails(const void *site, size_t size)
{
    size_t i = 0;

    if (!watching) {
        return 0;
    }
    while (i < site_count && sites[i] != site) {
        i++;
    }
    if (i == site_count) {
        if (i == MOST_SITES) {
            fail("sites", "too many", MOST_SITES);
        }
        sites[site_count++] = site;
    }
    largest = largest < size ? size : largest;
    calls++;
    return failing != 0 && (calls == failing || (failing_on && calls > failing));
}

void *__wrap_malloc(size_t size)
{
    if (fails(__builtin_return_address(0), size)) {
        return NULL;
    }
    live += watching;
    return __real_malloc(size);
}

void *__wrap_realloc(void *memory, size_t size)
{
    return fails(__builtin_return_address(0), size) ? NULL : __real_realloc(memory, size);
}

void __wrap_free(void *memory)
{
    live -= watching && memory != NULL;
    __real_free(memory);
}

/* ------------------------------------------------------------------------------ files that fail */

/* What the file that is opened next is like. */
typedef struct script {
    const uint8_t *data;
    size_t size;
    const uint8_t *later;       /* data from byte `turn` on, or null */
    size_t turn;
    size_t piece;               /* most bytes at a time */
    size_t broken;              /* EIO at this byte */
    int endless;                /* zeros behind the end */
    size_t at;
    size_t given;
    int open;
} script;

static script now;

static ssize_t read_script(void *cookie, char *to, size_t size)
{
    script *file = cookie;
    size_t i, count = size < file->piece ? size : file->piece;

    if (file->at >= file->broken) {
        errno = EIO;
        return -1;
    }
    count = count < file->broken - file->at ? count : file->broken - file->at;
    if (!file->endless) {
        count = count < file->size - file->at ? count : file->size - file->at;
    }
    for (i = 0; i < count; i++, file->at++) {
        const uint8_t *data = file->later != NULL && file->at >= file->turn ? file->later : file->data;

        to[i] = (char)(file->at < file->size ? data[file->at] : 0);
    }
    file->given += count;
    return (ssize_t)count;
}

static int close_script(void *cookie)
{
    ((script *)cookie)->open--;
    return 0;
}

FILE *__wrap_fopen(const char *path, const char *mode)
{
    const cookie_io_functions_t functions = { read_script, NULL, NULL, close_script };
    FILE *file;

    if (!watching) {
        return __real_fopen(path, mode);
    }
    if (fails(__builtin_return_address(0), 0)) {
        errno = ENOMEM;
        return NULL;
    }
    file = fopencookie(&now, mode, functions);
    if (file == NULL) {
        stop("fopencookie", "failed");
    }
    now.open++;
    return file;
}

/* A file of so many bytes, as files usually are. */
static void set_script(const uint8_t *data, size_t size)
{
    memset(&now, 0, sizeof now);
    now.data = data;
    now.size = size;
    now.piece = now.broken = SIZE_MAX;
}

/* -------------------------------------------------------------------------- objects and their use */

typedef struct bench {
    const uint8_t *data;
    size_t size;
    const char *kernel;
    er_model *model;            /* of the kernel */
    er_model_info info;
} bench;

/* Make an object at *out, of whatever type; its error, if it is told, in *error. */
typedef er_status make_fn(const bench *b, void **out, er_error *error);
/* CRC-32 of what an object does; it is destroyed. */
typedef uint32_t use_fn(const bench *b, void *object);

static er_status make_model(const bench *b, void **out, er_error *error)
{
    const er_model_options options = { 0, b->kernel };
    er_model *model = *out;
    const er_status status = er_model_create(b->data, b->size, &options, &model, error);

    *out = model;
    return status;
}

static er_status make_borrowing_model(const bench *b, void **out, er_error *error)
{
    const er_model_options options = { ER_MODEL_BORROW, b->kernel };
    er_model *model = *out;
    const er_status status = er_model_create(b->data, b->size, &options, &model, error);

    *out = model;
    return status;
}

static er_status make_model_from_file(const bench *b, void **out, er_error *error)
{
    const er_model_options options = { 0, b->kernel };
    er_model *model = *out;
    er_status status;

    set_script(b->data, b->size);
    now.piece = 1000;
    status = er_model_create_from_file("scripted", &options, &model, error);
    *out = model;
    return status;
}

#define MAKE(name, type, call)                                            \
    static er_status name(const bench *b, void **out, er_error *error)    \
    {                                                                     \
        type *object = *out;                                              \
        const er_status status = call;                                    \
                                                                          \
        (void)b;                                                          \
        error->status = status;                                           \
        *out = object;                                                    \
        return status;                                                    \
    }

static er_status create_default_frontend(er_frontend **out)
{
    er_frontend_config config;

    er_frontend_config_default(&config);
    return er_frontend_create(&config, out);
}

MAKE(make_stream, er_stream, er_stream_create(b->model, &object))
MAKE(make_resampler, er_resampler, er_resampler_create(RATE, &object))
MAKE(make_frontend, er_frontend, create_default_frontend(&object))
MAKE(make_decoder, er_decoder, er_decoder_create(b->model, &object))
MAKE(make_recognizer, er_recognizer, er_recognizer_create(b->model, RATE, &object))

/* Noise. */
static void fill(float *samples, size_t count)
{
    size_t i;

    for (i = 0; i < count; i++) {
        samples[i] = (float)((int)(i * 7919u % 2001u) - 1000) / 1000.0f;
    }
}

static uint32_t use_stream(const bench *b, void *object)
{
    const uint32_t inputs = b->info.input_size, outputs = b->info.output_size;
    float *x = take_memory(STEPS * inputs * sizeof *x), *y = take_memory(STEPS * outputs * sizeof *y);
    uint32_t crc;

    fill(x, STEPS * inputs);
    if (er_stream_run(object, x, STEPS, y) != ER_OK) {
        fail("er_stream_run", "failed", STEPS);
    }
    crc = er_crc32(y, STEPS * outputs * sizeof *y);
    er_stream_destroy(object);
    free(x);
    free(y);
    return crc;
}

static uint32_t use_model(const bench *b, void *object)
{
    er_stream *stream;
    uint32_t crc;

    if (er_stream_create(object, &stream) != ER_OK) {
        fail("er_stream_create", "failed", 0);
    }
    crc = use_stream(b, stream);
    er_model_destroy(object);
    return crc;
}

static uint32_t use_resampler(const bench *b, void *object)
{
    float samples[STEPS * 480], out[STEPS * 480] = { 0 };
    size_t produced, consumed;

    (void)b;
    fill(samples, STEPS * 480);
    if (er_resampler_push(object, samples, STEPS * 480, out, STEPS * 480, &produced, &consumed) != ER_OK) {
        fail("er_resampler_push", "failed", 0);
    }
    er_resampler_destroy(object);
    return er_crc32(out, sizeof out) + (uint32_t)produced;
}

static uint32_t use_frontend(const bench *b, void *object)
{
    float samples[STEPS * 160], out[STEPS * 39] = { 0 };
    size_t frames, consumed;

    (void)b;
    fill(samples, STEPS * 160);
    if (er_frontend_push(object, samples, STEPS * 160, out, STEPS, &frames, &consumed) != ER_OK) {
        fail("er_frontend_push", "failed", 0);
    }
    er_frontend_destroy(object);
    return er_crc32(out, sizeof out) + (uint32_t)frames;
}

static uint32_t use_decoder(const bench *b, void *object)
{
    int16_t *logits = take_memory(STEPS * b->info.output_size * sizeof *logits);
    er_word words[STEPS] = { { 0 } };
    size_t count, consumed, i;

    for (i = 0; i < STEPS * b->info.output_size; i++) {
        logits[i] = (int16_t)(i * 7919u);
    }
    if (er_decoder_push(object, logits, STEPS, words, STEPS, &count, &consumed) != ER_OK) {
        fail("er_decoder_push", "failed", 0);
    }
    er_decoder_destroy(object);
    free(logits);
    return (uint32_t)(count << 16 | consumed);
}

static uint32_t use_recognizer(const bench *b, void *object)
{
    float samples[RATE / 10], *posteriors = take_memory(b->info.output_size * sizeof *posteriors);
    er_word words[STEPS];
    size_t count, consumed;
    uint32_t crc;

    fill(samples, RATE / 10);
    if (er_recognizer_push(object, samples, RATE / 10, words, STEPS, &count, &consumed) != ER_OK ||
        er_recognizer_posteriors(object, posteriors) != ER_OK) {
        fail("er_recognizer_push", "failed", 0);
    }
    crc = er_crc32(posteriors, b->info.output_size * sizeof *posteriors) + (uint32_t)consumed;
    er_recognizer_destroy(object);
    free(posteriors);
    return crc;
}

static const struct kind {
    const char *name;
    make_fn *make;
    use_fn *use;
    unsigned long least;        /* allocations */
} kinds[] = {
    { "model", make_model, use_model, 1 },
    { "borrowing model", make_borrowing_model, use_model, 1 },
    { "model from a file", make_model_from_file, use_model, 5 },
    { "stream", make_stream, use_stream, 1 },
    { "resampler", make_resampler, use_resampler, 1 },
    { "front end", make_frontend, use_frontend, 1 },
    { "decoder", make_decoder, use_decoder, 1 },
    { "recognizer", make_recognizer, use_recognizer, 1 },
};

/* Make one object under watch, with allocation `which` failing. Returns it, or null if it could not be made. */
static void *make_watched(const struct kind *kind, const bench *b, unsigned long which, er_status *status_out)
{
    char untouched;
    void *object = &untouched;
    er_error error = { 1, 1, 1, 1, 1 };

    calls = 0;
    live = 0;
    largest = 0;
    failing = which;
    watching = 1;
    *status_out = kind->make(b, &object, &error);
    watching = 0;
    if (*status_out == ER_OK) {
        return object;
    }
    if (object != &untouched) {
        fail(kind->name, "the out-parameter of a failed call was changed", which);
    }
    if (live != 0 || now.open != 0) {
        fail(kind->name, "a failed call left something allocated or open", which);
    }
    if (error.status != *status_out) {
        fail(kind->name, "no error was told", which);
    }
    return NULL;
}

static void fail_every_allocation(const struct kind *kind, const bench *b)
{
    er_status status;
    const uint32_t expected = kind->use(b, make_watched(kind, b, 0, &status));
    const unsigned long needed = calls;
    unsigned long which;

    if (needed < kind->least) {
        fail(kind->name, "fewer allocations than there should be", needed);
    }
    for (failing_on = 0; failing_on < 2; failing_on++) {
        for (which = 1; which <= needed; which++) {
            void *object = make_watched(kind, b, which, &status);

            if (object != NULL) {
                fail(kind->name, "succeeded without memory", which);
            }
            /* The file is opened before anything is allocated for it. */
            if (status != (kind->make == make_model_from_file && which == 1 ? ER_ERROR_IO : ER_ERROR_MEMORY)) {
                fail(kind->name, er_status_text(status), which);
            }
            object = make_watched(kind, b, 0, &status);
            if (object == NULL || kind->use(b, object) != expected) {
                fail(kind->name, "does not work after a failure", which);
            }
        }
    }
    failing = 0;
    printf("%s, %s: %lu allocations, each failed alone and with all after it\n", kind->name, b->info.kernel, needed);
}

/* ---------------------------------------------------------------------------------------- files */

/* Read the scripted file. Returns the status; nothing may be left. A model is destroyed. */
static er_status read_scripted(const char *what, unsigned long number, er_error *error)
{
    er_model *model = NULL;
    er_status status;

    memset(error, 0, sizeof *error);
    live = 0;
    largest = 0;
    watching = 1;
    status = er_model_create_from_file("scripted", NULL, &model, error);
    er_model_destroy(model);
    watching = 0;
    if (live != 0 || now.open != 0) {
        fail(what, "something was left allocated or open", number);
    }
    if ((status == ER_OK) != (model != NULL) || status != error->status) {
        fail(what, "the status is not that of the error", number);
    }
    return status;
}

static void expect(const char *what, unsigned long number, er_status found, er_status expected)
{
    if (found != expected) {
        fail(what, er_status_text(found), number);
    }
}

static void read_files(const uint8_t *data, size_t size, const uint8_t *other)
{
    er_error error;
    size_t at, mixed = 0;
    uint8_t claim[64];

    for (at = 1; at < 200; at += 7) {
        set_script(data, size);
        now.piece = at;
        expect("short reads", at, read_scripted("short reads", at, &error), ER_OK);
    }
    printf("short reads: accepted\n");
    for (at = 0; at <= size; at++) {
        set_script(data, size);
        now.broken = at;
        /* At the very end of the file: the read that would have found nothing more. */
        expect("read error", at, read_scripted("read error", at, &error), ER_ERROR_IO);
    }
    printf("a read error at each of %zu bytes: refused\n", size);
    for (at = 0; at < size; at++) {
        set_script(data, at);
        now.piece = 1 + at % 97;
        expect("cut", at, read_scripted("cut", at, &error), ER_ERROR_TRUNCATED);
        if (error.rule != 1 || error.offset != at || largest > 4096) {
            fail("cut", "not by rule 1 where it ends, or with too large a buffer", at);
        }
    }
    printf("cut at each of %zu bytes: refused\n", size);
    set_script(data, size);
    now.endless = 1;
    expect("endless", 0, read_scripted("endless", 0, &error), ER_ERROR_FILE_SIZE);
    if (error.rule != 4 || now.given > size + 1 + BUFSIZ) {
        fail("endless", "read beyond its size", now.given);
    }
    set_script((const uint8_t *)"", 0);
    now.endless = 1;
    expect("zeros", 0, read_scripted("zeros", 0, &error), ER_ERROR_MAGIC);
    if (now.given > 64 + BUFSIZ || largest > 4096) {
        fail("zeros", "too much was read", now.given);
    }
    printf("endless: refused\n");
    memcpy(claim, data, sizeof claim);
    memcpy(claim + 8, "\0\0\0\x40", 4);         /* 2^30, all that is allowed */
    set_script(claim, sizeof claim);
    expect("claim", 0, read_scripted("claim", 0, &error), ER_ERROR_TRUNCATED);
    if (largest > 4096) {
        fail("claim", "memory was taken for what is not there", largest);
    }
    printf("1 GiB claimed: refused with %zu bytes\n", largest);
    for (at = 0; at <= size; at++) {
        const int is_same = memcmp(data + at, other + at, size - at) == 0 || memcmp(data, other, at) == 0;

        set_script(data, size);
        now.later = other;
        now.turn = at;
        expect("changing", at, read_scripted("changing", at, &error), is_same ? ER_OK : ER_ERROR_CHECKSUM);
        mixed += (size_t)!is_same;
    }
    printf("changed at each of %zu bytes: refused\n", mixed);
}

int main(int argc, char **argv)
{
    static const char *const kernels[] = { "scalar", "avx2", "avx512bw", "avx512", "neon" };
    bench b = { 0 };
    size_t other_size, size, i, k;
    uint8_t *other, *data;

    if (argc != 4) {
        fprintf(stderr, "usage: check_allocations FULL.ernn MODEL.ernn OTHER.ernn\n");
        return 2;
    }
    set_script(NULL, 0);
    b.data = data = read_file(argv[1], &b.size);
    for (k = 0; k < sizeof kernels / sizeof kernels[0]; k++) {
        const er_model_options options = { 0, kernels[k] };

        b.kernel = kernels[k];
        if (er_model_create(b.data, b.size, &options, &b.model, NULL) != ER_OK) {
            continue;                   /* not of this machine */
        }
        er_model_describe(b.model, &b.info);
        for (i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
            fail_every_allocation(&kinds[i], &b);
        }
        er_model_destroy(b.model);
    }
    free(data);
    data = read_file(argv[2], &size);
    other = read_file(argv[3], &other_size);
    if (other_size != size || memcmp(data, other, size) == 0) {
        stop(argv[3], "not another model of the same length");
    }
    read_files(data, size, other);
    free(data);
    free(other);
    for (i = 0; i < site_count; i++) {
        printf("site %p\n", sites[i]);
    }
    return 0;
}
