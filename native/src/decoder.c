/* SPDX-License-Identifier: MIT
 *
 * The decoder: logits -> words, rule D8 of exporters/FORMAT.md. Scores and times are integers;
 * float enters only for the confidence, in one fixed order of operations (mathf.h), so the words
 * are the same bits on every platform.
 */
#include "decoder.h"

#include <stdlib.h>
#include <string.h>

#include "frontend.h"
#include "mathf.h"
#include "memory.h"
#include "model.h"

enum {
    NO_RUN = -1,
    SAMPLES_PER_MS = ER_SAMPLE_RATE / 1000,
    STRING_SILENCE_MS = 800,    /* at first; the bounds are those of the header */
    CLEAR_MARGIN = 3            /* blank wins clearly if every other output is e^-3 as probable at most */
};

struct er_decoder {
    const er_model *model;
    void *allocation;           /* what er_decoder_destroy releases; null in the caller's memory */
    int32_t *scores;            /* [output_size] biased logits of the last step */
    int32_t *bias;              /* [output_size] in the unit of the logits */
    int32_t bias_shift;         /* bias unit 2^-11 = logit unit << bias_shift */
    float score_unit;           /* of a logit */
    float threshold;
    int64_t step_samples;       /* 16 kHz samples per step */
    int64_t reach_samples;      /* what the front end needs beyond the samples of a step */
    int64_t string_samples;     /* silence after which a string ends */
    uint64_t step_count;        /* since the reset */
    int32_t run;                /* output of the run in progress, or NO_RUN (blank, or nothing yet) */
    float run_confidence;       /* its greatest probability so far */
    int64_t previous_end;       /* end of the last word, reported or not, in samples */
    uint64_t string_steps;      /* step_count when the run of the last reported word had ended */
    uint64_t blank_steps;       /* in turn, up to the last step, that blank won clearly */
    int string_is_open;         /* words have been reported since a string ended */
    uint32_t ended_strings;
};

/* Place the arrays behind the struct, or only count with base null. Returns the size of the block. */
static size_t lay_out(er_decoder *decoder, char *base, const er_model *model)
{
    size_t used = 0;

    er_memory_take(base, &used, 1, sizeof *decoder);
    decoder->scores = er_memory_take(base, &used, model->output_size, sizeof(int32_t));
    decoder->bias = er_memory_take(base, &used, model->output_size, sizeof(int32_t));
    return used;
}

/* Only counted, so a struct on the stack will do. */
size_t er_decoder_size(const er_model *model)
{
    er_decoder probe;

    if (model == NULL || !model->has_decoder || model->label_count == 0) {
        return 0;
    }
    return lay_out(&probe, NULL, model);
}

/* Nothing is written to the caller's memory before every check has passed. */
er_status er_decoder_init(void *memory, size_t memory_size, const er_model *model,
                          er_decoder **decoder_out)
{
    er_decoder *decoder = memory;
    const size_t size = er_decoder_size(model);
    uint32_t i;

    if (memory == NULL || model == NULL || decoder_out == NULL) {
        return ER_ERROR_ARGUMENT;
    }
    if (size == 0) {
        return ER_ERROR_MISSING;
    }
    if (!er_memory_is_fit(memory, memory_size, size)) {
        return ER_ERROR_MEMORY;
    }
    memset(memory, 0, size);
    lay_out(decoder, memory, model);
    decoder->model = model;
    decoder->bias_shift = er_logit_shift(model);
    decoder->score_unit = er_logit_unit(model);
    decoder->threshold = model->decoder.threshold;
    decoder->step_samples = (int64_t)model->frontend.hop_samples * model->frontend.stack;
    decoder->reach_samples = ((int64_t)er_frontend_lookahead_frames(&model->frontend) - 1) *
                                 (int64_t)model->frontend.hop_samples +
                             (int64_t)model->frontend.window_samples;
    decoder->string_samples = (int64_t)STRING_SILENCE_MS * SAMPLES_PER_MS;
    for (i = 0; i < model->output_size; i++) {
        const int32_t bias = er_read_i16(model->decoder.bias + 2 * (size_t)i);

        decoder->bias[i] = bias * (1 << decoder->bias_shift);
    }
    er_decoder_reset(decoder);
    *decoder_out = decoder;
    return ER_OK;
}

/* The object remembers what to free; if there is none, it is freed here. */
er_status er_decoder_create(const er_model *model, er_decoder **decoder_out)
{
    const size_t size = er_decoder_size(model);
    void *allocation;
    void *memory;
    er_status status;

    if (model == NULL || decoder_out == NULL) {
        return ER_ERROR_ARGUMENT;
    }
    if (size == 0) {
        return ER_ERROR_MISSING;
    }
    memory = er_memory_allocate(size, &allocation);
    if (memory == NULL) {
        return ER_ERROR_MEMORY;
    }
    status = er_decoder_init(memory, size, model, decoder_out);
    if (status != ER_OK) {
        free(allocation);
        return status;
    }
    (*decoder_out)->allocation = allocation;
    return ER_OK;
}

/* An object of er_decoder_init owns nothing: destroying it does nothing. */
void er_decoder_destroy(er_decoder *decoder)
{
    if (decoder != NULL) {
        free(decoder->allocation);
    }
}

/* Threshold, biases and the silence that ends a string are settings, not history: they stay. */
void er_decoder_reset(er_decoder *decoder)
{
    if (decoder == NULL) {
        return;
    }
    decoder->step_count = 0;
    decoder->run = NO_RUN;
    decoder->run_confidence = 0.0f;
    decoder->previous_end = 0;
    decoder->string_steps = 0;
    decoder->string_is_open = 0;
    decoder->ended_strings = 0;
    decoder->blank_steps = 0;
}

/* Written so that not-a-number is refused. */
er_status er_decoder_set_threshold(er_decoder *decoder, float threshold)
{
    if (decoder == NULL || !(threshold >= 0.0f && threshold <= 1.0f)) {
        return ER_ERROR_ARGUMENT;
    }
    decoder->threshold = threshold;
    return ER_OK;
}

er_status er_decoder_set_bias(er_decoder *decoder, uint32_t output, int16_t bias)
{
    if (decoder == NULL || output >= decoder->model->output_size) {
        return ER_ERROR_ARGUMENT;
    }
    decoder->bias[output] = (int32_t)bias * (1 << decoder->bias_shift);
    return ER_OK;
}

er_status er_decoder_set_string_silence(er_decoder *decoder, uint32_t silence_ms)
{
    if (decoder == NULL || silence_ms < 20 || silence_ms > 60000) {
        return ER_ERROR_ARGUMENT;
    }
    decoder->string_samples = (int64_t)silence_ms * SAMPLES_PER_MS;
    return ER_OK;
}

uint32_t er_decoder_ended_strings(const er_decoder *decoder)
{
    return decoder == NULL ? 0 : decoder->ended_strings;
}

/* Biased logits to scores[]; returns the best output, the lowest index of equals. */
static uint32_t score_step(er_decoder *decoder, const int16_t *logits)
{
    const uint32_t count = decoder->model->output_size;
    uint32_t best = 0;
    uint32_t i;

    for (i = 0; i < count; i++) {
        decoder->scores[i] = (int32_t)logits[i] + decoder->bias[i];
        if (decoder->scores[i] > decoder->scores[best]) {
            best = i;
        }
    }
    return best;
}

/* Does blank, the best output of the last step, win clearly? */
static int blank_is_clear(const er_decoder *decoder)
{
    const uint32_t blank = decoder->model->decoder.blank;
    const int32_t limit = decoder->scores[blank] - (int32_t)((float)CLEAR_MARGIN / decoder->score_unit);
    uint32_t i;

    for (i = 0; i < decoder->model->output_size; i++) {
        if (i != blank && decoder->scores[i] > limit) {
            return 0;
        }
    }
    return 1;
}

/* Sum of e^(score - best score) over the outputs: the denominator of the softmax, at least 1. */
static float softmax_sum(const er_decoder *decoder, int32_t best_score)
{
    float sum = 0.0f;
    uint32_t i;

    for (i = 0; i < decoder->model->output_size; i++) {
        sum += er_expf((float)(decoder->scores[i] - best_score) * decoder->score_unit);
    }
    return sum;
}

void er_decoder_posteriors(const er_decoder *decoder, float *posteriors_out)
{
    const uint32_t count = decoder->model->output_size;
    int32_t best = decoder->scores[0];
    float sum;
    uint32_t i;

    if (decoder->step_count == 0) {
        memset(posteriors_out, 0, count * sizeof(float));
        return;
    }
    for (i = 1; i < count; i++) {
        if (decoder->scores[i] > best) {
            best = decoder->scores[i];
        }
    }
    sum = softmax_sum(decoder, best);
    for (i = 0; i < count; i++) {
        posteriors_out[i] = er_expf((float)(decoder->scores[i] - best) * decoder->score_unit) / sum;
    }
}

/* Is the run in progress one of a word? */
static int run_is_word(const er_decoder *decoder)
{
    return decoder->run != NO_RUN && (uint32_t)decoder->run != decoder->model->decoder.unknown;
}

/* Is it a word to report? */
static int run_is_due(const er_decoder *decoder)
{
    return run_is_word(decoder) && decoder->run_confidence >= decoder->threshold;
}

/* End in samples of the run in progress if step number step_count - 1 is its last. A long delay must not lead before
 * the beginning. */
static int64_t run_end(const er_decoder *decoder)
{
    const int64_t end = (int64_t)decoder->step_count * decoder->step_samples -
                        (int64_t)decoder->model->decoder.delay_ms * SAMPLES_PER_MS;

    return end < decoder->previous_end ? decoder->previous_end : end;
}

/* The run in progress as a word, reported when so many steps have been heard. Its times are counted in samples of
 * 16 kHz, so they are exact until the final division. */
static er_word run_word(const er_decoder *decoder, uint64_t heard_steps)
{
    const uint32_t label = (uint32_t)decoder->run;
    const int64_t length =
        (int64_t)er_read_u16(decoder->model->decoder.length_ms + 2 * (size_t)label) * SAMPLES_PER_MS;
    const int64_t heard = (int64_t)heard_steps * decoder->step_samples + decoder->reach_samples;
    const int64_t end = run_end(decoder);
    int64_t start = end - length;
    er_word word;

    if (start < decoder->previous_end) {
        start = decoder->previous_end;
    }
    memset(&word, 0, sizeof word);
    word.start_s = (double)start / (double)ER_SAMPLE_RATE;
    word.end_s = (double)end / (double)ER_SAMPLE_RATE;
    word.heard_s = (double)heard / (double)ER_SAMPLE_RATE;
    word.confidence = decoder->run_confidence;
    word.label = label;
    word.string = decoder->ended_strings;
    return word;
}

/* The run ended with step number step_count - 1. Also runs that are not reported take their time: the next word does
 * not begin before they end. */
static void end_run(er_decoder *decoder, int reported)
{
    decoder->previous_end = run_end(decoder);
    if (reported) {
        decoder->string_is_open = 1;
        decoder->string_steps = decoder->step_count;
    }
    decoder->run = NO_RUN;
    decoder->run_confidence = 0.0f;
}

/* End the string if its silence is over. */
static void end_string(er_decoder *decoder)
{
    const int64_t silence =
        (int64_t)(decoder->step_count - decoder->string_steps) * decoder->step_samples;

    if (decoder->string_is_open && !run_is_word(decoder) && silence >= decoder->string_samples) {
        decoder->string_is_open = 0;
        decoder->ended_strings++;
    }
}

er_status er_decoder_partial(const er_decoder *decoder, er_word *word_out, uint32_t *found_out)
{
    if (decoder == NULL || word_out == NULL || found_out == NULL) {
        return ER_ERROR_ARGUMENT;
    }
    *found_out = run_is_word(decoder) ? 1 : 0;
    if (*found_out) {
        *word_out = run_word(decoder, decoder->step_count);
    }
    return ER_OK;
}

/* A step that ends a run to be reported without room for it stays with the caller. The winner's
 * probability is 1 / softmax_sum, for its own term of the sum is e^0. */
er_status er_decoder_push(er_decoder *decoder, const int16_t *logits, size_t step_count,
                          er_word *words_out, size_t capacity, size_t *word_count_out,
                          size_t *consumed_out)
{
    size_t words = 0;
    size_t step;

    if (decoder == NULL || (logits == NULL && step_count > 0) || words_out == NULL ||
        capacity == 0 || word_count_out == NULL || consumed_out == NULL) {
        return ER_ERROR_ARGUMENT;
    }
    for (step = 0; step < step_count; step++) {
        const uint32_t best =
            score_step(decoder, logits + step * (size_t)decoder->model->output_size);

        if (decoder->run != NO_RUN && (uint32_t)decoder->run != best) {
            const int due = run_is_due(decoder);

            if (due && words == capacity) {
                break;
            }
            if (due) {
                words_out[words] = run_word(decoder, decoder->step_count + 1);
                words++;
            }
            end_run(decoder, due);
        }
        if (best == decoder->model->decoder.blank) {
            decoder->blank_steps = blank_is_clear(decoder) ? decoder->blank_steps + 1 : 0;
        } else {
            const float probability = 1.0f / softmax_sum(decoder, decoder->scores[best]);

            decoder->blank_steps = 0;
            decoder->run = (int32_t)best;
            if (probability > decoder->run_confidence) {
                decoder->run_confidence = probability;
            }
        }
        decoder->step_count++;
        end_string(decoder);
    }
    *word_count_out = words;
    *consumed_out = step;
    return ER_OK;
}

er_status er_decoder_finish(er_decoder *decoder, er_word *words_out, size_t capacity,
                            size_t *word_count_out)
{
    size_t words = 0;

    if (decoder == NULL || words_out == NULL || capacity == 0 || word_count_out == NULL) {
        return ER_ERROR_ARGUMENT;
    }
    if (decoder->run != NO_RUN) {
        words = run_is_due(decoder) ? 1 : 0;
        if (words == 1) {
            words_out[0] = run_word(decoder, decoder->step_count);
        }
        end_run(decoder, words == 1);
    }
    if (decoder->string_is_open) {
        decoder->string_is_open = 0;
        decoder->ended_strings++;
    }
    *word_count_out = words;
    return ER_OK;
}

uint64_t er_decoder_blank_steps(const er_decoder *decoder)
{
    return decoder->blank_steps;
}

/* The steps are counted that the network would have made, so that strings end when they would have. */
void er_decoder_rest(er_decoder *decoder, uint64_t position)
{
    const int64_t reach = decoder->reach_samples;
    const uint64_t steps =
        (int64_t)position < reach ? 0 : (uint64_t)(((int64_t)position - reach) / decoder->step_samples);

    if (steps > decoder->step_count) {
        decoder->step_count = steps;
        end_string(decoder);
    }
}

void er_decoder_wake(er_decoder *decoder, uint64_t position)
{
    decoder->step_count = position / (uint64_t)decoder->step_samples;
    decoder->blank_steps = 0;
}
