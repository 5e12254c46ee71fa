/* SPDX-License-Identifier: MIT
 *
 * A file is taken apart (model_parts.c), fields are changed, and all is written anew with lengths and codes that fit
 * (model_complete.c); half of the results are damaged then. */
#include "model_mutator.h"

#include <string.h>

#include "model_parts.h"

/* Change a field of a layer. */
static void change_layer(layer_fields *layer)
{
    matrix_fields *matrix = &layer->matrix[draw_below(2)], drawn;
    layer_fields other;

    draw_matrix(&drawn);
    draw_layer(&other);
    switch (draw_below(12)) {
    case 0:
        layer->kind = other.kind;
        break;
    case 1:
        layer->activation = other.activation;
        break;
    case 2:
        layer->flags = other.flags;
        break;
    case 3:
    case 4:
        layer->units = other.units;
        break;
    case 5:
        matrix->encoding = drawn.encoding;
        break;
    case 6:
        matrix->planes = drawn.planes;
        break;
    case 7:
        matrix->clamp = drawn.clamp;
        break;
    case 8:
        matrix->operand_flags = drawn.operand_flags;
        matrix->operand_shift = drawn.operand_shift;
        break;
    case 9:
        matrix->left_shift = drawn.left_shift;
        break;
    case 10:
        matrix->flags ^= ER_MATRIX_BIAS;
        break;
    default:                            /* its weights and scales are drawn anew */
        memset(matrix->blocks, 0, sizeof matrix->blocks);
        break;
    }
}

/* Put a section in or take it out; the bytes of optional ones are made by `complete`. */
static void change_sections(model_parts *model)
{
    static const char optional[4][5] = { "LABL", "FRNT", "DECO", "META" };
    const uint32_t at = draw_below(model->count + 1);
    part *added;

    switch (draw_below(6)) {
    case 0:
        added = parts_insert(model, at, "LAYR");
        if (added != NULL) {
            draw_layer(&added->layer);
        }
        break;
    case 1:
        if (model->count > 2) {
            parts_remove(model, at % model->count);
        }
        break;
    case 2:
        if (model->count > 0) {
            const part copy = model->parts[at % model->count];

            added = parts_insert(model, at, copy.type);
            if (added != NULL) {
                *added = copy;
            }
        }
        break;
    case 3:
        model->profile = 3 - model->profile;
        break;
    default:
        parts_insert(model, at, optional[draw_below(4)]);
        break;
    }
}

/* Size and checksum of the header, whatever is there. */
static void seal(uint8_t *data, size_t size)
{
    if (size >= 64) {
        put_u32(data + 8, (uint32_t)size);
        put_u32(data + 12, 0);
        put_u32(data + 12, er_crc32(data, size));
    }
}

/* Break something: a section's bytes, which may change its length, a field anywhere, two sections swapped, the end. */
static size_t damage(model_parts *model, uint8_t *data, size_t size, size_t max_size)
{
    static const uint32_t numbers[] = { 0, 1, 2, 16, 63, 64, 65, 127, 128, 255, 8192, 8193, 0x7FFFFFFF, 0x80000000,
                                        0x7F800000, 0x7FC00000, 0xFFFFFFC0, 0xFFFFFFFF };
    size_t written, at;

    switch (draw_below(8)) {
    case 0:
    case 1: {                           /* libFuzzer's own changes of one section */
        part *one = &model->parts[draw_below(model->count)];
        const size_t had = one->bytes.size, most = had + 128;
        uint8_t *bytes = part_resize(one, most);

        if (bytes != NULL) {
            one->bytes.size = LLVMFuzzerMutate(bytes, had, most);
            written = parts_write(model, data, max_size);
            return written == 0 ? size : written;
        }
        break;
    }
    case 2: {                           /* sections in another order, or twice */
        const part swapped = model->parts[draw_below(model->count)];

        model->parts[draw_below(model->count)] = swapped;
        written = parts_write(model, data, max_size);
        return written == 0 ? size : written;
    }
    case 3:                             /* header or table */
        at = 4 * draw_below(16 + 4 * model->count);
        put_u32(data + at, draw_chance(2) ? numbers[draw_below(18)] : er_read_u32(data + at) + (draw_chance(2) ? 64 : 1));
        break;
    case 4:                             /* another length */
        written = draw_chance(2) ? draw_below((uint32_t)size + 1) : size + 64 * (1 + draw_below(3));
        if (written > size && written <= max_size) {
            memset(data + size, 0, written - size);
        }
        return written <= max_size ? written : size;
    default: {                          /* the headers of sections, or any byte */
        const uint32_t index = draw_below(model->count);
        const block bytes = model->parts[index].bytes;
        const size_t begin = er_read_u32(data + 64 + 16 * (size_t)index + 4);
        const uint32_t length = (uint32_t)(draw_chance(2) && bytes.size > 96 ? 96 : bytes.size);

        at = begin + draw_below(length == 0 ? 1 : length);
        if (at + 4 <= size && draw_chance(4)) {
            put_u32(data + at, numbers[draw_below(18)]);
        } else if (at < size) {
            data[at] = (uint8_t)(draw_chance(2) ? draw() : data[at] ^ 1u << draw_below(8));
        }
        break;
    }
    }
    return size;
}

/* Changes, the file, damage. */
static size_t mutate(model_parts *model, uint8_t *data, size_t max_size)
{
    uint32_t changes = 1 + draw_below(4), tries, i;
    size_t size = 0;

    for (; changes > 0; changes--) {
        const uint32_t first = draw_below(model->count + 1);

        if (draw_chance(4)) {
            change_sections(model);
        } else if (draw_chance(8)) {
            model->input_size = draw_size();
        }
        for (i = 0; i < model->count; i++) {        /* the first layer from there on */
            part *one = &model->parts[(first + i) % model->count];

            if (part_order(one) == 1) {
                change_layer(&one->layer);
                break;
            }
        }
    }
    for (tries = 0; tries < 3 && size == 0; tries++) {
        if (parts_complete(model)) {
            size = parts_write(model, data, max_size);
        }
        for (i = 0; size == 0 && i < model->count; i++) {       /* too large */
            model->parts[i].layer.units = 1 + model->parts[i].layer.units / 4;
        }
        model->input_size = size == 0 ? 1 + model->input_size / 4 : model->input_size;
    }
    if (size == 0) {
        return 0;
    }
    if (draw_chance(2)) {
        for (changes = 1 + draw_below(3); changes > 0 && size >= 64 + 16 * (size_t)model->count; changes--) {
            size = damage(model, data, size, max_size);
            seal(data, size);
        }
        if (draw_chance(16) && size > 0) {
            data[draw_below((uint32_t)size)] ^= (uint8_t)(1u << draw_below(8));
        }
    } else {
        seal(data, size);
    }
    return size;
}

static model_parts first, second;

size_t model_mutate(uint8_t *data, size_t size, size_t max_size, uint32_t seed)
{
    const uint8_t *copy;

    parts_begin(seed);
    copy = arena_keep(data, size);
    if (copy == NULL) {
        return size;
    }
    parts_read(copy, size, &first);
    size = mutate(&first, data, max_size);
    return size == 0 ? LLVMFuzzerMutate(data, size, max_size) : size;
}

size_t model_cross(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size, uint8_t *out, size_t max_size,
                   uint32_t seed)
{
    uint32_t i;

    parts_begin(seed);
    a = arena_keep(a, a_size);
    b = a == NULL ? NULL : arena_keep(b, b_size);
    if (b == NULL) {
        return 0;
    }
    parts_read(a, a_size, &first);
    parts_read(b, b_size, &second);
    for (i = 0; i < second.count; i++) {
        if (draw_chance(2)) {
            part *added = parts_insert(&first, draw_below(first.count + 1), second.parts[i].type);

            if (added != NULL) {
                *added = second.parts[i];
            }
        }
    }
    return mutate(&first, out, max_size);
}
