/* SPDX-License-Identifier: MIT
 *
 * ONNX Runtime in the peers bench, called from C so that it is charged no Python.
 *
 *     onnxruntime_worker LIBONNXRUNTIME.so DIR FORM WORKLOAD NAME SPIN STATES...
 *
 * DIR holds FORM_stream.onnx, and where offered FORM_seq.onnx and FORM_batch.onnx, input.bin, ref.bin and
 * states.bin; SPIN is 0 or 1: whether idle threads of the library spin, its default; STATES are pairs of
 * name and size, for example h0 200. The library's header is not needed: its C interface is a table of
 * functions that is only ever appended to, and the places used are named below.
 *
 * Settings: one thread, all graph optimizations, inputs, outputs and states bound once
 * (states change places every step, so that none is copied).
 */
#define _POSIX_C_SOURCE 200809L
#include "worker.h"

#include <dlfcn.h>
#include <math.h>

enum { MAX_STATES = 32, FRAMES = WORKER_FRAMES, STREAMS = WORKER_STREAMS };

/* Places in the function table of ORT_API_VERSION 16. */
enum {
    GET_ERROR_MESSAGE = 2, CREATE_ENV = 3, CREATE_SESSION = 7, RUN = 9, CREATE_SESSION_OPTIONS = 10,
    SET_GRAPH_OPTIMIZATION = 23, SET_INTRA_THREADS = 24, SET_INTER_THREADS = 25, CREATE_TENSOR_WITH_DATA = 49,
    CREATE_CPU_MEMORY_INFO = 69, ADD_SESSION_CONFIG_ENTRY = 130
};
typedef void *handle;
typedef handle (*function)();
struct api_base {
    const function *(*get_api)(uint32_t version);
    const char *(*get_version)(void);
};
static const function *api;
#define CALL(place, ...) check(api[place](__VA_ARGS__))

static void check(handle status)
{
    if (status != NULL) {
        fprintf(stderr, "onnxruntime_worker: %s\n", (const char *)api[GET_ERROR_MESSAGE](status));
        exit(1);
    }
}

/* A session with its own states, two sets of them in turn. */
struct session {
    handle session;
    handle inputs[2][MAX_STATES + 1], outputs[2][MAX_STATES + 1];
    float *states[2][MAX_STATES];
    float *x, *y;
    int turn;
};

struct ort {
    const float *input, *reference, *initial;
    size_t input_size, output_size;
    int state_count, three_axes;
    const char *state_names[MAX_STATES];
    size_t state_sizes[MAX_STATES];
    const char *input_names[MAX_STATES + 1], *output_names[MAX_STATES + 1];
    char out_names[MAX_STATES][32];
    handle env, options, memory;
    struct session main, streams[STREAMS], batch;
    handle sequence, sequence_inputs[MAX_STATES + 1], sequence_output;
    float *sequence_y;
};

static handle tensor(struct ort *o, float *data, size_t steps, size_t batch, size_t size, int three_axes)
{
    int64_t shape3[3] = {(int64_t)steps, (int64_t)batch, (int64_t)size};
    int64_t shape2[2] = {(int64_t)batch, (int64_t)size};
    handle value;
    CALL(CREATE_TENSOR_WITH_DATA, o->memory, (void *)data, steps * batch * size * sizeof(float),
         three_axes ? shape3 : shape2, (size_t)(three_axes ? 3 : 2), 1, &value);
    return value;
}

/* The states of one stream to their initial values. */
static void set_initial(const struct ort *o, float *const *states)
{
    const float *from = o->initial;
    for (int k = 0; k < o->state_count; k++) {
        memcpy(states[k], from, o->state_sizes[k] * sizeof(float));
        from += o->state_sizes[k];
    }
}

static float *zeros(size_t count)
{
    float *data = calloc(count, sizeof *data);
    if (data == NULL)
        exit(1);
    return data;
}

/* Bind one stream (batch 1) or several to a session. */
static void bind(struct ort *o, struct session *s, handle session, size_t batch, size_t output_size)
{
    s->session = session;
    s->x = zeros(batch * o->input_size);
    s->y = zeros(batch * output_size);
    for (int p = 0; p < 2; p++)
        for (int k = 0; k < o->state_count; k++)
            s->states[p][k] = zeros(batch * o->state_sizes[k]);
    for (int p = 0; p < 2; p++) {
        s->inputs[p][0] = tensor(o, s->x, 1, batch, o->input_size, o->three_axes);
        s->outputs[p][0] = tensor(o, s->y, 1, batch, output_size, o->three_axes);
        for (int k = 0; k < o->state_count; k++) {
            s->inputs[p][k + 1] = tensor(o, s->states[p][k], 1, batch, o->state_sizes[k], o->three_axes);
            s->outputs[p][k + 1] = tensor(o, s->states[!p][k], 1, batch, o->state_sizes[k], o->three_axes);
        }
    }
}

static void run(struct ort *o, struct session *s)
{
    const size_t count = (size_t)o->state_count + 1;
    CALL(RUN, s->session, (handle)NULL, o->input_names, s->inputs[s->turn], count, o->output_names, count,
         s->outputs[s->turn]);
    s->turn = !s->turn;
}

static void step_session(struct ort *o, struct session *s, int t)
{
    memcpy(s->x, o->input + (size_t)t * o->input_size, o->input_size * sizeof(float));
    run(o, s);
}

static void step(void *self, int t)
{
    struct ort *o = self;
    step_session(o, &o->main, t);
}

static void step_of(void *self, int stream, int t)
{
    struct ort *o = self;
    step_session(o, &o->streams[stream], t);
}

static void step_together(void *self, int t)
{
    struct ort *o = self;
    for (int s = 0; s < STREAMS; s++)
        memcpy(o->batch.x + (size_t)s * o->input_size, o->input + (size_t)t * o->input_size,
               o->input_size * sizeof(float));
    run(o, &o->batch);
}

static void sequence(void *self)
{
    struct ort *o = self;
    CALL(RUN, o->sequence, (handle)NULL, o->input_names, o->sequence_inputs, (size_t)o->state_count + 1,
         o->output_names, (size_t)1, &o->sequence_output);
}

static double distance(const float *a, const float *b, size_t count)
{
    double worst = 0;
    for (size_t i = 0; i < count; i++)
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
    return worst;
}

static double sequence_error(void *self)
{
    const struct ort *o = self;
    return distance(o->sequence_y, o->reference, FRAMES * o->output_size);
}

/* Length of a file, 0 if there is none. */
static long file_bytes(const char *path)
{
    FILE *file = fopen(path, "rb");
    long bytes = 0;
    if (file != NULL && fseek(file, 0, SEEK_END) == 0)
        bytes = ftell(file);
    if (file != NULL)
        fclose(file);
    return bytes;
}

/* A session of DIR/FORM_what.onnx; null if there is no such file. */
static handle open_session(struct ort *o, const char *dir, const char *form, const char *what, long *bytes_out)
{
    char path[1024];
    handle session;
    snprintf(path, sizeof path, "%s/%s_%s.onnx", dir, form, what);
    *bytes_out = file_bytes(path);
    if (*bytes_out == 0)
        return NULL;
    CALL(CREATE_SESSION, o->env, (const char *)path, o->options, &session);
    return session;
}

int main(int argc, char **argv)
{
    static struct ort o;
    struct worker w = {.self = &o, .step = step, .step_of = step_of, .error = -1};
    char path[1024];
    size_t inputs, references, initials = 0, states = 0;
    long bytes;
    if (argc < 7 || argc % 2 == 0 || argc > 7 + 2 * MAX_STATES) {
        fprintf(stderr, "usage: onnxruntime_worker LIBRARY DIR FORM WORKLOAD NAME SPIN [STATE SIZE]...\n");
        return 2;
    }
    const char *library = argv[1], *dir = argv[2], *form = argv[3], *spin = argv[6];
    const int null_form = strcmp(form, "null") == 0;
    w.workload = argv[4];
    w.peer = argv[5];
    o.three_axes = strncmp(form, "node", 4) == 0;
    o.input_names[0] = "x";
    o.output_names[0] = "y";
    for (int k = 0; 7 + 2 * k < argc; k++) {
        o.state_names[k] = argv[7 + 2 * k];
        o.state_sizes[k] = strtoul(argv[8 + 2 * k], NULL, 10);
        snprintf(o.out_names[k], sizeof o.out_names[k], "%s_out", o.state_names[k]);
        o.input_names[k + 1] = o.state_names[k];
        o.output_names[k + 1] = o.out_names[k];
        o.state_count = k + 1;
    }
    snprintf(path, sizeof path, "%s/input.bin", dir);
    o.input = worker_read(path, sizeof(float), &inputs);
    snprintf(path, sizeof path, "%s/ref.bin", dir);
    o.reference = worker_read(path, sizeof(float), &references);
    o.input_size = inputs / FRAMES;
    o.output_size = references / FRAMES;
    for (int k = 0; k < o.state_count; k++)
        states += o.state_sizes[k];
    if (states > 0) {
        snprintf(path, sizeof path, "%s/states.bin", dir);
        o.initial = worker_read(path, sizeof(float), &initials);
    }
    if (initials != states) {
        fprintf(stderr, "onnxruntime_worker: %s: not the initial states\n", path);
        return 2;
    }
    const size_t stream_output = null_form ? 1 : o.output_size;
    worker_begin(&w);

    const double start = worker_now();
    handle shared = dlopen(library, RTLD_NOW);
    if (shared == NULL) {
        fprintf(stderr, "onnxruntime_worker: %s\n", dlerror());
        return 2;
    }
    const struct api_base *(*get_base)(void);
    *(void **)&get_base = dlsym(shared, "OrtGetApiBase");
    const struct api_base *base = get_base();
    api = base->get_api(16);
    CALL(CREATE_ENV, 3, "bench", &o.env); /* once a process, whatever it loads: 14 ms of operator schemas */
    w.import_ms = (worker_now() - start) / 1000;

    const double load = worker_now();
    CALL(CREATE_SESSION_OPTIONS, &o.options);
    CALL(SET_GRAPH_OPTIMIZATION, o.options, 99);
    CALL(SET_INTRA_THREADS, o.options, 1);
    CALL(SET_INTER_THREADS, o.options, 1);
    CALL(ADD_SESSION_CONFIG_ENTRY, o.options, "session.intra_op.allow_spinning", spin);
    CALL(ADD_SESSION_CONFIG_ENTRY, o.options, "session.inter_op.allow_spinning", spin);
    CALL(CREATE_CPU_MEMORY_INFO, 1, 0, &o.memory);
    handle session = open_session(&o, dir, form, "stream", &w.file_bytes);
    if (session == NULL) {
        fprintf(stderr, "onnxruntime_worker: %s/%s_stream.onnx: cannot read\n", dir, form);
        return 2;
    }
    bind(&o, &o.main, session, 1, stream_output);
    step(&o, 0);
    w.load_ms = (worker_now() - load) / 1000;

    set_initial(&o, o.main.states[o.main.turn]);
    for (int t = 0; t < FRAMES; t++) {
        step(&o, t);
        if (!null_form)
            w.error = fmax(w.error, distance(o.main.y, o.reference + (size_t)t * o.output_size, o.output_size));
    }
    snprintf(w.version, sizeof w.version, "onnxruntime %s, C API", base->get_version());

    /* Memory is that of one stream: further ones, and the other sessions, are made after the ready
     * line, so what they offer is asked of the files first. */
    snprintf(path, sizeof path, "%s/%s_seq.onnx", dir, form);
    if (file_bytes(path) > 0) {
        w.sequence = sequence;
        w.sequence_error = sequence_error;
    }
    snprintf(path, sizeof path, "%s/%s_batch.onnx", dir, form);
    if (file_bytes(path) > 0)
        w.step_together = step_together;
    worker_ready(&w);
    for (int s = 0; s < STREAMS; s++)
        bind(&o, &o.streams[s], session, 1, stream_output);
    if (w.sequence != NULL) {
        o.sequence = open_session(&o, dir, form, "seq", &bytes);
        o.sequence_y = zeros(FRAMES * o.output_size);
        o.sequence_inputs[0] = tensor(&o, (float *)(uintptr_t)o.input, FRAMES, 1, o.input_size, 1);
        o.sequence_output = tensor(&o, o.sequence_y, FRAMES, 1, o.output_size, 1);
        float *states_of[MAX_STATES];
        for (int k = 0; k < o.state_count; k++) {
            states_of[k] = zeros(o.state_sizes[k]);
            o.sequence_inputs[k + 1] = tensor(&o, states_of[k], 1, 1, o.state_sizes[k], o.three_axes);
        }
        set_initial(&o, states_of);
    }
    if (w.step_together != NULL)
        bind(&o, &o.batch, open_session(&o, dir, form, "batch", &bytes), STREAMS, o.output_size);
    return worker_serve(&w);
}
