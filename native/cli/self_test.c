/* SPDX-License-Identifier: MIT */
#include "self_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "builtin.h"
#include "logits.h"
#include "output.h"
#include "wav.h"

static const char BUILTIN_WORDS[] = "three one";
enum { WORDS = 8, TEXT = 4096, BLOCK = 4096 };

typedef struct recording_samples {
    float *samples;
    size_t count;
    uint32_t sample_rate;
    const char *name;
} recording_samples;

/* A whole recording, its samples to be freed. */
static int read_recording(recording_samples *recording, const char *path, uint32_t raw_rate,
                          struct problem *problem)
{
    size_t capacity = 0;
    wav_reader reader;
    long got = 0;
    int status;

    memset(recording, 0, sizeof *recording);
    if (path == NULL) {
        status = wav_open_memory(&reader, "built-in", builtin_recording, builtin_recording_size, problem);
    } else {
        status = wav_open(&reader, path, raw_rate, problem);
    }
    if (status != 0) {
        return status;
    }
    do {
        if (capacity - recording->count < BLOCK) {
            float *more = realloc(recording->samples, (2 * capacity + BLOCK) * sizeof *more);

            if (more == NULL) {
                got = problem_set(problem, "%s: no memory for it", reader.name);
                break;
            }
            capacity = 2 * capacity + BLOCK;
            recording->samples = more;
        }
        got = wav_read(&reader, recording->samples + recording->count, BLOCK, problem);
        recording->count += got > 0 ? (size_t)got : 0;
    } while (got > 0);
    recording->sample_rate = reader.sample_rate;
    recording->name = reader.name;
    wav_close(&reader);
    return (int)got;
}

/* Labels with blanks between; as many as there is room for. */
static int recognize(const er_model *model, const recording_samples *recording, char *text, struct problem *problem)
{
    er_recognizer *recognizer;
    size_t used = 0, length = 0, i, count, consumed;
    er_word words[WORDS];
    er_status status = er_recognizer_create(model, recording->sample_rate, &recognizer);

    text[0] = '\0';
    if (status != ER_OK) {
        return problem_set(problem, "recognizer for %u Hz: %s", (unsigned)recording->sample_rate,
                           er_status_text(status));
    }
    do {
        if (used < recording->count) {
            er_recognizer_push(recognizer, recording->samples + used, recording->count - used, words, WORDS, &count,
                               &consumed);
            used += consumed;
        } else {
            er_recognizer_finish(recognizer, words, WORDS, &count);
            used += count < WORDS;      /* the last of it */
        }
        for (i = 0; i < count && length < TEXT - 1; i++) {
            length += (size_t)snprintf(text + length, TEXT - length, "%s%s", length > 0 ? " " : "",
                                       er_model_label(model, words[i].label));
        }
    } while (used <= recording->count);
    er_recognizer_destroy(recognizer);
    return 0;
}

/* One kernel. *crc_out: of its logits. */
static int test_kernel(const er_model *model, const recording_samples *recording, char *words, uint32_t *crc_out,
                       struct problem *problem)
{
    er_model_info info;
    struct logits run;

    if (recognize(model, recording, words, problem) != 0 ||
        logits_open(&run, model, recording->sample_rate, NULL, problem) != 0) {
        return FAILED;
    }
    logits_hear(&run, recording->samples, recording->count);
    logits_finish(&run);
    logits_close(&run);
    er_model_describe(model, &info);
    printf("logits %zu x %u crc %08x kernel %s\n", run.steps, (unsigned)run.outputs, (unsigned)run.crc,
           info.kernel);
    *crc_out = run.crc;
    return 0;
}

static int test_kernels(const model_file *file, const recording_samples *recording, int expect_words,
                        struct problem *problem)
{
    static const char *const kernels[] = {"scalar", "neon", "avx2", "avx512bw", "avx512"};
    char words[TEXT] = "", first_words[TEXT] = "";
    uint32_t crc = 0, first_crc = 0;
    int wrong = 0;
    size_t i;

    for (i = 0; i < sizeof kernels / sizeof *kernels; i++) {
        er_model *model;
        int status = model_file_make(file, kernels[i], &model, problem);

        if (status == ER_ERROR_KERNEL) {
            continue;
        }
        if (status == 0) {
            status = test_kernel(model, recording, words, &crc, problem);
            er_model_destroy(model);
        }
        if (status != 0) {
            return status;
        }
        if (i == 0) {
            first_crc = crc;
            memcpy(first_words, words, sizeof words);
        } else if (crc != first_crc || strcmp(words, first_words) != 0) {
            printf("WRONG kernel %s: not the logits and words of the scalar kernel\n", kernels[i]);
            wrong = 1;
        }
    }
    printf("words %s\n", first_words);
    if (expect_words && strcmp(first_words, BUILTIN_WORDS) != 0) {
        printf("WRONG words: said is %s\n", BUILTIN_WORDS);
        wrong = 1;
    }
    printf("%s\n", wrong ? "FAILED" : "OK");
    return wrong;
}

int self_test(const model_file *file, const char *path, uint32_t raw_rate, int expect_words,
              struct problem *problem)
{
    recording_samples recording;
    char hash[SHA256_TEXT];
    int status = read_recording(&recording, path, raw_rate, problem);

    if (status == 0) {
        model_file_hash(file, hash);
        printf("edge-digits %s\nmodel %s sha256 %s\nrecording %s %u Hz %zu samples\n", er_version(), file->name,
               hash, recording.name, (unsigned)recording.sample_rate, recording.count);
        status = test_kernels(file, &recording, expect_words, problem);
    }
    free(recording.samples);
    return status;
}

int print_logits(const model_file *file, const char *kernel, const char *path, uint32_t raw_rate,
                 struct problem *problem)
{
    recording_samples recording;
    er_model *model = NULL;
    struct logits run;
    size_t used, part;
    int status = model_file_make(file, kernel, &model, problem);

    if (status != 0) {
        return FAILED;
    }
    status = read_recording(&recording, path, raw_rate, problem);
    if (status == 0) {
        status = logits_open(&run, model, recording.sample_rate, stdout, problem);
    }
    if (status == 0) {
        for (used = 0; used < recording.count && status == 0; used += part) {
            part = recording.count - used < recording.sample_rate ? recording.count - used : recording.sample_rate;
            logits_hear(&run, recording.samples + used, part);
            status = output_flush(problem);
        }
        logits_finish(&run);
        logits_close(&run);
    }
    free(recording.samples);
    er_model_destroy(model);
    return status;
}
