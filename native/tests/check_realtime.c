/* SPDX-License-Identifier: MIT
 *
 * The promise of edge_runtime.h that push, step, run, flush, finish and reset neither allocate, lock
 * nor make a system call: check_realtime MODEL.ernn RECORDING
 *                         check_realtime --control allocate|release|lock|syscall
 *
 * Each kind of object is made, then used in a child process under seccomp's strict mode, in which
 * any system call but read, write and exit kills the process. malloc and its relatives and
 * pthread_mutex_lock are defined here, so that calls to them are counted, whether from the library
 * or from within the C library. Each object does all its work twice, with a reset between. That
 * nothing is read or written either follows from the functions that the library's objects call:
 * tests/test_realtime.py looks at them.
 *
 * Prints a line per object. Exit status: 0; 1 if one of them broke the promise; 2 if something could
 * not be done, a system without seccomp included. With --control the child does the named thing, which
 * must give 1. Linux with glibc. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "edge_runtime.h"
#include "files.h"
#include "model.h"      /* the front end's parameters in a model have no public reader */

enum { PIECE = 160, CAPACITY = 4, QUIET_FRAMES = 30 };

/* --------------------------------------------------------------------------- what is counted */

static volatile unsigned allocations;
static volatile unsigned locks;

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *memory);

void *malloc(size_t size)
{
    allocations++;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    allocations++;
    return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size)
{
    allocations++;
    return __libc_realloc(memory, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    allocations++;
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **memory_out, size_t alignment, size_t size)
{
    allocations++;
    *memory_out = __libc_memalign(alignment, size);
    return *memory_out == NULL ? ENOMEM : 0;
}

void free(void *memory)
{
    allocations++;
    __libc_free(memory);
}

/* One thread: a lock that is free is taken, and one that is not would never be. */
int pthread_mutex_lock(pthread_mutex_t *mutex)
{
    locks++;
    return pthread_mutex_trylock(mutex);
}

/* -------------------------------------------------------------------------------- what is used */

/* Everything that any object needs, made before the guard is up. */
typedef struct bench {
    er_model *model;
    er_model_info info;
    float *samples;
    size_t count;
    float *cepstra;             /* noise, [count / 160][cepstrum_count] */
    size_t cepstra_frames;
    float *features;
    float *resampled;
    size_t capacity;            /* of both, in samples */
    int8_t *x;
    int16_t *logits;
    int16_t *state;
    float *y;
    float *log_mel;
    er_word words[CAPACITY];
    er_stream *streams[5];      /* stream and others */
    er_stream *stream;
    er_model *fine;             /* of numeric profile 2 */
    er_stream *fine_streams[2];
    int16_t *x16;
    er_frontend *frontend;
    er_resampler *resampler;
    er_decoder *decoder;
    er_recognizer *recognizer;
} bench;

/* A use returns the first status that is not ER_OK, and in *work_out how much it did (steps, frames,
 * samples, words): nothing done would be nothing tested. */
typedef er_status use(bench *b, size_t *work_out);

#define TRY(call)                                                                                          \
    do {                                                                                                   \
        const er_status try_status = (call);                                                               \
                                                                                                           \
        if (try_status != ER_OK) {                                                                         \
            return try_status;                                                                             \
        }                                                                                                  \
    } while (0)

static er_status use_stream(bench *b, size_t *work_out)
{
    const size_t steps = 20;
    size_t i;

    er_stream_reset(b->stream);
    TRY(er_model_quantize_input(b->model, b->samples, b->x));
    for (i = 0; i < steps; i++) {
        TRY(er_stream_step_quantized(b->stream, b->x, b->logits));
        TRY(er_stream_step(b->stream, b->samples + i * b->info.input_size, b->y));
    }
    TRY(er_stream_run(b->stream, b->samples, steps, b->y));
    TRY(er_stream_run_quantized(b->stream, b->x, steps, b->logits));
    TRY(er_stream_set_skipping(b->stream, 1));
    for (i = 0; i < steps; i++) {
        TRY(er_stream_step_quantized(b->stream, b->x, b->logits));
    }
    TRY(er_stream_set_skipping(b->stream, 0));
    TRY(er_stream_step_many(b->streams, 5, b->samples, b->y));
    TRY(er_stream_step_many_quantized(b->streams, 5, b->x, b->logits));
    TRY(er_stream_get_state(b->stream, b->state));
    TRY(er_stream_set_state(b->stream, b->state));
    *work_out += 4 * steps;
    return ER_OK;
}

/* Buffers are those of the other model, which is larger. */
static er_status use_fine_stream(bench *b, size_t *work_out)
{
    const size_t steps = 20;
    er_stream *stream = b->fine_streams[0];

    er_stream_reset(stream);
    TRY(er_model_quantize_input16(b->fine, b->samples, b->x16));
    TRY(er_stream_step_quantized16(stream, b->x16, b->logits));
    TRY(er_stream_step(stream, b->samples, b->y));
    TRY(er_stream_run(stream, b->samples, steps, b->y));
    TRY(er_stream_run_quantized16(stream, b->x16, steps, b->logits));
    TRY(er_stream_step_many(b->fine_streams, 2, b->samples, b->y));
    TRY(er_stream_step_many_quantized16(b->fine_streams, 2, b->x16, b->logits));
    TRY(er_stream_get_state(stream, b->state));
    TRY(er_stream_set_state(stream, b->state));
    *work_out += 2 * steps;
    return ER_OK;
}

static er_status flush_frontend(bench *b, size_t *work_out)
{
    size_t frames;

    do {
        TRY(er_frontend_flush(b->frontend, QUIET_FRAMES, b->features, CAPACITY, &frames));
        *work_out += frames;
    } while (frames == CAPACITY);
    er_frontend_reset(b->frontend);
    return ER_OK;
}

static er_status use_frontend(bench *b, size_t *work_out)
{
    size_t begin, frames, consumed;

    for (begin = 0; begin < b->count; begin += consumed) {
        const size_t size = b->count - begin < PIECE ? b->count - begin : PIECE;

        TRY(er_frontend_push(b->frontend, b->samples + begin, size, b->features, CAPACITY, &frames, &consumed));
        *work_out += frames;
    }
    TRY(flush_frontend(b, work_out));
    for (begin = 0; begin < b->cepstra_frames; begin += consumed) {
        TRY(er_frontend_push_cepstra(b->frontend, b->cepstra + begin * b->model->frontend.cepstrum_count,
                                     b->cepstra_frames - begin, b->features, CAPACITY, &frames, &consumed));
        *work_out += frames;
    }
    return flush_frontend(b, work_out);
}

static er_status use_resampler(bench *b, size_t *work_out)
{
    size_t begin, produced, consumed;

    for (begin = 0; begin < b->count; begin += consumed) {
        const size_t size = b->count - begin < PIECE ? b->count - begin : PIECE;

        TRY(er_resampler_push(b->resampler, b->samples + begin, size, b->resampled, b->capacity, &produced,
                              &consumed));
        *work_out += produced;
    }
    do {
        TRY(er_resampler_flush(b->resampler, b->resampled, PIECE, &produced));
        *work_out += produced;
    } while (produced == PIECE);
    er_resampler_reset(b->resampler);
    return ER_OK;
}

/* Each label wins for three steps, so that there are words. */
static er_status use_decoder(bench *b, size_t *work_out)
{
    uint32_t label, k;
    size_t words, consumed;

    TRY(er_decoder_set_threshold(b->decoder, 0.0f));
    TRY(er_decoder_set_bias(b->decoder, 0, 0));
    for (label = 0; label < b->info.output_size; label++) {
        for (k = 0; k < b->info.output_size; k++) {
            b->logits[k] = k == label ? 20000 : 0;
        }
        for (k = 0; k < 3; k++) {
            TRY(er_decoder_push(b->decoder, b->logits, 1, b->words, CAPACITY, &words, &consumed));
            *work_out += words;
        }
    }
    TRY(er_decoder_finish(b->decoder, b->words, CAPACITY, &words));
    *work_out += words;
    er_decoder_reset(b->decoder);
    return ER_OK;
}

static er_status finish_recognizer(bench *b)
{
    size_t words;

    do {
        TRY(er_recognizer_finish(b->recognizer, b->words, CAPACITY, &words));
    } while (words == CAPACITY);
    TRY(er_recognizer_posteriors(b->recognizer, b->y));
    er_recognizer_reset(b->recognizer);
    return ER_OK;
}

static er_status use_recognizer(bench *b, size_t *work_out)
{
    size_t begin, words, consumed;
    uint32_t found;

    TRY(er_recognizer_set_threshold(b->recognizer, 0.0f));
    TRY(er_recognizer_set_string_silence(b->recognizer, 500));
    TRY(er_recognizer_set_gate(b->recognizer, 500));
    for (begin = 0; begin < b->count; begin += consumed) {
        const size_t size = b->count - begin < PIECE ? b->count - begin : PIECE;

        TRY(er_recognizer_push(b->recognizer, b->samples + begin, size, b->words, CAPACITY, &words, &consumed));
        TRY(er_recognizer_posteriors(b->recognizer, b->y));
        TRY(er_recognizer_log_mel(b->recognizer, b->log_mel));
        TRY(er_recognizer_partial(b->recognizer, b->words, &found));
        *work_out += consumed + er_recognizer_ended_strings(b->recognizer) +
                     er_recognizer_is_idle(b->recognizer);
    }
    TRY(finish_recognizer(b));
    for (begin = 0; begin < b->cepstra_frames; begin += consumed) {
        TRY(er_recognizer_push_cepstra(b->recognizer,
                                       b->cepstra + begin * b->model->frontend.cepstrum_count,
                                       b->cepstra_frames - begin, b->words, CAPACITY, &words, &consumed));
        *work_out += consumed;
    }
    return finish_recognizer(b);
}

/* ------------------------------------------------------------------------------------ controls */

static er_status use_nothing(bench *b, size_t *work_out)
{
    (void)b;
    *work_out += 1;
    return ER_OK;
}

/* volatile: compilers leave out an allocation that nobody needs. */
static void *volatile held;

static er_status use_malloc(bench *b, size_t *work_out)
{
    held = malloc(16);
    return use_nothing(b, work_out);
}

static er_status use_free(bench *b, size_t *work_out)
{
    free(held);
    return use_nothing(b, work_out);
}

static er_status use_lock(bench *b, size_t *work_out)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
    return use_nothing(b, work_out);
}

static er_status use_syscall(bench *b, size_t *work_out)
{
    (void)getppid();
    return use_nothing(b, work_out);
}

/* --------------------------------------------------------------------------------------- guard */

/* What the child reports through the pipe. */
typedef struct report {
    unsigned allocations;
    unsigned locks;
    int status;
    size_t work;
} report;

/* In the child: nothing but the use and the report happens behind prctl. Ends by the bare system
 * call, since _exit makes another one, which strict mode refuses. */
static _Noreturn void work_guarded(use *function, bench *b, int out)
{
    report r = {0, 0, ER_OK, 0};
    int round;

    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) {
        r.status = ER_ERROR_IO;
        (void)!write(out, &r, sizeof r);
        _exit(2);
    }
    allocations = 0;
    locks = 0;
    for (round = 0; round < 2 && r.status == ER_OK; round++) {
        r.status = function(b, &r.work);
    }
    r.allocations = allocations;
    r.locks = locks;
    (void)!write(out, &r, sizeof r);
    syscall(SYS_exit, 0);
    abort();
}

/* Whether a use keeps the promise; prints what it did. */
static int keeps_promise(const char *name, use *function, bench *b)
{
    report r = {0, 0, ER_OK, 0};
    int ends[2], state;
    pid_t child;
    ssize_t received;

    fflush(NULL);
    if (pipe(ends) != 0 || (child = fork()) < 0) {
        stop(name, "no child process");
    }
    if (child == 0) {
        work_guarded(function, b, ends[1]);
    }
    close(ends[1]);
    received = read(ends[0], &r, sizeof r);
    close(ends[0]);
    if (waitpid(child, &state, 0) != child) {
        stop(name, "the child process is lost");
    }
    if (WIFSIGNALED(state) && WTERMSIG(state) == SIGKILL) {
        printf("%s: made a system call\n", name);
        return 0;
    }
    if (received != (ssize_t)sizeof r || !WIFEXITED(state) || WEXITSTATUS(state) != 0) {
        stop(name, received == (ssize_t)sizeof r ? "seccomp is not to be had" : "the child process died");
    }
    if (r.status != ER_OK || r.work == 0) {
        stop(name, r.status != ER_OK ? er_status_text(r.status) : "did nothing");
    }
    printf("%s: %u allocations or releases, %u locks, 0 system calls (work: %zu)\n", name, r.allocations,
           r.locks, r.work);
    return r.allocations == 0 && r.locks == 0;
}

static void check(er_status status, const char *what)
{
    if (status != ER_OK) {
        stop(what, er_status_text(status));
    }
}

static int run_control(const char *name)
{
    if (!keeps_promise("nothing", use_nothing, NULL)) {
        stop("nothing", "is too much");
    }
    held = malloc(16);
    if (strcmp(name, "allocate") == 0) {
        return keeps_promise(name, use_malloc, NULL) ? 0 : 1;
    }
    if (strcmp(name, "release") == 0) {
        held = NULL;
        return keeps_promise(name, use_free, NULL) ? 0 : 1;
    }
    if (strcmp(name, "lock") == 0) {
        return keeps_promise(name, use_lock, NULL) ? 0 : 1;
    }
    if (strcmp(name, "syscall") == 0) {
        return keeps_promise(name, use_syscall, NULL) ? 0 : 1;
    }
    stop(name, "no such control");
}

static void prepare_fine(bench *b, const char *path)
{
    er_model_info info;
    int i;

    check(er_model_create_from_file(path, NULL, &b->fine, NULL), path);
    check(er_model_describe(b->fine, &info), path);
    if (info.input_size > b->info.input_size || info.output_size > b->info.output_size ||
        info.state_size > b->info.state_size) {
        stop(path, "larger than the other model");
    }
    b->x16 = take_memory(20 * (size_t)info.input_size * sizeof *b->x16);
    memset(b->x16, 3, 20 * (size_t)info.input_size * sizeof *b->x16);
    for (i = 0; i < 2; i++) {
        check(er_stream_create(b->fine, &b->fine_streams[i]), "stream");
    }
}

static void prepare(bench *b, const char *model_path, const char *recording)
{
    uint32_t sample_rate;
    size_t i, cepstra;

    memset(b, 0, sizeof *b);
    check(er_model_create_from_file(model_path, NULL, &b->model, NULL), model_path);
    check(er_model_describe(b->model, &b->info), model_path);
    if (!b->info.has_frontend || !b->info.has_decoder) {
        stop(model_path, "no front end or no decoder settings");
    }
    b->samples = read_samples(recording, &b->count, &sample_rate);
    if (b->count < 20 * (size_t)b->info.input_size) {
        stop(recording, "too short");
    }
    cepstra = b->model->frontend.cepstrum_count;
    b->cepstra_frames = b->count / PIECE;
    b->cepstra = take_memory(b->cepstra_frames * cepstra * sizeof *b->cepstra);
    for (i = 0; i < b->cepstra_frames * cepstra; i++) {
        b->cepstra[i] = 10.0f * b->samples[i % b->count];
    }
    b->capacity = 4 * PIECE;
    b->features = take_memory(CAPACITY * b->info.input_size * sizeof *b->features);
    b->resampled = take_memory(b->capacity * sizeof *b->resampled);
    b->x = take_memory(20 * (size_t)b->info.input_size);
    memset(b->x, 3, 20 * (size_t)b->info.input_size);
    b->logits = take_memory(20 * b->info.output_size * sizeof *b->logits);
    b->state = take_memory(b->info.state_size * sizeof *b->state);
    b->y = take_memory(20 * b->info.output_size * sizeof *b->y);
    b->log_mel = take_memory(b->model->frontend.filter_count * sizeof *b->log_mel);
    for (i = 0; i < 5; i++) {
        check(er_stream_create(b->model, &b->streams[i]), "stream");
    }
    b->stream = b->streams[0];
    check(er_frontend_create(&b->model->frontend, &b->frontend), "front end");
    check(er_decoder_create(b->model, &b->decoder), "decoder");
}

int main(int argc, char **argv)
{
    static const uint32_t rates[] = {16000, 8000, 44100, 48000};
    int all = 1;
    size_t i;
    bench b;

    if (argc == 3 && strcmp(argv[1], "--control") == 0) {
        return run_control(argv[2]);
    }
    if (argc != 4) {
        fprintf(stderr, "usage: check_realtime MODEL.ernn RECORDING FINE.ernn | --control NAME\n");
        return 2;
    }
    prepare(&b, argv[1], argv[2]);
    prepare_fine(&b, argv[3]);
    all &= keeps_promise("stream", use_stream, &b);
    all &= keeps_promise("fine stream", use_fine_stream, &b);
    all &= keeps_promise("front end", use_frontend, &b);
    all &= keeps_promise("decoder", use_decoder, &b);
    for (i = 0; i < sizeof rates / sizeof *rates; i++) {
        char name[40];

        check(er_resampler_create(rates[i], &b.resampler), "resampler");
        check(er_recognizer_create(b.model, rates[i], &b.recognizer), "recognizer");
        snprintf(name, sizeof name, "resampler at %u Hz", (unsigned)rates[i]);
        all &= keeps_promise(name, use_resampler, &b);
        snprintf(name, sizeof name, "recognizer at %u Hz", (unsigned)rates[i]);
        all &= keeps_promise(name, use_recognizer, &b);
        er_recognizer_destroy(b.recognizer);
        er_resampler_destroy(b.resampler);
    }
    return all ? 0 : 1;
}
