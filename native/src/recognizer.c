/* SPDX-License-Identifier: MIT
 *
 * The recognizer: resampler -> front end -> network -> decoder in one block of memory, and the idle gate beside the
 * front end.
 *
 * Data move one small step at a time and never beyond a word for which the caller has no room: the
 * stages hold at most one block of samples and one step of logits. advance() moves what is inside;
 * new input is taken only when nothing inside can move any more. Hence the words cannot depend on
 * how the input is cut into calls; and the gate decides after each frame, when all that its samples gave is done.
 */
#include <stdlib.h>
#include <string.h>

#include "decoder.h"
#include "edge_runtime.h"
#include "frontend.h"
#include "gate.h"
#include "mathf.h"
#include "memory.h"
#include "model.h"
#include "resampler.h"

enum {
    BLOCK_SAMPLES = 160,
    QUIET_SAMPLES = 4800,       /* 0.3 s: what er_recognizer_finish appends */
    IDLE_AFTER_MS = 2000        /* at first; the bounds are those of the header */
};

typedef enum er_recognizer_phase {
    PHASE_IDLE,                 /* nothing has entered */
    PHASE_SAMPLES,
    PHASE_CEPSTRA,
    PHASE_DRAIN_RESAMPLER,      /* from here on: finishing */
    PHASE_DRAIN_FRONTEND,
    PHASE_DRAIN_DECODER,
    PHASE_FINISHED
} er_recognizer_phase;

/* A block of samples on its way. */
typedef struct er_sample_block {
    float samples[BLOCK_SAMPLES];
    size_t begin;
    size_t end;
} er_sample_block;

struct er_recognizer {
    const er_model *model;
    void *allocation;           /* what er_recognizer_destroy releases; null in the caller's memory */
    er_resampler *resampler;    /* null at 16 kHz */
    er_frontend *frontend;
    er_stream *stream;
    er_decoder *decoder;
    er_sample_block input;      /* at the caller's rate, cleaned */
    er_sample_block pcm;        /* at 16 kHz */
    float *features;            /* [input_size] */
    void *quantized;            /* [input_size] int8, in numeric profile 2 int16 */
    int16_t *logits;            /* [output_size] */
    int logits_are_due;         /* the decoder has not taken logits[] yet */
    size_t held;                /* 1: the first sample or frame of the next call is already inside */
    er_recognizer_phase phase;
    er_gate gate;
    uint32_t idle_after_ms;     /* 0: never idle */
    uint32_t idle;              /* front end and network rest */
    uint64_t woken_at;          /* sample of 16 kHz at which the last rest ended */
};

/* Where the words of a call go. */
typedef struct er_word_sink {
    er_word *words;
    size_t capacity;
    size_t count;
} er_word_sink;

/* Where the parts of the memory block are, and their sizes; all pointers are null while counting. */
typedef struct er_recognizer_layout {
    void *resampler, *frontend, *stream, *decoder;
    size_t resampler_size, frontend_size, stream_size, decoder_size;
    er_gate gate;
    float *features;
    void *quantized;
    int16_t *logits;
    size_t size;
} er_recognizer_layout;

/* ---------------------------------------------------------------------------------- life cycle */

/* Samples of 16 kHz per step of the network. */
static uint32_t step_samples(const er_model *model)
{
    return model->frontend.hop_samples * model->frontend.stack;
}

/* Lay out a recognizer behind base, or only count with base null. */
static er_status lay_out(er_recognizer_layout *layout, char *base, const er_model *model,
                         uint32_t sample_rate)
{
    size_t used = 0;

    memset(layout, 0, sizeof *layout);
    if (model == NULL) {
        return ER_ERROR_ARGUMENT;
    }
    if (!model->has_frontend || !model->has_decoder || model->label_count == 0) {
        return ER_ERROR_MISSING;
    }
    if (sample_rate != ER_SAMPLE_RATE) {
        layout->resampler_size = er_resampler_size(sample_rate);
        if (layout->resampler_size == 0) {
            return ER_ERROR_ARGUMENT;
        }
    }
    layout->frontend_size = er_frontend_size(&model->frontend);
    layout->stream_size = er_stream_size(model);
    layout->decoder_size = er_decoder_size(model);
    er_memory_take(base, &used, 1, sizeof(er_recognizer));
    layout->resampler = er_memory_take(base, &used, 1, layout->resampler_size);
    layout->frontend = er_memory_take(base, &used, 1, layout->frontend_size);
    layout->stream = er_memory_take(base, &used, 1, layout->stream_size);
    layout->decoder = er_memory_take(base, &used, 1, layout->decoder_size);
    layout->features = er_memory_take(base, &used, model->input_size, sizeof(float));
    layout->quantized = er_memory_take(base, &used, model->input_size, sizeof(int16_t));
    layout->logits = er_memory_take(base, &used, model->output_size, sizeof(int16_t));
    er_gate_init(&layout->gate, step_samples(model), base, &used);
    layout->size = used;
    return ER_OK;
}

size_t er_recognizer_size(const er_model *model, uint32_t sample_rate)
{
    er_recognizer_layout layout;

    return lay_out(&layout, NULL, model, sample_rate) == ER_OK ? layout.size : 0;
}

/* The parts are placed in the block, so none of them owns anything. */
er_status er_recognizer_init(void *memory, size_t memory_size, const er_model *model,
                             uint32_t sample_rate, er_recognizer **recognizer_out)
{
    er_recognizer *recognizer = memory;
    er_recognizer_layout layout;
    er_status status;

    if (memory == NULL || recognizer_out == NULL) {
        return ER_ERROR_ARGUMENT;
    }
    status = lay_out(&layout, NULL, model, sample_rate);
    if (status != ER_OK) {
        return status;
    }
    if (!er_memory_is_fit(memory, memory_size, layout.size)) {
        return ER_ERROR_MEMORY;
    }
    lay_out(&layout, memory, model, sample_rate);
    memset(recognizer, 0, sizeof *recognizer);
    recognizer->model = model;
    recognizer->features = layout.features;
    recognizer->quantized = layout.quantized;
    recognizer->logits = layout.logits;
    recognizer->gate = layout.gate;
    recognizer->idle_after_ms = IDLE_AFTER_MS;
    if (layout.resampler_size != 0) {
        status = er_resampler_init(layout.resampler, layout.resampler_size, sample_rate,
                                   &recognizer->resampler);
    }
    if (status == ER_OK) {
        status = er_frontend_init(layout.frontend, layout.frontend_size, &model->frontend,
                                  &recognizer->frontend);
    }
    if (status == ER_OK) {
        status = er_stream_init(layout.stream, layout.stream_size, model,
                                &recognizer->stream);
    }
    if (status == ER_OK) {
        status = er_decoder_init(layout.decoder, layout.decoder_size, model,
                                 &recognizer->decoder);
    }
    if (status != ER_OK) {
        return status;
    }
    er_recognizer_reset(recognizer);
    *recognizer_out = recognizer;
    return ER_OK;
}

/* The object remembers what to free; if there is none, it is freed here. */
er_status er_recognizer_create(const er_model *model, uint32_t sample_rate,
                               er_recognizer **recognizer_out)
{
    er_recognizer_layout layout;
    void *allocation;
    void *memory;
    er_status status;

    if (recognizer_out == NULL) {
        return ER_ERROR_ARGUMENT;
    }
    status = lay_out(&layout, NULL, model, sample_rate);
    if (status != ER_OK) {
        return status;
    }
    memory = er_memory_allocate(layout.size, &allocation);
    if (memory == NULL) {
        return ER_ERROR_MEMORY;
    }
    status = er_recognizer_init(memory, layout.size, model, sample_rate, recognizer_out);
    if (status != ER_OK) {
        free(allocation);
        return status;
    }
    (*recognizer_out)->allocation = allocation;
    return ER_OK;
}

/* An object of er_recognizer_init owns nothing: destroying it does nothing. */
void er_recognizer_destroy(er_recognizer *recognizer)
{
    if (recognizer != NULL) {
        free(recognizer->allocation);
    }
}

/* Threshold, the silence that ends a string and the gate's time are settings, not history: they stay. */
void er_recognizer_reset(er_recognizer *recognizer)
{
    if (recognizer == NULL) {
        return;
    }
    if (recognizer->resampler != NULL) {
        er_resampler_reset(recognizer->resampler);
    }
    er_frontend_reset(recognizer->frontend);
    er_stream_reset(recognizer->stream);
    er_decoder_reset(recognizer->decoder);
    recognizer->input.begin = recognizer->input.end = 0;
    recognizer->pcm.begin = recognizer->pcm.end = 0;
    recognizer->logits_are_due = 0;
    recognizer->held = 0;
    recognizer->phase = PHASE_IDLE;
    er_gate_reset(&recognizer->gate);
    recognizer->idle = 0;
    recognizer->woken_at = 0;
}

er_status er_recognizer_set_threshold(er_recognizer *recognizer, float threshold)
{
    return recognizer == NULL ? ER_ERROR_ARGUMENT
                              : er_decoder_set_threshold(recognizer->decoder, threshold);
}

er_status er_recognizer_set_string_silence(er_recognizer *recognizer, uint32_t silence_ms)
{
    return recognizer == NULL ? ER_ERROR_ARGUMENT
                              : er_decoder_set_string_silence(recognizer->decoder, silence_ms);
}

/* A recognizer that is idle wakes after the present frame. */
er_status er_recognizer_set_gate(er_recognizer *recognizer, uint32_t idle_after_ms)
{
    if (recognizer == NULL || (idle_after_ms != 0 && (idle_after_ms < 500 || idle_after_ms > 60000))) {
        return ER_ERROR_ARGUMENT;
    }
    recognizer->idle_after_ms = idle_after_ms;
    return ER_OK;
}

/* ------------------------------------------------------------------------------------- stages */

/* features[] through the network; the logits wait for the decoder. */
static er_status step_network(er_recognizer *recognizer)
{
    const er_model *model = recognizer->model;
    er_status status;

    if (model->profile == ER_PROFILE_FINE) {
        status = er_model_quantize_input16(model, recognizer->features, recognizer->quantized);
        if (status == ER_OK) {
            status = er_stream_step_quantized16(recognizer->stream, recognizer->quantized, recognizer->logits);
        }
    } else {
        status = er_model_quantize_input(model, recognizer->features, recognizer->quantized);
        if (status == ER_OK) {
            status = er_stream_step_quantized(recognizer->stream, recognizer->quantized, recognizer->logits);
        }
    }
    recognizer->logits_are_due = status == ER_OK;
    return status;
}

/* The decoder counts samples of 16 kHz. What the gate kept was heard when the gate opened, and at another rate the
 * resampler wanted some more. */
static void delay_word(const er_recognizer *recognizer, er_word *word)
{
    uint64_t count = (uint64_t)(word->heard_s * (double)ER_SAMPLE_RATE + 0.5);

    if (count < recognizer->woken_at) {
        count = recognizer->woken_at;
    }
    word->heard_s = recognizer->resampler == NULL ? (double)count / (double)ER_SAMPLE_RATE
                                                  : er_resampler_arrival_s(recognizer->resampler, count);
}

/* Hand waiting logits to the decoder. One step reports at most one word, and there is room. */
static er_status decode(er_recognizer *recognizer, er_word_sink *sink)
{
    size_t words = 0;
    size_t consumed = 0;
    const er_status status =
        er_decoder_push(recognizer->decoder, recognizer->logits, 1, sink->words + sink->count,
                        sink->capacity - sink->count, &words, &consumed);

    if (words == 1) {
        delay_word(recognizer, &sink->words[sink->count]);
    }
    sink->count += words;
    recognizer->logits_are_due = 0;
    return status;
}

/* Samples into the front end until it gives a feature vector; that goes to the network. */
static er_status extract(er_recognizer *recognizer, const float *samples, size_t count, size_t *used)
{
    size_t frames = 0;
    er_status status =
        er_frontend_push(recognizer->frontend, samples, count, recognizer->features, 1, &frames, used);

    if (status == ER_OK && frames == 1) {
        status = step_network(recognizer);
    }
    return status;
}

/* The samples that the gate kept. */
static er_status extract_again(er_recognizer *recognizer)
{
    const float *samples;
    const size_t count = er_gate_replay(&recognizer->gate, &samples);
    size_t used = 0;
    const er_status status = extract(recognizer, samples, count, &used);

    recognizer->gate.replay += used;
    return status;
}

/* Samples of pcm, at most to the end of the gate's frame, into the gate and, unless idle, the front end. */
static er_status hear(er_recognizer *recognizer)
{
    er_sample_block *pcm = &recognizer->pcm;
    const float *samples = pcm->samples + pcm->begin;
    const uint32_t room = er_gate_room(&recognizer->gate);
    size_t used = pcm->end - pcm->begin < room ? pcm->end - pcm->begin : room;
    er_status status = ER_OK;

    if (!recognizer->idle) {
        status = extract(recognizer, samples, used, &used);
    }
    er_gate_take(&recognizer->gate, samples, used);
    pcm->begin += used;
    return status;
}

/* A frame of the gate is full. Asleep after a time in which blank won clearly at every step and no frame stood out;
 * awake again, with fresh front end and network and all that the gate kept, from a frame that does. */
static void pass_gate(er_recognizer *recognizer)
{
    er_gate *gate = &recognizer->gate;
    const uint32_t step = step_samples(recognizer->model);
    const uint64_t wait = (uint64_t)recognizer->idle_after_ms * (ER_SAMPLE_RATE / 1000);

    er_gate_end_frame(gate);
    if (!recognizer->idle) {
        recognizer->idle = wait > 0 && (uint64_t)gate->steady_frames * ER_GATE_FRAME >= wait &&
                           er_decoder_blank_steps(recognizer->decoder) * step >= wait;
    } else if (wait == 0 || gate->stands_out) {
        recognizer->idle = 0;
        recognizer->woken_at = gate->position;
        er_frontend_reset(recognizer->frontend);
        er_stream_reset(recognizer->stream);
        er_decoder_wake(recognizer->decoder, er_gate_rewind(gate, step));
    } else {
        er_decoder_rest(recognizer->decoder, gate->position);
    }
}

/* Samples of input through the resampler into the empty block pcm. */
static er_status resample(er_recognizer *recognizer)
{
    er_sample_block *input = &recognizer->input;
    er_sample_block *pcm = &recognizer->pcm;
    size_t produced = 0;
    size_t used = 0;
    er_status status;

    if (recognizer->resampler == NULL) {
        produced = used = input->end - input->begin;
        memcpy(pcm->samples, input->samples + input->begin, used * sizeof(float));
        status = ER_OK;
    } else {
        status = er_resampler_push(recognizer->resampler, input->samples + input->begin,
                                   input->end - input->begin, pcm->samples, BLOCK_SAMPLES,
                                   &produced, &used);
    }
    input->begin += used;
    pcm->begin = 0;
    pcm->end = produced;
    return status;
}

/* Can the resampler give more? When it filled the block it may have kept a sample that needs no more input. */
static int has_input(const er_recognizer *recognizer)
{
    return recognizer->input.begin < recognizer->input.end ||
           (recognizer->phase == PHASE_SAMPLES && recognizer->resampler != NULL &&
            recognizer->pcm.end == BLOCK_SAMPLES);
}

/* Move what is inside, the latest stage first, until nothing can move or the words are full. */
static er_status advance(er_recognizer *recognizer, er_word_sink *sink, int *drained)
{
    er_status status = ER_OK;

    *drained = 0;
    while (status == ER_OK && sink->count < sink->capacity) {
        if (recognizer->logits_are_due) {
            status = decode(recognizer, sink);
        } else if (recognizer->gate.replay < recognizer->gate.position) {
            status = extract_again(recognizer);
        } else if (er_gate_room(&recognizer->gate) == 0) {
            pass_gate(recognizer);
        } else if (recognizer->pcm.begin < recognizer->pcm.end) {
            status = hear(recognizer);
        } else if (has_input(recognizer)) {
            status = resample(recognizer);
        } else {
            *drained = 1;
            break;
        }
    }
    return status;
}

/* A whole block of the caller's samples, clamped to full scale. */
static size_t take_samples(er_recognizer *recognizer, const float *samples, size_t count)
{
    er_sample_block *input = &recognizer->input;
    const size_t size = count < BLOCK_SAMPLES ? count : BLOCK_SAMPLES;
    size_t i;

    for (i = 0; i < size; i++) {
        input->samples[i] = er_sanitizef(samples[i], 1.0f);
    }
    input->begin = 0;
    input->end = size;
    return size;
}

/* Cepstra into the front end until it gives a feature vector. */
static er_status take_cepstra(er_recognizer *recognizer, const float *cepstra, size_t count,
                              size_t *used)
{
    size_t frames = 0;
    er_status status = er_frontend_push_cepstra(recognizer->frontend, cepstra, count,
                                                recognizer->features, 1, &frames, used);

    if (status == ER_OK && frames == 1) {
        status = step_network(recognizer);
    }
    return status;
}

/* ------------------------------------------------------------------------------------ streaming */

/* Both kinds of input, items of width values each. If the words are full while something is still
 * inside, the last sample or frame taken is reported as not consumed, so that the caller comes back
 * for the rest; it is skipped when it comes again (held). */
static er_status push(er_recognizer *recognizer, er_recognizer_phase phase, const float *data,
                      size_t count, er_word *words_out, size_t capacity, size_t *word_count_out,
                      size_t *consumed_out)
{
    er_word_sink sink = {words_out, capacity, 0};
    size_t taken = 0;
    size_t width;
    int drained;
    er_status status;

    if (recognizer == NULL || (data == NULL && count > 0) || words_out == NULL || capacity == 0 ||
        word_count_out == NULL || consumed_out == NULL ||
        (count > 0 && recognizer->phase != PHASE_IDLE && recognizer->phase != phase)) {
        return ER_ERROR_ARGUMENT;
    }
    if (count > 0) {
        recognizer->phase = phase;
    }
    width = phase == PHASE_SAMPLES ? 1 : recognizer->model->frontend.cepstrum_count;
    status = advance(recognizer, &sink, &drained);
    if (status == ER_OK && drained && count > 0) {
        taken = recognizer->held;
        recognizer->held = 0;
    }
    while (status == ER_OK && drained && taken < count) {
        const float *rest = data + taken * width;
        size_t used = 0;

        if (phase == PHASE_SAMPLES) {
            used = take_samples(recognizer, rest, count - taken);
        } else {
            status = take_cepstra(recognizer, rest, count - taken, &used);
        }
        taken += used;
        if (status == ER_OK) {
            status = advance(recognizer, &sink, &drained);
        }
    }
    if (status != ER_OK) {
        return status;
    }
    if (!drained && taken > 0) {
        recognizer->held = 1;
        taken--;
    }
    *word_count_out = sink.count;
    *consumed_out = taken;
    return ER_OK;
}

er_status er_recognizer_push(er_recognizer *recognizer, const float *samples, size_t count,
                             er_word *words_out, size_t capacity, size_t *word_count_out,
                             size_t *consumed_out)
{
    return push(recognizer, PHASE_SAMPLES, samples, count, words_out, capacity, word_count_out,
                consumed_out);
}

er_status er_recognizer_push_cepstra(er_recognizer *recognizer, const float *cepstra, size_t count,
                                     er_word *words_out, size_t capacity, size_t *word_count_out,
                                     size_t *consumed_out)
{
    return push(recognizer, PHASE_CEPSTRA, cepstra, count, words_out, capacity, word_count_out,
                consumed_out);
}

/* One move towards the end: the resampler's delay, then the front end's with the quiet frames (0.3
 * s, rounded up to whole frames), then the word in progress. Nothing waits inside, and there is
 * room for a word. */
static er_status drain_step(er_recognizer *recognizer, er_word_sink *sink)
{
    const uint32_t hop = recognizer->model->frontend.hop_samples;
    er_status status = ER_OK;
    size_t count = 0;

    if (recognizer->phase == PHASE_DRAIN_RESAMPLER) {
        if (recognizer->resampler != NULL) {
            status = er_resampler_flush(recognizer->resampler, recognizer->pcm.samples,
                                        BLOCK_SAMPLES, &count);
            recognizer->pcm.begin = 0;
            recognizer->pcm.end = count;
        }
        if (count < BLOCK_SAMPLES) {
            recognizer->phase = PHASE_DRAIN_FRONTEND;
        }
    } else if (recognizer->phase == PHASE_DRAIN_FRONTEND && recognizer->idle) {
        recognizer->phase = PHASE_DRAIN_DECODER;
    } else if (recognizer->phase == PHASE_DRAIN_FRONTEND) {
        status = er_frontend_flush(recognizer->frontend, (QUIET_SAMPLES + hop - 1) / hop,
                                   recognizer->features, 1, &count);
        if (status == ER_OK && count == 1) {
            status = step_network(recognizer);
        } else {
            recognizer->phase = PHASE_DRAIN_DECODER;
        }
    } else {
        status = er_decoder_finish(recognizer->decoder, sink->words + sink->count,
                                   sink->capacity - sink->count, &count);
        if (count == 1) {
            delay_word(recognizer, &sink->words[sink->count]);
        }
        sink->count += count;
        recognizer->phase = PHASE_FINISHED;
    }
    return status;
}

/* Cepstra never went through the resampler, so there is nothing in it to drain. */
er_status er_recognizer_finish(er_recognizer *recognizer, er_word *words_out, size_t capacity,
                               size_t *word_count_out)
{
    er_word_sink sink = {words_out, capacity, 0};
    er_status status;
    int drained;

    if (recognizer == NULL || words_out == NULL || capacity == 0 || word_count_out == NULL) {
        return ER_ERROR_ARGUMENT;
    }
    if (recognizer->phase < PHASE_DRAIN_RESAMPLER) {
        recognizer->phase =
            recognizer->phase == PHASE_CEPSTRA ? PHASE_DRAIN_FRONTEND : PHASE_DRAIN_RESAMPLER;
    }
    do {
        status = advance(recognizer, &sink, &drained);
        if (status == ER_OK && drained && recognizer->phase != PHASE_FINISHED) {
            status = drain_step(recognizer, &sink);
            drained = 0;
        }
    } while (status == ER_OK && !drained && sink.count < sink.capacity);
    if (status == ER_OK) {
        *word_count_out = sink.count;
    }
    return status;
}

/* ------------------------------------------------------------------------------------ displays */

er_status er_recognizer_partial(const er_recognizer *recognizer, er_word *word_out, uint32_t *found_out)
{
    er_status status;

    if (recognizer == NULL) {
        return ER_ERROR_ARGUMENT;
    }
    status = er_decoder_partial(recognizer->decoder, word_out, found_out);
    if (status == ER_OK && *found_out) {
        delay_word(recognizer, word_out);
    }
    return status;
}

uint32_t er_recognizer_ended_strings(const er_recognizer *recognizer)
{
    return recognizer == NULL ? 0 : er_decoder_ended_strings(recognizer->decoder);
}

er_status er_recognizer_posteriors(const er_recognizer *recognizer, float *posteriors_out)
{
    if (recognizer == NULL || posteriors_out == NULL) {
        return ER_ERROR_ARGUMENT;
    }
    er_decoder_posteriors(recognizer->decoder, posteriors_out);
    return ER_OK;
}

uint32_t er_recognizer_is_idle(const er_recognizer *recognizer)
{
    return recognizer == NULL ? 0 : recognizer->idle;
}

/* The front end rests while idle, and starts afresh afterwards: it can be used for what the gate keeps. Two frames,
 * so that the samples of the second one have one before them. */
static er_status extract_last_frame(er_recognizer *recognizer)
{
    const er_frontend_config *config = &recognizer->model->frontend;
    er_gate *gate = &recognizer->gate;
    er_status status = ER_OK;

    er_frontend_reset(recognizer->frontend);
    gate->replay = gate->position - (config->window_samples + config->hop_samples);
    while (status == ER_OK && gate->replay < gate->position) {
        const float *samples;
        const size_t count = er_gate_replay(gate, &samples);
        size_t frames, used = 0;

        status = er_frontend_push(recognizer->frontend, samples, count, recognizer->features, 1, &frames,
                                  &used);
        gate->replay += used;
    }
    gate->replay = gate->position;
    return status;
}

er_status er_recognizer_log_mel(er_recognizer *recognizer, float *log_mel_out)
{
    er_status status = ER_OK;

    if (recognizer == NULL || log_mel_out == NULL) {
        return ER_ERROR_ARGUMENT;
    }
    if (recognizer->idle) {
        status = extract_last_frame(recognizer);
    }
    if (status == ER_OK) {
        er_frontend_log_mel(recognizer->frontend, log_mel_out);
    }
    return status;
}
