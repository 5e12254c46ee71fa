/* SPDX-License-Identifier: MIT */
#include "filterbank.h"

#include <string.h>

#include "mathf.h"
#include "memory.h"

/* FFT bins of the filter_count + 2 corner points: equally spaced in mel(f) = 2595 log10(1 + f/700)
 * from low_hz to high_hz, each rounded to the nearest bin. Equal steps in mel are equal ratios of
 * 1 + f / 700, so the factor 2595 and the base of the logarithm drop out. */
static void filter_points(const er_frontend_config *config, uint32_t *points)
{
    const double bin_hz = (double)ER_SAMPLE_RATE / (double)config->fft_size;
    const double low = er_log(1.0 + (double)config->low_hz / 700.0);
    const double high = er_log(1.0 + (double)config->high_hz / 700.0);
    const uint32_t last = config->filter_count + 1;
    uint32_t i;

    for (i = 0; i <= last; i++) {
        const double mel = low + (high - low) * (double)i / (double)last;
        const double hz = 700.0 * (er_exp(mel) - 1.0);

        points[i] = (uint32_t)(hz / bin_hz + 0.5);
    }
}

/* The corner points must differ after rounding: with too many filters for the FFT size two of them
 * fall on one bin, and a filter without width has no weights. */
er_status er_filterbank_check(const er_frontend_config *config)
{
    uint32_t points[ER_MAX_FILTERS + 2];
    uint32_t i;

    filter_points(config, points);
    for (i = 0; i <= config->filter_count; i++) {
        if (points[i] >= points[i + 1]) {
            return ER_ERROR_FRONTEND;
        }
    }
    return ER_OK;
}

/* ------------------------------------------------------------------------------------- tables */

/* The bins at the outer corners of a triangle have weight 0 and are left out. Returns the number of
 * weights of all filters. */
static size_t place_filters(er_filterbank *filterbank, const uint32_t *points)
{
    size_t weight_count = 0;
    uint32_t i;

    for (i = 0; i < filterbank->filter_count; i++) {
        filterbank->first_bin[i] = points[i] + 1;
        filterbank->bin_count[i] = points[i + 2] - points[i] - 1;
        weight_count += filterbank->bin_count[i];
    }
    return weight_count;
}

/* Hamming window over the whole frame: 0.54 - 0.46 cos(2 pi i / (n - 1)). */
static void fill_window(er_filterbank *filterbank)
{
    const uint32_t count = filterbank->window_samples;
    uint32_t i;

    for (i = 0; i < count; i++) {
        filterbank->window[i] = (float)(0.54 - 0.46 * er_cos_turns(i, (int64_t)count - 1));
    }
}

/* Triangles of unit area in Hz: min(rise, fall) * 2 / (right - left). */
static void fill_weights(er_filterbank *filterbank, const uint32_t *points)
{
    const double bin_hz = (double)ER_SAMPLE_RATE / (double)filterbank->fft.size;
    float *weight = filterbank->weights;
    uint32_t i;
    uint32_t k;

    for (i = 0; i < filterbank->filter_count; i++) {
        const double left = points[i];
        const double center = points[i + 1];
        const double right = points[i + 2];
        const double height = 2.0 / ((right - left) * bin_hz);

        for (k = points[i] + 1; k < points[i + 2]; k++) {
            const double rise = ((double)k - left) / (center - left);
            const double fall = (right - (double)k) / (right - center);

            *weight++ = (float)((rise < fall ? rise : fall) * height);
        }
    }
}

/* The "legacy" cosine transform of Sphinx: cos(pi m (j + 0.5) / filters) / filters, the first
 * filter at half weight, in C0 too. Stored filter by filter, so that er_filterbank_compute runs over
 * the cepstra in the inner loop: independent sums, hence vectorizable without reordering. */
static void fill_transform(er_filterbank *filterbank)
{
    const uint32_t filters = filterbank->filter_count;
    const uint32_t cepstra = filterbank->cepstrum_count;
    uint32_t j;
    uint32_t m;

    for (j = 0; j < filters; j++) {
        for (m = 0; m < cepstra; m++) {
            const int64_t turns = (int64_t)m * (2 * (int64_t)j + 1);
            const double value = er_cos_turns(turns, 4 * (int64_t)filters);

            filterbank->transform[j * cepstra + m] =
                (float)((j == 0 ? 0.5 : 1.0) * value / (double)filters);
        }
    }
}

/* The number of weights depends on the widths of the filters, so the corner points are computed for
 * counting too. */
void er_filterbank_init(er_filterbank *filterbank, const er_frontend_config *config, char *base,
                        size_t *used)
{
    const uint32_t size = config->fft_size;
    const size_t transform_size = (size_t)config->filter_count * config->cepstrum_count;
    uint32_t points[ER_MAX_FILTERS + 2];
    size_t weight_count;
    float *fft_storage;

    filterbank->window_samples = config->window_samples;
    filterbank->filter_count = config->filter_count;
    filterbank->cepstrum_count = config->cepstrum_count;
    filterbank->log_floor = config->log_floor;
    filter_points(config, points);
    weight_count = place_filters(filterbank, points);
    filterbank->window = er_memory_take(base, used, config->window_samples, sizeof(float));
    filterbank->weights = er_memory_take(base, used, weight_count, sizeof(float));
    filterbank->transform = er_memory_take(base, used, transform_size, sizeof(float));
    filterbank->frame = er_memory_take(base, used, size, sizeof(float));
    filterbank->power = er_memory_take(base, used, size / 2 + 1, sizeof(float));
    filterbank->log_mel = er_memory_take(base, used, config->filter_count, sizeof(float));
    fft_storage = er_memory_take(base, used, er_fft_storage_floats(size), sizeof(float));
    if (base == NULL) {
        return;
    }
    er_fft_init(&filterbank->fft, size, fft_storage);
    fill_window(filterbank);
    fill_weights(filterbank, points);
    fill_transform(filterbank);
    memset(filterbank->frame, 0, size * sizeof(float));
}

/* ------------------------------------------------------------------------------------ run time */

/* Each sum runs in index order in one float. */
void er_filterbank_compute(const er_filterbank *filterbank, const float *signal,
                           float *restrict cepstrum_out)
{
    const uint32_t cepstra = filterbank->cepstrum_count;
    const float *weight = filterbank->weights;
    uint32_t i;
    uint32_t j;
    uint32_t m;

    for (i = 0; i < filterbank->window_samples; i++) {
        filterbank->frame[i] = signal[i] * filterbank->window[i];
    }
    er_fft_power(&filterbank->fft, filterbank->frame, filterbank->power);

    for (m = 0; m < cepstra; m++) {
        cepstrum_out[m] = 0.0f;
    }
    for (j = 0; j < filterbank->filter_count; j++) {
        const float *power = filterbank->power + filterbank->first_bin[j];
        const float *row = filterbank->transform + (size_t)j * cepstra;
        const uint32_t bins = filterbank->bin_count[j];
        float energy = 0.0f;
        float level;

        for (i = 0; i < bins; i++) {
            energy += weight[i] * power[i];
        }
        weight += bins;
        level = er_logf(energy + filterbank->log_floor);
        filterbank->log_mel[j] = level;
        for (m = 0; m < cepstra; m++) {
            cepstrum_out[m] += row[m] * level;
        }
    }
}
