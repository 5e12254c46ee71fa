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

/* Steps in turn, up to the last one, at which blank won clearly. */
uint64_t er_decoder_blank_steps(const er_decoder *decoder);

/* The network rests although so many samples have come in all: blank steps pass, and a string may end. */
void er_decoder_rest(er_decoder *decoder, uint64_t position);

/* The next step begins with sample number position, a whole number of steps; a rest ends, so blank was last. */
void er_decoder_wake(er_decoder *decoder, uint64_t position);

#endif
