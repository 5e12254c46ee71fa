/* SPDX-License-Identifier: MIT
 *
 * What the recognizer needs of the decoder beyond the public header.
 */
#ifndef ER_DECODER_H
#define ER_DECODER_H

#include "edge_runtime.h"

/* Softmax of the biased logits of the last step: float [shape=(output_size)], sum 1; all zero
 * before the first step. */
void er_decoder_posteriors(const er_decoder *decoder, float *posteriors_out);

#endif
