/* SPDX-License-Identifier: MIT
 *
 * One recording through everything the library does, printed so that two machines can be compared
 * bit for bit: recognize [--kernel NAME] MODEL.ernn RECORDING [--logits | --no-resampling]
 *
 * RECORDING: a WAV file of 16-bit mono PCM at 16 kHz, or the bare samples. After a second of silence, so that the
 * gate opens for it (not with --no-resampling), it is pushed in pieces of
 * 10 ms through a recognizer, whose words, posteriors and spectra are printed; and once more by hand through
 * front end, quantization and stream, whose outputs are printed as CRC-32 of their bytes. Resampled,
 * as if it had been taken at other rates, it is printed the same way. Floats are in hexadecimal.
 * With --logits every step's logits follow; --no-resampling leaves that part out, for who counts instructions.
 * The kernels in use are named on stderr, since they may differ from machine to machine.
 *
 * Exit status: 0; 2 if something could not be done; 3 if the kernel is not to be had here. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge_runtime.h"
#include "files.h"
#include "model.h"      /* the front end's parameters in a model have no public reader */

enum { PIECE = ER_SAMPLE_RATE / 100, QUIET_FRAMES = 30, WORDS = 4, REST_PIECES = 100, IDLE_AFTER_MS = 500 };

static void check(er_status status, const char *what)
{
    if (status != ER_OK) {
        stop(what, er_status_text(status));
    }
}

static void print_words(const er_model *model, const er_word *words, size_t count)
{
    size_t i;

    for (i = 0; i < count; i++) {
        printf("word %s %a %a %a %a %" PRIu32 "\n", er_model_label(model, words[i].label), words[i].start_s,
               words[i].end_s, (double)words[i].confidence, words[i].heard_s, words[i].string);
    }
}

/* One piece, or less. */
static void push(er_recognizer *recognizer, const er_model *model, const float *samples, size_t count)
{
    er_word words[WORDS];
    size_t begin, word_count, consumed;

    for (begin = 0; begin < count; begin += consumed) {
        check(er_recognizer_push(recognizer, samples + begin, count - begin, words, WORDS, &word_count, &consumed),
              "er_recognizer_push");
        print_words(model, words, word_count);
    }
}

/* Words as they come, and the posteriors and spectra after each piece. */
static void recognize(const er_model *model, const er_model_info *info, const float *samples, size_t count,
                      int with_gate)
{
    const size_t pieces = (count + PIECE - 1) / PIECE, filters = model->frontend.filter_count;
    float *spectra = take_memory(pieces * filters * sizeof *spectra);
    float *posteriors = take_memory(pieces * info->output_size * sizeof *posteriors);
    static const float silence[PIECE];
    er_recognizer *recognizer;
    er_word words[WORDS];
    size_t i, word_count, idle = 0;

    check(er_recognizer_create(model, ER_SAMPLE_RATE, &recognizer), "er_recognizer_create");
    check(er_recognizer_set_gate(recognizer, with_gate ? IDLE_AFTER_MS : 0), "er_recognizer_set_gate");
    for (i = 0; with_gate && i < REST_PIECES; i++) {
        push(recognizer, model, silence, PIECE);
        idle += er_recognizer_is_idle(recognizer);
    }
    for (i = 0; i < pieces; i++) {
        const size_t begin = i * PIECE;

        push(recognizer, model, samples + begin, count - begin < PIECE ? count - begin : PIECE);
        idle += er_recognizer_is_idle(recognizer);
        check(er_recognizer_posteriors(recognizer, posteriors + i * info->output_size),
              "er_recognizer_posteriors");
        check(er_recognizer_log_mel(recognizer, spectra + i * filters), "er_recognizer_log_mel");
    }
    do {
        check(er_recognizer_finish(recognizer, words, WORDS, &word_count), "er_recognizer_finish");
        print_words(model, words, word_count);
    } while (word_count == WORDS);
    printf("posteriors %zu x %" PRIu32 " crc %08" PRIx32 "\n", pieces, info->output_size,
           er_crc32(posteriors, pieces * info->output_size * sizeof *posteriors));
    printf("spectra %zu x %zu crc %08" PRIx32 "\n", pieces, filters,
           er_crc32(spectra, pieces * filters * sizeof *spectra));
    printf("strings %" PRIu32 "\n", er_recognizer_ended_strings(recognizer));
    printf("idle %zu\n", idle);
    er_recognizer_destroy(recognizer);
    free(posteriors);
    free(spectra);
}

/* The front end's frames; their number in *frames_out. Release with free. */
static float *extract(const er_frontend_config *config, size_t size, const float *samples, size_t count,
                      size_t *frames_out)
{
    const size_t capacity = count / config->hop_samples + QUIET_FRAMES + 16;
    float *features = take_memory(capacity * size * sizeof *features);
    er_frontend *frontend;
    size_t begin, frames = 0, produced, consumed;

    check(er_frontend_create(config, &frontend), "er_frontend_create");
    for (begin = 0; begin < count; begin += consumed) {
        const size_t piece = count - begin < PIECE ? count - begin : PIECE;

        check(er_frontend_push(frontend, samples + begin, piece, features + frames * size,
                               capacity - frames, &produced, &consumed),
              "er_frontend_push");
        frames += produced;
    }
    check(er_frontend_flush(frontend, QUIET_FRAMES, features + frames * size, capacity - frames,
                            &produced),
          "er_frontend_flush");
    frames += produced;
    if (frames >= capacity) {
        stop("er_frontend_flush", "more frames than expected");
    }
    er_frontend_destroy(frontend);
    *frames_out = frames;
    return features;
}

/* Features, quantized inputs, logits and last state, each by its checksum. */
static void run_network(const er_model *model, const er_model_info *info, const float *features,
                        size_t steps, int with_logits)
{
    int8_t *x = take_memory(steps * info->input_size);
    int16_t *logits = take_memory(steps * info->output_size * sizeof *logits);
    int16_t *state = take_memory(info->state_size * sizeof *state);
    er_stream *stream;
    size_t i, k;

    check(er_stream_create(model, &stream), "er_stream_create");
    for (i = 0; i < steps; i++) {
        check(er_model_quantize_input(model, features + i * info->input_size, x + i * info->input_size),
              "er_model_quantize_input");
        check(er_stream_step_quantized(stream, x + i * info->input_size, logits + i * info->output_size),
              "er_stream_step_quantized");
    }
    check(er_stream_get_state(stream, state), "er_stream_get_state");
    printf("features %zu x %" PRIu32 " crc %08" PRIx32 "\n", steps, info->input_size,
           er_crc32(features, steps * info->input_size * sizeof *features));
    printf("inputs %zu x %" PRIu32 " crc %08" PRIx32 "\n", steps, info->input_size,
           er_crc32(x, steps * info->input_size));
    printf("logits %zu x %" PRIu32 " crc %08" PRIx32 "\n", steps, info->output_size,
           er_crc32(logits, steps * info->output_size * sizeof *logits));
    printf("state %" PRIu32 " crc %08" PRIx32 "\n", info->state_size,
           er_crc32(state, info->state_size * sizeof *state));
    for (i = 0; with_logits && i < steps; i++) {
        for (k = 0; k < info->output_size; k++) {
            printf("%d%c", logits[i * info->output_size + k], k + 1 < info->output_size ? ' ' : '\n');
        }
    }
    er_stream_destroy(stream);
    free(state);
    free(logits);
    free(x);
}

/* The same samples taken for samples at another rate. */
static void resample(uint32_t sample_rate, const float *samples, size_t count)
{
    const size_t capacity = count * 2 + 64;     /* rates from 8000 Hz up */
    float *out = take_memory(capacity * sizeof *out);
    er_resampler *resampler;
    size_t begin, total = 0, produced, consumed;

    check(er_resampler_create(sample_rate, &resampler), "er_resampler_create");
    for (begin = 0; begin < count; begin += consumed) {
        const size_t piece = count - begin < PIECE ? count - begin : PIECE;

        check(er_resampler_push(resampler, samples + begin, piece, out + total, capacity - total,
                                &produced, &consumed),
              "er_resampler_push");
        total += produced;
    }
    check(er_resampler_flush(resampler, out + total, capacity - total, &produced), "er_resampler_flush");
    total += produced;
    if (total >= capacity) {
        stop("er_resampler_flush", "more samples than expected");
    }
    printf("resampled %" PRIu32 " %zu crc %08" PRIx32 "\n", sample_rate, total,
           er_crc32(out, total * sizeof *out));
    er_resampler_destroy(resampler);
    free(out);
}

int main(int argc, char **argv)
{
    static const uint32_t rates[] = {8000, 11025, 44100, 48000};
    er_model_options options = {0, NULL};
    er_model_info info;
    er_model *model;
    er_status status;
    uint32_t sample_rate;
    size_t count, frames, k;
    float *samples, *features;
    int i = 1, with_logits, with_resampling;

    if (argc > 2 && strcmp(argv[1], "--kernel") == 0) {
        options.kernel = argv[2];
        i = 3;
    }
    with_logits = argc == i + 3 && strcmp(argv[i + 2], "--logits") == 0;
    with_resampling = !(argc == i + 3 && strcmp(argv[i + 2], "--no-resampling") == 0);
    if (argc != i + 2 && !with_logits && with_resampling) {
        fprintf(stderr, "usage: recognize [--kernel NAME] MODEL.ernn RECORDING [--logits | --no-resampling]\n");
        return 2;
    }
    status = er_model_create_from_file(argv[i], &options, &model, NULL);
    if (status == ER_ERROR_KERNEL) {
        fprintf(stderr, "%s: %s\n", options.kernel, er_status_text(status));
        return 3;
    }
    check(status, argv[i]);
    check(er_model_describe(model, &info), "er_model_describe");
    if (!info.has_frontend || !info.has_decoder) {
        stop(argv[i], "no front end or no decoder settings");
    }
    samples = read_samples(argv[i + 1], &count, &sample_rate);
    if (sample_rate != ER_SAMPLE_RATE) {
        stop(argv[i + 1], "not at 16 kHz");
    }
    fprintf(stderr, "kernel %s\n", info.kernel);
    printf("samples %zu crc %08" PRIx32 "\n", count, er_crc32(samples, count * sizeof *samples));
    recognize(model, &info, samples, count, with_resampling);
    for (k = 0; with_resampling && k < sizeof rates / sizeof *rates; k++) {
        resample(rates[k], samples, count);
    }
    features = extract(&model->frontend, info.input_size, samples, count, &frames);
    run_network(model, &info, features, frames, with_logits);
    free(features);
    free(samples);
    er_model_destroy(model);
    return 0;
}
