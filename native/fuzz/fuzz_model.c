/* SPDX-License-Identifier: MIT
 *
 * The parser of model files, and whatever it accepts: steps on the scalar kernels and on another ISA, drawn by the
 * file's checksum, in every way that steps can be asked for, and some audio; all must agree. */
#include <string.h>

#include "fuzz.h"
#include "model_mutator.h"

enum { STEPS = 6, STREAMS = 3, SAMPLES = 2500, WORDS = 2 };

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size, uint8_t *out,
                                 size_t max_size, unsigned seed);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    return model_mutate(data, size, max_size, seed);
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size, uint8_t *out,
                                 size_t max_size, unsigned seed)
{
    return model_cross(a, a_size, b, b_size, out, max_size, seed);
}

/* Texts are all inside the file, and there are as many as the model says. */
static void check_texts(const er_model *model, const er_model_info *info)
{
    const char *key, *value;
    size_t length = 0;
    uint32_t i;

    REQUIRE(info->label_count == 0 || info->label_count == info->output_size);
    for (i = 0; i < info->label_count; i++) {
        length += strlen(er_model_label(model, i));
    }
    for (i = 0; i < info->metadata_count; i++) {
        REQUIRE(er_model_metadata(model, i, &key, &value) == ER_OK);
        length += strlen(key) + strlen(value);
    }
    REQUIRE(length < info->file_bytes);
    REQUIRE(er_model_label(model, info->label_count) == NULL);
    REQUIRE(er_model_metadata(model, info->metadata_count, &key, &value) == ER_ERROR_ARGUMENT);
}

static er_status run(er_stream *stream, const er_model_info *info, const int16_t *x, size_t steps, int16_t *logits)
{
    return info->profile == 2 ? er_stream_run_quantized16(stream, x, steps, logits)
                              : er_stream_run_quantized(stream, (const int8_t *)x, steps, logits);
}

static er_status step_many(er_stream **streams, const er_model_info *info, const int16_t *x, int16_t *logits)
{
    return info->profile == 2 ? er_stream_step_many_quantized16(streams, STREAMS, x, logits)
                              : er_stream_step_many_quantized(streams, STREAMS, (const int8_t *)x, logits);
}

/* Steps of the scalar kernels, one after the other, against those of the other ones: all at once, a stream that skips
 * and that takes over the state halfway, and several streams in one call. */
static void check_steps(const er_model *scalar, const er_model *other, const er_model_info *info, uint32_t seed)
{
    const size_t inputs = info->input_size, outputs = info->output_size, width = info->profile == 2 ? 2 : 1;
    int16_t *x = take_memory_of(STEPS * inputs * width), *expected = take_memory_of(2 * STEPS * outputs);
    int16_t *logits = take_memory_of(2 * STEPS * outputs), *state = take_memory_of(4 * info->state_size);
    int16_t *many_x = take_memory_of(STREAMS * inputs * width), *many = take_memory_of(2 * STREAMS * outputs);
    er_stream *one, *two, *skipping, *streams[STREAMS];
    size_t i, k;

    for (i = 0; i < STEPS * inputs * width; i++) {
        const uint32_t r = next_random(&seed);

        ((uint8_t *)x)[i] = (uint8_t)((r >> 8) % 8 == 0 ? 0x7F + (r & 1) : r);
    }
    if (seed % 4 == 0) {                /* inputs that stand still */
        memcpy((uint8_t *)x + inputs * width, x, inputs * width);
    }
    REQUIRE(er_stream_create(scalar, &one) == ER_OK && er_stream_create(other, &two) == ER_OK);
    REQUIRE(er_stream_create(other, &skipping) == ER_OK && er_stream_set_skipping(skipping, 1) == ER_OK);
    for (i = 0; i < STEPS; i++) {
        const int16_t *now = (const int16_t *)(void *)((uint8_t *)x + i * inputs * width);

        if (i == STEPS / 2) {           /* from there on what skips goes on from the state of scalar */
            REQUIRE(er_stream_get_state(one, state) == ER_OK && er_stream_set_state(skipping, state) == ER_OK);
        }
        REQUIRE(run(one, info, now, 1, expected + i * outputs) == ER_OK);
        REQUIRE(run(skipping, info, now, 1, logits) == ER_OK);
        REQUIRE(memcmp(logits, expected + i * outputs, 2 * outputs) == 0);
    }
    REQUIRE(run(two, info, x, STEPS, logits) == ER_OK);
    REQUIRE(memcmp(logits, expected, 2 * STEPS * outputs) == 0);
    REQUIRE(er_stream_get_state(one, state) == ER_OK);
    REQUIRE(er_stream_get_state(two, state + info->state_size) == ER_OK);
    REQUIRE(memcmp(state, state + info->state_size, 2 * info->state_size) == 0);
    for (k = 0; k < STREAMS; k++) {
        REQUIRE(er_stream_create(other, &streams[k]) == ER_OK);
    }
    for (i = 0; i < 2; i++) {
        for (k = 0; k < STREAMS; k++) {
            memcpy((uint8_t *)many_x + k * inputs * width, (uint8_t *)x + i * inputs * width, inputs * width);
        }
        REQUIRE(step_many(streams, info, many_x, many) == ER_OK);
        for (k = 0; k < STREAMS; k++) {
            REQUIRE(memcmp(many + k * outputs, expected + i * outputs, 2 * outputs) == 0);
        }
    }
    er_stream_reset(one);               /* the initial state again */
    REQUIRE(run(one, info, x, 1, logits) == ER_OK && memcmp(logits, expected, 2 * outputs) == 0);
    for (k = 0; k < STREAMS; k++) {
        er_stream_destroy(streams[k]);
    }
    er_stream_destroy(skipping);
    er_stream_destroy(two);
    er_stream_destroy(one);
    free(many);
    free(many_x);
    free(state);
    free(logits);
    free(expected);
    free(x);
}

/* Bursts of noise through two recognizers, one in pieces. */
static void check_audio(const er_model *scalar, const er_model *other, const er_model_info *info, uint32_t seed)
{
    static const uint32_t rates[4] = { 16000, 8000, 16000, 48000 };
    const er_model *models[2] = { scalar, other };
    float *samples = take_memory_of(SAMPLES * sizeof *samples);
    float *posteriors = take_memory_of(2 * info->output_size * sizeof *posteriors);
    er_word words[2][WORDS];
    size_t counts[2], i, k;

    for (i = 0; i < SAMPLES; i++) {
        samples[i] = (float)((int)(next_random(&seed) >> 16) - 32768) / (i / 500 % 2 ? 32768.0f : 3e6f);
    }
    memset(words, 0, sizeof words);
    for (k = 0; k < 2; k++) {
        er_recognizer *recognizer;
        size_t done = 0;

        REQUIRE(er_recognizer_create(models[k], rates[seed % 4], &recognizer) == ER_OK);
        counts[k] = 0;
        while (done < SAMPLES && counts[k] < WORDS) {
            const size_t most = k == 0 ? SAMPLES : 1 + seed % 700;
            size_t found, consumed;

            REQUIRE(er_recognizer_push(recognizer, samples + done, SAMPLES - done < most ? SAMPLES - done : most,
                                       words[k] + counts[k], WORDS - counts[k], &found, &consumed) == ER_OK);
            done += consumed;
            counts[k] += found;
        }
        if (counts[k] < WORDS) {
            REQUIRE(er_recognizer_finish(recognizer, words[k] + counts[k], WORDS - counts[k], &i) == ER_OK);
            counts[k] += i;
        }
        REQUIRE(er_recognizer_posteriors(recognizer, posteriors + k * info->output_size) == ER_OK);
        er_recognizer_destroy(recognizer);
    }
    REQUIRE(counts[0] == counts[1]);
    for (i = 0; i < counts[0]; i++) {
        const er_word *a = &words[0][i], *b = &words[1][i];

        REQUIRE(a->label == b->label && a->label < info->output_size && a->start_s == b->start_s &&
                a->end_s == b->end_s && a->confidence == b->confidence && a->string == b->string);
        REQUIRE(a->confidence >= 0.0f && a->confidence <= 1.0f && a->start_s >= 0.0 && a->start_s <= a->end_s);
    }
    REQUIRE(memcmp(posteriors, posteriors + info->output_size, info->output_size * sizeof *posteriors) == 0);
    free(posteriors);
    free(samples);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *words[5];
    static uint32_t word_count;
    const uint32_t seed = er_crc32(data, size) | 1u;
    er_model_options options = { ER_MODEL_BORROW, "scalar" };
    er_model *scalar = NULL, *other = NULL;
    er_model_info info;
    er_error error;
    er_status status;
    size_t bytes = 0;

    if (word_count == 0) {
        word_count = find_kernels(words);
    }
    memset(&error, 0xA5, sizeof error);
    status = er_model_create(data, size, &options, &scalar, &error);
    if (status != ER_OK) {
        REQUIRE(scalar == NULL && error.status == status && error.rule >= 1 && error.rule <= 33);
        REQUIRE(status <= ER_ERROR_TRUNCATED && status >= ER_ERROR_METADATA && error.offset <= size);
        return 0;
    }
    options.flags = 0;
    options.kernel = words[seed / 2 % word_count];
    REQUIRE(er_model_size(data, size, &options, &bytes, &error) == ER_OK);
    REQUIRE(er_model_create(data, size, &options, &other, &error) == ER_OK);
    REQUIRE(er_model_describe(other, &info) == ER_OK);
    REQUIRE(strcmp(info.kernel, options.kernel) == 0 && info.file_bytes == size && info.model_bytes == bytes);
    check_texts(other, &info);
    check_steps(scalar, other, &info, seed);
    if (info.has_decoder) {
        check_audio(scalar, other, &info, seed);
    }
    er_model_destroy(other);
    er_model_destroy(scalar);
    return 0;
}
