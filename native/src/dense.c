/* SPDX-License-Identifier: MIT */
#include "activation.h"
#include "layers.h"

/* N11: the output of a row from its pre-activation p. */
static int32_t activate(uint8_t activation, int32_t p)
{
    int32_t y;

    switch (activation) {
    case ER_ACTIVATION_TANH:
        return er_tanh(p);
    case ER_ACTIVATION_RELU:
        return p < 0 ? 0 : p;
    case ER_ACTIVATION_SIGMOID:
        y = (int32_t)((er_sigmoid(p) + 1u) << 7);
        return y > INT16_MAX ? INT16_MAX : y;
    default:
        return p;
    }
}

/* y = activation(W x + b). All of x is used before the first y is written. */
void er_dense_step(const er_layer *layer, const er_work *work, const int16_t *x, int16_t *y_out)
{
    const er_matrix *w = &layer->matrix[0];
    uint32_t i;

    if (layer->gates != NULL) {
        const er_sums sums = er_layer_sums(layer, x, NULL, work);

        work->kernels->gates[layer->kind](layer->gates, sums.x, sums.h, y_out);
        return;
    }
    er_matrix_product(w, 0, w->rows, x, work, work->acc_x);
    for (i = 0; i < layer->output_size; i++) {
        y_out[i] = (int16_t)activate(layer->activation, er_matrix_output(w, work->acc_x, i));
    }
}
