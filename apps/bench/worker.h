/* SPDX-License-Identifier: MIT
 *
 * The bench's worker protocol in C, shared by peer_worker.c and onnxruntime_worker.c so that both
 * are timed by the same instructions. README.md beside this file describes the protocol.
 *
 * A program fills a `struct worker`, calls worker_begin before it loads anything (and after it has
 * read its input), worker_ready after the first 100 frames, and worker_serve to the end.
 */
#ifndef BENCH_WORKER_H
#define BENCH_WORKER_H

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    WORKER_FRAMES = 100,            /* frames of input.bin */
    WORKER_STREAMS = 8,             /* independent streams of the commands streams and together */
    WORKER_UNTIMED = 20,            /* steps before the timed ones */
    WORKER_MAX = 100000,            /* timed calls of one command */
    WORKER_SWEEP = 64 << 20         /* bytes read and written before a cold step */
};

struct worker {
    const char *peer;
    const char *workload;
    char version[128];
    void *self;
    /* Advance stream 0 by frame t (0 .. 99): copy the input, compute, carry the state. */
    void (*step)(void *self, int t);
    /* The same on integers only; null: not offered. */
    void (*step_int8)(void *self, int t);
    /* Advance one of WORKER_STREAMS further streams by frame t; null: not offered. */
    void (*step_of)(void *self, int stream, int t);
    /* Advance all of them by frame t in one call; null: not offered. */
    void (*step_together)(void *self, int t);
    /* All frames in one call, from the zero state; null: not offered. */
    void (*sequence)(void *self);
    /* Largest absolute difference of the last sequence from the reference. */
    double (*sequence_error)(void *self);
    double load_ms, import_ms, error;
    long file_bytes;
    long peak_kb, resident_kb;      /* at worker_begin */
};

/* Microseconds of a clock that only goes forward. */
static double worker_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

/* A field in kilobytes of a /proc file; 0 where there is none. */
static long worker_proc_kb(const char *path, const char *field)
{
    char line[256];
    long value = 0;
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, field, strlen(field)) == 0)
            value = strtol(line + strlen(field), NULL, 10);
    if (file != NULL)
        fclose(file);
    return value;
}

/* A file of float or double elements of `size` bytes; ends the program if it cannot be read. */
static void *worker_read(const char *path, size_t size, size_t *count_out)
{
    FILE *file = fopen(path, "rb");
    long bytes = -1;
    void *data = NULL;
    if (file != NULL && fseek(file, 0, SEEK_END) == 0)
        bytes = ftell(file);
    if (bytes > 0) {
        rewind(file);
        data = malloc((size_t)bytes);
    }
    if (data == NULL || fread(data, 1, (size_t)bytes, file) != (size_t)bytes) {
        fprintf(stderr, "worker: %s: cannot read\n", path);
        exit(2);
    }
    fclose(file);
    *count_out = (size_t)bytes / size;
    return data;
}

/* Note the memory in use. The two ways to ask: VmHWM is the peak, but the kernel updates it in
 * steps of up to 64 pages; Rss of smaps_rollup is exact, but of now. */
static void worker_begin(struct worker *w)
{
    signal(SIGUSR2, SIG_IGN);
    w->peak_kb = worker_proc_kb("/proc/self/status", "VmHWM:");
    w->resident_kb = worker_proc_kb("/proc/self/smaps_rollup", "Rss:");
}

static int worker_ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median cost of timing nothing: what every figure of this worker contains. */
static double worker_timer_us(void)
{
    double d[1001];
    for (int i = 0; i < 1001; i++) {
        const double start = worker_now();
        d[i] = worker_now() - start;
    }
    qsort(d, 1001, sizeof d[0], worker_ascending);
    return d[500];
}

/* The first line. `error` below 0: nothing to compare with. */
static void worker_ready(struct worker *w)
{
    const long highest = worker_proc_kb("/proc/self/status", "VmHWM:");
    const long peak = highest - w->peak_kb;
    const long resident = worker_proc_kb("/proc/self/smaps_rollup", "Rss:") - w->resident_kb;
    char error[32] = "null";
    if (w->error >= 0)
        snprintf(error, sizeof error, "%g", w->error);
    printf("{\"ready\":1,\"peer\":\"%s\",\"workload\":\"%s\",\"version\":\"%s\",\"maxerr\":%s,", w->peer,
           w->workload, w->version, error);
    printf("\"load_ms\":%.3f,\"import_ms\":%.3f,\"rss_stream_kb\":%ld,\"rss_numpy_kb\":0,", w->load_ms,
           w->import_ms, peak);
    printf("\"rss_now_kb\":%ld,\"peak_kb\":%ld,\"file_bytes\":%ld,\"timer_us\":%.4f,", resident, highest,
           w->file_bytes, worker_timer_us());
    printf("\"commands\":[\"stream\",\"cold\",\"live\",\"mark\"%s%s%s%s]}\n", w->sequence ? ",\"seq\"" : "",
           w->step_int8 ? ",\"int8\"" : "", w->step_of ? ",\"streams\"" : "", w->step_together ? ",\"together\"" : "");
    fflush(stdout);
}

static void worker_print(const double *us, int count, double divisor)
{
    putchar('[');
    for (int i = 0; i < count; i++)
        printf("%s%.4f", i ? "," : "", us[i] / divisor);
    putchar(']');
}

static void worker_stream(struct worker *w, void (*step)(void *, int), double *us, int count)
{
    for (int i = 0; i < WORKER_UNTIMED; i++)
        step(w->self, i % WORKER_FRAMES);
    for (int i = 0; i < count; i++) {
        const int t = i % WORKER_FRAMES;
        const double start = worker_now();
        step(w->self, t);
        us[i] = worker_now() - start;
    }
}

/* Every 64-byte line of a large buffer is changed before each step, so that weights, state and
 * code come from the last-level cache or from memory. */
static void worker_cold(struct worker *w, double *us, int count)
{
    static unsigned char *sweep;
    if (sweep == NULL) {
        sweep = malloc(WORKER_SWEEP);
        if (sweep == NULL)
            exit(1);
        memset(sweep, 1, WORKER_SWEEP);
    }
    for (int i = 0; i < count; i++) {
        for (size_t j = 0; j < WORKER_SWEEP; j += 64)
            ((volatile unsigned char *)sweep)[j]++;
        const double start = worker_now();
        w->step(w->self, i % WORKER_FRAMES);
        us[i] = worker_now() - start;
    }
}

/* Rounds of WORKER_STREAMS steps, one per stream: time of a round. */
static void worker_streams(struct worker *w, int together, double *us, int count)
{
    for (int i = -3; i < count; i++) {
        const int t = (i + 3) % WORKER_FRAMES;
        const double start = worker_now();
        if (together)
            w->step_together(w->self, t);
        else
            for (int s = 0; s < WORKER_STREAMS; s++)
                w->step_of(w->self, s, t);
        if (i >= 0)
            us[i] = worker_now() - start;
    }
}

/* For count_instructions: pairs of signals around nothing, then around steps. A tracer sees them;
 * without one they are ignored. */
static void worker_mark(struct worker *w, int count)
{
    for (int i = 0; i < 3; i++) {
        raise(SIGUSR2);
        raise(SIGUSR2);
    }
    for (int i = 0; i < count; i++) {
        raise(SIGUSR2);
        w->step(w->self, i % WORKER_FRAMES);
        raise(SIGUSR2);
    }
}

/* Steps at the pace of a live signal: one every `period_us`, asleep in between. Reports the time of
 * the processor in all threads, that of the clock, and each step's. A step that is not done before the
 * next is due counts as late. */
static void worker_live(struct worker *w, double *us, int count, int period_us)
{
    struct timespec cpu[2];
    int late = 0;
    for (int i = 0; i < WORKER_UNTIMED; i++)
        w->step(w->self, i % WORKER_FRAMES);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu[0]);
    const double begin = worker_now();
    for (int i = 0; i < count; i++) {
        const double due = begin + (double)i * period_us;
        const struct timespec at = {(time_t)(due / 1e6), (long)((due - (double)(time_t)(due / 1e6) * 1e6) * 1e3)};
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) != 0)
            ;
        const double start = worker_now();
        w->step(w->self, i % WORKER_FRAMES);
        const double end = worker_now();
        us[i] = end - start;
        late += end > due + period_us;
    }
    const double rest = begin + (double)count * period_us - worker_now();
    if (rest > 0) {
        const struct timespec remaining = {(time_t)(rest / 1e6), (long)((rest - (double)(time_t)(rest / 1e6) * 1e6) * 1e3)};
        nanosleep(&remaining, NULL); /* a pool that spins goes on after the last step */
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu[1]);
    const double wall = worker_now() - begin;
    const double spent = (double)(cpu[1].tv_sec - cpu[0].tv_sec) * 1e6 + (double)(cpu[1].tv_nsec - cpu[0].tv_nsec) * 1e-3;
    printf("{\"cpu_us\":%.1f,\"wall_us\":%.1f,\"late\":%d,\"us\":", spent, wall, late);
    worker_print(us, count, 1);
    putchar('}');
}

/* Answer commands until quit or the end of input; returns the exit status. */
static int worker_serve(struct worker *w)
{
    static double us[WORKER_MAX];
    char line[128], command[32];
    while (fgets(line, sizeof line, stdin) != NULL) {
        int n = 0, period_us = 0;
        if (sscanf(line, "%31s %d %d", command, &n, &period_us) < 1)
            continue;
        n = n < 0 ? 0 : n > WORKER_MAX ? WORKER_MAX : n;
        if (strcmp(command, "quit") == 0)
            break;
        if (strcmp(command, "stream") == 0) {
            worker_stream(w, w->step, us, n);
            worker_print(us, n, 1);
        } else if (strcmp(command, "int8") == 0 && w->step_int8 != NULL) {
            worker_stream(w, w->step_int8, us, n);
            worker_print(us, n, 1);
        } else if (strcmp(command, "cold") == 0) {
            worker_cold(w, us, n);
            worker_print(us, n, 1);
        } else if (strcmp(command, "streams") == 0 && w->step_of != NULL) {
            worker_streams(w, 0, us, n);
            worker_print(us, n, WORKER_STREAMS);
        } else if (strcmp(command, "together") == 0 && w->step_together != NULL) {
            worker_streams(w, 1, us, n);
            worker_print(us, n, WORKER_STREAMS);
        } else if (strcmp(command, "seq") == 0 && w->sequence != NULL) {
            w->sequence(w->self);
            for (int i = 0; i < n; i++) {
                const double start = worker_now();
                w->sequence(w->self);
                us[i] = worker_now() - start;
            }
            const double error = w->sequence_error(w->self);
            char text[32] = "null";
            if (error >= 0)
                snprintf(text, sizeof text, "%g", error);
            printf("{\"maxerr\":%s,\"us\":", text);
            worker_print(us, n, 1);
            putchar('}');
        } else if (strcmp(command, "live") == 0) {
            worker_live(w, us, n, period_us);
        } else if (strcmp(command, "mark") == 0) {
            worker_mark(w, n);
            printf("%d", n);
        } else {
            printf("null");
        }
        putchar('\n');
        fflush(stdout);
    }
    return 0;
}

#endif
