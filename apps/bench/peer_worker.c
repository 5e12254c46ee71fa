/* SPDX-License-Identifier: MIT
 *
 * edge_runtime in the peers bench: a model file timed from C through the public interface.
 *
 *     peer_worker MODEL.ernn INPUT.bin [--reference LOGITS.bin] [--kernel NAME] [--workload NAME] [--name NAME]
 *
 * INPUT.bin: float32 [shape=(100, input_size)]. LOGITS.bin: float32 [shape=(100, output_size)], made by the exact
 * NumPy reference (python -m apps.bench --write-models DIR); the `maxerr` of the ready line is the
 * distance from it and is 0 unless a kernel is wrong.
 *
 * `stream`, `cold`, `seq`, `streams` and `together` take floats and give floats (er_stream_step, er_stream_run,
 * er_stream_step_many), as the peers do; `int8` is the same step on integers (er_stream_step_quantized).
 */
#define _POSIX_C_SOURCE 200809L
#include "worker.h"

#include "edge_runtime.h"

#include <math.h>

struct ours {
    const float *input;     /* [shape=(WORKER_FRAMES, input_size)] */
    int8_t *input_int8;     /* the same, quantized */
    const float *reference; /* [shape=(WORKER_FRAMES, output_size)] or null */
    float *x, *y;           /* a frame for each of the streams in and out; y has room for all frames */
    int16_t *logits;
    size_t input_size, output_size;
    er_stream *stream, *streams[WORKER_STREAMS];
};

static void step(void *self, int t)
{
    struct ours *o = self;
    memcpy(o->x, o->input + (size_t)t * o->input_size, o->input_size * sizeof(float));
    er_stream_step(o->stream, o->x, o->y);
}

static void step_int8(void *self, int t)
{
    struct ours *o = self;
    er_stream_step_quantized(o->stream, o->input_int8 + (size_t)t * o->input_size, o->logits);
}

static void step_of(void *self, int stream, int t)
{
    struct ours *o = self;
    memcpy(o->x, o->input + (size_t)t * o->input_size, o->input_size * sizeof(float));
    er_stream_step(o->streams[stream], o->x, o->y);
}

static void step_together(void *self, int t)
{
    struct ours *o = self;
    for (size_t s = 0; s < WORKER_STREAMS; s++)
        memcpy(o->x + s * o->input_size, o->input + (size_t)t * o->input_size, o->input_size * sizeof(float));
    er_stream_step_many(o->streams, WORKER_STREAMS, o->x, o->y);
}

static void sequence(void *self)
{
    struct ours *o = self;
    er_stream_reset(o->stream);
    er_stream_run(o->stream, o->input, WORKER_FRAMES, o->y);
}

static double error_of(const struct ours *o, const float *y, size_t first, size_t count)
{
    double worst = 0;
    if (o->reference == NULL)
        return -1;
    for (size_t i = 0; i < count; i++)
        worst = fmax(worst, fabs((double)y[i] - (double)o->reference[first + i]));
    return worst;
}

static double sequence_error(void *self)
{
    const struct ours *o = self;
    return error_of(o, o->y, 0, WORKER_FRAMES * o->output_size);
}

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "peer_worker: %s: %s\n", what, why);
    exit(2);
}

static void check(er_status status, const char *what)
{
    if (status != ER_OK)
        fail(what, er_status_text(status));
}

static void *allocate(size_t bytes)
{
    void *memory = malloc(bytes);
    if (memory == NULL)
        fail("memory", "none left");
    return memory;
}

int main(int argc, char **argv)
{
    struct ours o = {0};
    struct worker w = {.peer = "edge_runtime", .workload = "", .self = &o, .step = step, .step_int8 = step_int8,
                       .step_of = step_of, .step_together = step_together, .sequence = sequence,
                       .sequence_error = sequence_error};
    er_model_options options = {0, NULL};
    const char *reference = NULL;
    if (argc < 3 || argc % 2 == 0)
        fail("usage", "peer_worker MODEL INPUT [--reference FILE] [--kernel NAME] [--workload NAME] [--name NAME]");
    for (int i = 3; i < argc; i += 2) {
        if (strcmp(argv[i], "--reference") == 0)
            reference = argv[i + 1];
        else if (strcmp(argv[i], "--kernel") == 0)
            options.kernel = argv[i + 1];
        else if (strcmp(argv[i], "--workload") == 0)
            w.workload = argv[i + 1];
        else if (strcmp(argv[i], "--name") == 0)
            w.peer = argv[i + 1];
        else
            fail(argv[i], "no such option");
    }
    size_t inputs, references = 0;
    o.input = worker_read(argv[2], sizeof(float), &inputs);
    if (reference != NULL)
        o.reference = worker_read(reference, sizeof(float), &references);
    o.input_size = inputs / WORKER_FRAMES;
    o.x = allocate(WORKER_STREAMS * o.input_size * sizeof(float));
    worker_begin(&w);

    /* Load: file to first output. */
    const double start = worker_now();
    er_model *model;
    er_model_info info;
    check(er_model_create_from_file(argv[1], &options, &model, NULL), argv[1]);
    check(er_model_describe(model, &info), argv[1]);
    if (inputs != (size_t)WORKER_FRAMES * info.input_size)
        fail(argv[2], "not 100 frames of the model's input size");
    if (reference != NULL && references != (size_t)WORKER_FRAMES * info.output_size)
        fail(reference, "not 100 frames of the model's output size");
    check(er_stream_create(model, &o.stream), "stream");
    o.output_size = info.output_size;
    o.y = allocate(WORKER_FRAMES * o.output_size * sizeof(float));
    o.logits = allocate(o.output_size * sizeof(int16_t));
    step(&o, 0);
    w.load_ms = (worker_now() - start) / 1000;

    er_stream_reset(o.stream);
    w.error = o.reference != NULL ? 0 : -1;
    for (int t = 0; t < WORKER_FRAMES; t++) {
        step(&o, t);
        if (o.reference != NULL)
            w.error = fmax(w.error, error_of(&o, o.y, (size_t)t * o.output_size, o.output_size));
    }
    w.file_bytes = (long)info.file_bytes;
    snprintf(w.version, sizeof w.version, "edge_runtime %s %s", er_version(), info.kernel);
    worker_ready(&w);

    o.input_int8 = allocate(WORKER_FRAMES * o.input_size);
    for (size_t t = 0; t < WORKER_FRAMES; t++)
        check(er_model_quantize_input(model, o.input + t * o.input_size, o.input_int8 + t * o.input_size), "input");
    for (int s = 0; s < WORKER_STREAMS; s++)
        check(er_stream_create(model, &o.streams[s]), "stream");
    const int result = worker_serve(&w);

    for (int s = 0; s < WORKER_STREAMS; s++)
        er_stream_destroy(o.streams[s]);
    er_stream_destroy(o.stream);
    er_model_destroy(model);
    return result;
}
