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

#include "check_kernels.h"
#include "plan.h"
#include "stream.h"

enum { CANARY = 64 };

enum { KERNELS = 4 };
static const char *const words[KERNELS] = { "avx2", "avx512bw", "avx512", "neon" };
const int32_t clamps[CLAMPS] = { 7, 12, 25, 31, 127, 32767 };
const uint32_t edges[EDGES] = { 1,   2,   3,   4,   5,   6,   7,   8,   9,   10,  11,  15,  16,  17,  19,  20,  21,
                                31,  32,  33,  39,  40,  41,  63,  64,  65,  79,  80,  81,  95,  96,  97,  99,  100,
                                101, 127, 128, 129, 130, 200, 255, 256, 257, 320, 513, 577, 640, 641, 704, 1030 };

static uint64_t seed = 1;
const char *isa;

void fail(const char *check, const char *what, uint64_t at)
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

int is_fast(const er_matrix *matrix)
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
        check_networks(kernels, &random, rounds);
    }
    return missing;
}
