/* SPDX-License-Identifier: MIT
 *
 * What a streaming step spends its time on: bench_parts MODEL.ernn [KERNEL]
 *
 * Each part is repeated alone, on the operands and the state of a warm stream; the least time of a hundred turns
 * counts. In a step parts overlap, and push each other out of the first-level cache: both together are "the
 * rest", which may be negative. Cycles are those of a chain of additions, which takes one for each. */
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "layers.h"
#include "opaque.h"
#include "random_network.h"
#include "stream.h"

enum { TURNS = 100 };

/* A stream and one of its layers, for a part to work on. */
typedef struct bench {
    er_stream *stream;
    const er_layer *layer;
    const int16_t *input;
    int16_t *state, *output;
    float *x, *y;
} bench;

typedef void part_fn(bench *b);

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

/* Nanoseconds of a part: turns of 20 microseconds or more. */
static double time_part(part_fn *part, bench *b)
{
    double least = 1e12;
    unsigned long repeat = 1, i;
    int turn;

    for (turn = 0; turn < TURNS; turn++) {
        const double start = now_ns();
        double time;

        for (i = 0; i < repeat; i++) {
            part(b);
        }
        time = now_ns() - start;
        if (time < 20000) {
            repeat *= 2;
            turn--;
        } else if (time / (double)repeat < least) {
            least = time / (double)repeat;
        }
    }
    return least;
}

/* A thousand additions that wait for each other. */
static void chain(bench *b)
{
    static volatile uint32_t sink;
    uint32_t left, sum = 1;

    (void)b;
    for (left = 250; left > 0; left--) {
        sum += left;
        ER_OPAQUE(sum);
        sum += left;
        ER_OPAQUE(sum);
        sum += left;
        ER_OPAQUE(sum);
        sum += left;
        ER_OPAQUE(sum);
    }
    sink = sum;
    (void)sink;
}

static void step(bench *b)
{
    er_stream_step(b->stream, b->x, b->y);
}

/* The way from and to floats, and to 16 bits. */
static void floats(bench *b)
{
    const er_model *model = b->stream->model;

    model->kernels->quantize(b->x, model->input_scale, model->input_offset, model->input_size, b->stream->x);
    model->kernels->widen(b->stream->x, model->input_size, b->stream->values);
    model->kernels->logits(b->stream->logits, model->output_size, er_logit_unit(model), b->y);
}

static void layer_step(bench *b)
{
    er_layer_step(b->layer, &b->stream->work, b->input, b->state, b->output);
}

/* All sums of a layer, tables included; of a layer without gates those of its matrices. */
static void products(bench *b)
{
    const er_work *work = &b->stream->work;
    const er_layer *layer = b->layer;

    if (layer->gates != NULL) {
        er_layer_sums(layer, b->input, b->state, work);
        return;
    }
    er_matrix_product(&layer->matrix[0], 0, layer->matrix[0].rows, b->input, work, work->acc_x);
    if (layer->matrix_count == 2) {
        er_matrix_product(&layer->matrix[1], 0, layer->matrix[1].rows, b->state, work, work->acc_h);
    }
}

/* Operands and tables of those products of a layer that make them in a step. */
static void tables(bench *b)
{
    const er_work *work = &b->stream->work;
    uint32_t k;

    for (k = 0; k < b->layer->matrix_count; k++) {
        const er_product *product = b->layer->matrix[k].product;
        const int there = product != NULL && k == 1 && (product->tables_kept || product->carried);

        if (product != NULL && !there) {
            product->kind->operands(product, k == 0 ? b->input : b->state, work->operand_bytes);
            product->kind->tables(product, work->operand_bytes, work->tables + product->table_offset);
        }
    }
}

static void gates(bench *b)
{
    const er_work *work = &b->stream->work;

    work->kernels->gates[b->layer->kind](b->layer->gates, work->sums_x, work->sums_h,
                                         b->layer->kind == ER_LAYER_DENSE ? b->output : b->state);
}

static void print(const char *name, double ns, double step_ns, double cycles_per_ns)
{
    printf("  %-32s %10.0f ns %10.0f cycles %5.0f %%\n", name, ns, ns * cycles_per_ns, 100 * ns / step_ns);
}

int main(int argc, char **argv)
{
    const er_model_options options = { 0, argc > 2 ? argv[2] : NULL };
    er_model *model;
    er_error error = { 0 };
    bench b;
    double step_ns, floats_ns, tables_ns = 0, products_ns = 0, gates_ns = 0, cycles_per_ns;
    random_state random = { 1 };
    uint32_t i;

    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: bench_parts MODEL.ernn [KERNEL]\n");
        return 2;
    }
    if (er_model_create_from_file(argv[1], &options, &model, &error) != ER_OK ||
        er_stream_create(model, &b.stream) != ER_OK) {
        fprintf(stderr, "%s: %s\n", argv[1], er_status_text(error.status));
        return 2;
    }
    b.x = take_memory(model->input_size * sizeof *b.x);
    b.y = take_memory(model->output_size * sizeof *b.y);
    for (i = 0; i < model->input_size; i++) {
        b.x[i] = (float)random_i16(&random) / 16384;
    }
    step_ns = time_part(step, &b);
    cycles_per_ns = 1000 / time_part(chain, &b);
    floats_ns = time_part(floats, &b);
    b.state = b.stream->state;
    b.input = b.output = b.stream->values;
    for (i = 0; i < model->layer_count; i++) {
        double sums_ns, made_ns;

        b.layer = &model->layers[i];
        sums_ns = time_part(products, &b);
        made_ns = b.layer->gates != NULL ? time_part(tables, &b) : 0;
        gates_ns += b.layer->gates != NULL ? time_part(gates, &b) : time_part(layer_step, &b) - sums_ns;
        tables_ns += made_ns;
        products_ns += sums_ns - made_ns;
        b.input = b.layer->kind == ER_LAYER_DENSE ? b.output : b.state;
        b.state += b.layer->state_size;
    }
    printf("%s, kernel %s\n", argv[1], model->kernels->isa);
    print("step, floats in and out", step_ns, step_ns, cycles_per_ns);
    print("look-ups", products_ns, step_ns, cycles_per_ns);
    print("operands, tables", tables_ns, step_ns, cycles_per_ns);
    print("scales, activations, gates", gates_ns, step_ns, cycles_per_ns);
    print("from and to floats", floats_ns, step_ns, cycles_per_ns);
    print("the rest", step_ns - products_ns - tables_ns - gates_ns - floats_ns, step_ns, cycles_per_ns);
    free(b.x);
    free(b.y);
    er_stream_destroy(b.stream);
    er_model_destroy(model);
    return 0;
}
