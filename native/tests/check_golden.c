/* SPDX-License-Identifier: MIT
 *
 * Golden models against their logits: check_golden [--kernel NAME] FILE.ernn ...
 *
 * Beside each FILE.ernn stands FILE.csv: a header line, then per step the integer inputs and the
 * logits (tests/make_golden.py). They are run step by step and once more as a whole.
 *
 * Prints a line per file. Exit status: 0; 1 at the first logit that differs; 2 if something could
 * not be done; 3 if the kernel is not to be had here. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge_runtime.h"
#include "files.h"

/* The text beside a model, ended by a zero; its first number in *begin_out. Release with free. */
static char *read_table(const char *model_path, char **begin_out)
{
    const size_t length = strlen(model_path);
    char *path = take_memory(length + 1), *text;
    uint8_t *data;
    size_t size;

    memcpy(path, model_path, length + 1);
    if (length < 5 || strcmp(path + length - 5, ".ernn") != 0) {
        stop(path, "not called *.ernn");
    }
    memcpy(path + length - 5, ".csv", 5);
    data = read_file(path, &size);
    text = take_memory(size + 1);
    memcpy(text, data, size);
    text[size] = 0;
    *begin_out = strchr(text, '\n');
    if (*begin_out == NULL) {
        stop(path, "no header line");
    }
    free(data);
    free(path);
    return text;
}

/* The next number of a table, or the program ends. */
static long take_number(char **at, const char *path)
{
    char *end;
    const long number = strtol(*at, &end, 10);

    if (end == *at) {
        stop(path, "its table ends in the middle of a step");
    }
    *at = end + (*end == ',' || *end == '\n');
    return number;
}

static void compare(const char *path, const char *how, size_t step, const int16_t *found,
                    const int16_t *expected, uint32_t count)
{
    uint32_t i;

    for (i = 0; i < count; i++) {
        if (found[i] != expected[i]) {
            fprintf(stderr, "%s: step %zu, logit %u by %s: %d instead of %d\n", path, step, (unsigned)i,
                    how, found[i], expected[i]);
            exit(1);
        }
    }
}

static void check_file(const char *path, const er_model *model)
{
    er_model_info info;
    er_stream *stream;
    char *at, *text = read_table(path, &at);
    const size_t capacity = strlen(text);       /* more than there are steps */
    int8_t *x;
    int16_t *x16, *expected, *found;
    size_t steps, i;

    if (er_model_describe(model, &info) != ER_OK || er_stream_create(model, &stream) != ER_OK) {
        stop(path, "no stream");
    }
    x = take_memory(capacity * info.input_size);
    x16 = take_memory(capacity * info.input_size * sizeof *x16);
    expected = take_memory(capacity * info.output_size * sizeof *expected);
    found = take_memory(capacity * info.output_size * sizeof *found);
    at++;
    for (steps = 0; *at != 0; steps++) {
        for (i = 0; i < info.input_size; i++) {
            x16[steps * info.input_size + i] = (int16_t)take_number(&at, path);
            x[steps * info.input_size + i] = (int8_t)x16[steps * info.input_size + i];
        }
        for (i = 0; i < info.output_size; i++) {
            expected[steps * info.output_size + i] = (int16_t)take_number(&at, path);
        }
    }
    for (i = 0; i < steps; i++) {
        if (info.profile == 2) {
            er_stream_step_quantized16(stream, x16 + i * info.input_size, found);
        } else {
            er_stream_step_quantized(stream, x + i * info.input_size, found);
        }
        compare(path, "step", i, found, expected + i * info.output_size, info.output_size);
    }
    er_stream_reset(stream);
    if (info.profile == 2) {
        er_stream_run_quantized16(stream, x16, steps, found);
    } else {
        er_stream_run_quantized(stream, x, steps, found);
    }
    for (i = 0; i < steps; i++) {
        compare(path, "run", i, found + i * info.output_size, expected + i * info.output_size,
                info.output_size);
    }
    printf("%s: %zu steps equal\n", path, steps);
    er_stream_destroy(stream);
    free(found);
    free(expected);
    free(x16);
    free(x);
    free(text);
}

int main(int argc, char **argv)
{
    er_model_options options = {0, NULL};
    int i = 1;

    if (argc > 2 && strcmp(argv[1], "--kernel") == 0) {
        options.kernel = argv[2];
        i = 3;
    }
    if (i == argc) {
        fprintf(stderr, "usage: check_golden [--kernel NAME] FILE.ernn ...\n");
        return 2;
    }
    for (; i < argc; i++) {
        er_model *model;
        const er_status status = er_model_create_from_file(argv[i], &options, &model, NULL);

        if (status != ER_OK) {
            fprintf(stderr, "%s: %s\n", argv[i], er_status_text(status));
            return status == ER_ERROR_KERNEL ? 3 : 2;
        }
        check_file(argv[i], model);
        er_model_destroy(model);
    }
    return 0;
}
