/* SPDX-License-Identifier: MIT
 *
 * The inner kernels: matrix times vector on packed weights. They know integers and pointers, nothing
 * of models. Names: er_<encoding>_gemv_<isa>, in <encoding>_gemv_<isa>.c. The scalar kernels are the
 * definition; every other one gives the same sums, which are exact. */
#ifndef ER_KERNELS_H
#define ER_KERNELS_H

#include <stddef.h>
#include <stdint.h>

enum {
#if defined(ER_SMALL_MEMORY)
    ER_GEMV_BLOCK = 1,
#else
    ER_GEMV_BLOCK = 8,                          /* weight bytes of a row looked up in one pass */
#endif
    ER_GEMV_TABLE_SIZE = ER_GEMV_BLOCK * 256,   /* int32 values of scratch that a kernel may use */
    ER_OPERAND_PADDING = 8                      /* operands behind the last column, all zero */
};

/* N2: acc[row] += sum over columns of w[row][column] * operands[column], for one plane.
 *   weights      uint8 [shape=(rows, row_bytes)], as in the file (FORMAT.md, section 5.1); every byte is
 *                a legal code
 *   rows         0 or more
 *   row_bytes    0 or more
 *   operands     int16 [shape=(columns + ER_OPERAND_PADDING)], at least -32767; zero from columns on
 *   acc          int32 [shape=(rows)], updated
 *   table        int32 [shape=(ER_GEMV_TABLE_SIZE)], scratch, 64-byte aligned
 * sum |w| * max |operand| of a row, and every sum in acc, stay below 2^30 (R27). */
typedef void er_gemv_fn(const uint8_t *weights, uint32_t rows, uint32_t row_bytes, const int16_t *operands,
                        int32_t *acc, int32_t *table);

er_gemv_fn er_binary_gemv_scalar;
er_gemv_fn er_ternary_gemv_scalar;
er_gemv_fn er_pow2_gemv_scalar;

/* ---- The fast forms: what a plan (plan.h) makes of a matrix or a layer at load. ----
 *
 * Products look up several weights at a time, with rows in lanes: a group of columns has a table
 * of bytes, an entry per combination of weights, and a weight byte of each row says which. Sums are
 * exact in 16 bits, which the plan has proved for every row; what needs more takes several products
 * (er_compound). Layouts of weights, tables and sums are in <encoding>_product_<isa>.c. */
enum {
    ER_BLOCK_ROWS = 64,         /* rows of a product are padded to this */
    ER_BLOCK_UNITS = 32,        /* units of a gate are padded to this */
    ER_GROUP_TABLE = 128,       /* bytes of the table of one group of columns in most kinds of AVX-512 */
    ER_BYTE_PADDING = 128,      /* operand bytes behind the last column, all zero */
    ER_VECTORS = 4,             /* of er_product_four_fn */
    ER_SUM_PADDING = 64,        /* sums behind the last block, of no meaning */
    ER_OUTPUT_ROWS = 16         /* rows of 32-bit sums are padded to this */
};

/* Row blocks of a tile of the NEON products, each with two accumulators: half of the registers. */
#if defined(__aarch64__)
enum { ER_NEON_BLOCKS = 8 };
#else
enum { ER_NEON_BLOCKS = 4 };
#endif

/* Codes of weight bytes. */
enum {
    ER_FORM_FOUR = 1,           /* four weights: d0 + 3 d1 + 9 d2 + 27 d3, d = weight + 1 */
    ER_FORM_FIVE = 2,           /* five: |N|, with bit 7 set if N < 0; N = w0 + 3 w1 + 9 w2 + 27 w3 + 81 w4 */
    ER_FORM_PAIRS = 3,          /* four, as two pairs: see ternary_product_avx2.c */
    ER_FORM_THREE = 4,          /* three: d0 + 3 d1 + 9 d2, d = weight + 1 */
    ER_FORM_TWO_FOURS = 5,      /* as ER_FORM_FOUR, but every other group has codes of 64 or more increased by 32 */
    ER_FORM_BITS = 6,           /* binary weights: bit k is 1 if weight k is 1 */
    ER_FORM_NIBBLES = 7         /* two powers of two as in the file, see pow2_product_avx512.c */
};

/* A matrix whose clamp no kind of product has room for is multiplied by the digits of its operands to base
 * 16, of -8 to 8, one after the other. */
enum { ER_DIGIT_BITS = 4, ER_DIGIT_CLAMP = 8, ER_MOST_DIGITS = 4 };

struct er_product;

/* N1: operands of a matrix from x, int16 [shape=(product->columns)], to int8, followed by
 * ER_BYTE_PADDING zeros. */
typedef void er_operands_fn(const struct er_product *product, const int16_t *x, int8_t *operands);

/* The tables of all groups from the operands of er_operands_fn. tables: uint8
 * [shape=(product->group_count, product->kind->group_table)], 64-byte aligned. */
typedef void er_tables_fn(const struct er_product *product, const int8_t *operands, uint8_t *tables);

/* N2: the sums of all rows, int16 [shape=(rows padded to ER_BLOCK_ROWS)], 64-byte aligned, overwritten; if the
 * kind splits products, fine sums and, product->coarse_offset values behind, as many coarse ones. */
typedef void er_product_fn(const struct er_product *product, const uint8_t *tables, int16_t *sums);

/* The same for ER_VECTORS vectors at once, which share each load of weights. tables, sums: of each vector. */
typedef void er_product_four_fn(const struct er_product *product, const uint8_t *const *tables,
                                int16_t *const *sums);

/* A group of columns whose operands changed. */
typedef struct er_change {
    uint32_t tall, low;         /* bytes from the first weights of a tile, tall or low, to the group's */
    uint32_t first, second;     /* bytes to the two parts of the table of what was added to its operands */
} er_change;

/* Bring sums up to date: add what changed groups make of their tables, whose bias is that of the product twice.
 * start: minus all their biases, mod 2^16. count: 1 or more. sums: as of er_product_fn, updated. */
typedef void er_product_change_fn(const struct er_product *product, const er_change *changes, uint32_t count,
                                  const uint8_t *tables, int32_t start, int16_t *sums);

/* What a list of changes takes of a group. */
typedef struct er_group {
    uint32_t tall, low, first, second;      /* of er_change, tables from those of the slot on */
    uint32_t column, end;       /* first column and the one behind the last */
    uint32_t shift;             /* bits by which its differences are moved in their slot */
    uint32_t padding;
} er_group;

enum { ER_TOO_MANY = 0x10000 }; /* more than groups can be */

/* List the groups whose operands are not those of the last step, at most product->most_changes, and put what was
 * added to them into slots, from which er_tables_fn makes their tables. Returns how many, or ER_TOO_MANY.
 * differences, slots: int8 [shape=(columns padded to 64 + 64)]; operands, last: the same, zero from columns on. */
typedef uint32_t er_find_fn(const struct er_product *product, const int8_t *operands, const int8_t *last,
                            int8_t *differences, er_change *changes, int8_t *slots);

/* How changed groups are found and added. Passes have two groups. */
typedef struct er_changing {
    er_find_fn *find;
    er_product_change_fn *run;
    uint32_t slot_groups;       /* groups whose tables are made for a changed one */
    uint32_t first[2];          /* of er_group, for either group of a pass */
    uint32_t second[2];
    uint32_t shift[2];
} er_changing;

/* One way to make a product. */
typedef struct er_product_kind {
    er_operands_fn *operands;
    er_tables_fn *tables;
    er_product_fn *run;
    uint32_t form;              /* ER_FORM_* */
    uint32_t group_columns;     /* columns that have a table together: weights a byte, but of ER_FORM_NIBBLES */
    uint32_t pass_groups;       /* groups looked up in one pass of a tile */
    uint32_t block_rows;        /* rows side by side in a register: 16, 32 or 64 */
    uint32_t most_blocks;       /* of a tile */
    int32_t most_clamp;         /* operands that table entries and their sums in a pass have room for */
    int32_t bias_clamps;        /* a table entry is biased by this many times the clamp */
    uint32_t least_weights;     /* worth it from so many weights in a model on */
    uint32_t group_table;       /* bytes of the table of a group */
    er_product_four_fn *run_four;   /* null: not worth it */
    uint32_t split;             /* 0, or sums are fine ones and 2^split times coarse ones */
    const er_changing *changing;    /* null: changes are too large for its tables */
} er_product_kind;

/* A matrix of one plane, or a part of its columns, made ready for an ISA. Every loop bound stands here, so
 * that a step need not multiply or divide. */
typedef struct er_product {
    const er_product_kind *kind;
    const uint8_t *weights;     /* tile after tile, pass after pass, block after block, group after group */
    uint32_t columns;
    uint32_t group_count;       /* groups of columns, padded with zero weights: even */
    uint32_t pass_count;        /* group_count over the groups of a pass */
    uint32_t tile_blocks;       /* row blocks of a tall tile */
    uint32_t tall_count;        /* tiles of tile_blocks row blocks, then */
    uint32_t low_count;         /* tiles of one block less */
    int32_t clamp;              /* M */
    int32_t table_bias;         /* makes table entries unsigned */
    int32_t start;              /* first value of the sums: minus all biases, mod 2^16 */
    int32_t start_both;         /* start + 256 start, mod 2^16: of sums of even and odd bytes together */
    int32_t coarse_start;       /* the same of coarse sums, if the kind splits */
    int32_t coarse_start_both;
    size_t coarse_offset;       /* from fine to coarse sums */
    uint32_t operand_shift;     /* s */
    uint32_t three_quarters;    /* 0 or 1 */
    size_t table_offset;        /* where in the stream's table memory its tables are built */
    uint32_t tables_kept;       /* 1: of a W_h, whose tables the next layer's matrix has built in the last step */
    uint32_t carried;           /* 1: of a W_h with the next layer's matrix below it, see er_matrix.first_sum */
    size_t carried_offset;      /* if so, where in the stream's carried sums its sums are */
    uint32_t tall_bytes;        /* weights of a pass of a tall tile */
    uint32_t low_bytes;
    uint32_t most_changes;      /* half of the groups: with more, the product is made as a whole; 0: always */
    const er_group *groups;     /* [group_count], or null */
    const uint16_t *group_of;   /* [columns padded to 64] */
    size_t skip;                /* bytes to its er_skip in a stream; 0: takes no part in skipping */
    const struct er_product *kept_from;     /* whose tables are kept for this one; null: a compound's */
} er_product;

/* A matrix whose sums take several products: one for each plane, each part of the columns that is short
 * enough for sums of 16 bits, and each digit of the operands; or whose kind splits products. */
typedef struct er_compound {
    er_product whole;           /* operands, or their digits, and tables of all columns; never run */
    const er_product *products; /* [plane_count][part_count] */
    uint32_t plane_count;
    uint32_t part_count;
    uint32_t digit_count;       /* 1: operands as they are */
    uint32_t narrow;            /* 1: one plane, and all sums fit 16 bits */
    uint32_t rows;
    size_t digit_bytes;         /* operand bytes from one digit to the next */
    size_t digit_tables;        /* bytes from the tables of one digit to those of the next */
    size_t part_tables;         /* likewise of one part of the columns */
} er_compound;

/* The digits of the operands of a matrix (N1), lowest first: as er_operands_fn, for each digit. digits: int8
 * [shape=(digit_count, digit_bytes)]. */
typedef void er_digits_fn(const struct er_product *product, const int16_t *x, uint32_t digit_count, int8_t *digits,
                          size_t digit_bytes);

/* sums[i] = (add ? sums[i] : 0) + part[i] * 2^shift, for count values padded to ER_BLOCK_UNITS (narrow, modulo
 * 2^16) or ER_OUTPUT_ROWS (wide). shift: 0 .. 15. */
typedef void er_add_narrow_fn(int16_t *sums, const int16_t *part, uint32_t count, uint32_t shift, uint32_t add);
typedef void er_add_wide_fn(int32_t *sums, const int16_t *part, uint32_t count, uint32_t shift, uint32_t add);

/* Row scales and biases of rows whose sums are 32 bits wide, for N3 to N5. */
typedef struct er_outputs {
    const int32_t *bias;        /* [row_count] */
    const uint16_t *terms;      /* [plane_count][row_count] the two term codes of FORMAT.md, section 5.2 */
    uint32_t row_count;         /* padded to ER_OUTPUT_ROWS */
    uint32_t first_row;         /* of the matrix */
    uint32_t plane_count;
    size_t plane_rows;          /* sums from one plane to the next */
    int32_t left_shift;
} er_outputs;

/* N3 to N5: outputs of rows from their sums, added to those of `other` first unless it is null. sums, other:
 * int32, of the first row in the first plane; out: int16 [shape=(row_count)], overwritten. */
typedef void er_outputs_fn(const er_outputs *outputs, const int32_t *sums, const int32_t *other, int16_t *out);

/* What the shifts of an er_scale_block hold. */
enum {
    ER_TERMS_MASKS = 0,         /* the right shift; all else is in masks */
    ER_TERMS_FLAGS = 1,         /* the right shift and bits 15 (present) and 14 (negative) */
    ER_TERMS_COUNTS = 2         /* in the low byte the left shift, 0 to -15 or, if absent, 64; bit 15: negative */
};

/* The row scale (N4) and bias (N5, N6) of 32 rows. A negative term counts as its complement, -t - 1: the
 * bias holds the ones that are missing. Masks have a bit per row. 256 bytes. */
typedef struct er_scale_block {
    int16_t shift1[ER_BLOCK_UNITS];
    int16_t shift2[ER_BLOCK_UNITS];
    int16_t bias[ER_BLOCK_UNITS];
    uint32_t present1;
    uint32_t present2;
    uint32_t negative1;
    uint32_t negative2;
    uint32_t opposite;          /* one of the terms is negative, the other is not */
    uint32_t padding[11];
} er_scale_block;

/* The same in 32 rows whose first term is the sum itself and whose second, if there is one, is shifted, as
 * training makes them; for instruction sets without shifts of 16-bit lanes by counts of their own
 * (ER_UNSHIFTED_LANES). L is at least 1, and no bias beyond +-16383, so that it and the second term fit
 * 16 bits together. Shifts are of rows in 32-bit lanes, of even rows 16 more. As large as er_scale_block,
 * whose place it takes. */
typedef struct er_unshifted_scale {
    uint32_t even[ER_BLOCK_UNITS / 2];
    uint32_t odd[ER_BLOCK_UNITS / 2];
    int16_t sign[ER_BLOCK_UNITS];       /* of the second term; 0: it is absent */
    int16_t bias[ER_BLOCK_UNITS];
} er_unshifted_scale;

_Static_assert(sizeof(er_unshifted_scale) == sizeof(er_scale_block), "edge_runtime: one takes the place of the other");

/* The same with such shifts (ER_UNSHIFTED_PACKED), in half the memory: v + (bias + (u >> k)), with saturation in the
 * first addition only. u is v + 2^15, unsigned, or where the second term is negative its complement; the bias
 * makes up for what that adds. terms: k in bits 0 to 4, 16 if the second term is absent; bit 15 if it is negative. */
typedef struct er_packed_scale {
    uint16_t terms[ER_BLOCK_UNITS];
    int16_t bias[ER_BLOCK_UNITS];
} er_packed_scale;

/* Values of er_kernels.unshifted. */
enum {
    ER_UNSHIFTED_NONE = 0,
    ER_UNSHIFTED_LANES = 1,
    ER_UNSHIFTED_PACKED = 2
};

/* What follows the products in a layer, made ready: sums to state or output. scales: for each 32 units
 * in turn the blocks in the order the kernel uses them, which is
 *   gru    r x, r h, z x, z h, n x, n h    with SHARED_SCALE   r, z, n x, n h
 *   lstm   i x, i h, f x, f h, g x, g h, o x, o h              i, f, g, o
 *   rnn    x, h                                                one
 *   dense  one
 * All sums of a row that are scaled together fit int16, with the rounding of N3 added. */
typedef struct er_gates {
    const er_scale_block *scales;
    uint32_t units;
    uint32_t shared;            /* 0 or 1: SHARED_SCALE */
    uint32_t unshifted;         /* 0 or 1: scales are er_unshifted_scale or er_packed_scale */
    uint32_t exact;             /* if so, 1: shifted to the left, all sums still fit int16 */
    int32_t left_shift_x;       /* -14 .. 15 */
    int32_t left_shift_h;
    uint32_t activation;        /* ER_ACTIVATION_* of rnn and dense */
    const er_scale_block *reset_scales;     /* of a gru with RESET_BEFORE, else null: r x, r h; or r */
    size_t late_offset;         /* if so, values from the sums of W_h to scratch for those of its rows n */
} er_gates;

/* sums_x, sums_h: int16 [shape=(rows of the matrix + ER_SUM_PADDING)]; sums_h unused by dense. out: the
 * state of a recurrent layer, updated, or the output of a dense one, with room for the units padded to
 * ER_BLOCK_UNITS (a masked store would make the next load wait). */
typedef void er_gates_fn(const er_gates *gates, const int16_t *sums_x, const int16_t *sums_h, int16_t *out);

/* r * h of a gru with RESET_BEFORE (N9): gated_out[unit] = chain(sigmoid(p_r), h[unit], 0), int16
 * [shape=(units)], from the sums of the rows r. Its er_gates_fn then finds r open: there gates->scales makes
 * a gate of 255 of any sums. */
typedef void er_reset_fn(const er_gates *gates, const int16_t *sums_x, const int16_t *sums_h, const int16_t *h,
                         int16_t *gated_out);

/* Network inputs to 16 bits, -128 as -127. values_out has room for count padded to ER_BLOCK_UNITS. */
typedef void er_widen_fn(const int8_t *x, uint32_t count, int16_t *values_out);

/* The way from and to floats. It multiplies, and is in objects of its own: floats_<isa>.c.
 * FORMAT.md, section 4: network inputs, -127 .. 127, from features. scale, offset: little-endian f32
 * [shape=(count)], as in the file. Nothing behind count is read or written. */
typedef void er_quantize_fn(const float *x, const uint8_t *scale, const uint8_t *offset, uint32_t count,
                            int8_t *x_out);

/* The same in numeric profile 2: -32767 .. 32767. One form serves all. */
void er_quantize16(const float *x, const uint8_t *scale, const uint8_t *offset, uint32_t count, int16_t *x_out);

/* N12: logits times their unit. */
typedef void er_logits_fn(const int16_t *logits, uint32_t count, float unit, float *y_out);

/* The kernels in use for one model. Static and constant: two models may use different ones. */
typedef struct er_kernels {
    const char *isa;                /* "scalar" */
    uint32_t cpu;                   /* ER_CPU_* that must all be there */
    er_gemv_fn *gemv[4];            /* by ER_ENCODING_*; entry 0 is null */
    er_gates_fn *gates[5];          /* by ER_LAYER_*; null: scalar */
    er_reset_fn *reset;
    er_widen_fn *widen;
    er_quantize_fn *quantize;
    er_logits_fn *logits;
    uint32_t terms;                 /* ER_TERMS_*: the form of er_scale_block */
    uint32_t unshifted;             /* ER_UNSHIFTED_* */
    const er_product_kind *products;    /* in rising order: the last that fits is taken. Of each encoding there is
                                         * one for digits, so that every matrix has a product or a compound */
    uint32_t product_count;
    er_digits_fn *digits;
    er_add_narrow_fn *add_narrow;
    er_add_wide_fn *add_wide;
    er_outputs_fn *outputs;
} er_kernels;

/* The kernels of an ISA word; with null, the best for this CPU. Null: unknown, or not for this CPU. */
const er_kernels *er_kernels_find(const char *isa);

#endif
