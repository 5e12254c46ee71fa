/* SPDX-License-Identifier: MIT
 * Runs at load, and may multiply. */
#include "plan.h"

#include "planner.h"

/* See planner.h. */
int64_t er_plan_row_bound(const er_planner *p, const er_matrix *matrix, uint32_t plane, uint32_t row)
{
    const uint8_t *bytes = matrix->weights[plane] + (size_t)row * matrix->row_bytes;
    const uint8_t *magnitudes = p->magnitudes[matrix->encoding];
    int64_t sum = 0;
    uint32_t i;

    if (matrix->encoding == ER_ENCODING_BINARY) {
        return (int64_t)matrix->columns * matrix->clamp;
    }
    for (i = 0; i < matrix->row_bytes; i++) {
        sum += magnitudes[bytes[i]];
    }
    return sum * matrix->clamp;
}

/* See planner.h. */
int64_t er_plan_columns_bound(const er_matrix *matrix)
{
    return (int64_t)matrix->columns * matrix->clamp * (matrix->encoding == ER_ENCODING_POW2 ? 64 : 1);
}

/* Scalar kernels have no plan. Where there are no others a program has neither this code nor the 10 KB of stack
 * that it takes. */
#if defined(ER_KERNELS_AVX2) || defined(ER_KERNELS_AVX512BW) || defined(ER_KERNELS_AVX512) || defined(ER_KERNELS_NEON)

static void fill_tables(er_planner *p)
{
    static const int8_t digit[3] = { 0, 1, -1 };
    uint32_t byte, k;

    for (byte = 0; byte < 243; byte++) {
        uint32_t rest = byte, count = 0;

        for (k = 0; k < 5; k++, rest /= 3) {
            p->trits[byte][k] = digit[rest % 3];
            count += rest % 3 != 0;
        }
        p->magnitudes[ER_ENCODING_TERNARY][byte] = (uint8_t)count;
    }
    for (byte = 0; byte < 256; byte++) {
        const uint32_t low = 1u << (byte & 7) >> 1, high = 1u << (byte >> 4 & 7) >> 1;

        p->magnitudes[ER_ENCODING_POW2][byte] = (uint8_t)(low + high);
    }
}

/* Lay out the whole plan behind base, or only count with base null. Returns the size in bytes. */
static size_t lay_out(struct er_model *model, const er_kernels *kernels, void *base)
{
    er_planner p = { .base = base, .model = model, .kernels = kernels };
    uint32_t i, k;

    fill_tables(&p);
    for (i = 0; i < model->layer_count; i++) {
        for (k = 0; k < model->layers[i].matrix_count; k++) {
            const er_matrix *matrix = &model->layers[i].matrix[k];

            p.weight_count += (uint64_t)matrix->rows * matrix->columns * matrix->plane_count;
        }
    }
    for (i = 0; i < model->layer_count; i++) {
        er_layer *layer = &model->layers[i];

        for (k = 0; k < layer->matrix_count; k++) {
            if (k == 1 && (layer->flags & ER_LAYER_RESET_BEFORE) != 0) {
                continue;                   /* see plan_halves */
            }
            if (k == 0 && i > 0 && er_plan_matrix_below(&p, i - 1) != NULL) {
                continue;                   /* laid out below the W_h before it */
            }
            er_plan_matrix(&p, &layer->matrix[k], k == 1 ? er_plan_matrix_below(&p, i) : NULL);
        }
        if (model->profile == ER_PROFILE_FINE) {
            er_plan_fine(&p, layer);
        } else {
            er_plan_gates(&p, layer);
        }
    }
    if (base != NULL) {
        er_plan_keep_tables(model);
    }
    return p.used;
}

#else

static size_t lay_out(struct er_model *model, const er_kernels *kernels, void *base)
{
    (void)model;
    (void)kernels;
    (void)base;
    return 0;
}

#endif

/* See plan.h. Counting changes nothing in the model. */
size_t er_plan_size(const struct er_model *model, const er_kernels *kernels)
{
    return lay_out((struct er_model *)model, kernels, NULL);
}

/* See plan.h. */
void er_plan_make(struct er_model *model, const er_kernels *kernels, void *memory)
{
    model->kernels = kernels;
    if (memory != NULL) {
        lay_out(model, kernels, memory);
    }
}
