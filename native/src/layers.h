/* SPDX-License-Identifier: MIT
 *
 * One step of each kind of layer: rnn.c, gru.c, lstm.c, dense.c, after section 7.3 of
 * exporters/FORMAT.md. x is int16 [shape=(layer->input_size)]; the state, which is updated, is h, int16
 * [shape=(layer->output_size)], for an lstm followed by c of the same shape. The output of a recurrent
 * layer is its h. x must not overlap the state. */
#ifndef ER_LAYERS_H
#define ER_LAYERS_H

#include "matrix.h"

void er_rnn_step(const er_layer *layer, const er_work *work, const int16_t *x, int16_t *h);
void er_gru_step(const er_layer *layer, const er_work *work, const int16_t *x, int16_t *h);
void er_lstm_step(const er_layer *layer, const er_work *work, const int16_t *x, int16_t *state);

/* y_out: int16 [shape=(layer->output_size)]; may be x. */
void er_dense_step(const er_layer *layer, const er_work *work, const int16_t *x, int16_t *y_out);

/* A step of a layer of any kind. Returns its output: the state h, or for a dense layer values, where it is put.
 * That may be x. */
const int16_t *er_layer_step(const er_layer *layer, const er_work *work, const int16_t *x, int16_t *state,
                             int16_t *values);

#endif
