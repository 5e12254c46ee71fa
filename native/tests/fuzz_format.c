/* SPDX-License-Identifier: MIT
 *
 * libFuzzer target for the parser of model files:
 *
 *   clang -std=c11 -g -O1 -ffp-contract=off -fsanitize=fuzzer,address,undefined \
 *       -fno-sanitize-recover=all -Inative/include -Inative/src native/tests/fuzz_format.c \
 *       $(find native/src -name '*.c') -o build/fuzz_format
 *   mkdir build/corpus && cp $(find tests/golden -name '*.ernn') build/corpus
 *   build/fuzz_format -max_len=4096 build/corpus
 *
 * The input is parsed as it is, and again with size and checksum made right, without which hardly
 * any input would get past the header. A model that is accepted runs two steps. */
#include <stdlib.h>
#include <string.h>

#include "edge_runtime.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_u32(uint8_t *p, uint32_t value)
{
    int i;

    for (i = 0; i < 4; i++) {
        p[i] = (uint8_t)(value >> (8 * i));
    }
}

/* Parse in place and run two steps. */
static void parse(const uint8_t *data, size_t size)
{
    er_model_options options = { ER_MODEL_BORROW, NULL };
    er_model *model;
    er_stream *stream;
    er_model_info info;
    er_error error;
    int16_t *x;                 /* also as so many int8 */
    int16_t *logits;
    uint32_t i;
    er_status status = er_model_create(data, size, &options, &model, &error);

    if (status != ER_OK) {
        if (error.status != status || error.rule < 1 || error.rule > 33 || error.offset > size) {
            abort();
        }
        return;
    }
    if (er_model_describe(model, &info) != ER_OK || er_stream_create(model, &stream) != ER_OK) {
        abort();
    }
    for (i = 0; i < info.label_count; i++) {
        if (strlen(er_model_label(model, i)) == 0) {
            abort();
        }
    }
    x = malloc(2 * (size_t)info.input_size * sizeof *x);
    logits = malloc(2 * (size_t)info.output_size * sizeof *logits);
    memset(x, 93, 2 * (size_t)info.input_size * sizeof *x);
    status = info.profile == 2 ? er_stream_run_quantized16(stream, x, 2, logits)
                               : er_stream_run_quantized(stream, (int8_t *)x, 2, logits);
    if (status != ER_OK) {
        abort();
    }
    free(x);
    free(logits);
    er_stream_destroy(stream);
    er_model_destroy(model);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy;

    parse(data, size);
    if (size < 64) {
        return 0;
    }
    copy = malloc(size);
    memcpy(copy, data, size);
    write_u32(copy + 8, (uint32_t)size);
    write_u32(copy + 12, 0);
    write_u32(copy + 12, er_crc32(copy, size));
    parse(copy, size);
    free(copy);
    return 0;
}
