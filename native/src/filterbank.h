/* SPDX-License-Identifier: MIT
 *
 * One window of pre-emphasized samples -> one cepstrum: Hamming window, power spectrum, mel filters,
 * logarithm, cosine transform. The cepstra are those of CMU Sphinx with "-transform legacy
 * -round_filters yes -unit_area yes -dither no -remove_dc no -lifter 0".
 */
#ifndef EDGE_RUNTIME_FILTERBANK_H
#define EDGE_RUNTIME_FILTERBANK_H

#include "edge_runtime.h"
#include "fft.h"

enum { ER_MAX_FILTERS = 80 };

typedef struct er_filterbank {
    uint32_t window_samples;
    uint32_t filter_count;
    uint32_t cepstrum_count;
    float log_floor;
    uint32_t first_bin[ER_MAX_FILTERS];
    uint32_t bin_count[ER_MAX_FILTERS];
    float *window;              /* [window_samples] */
    float *weights;             /* the filters' weights, one filter after the other */
    float *transform;           /* [filter_count][cepstrum_count] */
    float *frame;               /* [fft_size], zeros from window_samples on */
    float *power;               /* [fft_size / 2 + 1] */
    float *log_mel;             /* [filter_count] of the last window */
    er_fft fft;
} er_filterbank;

/* ER_OK if every filter has a width, else ER_ERROR_FRONTEND. The parameters have been checked one by
 * one. */
er_status er_filterbank_check(const er_frontend_config *config);

/* Take the arrays at base + *used, as er_memory_take does, and fill the tables. With base null only
 * the bytes are counted, and *filterbank is undefined afterwards. The configuration has been checked. */
void er_filterbank_init(er_filterbank *filterbank, const er_frontend_config *config, char *base,
                        size_t *used);

/*   signal       float [shape=(window_samples)], pre-emphasized, int16 scale
 *   cepstrum_out float [shape=(cepstrum_count)]
 * Writes the scratch arrays: one call at a time. */
void er_filterbank_compute(const er_filterbank *filterbank, const float *signal,
                           float *restrict cepstrum_out);

#endif
