/* SPDX-License-Identifier: MIT
 *
 * A file is taken apart into sections, and its layers into fields and blocks, whatever of them is there; fields are
 * changed; then all is written anew with blocks of the length that the fields ask for: what was there is kept, what is
 * missing is drawn. */
#include "model_mutator.h"

#include <string.h>

#include "fine_table.h"
#include "activation_table.h"
#include "fuzz.h"
#include "model.h"

enum {
    MOST_PARTS = 40,
    ARENA_BYTES = 1 << 21,
    LAYER_BYTES = 32,
    MATRIX_BYTES = 32,
    FRONTEND_BYTES = 180,
    BLOCKS = ER_MAX_PLANES + 2,     /* of a matrix: planes, scales, bias */
    MOST_UNITS = 400
};

typedef struct block {
    const uint8_t *data;
    size_t size;
} block;

typedef struct matrix_fields {
    uint32_t encoding, planes, operand_flags, operand_shift, clamp, left_shift, flags;
    block blocks[BLOCKS];
} matrix_fields;

typedef struct layer_fields {
    uint32_t kind, activation, flags, units;
    matrix_fields matrix[2];
    block initial;
} layer_fields;

/* A section that is not a layer keeps its bytes. */
typedef struct part {
    char type[5];
    layer_fields layer;
    block bytes;
} part;

typedef struct model_parts {
    uint32_t profile, input_size, count;
    part parts[MOST_PARTS];
} model_parts;

static uint8_t arena[ARENA_BYTES];
static size_t arena_used;
static uint32_t random_state;

static uint32_t below(uint32_t limit)
{
    return (uint32_t)(((uint64_t)next_random(&random_state) * limit) >> 32);
}

static int chance(uint32_t one_in)
{
    return below(one_in) == 0;
}

static uint32_t get_u16(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

static void put_u32(uint8_t *p, uint32_t value)
{
    int i;

    for (i = 0; i < 4; i++) {
        p[i] = (uint8_t)(value >> (8 * i));
    }
}

static void put_float(uint8_t *p, float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    put_u32(p, bits);
}

/* Zeros; null when the arena is used up. */
static uint8_t *take_bytes(size_t size)
{
    uint8_t *bytes = arena + arena_used;

    if (size > ARENA_BYTES - arena_used) {
        return NULL;
    }
    arena_used += size;
    memset(bytes, 0, size);
    return bytes;
}

/* ------------------------------------------------------------------------------- taking apart */

static uint32_t gates_of(uint32_t kind)
{
    return kind == ER_LAYER_GRU ? 3 : kind == ER_LAYER_LSTM ? 4 : 1;
}

static uint32_t row_bytes_of(uint32_t encoding, uint32_t columns)
{
    return encoding == ER_ENCODING_BINARY ? (columns + 7) / 8
           : encoding == ER_ENCODING_POW2 ? (columns + 1) / 2
                                          : (columns + 4) / 5;
}

/* Length of each block that the fields of a matrix ask for; 0: it is not there. */
static void block_sizes(const matrix_fields *matrix, uint32_t profile, uint32_t rows, uint32_t columns,
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

static size_t initial_size(const layer_fields *layer, uint32_t profile)
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
static void read_file(const uint8_t *data, size_t size, model_parts *model)
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

/* ------------------------------------------------------------------------------------ changes */

static uint32_t any_size(void)
{
    static const uint16_t sizes[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 16, 17, 31, 32, 33, 39, 40, 63, 64, 65, 96,
                                      127, 128, 129, 200 };
    const uint32_t count = sizeof sizes / sizeof *sizes;

    return sizes[below(chance(3) ? count : 14)];
}

static void draw_matrix(matrix_fields *matrix)
{
    static const uint16_t clamps[6] = { 7, 12, 25, 31, 127, 32767 };

    memset(matrix, 0, sizeof *matrix);
    matrix->encoding = 1 + below(3);
    matrix->planes = chance(3) ? 1 + below(ER_MAX_PLANES) : 1;
    matrix->operand_flags = (uint32_t)chance(4);
    matrix->operand_shift = below(16);
    matrix->clamp = clamps[below(6)];
    matrix->left_shift = (uint8_t)((int)below(40) - 24);
    matrix->flags = below(2);
}

static void draw_layer(layer_fields *layer)
{
    memset(layer, 0, sizeof *layer);
    layer->kind = 1 + below(4);
    layer->activation = below(4);
    layer->flags = below(8);
    layer->units = any_size();
    draw_matrix(&layer->matrix[0]);
    draw_matrix(&layer->matrix[1]);
}

/* Make room for a section at an index. */
static part *insert_part(model_parts *model, uint32_t at, const char *type)
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

static void remove_part(model_parts *model, uint32_t at)
{
    model->count--;
    memmove(&model->parts[at], &model->parts[at + 1], (model->count - at) * sizeof model->parts[0]);
}

/* Index of the first section of a type, or -1. */
static int find_part(const model_parts *model, const char *type)
{
    uint32_t i;

    for (i = 0; i < model->count; i++) {
        if (memcmp(model->parts[i].type, type, 4) == 0) {
            return (int)i;
        }
    }
    return -1;
}

/* Change a field of a layer. */
static void change_layer(layer_fields *layer)
{
    matrix_fields *matrix = &layer->matrix[below(2)], drawn;
    layer_fields other;

    draw_matrix(&drawn);
    draw_layer(&other);
    switch (below(12)) {
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
    const uint32_t at = below(model->count + 1);
    part *added;

    switch (below(6)) {
    case 0:
        added = insert_part(model, at, "LAYR");
        if (added != NULL) {
            draw_layer(&added->layer);
        }
        break;
    case 1:
        if (model->count > 2) {
            remove_part(model, at % model->count);
        }
        break;
    case 2:
        if (model->count > 0) {
            const part copy = model->parts[at % model->count];

            added = insert_part(model, at, copy.type);
            if (added != NULL) {
                *added = copy;
            }
        }
        break;
    case 3:
        model->profile = 3 - model->profile;
        break;
    default:
        insert_part(model, at, optional[below(4)]);
        break;
    }
}

/* --------------------------------------------------------------- making it fit: other sections */

static int order_of(const part *one)
{
    static const char types[6][5] = { "INPT", "LAYR", "LABL", "FRNT", "DECO", "META" };
    int i = 0;

    while (i < 6 && memcmp(types[i], one->type, 4) != 0) {
        i++;
    }
    return i;
}

/* R8, R9, R17: known sections in their order, none but layers twice, the two that are never missing. */
static void order_parts(model_parts *model)
{
    uint32_t i, k, layers = 0;

    for (i = 1; i < model->count; i++) {
        for (k = i; k > 0 && order_of(&model->parts[k - 1]) > order_of(&model->parts[k]); k--) {
            const part swapped = model->parts[k];

            model->parts[k] = model->parts[k - 1];
            model->parts[k - 1] = swapped;
        }
    }
    for (i = 0; i < model->count;) {
        const int order = order_of(&model->parts[i]);

        layers += order == 1;
        if (order == 6 || layers > ER_MAX_LAYERS ||
            (order != 1 && i > 0 && order == order_of(&model->parts[i - 1]))) {
            layers -= order == 1;
            remove_part(model, i);
        } else {
            i++;
        }
    }
    if (find_part(model, "INPT") < 0) {
        insert_part(model, 0, "INPT");
    }
    if (layers == 0) {
        draw_layer(&insert_part(model, 1, "LAYR")->layer);
    }
    if (find_part(model, "DECO") >= 0 && (find_part(model, "LABL") < 0 || find_part(model, "FRNT") < 0)) {
        remove_part(model, (uint32_t)find_part(model, "DECO"));
    }
}

/* A copy of a section's bytes in the arena, of a length, filled up with zeros. */
static uint8_t *resize(part *one, size_t size)
{
    uint8_t *bytes = take_bytes(size);

    if (bytes != NULL && one->bytes.size > 0) {
        memcpy(bytes, one->bytes.data, one->bytes.size < size ? one->bytes.size : size);
    }
    one->bytes.data = bytes;
    one->bytes.size = bytes == NULL ? 0 : size;
    return bytes;
}

/* The parameters of a front end, of which R29 takes most; returns its features. */
static uint32_t complete_frontend(part *one)
{
    static const uint16_t presets[6][4] = {         /* window, hop, FFT size, filters */
        { 410, 160, 512, 40 }, { 64, 16, 64, 8 }, { 128, 100, 128, 10 }, { 256, 256, 256, 20 },
        { 1024, 300, 1024, 60 }, { 2048, 2048, 2048, 80 },
    };
    const int is_new = one->bytes.size != FRONTEND_BYTES;
    uint8_t *data = resize(one, FRONTEND_BYTES);
    uint32_t i;

    if (data == NULL) {
        return 1;
    }
    if (is_new || chance(8)) {
        const uint16_t *preset = presets[below(6)];

        put_u32(data, ER_SAMPLE_RATE);
        for (i = 0; i < 4; i++) {
            put_u32(data + 4 + 4 * i, preset[i]);
        }
        put_u32(data + 20, 1 + below(chance(2) ? 4 : preset[3] < 32 ? preset[3] : 32));
        put_u32(data + 24, below(3));
        put_u32(data + 28, 1 + below(4));
        put_u32(data + 32, below(2));
        put_float(data + 36, 0.97f);
        put_float(data + 40, 100.0f * (float)below(3));
        put_float(data + 44, 8000.0f - 500.0f * (float)below(3));
        put_float(data + 48, 1e-4f);
        memset(data + 52, 0, 128);
    }
    return er_read_u32(data + 20) * (1 + er_read_u32(data + 24)) * er_read_u32(data + 28);
}

static void complete_labels(part *one, uint32_t outputs)
{
    uint8_t *data;
    size_t used = 4;
    uint32_t i;

    if (one->bytes.size >= 4 && er_read_u32(one->bytes.data) == outputs) {
        return;
    }
    one->bytes.size = 0;
    data = resize(one, 4 + 8 * (size_t)outputs);
    if (data == NULL) {
        return;
    }
    put_u32(data, outputs);
    for (i = 0; i < outputs; i++) {
        used += (size_t)snprintf((char *)data + used, 8, "a%u", (unsigned)i) + 1;
    }
    one->bytes.size = used;
}

static void complete_decoder(part *one, uint32_t outputs)
{
    const int is_new = one->bytes.size < 16;
    uint8_t *data = resize(one, 16 + 4 * (size_t)outputs);
    uint32_t i;

    if (data == NULL) {
        return;
    }
    if (is_new || chance(8)) {
        data[0] = (uint8_t)below(outputs < 256 ? outputs : 256);
        data[1] = 0;
        data[2] = data[3] = 0xFF;
        put_float(data + 4, 0.125f * (float)below(9));
        data[8] = (uint8_t)below(256);
        data[9] = 0;
        for (i = 0; i < 2 * outputs; i++) {
            data[16 + 2 * i] = (uint8_t)below(256);
            data[17 + 2 * i] = (uint8_t)below(chance(3) ? 256 : 2);
        }
    }
    put_u32(data + 12, outputs);
}

static void complete_metadata(part *one)
{
    static const char text[] = "name\0fuzz\0a\0\0b\0\303\251";

    if (one->bytes.size < 4) {
        uint8_t *data;

        one->bytes.size = 0;
        data = resize(one, 4 + sizeof text);
        if (data != NULL) {
            put_u32(data, 3);
            memcpy(data + 4, text, sizeof text);
        }
    }
}

static void complete_input(const model_parts *model, part *one)
{
    const size_t had = one->bytes.size;
    uint8_t *data = resize(one, 16 + 8 * (size_t)model->input_size);
    uint32_t i;

    if (data == NULL) {
        return;
    }
    put_u32(data, model->input_size);
    put_u32(data + 4, model->profile);
    put_u32(data + 8, model->profile == ER_PROFILE_FINE ? ER_FINE_TABLE_CRC : ER_ACTIVATION_TABLE_CRC);
    put_u32(data + 12, 0);
    for (i = 0; i < 2 * model->input_size; i++) {
        if (had < 20 + 4 * (size_t)i || chance(64)) {
            put_float(data + 16 + 4 * (size_t)i, 0.25f * (float)((int)below(200) - 100));
        }
    }
}

/* --------------------------------------------------------------------- making it fit: layers */

/* The fields that depend on others: R16, R19, R27. */
static void legalize_fields(layer_fields *layer, uint32_t input_size)
{
    uint32_t i;

    if (layer->kind == ER_LAYER_RNN) {
        layer->activation = 1 + layer->activation % 2;
    } else if (layer->kind != ER_LAYER_DENSE) {
        layer->activation = 0;
    }
    if (layer->kind != ER_LAYER_GRU) {
        layer->flags &= ~(uint32_t)ER_LAYER_RESET_BEFORE;
    }
    if (layer->kind == ER_LAYER_DENSE) {
        layer->flags = 0;
    }
    if ((layer->flags & ER_LAYER_SHARED_SCALE) != 0) {
        layer->matrix[0].planes = layer->matrix[1].planes = 1;
        layer->matrix[1].left_shift = layer->matrix[0].left_shift;
    }
    for (i = 0; i < 2; i++) {
        matrix_fields *matrix = &layer->matrix[i];
        const int32_t shift = (int8_t)matrix->left_shift;

        if (shift < -24 || shift > 15) {
            matrix->left_shift = (uint8_t)((int)below(40) - 24);
        }
        if (matrix->clamp != 7 && matrix->clamp != 12 && matrix->clamp != 25 && matrix->clamp != 31 &&
            matrix->clamp != 127 && matrix->clamp != 32767) {
            matrix->clamp = 31;
        }
        if (matrix->encoding == ER_ENCODING_POW2 && matrix->clamp == 32767 && input_size + layer->units > 500) {
            matrix->clamp = 127;
        }
    }
}

/* R25: any byte becomes one of the encoding; last: columns in the row's last byte. */
static uint8_t legal_byte(uint32_t encoding, uint32_t byte, uint32_t last)
{
    static const uint16_t ternary[5] = { 243, 3, 9, 27, 81 };

    if (encoding == ER_ENCODING_BINARY) {
        return (uint8_t)(last == 0 ? byte : byte & ((1u << last) - 1));
    }
    if (encoding == ER_ENCODING_TERNARY) {
        return (uint8_t)(byte % ternary[last]);
    }
    byte = (byte & 0x0F) == 8 ? byte & 0xF0 : byte;
    return (uint8_t)(last == 1 || (byte & 0xF0) == 0x80 ? byte & 0x0F : byte);
}

/* A block of a length: what was there, and more drawn at random or all alike. */
static uint8_t *fill_block(uint8_t *out, block had, size_t size)
{
    const int alike = chance(4);
    const uint8_t value = (uint8_t)below(256);
    size_t i;

    for (i = 0; i < size; i++) {
        out[i] = i < had.size ? had.data[i] : alike ? value : (uint8_t)next_random(&random_state);
    }
    return out;
}

/* R25, R26, R33 in the blocks of a matrix, which are of the right length. */
static void legalize_block(const matrix_fields *matrix, uint32_t index, uint32_t profile, uint32_t columns,
                           uint8_t *data, size_t size)
{
    static const uint8_t per_byte[4] = { 1, 8, 5, 2 };
    const uint32_t row_bytes = row_bytes_of(matrix->encoding, columns);
    size_t i;

    if (index < ER_MAX_PLANES) {
        for (i = 0; i < size; i++) {
            data[i] = legal_byte(matrix->encoding, data[i],
                                 (i + 1) % row_bytes == 0 ? columns % per_byte[matrix->encoding] : 0);
        }
    } else if (index == ER_MAX_PLANES) {
        for (i = 0; i < size; i += 2) {
            data[i] = (data[i] & 0x80) != 0 ? data[i] & 0xCF : 0;
            data[i + 1] = (data[i] & data[i + 1] & 0x80) != 0 ? data[i + 1] & 0xCF : 0;
        }
    } else if (profile == ER_PROFILE_FINE) {
        for (i = 0; i < size; i += 4) {
            data[i + 3] = (uint8_t)((data[i + 3] & 0x80) != 0 ? data[i + 3] | 0xFC : data[i + 3] & 0x03);
        }
    }
}

/* Write a layer's section. Returns null if the arena is too small. */
static const uint8_t *write_layer(const layer_fields *layer, uint32_t profile, uint32_t input_size, size_t *size_out)
{
    const uint32_t matrices = layer->kind == ER_LAYER_DENSE ? 1 : 2, rows = gates_of(layer->kind) * layer->units;
    const uint32_t shared = layer->kind == ER_LAYER_GRU ? 2 * layer->units : rows;
    size_t size = LAYER_BYTES + MATRIX_BYTES * matrices;
    uint8_t *data = take_bytes(size);
    const uint8_t *x_scales = NULL;
    uint32_t i, k;

    if (data == NULL) {
        return NULL;
    }
    data[0] = (uint8_t)layer->kind;
    data[1] = (uint8_t)layer->activation;
    data[2] = (uint8_t)layer->flags;
    data[3] = (uint8_t)matrices;
    put_u32(data + 4, input_size);
    put_u32(data + 8, layer->units);
    for (i = 0; i < matrices; i++) {
        const matrix_fields *matrix = &layer->matrix[i];
        const uint32_t columns = i == 0 ? input_size : layer->units;
        uint8_t *header = data + LAYER_BYTES + MATRIX_BYTES * i;
        size_t sizes[BLOCKS];

        header[0] = (uint8_t)matrix->encoding;
        header[1] = (uint8_t)matrix->planes;
        header[2] = (uint8_t)matrix->operand_flags;
        header[3] = (uint8_t)matrix->operand_shift;
        header[4] = (uint8_t)matrix->clamp;
        header[5] = (uint8_t)(matrix->clamp >> 8);
        header[6] = (uint8_t)matrix->left_shift;
        header[7] = (uint8_t)matrix->flags;
        put_u32(header + 8, rows);
        put_u32(header + 12, columns);
        block_sizes(matrix, profile, rows, columns, sizes);
        for (k = 0; k < BLOCKS; k++) {
            const size_t begin = (size + 63) & ~(size_t)63;
            uint8_t *out;

            if (sizes[k] == 0) {
                continue;
            }
            out = take_bytes(begin - size + sizes[k]);
            if (out == NULL) {
                return NULL;
            }
            out = fill_block(data + begin, matrix->blocks[k], sizes[k]);
            legalize_block(matrix, k, profile, columns, out, sizes[k]);
            if (k == ER_MAX_PLANES && i == 0) {
                x_scales = out;
            } else if (k == ER_MAX_PLANES && (layer->flags & ER_LAYER_SHARED_SCALE) != 0) {
                memcpy(out, x_scales, 2 * (size_t)shared);
            }
            size = begin + sizes[k];
        }
    }
    if (initial_size(layer, profile) > 0) {
        const size_t begin = (size + 63) & ~(size_t)63;

        if (take_bytes(begin - size + initial_size(layer, profile)) == NULL) {
            return NULL;
        }
        fill_block(data + begin, layer->initial, initial_size(layer, profile));
        size = begin + initial_size(layer, profile);
    }
    *size_out = size;
    return data;
}

/* All sections of a legal model, in the arena. Returns 0 if it is too small. */
static int complete(model_parts *model)
{
    uint32_t i, size;
    int at;

    order_parts(model);
    at = find_part(model, "FRNT");
    if (at >= 0) {
        model->input_size = complete_frontend(&model->parts[at]);
        model->input_size = model->input_size == 0 || model->input_size > MOST_UNITS ? 1 : model->input_size;
    }
    complete_input(model, &model->parts[0]);
    size = model->input_size;
    for (i = 1; i < model->count; i++) {
        part *one = &model->parts[i];

        switch (order_of(one)) {
        case 1:
            legalize_fields(&one->layer, size);
            one->bytes.data = write_layer(&one->layer, model->profile, size, &one->bytes.size);
            size = one->layer.units;
            break;
        case 2:
            complete_labels(one, size);
            break;
        case 4:
            complete_decoder(one, size);
            break;
        case 5:
            complete_metadata(one);
            break;
        default:
            break;
        }
        if (one->bytes.data == NULL) {
            return 0;
        }
    }
    return model->parts[0].bytes.data != NULL;
}

/* ------------------------------------------------------------------------------ putting together */

/* Header, table and sections. Returns the size, 0 if there is not enough room. */
static size_t write_file(const model_parts *model, uint8_t *out, size_t max_size)
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

    switch (below(8)) {
    case 0:
    case 1: {                           /* libFuzzer's own changes of one section */
        part *one = &model->parts[below(model->count)];
        const size_t had = one->bytes.size, most = had + 128;
        uint8_t *bytes = resize(one, most);

        if (bytes != NULL) {
            one->bytes.size = LLVMFuzzerMutate(bytes, had, most);
            written = write_file(model, data, max_size);
            return written == 0 ? size : written;
        }
        break;
    }
    case 2: {                           /* sections in another order, or twice */
        const part swapped = model->parts[below(model->count)];

        model->parts[below(model->count)] = swapped;
        written = write_file(model, data, max_size);
        return written == 0 ? size : written;
    }
    case 3:                             /* header or table */
        at = 4 * below(16 + 4 * model->count);
        put_u32(data + at, chance(2) ? numbers[below(18)] : er_read_u32(data + at) + (chance(2) ? 64 : 1));
        break;
    case 4:                             /* another length */
        written = chance(2) ? below((uint32_t)size + 1) : size + 64 * (1 + below(3));
        if (written > size && written <= max_size) {
            memset(data + size, 0, written - size);
        }
        return written <= max_size ? written : size;
    default: {                          /* the headers of sections, or any byte */
        const uint32_t index = below(model->count);
        const block bytes = model->parts[index].bytes;
        const size_t begin = er_read_u32(data + 64 + 16 * (size_t)index + 4);
        const uint32_t length = (uint32_t)(chance(2) && bytes.size > 96 ? 96 : bytes.size);

        at = begin + below(length == 0 ? 1 : length);
        if (at + 4 <= size && chance(4)) {
            put_u32(data + at, numbers[below(18)]);
        } else if (at < size) {
            data[at] = (uint8_t)(chance(2) ? next_random(&random_state) : data[at] ^ 1u << below(8));
        }
        break;
    }
    }
    return size;
}

/* Changes, the file, damage. */
static size_t mutate(model_parts *model, uint8_t *data, size_t max_size)
{
    uint32_t changes = 1 + below(4), tries, i;
    size_t size = 0;

    for (; changes > 0; changes--) {
        const uint32_t first = below(model->count + 1);

        if (chance(4)) {
            change_sections(model);
        } else if (chance(8)) {
            model->input_size = any_size();
        }
        for (i = 0; i < model->count; i++) {        /* the first layer from there on */
            part *one = &model->parts[(first + i) % model->count];

            if (order_of(one) == 1) {
                change_layer(&one->layer);
                break;
            }
        }
    }
    for (tries = 0; tries < 3 && size == 0; tries++) {
        if (complete(model)) {
            size = write_file(model, data, max_size);
        }
        for (i = 0; size == 0 && i < model->count; i++) {       /* too large */
            model->parts[i].layer.units = 1 + model->parts[i].layer.units / 4;
        }
        model->input_size = size == 0 ? 1 + model->input_size / 4 : model->input_size;
    }
    if (size == 0) {
        return 0;
    }
    if (chance(2)) {
        for (changes = 1 + below(3); changes > 0 && size >= 64 + 16 * (size_t)model->count; changes--) {
            size = damage(model, data, size, max_size);
            seal(data, size);
        }
        if (chance(16) && size > 0) {
            data[below((uint32_t)size)] ^= (uint8_t)(1u << below(8));
        }
    } else {
        seal(data, size);
    }
    return size;
}

static model_parts first, second;

/* The file is read from a copy: it is written over the original. */
static const uint8_t *keep(const uint8_t *data, size_t size)
{
    uint8_t *copy = take_bytes(size);

    return copy == NULL ? NULL : memcpy(copy, data, size);
}

size_t model_mutate(uint8_t *data, size_t size, size_t max_size, uint32_t seed)
{
    const uint8_t *copy;

    random_state = seed * 2654435761u | 1u;
    arena_used = 0;
    copy = keep(data, size);
    if (copy == NULL) {
        return size;
    }
    read_file(copy, size, &first);
    size = mutate(&first, data, max_size);
    return size == 0 ? LLVMFuzzerMutate(data, size, max_size) : size;
}

size_t model_cross(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size, uint8_t *out, size_t max_size,
                   uint32_t seed)
{
    uint32_t i;

    random_state = seed * 2654435761u | 1u;
    arena_used = 0;
    a = keep(a, a_size);
    b = a == NULL ? NULL : keep(b, b_size);
    if (b == NULL) {
        return 0;
    }
    read_file(a, a_size, &first);
    read_file(b, b_size, &second);
    for (i = 0; i < second.count; i++) {
        if (chance(2)) {
            part *added = insert_part(&first, below(first.count + 1), second.parts[i].type);

            if (added != NULL) {
                *added = second.parts[i];
            }
        }
    }
    return mutate(&first, out, max_size);
}
