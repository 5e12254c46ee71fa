/* SPDX-License-Identifier: MIT */
#include "model_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "builtin.h"

enum { MOST_BYTES = 1 << 28 };

static int read_all(model_file *file, FILE *stream, struct problem *problem)
{
    size_t capacity = 1 << 16, got;
    char *memory = NULL, *more;

    do {
        capacity *= 2;
        more = capacity > MOST_BYTES ? NULL : realloc(memory, capacity);
        if (more == NULL) {
            free(memory);
            return problem_set(problem, "%s: too large for a model file", file->name);
        }
        memory = more;
        got = fread(memory + file->size, 1, capacity - file->size, stream);
        file->size += got;
    } while (file->size == capacity);
    if (ferror(stream)) {
        free(memory);
        return problem_set(problem, "%s: %s", file->name, strerror(errno));
    }
    file->memory = memory;
    file->data = file->memory;
    return 0;
}

int model_file_open(model_file *file, const char *path, int small, struct problem *problem)
{
    FILE *stream;
    int status;

    memset(file, 0, sizeof *file);
    if (path == NULL) {
        file->name = small ? "digits_small.ernn" : "digits.ernn";
        file->data = small ? builtin_small_model : builtin_model;
        file->size = small ? builtin_small_model_size : builtin_model_size;
    } else {
        file->name = path;
        stream = fopen(path, "rbe");
        if (stream == NULL) {
            return problem_set(problem, "%s: %s; name a model file", path, strerror(errno));
        }
        status = read_all(file, stream, problem);
        fclose(stream);
        if (status != 0) {
            return status;
        }
    }
    return 0;
}

/* Expected and found, in the notation that suits the rule: of rules 13, 29 and 31 floats may come, as their bits. */
static void compare(const er_error *error, char *text, size_t size)
{
    const long long expected = error->expected, found = error->found;
    const uint32_t rule = error->rule;
    uint32_t bits[2] = {(uint32_t)expected, (uint32_t)found};
    float values[2];

    memcpy(values, bits, sizeof values);
    if ((rule == 28 || rule == 32) && expected == 0) {
        text[0] = '\0';
    } else if (rule == 13 || ((rule == 29 || rule == 31) &&
                              (expected >= 1 << 29 || (expected == 0 && found >= 1 << 29)))) {
        snprintf(text, size, ": expected %.9g, found %.9g", (double)values[0], (double)values[1]);
    } else if (rule == 2 || rule == 5 || rule == 8 || rule == 9 || (rule == 14 && expected > 2)) {
        snprintf(text, size, ": expected 0x%08llx, found 0x%08llx", expected, found);
    } else {
        snprintf(text, size, ": expected %lld, found %lld", expected, found);
    }
}

int model_file_make(const model_file *file, const char *kernel, er_model **model_out, struct problem *problem)
{
    const er_model_options options = {ER_MODEL_BORROW, kernel};
    er_error error;
    char text[96];
    const er_status status = er_model_create(file->data, file->size, &options, model_out, &error);

    if (status == ER_OK) {
        return 0;
    }
    if (status <= ER_ERROR_TRUNCATED) {
        compare(&error, text, sizeof text);
        return problem_set(problem, "%s: offset %llu: %s (rule R%u)%s", file->name,
                           (unsigned long long)error.offset, er_status_text(status), (unsigned)error.rule, text);
    }
    if (kernel != NULL) {
        problem_set(problem, "%s with kernel '%s': %s", file->name, kernel, er_status_text(status));
        return status == ER_ERROR_KERNEL ? ER_ERROR_KERNEL : FAILED;
    }
    return problem_set(problem, "%s: %s", file->name, er_status_text(status));
}

void model_file_hash(const model_file *file, char text_out[SHA256_TEXT])
{
    sha256_text(file->data, file->size, text_out);
}

void model_file_close(model_file *file)
{
    free(file->memory);
    file->memory = NULL;
}
