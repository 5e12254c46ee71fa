/* SPDX-License-Identifier: MIT
 *
 * Random networks, as the parser would leave them, on the scalar kernels and on every other ISA of this machine: logits
 * and states of all steps. The input says what the network is; with the first bit set, every kind of product of an ISA
 * is taken for it, however small it is. */
#include <string.h>

#include "fuzz.h"
#include "plan.h"
#include "random_network.h"
#include "stream.h"

enum { STEPS = 6, MOST_WEIGHTS = 60000, MOST_PRODUCTS = 16 };

static const int32_t clamps[6] = { 7, 12, 25, 31, 127, 32767 };
static const uint16_t edges[] = { 1,  2,  3,  4,  5,  6,  7,   8,   9,   10,  11,  15,  16,  17,  19,  20,  21,
                                  31, 32, 33, 39, 40, 41, 63,  64,  65,  79,  80,  81,  95,  96,  97,  99,  100,
                                  101, 127, 128, 129, 130, 200, 255, 256, 257, 320, 513, 577, 640, 641, 704, 1030 };
enum { EDGES = sizeof edges / sizeof edges[0] };

static uint32_t take_size(fuzz_input *input)
{
    const uint32_t drawn = take_u8(input);

    return drawn < 128 ? 1 + drawn : edges[drawn % EDGES];
}

/* Rules R16, R19, R22 and R27 are kept. */
static layer_spec take_spec(fuzz_input *input)
{
    layer_spec spec;
    const uint32_t flags = take_u8(input);

    memset(&spec, 0, sizeof spec);
    spec.kind = (uint8_t)(1 + take_below(input, 4));
    spec.weights = (uint8_t)take_below(input, WEIGHTS_KINDS);
    spec.encoding = (uint8_t)(1 + take_below(input, 3));
    spec.plane_count = (uint8_t)((flags & 1) != 0 ? 1 + take_below(input, ER_MAX_PLANES) : 1);
    spec.typical = (flags & 2) != 0;
    spec.units = take_size(input);
    spec.clamp_x = clamps[take_below(input, 6)];
    spec.clamp_h = clamps[take_below(input, 6)];
    if (spec.encoding == ER_ENCODING_POW2) {
        spec.clamp_x = spec.clamp_x > 127 ? 127 : spec.clamp_x;
        spec.clamp_h = spec.clamp_h > 127 ? 127 : spec.clamp_h;
    }
    if ((flags & 4) != 0 && spec.kind != ER_LAYER_DENSE && spec.plane_count == 1) {
        spec.flags |= ER_LAYER_SHARED_SCALE;
    }
    if ((flags & 8) != 0 && spec.kind == ER_LAYER_GRU) {
        spec.flags |= ER_LAYER_RESET_BEFORE;
    }
    spec.activation = (uint8_t)(spec.kind == ER_LAYER_DENSE  ? flags >> 4 & 3
                                : spec.kind == ER_LAYER_RNN ? 1 + (flags >> 4 & 1)
                                                            : 0);
    return spec;
}

static er_status run(er_stream *stream, const int16_t *x, size_t steps, int16_t *logits)
{
    return stream->model->profile == ER_PROFILE_FINE
               ? er_stream_run_quantized16(stream, x, steps, logits)
               : er_stream_run_quantized(stream, (const int8_t *)x, steps, logits);
}

/* Steps from a state that is set; all steps of the scalar kernels one by one, of the others as `mode` says: one by one,
 * one by one and skipping, or all in one call. Logits, then the last state. */
static void take_steps(const struct er_model *model, int mode, const int16_t *x, const int16_t *state, int16_t *results)
{
    const size_t width = model->profile == ER_PROFILE_FINE ? 2 : 1;
    er_stream *stream;
    uint32_t i;

    REQUIRE(er_stream_create(model, &stream) == ER_OK && er_stream_set_state(stream, state) == ER_OK);
    REQUIRE(er_stream_set_skipping(stream, mode == 1) == ER_OK);
    if (mode == 2) {
        REQUIRE(run(stream, x, STEPS, results) == ER_OK);
    }
    for (i = 0; i < STEPS && mode < 2; i++) {
        const uint8_t *now = (const uint8_t *)x + i * width * model->input_size;

        REQUIRE(run(stream, (const int16_t *)(const void *)now, 1, results + (size_t)i * model->output_size) == ER_OK);
    }
    REQUIRE(er_stream_get_state(stream, results + STEPS * (size_t)model->output_size) == ER_OK);
    er_stream_destroy(stream);
}

/* Inputs that are random, extreme, or those of the step before. */
static void draw_inputs(random_state *random, const struct er_model *network, int16_t *x)
{
    const size_t width = network->profile == ER_PROFILE_FINE ? 2 : 1, bytes = width * network->input_size;
    uint32_t step, i;

    for (step = 0; step < STEPS; step++) {
        uint8_t *now = (uint8_t *)x + step * bytes;
        const uint32_t how = random_below(random, 4);

        for (i = 0; i < bytes; i++) {
            now[i] = (uint8_t)(how == 0   ? (random_below(random, 2) ? 0x7F : 0x80)
                               : how == 1 ? 0
                                          : random_below(random, 256));
        }
        if (how == 3 && step > 0) {
            memcpy(now, now - bytes, bytes - 1);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *words[5];
    static uint32_t word_count;
    fuzz_input input = { data, size };
    const uint32_t how = take_u8(&input), layer_count = 1 + take_below(&input, 3), input_size = take_size(&input);
    random_state random = { 1 + (uint64_t)take_u32(&input) };
    layer_spec specs[3];
    struct er_model network, scalar;
    uint32_t i, k, weights = 0, before = input_size;
    int16_t *x, *state, *expected, *found;
    size_t results;
    void *memory;

    if (word_count == 0) {
        word_count = find_kernels(words);
    }
    for (i = 0; i < layer_count; i++) {
        specs[i] = take_spec(&input);
        weights += (before + specs[i].units) * specs[i].units * 4u * specs[i].plane_count;
        before = specs[i].units;
        if (i > 0 && (how & 4) != 0 && (specs[i].encoding != ER_ENCODING_POW2 || specs[i - 1].clamp_h <= 127)) {
            specs[i].clamp_x = specs[i - 1].clamp_h;        /* tables can be kept */
        }
    }
    if (weights > MOST_WEIGHTS) {
        return 0;
    }
    random_network(&random, &network, input_size, specs, layer_count);
    if ((how & 2) != 0) {
        make_fine(&random, &network);
    }
    x = take_memory_of(2 * STEPS * (size_t)input_size);
    state = take_memory_of(2 * (size_t)network.state_size);
    results = STEPS * (size_t)network.output_size + network.state_size;
    expected = take_memory_of(2 * results);
    found = take_memory_of(2 * results);
    draw_inputs(&random, &network, x);
    for (i = 0; i < network.state_size; i++) {
        state[i] = (how & 8) != 0 ? random_i16(&random) : 0;
    }
    plan_network(&scalar, &network, er_kernels_find("scalar"), &memory);
    take_steps(&scalar, 0, x, state, expected);
    free(memory);
    for (k = 1; k < word_count; k++) {
        er_kernels kernels = *er_kernels_find(words[k]);
        er_product_kind kinds[MOST_PRODUCTS];
        struct er_model planned;

        REQUIRE(kernels.product_count <= MOST_PRODUCTS);
        for (i = 0; i < kernels.product_count; i++) {
            kinds[i] = kernels.products[i];
            kinds[i].least_weights = (how & 1) != 0 ? 0 : kinds[i].least_weights;
        }
        kernels.products = kinds;
        plan_network(&planned, &network, &kernels, &memory);
        take_steps(&planned, (int)((how >> 4) % 3), x, state, found);
        free(memory);
        REQUIRE(memcmp(expected, found, 2 * results) == 0);
    }
    free(found);
    free(expected);
    free(state);
    free(x);
    random_network_free(&network);
    return 0;
}
