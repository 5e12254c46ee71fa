/* SPDX-License-Identifier: MIT
 *
 * What makes parts of a model file a legal one: fields that depend on others, lengths, codes. What was there is kept, what
 * is missing is drawn. */
#include <string.h>

#include "activation_table.h"
#include "fine_table.h"
#include "model_parts.h"

enum { FRONTEND_BYTES = 180 };

/* R8, R9, R17: known sections in their order, none but layers twice, the two that are never missing. */
static void order_parts(model_parts *model)
{
    uint32_t i, k, layers = 0;

    for (i = 1; i < model->count; i++) {
        for (k = i; k > 0 && part_order(&model->parts[k - 1]) > part_order(&model->parts[k]); k--) {
            const part swapped = model->parts[k];

            model->parts[k] = model->parts[k - 1];
            model->parts[k - 1] = swapped;
        }
    }
    for (i = 0; i < model->count;) {
        const int order = part_order(&model->parts[i]);

        layers += order == 1;
        if (order == 6 || layers > ER_MAX_LAYERS ||
            (order != 1 && i > 0 && order == part_order(&model->parts[i - 1]))) {
            layers -= order == 1;
            parts_remove(model, i);
        } else {
            i++;
        }
    }
    if (parts_find(model, "INPT") < 0) {
        parts_insert(model, 0, "INPT");
    }
    if (layers == 0) {
        draw_layer(&parts_insert(model, 1, "LAYR")->layer);
    }
    if (parts_find(model, "DECO") >= 0 && (parts_find(model, "LABL") < 0 || parts_find(model, "FRNT") < 0)) {
        parts_remove(model, (uint32_t)parts_find(model, "DECO"));
    }
}

/* The parameters of a front end, of which R29 takes most; returns its features. */
static uint32_t complete_frontend(part *one)
{
    static const uint16_t presets[6][4] = {         /* window, hop, FFT size, filters */
        { 410, 160, 512, 40 }, { 64, 16, 64, 8 }, { 128, 100, 128, 10 }, { 256, 256, 256, 20 },
        { 1024, 300, 1024, 60 }, { 2048, 2048, 2048, 80 },
    };
    const int is_new = one->bytes.size != FRONTEND_BYTES;
    uint8_t *data = part_resize(one, FRONTEND_BYTES);
    uint32_t i;

    if (data == NULL) {
        return 1;
    }
    if (is_new || draw_chance(8)) {
        const uint16_t *preset = presets[draw_below(6)];

        put_u32(data, ER_SAMPLE_RATE);
        for (i = 0; i < 4; i++) {
            put_u32(data + 4 + 4 * i, preset[i]);
        }
        put_u32(data + 20, 1 + draw_below(draw_chance(2) ? 4 : preset[3] < 32 ? preset[3] : 32));
        put_u32(data + 24, draw_below(3));
        put_u32(data + 28, 1 + draw_below(4));
        put_u32(data + 32, draw_below(2));
        put_float(data + 36, 0.97f);
        put_float(data + 40, 100.0f * (float)draw_below(3));
        put_float(data + 44, 8000.0f - 500.0f * (float)draw_below(3));
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
    data = part_resize(one, 4 + 8 * (size_t)outputs);
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
    uint8_t *data = part_resize(one, 16 + 4 * (size_t)outputs);
    uint32_t i;

    if (data == NULL) {
        return;
    }
    if (is_new || draw_chance(8)) {
        data[0] = (uint8_t)draw_below(outputs < 256 ? outputs : 256);
        data[1] = 0;
        data[2] = data[3] = 0xFF;
        put_float(data + 4, 0.125f * (float)draw_below(9));
        data[8] = (uint8_t)draw_below(256);
        data[9] = 0;
        for (i = 0; i < 2 * outputs; i++) {
            data[16 + 2 * i] = (uint8_t)draw_below(256);
            data[17 + 2 * i] = (uint8_t)draw_below(draw_chance(3) ? 256 : 2);
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
        data = part_resize(one, 4 + sizeof text);
        if (data != NULL) {
            put_u32(data, 3);
            memcpy(data + 4, text, sizeof text);
        }
    }
}

static void complete_input(const model_parts *model, part *one)
{
    const size_t had = one->bytes.size;
    uint8_t *data = part_resize(one, 16 + 8 * (size_t)model->input_size);
    uint32_t i;

    if (data == NULL) {
        return;
    }
    put_u32(data, model->input_size);
    put_u32(data + 4, model->profile);
    put_u32(data + 8, model->profile == ER_PROFILE_FINE ? ER_FINE_TABLE_CRC : ER_ACTIVATION_TABLE_CRC);
    put_u32(data + 12, 0);
    for (i = 0; i < 2 * model->input_size; i++) {
        if (had < 20 + 4 * (size_t)i || draw_chance(64)) {
            put_float(data + 16 + 4 * (size_t)i, 0.25f * (float)((int)draw_below(200) - 100));
        }
    }
}

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
            matrix->left_shift = (uint8_t)((int)draw_below(40) - 24);
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
    const int alike = draw_chance(4);
    const uint8_t value = (uint8_t)draw_below(256);
    size_t i;

    for (i = 0; i < size; i++) {
        out[i] = i < had.size ? had.data[i] : alike ? value : (uint8_t)draw();
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
    uint8_t *data = arena_take(size);
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
            out = arena_take(begin - size + sizes[k]);
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

        if (arena_take(begin - size + initial_size(layer, profile)) == NULL) {
            return NULL;
        }
        fill_block(data + begin, layer->initial, initial_size(layer, profile));
        size = begin + initial_size(layer, profile);
    }
    *size_out = size;
    return data;
}

/* All sections of a legal model, in the arena. Returns 0 if it is too small. */
int parts_complete(model_parts *model)
{
    uint32_t i, size;
    int at;

    order_parts(model);
    at = parts_find(model, "FRNT");
    if (at >= 0) {
        model->input_size = complete_frontend(&model->parts[at]);
        model->input_size = model->input_size == 0 || model->input_size > MOST_UNITS ? 1 : model->input_size;
    }
    complete_input(model, &model->parts[0]);
    size = model->input_size;
    for (i = 1; i < model->count; i++) {
        part *one = &model->parts[i];

        switch (part_order(one)) {
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
