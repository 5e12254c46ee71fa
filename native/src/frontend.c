/* SPDX-License-Identifier: MIT
 *
 * The front end: PCM -> pre-emphasis -> windows -> cepstra (filterbank.c) -> mean, deltas -> stacked
 * feature vectors.
 *
 * Everything is float with one fixed order of operations, and the tables are made by mathf.c, so
 * the features are the same bits on every platform.
 */
#include "frontend.h"

#include <stdlib.h>
#include <string.h>

#include "filterbank.h"
#include "mathf.h"
#include "memory.h"

enum {
    HISTORY = 8             /* frames kept for the deltas: a power of two above 3 + 3 */
};

/* What has entered since the last reset; the two kinds of input must not be mixed. */
typedef enum er_frontend_mode { MODE_IDLE, MODE_SAMPLES, MODE_CEPSTRA } er_frontend_mode;

struct er_frontend {
    er_frontend_config config;
    void *allocation;           /* what er_frontend_destroy releases; null in the caller's memory */
    uint32_t lookahead;         /* frames */
    uint32_t frame_size;        /* values per frame: cepstrum_count * (1 + delta_order) */
    er_filterbank filterbank;

    /* state */
    float *signal;              /* [window_samples] pre-emphasized samples of the started frame */
    uint32_t signal_count;
    float previous;             /* last sample, int16 scale */
    float *history;             /* [HISTORY][cepstrum_count]; cepstrum t is in row t % HISTORY */
    uint64_t cepstrum_count;    /* cepstra so far */
    uint64_t frame_count;       /* frames with deltas so far */
    float *mean;                /* [cepstrum_count] */
    float *quiet;               /* [cepstrum_count] the cepstrum with the least C0 so far */
    float *vector;              /* [feature_size] the started feature vector */
    uint32_t vector_frames;     /* frames in it */
    er_frontend_mode mode;
    uint32_t flushing;          /* 0: not yet; 1: the last frame is due; 2: padding */
    uint32_t flush_quiet;       /* quiet_frames of the first flush call */
    uint64_t flush_left;        /* padding frames still to enter */
};

/* Where the output of a call goes. */
typedef struct er_feature_sink {
    float *features;
    size_t capacity;
    size_t count;
} er_feature_sink;

/* ------------------------------------------------------------------------------- configuration */

/* The ranges of the header, then the filters. Comparisons are written so that not-a-number fails
 * them. */
er_status er_frontend_config_check(const er_frontend_config *config)
{
    uint32_t i;

    if (config == NULL) {
        return ER_ERROR_ARGUMENT;
    }
    if (config->fft_size < 64 || config->fft_size > 2048 ||
        (config->fft_size & (config->fft_size - 1)) != 0 || config->window_samples < 32 ||
        config->window_samples > config->fft_size || config->hop_samples < 16 ||
        config->hop_samples > config->window_samples || config->filter_count < 8 ||
        config->filter_count > ER_MAX_FILTERS || config->cepstrum_count < 1 ||
        config->cepstrum_count > ER_MAX_CEPSTRA ||
        config->cepstrum_count > config->filter_count || config->delta_order > 2 ||
        config->stack < 1 || config->stack > 4 || config->subtract_mean > 1) {
        return ER_ERROR_FRONTEND;
    }
    if (!(config->preemphasis >= 0.0f && config->preemphasis <= 1.0f) ||
        !(config->low_hz >= 0.0f && config->low_hz < config->high_hz) ||
        !(config->high_hz <= (float)ER_SAMPLE_RATE / 2.0f) ||
        !(config->log_floor > 0.0f && config->log_floor <= FLT_MAX)) {
        return ER_ERROR_FRONTEND;
    }
    for (i = 0; i < ER_MAX_CEPSTRA; i++) {
        const float value = config->mean[i];

        if (!(value >= -FLT_MAX && value <= FLT_MAX) ||
            (i >= config->cepstrum_count && value != 0.0f)) {
            return ER_ERROR_FRONTEND;
        }
    }
    return er_filterbank_check(config);
}

/* The farthest frame that compute_frame reads: t + 2 for deltas, t + 3 for delta-deltas. */
uint32_t er_frontend_lookahead_frames(const er_frontend_config *config)
{
    return config->delta_order == 0 ? 0 : config->delta_order + 1;
}

/* The values of the AN4 features. Sphinx gives the window as 0.025625 s and the rate as 100/s. */
void er_frontend_config_default(er_frontend_config *config_out)
{
    static const er_frontend_config defaults = {
        .window_samples = 410,
        .hop_samples = 160,
        .fft_size = 512,
        .filter_count = 40,
        .cepstrum_count = 13,
        .delta_order = 2,
        .stack = 1,
        .subtract_mean = 0,
        .preemphasis = 0.97f,
        .low_hz = 130.0f,
        .high_hz = 6800.0f,
        .log_floor = 1e-4f,
    };

    if (config_out != NULL) {
        *config_out = defaults;
    }
}

/* Checked first, so that an illegal configuration cannot lead to an illegal buffer. */
size_t er_frontend_feature_size(const er_frontend_config *config)
{
    if (er_frontend_config_check(config) != ER_OK) {
        return 0;
    }
    return (size_t)config->cepstrum_count * (1 + config->delta_order) * config->stack;
}

/* --------------------------------------------------------------------------------- life cycle */

/* Place all arrays of a checked configuration behind the struct and fill the tables, or only count
 * with base null. Returns the size of the block. */
static size_t lay_out(er_frontend *frontend, char *base)
{
    const er_frontend_config *config = &frontend->config;
    const size_t cepstra = config->cepstrum_count;
    size_t used = 0;

    er_memory_take(base, &used, 1, sizeof *frontend);
    er_filterbank_init(&frontend->filterbank, config, base, &used);
    frontend->signal = er_memory_take(base, &used, config->window_samples, sizeof(float));
    frontend->history = er_memory_take(base, &used, HISTORY * cepstra, sizeof(float));
    frontend->mean = er_memory_take(base, &used, cepstra, sizeof(float));
    frontend->quiet = er_memory_take(base, &used, cepstra, sizeof(float));
    frontend->vector =
        er_memory_take(base, &used, er_frontend_feature_size(config), sizeof(float));
    return used;
}

/* Only counted, so a struct on the stack will do. */
size_t er_frontend_size(const er_frontend_config *config)
{
    er_frontend probe;

    if (er_frontend_config_check(config) != ER_OK) {
        return 0;
    }
    probe.config = *config;
    return lay_out(&probe, NULL);
}

/* Nothing is written to the caller's memory before every check has passed. */
er_status er_frontend_init(void *memory, size_t memory_size, const er_frontend_config *config,
                           er_frontend **frontend_out)
{
    er_frontend *frontend = memory;
    er_status status;

    if (memory == NULL || config == NULL || frontend_out == NULL) {
        return ER_ERROR_ARGUMENT;
    }
    status = er_frontend_config_check(config);
    if (status != ER_OK) {
        return status;
    }
    if (!er_memory_is_fit(memory, memory_size, er_frontend_size(config))) {
        return ER_ERROR_MEMORY;
    }
    memset(frontend, 0, sizeof *frontend);
    frontend->config = *config;
    frontend->lookahead = er_frontend_lookahead_frames(config);
    frontend->frame_size = config->cepstrum_count * (1 + config->delta_order);
    lay_out(frontend, memory);
    er_frontend_reset(frontend);
    *frontend_out = frontend;
    return ER_OK;
}

/* The object remembers what to free; if there is none, it is freed here. */
er_status er_frontend_create(const er_frontend_config *config, er_frontend **frontend_out)
{
    size_t size;
    void *allocation;
    void *memory;
    er_status status;

    if (config == NULL || frontend_out == NULL) {
        return ER_ERROR_ARGUMENT;
    }
    status = er_frontend_config_check(config);
    if (status != ER_OK) {
        return status;
    }
    size = er_frontend_size(config);
    memory = er_memory_allocate(size, &allocation);
    if (memory == NULL) {
        return ER_ERROR_MEMORY;
    }
    status = er_frontend_init(memory, size, config, frontend_out);
    if (status != ER_OK) {
        free(allocation);
        return status;
    }
    (*frontend_out)->allocation = allocation;
    return ER_OK;
}

/* An object of er_frontend_init owns nothing: destroying it does nothing. */
void er_frontend_destroy(er_frontend *frontend)
{
    if (frontend != NULL) {
        free(frontend->allocation);
    }
}

/* The other buffers need no clearing: the counters say what of them is valid. */
void er_frontend_reset(er_frontend *frontend)
{
    uint32_t i;

    if (frontend == NULL) {
        return;
    }
    frontend->signal_count = 0;
    frontend->previous = 0.0f;
    frontend->cepstrum_count = 0;
    frontend->frame_count = 0;
    frontend->vector_frames = 0;
    frontend->mode = MODE_IDLE;
    frontend->flushing = 0;
    frontend->flush_quiet = 0;
    frontend->flush_left = 0;
    memcpy(frontend->mean, frontend->config.mean, frontend->config.cepstrum_count * sizeof(float));
    for (i = 0; i < frontend->config.filter_count; i++) {
        frontend->filterbank.log_mel[i] = er_logf(frontend->config.log_floor);
    }
}

void er_frontend_log_mel(const er_frontend *frontend, float *log_mel_out)
{
    memcpy(log_mel_out, frontend->filterbank.log_mel, frontend->config.filter_count * sizeof(float));
}

/* ------------------------------------------------------------------------------ run-time steps */

/* Cepstrum number index; before the first one the first is repeated. */
static const float *past_cepstrum(const er_frontend *frontend, uint64_t index, uint32_t back)
{
    const uint64_t row = index < back ? 0 : index - back;

    return frontend->history + row % HISTORY * frontend->config.cepstrum_count;
}

/* Features of the frame lookahead frames before the newest cepstrum: mean-free cepstra, then
 *   delta[t]       = c[t + 2] - c[t - 2]
 *   delta-delta[t] = (c[t + 3] - c[t - 1]) - (c[t + 1] - c[t - 3]).
 * The running mean follows the frame itself, not its look-ahead, with a rate that falls from 1/51
 * to 1/400; the deltas are taken from the cepstra as they are. */
static void compute_frame(er_frontend *frontend, float *restrict out)
{
    const er_frontend_config *config = &frontend->config;
    const uint32_t cepstra = config->cepstrum_count;
    const uint64_t now = frontend->frame_count;
    const float *static_now = past_cepstrum(frontend, now, 0);
    uint32_t m;

    if (config->subtract_mean) {
        const float rate = now < 349 ? 1.0f / (float)(51 + now) : 1.0f / 400.0f;

        for (m = 0; m < cepstra; m++) {
            frontend->mean[m] += (static_now[m] - frontend->mean[m]) * rate;
            out[m] = static_now[m] - frontend->mean[m];
        }
    } else {
        memcpy(out, static_now, cepstra * sizeof(float));
    }
    if (config->delta_order >= 1) {
        const float *before = past_cepstrum(frontend, now, 2);
        const float *after = past_cepstrum(frontend, now + 2, 0);

        for (m = 0; m < cepstra; m++) {
            out[cepstra + m] = after[m] - before[m];
        }
    }
    if (config->delta_order >= 2) {
        const float *before_3 = past_cepstrum(frontend, now, 3);
        const float *before_1 = past_cepstrum(frontend, now, 1);
        const float *after_1 = past_cepstrum(frontend, now + 1, 0);
        const float *after_3 = past_cepstrum(frontend, now + 3, 0);

        for (m = 0; m < cepstra; m++) {
            out[2 * cepstra + m] = (after_3[m] - before_1[m]) - (after_1[m] - before_3[m]);
        }
    }
}

/* Would one more cepstrum complete a feature vector? The callers ask before they take input, so
 * that they never hold a vector for which the output has no room. */
static int next_completes_vector(const er_frontend *frontend)
{
    return frontend->cepstrum_count >= frontend->lookahead &&
           frontend->vector_frames + 1 == frontend->config.stack;
}

/* Must the caller of push or flush stop before the next cepstrum? */
static int sink_is_full_for_next(const er_frontend *frontend, const er_feature_sink *sink)
{
    return sink->count == sink->capacity && next_completes_vector(frontend);
}

/* The row of the history that the next cepstrum goes to. */
static float *next_row(er_frontend *frontend)
{
    return frontend->history +
           frontend->cepstrum_count % HISTORY * frontend->config.cepstrum_count;
}

/* The next row of the history has been written: account for it and let out what it completes. */
static void accept_cepstrum(er_frontend *frontend, er_feature_sink *sink)
{
    const size_t cepstra = frontend->config.cepstrum_count;
    const float *cepstrum = next_row(frontend);

    if (frontend->cepstrum_count == 0 || cepstrum[0] < frontend->quiet[0]) {
        memcpy(frontend->quiet, cepstrum, cepstra * sizeof(float));
    }
    frontend->cepstrum_count++;
    if (frontend->cepstrum_count <= frontend->lookahead) {
        return;
    }
    compute_frame(frontend,
                  frontend->vector + (size_t)frontend->vector_frames * frontend->frame_size);
    frontend->frame_count++;
    frontend->vector_frames++;
    if (frontend->vector_frames == frontend->config.stack) {
        const size_t size = (size_t)frontend->frame_size * frontend->config.stack;

        memcpy(sink->features + sink->count * size, frontend->vector, size * sizeof(float));
        sink->count++;
        frontend->vector_frames = 0;
    }
}

/* One sample of pre-emphasis at int16 scale, clamped to full scale. */
static float preemphasize(er_frontend *frontend, float sample)
{
    const float x = er_sanitizef(sample, 1.0f) * 32768.0f;
    const float y = x - frontend->config.preemphasis * frontend->previous;

    frontend->previous = x;
    return y;
}

/* signal[] holds a whole window: make its cepstrum and keep what the next frame shares with it. */
static void complete_window(er_frontend *frontend, er_feature_sink *sink)
{
    const uint32_t hop = frontend->config.hop_samples;
    const uint32_t keep = frontend->config.window_samples - hop;

    er_filterbank_compute(&frontend->filterbank, frontend->signal, next_row(frontend));
    memmove(frontend->signal, frontend->signal + hop, keep * sizeof(float));
    frontend->signal_count = keep;
    accept_cepstrum(frontend, sink);
}

/* What push and push_cepstra have in common before the first item: refusals and the kind of input.
 * Without input any order of calls is harmless. */
static er_status begin_push(er_frontend *frontend, const float *input, size_t count,
                            er_frontend_mode mode, const er_feature_sink *sink,
                            const size_t *frames_out, const size_t *consumed_out)
{
    if (frontend == NULL || sink->features == NULL || sink->capacity == 0 || frames_out == NULL ||
        consumed_out == NULL) {
        return ER_ERROR_ARGUMENT;
    }
    if (count == 0) {
        return ER_OK;
    }
    if (input == NULL || frontend->flushing ||
        (frontend->mode != MODE_IDLE && frontend->mode != mode)) {
        return ER_ERROR_ARGUMENT;
    }
    frontend->mode = mode;
    return ER_OK;
}

/* ------------------------------------------------------------------------------------ streaming */

/* Fill the window sample by sample. When the sample that would complete it has no room for the
 * vector it gives, that sample is left with the caller. Also refused: samples after a flush. */
er_status er_frontend_push(er_frontend *frontend, const float *samples, size_t count,
                           float *features_out, size_t capacity, size_t *frames_out,
                           size_t *consumed_out)
{
    er_feature_sink sink = {features_out, capacity, 0};
    const er_status status =
        begin_push(frontend, samples, count, MODE_SAMPLES, &sink, frames_out, consumed_out);
    size_t consumed = 0;

    if (status != ER_OK) {
        return status;
    }
    while (consumed < count) {
        const uint32_t missing = frontend->config.window_samples - frontend->signal_count;

        if (missing == 1 && sink_is_full_for_next(frontend, &sink)) {
            break;
        }
        frontend->signal[frontend->signal_count] = preemphasize(frontend, samples[consumed]);
        frontend->signal_count++;
        consumed++;
        if (missing == 1) {
            complete_window(frontend, &sink);
        }
    }
    *frames_out = sink.count;
    *consumed_out = consumed;
    return ER_OK;
}

/* Values are clamped far outside what cepstra reach. */
er_status er_frontend_push_cepstra(er_frontend *frontend, const float *cepstra, size_t count,
                                   float *features_out, size_t capacity, size_t *frames_out,
                                   size_t *consumed_out)
{
    er_feature_sink sink = {features_out, capacity, 0};
    const er_status status =
        begin_push(frontend, cepstra, count, MODE_CEPSTRA, &sink, frames_out, consumed_out);
    size_t consumed = 0;

    if (status != ER_OK) {
        return status;
    }
    for (; consumed < count && !sink_is_full_for_next(frontend, &sink); consumed++) {
        const size_t size = frontend->config.cepstrum_count;
        float *row = next_row(frontend);
        size_t m;

        for (m = 0; m < size; m++) {
            row[m] = er_sanitizef(cepstra[consumed * size + m], 1e6f);
        }
        accept_cepstrum(frontend, &sink);
    }
    *frames_out = sink.count;
    *consumed_out = consumed;
    return ER_OK;
}

/* Two stages, each of which can be interrupted by a full output: the started frame, then padding.
 * The signal is continued with zeros before pre-emphasis, so the frame contains the edge
 * 0 - preemphasis * last sample. A started frame always remains after a signal that is not empty,
 * unless window and hop are equal. The number of padding frames is fixed when the last frame is
 * in: quiet_frames, then up to a whole vector, then the look-ahead. Without any frame there is
 * nothing to repeat and nothing comes out. */
er_status er_frontend_flush(er_frontend *frontend, uint32_t quiet_frames, float *features_out,
                            size_t capacity, size_t *frames_out)
{
    er_feature_sink sink = {features_out, capacity, 0};

    if (frontend == NULL || features_out == NULL || capacity == 0 || frames_out == NULL ||
        (frontend->flushing && quiet_frames != frontend->flush_quiet)) {
        return ER_ERROR_ARGUMENT;
    }
    if (frontend->flushing == 0) {
        frontend->flushing = 1;
        frontend->flush_quiet = quiet_frames;
    }
    if (frontend->flushing == 1) {
        if (frontend->signal_count > 0) {
            if (sink_is_full_for_next(frontend, &sink)) {
                *frames_out = sink.count;
                return ER_OK;
            }
            while (frontend->signal_count < frontend->config.window_samples) {
                frontend->signal[frontend->signal_count] = preemphasize(frontend, 0.0f);
                frontend->signal_count++;
            }
            complete_window(frontend, &sink);
            frontend->signal_count = 0;
        }
        frontend->flushing = 2;
        if (frontend->cepstrum_count > 0) {
            const uint64_t frames = frontend->cepstrum_count + quiet_frames;
            const uint32_t stack = frontend->config.stack;

            frontend->flush_left =
                quiet_frames + (stack - frames % stack) % stack + frontend->lookahead;
        }
    }
    while (frontend->flush_left > 0 && !sink_is_full_for_next(frontend, &sink)) {
        const float *pad = quiet_frames > 0
                               ? frontend->quiet
                               : past_cepstrum(frontend, frontend->cepstrum_count - 1, 0);

        memcpy(next_row(frontend), pad, frontend->config.cepstrum_count * sizeof(float));
        accept_cepstrum(frontend, &sink);
        frontend->flush_left--;
    }
    *frames_out = sink.count;
    return ER_OK;
}
