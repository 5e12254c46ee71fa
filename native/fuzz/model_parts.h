/* SPDX-License-Identifier: MIT
 * A model file taken apart into what it says, for model_mutator.c. One file at a time: bytes are in one arena, and random
 * numbers come from one state. */
#ifndef ER_MODEL_PARTS_H
#define ER_MODEL_PARTS_H

#include "fuzz.h"
#include "model.h"

enum {
    MOST_PARTS = 40,
    MOST_UNITS = 400,
    LAYER_BYTES = 32,
    MATRIX_BYTES = 32,
    BLOCKS = ER_MAX_PLANES + 2      /* of a matrix: planes, scales, bias */
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

/* Begin with a file: an empty arena, and random numbers from a seed. */
void parts_begin(uint32_t seed);

uint32_t draw(void);
uint32_t draw_below(uint32_t limit);        /* 0 .. limit - 1 */
int draw_chance(uint32_t one_in);
uint32_t draw_size(void);                   /* of a layer */
void draw_matrix(matrix_fields *matrix);
void draw_layer(layer_fields *layer);

void put_u32(uint8_t *p, uint32_t value);
void put_float(uint8_t *p, float value);

/* Zeros, or a copy, in the arena; null when it is used up. */
uint8_t *arena_take(size_t size);
const uint8_t *arena_keep(const uint8_t *data, size_t size);

uint32_t gates_of(uint32_t kind);
uint32_t row_bytes_of(uint32_t encoding, uint32_t columns);

/* Length of each block that the fields of a matrix ask for; 0: it is not there. */
void block_sizes(const matrix_fields *matrix, uint32_t profile, uint32_t rows, uint32_t columns,
                 size_t sizes_out[BLOCKS]);
size_t initial_size(const layer_fields *layer, uint32_t profile);

/* Take a file apart; of one whose table cannot be followed nothing is left. The parts point into it. */
void parts_read(const uint8_t *data, size_t size, model_parts *model);

/* Header, table and sections, whatever they are. Returns the size, 0 if there is not enough room. */
size_t parts_write(const model_parts *model, uint8_t *out, size_t max_size);

/* Make all sections those of a legal model, of the right length. Returns 0 if the arena is too small. */
int parts_complete(model_parts *model);

/* Make room for a section at an index; null if there is none. */
part *parts_insert(model_parts *model, uint32_t at, const char *type);
void parts_remove(model_parts *model, uint32_t at);
int parts_find(const model_parts *model, const char *type);     /* index of the first, or -1 */

/* Place of a section's type in the order of the format; 6: unknown. */
int part_order(const part *one);

/* A copy of a section's bytes in the arena, of a length, filled up with zeros; null if it is too small. */
uint8_t *part_resize(part *one, size_t size);

#endif
