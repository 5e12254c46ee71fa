/* SPDX-License-Identifier: MIT */
#include "activation.h"
#include "fixed.h"
#include "layers.h"

/* N10, rows in the order i, f, g, o; c in units of 2^-12:
 *      i, f, o = sigmoid(W_x x + W_h h)     g = tanh(W_xg x + W_hg h)
 *      c = f * c + i * g
 *      h = o * tanh(c) */
void er_lstm_step(const er_layer *layer, const er_work *work, const int16_t *x, int16_t *state)
{
    const er_matrix *w_x = &layer->matrix[0], *w_h = &layer->matrix[1];
    const uint32_t units = layer->output_size;
    const uint32_t row_f = units, row_g = row_f + units, row_o = row_g + units;
    int16_t *h = state, *c = state + units;
    uint32_t u;

    if (layer->gates != NULL) {
        const er_sums sums = er_layer_sums(layer, x, h, work);

        work->kernels->gates[layer->kind](layer->gates, sums.x, sums.h, state);
        return;
    }
    er_matrix_product(w_x, 0, w_x->rows, x, work, work->acc_x);
    er_matrix_product(w_h, 0, w_h->rows, h, work, work->acc_h);
    for (u = 0; u < units; u++) {
        uint32_t i = er_sigmoid(er_matrix_preactivation(layer, work, u));
        uint32_t f = er_sigmoid(er_matrix_preactivation(layer, work, row_f + u));
        int32_t g = er_tanh(er_matrix_preactivation(layer, work, row_g + u));
        uint32_t o = er_sigmoid(er_matrix_preactivation(layer, work, row_o + u));

        c[u] = (int16_t)er_sat16(er_chain(f, c[u], 0) + er_shift_round(er_chain(i, g, 0), 3));
        h[u] = (int16_t)er_chain(o, er_tanh(er_shift_round(c[u], 1)), 0);
    }
}
