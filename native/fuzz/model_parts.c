/* SPDX-License-Identifier: MIT */
#include "model_parts.h"

#include <string.h>

enum { ARENA_BYTES = 1 << 21 };

static uint8_t arena[ARENA_BYTES];
static size_t arena_used;
static uint32_t random_state = 1;

void parts_begin(uint32_t seed)
{
    arena_used = 0;
    random_state = seed * 2654435761u | 1u;
}

uint32_t draw(void)
{
    return next_random(&random_state);
}

uint32_t draw_below(uint32_t limit)
{
    return (uint32_t)(((uint64_t)draw() * limit) >> 32);
}

int draw_chance(uint32_t one_in)
{
    return draw_below(one_in) == 0;
}

uint32_t draw_size(void)
{
    static const uint16_t sizes[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 16, 17, 31, 32, 33, 39, 40, 63, 64, 65, 96,
                                      127, 128, 129, 200 };
    const uint32_t count = sizeof sizes / sizeof *sizes;

    return sizes[draw_below(draw_chance(3) ? count : 14)];
}

void draw_matrix(matrix_fields *matrix)
{
    static const uint16_t clamps[6] = { 7, 12, 25, 31, 127, 32767 };

    memset(matrix, 0, sizeof *matrix);
    matrix->encoding = 1 + draw_below(3);
    matrix->planes = draw_chance(3) ? 1 + draw_below(ER_MAX_PLANES) : 1;
    matrix->operand_flags = (uint32_t)draw_chance(4);
    matrix->operand_shift = draw_below(16);
    matrix->clamp = clamps[draw_below(6)];
    matrix->left_shift = (uint8_t)((int)draw_below(40) - 24);
    matrix->flags = draw_below(2);
}

void draw_layer(layer_fields *layer)
{
    memset(layer, 0, sizeof *layer);
    layer->kind = 1 + draw_below(4);
    layer->activation = draw_below(4);
    layer->flags = draw_below(8);
    layer->units = draw_size();
    draw_matrix(&layer->matrix[0]);
    draw_matrix(&layer->matrix[1]);
}

static uint32_t get_u16(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

void put_u32(uint8_t *p, uint32_t value)
{
    int i;

    for (i = 0; i < 4; i++) {
        p[i] = (uint8_t)(value >> (8 * i));
    }
}

void put_float(uint8_t *p, float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    put_u32(p, bits);
}

/* Zeros; null when the arena is used up. */
uint8_t *arena_take(size_t size)
{
    uint8_t *bytes = arena + arena_used;

    if (size > ARENA_BYTES - arena_used) {
        return NULL;
    }
    arena_used += size;
    memset(bytes, 0, size);
    return bytes;
}

/* The file is read from a copy: it is written over the original. */
const uint8_t *arena_keep(const uint8_t *data, size_t size)
{
    uint8_t *copy = arena_take(size);

    return copy == NULL ? NULL : memcpy(copy, data, size);
}

uint32_t gates_of(uint32_t kind)
{
    return kind == ER_LAYER_GRU ? 3 : kind == ER_LAYER_LSTM ? 4 : 1;
}

uint32_t row_bytes_of(uint32_t encoding, uint32_t columns)
{
    return encoding == ER_ENCODING_BINARY ? (columns + 7) / 8
           : encoding == ER_ENCODING_POW2 ? (columns + 1) / 2
                                          : (columns + 4) / 5;
}

/* Length of each block that the fields of a matrix ask for; 0: it is not there. */
void block_sizes(const matrix_fields *matrix, uint32_t profile, uint32_t rows, uint32_t columns,
                        size_t sizes_out[BLOCKS])
{
    uint32_t i;

    memset(sizes_out, 0, BLOCKS * sizeof *sizes_out);
    for (i = 0; i < matrix->planes; i++) {
        sizes_out[i] = (size_t)rows * row_bytes_of(matrix->encoding, columns);
    }
    sizes_out[ER_MAX_PLANES] = 2 * (size_t)rows * matrix->planes;
    sizes_out[ER_MAX_PLANES + 1] =
        (matrix->flags & ER_MATRIX_BIAS) != 0 ? (size_t)rows * (profile == ER_PROFILE_FINE ? 4 : 2) : 0;
}

size_t initial_size(const layer_fields *layer, uint32_t profile)
{
    const uint32_t values = layer->kind == ER_LAYER_LSTM ? 1 + profile : 1;

    return (layer->flags & ER_LAYER_INITIAL_STATE) != 0 ? 2 * (size_t)values * layer->units : 0;
}

/* What is there of the next block of a section. */
static block next_block(block section, size_t *end, size_t size)
{
    block found = { NULL, 0 };
    const size_t begin = (*end + 63) & ~(size_t)63;

    if (size > 0) {
        if (begin < section.size) {
            found.data = section.data + begin;
            found.size = section.size - begin < size ? section.size - begin : size;
        }
        *end = begin + size;
    }
    return found;
}

/* Fields out of range become legal. */
static void read_layer(block section, uint32_t profile, uint32_t input_size, layer_fields *layer)
{
    static const uint8_t zeros[LAYER_BYTES + 2 * MATRIX_BYTES];
    const uint8_t *data = section.size >= sizeof zeros ? section.data : zeros;
    size_t end, sizes[BLOCKS];
    uint32_t i, k;

    memset(layer, 0, sizeof *layer);
    layer->kind = 1 + (data[0] - 1u) % 4;
    layer->activation = data[1] % 4;
    layer->flags = data[2] & 7;
    layer->units = er_read_u32(data + 8);
    layer->units = layer->units == 0 || layer->units > MOST_UNITS ? 1 : layer->units;
    end = LAYER_BYTES + MATRIX_BYTES * (layer->kind == ER_LAYER_DENSE ? 1u : 2u);
    for (i = 0; i < 2; i++) {
        matrix_fields *matrix = &layer->matrix[i];
        const uint8_t *header = data + LAYER_BYTES + MATRIX_BYTES * i;

        matrix->encoding = 1 + (header[0] - 1u) % 3;
        matrix->planes = 1 + (header[1] - 1u) % ER_MAX_PLANES;
        matrix->operand_flags = header[2] & 1;
        matrix->operand_shift = header[3] & 15;
        matrix->clamp = get_u16(header + 4);
        matrix->left_shift = header[6];
        matrix->flags = header[7] & 1;
        block_sizes(matrix, profile, gates_of(layer->kind) * layer->units, i == 0 ? input_size : layer->units, sizes);
        for (k = 0; k < BLOCKS && (i == 0 || layer->kind != ER_LAYER_DENSE); k++) {
            matrix->blocks[k] = next_block(section, &end, sizes[k]);
        }
    }
    layer->initial = next_block(section, &end, initial_size(layer, profile));
}

/* Of a file whose table cannot be followed nothing is left. */
void parts_read(const uint8_t *data, size_t size, model_parts *model)
{
    uint32_t count = size < 80 ? 0 : er_read_u32(data + 16), i, input_size;

    memset(model, 0, sizeof *model);
    model->profile = ER_PROFILE_TRAINED;
    model->input_size = input_size = 4;
    for (i = 0; i < count && i < MOST_PARTS && 80 + 16 * (size_t)i <= size; i++) {
        const uint8_t *entry = data + 64 + 16 * (size_t)i;
        const size_t offset = er_read_u32(entry + 4), length = er_read_u32(entry + 8);
        part *next = &model->parts[model->count];

        if (offset >= size) {
            continue;
        }
        memcpy(next->type, entry, 4);
        next->bytes.data = data + offset;
        next->bytes.size = length < size - offset ? length : size - offset;
        if (memcmp(next->type, "INPT", 4) == 0 && next->bytes.size >= 8) {
            model->input_size = 1 + (er_read_u32(next->bytes.data) - 1) % MOST_UNITS;
            model->profile = 1 + (er_read_u32(next->bytes.data + 4) - 1) % 2;
            input_size = model->input_size;
        }
        if (memcmp(next->type, "LAYR", 4) == 0) {
            read_layer(next->bytes, model->profile, input_size, &next->layer);
            input_size = next->layer.units;
        }
        model->count++;
    }
}

/* Header, table and sections. Returns the size, 0 if there is not enough room. */
size_t parts_write(const model_parts *model, uint8_t *out, size_t max_size)
{
    size_t end = 64 + 16 * (size_t)model->count;
    uint32_t i;

    if (end > max_size) {
        return 0;
    }
    memset(out, 0, end);
    memcpy(out, "ERNN\1\0\0", 8);
    put_u32(out + 16, model->count);
    for (i = 0; i < model->count; i++) {
        const block bytes = model->parts[i].bytes;
        const size_t begin = (end + 63) & ~(size_t)63, padded = (begin + bytes.size + 63) & ~(size_t)63;
        uint8_t *entry = out + 64 + 16 * (size_t)i;

        if (padded > max_size) {
            return 0;
        }
        memset(out + end, 0, padded - end);
        memcpy(entry, model->parts[i].type, 4);
        put_u32(entry + 4, (uint32_t)begin);
        put_u32(entry + 8, (uint32_t)bytes.size);
        memcpy(out + begin, bytes.data, bytes.size);
        end = begin + bytes.size;
    }
    return (end + 63) & ~(size_t)63;
}

/* Make room for a section at an index. */
part *parts_insert(model_parts *model, uint32_t at, const char *type)
{
    part *added = &model->parts[at];

    if (model->count == MOST_PARTS) {
        return NULL;
    }
    memmove(added + 1, added, (model->count - at) * sizeof *added);
    memset(added, 0, sizeof *added);
    memcpy(added->type, type, 4);
    model->count++;
    return added;
}

void parts_remove(model_parts *model, uint32_t at)
{
    model->count--;
    memmove(&model->parts[at], &model->parts[at + 1], (model->count - at) * sizeof model->parts[0]);
}

/* Index of the first section of a type, or -1. */
int parts_find(const model_parts *model, const char *type)
{
    uint32_t i;

    for (i = 0; i < model->count; i++) {
        if (memcmp(model->parts[i].type, type, 4) == 0) {
            return (int)i;
        }
    }
    return -1;
}

int part_order(const part *one)
{
    static const char types[6][5] = { "INPT", "LAYR", "LABL", "FRNT", "DECO", "META" };
    int i = 0;

    while (i < 6 && memcmp(types[i], one->type, 4) != 0) {
        i++;
    }
    return i;
}

/* A copy of a section's bytes in the arena, of a length, filled up with zeros. */
uint8_t *part_resize(part *one, size_t size)
{
    uint8_t *bytes = arena_take(size);

    if (bytes != NULL && one->bytes.size > 0) {
        memcpy(bytes, one->bytes.data, one->bytes.size < size ? one->bytes.size : size);
    }
    one->bytes.data = bytes;
    one->bytes.size = bytes == NULL ? 0 : size;
    return bytes;
}
