/* SPDX-License-Identifier: MIT
 *
 * Numeric profile 2, "fine" (exporters/FORMAT.md, section 7.5): layers, and streams of such models. The
 * products are those of profile 1, by whatever kernel there is; what follows them is scalar. */
#ifndef ER_FINE_H
#define ER_FINE_H

#include "matrix.h"
#include "stream.h"

/* One step of a layer of any kind. x: int16 [shape=(layer->input_size)]. state: h, for an lstm followed by the cells
 * as two int16 each; updated. Returns the output: h, or, of a dense layer, values, where it is put; that may
 * be x. */
const int16_t *er_fine_layer_step(const er_layer *layer, const er_work *work, const int16_t *x, int16_t *state,
                                  int16_t *values);

/* One step of a stream: x int16 [shape=(input_size)]. Returns the logits as er_stream_advance does. */
const int16_t *er_fine_advance(er_stream *stream, const int16_t *x);

#endif
