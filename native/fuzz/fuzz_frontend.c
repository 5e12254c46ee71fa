/* SPDX-License-Identifier: MIT
 *
 * The front end with any configuration, on samples or cepstra of any bits, in pieces of any size: finite features, the
 * same as in one piece, and the same again after a reset. */
#include <math.h>
#include <string.h>

#include "fuzz.h"

enum { MOST_SAMPLES = 3000, MOST_FRAMES = 600, MOST_FEATURES = 32 * 3 * 4 };

typedef struct signal {
    const float *values;
    size_t count;               /* samples, or cepstra of `width` values */
    size_t width;               /* 1: samples */
    int is_cepstra;
    uint32_t quiet_frames;
} signal;

static er_status push(er_frontend *frontend, const signal *one, size_t from, size_t count, float *features,
                      size_t capacity, size_t *frames, size_t *consumed)
{
    const float *values = one->values + from * one->width;

    return one->is_cepstra ? er_frontend_push_cepstra(frontend, values, count, features, capacity, frames, consumed)
                           : er_frontend_push(frontend, values, count, features, capacity, frames, consumed);
}

/* All features, in pieces drawn by a seed; 0 for one piece. Returns the vectors. */
static size_t extract(er_frontend *frontend, const signal *one, size_t feature_size, uint32_t seed, float *features)
{
    size_t done = 0, made = 0, frames, consumed;

    while (done < one->count) {
        const size_t left = one->count - done;
        const size_t part = seed == 0 ? left : next_random(&seed) % (left < 600 ? left + 1 : 600);
        const size_t room = seed == 0 ? MOST_FRAMES - made : 1 + next_random(&seed) % 3;

        REQUIRE(made + room <= MOST_FRAMES);
        REQUIRE(push(frontend, one, done, part, features + made * feature_size, room, &frames, &consumed) == ER_OK);
        REQUIRE(frames <= room && consumed <= part);
        made += frames;
        done += consumed;
    }
    do {
        const size_t room = seed == 0 ? MOST_FRAMES - made : 1 + next_random(&seed) % 3;

        REQUIRE(room > 0 && made + room <= MOST_FRAMES);
        REQUIRE(er_frontend_flush(frontend, one->quiet_frames, features + made * feature_size, room, &frames) == ER_OK);
        made += frames;
        if (frames < room) {
            break;
        }
    } while (1);
    return made;
}

static float take_float(fuzz_input *input)
{
    const uint32_t bits = take_u32(input);
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The defaults with some fields changed, or settings that are mostly legal, or any. */
static er_frontend_config take_config(fuzz_input *input)
{
    er_frontend_config config;
    const uint32_t how = take_u8(input);
    uint32_t i, changes;

    er_frontend_config_default(&config);
    if (how % 2) {
        config.fft_size = 64u << take_below(input, 6);
        config.window_samples = 32 + take_u16(input) % (config.fft_size - 31);
        config.hop_samples = 16 + take_u16(input) % (config.window_samples - 15);
        config.filter_count = 8 + take_below(input, 73);
        config.cepstrum_count = 1 + take_below(input, config.filter_count < 32 ? config.filter_count : 32);
        config.delta_order = take_below(input, 3);
        config.stack = 1 + take_below(input, 4);
        config.subtract_mean = take_below(input, 2);
    }
    if ((how & 2) != 0) {
        config.preemphasis = (float)take_u8(input) / 255.0f;
        config.low_hz = (float)take_u8(input) * 20.0f;
        config.high_hz = 8000.0f - (float)take_u8(input) * 20.0f;
        for (i = 0; i < config.cepstrum_count; i++) {
            config.mean[i] = (float)take_u8(input) - 128.0f;
        }
    }
    for (changes = (how >> 2) % 4; changes > 0; changes--) {        /* any bits in any field */
        const uint32_t bits = take_u32(input);

        memcpy((uint8_t *)&config + sizeof bits * take_below(input, sizeof config / sizeof bits), &bits, sizeof bits);
    }
    return config;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static float values[MOST_SAMPLES], one[MOST_FRAMES * MOST_FEATURES], other[MOST_FRAMES * MOST_FEATURES];
    fuzz_input input = { data, size };
    const er_frontend_config config = take_config(&input);
    const uint32_t how = take_u8(&input), seed = take_u32(&input) | 1u, repeat = 1 + take_u8(&input);
    const size_t feature_size = er_frontend_feature_size(&config);
    uint32_t noise = seed;
    signal heard = { values, 0, 1, (how & 1) != 0, how >> 4 };
    er_frontend *frontend = NULL;
    size_t frames, i, count = 0;

    if (feature_size == 0) {
        REQUIRE(er_frontend_size(&config) == 0 && er_frontend_create(&config, &frontend) != ER_OK && frontend == NULL);
        return 0;
    }
    REQUIRE(feature_size <= MOST_FEATURES && er_frontend_size(&config) < 1u << 20);
    REQUIRE(er_frontend_create(&config, &frontend) == ER_OK);
    while (input.size > 0 && count + repeat <= MOST_SAMPLES) {      /* each value with noise around it, some times */
        const float value = (how & 2) != 0 ? take_float(&input) : (float)((int)take_u8(&input) - 128) / 128.0f;

        for (i = 0; i < repeat; i++) {
            values[count++] = (how & 4) != 0 ? value : value * (float)(next_random(&noise) >> 16) / 65536.0f;
        }
    }
    if (heard.is_cepstra) {
        heard.width = config.cepstrum_count;
        count = count / heard.width > 300 ? 300 * heard.width : count;
    }
    heard.count = count / heard.width;
    frames = extract(frontend, &heard, feature_size, 0, one);
    for (i = 0; i < frames * feature_size && !heard.is_cepstra; i++) {
        REQUIRE(isfinite(one[i]));
    }
    er_frontend_reset(frontend);
    REQUIRE(extract(frontend, &heard, feature_size, seed, other) == frames);
    REQUIRE(memcmp(one, other, frames * feature_size * sizeof *one) == 0);
    er_frontend_destroy(frontend);
    return 0;
}
