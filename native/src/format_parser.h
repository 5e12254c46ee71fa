/* SPDX-License-Identifier: MIT
 * What the two parts of the parser share: format.c and, for layers, format_layer.c. */
#ifndef ER_FORMAT_PARSER_H
#define ER_FORMAT_PARSER_H

#include "model.h"

typedef struct er_parser {
    const uint8_t *data;
    uint64_t size;              /* bytes of the file, equal to the header's field once that is checked */
    struct er_model *model;
    er_error error;
} er_parser;

/* A section whose table entry has been checked: it lies inside the file. */
typedef struct er_section {
    const uint8_t *data;
    uint64_t offset;            /* in the file */
    uint64_t size;
    uint64_t entry;             /* offset of its table entry in the file */
} er_section;

/* Leave the calling function with the status of a check that failed. */
#define ER_CHECK(call)              \
    do {                            \
        er_status status_ = (call); \
        if (status_ != ER_OK) {     \
            return status_;         \
        }                           \
    } while (0)

static inline uint64_t er_round64(uint64_t n)
{
    return (n + 63) & ~(uint64_t)63;
}

/* Note what was found where; returns the status of the rule. */
er_status er_parser_fail(er_parser *parser, uint32_t rule, uint64_t offset, int64_t expected,
                         int64_t found);

/* A number that must lie in [low, high]; expected is the bound it misses. */
er_status er_check_range(er_parser *parser, uint32_t rule, uint64_t offset, int64_t low,
                         int64_t high, int64_t found);

/* Bytes [begin, end) of the file must be zero; names the first that is not. */
er_status er_check_zero(er_parser *parser, uint32_t rule, uint64_t begin, uint64_t end);

/* A binary32 number in [low, high]; expected and found are the bits. */
er_status er_check_float(er_parser *parser, uint32_t rule, uint64_t offset, float low, float high);

/* R11: the section has exactly, or with at_least set no fewer than, `wanted` bytes. */
er_status er_check_size(er_parser *parser, const er_section *section, uint64_t wanted, int at_least);

/* One LAYR section, into the model's next layer. */
er_status er_parse_layer(er_parser *parser, const er_section *section);

#endif
