/* SPDX-License-Identifier: MIT
 * The parser of the packed model format, exporters/FORMAT.md: with format_layer.c the only code of
 * the library that reads a file before it is known to be sound.
 *
 * Rules (R1 ..) are checked in the order of FORMAT.md section 9.1: fields in file order, then the
 * length of the section, then its blocks, then what joins several fields. Sizes and positions are
 * 64-bit, and every product below is of factors that were checked first. */
#include <string.h>

#include "activation_table.h"
#include "fine_table.h"
#include "format_parser.h"
#include "frontend.h"
#include "status.h"
#include "utf8.h"

enum {
    HEADER_BYTES = 64,
    ENTRY_BYTES = 16,
    INPUT_BYTES = 16,           /* INPT before the scales */
    FRONTEND_BYTES = 180,
    DECODER_BYTES = 16,         /* DECO before the biases */
    NO_UNKNOWN = 0xFFFF
};

/* Sections in the order in which they stand in a file. */
enum { INPT, LAYR, LABL, FRNT, DECO, META, TYPE_COUNT };

static const char type_names[TYPE_COUNT][5] = { "INPT", "LAYR", "LABL", "FRNT", "DECO", "META" };

/* Status of each rule, FORMAT.md section 9. */
static const int8_t rule_status[34] = {
    0,
    ER_ERROR_TRUNCATED,         /* R1 */
    ER_ERROR_MAGIC,
    ER_ERROR_VERSION,
    ER_ERROR_FILE_SIZE,
    ER_ERROR_CHECKSUM,          /* R5 */
    ER_ERROR_RESERVED,
    ER_ERROR_SECTION_COUNT,
    ER_ERROR_SECTION_TYPE,
    ER_ERROR_SECTION_ORDER,
    ER_ERROR_SECTION_BOUNDS,    /* R10 */
    ER_ERROR_SECTION_SIZE,
    ER_ERROR_PADDING,
    ER_ERROR_INPUT,
    ER_ERROR_NUMERICS,
    ER_ERROR_LAYER_KIND,        /* R15 */
    ER_ERROR_ACTIVATION,
    ER_ERROR_LAYER_SIZE,
    ER_ERROR_LAYER_CHAIN,
    ER_ERROR_LAYER_FLAGS,
    ER_ERROR_MATRIX_SHAPE,      /* R20 */
    ER_ERROR_ENCODING,
    ER_ERROR_PLANES,
    ER_ERROR_OPERAND,
    ER_ERROR_LEFT_SHIFT,
    ER_ERROR_WEIGHT_CODE,       /* R25 */
    ER_ERROR_ROW_SCALE,
    ER_ERROR_ACCUMULATOR,
    ER_ERROR_LABELS,
    ER_ERROR_FRONTEND,
    ER_ERROR_FRONTEND_SIZE,     /* R30 */
    ER_ERROR_DECODER,
    ER_ERROR_METADATA,
    ER_ERROR_BIAS
};

/* ---------------------------------------------------------------------------------- elements */

/* Note what was found where; returns the status of the rule. */
er_status er_parser_fail(er_parser *parser, uint32_t rule, uint64_t offset, int64_t expected,
                         int64_t found)
{
    parser->error.status = rule_status[rule];
    parser->error.rule = rule;
    parser->error.offset = offset;
    parser->error.expected = expected;
    parser->error.found = found;
    return (er_status)rule_status[rule];
}

/* A number that must lie in [low, high]; expected is the bound it misses. */
er_status er_check_range(er_parser *parser, uint32_t rule, uint64_t offset, int64_t low,
                         int64_t high, int64_t found)
{
    if (found < low) {
        return er_parser_fail(parser, rule, offset, low, found);
    }
    if (found > high) {
        return er_parser_fail(parser, rule, offset, high, found);
    }
    return ER_OK;
}

/* Bytes [begin, end) of the file must be zero; names the first that is not. */
er_status er_check_zero(er_parser *parser, uint32_t rule, uint64_t begin, uint64_t end)
{
    for (; begin < end; begin++) {
        if (parser->data[begin] != 0) {
            return er_parser_fail(parser, rule, begin, 0, parser->data[begin]);
        }
    }
    return ER_OK;
}

/* A binary32 number in [low, high]. Not-a-number fails, as no comparison with it holds. Expected
 * and found are the bits. */
er_status er_check_float(er_parser *parser, uint32_t rule, uint64_t offset, float low,
                         float high)
{
    const uint8_t *field = parser->data + offset;
    const float value = er_read_f32(field);
    const float bound = value < low ? low : high;
    uint32_t bits;

    if (value >= low && value <= high) {
        return ER_OK;
    }
    memcpy(&bits, &bound, sizeof bits);
    return er_parser_fail(parser, rule, offset, bits, er_read_u32(field));
}

/* R11: the section has exactly, or with at_least set no fewer than, `wanted` bytes. The size field
 * in the table is what is wrong. */
er_status er_check_size(er_parser *parser, const er_section *section, uint64_t wanted,
                        int at_least)
{
    if (section->size == wanted || (at_least && section->size > wanted)) {
        return ER_OK;
    }
    return er_parser_fail(parser, 11, section->entry + 8, (int64_t)wanted, (int64_t)section->size);
}

/* A section type's four letters as the number that the table holds. */
static uint32_t type_code(uint32_t type)
{
    return er_read_u32((const uint8_t *)type_names[type]);
}

static er_section read_section(const er_parser *parser, uint32_t index)
{
    er_section section;

    section.entry = HEADER_BYTES + ENTRY_BYTES * (uint64_t)index;
    section.offset = er_read_u32(parser->data + section.entry + 4);
    section.size = er_read_u32(parser->data + section.entry + 8);
    section.data = parser->data + section.offset;
    return section;
}

/* -------------------------------------------------------------------- header, section table */

/* The magic first, as soon as there are four bytes, so that any other kind of file is told apart from a damaged
 * model. The size field must be legal before it is compared with the size that is there. */
static er_status check_length(er_parser *parser)
{
    const uint8_t *data = parser->data;
    const int64_t size = (int64_t)parser->size;
    const uint32_t magic = 0x4E4E5245;
    uint32_t stated;

    if (size >= 4 && er_read_u32(data) != magic) {
        return er_parser_fail(parser, 2, 0, magic, er_read_u32(data));
    }
    if (size < HEADER_BYTES) {
        return er_parser_fail(parser, 1, parser->size, HEADER_BYTES, size);
    }
    ER_CHECK(er_check_range(parser, 3, 4, 1, 1, er_read_u16(data + 4)));
    ER_CHECK(er_check_range(parser, 3, 6, 0, 0, er_read_u16(data + 6)));
    stated = er_read_u32(data + 8);
    ER_CHECK(er_check_range(parser, 4, 8, HEADER_BYTES, ER_MAX_FILE_BYTES, stated));
    if (stated % 64 != 0) {
        return er_parser_fail(parser, 4, 8, (int64_t)er_round64(stated), stated);
    }
    if (size < (int64_t)stated) {
        return er_parser_fail(parser, 1, parser->size, stated, size);
    }
    if (size > (int64_t)stated) {
        return er_parser_fail(parser, 4, stated, stated, size);
    }
    return ER_OK;
}

/* Everything before the section table. The checksum is taken once the length is right. */
static er_status parse_header(er_parser *parser)
{
    static const uint8_t zeros[4] = { 0, 0, 0, 0 };
    const uint8_t *data = parser->data;
    const int64_t size = (int64_t)parser->size;
    uint32_t crc;
    uint32_t count;

    ER_CHECK(check_length(parser));
    crc = er_crc32_update(0, data, 12);
    crc = er_crc32_update(crc, zeros, 4);
    crc = er_crc32_update(crc, data + 16, (size_t)(parser->size - 16));
    if (crc != er_read_u32(data + 12)) {
        return er_parser_fail(parser, 5, 12, crc, er_read_u32(data + 12));
    }
    count = er_read_u32(data + 16);
    ER_CHECK(er_check_range(parser, 7, 16, 1, ER_MAX_SECTIONS, count));
    ER_CHECK(er_check_range(parser, 10, 16, 1, (size - HEADER_BYTES) / ENTRY_BYTES, count));
    return er_check_zero(parser, 6, 20, HEADER_BYTES);
}

/* The type of an entry must be known and may come now: later in the order than the one before, or
 * a further layer. Sets *type_out. seen: number of sections of each type so far. */
static er_status check_type(er_parser *parser, uint64_t entry, int previous,
                            const uint32_t *seen, int *type_out)
{
    const uint32_t code = er_read_u32(parser->data + entry);
    int type = 0;

    while (type < TYPE_COUNT && type_code((uint32_t)type) != code) {
        type++;
    }
    if (type == TYPE_COUNT) {
        return er_parser_fail(parser, 8, entry, 0, code);
    }
    if (previous < 0 && type != INPT) {
        return er_parser_fail(parser, 9, entry, type_code(INPT), code);
    }
    if (type <= previous && !(type == LAYR && previous == LAYR)) {
        const int next = previous < META ? previous + 1 : META;

        return er_parser_fail(parser, 9, entry, type_code((uint32_t)next), code);
    }
    if (type == LAYR && seen[LAYR] == ER_MAX_LAYERS) {
        return er_parser_fail(parser, 17, entry, ER_MAX_LAYERS, ER_MAX_LAYERS + 1);
    }
    if (type > LAYR && seen[LAYR] == 0) {
        return er_parser_fail(parser, 17, entry, 1, 0);
    }
    if (type == DECO && seen[LABL] == 0) {
        return er_parser_fail(parser, 9, entry, type_code(LABL), code);
    }
    if (type == DECO && seen[FRNT] == 0) {
        return er_parser_fail(parser, 9, entry, type_code(FRNT), code);
    }
    *type_out = type;
    return ER_OK;
}

/* The section table: types and their order, no holes, no overlap, all inside the file. */
static er_status parse_table(er_parser *parser)
{
    const uint32_t count = er_read_u32(parser->data + 16);
    const uint64_t table_end = HEADER_BYTES + ENTRY_BYTES * (uint64_t)count;
    uint32_t seen[TYPE_COUNT] = { 0 };
    uint64_t end = table_end;
    uint64_t entry = 0;
    int type = -1;
    uint32_t i;

    for (i = 0; i < count; i++) {
        uint64_t offset;
        uint64_t size;

        entry = HEADER_BYTES + ENTRY_BYTES * (uint64_t)i;
        ER_CHECK(check_type(parser, entry, type, seen, &type));
        seen[type]++;
        offset = er_read_u32(parser->data + entry + 4);
        size = er_read_u32(parser->data + entry + 8);
        if (offset != er_round64(end)) {
            return er_parser_fail(parser, 10, entry + 4, (int64_t)er_round64(end), (int64_t)offset);
        }
        ER_CHECK(er_check_range(parser, 10, entry + 8, 1,
                                offset < parser->size ? (int64_t)(parser->size - offset) : 0,
                                (int64_t)size));
        ER_CHECK(er_check_zero(parser, 6, entry + 12, entry + ENTRY_BYTES));
        end = offset + size;
    }
    if (seen[LAYR] == 0) {
        return er_parser_fail(parser, 17, 16, 1, 0);
    }
    if (er_round64(end) != parser->size) {
        return er_parser_fail(parser, 10, entry + 8, (int64_t)parser->size, (int64_t)er_round64(end));
    }
    return er_check_zero(parser, 12, table_end, er_round64(table_end));
}

/* -------------------------------------------------------------------------------------- INPT */

static er_status parse_input(er_parser *parser, const er_section *section)
{
    struct er_model *model = parser->model;
    const uint64_t at = section->offset;
    const float bound = 16777216.0f;
    uint64_t i;
    uint32_t n, table_crc;

    ER_CHECK(er_check_size(parser, section, INPUT_BYTES, 1));
    n = er_read_u32(section->data);
    ER_CHECK(er_check_range(parser, 17, at, 1, ER_MAX_SIZE, n));
    model->profile = er_read_u32(section->data + 4);
    ER_CHECK(er_check_range(parser, 14, at + 4, ER_PROFILE_TRAINED, ER_PROFILE_FINE, model->profile));
    table_crc = model->profile == ER_PROFILE_FINE ? ER_FINE_TABLE_CRC : ER_ACTIVATION_TABLE_CRC;
    ER_CHECK(er_check_range(parser, 14, at + 8, table_crc, table_crc, er_read_u32(section->data + 8)));
    ER_CHECK(er_check_zero(parser, 6, at + 12, at + 16));
    ER_CHECK(er_check_size(parser, section, INPUT_BYTES + 8 * (uint64_t)n, 0));
    for (i = 0; i < 2 * (uint64_t)n; i++) {
        ER_CHECK(er_check_float(parser, 13, at + INPUT_BYTES + 4 * i, -bound, bound));
    }
    model->input_size = n;
    model->output_size = n;             /* of what comes before the first layer */
    model->max_size = n;
    model->input_scale = section->data + INPUT_BYTES;
    model->input_offset = section->data + INPUT_BYTES + 4 * (size_t)n;
    return ER_OK;
}

/* ------------------------------------------------------------------------------- LABL, META */

/* A string at *position of the section, which is moved behind its zero byte. `rule` says that it is
 * UTF-8 and, with `limit` not 0, 1 to `limit` bytes long. */
static er_status take_string(er_parser *parser, const er_section *section, uint32_t rule,
                             uint32_t limit, uint64_t *position)
{
    const uint64_t at = section->offset + *position;
    const uint8_t *text = section->data + *position;
    const uint64_t left = section->size - *position;
    const uint8_t *end = left == 0 ? NULL : memchr(text, 0, (size_t)left);
    int64_t length;

    if (end == NULL) {
        return er_check_size(parser, section, section->size + 1, 1);
    }
    length = end - text;
    if (limit != 0) {
        ER_CHECK(er_check_range(parser, rule, at, 1, limit, length));
    }
    if (!er_utf8_valid(text, (size_t)length)) {
        return er_parser_fail(parser, rule, at, 0, text[0]);
    }
    *position += (uint64_t)length + 1;
    return ER_OK;
}

/* The string at `position` must differ from the `count` ones from `first` on, of each of which
 * `stride` - 1 others are to be skipped. All are known to end. Lengths are bounded (255), so the
 * quadratic cost is too. */
static er_status check_distinct(er_parser *parser, const er_section *section, uint32_t rule,
                                uint64_t first, uint32_t count, uint32_t stride,
                                uint64_t position)
{
    const char *text = (const char *)section->data + position;
    const char *other = (const char *)section->data + first;
    uint32_t i;
    uint32_t skip;

    for (i = 0; i < count; i++) {
        if (strcmp(text, other) == 0) {
            return er_parser_fail(parser, rule, section->offset + position, 0, i);
        }
        for (skip = 0; skip < stride; skip++) {
            other += strlen(other) + 1;
        }
    }
    return ER_OK;
}

static er_status parse_labels(er_parser *parser, const er_section *section)
{
    struct er_model *model = parser->model;
    uint64_t position = 4;
    uint32_t count;
    uint32_t i;

    ER_CHECK(er_check_size(parser, section, 4, 1));
    count = er_read_u32(section->data);
    ER_CHECK(er_check_range(parser, 28, section->offset, model->output_size, model->output_size, count));
    for (i = 0; i < count; i++) {
        const uint64_t begin = position;

        ER_CHECK(take_string(parser, section, 28, ER_MAX_STRING_BYTES, &position));
        ER_CHECK(check_distinct(parser, section, 28, 4, i, 1, begin));
    }
    ER_CHECK(er_check_size(parser, section, position, 0));
    model->label_count = count;
    model->labels = (const char *)section->data + 4;
    return ER_OK;
}

static er_status parse_metadata(er_parser *parser, const er_section *section)
{
    struct er_model *model = parser->model;
    uint64_t position = 4;
    uint32_t count;
    uint32_t i;

    ER_CHECK(er_check_size(parser, section, 4, 1));
    ER_CHECK(er_check_range(parser, 32, section->entry + 8, 4, ER_MAX_METADATA_BYTES, (int64_t)section->size));
    count = er_read_u32(section->data);
    ER_CHECK(er_check_range(parser, 32, section->offset, 1, ER_MAX_METADATA, count));
    for (i = 0; i < count; i++) {
        const uint64_t begin = position;

        ER_CHECK(take_string(parser, section, 32, ER_MAX_STRING_BYTES, &position));
        ER_CHECK(check_distinct(parser, section, 32, 4, i, 2, begin));
        ER_CHECK(take_string(parser, section, 32, 0, &position));
    }
    ER_CHECK(er_check_size(parser, section, position, 0));
    model->metadata_count = count;
    model->metadata = (const char *)section->data + 4;
    return ER_OK;
}

/* ------------------------------------------------------------------------------- FRNT, DECO */

/* The whole-number fields of the front end, in file order. */
static er_status parse_frontend_sizes(er_parser *parser, const er_section *section,
                                      er_frontend_config *config)
{
    const uint64_t at = section->offset;
    const uint8_t *data = section->data;
    uint32_t fft_size = er_read_u32(data + 12);
    uint32_t power = 64;

    config->window_samples = er_read_u32(data + 4);
    config->hop_samples = er_read_u32(data + 8);
    config->fft_size = fft_size;
    config->filter_count = er_read_u32(data + 16);
    config->cepstrum_count = er_read_u32(data + 20);
    config->delta_order = er_read_u32(data + 24);
    config->stack = er_read_u32(data + 28);
    config->subtract_mean = er_read_u32(data + 32);
    ER_CHECK(er_check_range(parser, 29, at, ER_SAMPLE_RATE, ER_SAMPLE_RATE, er_read_u32(data)));
    ER_CHECK(er_check_range(parser, 29, at + 4, 32, fft_size, config->window_samples));
    ER_CHECK(er_check_range(parser, 29, at + 8, 16, config->window_samples, config->hop_samples));
    while (power < 2048 && power < fft_size) {
        power *= 2;
    }
    ER_CHECK(er_check_range(parser, 29, at + 12, power, power, fft_size));
    ER_CHECK(er_check_range(parser, 29, at + 16, 8, 80, config->filter_count));
    ER_CHECK(er_check_range(parser, 29, at + 20, 1,
                            config->filter_count < ER_MAX_CEPSTRA ? config->filter_count : ER_MAX_CEPSTRA,
                            config->cepstrum_count));
    ER_CHECK(er_check_range(parser, 29, at + 24, 0, 2, config->delta_order));
    ER_CHECK(er_check_range(parser, 29, at + 28, 1, 4, config->stack));
    return er_check_range(parser, 29, at + 32, 0, 1, config->subtract_mean);
}

/* Besides the ranges: the corners of the mel filters must be different FFT bins, which the front
 * end itself knows, and the features must fit the network. */
static er_status parse_frontend(er_parser *parser, const er_section *section)
{
    struct er_model *model = parser->model;
    er_frontend_config *config = &model->frontend;
    const uint64_t at = section->offset;
    const uint8_t *data = section->data;
    uint32_t features;
    uint32_t i;

    ER_CHECK(er_check_size(parser, section, FRONTEND_BYTES, 0));
    ER_CHECK(parse_frontend_sizes(parser, section, config));
    config->preemphasis = er_read_f32(data + 36);
    config->low_hz = er_read_f32(data + 40);
    config->high_hz = er_read_f32(data + 44);
    config->log_floor = er_read_f32(data + 48);
    ER_CHECK(er_check_float(parser, 29, at + 36, 0.0f, 1.0f));
    ER_CHECK(er_check_float(parser, 29, at + 40, 0.0f, 8000.0f));
    ER_CHECK(er_check_float(parser, 29, at + 44, 0.0f, 8000.0f));
    if (!(config->low_hz < config->high_hz)) {
        return er_parser_fail(parser, 29, at + 44, er_read_u32(data + 40), er_read_u32(data + 44));
    }
    ER_CHECK(er_check_float(parser, 29, at + 48, 1e-10f, 1e10f));
    for (i = 0; i < ER_MAX_CEPSTRA; i++) {
        const uint64_t field = at + 52 + 4 * (uint64_t)i;

        if (i < config->cepstrum_count) {
            ER_CHECK(er_check_float(parser, 29, field, -1e6f, 1e6f));
        } else {
            ER_CHECK(er_check_range(parser, 29, field, 0, 0, er_read_u32(data + 52 + 4 * i)));
        }
        config->mean[i] = er_read_f32(data + 52 + 4 * i);
    }
    if (er_frontend_config_check(config) != ER_OK) {
        return er_parser_fail(parser, 29, at + 16, 0, config->filter_count);
    }
    features = config->cepstrum_count * (1 + config->delta_order) * config->stack;
    ER_CHECK(er_check_range(parser, 30, at + 20, model->input_size, model->input_size, features));
    model->has_frontend = 1;
    return ER_OK;
}

static er_status parse_decoder(er_parser *parser, const er_section *section)
{
    struct er_model *model = parser->model;
    er_decoder_config *config = &model->decoder;
    const uint32_t outputs = model->output_size;
    const uint64_t at = section->offset;
    const uint8_t *data = section->data;

    ER_CHECK(er_check_size(parser, section, DECODER_BYTES, 1));
    config->blank = er_read_u16(data);
    config->unknown = er_read_u16(data + 2);
    config->threshold = er_read_f32(data + 4);
    config->delay_ms = er_read_i16(data + 8);
    ER_CHECK(er_check_range(parser, 31, at, 0, (int64_t)outputs - 1, config->blank));
    if (config->unknown != NO_UNKNOWN &&
        (config->unknown >= outputs || config->unknown == config->blank)) {
        return er_parser_fail(parser, 31, at + 2, NO_UNKNOWN, config->unknown);
    }
    ER_CHECK(er_check_float(parser, 31, at + 4, 0.0f, 1.0f));
    ER_CHECK(er_check_range(parser, 31, at + 8, -2000, 2000, config->delay_ms));
    ER_CHECK(er_check_zero(parser, 6, at + 10, at + 12));
    ER_CHECK(er_check_range(parser, 31, at + 12, outputs, outputs, er_read_u32(data + 12)));
    ER_CHECK(er_check_size(parser, section, DECODER_BYTES + 4 * (uint64_t)outputs, 0));
    config->bias = data + DECODER_BYTES;
    config->length_ms = data + DECODER_BYTES + 2 * (size_t)outputs;
    model->has_decoder = 1;
    return ER_OK;
}

/* -------------------------------------------------------------------------------------- file */

/* All sections, in file order, each with the padding behind it. */
static er_status parse_sections(er_parser *parser)
{
    const uint32_t count = er_read_u32(parser->data + 16);
    uint32_t i;

    for (i = 0; i < count; i++) {
        const er_section section = read_section(parser, i);
        const uint32_t code = er_read_u32(parser->data + section.entry);
        const uint64_t end = section.offset + section.size;

        if (code == type_code(INPT)) {
            ER_CHECK(parse_input(parser, &section));
        } else if (code == type_code(LAYR)) {
            ER_CHECK(er_parse_layer(parser, &section));
        } else if (code == type_code(LABL)) {
            ER_CHECK(parse_labels(parser, &section));
        } else if (code == type_code(FRNT)) {
            ER_CHECK(parse_frontend(parser, &section));
        } else if (code == type_code(DECO)) {
            ER_CHECK(parse_decoder(parser, &section));
        } else {
            ER_CHECK(parse_metadata(parser, &section));
        }
        ER_CHECK(er_check_zero(parser, 12, end, er_round64(end)));
    }
    return ER_OK;
}

/* Offsets in messages are int64_t, and no memory is larger. */
static uint64_t bounded_size(size_t size)
{
    uint64_t bytes = size;

    return bytes <= INT64_MAX ? bytes : INT64_MAX;
}

/* The header alone is read, and nothing is filled in. */
er_status er_format_check_length(const uint8_t *data, size_t size, er_error *error)
{
    er_parser parser;
    er_status status;

    memset(&parser, 0, sizeof parser);
    parser.data = data;
    parser.size = bounded_size(size);
    status = check_length(&parser);
    if (status != ER_OK && error != NULL) {
        *error = parser.error;
    }
    return status;
}

/* Sets every field of *model that describes the file, and leaves the others (memory, kernels) zero. */
er_status er_format_parse(const uint8_t *data, size_t size, struct er_model *model, er_error *error)
{
    er_parser parser;
    er_status status;

    memset(&parser, 0, sizeof parser);
    memset(model, 0, sizeof *model);
    parser.data = data;
    parser.size = bounded_size(size);
    parser.model = model;
    status = parse_header(&parser);
    if (status == ER_OK) {
        status = parse_table(&parser);
    }
    if (status == ER_OK) {
        status = parse_sections(&parser);
    }
    if (status == ER_OK) {
        model->file = data;
        model->file_size = size;
    } else if (error != NULL) {
        *error = parser.error;
    }
    return status;
}
