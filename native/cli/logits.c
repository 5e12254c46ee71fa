/* SPDX-License-Identifier: MIT */
#include "logits.h"

#include <stdlib.h>
#include <string.h>

#include "model.h"      /* the front end's parameters in a model have no public reader */
#include "status.h"

enum { QUIET_FRAMES = 30, FRAMES = 16, BLOCK = 1024 };

int logits_open(struct logits *logits, const er_model *model, uint32_t sample_rate, FILE *out,
                struct problem *problem)
{
    er_model_info info;
    er_status status;

    memset(logits, 0, sizeof *logits);
    er_model_describe(model, &info);
    if (!info.has_frontend) {
        return problem_set(problem, "the model: %s", er_status_text(ER_ERROR_MISSING));
    }
    logits->model = model;
    logits->out = out;
    logits->inputs = info.input_size;
    logits->outputs = info.output_size;
    logits->profile = info.profile;
    logits->features = malloc(FRAMES * info.input_size * sizeof *logits->features);
    logits->quantized = malloc(info.input_size * sizeof *logits->quantized);
    logits->values = malloc(info.output_size * sizeof *logits->values);
    status = er_resampler_create(sample_rate, &logits->resampler);
    if (status == ER_OK) {
        status = er_frontend_create(&model->frontend, &logits->frontend);
    }
    if (status == ER_OK) {
        status = er_stream_create(model, &logits->stream);
    }
    if (status == ER_OK && (logits->features == NULL || logits->quantized == NULL || logits->values == NULL)) {
        status = ER_ERROR_MEMORY;
    }
    if (status != ER_OK) {
        logits_close(logits);
        return problem_set(problem, "logits at %u Hz: %s", (unsigned)sample_rate, er_status_text(status));
    }
    return 0;
}

static void step(struct logits *logits, const float *features)
{
    uint32_t i;

    if (logits->profile == ER_PROFILE_TRAINED) {
        er_model_quantize_input(logits->model, features, (int8_t *)logits->quantized);
        er_stream_step_quantized(logits->stream, (const int8_t *)logits->quantized, logits->values);
    } else {
        er_model_quantize_input16(logits->model, features, logits->quantized);
        er_stream_step_quantized16(logits->stream, logits->quantized, logits->values);
    }
    for (i = 0; i < logits->outputs; i++) {
        const uint16_t bits = (uint16_t)logits->values[i];
        const uint8_t bytes[2] = {(uint8_t)bits, (uint8_t)(bits >> 8)};

        logits->crc = er_crc32_update(logits->crc, bytes, 2);
        if (logits->out != NULL) {
            fprintf(logits->out, "%d%c", logits->values[i], i + 1 < logits->outputs ? ' ' : '\n');
        }
    }
    logits->steps++;
}

static void step_all(struct logits *logits, size_t frames)
{
    size_t i;

    for (i = 0; i < frames; i++) {
        step(logits, logits->features + i * logits->inputs);
    }
}

/* Samples at 16 kHz. */
static void hear_resampled(struct logits *logits, const float *samples, size_t count)
{
    size_t frames, consumed;

    for (; count > 0; samples += consumed, count -= consumed) {
        er_frontend_push(logits->frontend, samples, count, logits->features, FRAMES, &frames, &consumed);
        step_all(logits, frames);
    }
}

void logits_hear(struct logits *logits, const float *samples, size_t count)
{
    float block[BLOCK];
    size_t produced, consumed;

    for (; count > 0; samples += consumed, count -= consumed) {
        er_resampler_push(logits->resampler, samples, count, block, BLOCK, &produced, &consumed);
        hear_resampled(logits, block, produced);
    }
}

void logits_finish(struct logits *logits)
{
    float block[BLOCK];
    size_t produced, frames;

    do {
        er_resampler_flush(logits->resampler, block, BLOCK, &produced);
        hear_resampled(logits, block, produced);
    } while (produced == BLOCK);
    do {
        er_frontend_flush(logits->frontend, QUIET_FRAMES, logits->features, FRAMES, &frames);
        step_all(logits, frames);
    } while (frames == FRAMES);
}

void logits_close(struct logits *logits)
{
    er_stream_destroy(logits->stream);
    er_frontend_destroy(logits->frontend);
    er_resampler_destroy(logits->resampler);
    free(logits->values);
    free(logits->quantized);
    free(logits->features);
}
