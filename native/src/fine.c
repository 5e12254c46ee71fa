/* SPDX-License-Identifier: MIT
 * Layers of numeric profile 2. No multiply instruction is in this object, nor in any that it calls. */
#include "fine.h"

#include "fine_activation.h"
#include "fine_fixed.h"
#include "opaque.h"

/* N15, N4: one sum and its row scale, two term codes. */
static int32_t scaled(int32_t acc, int32_t left_shift, const uint8_t *scale)
{
    const int32_t v = er_fine_scale_sum(acc, left_shift);

    return er_scale_term(v, scale[0]) + er_scale_term(v, scale[1]);
}

/* The bias of a row, zero without one. */
static int32_t bias(const er_matrix *matrix, uint32_t row)
{
    return matrix->bias == NULL ? 0 : er_read_i32(matrix->bias + ((size_t)row << 2));
}

/* N1, N2: all sums of a matrix. */
static void make_sums(const er_matrix *matrix, const int16_t *x, const er_work *work, int32_t *acc)
{
    if (matrix->product != NULL || matrix->compound != NULL) {
        er_matrix_wide_sums(matrix, x, work, acc);
    } else {
        er_matrix_product(matrix, 0, matrix->rows, x, work, acc);
    }
}

/* N15: the output of a row of a matrix from its sums: acc points to that of the first plane, and the next plane's is
 * plane_rows further on. 16 terms and a bias of 2^26 fit 32 bits. */
static int32_t output(const er_matrix *matrix, uint32_t row, const int32_t *acc, uint32_t plane_rows)
{
    const uint8_t *scale = matrix->scales + ((size_t)row << 1);
    int32_t sum = bias(matrix, row);
    uint32_t plane;

    for (plane = matrix->plane_count; plane > 0; plane--) {
        sum += scaled(*acc, matrix->left_shift, scale);
        acc += plane_rows;
        scale += (size_t)matrix->rows << 1;
        ER_OPAQUE(acc);
        ER_OPAQUE(scale);
    }
    return er_fine_clip(sum);
}

/* N16: the pre-activation of a row that W_x and W_h share. */
static int32_t preactivation(const er_layer *layer, const er_work *work, uint32_t row)
{
    const er_matrix *w_x = &layer->matrix[0], *w_h = &layer->matrix[1];
    const int32_t *acc_x = work->acc_x + row, *acc_h = work->acc_h + row;

    if ((layer->flags & ER_LAYER_SHARED_SCALE) != 0) {
        return er_fine_clip(bias(w_x, row) + bias(w_h, row) +
                            scaled(*acc_x + *acc_h, w_x->left_shift, w_x->scales + ((size_t)row << 1)));
    }
    return er_fine_clip(output(w_x, row, acc_x, w_x->rows) +
                        output(w_h, row, acc_h, layer->halves != NULL ? layer->halves->rows : w_h->rows));
}

/* Of an output without bounds, which has units of 2^-11. */
static int32_t unbounded(int32_t p)
{
    return er_sat16(er_shift_round(p, 5));
}

/* N22: h = tanh(p) or max(p, 0) */
static void rnn_step(const er_layer *layer, const er_work *work, int16_t *h)
{
    uint32_t u;

    for (u = 0; u < layer->output_size; u++) {
        const int32_t p = preactivation(layer, work, u);

        h[u] = (int16_t)(layer->activation == ER_ACTIVATION_TANH ? er_sat16(er_fine_tanh(p))
                                                                 : unbounded(p < 0 ? 0 : p));
    }
}

/* With RESET_BEFORE: the sums of W_h for n, which are still to be made, on r * h. Before they take the place of the
 * others, the pre-activations of z take that of their sums on x. Returns the first one, of a plane every *plane_rows. */
static const int32_t *reset_state(const er_layer *layer, const er_work *work, const int16_t *h, uint32_t *plane_rows)
{
    const er_matrix *w_h = &layer->matrix[1], *late = layer->halves;
    const uint32_t units = layer->output_size, row_n = units + units;
    uint32_t u;

    for (u = 0; u < units; u++) {
        const uint32_t r = er_fine_sigmoid(preactivation(layer, work, u));

        work->gated[u] = (int16_t)er_fine_mix(r, h[u], 0);
        work->acc_x[units + u] = preactivation(layer, work, units + u);
    }
    if (late != NULL) {
        late++;
        *plane_rows = late->rows;
        make_sums(late, work->gated, work, work->acc_h);
        return work->acc_h;
    }
    *plane_rows = w_h->rows;
    er_matrix_product(w_h, row_n, units, work->gated, work, work->acc_h);
    return work->acc_h + row_n;
}

/* N23, rows in the order r, z, n. */
static void gru_step(const er_layer *layer, const er_work *work, int16_t *h)
{
    const er_matrix *w_x = &layer->matrix[0], *w_h = &layer->matrix[1];
    const uint32_t units = layer->output_size;
    const uint32_t row_z = units, row_n = units + units;
    const int reset_before = (layer->flags & ER_LAYER_RESET_BEFORE) != 0;
    const int32_t *sums_n = work->acc_h + row_n;
    uint32_t plane_rows = w_h->rows, u;

    if (reset_before) {
        sums_n = reset_state(layer, work, h, &plane_rows);
    }
    for (u = 0; u < units; u++) {
        const int32_t p_z = reset_before ? work->acc_x[row_z + u] : preactivation(layer, work, row_z + u);
        const int32_t a_x = output(w_x, row_n + u, work->acc_x + row_n + u, w_x->rows);
        int32_t a_h = output(w_h, row_n + u, sums_n + u, plane_rows);
        int32_t n;

        if (!reset_before) {
            a_h = er_fine_mix(er_fine_sigmoid(preactivation(layer, work, u)), a_h, 0);
        }
        n = er_fine_tanh(er_fine_clip(a_x + a_h));
        h[u] = (int16_t)er_sat16(er_fine_mix(er_fine_sigmoid(p_z), h[u], n));
    }
}

/* A cell from its two int16, and back. */
static int32_t read_cell(const int16_t *halves)
{
    return (int32_t)((uint32_t)(uint16_t)halves[0] | (uint32_t)(uint16_t)halves[1] << 16);
}

static void write_cell(int16_t *halves, int32_t cell)
{
    halves[0] = (int16_t)(uint16_t)(uint32_t)cell;
    halves[1] = (int16_t)(cell >> 16);
}

/* N24, rows in the order i, f, g, o. */
static void lstm_step(const er_layer *layer, const er_work *work, int16_t *state)
{
    const uint32_t units = layer->output_size;
    const uint32_t row_f = units, row_g = row_f + units, row_o = row_g + units;
    int16_t *h = state, *c = state + units;
    uint32_t u;

    for (u = 0; u < units; u++, c += 2) {
        const uint32_t i = er_fine_sigmoid(preactivation(layer, work, u));
        const uint32_t f = er_fine_sigmoid(preactivation(layer, work, row_f + u));
        const int32_t g = er_fine_tanh(preactivation(layer, work, row_g + u));
        const uint32_t o = er_fine_sigmoid(preactivation(layer, work, row_o + u));
        int32_t cell = er_fine_mix(f, er_fine_clip(read_cell(c)), 0);

        cell = er_fine_clip(cell + er_fine_mix(i, g + g, 0));
        write_cell(c, cell);
        h[u] = (int16_t)er_sat16(er_fine_mix(o, er_fine_tanh(cell), 0));
    }
}

/* N25. */
static void dense_step(const er_layer *layer, const er_work *work, int16_t *y)
{
    const er_matrix *w = &layer->matrix[0];
    uint32_t u;

    for (u = 0; u < layer->output_size; u++) {
        const int32_t p = output(w, u, work->acc_x + u, w->rows);
        int32_t gate;

        switch (layer->activation) {
        case ER_ACTIVATION_TANH:
            y[u] = (int16_t)er_sat16(er_fine_tanh(p));
            break;
        case ER_ACTIVATION_RELU:
            y[u] = (int16_t)unbounded(p < 0 ? 0 : p);
            break;
        case ER_ACTIVATION_SIGMOID:
            gate = er_shift_round((int32_t)er_fine_sigmoid(p), 1);
            y[u] = (int16_t)(gate > INT16_MAX ? INT16_MAX : gate);
            break;
        default:
            y[u] = (int16_t)unbounded(p);
            break;
        }
    }
}

/* See fine.h. */
const int16_t *er_fine_layer_step(const er_layer *layer, const er_work *work, const int16_t *x, int16_t *state,
                                  int16_t *values)
{
    const er_matrix *w_x = &layer->matrix[0], *w_h = &layer->matrix[1];

    make_sums(w_x, x, work, work->acc_x);
    if (layer->kind == ER_LAYER_DENSE) {
        dense_step(layer, work, values);
        return values;
    }
    if (layer->halves != NULL) {
        make_sums(layer->halves, state, work, work->acc_h);
    } else if ((layer->flags & ER_LAYER_RESET_BEFORE) != 0) {
        er_matrix_product(w_h, 0, layer->output_size + layer->output_size, state, work, work->acc_h);
    } else {
        make_sums(w_h, state, work, work->acc_h);
    }
    switch (layer->kind) {
    case ER_LAYER_RNN:
        rnn_step(layer, work, state);
        break;
    case ER_LAYER_GRU:
        gru_step(layer, work, state);
        break;
    default:
        lstm_step(layer, work, state);
        break;
    }
    return state;
}
