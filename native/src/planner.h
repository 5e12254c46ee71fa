/* SPDX-License-Identifier: MIT
 *
 * What the files of the plan share: plan.c walks through a model, plan_product.c lays out its matrices,
 * plan_gates.c the rest of its layers. Laying out goes twice over the same code: first to count, then to write. */
#ifndef ER_PLANNER_H
#define ER_PLANNER_H

#include "matrix.h"
#include "model.h"

enum {
    ER_MOST_SUM = INT16_MAX,
    ER_ROW_PADDING = 64         /* weights behind the last column that the groups of a row take, at most */
};

/* A plan being laid out; with base null, only counted. */
typedef struct er_planner {
    char *base;
    size_t used;
    struct er_model *model;
    const er_kernels *kernels;
    uint64_t weight_count;                  /* of the model */
    int8_t trits[243][5];                   /* the weights of each byte of ternary weights */
    uint8_t magnitudes[4][256];             /* by ER_ENCODING_*, the sum of those of the weights of each byte */
    int8_t row[ER_MAX_SIZE + ER_ROW_PADDING];   /* of the row being packed */
} er_planner;

static inline void *er_plan_take(er_planner *p, size_t size)
{
    return er_memory_take(p->base, &p->used, 1, size);
}

static inline uint32_t er_plan_round_up(uint32_t n, uint32_t to)
{
    return (n + to - 1) / to * to;
}

static inline void er_plan_grow(size_t *size, size_t needed)
{
    *size = *size < needed ? needed : *size;
}

/* The greatest sum that a row of a plane can have. */
int64_t er_plan_row_bound(const er_planner *p, const er_matrix *matrix, uint32_t plane, uint32_t row);

/* The greatest sum that a row could have whatever its weights are. */
int64_t er_plan_columns_bound(const er_matrix *matrix);

/* The matrix that goes below W_h of layer i, or null. */
er_matrix *er_plan_matrix_below(const er_planner *p, uint32_t i);

/* Lay out the products of a matrix for which there is a kind, with another matrix (or null) below it. */
void er_plan_matrix(er_planner *p, er_matrix *matrix, er_matrix *below);

/* Let layers that follow each other share tables of the state between them. */
void er_plan_keep_tables(struct er_model *model);

/* Lay out the gates of a layer of numeric profile 1, if there are kernels for them. */
void er_plan_gates(er_planner *p, er_layer *layer);

/* What a layer of numeric profile 2 has besides the products of its matrices. */
void er_plan_fine(er_planner *p, er_layer *layer);

#endif
