/* SPDX-License-Identifier: MIT
 *
 * Every fast kernel of this machine against the scalar one, bit for bit:
 *
 *     check_kernels [--kernel ISA] [--require ISA] [--seed N] [--rounds N]
 *
 * floats      inputs and logits from and to floats: ties, limits, infinities, not-a-number
 * operands    N1 at every shift, from misaligned inputs of just their size
 * product     N2 for every kind of product, whatever the size it is chosen for: sizes around every tile
 *             edge, extreme weights and operands, worst-case sums
 * matrix      N1 and N2 of every encoding, clamp and number of planes, few columns and so many that sums pass
 *             16 bits: extreme weights and operands
 * outputs     N3 to N6 on sums of 32 bits, extremes among them
 * activation  tanh and sigmoid of all 65536 pre-activations
 * bounds      the greatest sums that gates take in 16 bits, and one column more, where they must step back
 * network     random networks of every kind of layer over many steps, with random states now and then:
 *             logits and the whole state after each step; several streams in one call; runs; skipping
 *
 * Outputs lie between canaries; what kernels may read lies in memory of just that size, so that the address
 * sanitizer sees more. A line for each check and ISA; SKIP for an ISA that this machine lacks. Exit status
 * 1 at the first difference, with the command that repeats it, or if an ISA of --require was skipped. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan.h"
#include "random_network.h"
#include "stream.h"

enum { CANARY = 64, STEPS = 12 };

enum { KERNELS = 4 };
static const char *const words[KERNELS] = { "avx2", "avx512bw", "avx512", "neon" };
static const int32_t clamps[6] = { 7, 12, 25, 31, 127, 32767 };
static const uint32_t edges[] = { 1,  2,  3,  4,  5,  6,  7,   8,   9,   10,  11,  15,  16,  17,  19,  20,  21,
                                  31, 32, 33, 39, 40, 41, 63,  64,  65,  79,  80,  81,  95,  96,  97,  99,  100,
                                  101, 127, 128, 129, 130, 200, 255, 256, 257, 320, 513, 577, 640, 641, 704, 1030 };
enum { EDGES = sizeof edges / sizeof edges[0] };

static uint64_t seed = 1;
static const char *isa;         /* being checked */

/* End with a message and the way to repeat the failure. */
static void fail(const char *check, const char *what, uint64_t at)
{
    printf("%s %s: FAILED: %s (%llu)\nrepeat: check_kernels --kernel %s --seed %llu\n", isa, check, what,
           (unsigned long long)at, isa, (unsigned long long)seed);
    exit(1);
}

/* Memory between canaries, 64-byte aligned. */
typedef struct guarded {
    uint8_t *allocation, *data;
    size_t size;
} guarded;

static guarded guarded_memory(size_t size)
{
    guarded g;

    g.size = size;
    g.allocation = take_memory(size + 2 * CANARY + ER_ALIGNMENT);
    memset(g.allocation, 0xA5, size + 2 * CANARY + ER_ALIGNMENT);
    g.data = g.allocation + CANARY;
    g.data += (ER_ALIGNMENT - (uintptr_t)g.data % ER_ALIGNMENT) % ER_ALIGNMENT;
    return g;
}

/* Look at the canaries and release the memory. */
static void guarded_free(guarded g, const char *check)
{
    size_t i;

    for (i = 0; i < CANARY; i++) {
        if (g.data[g.size + i] != 0xA5 || g.data[-1 - (ptrdiff_t)i] != 0xA5) {
            fail(check, "a canary was overwritten, byte", i);
        }
    }
    free(g.allocation);
}

static uint32_t round_up(uint32_t n, uint32_t to)
{
    return (n + to - 1) / to * to;
}

/* A number near the limits or ties of rounding, or any bits. */
static float random_float(random_state *random)
{
    static const uint32_t special[6] = { 0x7F800000u, 0xFF800000u, 0x7FC00000u, 0x80000000u, 0x00000001u, 0x7F7FFFFFu };
    const uint32_t r = random_below(random, 8);
    uint32_t bits = random_u32(random);
    float value;

    if (r < 5) {
        return (float)(int32_t)random_below(random, 1200) * 0.25f - 150.0f;
    }
    bits = r == 5 ? special[bits % 6] : bits;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Inputs and logits of every size, in memory of just that size. */
static void check_floats(const er_kernels *kernels, random_state *random)
{
    const er_kernels *scalar = er_kernels_find("scalar");
    uint32_t size_index, round, i;

    for (size_index = 0; size_index < EDGES; size_index++) {
        for (round = 0; round < 20; round++) {
            const uint32_t count = edges[size_index];
            const float unit = random_below(random, 2) ? 1.0f / 2048.0f : 1.0f / 32768.0f;
            float *x = take_memory(count * sizeof *x), *scale = take_memory(count * sizeof *scale);
            float *offset = take_memory(count * sizeof *offset), *expected_y = take_memory(count * sizeof(float));
            int8_t *expected = take_memory(count);
            int16_t *logits = take_memory(count * sizeof *logits);
            const guarded found = guarded_memory(count), y = guarded_memory(count * sizeof(float));

            for (i = 0; i < count; i++) {
                const int plain = random_below(random, 2) == 0;

                x[i] = random_float(random);
                scale[i] = plain ? 1.0f : random_float(random);
                offset[i] = plain ? 0.0f : random_float(random);
                logits[i] = random_i16(random);
            }
            scalar->quantize(x, (uint8_t *)scale, (uint8_t *)offset, count, expected);
            kernels->quantize(x, (uint8_t *)scale, (uint8_t *)offset, count, (int8_t *)found.data);
            scalar->logits(logits, count, unit, expected_y);
            kernels->logits(logits, count, unit, (float *)(void *)y.data);
            if (memcmp(expected, found.data, count) != 0) {
                fail("floats", "inputs differ, count", count);
            }
            if (memcmp(expected_y, y.data, count * sizeof(float)) != 0) {
                fail("floats", "logits differ, count", count);
            }
            guarded_free(found, "floats");
            guarded_free(y, "floats");
            free(x);
            free(scale);
            free(offset);
            free(expected);
            free(expected_y);
            free(logits);
        }
    }
    printf("%-8s floats      ok\n", isa);
}

/* N1 by its definition. */
static int32_t operand(int32_t v, const er_product *product)
{
    const int64_t t = product->three_quarters ? v - (v >> 2) : v;
    const int64_t half = product->operand_shift > 0 ? (int64_t)1 << (product->operand_shift - 1) : 0;
    const int64_t u = (t + half) >> product->operand_shift;

    return (int32_t)(u > product->clamp ? product->clamp : u < -product->clamp ? -product->clamp : u);
}

/* Operands of random values at every shift, size and clamp. */
static void check_operands(const er_kernels *kernels, random_state *random)
{
    uint32_t size_index, shift, i, k;

    for (k = 0; k < kernels->product_count; k++) {
        for (size_index = 0; size_index < EDGES; size_index++) {
            for (shift = 0; shift < 32; shift++) {
                const uint32_t columns = edges[size_index];
                const uint32_t bytes = round_up(columns, 64) + ER_BYTE_PADDING;
                const guarded out = guarded_memory(bytes);
                uint8_t *allocation = take_memory(2 * columns + 2);
                const uint32_t skew = 2 * random_below(random, 2);
                int16_t *x = (int16_t *)(void *)(allocation + skew);
                er_product product = { .kind = &kernels->products[k], .columns = columns };

                product.clamp = clamps[random_below(random, 4)];
                product.operand_shift = shift / 2;
                product.three_quarters = shift % 2;
                for (i = 0; i < columns; i++) {
                    x[i] = random_i16(random);
                }
                if (skew == 0) {                        /* nothing behind x is to be read */
                    allocation = realloc(allocation, 2 * columns);
                    x = (int16_t *)(void *)allocation;
                }
                product.kind->operands(&product, x, (int8_t *)out.data);
                for (i = 0; i < columns; i++) {
                    if ((int8_t)out.data[i] != operand(x[i], &product)) {
                        fail("operands", "difference at operand", i);
                    }
                }
                for (; i < columns + ER_BYTE_PADDING; i++) {
                    if (out.data[i] != 0) {
                        fail("operands", "padding is not zero", i);
                    }
                }
                guarded_free(out, "operands");
                free(allocation);
            }
        }
    }
    printf("%-8s operands    ok\n", isa);
}

/* One product for four vectors at once against one after the other. bytes: room for operands, the padding
 * zero. */
static void check_four(const er_product *product, random_state *random, int8_t *bytes)
{
    const uint32_t rows = ((product->tall_count + product->low_count) * product->tile_blocks - product->low_count) *
                          product->kind->block_rows;
    guarded tables[ER_VECTORS], sums[ER_VECTORS];
    const uint8_t *table_of[ER_VECTORS];
    int16_t *sums_of[ER_VECTORS], *expected = take_memory(sizeof(int16_t) * round_up(rows, ER_BLOCK_ROWS) + 64);
    int16_t *aligned = expected + (64 - (uintptr_t)expected % 64) / 2;
    uint32_t v, i;

    for (v = 0; v < ER_VECTORS; v++) {
        tables[v] = guarded_memory((size_t)product->group_count * ER_GROUP_TABLE);
        sums[v] = guarded_memory(sizeof(int16_t) * rows);
        table_of[v] = tables[v].data;
        sums_of[v] = (int16_t *)(void *)sums[v].data;
        for (i = 0; i < product->columns; i++) {
            bytes[i] = (int8_t)((int32_t)random_below(random, (uint32_t)(2 * product->clamp + 1)) - product->clamp);
        }
        product->kind->tables(product, bytes, tables[v].data);
    }
    product->kind->run_four(product, table_of, sums_of);
    for (v = 0; v < ER_VECTORS; v++) {
        product->kind->run(product, table_of[v], aligned);
        if (memcmp(aligned, sums_of[v], sizeof(int16_t) * rows) != 0) {
            printf("rows %u, columns %u, clamp %d, form %u\n", rows, product->columns, product->clamp,
                   product->kind->form);
            fail("product", "difference of four vectors at once, vector", v);
        }
        guarded_free(tables[v], "product");
        guarded_free(sums[v], "product");
    }
    free(expected);
}

/* One product: all sums against the scalar kernel's. */
static int check_one_product(const er_kernels *kernels, random_state *random, uint32_t rows, uint32_t columns,
                             uint8_t weights, int32_t clamp)
{
    const uint8_t encoding = kernels->products[0].form == ER_FORM_BITS ? ER_ENCODING_BINARY : ER_ENCODING_TERNARY;
    const layer_spec spec = { ER_LAYER_DENSE, 0, 0, weights, encoding, 1, 0, rows, clamp, clamp };
    const uint32_t extreme = random_below(random, 4);
    struct er_model network, model;
    const er_matrix *matrix;
    int32_t *acc = take_memory(sizeof *acc * rows), *table = take_memory(sizeof *table * ER_GEMV_TABLE_SIZE);
    int16_t *operands = take_memory(sizeof *operands * (columns + ER_OPERAND_PADDING));
    void *memory;
    uint32_t i;
    int fast;

    random_network(random, &network, columns, &spec, 1);
    plan_network(&model, &network, kernels, &memory);
    matrix = &model.layers[0].matrix[0];
    fast = matrix->product != NULL;
    if (fast) {
        const er_product *product = matrix->product;
        const guarded sums = guarded_memory(sizeof(int16_t) * round_up(rows, ER_BLOCK_ROWS));
        const guarded tables = guarded_memory((size_t)product->group_count * product->kind->group_table);
        int8_t *bytes = take_memory(round_up(columns, 64) + ER_BYTE_PADDING);

        memset(bytes, 0, round_up(columns, 64) + ER_BYTE_PADDING);
        memset(acc, 0, sizeof *acc * rows);
        memset(operands, 0, sizeof *operands * (columns + ER_OPERAND_PADDING));
        for (i = 0; i < columns; i++) {
            int32_t u = (int32_t)random_below(random, (uint32_t)(2 * clamp + 1)) - clamp;

            u = extreme == 0 ? clamp : extreme == 1 ? -clamp : extreme == 2 ? (i % 2 ? clamp : -clamp) : u;
            operands[i] = (int16_t)u;
            bytes[i] = (int8_t)u;
        }
        kernels->gemv[encoding](matrix->weights[0], rows, matrix->row_bytes, operands, acc, table);
        product->kind->tables(product, bytes, tables.data);
        product->kind->run(product, tables.data, (int16_t *)(void *)sums.data);
        for (i = 0; i < rows; i++) {
            if (((const int16_t *)(const void *)sums.data)[i] != acc[i]) {
                printf("rows %u, columns %u, clamp %d, form %u\n", rows, columns, clamp, product->kind->form);
                fail("product", "difference in row", i);
            }
        }
        if (product->kind->run_four != NULL) {
            check_four(product, random, bytes);
        }
        guarded_free(sums, "product");
        guarded_free(tables, "product");
        free(bytes);
    }
    free(memory);
    random_network_free(&network);
    free(acc);
    free(table);
    free(operands);
    return fast;
}

/* Every kind of product of an ISA, at sizes around the edges of its groups, blocks and tiles. */
static void check_product(const er_kernels *kernels, random_state *random)
{
    uint32_t k, i, c;

    for (k = 0; k < kernels->product_count; k++) {
        er_product_kind kind = kernels->products[k];
        er_kernels one = *kernels;
        unsigned long fast = 0, all = 0;

        if (kind.split > 0) {
            continue;                   /* always compounds: check_matrix */
        }
        kind.least_weights = 0;
        one.products = &kind;
        one.product_count = 1;
        for (c = 0; c < 4; c++) {
            for (i = 0; i < EDGES; i++) {
                const uint32_t other = 1 + random_below(random, 130);
                const uint8_t weights = (uint8_t)random_below(random, WEIGHTS_KINDS);

                all += 2;
                fast += (unsigned long)check_one_product(&one, random, edges[i], other, weights, clamps[c]);
                fast += (unsigned long)check_one_product(&one, random, other, edges[i], weights, clamps[c]);
            }
        }
        /* The greatest sums that fit, and the least that do not. */
        for (c = 0; c < 4; c++) {
            const uint32_t columns = INT16_MAX / (uint32_t)clamps[c];

            if (clamps[c] <= kind.most_clamp) {
                if (!check_one_product(&one, random, 65, columns, WEIGHTS_PLUS, clamps[c]) ||
                    !check_one_product(&one, random, 65, columns, WEIGHTS_MINUS, clamps[c]) ||
                    check_one_product(&one, random, 65, columns + 1, WEIGHTS_PLUS, clamps[c])) {
                    fail("product", "the bound of 16-bit sums is not where it should be, clamp",
                         (uint64_t)clamps[c]);
                }
            }
        }
        printf("%-8s product     ok: kind %u, %lu of %lu products fast\n", isa, k, fast, all);
    }
}

/* A clamp with which sums of an encoding's rows stay below 2^30 (R27). */
static int32_t random_clamp(random_state *random, uint32_t encoding, uint32_t columns)
{
    const int64_t most = (int64_t)columns * (encoding == ER_ENCODING_POW2 ? 64 : 1);
    uint32_t k = random_below(random, 6);

    while (most * clamps[k] > (1 << 30) - 1) {
        k--;
    }
    return clamps[k];
}

/* Whether a plan has a fast form for a matrix. */
static int is_fast(const er_matrix *matrix)
{
    return matrix->product != NULL || matrix->compound != NULL;
}

/* All sums of matrices of every kind against the scalar kernels'. */
static void check_matrix(const er_kernels *kernels, random_state *random, unsigned long rounds)
{
    unsigned long round, fast = 0;
    uint32_t i, k;

    for (round = 0; round < rounds; round++) {
        layer_spec spec = { ER_LAYER_DENSE, 0, 0, (uint8_t)random_below(random, WEIGHTS_KINDS),
                            (uint8_t)(1 + random_below(random, 3)), 1, 0, 0, 0, 0 };
        uint32_t columns = random_below(random, 2) ? 1 + random_below(random, 300) : edges[random_below(random, EDGES)];
        const uint32_t how = random_below(random, 3);
        struct er_model network, model[2];
        er_stream *stream[2];
        void *memory[2];
        int16_t *x;

        if (random_below(random, 8) == 0) {
            columns = 1 + random_below(random, ER_MAX_SIZE);
        }
        spec.units = random_below(random, 3) ? 1 + random_below(random, 40) : edges[random_below(random, EDGES)];
        spec.plane_count = (uint8_t)(random_below(random, 3) ? 1 : 1 + random_below(random, ER_MAX_PLANES));
        if (columns > 1200) {
            spec.units = 1 + spec.units % 20;
        }
        spec.clamp_x = spec.clamp_h = random_clamp(random, spec.encoding, columns);
        random_network(random, &network, columns, &spec, 1);
        network.layers[0].matrix[0].operand_shift = (uint8_t)(how == 0 ? 0 : random_below(random, 16));
        x = take_memory(sizeof *x * columns);
        for (i = 0; i < columns; i++) {
            x[i] = how == 0 ? (random_below(random, 8) ? INT16_MAX : INT16_MIN)
                   : how == 1 ? (random_below(random, 2) ? INT16_MIN : INT16_MAX) : random_i16(random);
        }
        for (k = 0; k < 2; k++) {
            const er_matrix *matrix;

            plan_network(&model[k], &network, k == 0 ? er_kernels_find("scalar") : kernels, &memory[k]);
            if (er_stream_create(&model[k], &stream[k]) != ER_OK) {
                fail("matrix", "no stream, round", round);
            }
            matrix = &model[k].layers[0].matrix[0];
            if (is_fast(matrix)) {
                er_matrix_wide_sums(matrix, x, &stream[k]->work, stream[k]->work.acc_x);
            } else {
                er_matrix_product(matrix, 0, spec.units, x, &stream[k]->work, stream[k]->work.acc_x);
            }
        }
        fast += (unsigned long)is_fast(&model[1].layers[0].matrix[0]);
        for (i = 0; i < spec.units * spec.plane_count; i++) {
            if (stream[0]->work.acc_x[i] != stream[1]->work.acc_x[i]) {
                printf("encoding %u, rows %u, columns %u, planes %u, clamp %d\n", spec.encoding, spec.units, columns,
                       spec.plane_count, spec.clamp_x);
                fail("matrix", "difference at sum", i);
            }
        }
        for (k = 0; k < 2; k++) {
            er_stream_destroy(stream[k]);
            free(memory[k]);
        }
        free(x);
        random_network_free(&network);
    }
    if (fast < rounds) {
        fail("matrix", "a matrix fell back to scalar, fast matrices", fast);
    }
    printf("%-8s matrix      ok: %lu matrices\n", isa, rounds);
}

/* Row scales of random layers on random sums of 32 bits. */
static void check_outputs(const er_kernels *kernels, random_state *random, unsigned long rounds)
{
    static const uint8_t kinds[3] = { ER_LAYER_GRU, ER_LAYER_LSTM, ER_LAYER_RNN };
    unsigned long round, shared_rows = 0;
    uint32_t i, k;

    for (round = 0; round < rounds; round++) {
        const int shared = (int)random_below(random, 2);
        const uint8_t planes = (uint8_t)(shared ? 1 : 1 + random_below(random, ER_MAX_PLANES));
        const layer_spec spec = { kinds[random_below(random, 3)], ER_ACTIVATION_TANH,
                                  shared ? ER_LAYER_SHARED_SCALE : 0, 0, ER_ENCODING_TERNARY, planes, 0,
                                  1 + random_below(random, 100), 7, 7 };
        struct er_model network, model;
        const er_layer *layer;
        er_stream *stream;
        void *memory;
        uint32_t row;

        random_network(random, &network, 3, &spec, 1);
        network.layers[0].matrix[0].left_shift = (int32_t)random_below(random, 10) - 24;     /* not for 16 bits */
        network.layers[0].matrix[1].left_shift = (int32_t)random_below(random, 40) - 24;
        if (shared) {
            network.layers[0].matrix[1].left_shift = network.layers[0].matrix[0].left_shift;
        }
        plan_network(&model, &network, kernels, &memory);
        layer = &model.layers[0];
        if (er_stream_create(&model, &stream) != ER_OK || layer->outputs == NULL) {
            fail("outputs", "the rows are not scaled on 32 bits, round", round);
        }
        for (i = 0; i < layer->matrix[0].rows * planes; i++) {
            const uint32_t bits = 1 + random_below(random, 29);     /* sums of both matrices stay below 2^30 */

            stream->work.acc_x[i] = (int32_t)(random_u32(random) >> (32 - bits)) * (random_below(random, 2) ? 1 : -1);
            stream->work.acc_h[i] = (int32_t)(random_u32(random) >> (32 - bits)) * (random_below(random, 2) ? 1 : -1);
        }
        for (k = 0; k < 3; k++) {
            const er_outputs *outputs = &layer->outputs[k];
            const int32_t *acc = k < 2 ? stream->work.acc_x : stream->work.acc_h;
            const er_matrix *matrix = &layer->matrix[k < 2 ? 0 : 1];
            const guarded out = guarded_memory(sizeof(int16_t) * outputs->row_count);

            kernels->outputs(outputs, acc + outputs->first_row, k == 0 ? stream->work.acc_h : NULL,
                             (int16_t *)(void *)out.data);
            for (row = outputs->first_row; row < matrix->rows && row - outputs->first_row < outputs->row_count; row++) {
                const int shared_row = spec.kind == ER_LAYER_GRU ? row < 2 * spec.units : 1;
                const int32_t found = ((const int16_t *)(const void *)out.data)[row - outputs->first_row];

                if (k == 0 && !shared_row) {
                    break;
                }
                shared_rows += k == 0;
                if (found != (k == 0 ? er_matrix_preactivation(layer, &stream->work, row)
                                     : er_matrix_output(matrix, acc, row))) {
                    fail("outputs", "difference in row", row);
                }
            }
            guarded_free(out, "outputs");
        }
        er_stream_destroy(stream);
        free(memory);
        random_network_free(&network);
    }
    printf("%-8s outputs     ok: %lu networks, %lu shared rows\n", isa, rounds, shared_rows);
}

/* tanh and sigmoid of all pre-activations, as the biases of dense layers with zero weights. */
static void check_activation(const er_kernels *kernels, random_state *random)
{
    static const uint8_t activations[4] = { ER_ACTIVATION_NONE, ER_ACTIVATION_TANH, ER_ACTIVATION_RELU,
                                            ER_ACTIVATION_SIGMOID };
    enum { UNITS = 8192 };
    static int16_t expected[UNITS], found[UNITS];
    static uint8_t scales[2 * UNITS], biases[2 * UNITS];
    const int8_t x = 1;
    uint32_t a, first, i;

    for (a = 0; a < 4; a++) {
        for (first = 0; first < 65536; first += UNITS) {
            const layer_spec spec = { ER_LAYER_DENSE, activations[a], 0, WEIGHTS_ZERO, ER_ENCODING_TERNARY, 1,
                                      1, UNITS, 7, 7 };
            struct er_model network, model[2];
            void *memory[2];

            random_network(random, &network, 1, &spec, 1);
            free((void *)network.layers[0].matrix[0].scales);
            free((void *)network.layers[0].matrix[0].bias);
            for (i = 0; i < UNITS; i++) {
                biases[2 * i] = (uint8_t)(first + i);
                biases[2 * i + 1] = (uint8_t)((first + i) >> 8);
            }
            network.layers[0].matrix[0].bias = biases;
            network.layers[0].matrix[0].scales = scales;
            for (i = 0; i < 2; i++) {
                er_stream *stream;

                plan_network(&model[i], &network, i == 0 ? er_kernels_find("scalar") : kernels, &memory[i]);
                if (er_stream_create(&model[i], &stream) != ER_OK) {
                    fail("activation", "no stream", 0);
                }
                er_stream_step_quantized(stream, &x, i == 0 ? expected : found);
                er_stream_destroy(stream);
            }
            if (model[1].layers[0].gates == NULL) {
                fail("activation", "the layer was not fast, activation", a);
            }
            for (i = 0; i < UNITS; i++) {
                if (expected[i] != found[i]) {
                    fail("activation", "difference at", first + i);
                }
            }
            free(memory[0]);
            free(memory[1]);
            network.layers[0].matrix[0].bias = NULL;
            network.layers[0].matrix[0].scales = NULL;
            random_network_free(&network);
        }
    }
    printf("%-8s activation  ok\n", isa);
}

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
static void check_network(const er_kernels *kernels, random_state *random, unsigned long rounds)
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
static void check_bounds(const er_kernels *kernels, random_state *random)
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

int main(int argc, char **argv)
{
    const char *only = NULL;
    unsigned long rounds = 300;
    int required[KERNELS] = { 0 };
    int i, k, missing = 0;

    for (i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        int known = 0;

        if (strcmp(argv[i], "--kernel") == 0) {
            only = value;
            for (k = 0; k < KERNELS; k++) {
                known |= strcmp(value, words[k]) == 0;
            }
        } else if (strcmp(argv[i], "--require") == 0) {
            for (k = 0; k < KERNELS; k++) {
                if (strcmp(value, words[k]) == 0) {
                    known = required[k] = 1;
                }
            }
        } else if (strcmp(argv[i], "--seed") == 0) {
            seed = strtoull(value, NULL, 10);
            known = seed != 0;
        } else if (strcmp(argv[i], "--rounds") == 0) {
            rounds = strtoul(value, NULL, 10);
            known = rounds != 0;
        }
        if (!known) {
            fprintf(stderr, "usage: check_kernels [--kernel ISA] [--require ISA] [--seed N] [--rounds N]\n");
            return 2;
        }
    }
    printf("seed %llu\n", (unsigned long long)seed);
    for (k = 0; k < KERNELS; k++) {
        const er_kernels *kernels = er_kernels_find(words[k]);
        random_state random = { seed };

        if (only != NULL && strcmp(only, words[k]) != 0) {
            continue;
        }
        isa = words[k];
        if (kernels == NULL) {
            printf("%-8s SKIP: not built, or this machine cannot run it\n", isa);
            missing |= required[k];
            continue;
        }
        check_floats(kernels, &random);
        check_operands(kernels, &random);
        check_product(kernels, &random);
        check_matrix(kernels, &random, rounds);
        check_outputs(kernels, &random, rounds);
        check_activation(kernels, &random);
        check_bounds(kernels, &random);
        check_network(kernels, &random, rounds);
    }
    return missing;
}
