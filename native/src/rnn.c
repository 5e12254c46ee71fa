/* SPDX-License-Identifier: MIT */
#include "activation.h"
#include "layers.h"

/* N8:  p = W_x x + W_h h + b
 *      h = tanh(p)  or  max(p, 0) */
void er_rnn_step(const er_layer *layer, const er_work *work, const int16_t *x, int16_t *h)
{
    const er_matrix *w_x = &layer->matrix[0], *w_h = &layer->matrix[1];
    uint32_t i;

    if (layer->gates != NULL) {
        const er_sums sums = er_layer_sums(layer, x, h, work);

        work->kernels->gates[layer->kind](layer->gates, sums.x, sums.h, h);
        return;
    }
    er_matrix_product(w_x, 0, w_x->rows, x, work, work->acc_x);
    er_matrix_product(w_h, 0, w_h->rows, h, work, work->acc_h);
    for (i = 0; i < layer->output_size; i++) {
        int32_t p = er_matrix_preactivation(layer, work, i);

        if (layer->activation == ER_ACTIVATION_TANH) {
            p = er_tanh(p);
        } else if (p < 0) {
            p = 0;
        }
        h[i] = (int16_t)p;
    }
}
