/* SPDX-License-Identifier: MIT
 *
 * Recognizers of the digit models on signals that the input composes: noise, silence, tones, speech, floats of any
 * bits, at levels from denormal to infinite; resets, ends, settings, ready cepstra in between. One recognizer has the
 * scalar kernels and takes each part in one piece; the other has another ISA, takes it in pieces of any size with room
 * for few words, and is a new one wherever the first is reset. Words, times, probabilities, the word in progress and
 * the spectrum must be the same. Now and then the features go to bare streams too, whose logits must be the same. */
#include <math.h>
#include <string.h>

#include "builtin.h"
#include "fuzz.h"

enum { BUDGET = 24000, MOST_PART = 16000, WORDS = 16, OUTPUTS = 13, FEATURES = 78, FILTERS = 80 };

typedef struct listener {
    const er_model *model;
    er_recognizer *recognizer;
    uint32_t sample_rate;
    er_word words[WORDS];
    size_t count;
} listener;

typedef struct settings {
    float threshold;            /* negative: the model's own */
    uint32_t gate_ms, silence_ms;       /* 1: as at first */
} settings;

static void create(listener *one, const settings *set)
{
    REQUIRE(er_recognizer_create(one->model, one->sample_rate, &one->recognizer) == ER_OK);
    if (set->threshold >= 0.0f) {
        REQUIRE(er_recognizer_set_threshold(one->recognizer, set->threshold) == ER_OK);
    }
    if (set->gate_ms != 1) {
        REQUIRE(er_recognizer_set_gate(one->recognizer, set->gate_ms) == ER_OK);
    }
    if (set->silence_ms != 1) {
        REQUIRE(er_recognizer_set_string_silence(one->recognizer, set->silence_ms) == ER_OK);
    }
}

/* Samples, or cepstra of `width` values, in pieces drawn by a seed; 0 for one piece. */
static void push(listener *one, const float *values, size_t count, size_t width, uint32_t seed)
{
    const uint32_t most = seed % 3 == 0 ? 3 : seed % 3 == 1 ? 160 : 1700;
    size_t done = 0, found, consumed;

    one->count = 0;
    do {
        const size_t left = count - done;
        const size_t part = seed == 0 ? left : next_random(&seed) % (left < most ? left + 1 : most);
        const size_t room = seed == 0 ? WORDS - one->count : 1 + next_random(&seed) % 2;
        const float *from = values + done * width;

        REQUIRE(one->count + room <= WORDS);
        REQUIRE((width > 1 ? er_recognizer_push_cepstra(one->recognizer, from, part, one->words + one->count, room,
                                                        &found, &consumed)
                           : er_recognizer_push(one->recognizer, from, part, one->words + one->count, room, &found,
                                                &consumed)) == ER_OK);
        REQUIRE(consumed <= part && found <= room);
        one->count += found;
        done += consumed;
    } while (done < count);
}

static void finish(listener *one, size_t room)
{
    size_t found;

    one->count = 0;
    do {
        REQUIRE(one->count + room <= WORDS);
        REQUIRE(er_recognizer_finish(one->recognizer, one->words + one->count, room, &found) == ER_OK);
        one->count += found;
    } while (found == room);
}

static void require_same_word(const er_word *a, const er_word *b)
{
    REQUIRE(a->label == b->label && a->label < OUTPUTS && a->string == b->string && a->confidence == b->confidence);
    REQUIRE(a->start_s == b->start_s && a->end_s == b->end_s && a->heard_s == b->heard_s);
    REQUIRE(a->start_s >= 0.0 && a->start_s <= a->end_s && a->confidence >= 0.0f && a->confidence <= 1.0f);
}

/* Everything that two recognizers tell. */
static void require_same(const listener *a, const listener *b, int with_spectrum)
{
    float posteriors[2][OUTPUTS], log_mel[2][FILTERS];
    uint32_t found[2] = { 0, 0 };
    er_word partial[2];
    float sum = 0.0f;
    size_t i;

    REQUIRE(a->count == b->count);
    for (i = 0; i < a->count; i++) {
        require_same_word(&a->words[i], &b->words[i]);
    }
    REQUIRE(er_recognizer_posteriors(a->recognizer, posteriors[0]) == ER_OK);
    REQUIRE(er_recognizer_posteriors(b->recognizer, posteriors[1]) == ER_OK);
    REQUIRE(memcmp(posteriors[0], posteriors[1], sizeof posteriors[0]) == 0);
    for (i = 0; i < OUTPUTS; i++) {
        sum += posteriors[0][i];
    }
    REQUIRE(sum == 0.0f || (sum > 0.999f && sum < 1.001f));
    REQUIRE(er_recognizer_is_idle(a->recognizer) == er_recognizer_is_idle(b->recognizer));
    REQUIRE(er_recognizer_ended_strings(a->recognizer) == er_recognizer_ended_strings(b->recognizer));
    REQUIRE(er_recognizer_partial(a->recognizer, &partial[0], &found[0]) == ER_OK);
    REQUIRE(er_recognizer_partial(b->recognizer, &partial[1], &found[1]) == ER_OK);
    REQUIRE(found[0] == found[1]);
    if (found[0]) {
        require_same_word(&partial[0], &partial[1]);
    }
    if (with_spectrum) {
        memset(log_mel, 0, sizeof log_mel);
        REQUIRE(er_recognizer_log_mel(a->recognizer, log_mel[0]) == ER_OK);
        REQUIRE(er_recognizer_log_mel(b->recognizer, log_mel[1]) == ER_OK);
        REQUIRE(memcmp(log_mel[0], log_mel[1], sizeof log_mel[0]) == 0);
        for (i = 0; i < FILTERS; i++) {
            REQUIRE(isfinite(log_mel[0][i]));
        }
    }
}

/* Samples of 16 kHz as features to streams of both models; logits alike. */
static void check_logits(const er_model *const *models, const float *samples, size_t count)
{
    /* As in the digit models but for the initial mean: 39 values, two frames stacked. */
    er_frontend_config config;
    float features[FEATURES];
    int8_t x[FEATURES];
    int16_t logits[2][OUTPUTS];
    er_stream *streams[2];
    er_frontend *frontend;
    size_t done = 0, frames, consumed;

    er_frontend_config_default(&config);
    config.stack = 2;
    REQUIRE(er_frontend_feature_size(&config) == FEATURES && er_frontend_create(&config, &frontend) == ER_OK);
    REQUIRE(er_stream_create(models[0], &streams[0]) == ER_OK && er_stream_create(models[1], &streams[1]) == ER_OK);
    REQUIRE(er_stream_set_skipping(streams[1], count % 2) == ER_OK);
    while (done < count) {
        REQUIRE(er_frontend_push(frontend, samples + done, count - done, features, 1, &frames, &consumed) == ER_OK);
        done += consumed;
        if (frames == 1) {
            REQUIRE(er_model_quantize_input(models[0], features, x) == ER_OK);
            REQUIRE(er_stream_step_quantized(streams[0], x, logits[0]) == ER_OK);
            REQUIRE(er_model_quantize_input(models[1], features, x) == ER_OK);
            REQUIRE(er_stream_step_quantized(streams[1], x, logits[1]) == ER_OK);
            REQUIRE(memcmp(logits[0], logits[1], sizeof logits[0]) == 0);
        }
    }
    er_stream_destroy(streams[1]);
    er_stream_destroy(streams[0]);
    er_frontend_destroy(frontend);
}

/* A part of the signal; returns its length. */
static size_t compose(fuzz_input *input, uint32_t operation, uint32_t sample_rate, uint32_t *noise, float *out)
{
    static const float levels[8] = { 1.0f, 0.1f, 1e-3f, 1e-5f, 1e-40f, 10.0f, 1e30f, INFINITY };
    const size_t header = 44, speech = builtin_recording_size - header;
    const float level = levels[take_below(input, 8)];
    const size_t count = 1 + take_u16(input) % MOST_PART;
    const uint32_t detail = take_u8(input);
    uint32_t turn = 0, bits[64], used = 0;
    size_t i;

    if (operation == 4) {
        for (used = 0; used < 64 && used < detail && input->size > 0; used++) {
            bits[used] = take_u32(input);
        }
    }
    for (i = 0; i < count; i++) {
        float value = 0.0f;

        switch (operation) {
        case 0:
            value = (float)((int)(next_random(noise) >> 16) - 32768) / 32768.0f;
            break;
        case 2:                         /* a saw tooth */
            turn += 64 + 32 * detail;
            value = (float)((int)(turn % 65536) - 32768) / 32768.0f;
            break;
        case 3:                         /* of 8 kHz */
            value = (float)builtin_recording[header + (detail * 32 + i * 8000 / sample_rate) % speech];
            value = (value - 128.0f) / 128.0f;
            break;
        case 4:
            if (used > 0) {
                memcpy(&value, &bits[i % used], sizeof value);
            }
            break;
        default:
            break;
        }
        out[i] = operation == 4 ? value : value * level;
    }
    return count;
}

/* Settings change in both recognizers, or are refused by both. */
static void change_settings(fuzz_input *input, listener *listeners, settings *set)
{
    const uint32_t which = take_below(input, 3), value = take_u16(input);
    er_status status[2];
    int i;

    for (i = 0; i < 2; i++) {
        er_recognizer *recognizer = listeners[i].recognizer;

        status[i] = which == 0   ? er_recognizer_set_gate(recognizer, value)
                    : which == 1 ? er_recognizer_set_threshold(recognizer, (float)value / 32768.0f)
                                 : er_recognizer_set_string_silence(recognizer, value);
    }
    REQUIRE(status[0] == status[1]);
    if (status[0] == ER_OK && which == 0) {
        set->gate_ms = value;
    } else if (status[0] == ER_OK && which == 1) {
        set->threshold = (float)value / 32768.0f;
    } else if (status[0] == ER_OK) {
        set->silence_ms = value;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t rates[8] = { 16000, 16000, 16000, 8000, 44100, 48000, 11025, 22050 };
    static er_model *models[2][5];
    static const char *words[5];
    static uint32_t word_count;
    static float signal[MOST_PART];
    fuzz_input input = { data, size };
    const uint32_t how = take_u8(&input), seed = take_u32(&input) | 1u;
    const uint32_t small = (how & 3) != 0, rate = rates[take_below(&input, 8)];
    const er_model *pair[2];
    settings set = { -1.0f, 1, 1 };
    listener listeners[2];
    uint32_t noise = seed, i;
    size_t heard = 0, budget = small ? BUDGET : BUDGET / 3;

    if (word_count == 0) {
        word_count = find_kernels(words);
        for (i = 0; i < word_count; i++) {
            const er_model_options options = { 0, words[i] };

            REQUIRE(er_model_create(builtin_model, builtin_model_size, &options, &models[0][i], NULL) == ER_OK);
            REQUIRE(er_model_create(builtin_small_model, builtin_small_model_size, &options, &models[1][i], NULL) ==
                    ER_OK);
        }
    }
    pair[0] = models[small][0];
    pair[1] = models[small][(how >> 2) % word_count];
    for (i = 0; i < 2; i++) {
        memset(&listeners[i], 0, sizeof listeners[i]);
        listeners[i].model = pair[i];
        listeners[i].sample_rate = rate;
        create(&listeners[i], &set);
    }
    while (input.size > 0 && heard < budget) {
        const uint32_t operation = take_below(&input, 9);

        if (operation < 5 || operation == 7) {
            /* Frames of 13 cepstra enter behind the filters, not among samples. */
            const int is_cepstra = operation == 7;
            size_t count = compose(&input, is_cepstra ? 0 : operation, rate, &noise, signal);

            if (is_cepstra) {
                er_recognizer_reset(listeners[0].recognizer);
                er_recognizer_reset(listeners[1].recognizer);
                count = 1 + count % 200;
            }
            push(&listeners[0], signal, count, is_cepstra ? 13 : 1, 0);
            push(&listeners[1], signal, count, is_cepstra ? 13 : 1, next_random(&noise) | 1u);
            require_same(&listeners[0], &listeners[1], !is_cepstra && count % 4 == 0);
            if (rate == 16000 && !is_cepstra && (how & 0xC0) == 0xC0) {
                check_logits(pair, signal, count);
            }
            heard += count + 500;
            if (!is_cepstra) {
                continue;
            }
        }
        if (operation == 8) {
            change_settings(&input, listeners, &set);
            continue;
        }
        if (operation != 5) {           /* the end, of cepstra too */
            finish(&listeners[0], WORDS);
            finish(&listeners[1], 1);
            require_same(&listeners[0], &listeners[1], 0);
        }
        er_recognizer_reset(listeners[0].recognizer);
        er_recognizer_destroy(listeners[1].recognizer);
        create(&listeners[1], &set);
        heard += 500;
    }
    er_recognizer_destroy(listeners[0].recognizer);
    er_recognizer_destroy(listeners[1].recognizer);
    return 0;
}
