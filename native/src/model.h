/* SPDX-License-Identifier: MIT
 * The parsed model. Written once by format.c, read-only afterwards; nothing here points to memory
 * other than the model's own memory (struct, copied file, plan) or, with ER_MODEL_BORROW, the caller's bytes. */
#ifndef ER_MODEL_H
#define ER_MODEL_H

#include <string.h>

#include "edge_runtime.h"
#include "kernels/kernels.h"
#include "memory.h"

/* Values of exporters/FORMAT.md, section 5. */
enum { ER_LAYER_RNN = 1, ER_LAYER_GRU = 2, ER_LAYER_LSTM = 3, ER_LAYER_DENSE = 4 };
enum { ER_ACTIVATION_NONE = 0, ER_ACTIVATION_TANH = 1, ER_ACTIVATION_RELU = 2, ER_ACTIVATION_SIGMOID = 3 };
enum { ER_LAYER_RESET_BEFORE = 1, ER_LAYER_SHARED_SCALE = 2, ER_LAYER_INITIAL_STATE = 4 };
enum { ER_ENCODING_BINARY = 1, ER_ENCODING_TERNARY = 2, ER_ENCODING_POW2 = 3 };
enum { ER_OPERAND_THREE_QUARTERS = 1 };
enum { ER_MATRIX_BIAS = 1 };

/* Numeric profiles (section 4). */
enum { ER_PROFILE_TRAINED = 1, ER_PROFILE_FINE = 2 };

/* A weight matrix as it lies in the file (sections 5.1 to 5.3). */
typedef struct er_matrix {
    const uint8_t *weights[ER_MAX_PLANES];  /* [plane_count][rows * row_bytes] */
    const uint8_t *scales;                  /* [plane_count * rows * 2] term codes, plane after plane */
    const uint8_t *bias;                    /* [rows] little-endian i16, in profile 2 i32, or null */
    uint32_t rows;
    uint32_t columns;
    uint32_t row_bytes;
    int32_t clamp;                          /* M */
    uint8_t encoding;
    uint8_t plane_count;
    uint8_t three_quarters;                 /* 0 or 1 */
    uint8_t operand_shift;                  /* s */
    int32_t left_shift;                     /* L */
    const er_product *product;              /* of the plan; both null: by gemv on the weights above */
    const er_compound *compound;
    uint32_t first_sum;                     /* of its sums among the product's; not 0: below a W_h, on the new h */
} er_matrix;

typedef struct er_layer {
    uint8_t kind;
    uint8_t activation;
    uint8_t flags;
    uint8_t matrix_count;
    uint32_t input_size;
    uint32_t output_size;
    uint32_t state_size;                    /* int16 values: H, 2H (lstm), 3H (lstm in profile 2) or 0 (dense) */
    const uint8_t *initial_state;           /* [state_size] little-endian i16, or null */
    er_matrix matrix[2];                    /* W or W_x, then W_h */
    const er_gates *gates;                  /* of the plan; null: the scalar form */
    const er_outputs *outputs;              /* [4] null if 16 bits hold all sums; else of the rows that are
                                             * scaled together (N6), then of the other rows of W or W_x, of W_h
                                             * or its halves */
    const er_matrix *halves;                /* [2] of the plan, with RESET_BEFORE: the rows r and z of W_h, then n;
                                             * for products only */
} er_layer;

typedef struct er_decoder_config {
    const uint8_t *bias;                    /* [output_size] little-endian i16 */
    const uint8_t *length_ms;               /* [output_size] little-endian u16 */
    float threshold;
    int32_t delay_ms;
    uint32_t blank;
    uint32_t unknown;                       /* 0xFFFF: none */
} er_decoder_config;

struct er_model {
    const uint8_t *file;                    /* the bytes in use, owned or borrowed */
    size_t file_size;
    size_t model_bytes;                     /* size of the block this struct begins, and of the plan */
    void *allocations[2];                   /* what er_model_destroy releases; null in the caller's memory */
    const struct er_kernels *kernels;       /* of er_kernels_find, set with the options by model.c */
    uint32_t profile;                       /* ER_PROFILE_* */
    uint32_t input_size;
    uint32_t output_size;
    uint32_t layer_count;
    uint32_t state_size;
    uint32_t max_size;                      /* largest input or output of a layer */
    uint32_t max_rows;                      /* largest row count of a matrix */
    size_t sum_count;                       /* scratch of the plan, in values: see er_work; 0 without a plan */
    size_t carried_count;
    uint32_t skip_count;                    /* products that may skip what did not change */
    size_t part_count;
    size_t operand_byte_count;
    size_t table_bytes;
    const uint8_t *input_scale;             /* [input_size] little-endian f32 */
    const uint8_t *input_offset;
    er_layer layers[ER_MAX_LAYERS];
    uint32_t label_count;
    const char *labels;                     /* label_count strings one after the other, or null */
    uint32_t metadata_count;                /* pairs */
    const char *metadata;                   /* key, value, key, value ... or null */
    uint32_t has_frontend;
    uint32_t has_decoder;
    er_frontend_config frontend;
    er_decoder_config decoder;
};

/* Byte-wise little-endian reads: no alignment or byte order is assumed; compilers turn them into
 * single loads where those exist. */
static inline uint32_t er_read_u16(const uint8_t *p) { return (uint32_t)p[0] | ((uint32_t)p[1] << 8); }
static inline int32_t er_read_i16(const uint8_t *p) { return (int16_t)er_read_u16(p); }
static inline uint32_t er_read_u32(const uint8_t *p) { return er_read_u16(p) | (er_read_u16(p + 2) << 16); }
static inline int32_t er_read_i32(const uint8_t *p) { return (int32_t)er_read_u32(p); }
static inline float er_read_f32(const uint8_t *p)
{
    uint32_t bits = er_read_u32(p);
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The unit of the logits is that of the last layer's output (FORMAT.md, sections 7.1 and N12): 2^-11, or,
 * where the output is bounded by 1, 2^-15. Returns by how many bits it is finer than 2^-11: 0 or 4. */
static inline int32_t er_logit_shift(const struct er_model *model)
{
    const er_layer *last = &model->layers[model->layer_count - 1];
    const int bounded = last->kind == ER_LAYER_GRU || last->kind == ER_LAYER_LSTM ||
                        last->activation == ER_ACTIVATION_TANH || last->activation == ER_ACTIVATION_SIGMOID;

    return bounded ? 4 : 0;
}

/* That unit as a number. A power of two: to multiply by it is exact. */
static inline float er_logit_unit(const struct er_model *model)
{
    return er_logit_shift(model) == 0 ? 1.0f / 2048.0f : 1.0f / 32768.0f;
}

/* The rules that need no more of a file than its header and its length, R1 to R4: those that er_format_parse checks
 * first, before anything is made for the rest. */
er_status er_format_check_length(const uint8_t *data, size_t size, er_error *error);

/* Check every rule of FORMAT.md over data (not null) and fill in *model (pointers into data);
 * model_bytes, allocations, kernels and all that belongs to a plan (plan.h) become zero. Does no I/O and
 * allocates nothing. On failure *model is undefined and *error, if not null, is filled in. */
er_status er_format_parse(const uint8_t *data, size_t size, struct er_model *model, er_error *error);

#endif
