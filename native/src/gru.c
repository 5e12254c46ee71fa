/* SPDX-License-Identifier: MIT */
#include "activation.h"
#include "fixed.h"
#include "layers.h"

/* N9, rows in the order r, z, n:
 *      r = sigmoid(W_xr x + W_hr h)
 *      z = sigmoid(W_xz x + W_hz h)
 *      n = tanh(W_xn x + r * (W_hn h))      or, with RESET_BEFORE,   tanh(W_xn x + W_hn (r * h))
 *      h = z * h + (1 - z) * n */
void er_gru_step(const er_layer *layer, const er_work *work, const int16_t *x, int16_t *h)
{
    const er_matrix *w_x = &layer->matrix[0], *w_h = &layer->matrix[1];
    const uint32_t units = layer->output_size;
    const uint32_t row_z = units, row_n = units + units;
    const int reset_before = (layer->flags & ER_LAYER_RESET_BEFORE) != 0;
    uint32_t i;

    if (layer->gates != NULL) {
        const er_sums sums = er_layer_sums(layer, x, h, work);

        if (reset_before) {
            work->kernels->reset(layer->gates, sums.x, sums.h, h, work->gated);
            er_layer_late_sums(layer, work->gated, work);
        }
        work->kernels->gates[layer->kind](layer->gates, sums.x, sums.h, h);
        return;
    }
    er_matrix_product(w_x, 0, w_x->rows, x, work, work->acc_x);
    er_matrix_product(w_h, 0, reset_before ? row_n : w_h->rows, h, work, work->acc_h);
    if (reset_before) {
        for (i = 0; i < units; i++) {
            uint32_t r = er_sigmoid(er_matrix_preactivation(layer, work, i));

            work->gated[i] = (int16_t)er_chain(r, h[i], 0);
        }
        er_matrix_product(w_h, row_n, units, work->gated, work, work->acc_h);
    }
    for (i = 0; i < units; i++) {
        uint32_t z = er_sigmoid(er_matrix_preactivation(layer, work, row_z + i));
        int32_t a_x = er_matrix_output(w_x, work->acc_x, row_n + i);
        int32_t a_h = er_matrix_output(w_h, work->acc_h, row_n + i);
        int32_t n;

        if (!reset_before) {
            uint32_t r = er_sigmoid(er_matrix_preactivation(layer, work, i));

            a_h = er_chain(r, a_h, 0);
        }
        n = er_tanh(er_sat16(a_x + a_h));
        h[i] = (int16_t)er_chain(z, h[i], n);
    }
}
