/* SPDX-License-Identifier: MIT
 * The part of the parser that reads layers: exporters/FORMAT.md, section 5. */
#include "format_parser.h"

enum {
    LAYER_BYTES = 32,           /* LAYR before the matrix headers */
    MATRIX_BYTES = 32,
    MAX_SUM = (1 << 30) - 1,    /* of a row, in magnitude */
    MAX_FINE_BIAS = 1 << 26     /* likewise, in profile 2 */
};

static uint32_t gate_count(uint32_t kind)
{
    return kind == ER_LAYER_GRU ? 3 : kind == ER_LAYER_LSTM ? 4 : 1;
}

/* int16 values of state per unit; a cell of profile 2 is two. */
static uint32_t state_values(uint32_t kind, uint32_t profile)
{
    return kind == ER_LAYER_DENSE ? 0 : kind == ER_LAYER_LSTM ? 1 + profile : 1;
}

/* Bytes of the bias of a row. */
static uint32_t bias_bytes(const er_parser *parser)
{
    return parser->model->profile == ER_PROFILE_FINE ? 4 : 2;
}

/* The 32 bytes at the start of a layer. */
static er_status parse_layer_header(er_parser *parser, const er_section *section, er_layer *layer)
{
    const uint8_t *data = section->data;
    const uint64_t at = section->offset;
    uint32_t least = 0;                 /* activations */
    uint32_t most = 0;
    uint32_t flags = ER_LAYER_SHARED_SCALE | ER_LAYER_INITIAL_STATE;
    uint32_t matrices = 2;

    ER_CHECK(er_check_size(parser, section, LAYER_BYTES, 1));
    layer->kind = data[0];
    layer->activation = data[1];
    layer->flags = data[2];
    layer->matrix_count = data[3];
    layer->input_size = er_read_u32(data + 4);
    layer->output_size = er_read_u32(data + 8);
    ER_CHECK(er_check_range(parser, 15, at, ER_LAYER_RNN, ER_LAYER_DENSE, layer->kind));
    switch (layer->kind) {
    case ER_LAYER_RNN:
        least = ER_ACTIVATION_TANH;
        most = ER_ACTIVATION_RELU;
        break;
    case ER_LAYER_GRU:
        flags |= ER_LAYER_RESET_BEFORE;
        break;
    case ER_LAYER_DENSE:
        most = ER_ACTIVATION_SIGMOID;
        flags = 0;
        matrices = 1;
        break;
    default:
        break;
    }
    ER_CHECK(er_check_range(parser, 16, at + 1, least, most, layer->activation));
    if ((layer->flags & ~flags) != 0) {
        return er_parser_fail(parser, 19, at + 2, layer->flags & flags, layer->flags);
    }
    ER_CHECK(er_check_range(parser, 15, at + 3, matrices, matrices, layer->matrix_count));
    ER_CHECK(er_check_range(parser, 17, at + 4, 1, ER_MAX_SIZE, layer->input_size));
    ER_CHECK(er_check_range(parser, 18, at + 4, parser->model->output_size, parser->model->output_size,
                            layer->input_size));
    ER_CHECK(er_check_range(parser, 17, at + 8, 1, ER_MAX_SIZE, layer->output_size));
    ER_CHECK(er_check_zero(parser, 6, at + 12, at + LAYER_BYTES));
    layer->state_size = state_values(layer->kind, parser->model->profile) * layer->output_size;
    return ER_OK;
}

/* The least allowed clamp that is not below the given one, or the greatest. */
static int32_t allowed_clamp(int32_t clamp)
{
    static const int32_t clamps[6] = { 7, 12, 25, 31, 127, 32767 };
    int i = 0;

    while (i < 5 && clamps[i] < clamp) {
        i++;
    }
    return clamps[i];
}

/* One matrix header at the given file offset; index 0 is W or W_x, 1 is W_h. */
static er_status parse_matrix_header(er_parser *parser, const er_layer *layer, uint32_t index,
                                     uint64_t at, er_matrix *matrix)
{
    const uint8_t *data = parser->data + at;
    const uint32_t rows = gate_count(layer->kind) * layer->output_size;
    const uint32_t columns = index == 0 ? layer->input_size : layer->output_size;

    ER_CHECK(er_check_range(parser, 21, at, ER_ENCODING_BINARY, ER_ENCODING_POW2, data[0]));
    ER_CHECK(er_check_range(parser, 22, at + 1, 1, ER_MAX_PLANES, data[1]));
    ER_CHECK(er_check_range(parser, 23, at + 2, 0, ER_OPERAND_THREE_QUARTERS, data[2]));
    ER_CHECK(er_check_range(parser, 23, at + 3, 0, 15, data[3]));
    matrix->clamp = (int32_t)er_read_u16(data + 4);
    if (matrix->clamp != allowed_clamp(matrix->clamp)) {
        return er_parser_fail(parser, 23, at + 4, allowed_clamp(matrix->clamp), matrix->clamp);
    }
    matrix->left_shift = (int8_t)data[6];
    ER_CHECK(er_check_range(parser, 24, at + 6, -24, 15, matrix->left_shift));
    ER_CHECK(er_check_range(parser, 19, at + 7, 0, ER_MATRIX_BIAS, data[7]));
    ER_CHECK(er_check_range(parser, 20, at + 8, rows, rows, er_read_u32(data + 8)));
    ER_CHECK(er_check_range(parser, 20, at + 12, columns, columns, er_read_u32(data + 12)));
    ER_CHECK(er_check_zero(parser, 6, at + 16, at + MATRIX_BYTES));
    matrix->encoding = data[0];
    matrix->plane_count = data[1];
    matrix->three_quarters = data[2];
    matrix->operand_shift = data[3];
    matrix->rows = rows;
    matrix->columns = columns;
    matrix->row_bytes = matrix->encoding == ER_ENCODING_BINARY    ? (columns + 7) / 8
                        : matrix->encoding == ER_ENCODING_TERNARY ? (columns + 4) / 5
                                                                  : (columns + 1) / 2;
    return ER_OK;
}

/* Where in the section a block of the given length lies that follows others up to *end, which is
 * moved behind it. */
static uint64_t take_block(uint64_t *end, uint64_t length)
{
    const uint64_t begin = er_round64(*end);

    *end = begin + length;
    return begin;
}

/* As take_block, in file offsets, checking the padding that is skipped. The section is known to be
 * long enough. */
static er_status enter_block(er_parser *parser, const er_section *section, uint64_t *end,
                             uint64_t length, uint64_t *offset_out)
{
    const uint64_t before = *end;

    *offset_out = section->offset + take_block(end, length);
    return er_check_zero(parser, 12, section->offset + before, *offset_out);
}

/* R25: what a legal weight byte in this place would be that is closest to the one there: equal to
 * it if it is legal. last: columns in the row's last byte, or 0 in any other byte. */
static uint32_t legal_weights(uint32_t encoding, uint32_t byte, uint32_t last)
{
    static const uint8_t ternary_limit[5] = { 242, 2, 8, 26, 80 };  /* 3^last - 1 */

    if (encoding == ER_ENCODING_BINARY) {
        const uint32_t limit = last == 0 ? 255 : (1u << last) - 1;

        return byte > limit ? limit : byte;
    }
    if (encoding == ER_ENCODING_TERNARY) {
        return byte > ternary_limit[last] ? ternary_limit[last] : byte;
    }
    if ((byte & 0x0F) == 0x08) {
        byte &= 0xF0;
    }
    if (last == 1 || (byte & 0xF0) == 0x80) {
        byte &= 0x0F;
    }
    return byte;
}

/* R25 over one plane. */
static er_status check_weights(er_parser *parser, const er_matrix *matrix, uint64_t offset)
{
    static const uint8_t columns_per_byte[4] = { 0, 8, 5, 2 };
    const uint32_t last = matrix->columns % columns_per_byte[matrix->encoding];
    uint32_t row;
    uint32_t i;

    for (row = 0; row < matrix->rows; row++) {
        for (i = 1; i <= matrix->row_bytes; i++, offset++) {
            const uint32_t found = parser->data[offset];
            const uint32_t expected =
                legal_weights(matrix->encoding, found, i == matrix->row_bytes ? last : 0);

            if (expected != found) {
                return er_parser_fail(parser, 25, offset, expected, found);
            }
        }
    }
    return ER_OK;
}

/* R26 over the row scales of all planes. */
static er_status check_scales(er_parser *parser, const er_matrix *matrix, uint64_t offset)
{
    const uint64_t end = offset + (uint64_t)matrix->plane_count * matrix->rows * 2;
    uint32_t first = 0x80;              /* what the term before this one allows */

    for (; offset < end; offset++) {
        const uint32_t found = parser->data[offset];
        const uint32_t expected = (found & first) != 0 ? found & 0xCFu : 0;

        if (expected != found) {
            return er_parser_fail(parser, 26, offset, expected, found);
        }
        first = offset % 2 == 0 ? found & 0x80u : 0x80u;    /* blocks begin at even offsets */
    }
    return ER_OK;
}

/* Magnitude sum of a row of a plane, at most 2^19. */
static uint32_t row_sum(const er_matrix *matrix, uint32_t plane, uint32_t row)
{
    static const uint8_t pow2_magnitude[8] = { 0, 1, 2, 4, 8, 16, 32, 64 };
    const uint8_t *bytes = matrix->weights[plane] + (size_t)row * matrix->row_bytes;
    uint32_t sum = 0;
    uint32_t i;

    if (matrix->encoding == ER_ENCODING_BINARY) {
        return matrix->columns;
    }
    for (i = 0; i < matrix->row_bytes; i++) {
        uint32_t byte = bytes[i];

        if (matrix->encoding == ER_ENCODING_POW2) {
            sum += (uint32_t)pow2_magnitude[byte & 7] + pow2_magnitude[(byte >> 4) & 7];
        } else {
            for (; byte != 0; byte /= 3) {
                sum += byte % 3 != 0;
            }
        }
    }
    return sum;
}

/* R27 for single rows. Other encodings than pow2 cannot break it: 8192 * 32767 < 2^30. */
static er_status check_sums(er_parser *parser, const er_matrix *matrix)
{
    uint32_t plane;
    uint32_t row;

    if (matrix->encoding != ER_ENCODING_POW2) {
        return ER_OK;
    }
    for (plane = 0; plane < matrix->plane_count; plane++) {
        for (row = 0; row < matrix->rows; row++) {
            const int64_t sum = (int64_t)matrix->clamp * row_sum(matrix, plane, row);

            if (sum > MAX_SUM) {
                const uint8_t *at = matrix->weights[plane] + (size_t)row * matrix->row_bytes;

                return er_parser_fail(parser, 27, (uint64_t)(at - parser->data), MAX_SUM, sum);
            }
        }
    }
    return ER_OK;
}

/* What SHARED_SCALE asks of the shared rows: equal scales (R19), bounded common sums (R27). */
static er_status check_shared_rows(er_parser *parser, const er_layer *layer)
{
    const er_matrix *x = &layer->matrix[0];
    const er_matrix *h = &layer->matrix[1];
    const uint32_t rows =
        layer->kind == ER_LAYER_GRU ? 2 * layer->output_size : h->rows;
    uint32_t i;

    for (i = 0; i < 2 * rows; i++) {
        if (x->scales[i] != h->scales[i]) {
            return er_parser_fail(parser, 19, (uint64_t)(h->scales + i - parser->data), x->scales[i],
                                  h->scales[i]);
        }
    }
    if (x->encoding != ER_ENCODING_POW2 && h->encoding != ER_ENCODING_POW2) {
        return ER_OK;                   /* at most 2 * 8192 * 32767 */
    }
    for (i = 0; i < rows; i++) {
        const int64_t sum =
            (int64_t)x->clamp * row_sum(x, 0, i) + (int64_t)h->clamp * row_sum(h, 0, i);

        if (sum > MAX_SUM) {
            const uint8_t *at = h->weights[0] + (size_t)i * h->row_bytes;

            return er_parser_fail(parser, 27, (uint64_t)(at - parser->data), MAX_SUM, sum);
        }
    }
    return ER_OK;
}

/* R33 over the biases of a matrix. */
static er_status check_biases(er_parser *parser, const er_matrix *matrix, uint64_t offset)
{
    uint32_t row;

    if (parser->model->profile != ER_PROFILE_FINE) {
        return ER_OK;
    }
    for (row = 0; row < matrix->rows; row++, offset += 4) {
        ER_CHECK(er_check_range(parser, 33, offset, -MAX_FINE_BIAS, MAX_FINE_BIAS, er_read_i32(parser->data + offset)));
    }
    return ER_OK;
}

/* Length of a layer section as its headers say. At most 2 * 8 planes of 2^27 bytes and little else. */
static uint64_t layer_size(const er_parser *parser, const er_section *section, const er_layer *layer)
{
    uint64_t end = LAYER_BYTES + MATRIX_BYTES * (uint64_t)layer->matrix_count;
    uint32_t i;
    uint32_t plane;

    for (i = 0; i < layer->matrix_count; i++) {
        const er_matrix *matrix = &layer->matrix[i];

        for (plane = 0; plane < matrix->plane_count; plane++) {
            take_block(&end, (uint64_t)matrix->rows * matrix->row_bytes);
        }
        take_block(&end, (uint64_t)matrix->plane_count * matrix->rows * 2);
        if ((section->data[LAYER_BYTES + MATRIX_BYTES * i + 7] & ER_MATRIX_BIAS) != 0) {
            take_block(&end, (uint64_t)matrix->rows * bias_bytes(parser));
        }
    }
    if ((layer->flags & ER_LAYER_INITIAL_STATE) != 0) {
        take_block(&end, (uint64_t)layer->state_size * 2);
    }
    return end;
}

/* The blocks of a layer whose length has been checked. */
static er_status parse_layer_blocks(er_parser *parser, const er_section *section, er_layer *layer)
{
    uint64_t end = LAYER_BYTES + MATRIX_BYTES * (uint64_t)layer->matrix_count;
    uint64_t offset;
    uint32_t i;
    uint32_t plane;

    for (i = 0; i < layer->matrix_count; i++) {
        er_matrix *matrix = &layer->matrix[i];

        for (plane = 0; plane < matrix->plane_count; plane++) {
            ER_CHECK(enter_block(parser, section, &end, (uint64_t)matrix->rows * matrix->row_bytes,
                                 &offset));
            ER_CHECK(check_weights(parser, matrix, offset));
            matrix->weights[plane] = parser->data + offset;
        }
        ER_CHECK(enter_block(parser, section, &end, (uint64_t)matrix->plane_count * matrix->rows * 2,
                             &offset));
        ER_CHECK(check_scales(parser, matrix, offset));
        matrix->scales = parser->data + offset;
        if ((section->data[LAYER_BYTES + MATRIX_BYTES * i + 7] & ER_MATRIX_BIAS) != 0) {
            ER_CHECK(enter_block(parser, section, &end, (uint64_t)matrix->rows * bias_bytes(parser), &offset));
            ER_CHECK(check_biases(parser, matrix, offset));
            matrix->bias = parser->data + offset;
        }
    }
    if ((layer->flags & ER_LAYER_INITIAL_STATE) != 0) {
        ER_CHECK(enter_block(parser, section, &end, (uint64_t)layer->state_size * 2, &offset));
        layer->initial_state = parser->data + offset;
    }
    return ER_OK;
}

/* One layer: its headers, its length, its blocks, and what joins them. */
er_status er_parse_layer(er_parser *parser, const er_section *section)
{
    struct er_model *model = parser->model;
    er_layer *layer = &model->layers[model->layer_count];
    uint32_t i;

    ER_CHECK(parse_layer_header(parser, section, layer));
    ER_CHECK(er_check_size(parser, section,
                           LAYER_BYTES + MATRIX_BYTES * (uint64_t)layer->matrix_count, 1));
    for (i = 0; i < layer->matrix_count; i++) {
        ER_CHECK(parse_matrix_header(parser, layer, i,
                                     section->offset + LAYER_BYTES + MATRIX_BYTES * (uint64_t)i,
                                     &layer->matrix[i]));
    }
    if ((layer->flags & ER_LAYER_SHARED_SCALE) != 0 &&
        (layer->matrix[0].plane_count != 1 || layer->matrix[1].plane_count != 1 ||
         layer->matrix[0].left_shift != layer->matrix[1].left_shift)) {
        return er_parser_fail(parser, 19, section->offset + 2,
                              layer->flags & ~(uint32_t)ER_LAYER_SHARED_SCALE, layer->flags);
    }
    ER_CHECK(er_check_size(parser, section, layer_size(parser, section, layer), 0));
    ER_CHECK(parse_layer_blocks(parser, section, layer));
    for (i = 0; i < layer->matrix_count; i++) {
        ER_CHECK(check_sums(parser, &layer->matrix[i]));
    }
    if ((layer->flags & ER_LAYER_SHARED_SCALE) != 0) {
        ER_CHECK(check_shared_rows(parser, layer));
    }
    model->layer_count++;
    model->state_size += layer->state_size;
    model->output_size = layer->output_size;
    if (model->max_size < layer->output_size) {
        model->max_size = layer->output_size;
    }
    if (model->max_rows < layer->matrix[0].rows) {
        model->max_rows = layer->matrix[0].rows;
    }
    return ER_OK;
}
