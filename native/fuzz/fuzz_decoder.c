/* SPDX-License-Identifier: MIT
 *
 * The decoder on logits of any value, with settings from the input, in pieces of any size and with room for few words:
 * the same words as in one piece, in order, none of them blank; and the same again after a reset. */
#include <string.h>

#include "builtin.h"
#include "fuzz.h"

enum { MOST_STEPS = 1500, MOST_WORDS = MOST_STEPS + 1, OUTPUTS = 13 };

/* All words, in pieces drawn by a seed; 0 for one piece. */
static size_t decode(er_decoder *decoder, const int16_t *logits, size_t steps, uint32_t seed, er_word *words)
{
    size_t done = 0, made = 0, count, consumed;
    uint32_t found;
    er_word partial;

    while (done < steps) {
        const size_t left = steps - done;
        const size_t part = seed == 0 ? left : next_random(&seed) % (left < 90 ? left + 1 : 90);
        const size_t room = seed == 0 ? MOST_WORDS - made : 1 + next_random(&seed) % 3;

        REQUIRE(er_decoder_push(decoder, logits + done * OUTPUTS, part, words + made, room, &count, &consumed) == ER_OK);
        REQUIRE(consumed <= part && count <= room);
        REQUIRE(er_decoder_partial(decoder, &partial, &found) == ER_OK);
        REQUIRE(!found || (partial.label < OUTPUTS && partial.start_s <= partial.end_s));
        done += consumed;
        made += count;
    }
    REQUIRE(er_decoder_finish(decoder, words + made, 1, &count) == ER_OK && count <= 1);
    made += count;
    REQUIRE(er_decoder_finish(decoder, words + made, 1, &count) == ER_OK && count == 0);
    return made;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static er_model *model;
    static int16_t logits[MOST_STEPS * OUTPUTS];
    static er_word one[MOST_WORDS + 3], other[MOST_WORDS + 3];
    fuzz_input input = { data, size };
    const uint32_t seed = take_u32(&input) | 1u, settings = take_u8(&input);
    er_decoder *decoder;
    size_t steps = 0, count, i;
    uint32_t strings;
    float threshold = 0.0f;

    if (model == NULL) {
        er_model_info info;

        REQUIRE(er_model_create(builtin_small_model, builtin_small_model_size, NULL, &model, NULL) == ER_OK);
        REQUIRE(er_model_describe(model, &info) == ER_OK && info.output_size == OUTPUTS);
    }
    REQUIRE(er_decoder_create(model, &decoder) == ER_OK);
    if ((settings & 1) != 0) {
        threshold = (float)take_u8(&input) / 128.0f;
        REQUIRE((er_decoder_set_threshold(decoder, threshold) == ER_OK) == (threshold <= 1.0f));
    }
    if ((settings & 2) != 0) {
        const uint32_t silence_ms = take_u16(&input);

        REQUIRE((er_decoder_set_string_silence(decoder, silence_ms) == ER_OK) ==
                (silence_ms >= 20 && silence_ms <= 60000));
    }
    if ((settings & 4) != 0) {
        const uint32_t output = take_below(&input, 16);
        const int16_t bias = (int16_t)take_u16(&input);

        REQUIRE((er_decoder_set_bias(decoder, output, bias) == ER_OK) == (output < OUTPUTS));
    }
    while (input.size > 0 && steps < MOST_STEPS) {      /* the winner and how often, or all logits of a step */
        const uint32_t what = take_u8(&input), repeat = 1 + (what >> 4) * 7;
        int16_t *step = logits + steps * OUTPUTS;

        for (i = 0; i < OUTPUTS; i++) {
            step[i] = (int16_t)((what & 15) == 15 ? take_u16(&input) : (what & 15) == i ? 8000 + 90 * what : 0);
        }
        for (i = 1; i < repeat && steps + i < MOST_STEPS; i++) {
            memcpy(step + i * OUTPUTS, step, OUTPUTS * sizeof *step);
        }
        steps += i;
    }
    count = decode(decoder, logits, steps, 0, one);
    strings = er_decoder_ended_strings(decoder);
    for (i = 0; i < count; i++) {
        const er_word *word = &one[i];

        REQUIRE(strcmp(er_model_label(model, word->label), "") != 0 && word->label < OUTPUTS);
        REQUIRE(word->confidence >= 0.0f && word->confidence <= 1.0f && word->start_s >= 0.0);
        REQUIRE(word->start_s <= word->end_s && word->string < strings);
        if (i > 0) {
            REQUIRE(word[-1].end_s <= word->start_s && word[-1].heard_s <= word->heard_s);
            REQUIRE(word[-1].string == word->string || word[-1].string + 1 == word->string);
        }
    }
    er_decoder_reset(decoder);
    memset(other, 0, sizeof other);
    REQUIRE(decode(decoder, logits, steps, seed, other) == count && er_decoder_ended_strings(decoder) == strings);
    for (i = 0; i < count; i++) {
        REQUIRE(one[i].label == other[i].label && one[i].start_s == other[i].start_s && one[i].end_s == other[i].end_s &&
                one[i].heard_s == other[i].heard_s && one[i].confidence == other[i].confidence &&
                one[i].string == other[i].string);
    }
    er_decoder_destroy(decoder);
    return 0;
}
