/* SPDX-License-Identifier: MIT
 * Life cycle of a model and what it tells about itself. The file is checked by format.c. */
#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan.h"

enum {
    HEADER_BYTES = 64,
    FIRST_READ = 4096           /* bytes of a file's first buffer, at least HEADER_BYTES */
};

/* Report an error that is no rule of the format. */
static er_status fail(er_error *error_out, er_status status, uint64_t expected, uint64_t found)
{
    if (error_out != NULL) {
        memset(error_out, 0, sizeof *error_out);
        error_out->status = status;
        error_out->expected = (int64_t)expected;
        error_out->found = (int64_t)found;
    }
    return status;
}

/* Whether the bytes are to be copied behind the struct. A file that is longer than any legal one
 * never is: the parser refuses it by its length. */
static int copies(size_t size, uint32_t flags)
{
    return (flags & ER_MODEL_BORROW) == 0 && size <= ER_MAX_FILE_BYTES;
}

/* Bytes of the block that a model takes without its plan: the struct, then the copy of the file. */
static size_t block_size(size_t size, uint32_t flags)
{
    return er_memory_add(er_memory_round_up(sizeof(struct er_model)),
                         copies(size, flags) ? er_memory_round_up(size) : 0);
}

/* The options that are in force, and the kernels they select. */
static er_status read_options(const er_model_options *options, uint32_t *flags_out,
                              const er_kernels **kernels_out, er_error *error_out)
{
    const uint32_t flags = options == NULL ? 0 : options->flags;
    const er_kernels *kernels = er_kernels_find(options == NULL ? NULL : options->kernel);

    if ((flags & ~(uint32_t)ER_MODEL_BORROW) != 0) {
        return fail(error_out, ER_ERROR_ARGUMENT, ER_MODEL_BORROW, flags);
    }
    if (kernels == NULL) {
        return fail(error_out, ER_ERROR_KERNEL, 0, 0);
    }
    *flags_out = flags;
    *kernels_out = kernels;
    return ER_OK;
}

/* The file is parsed only to check it; no pointer into it is kept. */
er_status er_model_size(const void *data, size_t size, const er_model_options *options,
                        size_t *bytes_out, er_error *error_out)
{
    struct er_model model;
    const er_kernels *kernels;
    uint32_t flags;
    size_t bytes;
    er_status status;

    if (data == NULL || bytes_out == NULL) {
        return fail(error_out, ER_ERROR_ARGUMENT, 0, 0);
    }
    status = read_options(options, &flags, &kernels, error_out);
    if (status == ER_OK) {
        status = er_format_parse(data, size, &model, error_out);
    }
    if (status != ER_OK) {
        return status;
    }
    bytes = er_memory_add(block_size(size, flags), er_plan_size(&model, kernels));
    if (bytes > ER_MOST_BYTES) {
        return fail(error_out, ER_ERROR_MEMORY, bytes, ER_MOST_BYTES);
    }
    *bytes_out = bytes;
    return ER_OK;
}

/* Parse a file into a model at the start of memory, which is block_size bytes or more. The copy is what is parsed,
 * not the original: nothing that happens to the caller's bytes meanwhile can make it differ from what was
 * checked. */
static er_status parse(struct er_model *memory, const void *data, size_t size, uint32_t flags, er_error *error_out)
{
    const uint8_t *bytes = data;

    if (copies(size, flags)) {
        uint8_t *copy = (uint8_t *)memory + er_memory_round_up(sizeof *memory);

        memcpy(copy, data, size);
        bytes = copy;
    }
    return er_format_parse(bytes, size, memory, error_out);
}

/* See edge_runtime.h. The plan lies behind the block. */
er_status er_model_init(void *memory, size_t memory_size, const void *data, size_t size,
                        const er_model_options *options, er_model **model_out, er_error *error_out)
{
    struct er_model *model = memory;
    const er_kernels *kernels;
    uint32_t flags;
    size_t before, plan_size;
    er_status status;

    if (memory == NULL || data == NULL || model_out == NULL) {
        return fail(error_out, ER_ERROR_ARGUMENT, 0, 0);
    }
    status = read_options(options, &flags, &kernels, error_out);
    if (status != ER_OK) {
        return status;
    }
    before = block_size(size, flags);
    if (!er_memory_is_fit(memory, memory_size, before)) {
        return fail(error_out, ER_ERROR_MEMORY, before, memory_size);
    }
    status = parse(model, data, size, flags, error_out);
    if (status != ER_OK) {
        return status;
    }
    plan_size = er_plan_size(model, kernels);
    if (!er_memory_is_fit(memory, memory_size, er_memory_add(before, plan_size))) {
        return fail(error_out, ER_ERROR_MEMORY, er_memory_add(before, plan_size), memory_size);
    }
    model->model_bytes = before + plan_size;
    er_plan_make(model, kernels, plan_size == 0 ? NULL : (char *)memory + before);
    *model_out = model;
    return ER_OK;
}

/* The size of a plan is known only when the file has been parsed, so it gets memory of its own: to parse twice
 * would take a quarter of the time. What is no model, or not as long as it says, is not copied. */
er_status er_model_create(const void *data, size_t size, const er_model_options *options,
                          er_model **model_out, er_error *error_out)
{
    const er_kernels *kernels;
    uint32_t flags;
    size_t before, plan_size;
    void *allocation, *plan_allocation = NULL, *plan = NULL;
    struct er_model *model;
    er_status status;

    if (data == NULL || model_out == NULL) {
        return fail(error_out, ER_ERROR_ARGUMENT, 0, 0);
    }
    status = read_options(options, &flags, &kernels, error_out);
    if (status != ER_OK) {
        return status;
    }
    status = er_format_check_length(data, size, error_out);
    if (status != ER_OK) {
        return status;
    }
    before = block_size(size, flags);
    model = er_memory_allocate(before, &allocation);
    if (model == NULL) {
        return fail(error_out, ER_ERROR_MEMORY, before, 0);
    }
    status = parse(model, data, size, flags, error_out);
    if (status != ER_OK) {
        free(allocation);
        return status;
    }
    plan_size = er_plan_size(model, kernels);
    if (plan_size > 0) {
        plan = er_memory_allocate(plan_size, &plan_allocation);
        if (plan == NULL) {
            free(allocation);
            return fail(error_out, ER_ERROR_MEMORY, er_memory_add(before, plan_size), 0);
        }
    }
    model->model_bytes = before + plan_size;
    model->allocations[0] = allocation;
    model->allocations[1] = plan_allocation;
    er_plan_make(model, kernels, plan);
    *model_out = model;
    return ER_OK;
}

/* How much of a file is worth reading, seen from its first bytes: the stated size and one byte
 * more, which shows that the file is too long; of what is no model, nothing more. */
static size_t read_limit(const uint8_t *data, size_t size)
{
    uint32_t stated;

    if (size < HEADER_BYTES || memcmp(data, "ERNN", 4) != 0) {
        return size;
    }
    stated = er_read_u32(data + 8);
    return stated > ER_MAX_FILE_BYTES ? size : (size_t)stated + 1;
}

/* Read a file that is open. The buffer grows with what arrives, not with what the file claims to
 * hold, so that a short file cannot ask for a large buffer; pipes work, and a file that grows
 * meanwhile is seen as it was when its last byte was read. *data_out is to be freed. */
static er_status read_stream(FILE *file, uint8_t **data_out, size_t *size_out)
{
    size_t capacity = FIRST_READ;
    uint8_t *data = malloc(capacity);
    size_t size;
    size_t limit;

    if (data == NULL) {
        return ER_ERROR_MEMORY;
    }
    size = fread(data, 1, HEADER_BYTES, file);
    limit = read_limit(data, size);
    while (size < limit && !feof(file) && !ferror(file)) {
        if (size == capacity) {
            const size_t more = capacity < limit / 2 ? 2 * capacity : limit;
            uint8_t *larger = realloc(data, more);

            if (larger == NULL) {
                free(data);
                return ER_ERROR_MEMORY;
            }
            data = larger;
            capacity = more;
        }
        size += fread(data + size, 1, (limit < capacity ? limit : capacity) - size, file);
    }
    if (ferror(file)) {                 /* a directory, for example, opens but cannot be read */
        free(data);
        return ER_ERROR_IO;
    }
    *data_out = data;
    *size_out = size;
    return ER_OK;
}

/* The file is closed and its buffer freed before the return; the model holds a copy. */
er_status er_model_create_from_file(const char *path, const er_model_options *options,
                                    er_model **model_out, er_error *error_out)
{
    FILE *file;
    uint8_t *data = NULL;
    size_t size = 0;
    er_status status;

    if (path == NULL || model_out == NULL ||
        (options != NULL && (options->flags & ER_MODEL_BORROW) != 0)) {
        return fail(error_out, ER_ERROR_ARGUMENT, 0, 0);
    }
    file = fopen(path, "rb");
    if (file == NULL) {
        return fail(error_out, ER_ERROR_IO, 0, 0);
    }
    status = read_stream(file, &data, &size);
    fclose(file);
    if (status != ER_OK) {
        return fail(error_out, status, 0, 0);
    }
    status = er_model_create(data, size, options, model_out, error_out);
    free(data);
    return status;
}

/* A model in the caller's memory has nothing to release. */
void er_model_destroy(er_model *model)
{
    if (model != NULL) {
        free(model->allocations[1]);
        free(model->allocations[0]);
    }
}

/* stream_bytes is without the line that er_stream_create adds for alignment. */
er_status er_model_describe(const er_model *model, er_model_info *info_out)
{
    if (model == NULL || info_out == NULL) {
        return ER_ERROR_ARGUMENT;
    }
    memset(info_out, 0, sizeof *info_out);
    info_out->profile = model->profile;
    info_out->input_size = model->input_size;
    info_out->output_size = model->output_size;
    info_out->layer_count = model->layer_count;
    info_out->state_size = model->state_size;
    info_out->label_count = model->label_count;
    info_out->metadata_count = model->metadata_count;
    info_out->has_frontend = model->has_frontend;
    info_out->has_decoder = model->has_decoder;
    if (model->has_frontend) {
        info_out->step_samples = model->frontend.hop_samples * model->frontend.stack;
    }
    info_out->file_bytes = (uint32_t)model->file_size;
    info_out->model_bytes = model->model_bytes;
    info_out->stream_bytes = er_stream_size(model);
    info_out->kernel = model->kernels->isa;
    return ER_OK;
}

/* The string that follows `count` others. The parser has seen that all of them end. */
static const char *skip_strings(const char *text, uint32_t count)
{
    for (; count > 0; count--) {
        text += strlen(text) + 1;
    }
    return text;
}

/* Found by walking over the labels before it: no index is kept. */
const char *er_model_label(const er_model *model, uint32_t index)
{
    if (model == NULL || index >= model->label_count) {
        return NULL;
    }
    return skip_strings(model->labels, index);
}

/* As er_model_label; key and value alternate. */
er_status er_model_metadata(const er_model *model, uint32_t index, const char **key_out,
                            const char **value_out)
{
    if (model == NULL || key_out == NULL || value_out == NULL || index >= model->metadata_count) {
        return ER_ERROR_ARGUMENT;
    }
    *key_out = skip_strings(model->metadata, 2 * index);
    *value_out = skip_strings(*key_out, 1);
    return ER_OK;
}
