/* SPDX-License-Identifier: MIT
 *
 * Of check_kernels: whole networks as planned with the kernels of an ISA, against the scalar ones. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check_kernels.h"
#include "plan.h"
#include "stream.h"

enum { STEPS = 12 };

/* A layer of any kind. */
static layer_spec random_spec(random_state *random)
{
    static const uint8_t kinds[8] = { ER_LAYER_GRU, ER_LAYER_GRU, ER_LAYER_GRU, ER_LAYER_LSTM, ER_LAYER_LSTM,
                                      ER_LAYER_RNN, ER_LAYER_DENSE, ER_LAYER_DENSE };
    layer_spec spec;

    memset(&spec, 0, sizeof spec);
    spec.kind = kinds[random_below(random, 8)];
    spec.units = random_below(random, 3) > 0 ? 1 + random_below(random, 130)
                                             : edges[random_below(random, EDGES - 5)];
    spec.weights = random_below(random, 8) > 0 ? WEIGHTS_RANDOM : (uint8_t)random_below(random, WEIGHTS_KINDS);
    spec.encoding = random_below(random, 6) > 0 ? ER_ENCODING_TERNARY : (uint8_t)(1 + random_below(random, 3));
    spec.plane_count = (uint8_t)(random_below(random, 6) > 0 ? 1 : 2 + random_below(random, 3));
    spec.typical = random_below(random, 3) == 0;
    spec.clamp_x = clamps[random_below(random, random_below(random, 6) > 0 ? 4 : 6)];
    spec.clamp_h = clamps[random_below(random, random_below(random, 6) > 0 ? 4 : 6)];
    if (spec.encoding == ER_ENCODING_POW2) {    /* R27 */
        spec.clamp_x = spec.clamp_x > 127 ? 127 : spec.clamp_x;
        spec.clamp_h = spec.clamp_h > 127 ? 127 : spec.clamp_h;
    }
    if (spec.kind != ER_LAYER_DENSE && spec.plane_count == 1 && random_below(random, 2) == 0) {
        spec.flags |= ER_LAYER_SHARED_SCALE;
    }
    if (spec.kind == ER_LAYER_GRU && random_below(random, 4) == 0) {
        spec.flags |= ER_LAYER_RESET_BEFORE;
    }
    spec.activation = spec.kind == ER_LAYER_DENSE  ? (uint8_t)random_below(random, 4)
                      : spec.kind == ER_LAYER_RNN ? (uint8_t)(1 + random_below(random, 2))
                                                  : 0;
    return spec;
}

/* Several streams of a planned network, some in other states: steps of all in one call, and runs of each in
 * pieces of random length with single steps in between, against single steps of the scalar kernels. */
static void check_together(const struct er_model *scalar, const struct er_model *planned, random_state *random,
                           unsigned long round)
{
    enum { MOST_STREAMS = 9, FRAMES = 21 };
    const uint32_t count = 1 + random_below(random, MOST_STREAMS);
    const size_t inputs = scalar->input_size, outputs = scalar->output_size, states = scalar->state_size;
    er_stream *expected, *one, *streams[MOST_STREAMS];
    int8_t *x = take_memory(FRAMES * count * inputs), *own = take_memory(FRAMES * inputs);
    int16_t *logits = take_memory(sizeof *logits * FRAMES * count * outputs);
    int16_t *step_logits = take_memory(sizeof *step_logits * FRAMES * outputs);
    int16_t *run_logits = take_memory(sizeof *run_logits * FRAMES * outputs);
    int16_t *state = take_memory(3 * sizeof *state * states);
    uint32_t s, t, i;

    for (i = 0; i < FRAMES * count * inputs; i++) {
        x[i] = (int8_t)((int)random_below(random, 256) - 128);
    }
    for (s = 0; s < count; s++) {
        if (er_stream_create(planned, &streams[s]) != ER_OK) {
            fail("together", "no stream, round", round);
        }
    }
    for (t = 0; t < FRAMES; t++) {          /* one stream starts anew now and then */
        if (t % 5 == 4) {
            er_stream_reset(streams[t % count]);
        }
        if (er_stream_step_many_quantized(streams, count, x + t * count * inputs, logits + t * count * outputs) !=
            ER_OK) {
            fail("together", "refused, round", round);
        }
    }
    for (s = 0; s < count; s++) {
        if (er_stream_create(scalar, &expected) != ER_OK || er_stream_create(planned, &one) != ER_OK) {
            fail("together", "no stream, round", round);
        }
        for (t = 0; t < FRAMES; t++) {
            memcpy(own + t * inputs, x + (t * count + s) * inputs, inputs);
            if (t % 5 == 4 && t % count == s) {
                er_stream_reset(expected);
            }
            er_stream_step_quantized(expected, own + t * inputs, step_logits + t * outputs);
            if (memcmp(step_logits + t * outputs, logits + (t * count + s) * outputs, sizeof *logits * outputs) != 0) {
                fail("together", "logits of a step of several streams differ, round", round);
            }
        }
        er_stream_get_state(expected, state);
        er_stream_get_state(streams[s], state + states);
        if (memcmp(state, state + states, sizeof *state * states) != 0) {
            fail("together", "states after steps of several streams differ, round", round);
        }
        for (i = 0; i < states; i++) {
            state[i] = random_i16(random);
        }
        er_stream_set_state(expected, state);
        er_stream_set_state(one, state);
        for (t = 0; t < FRAMES; t++) {
            er_stream_step_quantized(expected, own + t * inputs, step_logits + t * outputs);
        }
        for (t = 0; t < FRAMES; t += i) {
            i = random_below(random, 3) == 0 ? 1 : 1 + random_below(random, FRAMES - t);
            if (i == 1 && random_below(random, 2) == 0) {
                er_stream_step_quantized(one, own + t * inputs, run_logits + t * outputs);
            } else {
                er_stream_run_quantized(one, own + t * inputs, i, run_logits + t * outputs);
            }
        }
        er_stream_get_state(expected, state);
        er_stream_get_state(one, state + states);
        if (memcmp(step_logits, run_logits, FRAMES * sizeof *logits * outputs) != 0) {
            fail("together", "logits of a run differ, round", round);
        }
        if (memcmp(state, state + states, sizeof *state * states) != 0) {
            fail("together", "states after a run differ, round", round);
        }
        er_stream_destroy(expected);
        er_stream_destroy(one);
    }
    for (s = 0; s < count; s++) {
        er_stream_destroy(streams[s]);
    }
    free(x);
    free(own);
    free(logits);
    free(step_logits);
    free(run_logits);
    free(state);
}

/* A stream that skips against the scalar kernels: inputs and states of which none, few or all change from one step to
 * the next; steps and runs; resets; skipping turned off and on. */
static void check_skipping(const struct er_model *scalar, const struct er_model *planned, random_state *random,
                           unsigned long round)
{
    enum { FRAMES = 40 };
    const uint32_t inputs = scalar->input_size, states = scalar->state_size;
    er_stream *stream[2];
    int8_t *x = take_memory(inputs);
    int16_t *logits[2], *state[2];
    uint32_t t, k, i;

    for (k = 0; k < 2; k++) {
        if (er_stream_create(k == 0 ? scalar : planned, &stream[k]) != ER_OK) {
            fail("skipping", "no stream, round", round);
        }
        logits[k] = take_memory(sizeof(int16_t) * scalar->output_size);
        state[k] = take_memory(sizeof(int16_t) * states);
        memset(state[k], 0, sizeof(int16_t) * states);
    }
    memset(x, 0, inputs);
    er_stream_set_skipping(stream[1], 1);
    for (t = 0; t < FRAMES; t++) {
        const uint32_t how = random_below(random, 8), share = 1 + random_below(random, 40);

        for (i = 0; i < inputs; i++) {
            if (how == 0 || (how > 2 && random_below(random, share) == 0)) {
                x[i] = (int8_t)((int)random_below(random, 256) - 128);
            }
        }
        if (random_below(random, 3) == 0) {         /* else most of h changes at every step */
            er_stream_get_state(stream[0], state[0]);
            for (i = 0; i < states; i++) {
                state[0][i] = random_below(random, share) == 0 ? random_i16(random) : state[1][i];
            }
            er_stream_set_state(stream[0], state[0]);
            er_stream_set_state(stream[1], state[0]);
        }
        if (how == 1) {
            er_stream_reset(stream[0]);
            er_stream_reset(stream[1]);
        }
        er_stream_get_state(stream[0], state[1]);
        if (random_below(random, 16) == 0) {
            er_stream_set_skipping(stream[1], random_below(random, 2));
        }
        er_stream_step_quantized(stream[0], x, logits[0]);
        if (how < 4) {
            er_stream_run_quantized(stream[1], x, 1, logits[1]);
        } else {
            er_stream_step_quantized(stream[1], x, logits[1]);
        }
        if (memcmp(logits[0], logits[1], sizeof(int16_t) * scalar->output_size) != 0) {
            fail("skipping", "logits differ, round", round);
        }
    }
    for (k = 0; k < 2; k++) {
        er_stream_get_state(stream[k], state[k]);
    }
    if (memcmp(state[0], state[1], sizeof(int16_t) * states) != 0) {
        fail("skipping", "states differ, round", round);
    }
    for (k = 0; k < 2; k++) {
        er_stream_destroy(stream[k]);
        free(logits[k]);
        free(state[k]);
    }
    free(x);
}

/* A step in whichever profile the network has. */
static void take_step(er_stream *stream, const int8_t *x, const int16_t *x16, int16_t *logits)
{
    if (stream->model->profile == ER_PROFILE_FINE) {
        er_stream_step_quantized16(stream, x16, logits);
    } else {
        er_stream_step_quantized(stream, x, logits);
    }
}

/* Networks of one to three layers, step by step beside the scalar kernels, a fifth of them in numeric profile 2. */
void check_networks(const er_kernels *kernels, random_state *random, unsigned long rounds)
{
    er_product_kind kinds[8];
    er_kernels any_size = *kernels;
    unsigned long round, layers = 0, fast_gates = 0, unshifted = 0, matrices = 0, fast_products = 0, kept = 0;
    unsigned long carried = 0, wide = 0, exact = 0, fine = 0;
    uint32_t i, k, step;

    for (i = 0; i < kernels->product_count; i++) {      /* every kind of product, however small the network is */
        kinds[i] = kernels->products[i];
        kinds[i].least_weights = 0;
    }
    any_size.products = kinds;
    for (round = 0; round < rounds; round++) {
        const uint32_t layer_count = 1 + random_below(random, 3);
        const uint32_t input_size = random_below(random, 2) ? 1 + random_below(random, 130)
                                                            : edges[random_below(random, EDGES)];
        layer_spec specs[3];
        struct er_model network, model[2];
        er_stream *stream[2];
        void *memory[2];
        int16_t *state[2], *logits[2];
        int8_t *x = take_memory(input_size);
        int16_t *x16 = take_memory(sizeof *x16 * input_size);

        for (i = 0; i < layer_count; i++) {
            specs[i] = random_spec(random);
            if (i > 0 && random_below(random, 2) == 0) {
                specs[i].clamp_x = specs[i - 1].clamp_h;
                if (specs[i].encoding == ER_ENCODING_POW2 && specs[i].clamp_x > 127) {
                    specs[i].clamp_x = 127;
                }
            }
            if (i > 0 && specs[i].kind == ER_LAYER_DENSE && random_below(random, 2) == 0) {
                specs[i].units = 1 + random_below(random, 16);      /* may fit below the W_h before it */
            }
        }
        random_network(random, &network, input_size, specs, layer_count);
        if (round % 5 == 4) {
            make_fine(random, &network);
            fine++;
        }
        for (k = 0; k < 2; k++) {
            plan_network(&model[k], &network, k == 0          ? er_kernels_find("scalar")
                                                                  : round % 2 ? &any_size
                                                                              : kernels, &memory[k]);
            if (er_stream_create(&model[k], &stream[k]) != ER_OK) {
                fail("network", "no stream, round", round);
            }
            state[k] = take_memory(sizeof(int16_t) * network.state_size);
            logits[k] = take_memory(sizeof(int16_t) * network.output_size);
        }
        for (i = 0; i < layer_count && network.profile == ER_PROFILE_TRAINED; i++) {
            const er_layer *layer = &model[1].layers[i];
            const er_matrix *w_h = layer->halves != NULL ? layer->halves : &layer->matrix[1];

            kept += (w_h->product != NULL && w_h->product->tables_kept) ||
                    (w_h->compound != NULL && w_h->compound->whole.tables_kept);
            wide += model[1].layers[i].outputs != NULL;
            carried += model[1].layers[i].matrix[0].first_sum > 0;
            layers++;
            fast_gates += model[1].layers[i].gates != NULL;
            unshifted += layer->gates != NULL && layer->gates->unshifted;
            exact += layer->gates != NULL && layer->gates->exact;
            matrices += layer->matrix_count;
            fast_products += (unsigned long)is_fast(&layer->matrix[0]);
            if (layer->matrix_count == 2) {
                fast_products += is_fast(w_h) && (layer->halves == NULL || is_fast(&layer->halves[1]));
            }
        }
        for (step = 0; step < STEPS; step++) {
            const uint32_t how = random_below(random, 4);

            for (i = 0; i < input_size; i++) {
                x[i] = (int8_t)(how == 0 ? (random_below(random, 2) ? 127 : -128)
                                         : (int)random_below(random, 256) - 128);
                x16[i] = random_i16(random);
            }
            if (step % 4 == 3) {
                for (i = 0; i < network.state_size; i++) {
                    state[0][i] = random_i16(random);
                }
            }
            for (k = 0; k < 2; k++) {
                if (step % 4 == 3) {
                    er_stream_set_state(stream[k], state[0]);
                }
                take_step(stream[k], x, x16, logits[k]);
            }
            for (k = 0; k < 2; k++) {
                er_stream_get_state(stream[k], state[k]);
            }
            if (memcmp(logits[0], logits[1], sizeof(int16_t) * network.output_size) != 0) {
                fail("network", "logits differ, round", round);
            }
            if (memcmp(state[0], state[1], sizeof(int16_t) * network.state_size) != 0) {
                fail("network", "states differ, round", round);
            }
        }
        if (round % 4 < 2 && network.profile == ER_PROFILE_TRAINED) {
            check_together(&model[0], &model[1], random, round);
            check_skipping(&model[0], &model[1], random, round);
        }
        for (k = 0; k < 2; k++) {
            er_stream_destroy(stream[k]);
            free(memory[k]);
            free(state[k]);
            free(logits[k]);
        }
        free(x);
        free(x16);
        random_network_free(&network);
    }
    printf("%-8s network     ok: %lu networks; %lu of %lu layers and %lu of %lu products fast, %lu layers wide, "
           "%lu with unshifted scales, %lu exact, %lu tables kept, %lu sums carried; %lu networks fine\n",
           isa, rounds, fast_gates, layers, fast_products, matrices, wide, unshifted, exact, kept, carried, fine);
    if (fast_gates < layers || fast_products < matrices) {
        fail("network", "a layer fell back to scalar, fast layers", fast_gates);
    }
    if (rounds >= 100 && (kept == 0 ||
                          (kernels->unshifted != ER_UNSHIFTED_NONE && unshifted == 0) ||
                          (kernels->unshifted != ER_UNSHIFTED_NONE && exact == 0) ||
                          (rounds >= 1000 && carried == 0))) {
        fail("network", "a form was never taken, tables kept", kept);
    }
}

/* One network of a layer with all weights alike, whose greatest sums are at the bound of 16 bits or one
 * column beyond: fast or not, and equal to scalar from the most extreme inputs and states. */
static void check_one_bound(const er_kernels *kernels, random_state *random, layer_spec spec, uint32_t columns,
                            int32_t left_shift, int fast)
{
    struct er_model network, model[2];
    int16_t *state[2], *logits[2];
    int8_t *x = take_memory(columns);
    uint32_t i, k, step;

    random_network(random, &network, columns, &spec, 1);
    for (k = 0; k < network.layers[0].matrix_count; k++) {
        er_matrix *matrix = &network.layers[0].matrix[k];

        matrix->left_shift = left_shift;
        matrix->operand_shift = k == 0 ? 0 : 8;
        matrix->three_quarters = 0;
        free((void *)matrix->bias);             /* a bias might be what does not fit */
        matrix->bias = NULL;
    }
    for (k = 0; k < 2; k++) {
        er_stream *stream;
        void *memory;

        state[k] = take_memory(sizeof(int16_t) * network.state_size);
        logits[k] = take_memory(4 * sizeof(int16_t) * network.output_size);
        plan_network(&model[k], &network, k == 0 ? er_kernels_find("scalar") : kernels, &memory);
        if (er_stream_create(&model[k], &stream) != ER_OK) {
            fail("bounds", "no stream", 0);
        }
        for (step = 0; step < 4; step++) {
            for (i = 0; i < network.state_size; i++) {
                state[k][i] = step % 2 ? 32767 : -32768;
            }
            memset(x, step / 2 ? 127 : -127, columns);
            er_stream_set_state(stream, state[k]);
            er_stream_step_quantized(stream, x, logits[k] + step * network.output_size);
        }
        er_stream_get_state(stream, state[k]);
        er_stream_destroy(stream);
        free(memory);
    }
    if ((model[1].layers[0].gates != NULL && model[1].layers[0].outputs == NULL) != fast) {
        fail("bounds", "the bound is not where it should be, columns", columns);
    }
    if (memcmp(logits[0], logits[1], 4 * sizeof(int16_t) * network.output_size) != 0 ||
        memcmp(state[0], state[1], sizeof(int16_t) * network.state_size) != 0) {
        fail("bounds", "logits or states differ, columns", columns);
    }
    for (k = 0; k < 2; k++) {
        free(state[k]);
        free(logits[k]);
    }
    free(x);
    random_network_free(&network);
}

/* Bounds of all clamps, with and without the rounding of N3, for one matrix and for two that share rows. */
void check_bounds(const er_kernels *kernels, random_state *random)
{
    static const uint8_t kinds[4] = { ER_LAYER_DENSE, ER_LAYER_RNN, ER_LAYER_GRU, ER_LAYER_LSTM };
    uint32_t c, kind, w;
    int32_t left_shift;

    for (c = 0; c < 4; c++) {
        for (kind = 0; kind < 4; kind++) {
            for (left_shift = -14; left_shift <= 2; left_shift += 4) {
                for (w = WEIGHTS_PLUS; w <= WEIGHTS_MINUS; w++) {
                    const int shared = kinds[kind] != ER_LAYER_DENSE;
                    const uint32_t units = 40;
                    const int32_t half = left_shift < 0 ? 1 << (-left_shift - 1) : 0;
                    const uint32_t columns = (uint32_t)((INT16_MAX - half) / clamps[c]) - (shared ? units : 0);
                    const layer_spec spec = {
                        kinds[kind], kinds[kind] == ER_LAYER_RNN ? ER_ACTIVATION_TANH : 0,
                        shared ? ER_LAYER_SHARED_SCALE : 0, (uint8_t)w, ER_ENCODING_TERNARY, 1, 0, units,
                        clamps[c], clamps[c],
                    };

                    check_one_bound(kernels, random, spec, columns, left_shift, 1);
                    check_one_bound(kernels, random, spec, columns + 1, left_shift, 0);
                }
            }
        }
    }
    printf("%-8s bounds      ok\n", isa);
}
