/* SPDX-License-Identifier: MIT
 *
 * The resampler at any rate, on samples of any bits, in pieces of any size: the same samples as in one piece, as many
 * as documented, all finite; and the same again after a reset. */
#include <math.h>
#include <string.h>

#include "fuzz.h"

enum { MOST_SAMPLES = 4096, MOST_OUT = 2 * MOST_SAMPLES + 64 };

/* All samples of a signal, in pieces drawn by a seed; 0 for one piece. Returns how many. */
static size_t convert(er_resampler *resampler, const float *samples, size_t count, uint32_t seed, float *out)
{
    size_t done = 0, made = 0, produced, consumed;

    while (done < count) {
        const size_t left = count - done;
        const size_t part = seed == 0 ? left : next_random(&seed) % (left < 300 ? left + 1 : 300);
        const size_t room = seed == 0 ? MOST_OUT - made : 1 + next_random(&seed) % 200;

        REQUIRE(er_resampler_push(resampler, part == 0 ? NULL : samples + done, part, out + made,
                                  room < MOST_OUT - made ? room : MOST_OUT - made, &produced, &consumed) == ER_OK);
        REQUIRE(consumed <= part && produced <= room);
        done += consumed;
        made += produced;
    }
    do {
        const size_t room = seed == 0 ? MOST_OUT - made : 1 + next_random(&seed) % 200;

        REQUIRE(er_resampler_flush(resampler, out + made, room, &produced) == ER_OK && produced <= room);
        made += produced;
        if (produced < room) {
            break;
        }
    } while (made < MOST_OUT);
    return made;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t usual[8] = { 8000, 11025, 16000, 22050, 32000, 44100, 48000, 192000 };
    static float samples[MOST_SAMPLES], one[MOST_OUT], other[MOST_OUT];
    fuzz_input input = { data, size };
    const uint32_t kind = take_u8(&input), seed = take_u32(&input) | 1u;
    const uint32_t rate = kind < 128 ? usual[kind % 8] : kind < 192 ? 8000 + 25 * take_u16(&input) : take_u32(&input);
    const uint32_t repeat = 1 + take_u8(&input) % 16;
    er_resampler *resampler = NULL;
    size_t count = 0, made, i;

    if (er_resampler_size(rate) == 0) {
        REQUIRE(er_resampler_create(rate, &resampler) == ER_ERROR_ARGUMENT && resampler == NULL);
        return 0;
    }
    REQUIRE(rate >= 8000 && rate <= 192000 && er_resampler_size(rate) < 4u << 20);
    REQUIRE(er_resampler_create(rate, &resampler) == ER_OK);
    while (input.size > 0 && count + repeat <= MOST_SAMPLES) {      /* each value some times over */
        const uint32_t bits = kind % 2 ? take_u32(&input) : 0;
        const float value = kind % 2 ? 0.0f : (float)((int32_t)take_u16(&input) - 32768) / 32768.0f;

        for (i = 0; i < repeat; i++, count++) {
            samples[count] = value;
            if (kind % 2) {
                memcpy(&samples[count], &bits, sizeof bits);
            }
        }
    }
    made = convert(resampler, samples, count, 0, one);
    REQUIRE(made == ((uint64_t)count * 16000 + rate - 1) / rate);
    for (i = 0; i < made; i++) {
        REQUIRE(isfinite(one[i]));
    }
    er_resampler_reset(resampler);
    REQUIRE(convert(resampler, samples, count, seed, other) == made);
    REQUIRE(memcmp(one, other, made * sizeof *one) == 0);
    er_resampler_destroy(resampler);
    return 0;
}
