/* SPDX-License-Identifier: MIT
 *
 * Speech on a microcontroller. Standard input: samples at 16 kHz, int16; standard output: words, as er_word; standard
 * error: their texts, and the memory that it took. Nothing is allocated, and the weights stay in flash. */
#include "board.h"
#include "edge_runtime.h"
#include "model.h"
#include "semihosting.h"

enum { PIECE = ER_SAMPLE_RATE / 100, WORDS = 2 };

static void check(er_status status, const char *what)
{
    if (status != ER_OK) {
        report(what, (uint32_t)-status);
        stop(2);
    }
}

static void put_words(const er_model *network, const er_word *words, size_t count)
{
    size_t i;

    for (i = 0; i < count; i++) {
        report_text(er_model_label(network, words[i].label));
        report_text("\n");
        write_output(&words[i], sizeof words[i]);
    }
}

/* 10 ms or less. */
static void hear(er_recognizer *recognizer, const er_model *network, const float *samples, size_t count)
{
    er_word words[WORDS];
    size_t word_count, consumed;

    for (; count > 0; samples += consumed, count -= consumed) {
        check(er_recognizer_push(recognizer, samples, count, words, WORDS, &word_count, &consumed),
              "er_recognizer_push: status -");
        put_words(network, words, word_count);
    }
}

int main(void)
{
    static int16_t pcm[PIECE];
    static float samples[PIECE];
    const er_model_options options = { ER_MODEL_BORROW, "scalar" };
    char *memory = arena_begin();
    er_model_info info;
    er_error error = { 0 };
    er_model *network;
    er_recognizer *recognizer;
    er_word words[WORDS];
    size_t count, i;

    if (er_model_init(memory, arena_bytes(), model, model_size, &options, &network, &error) == ER_ERROR_MEMORY) {
        report("er_model_init: bytes needed ", (uint32_t)error.expected);
    }
    check((er_status)error.status, "er_model_init: status -");
    check(er_model_describe(network, &info), "er_model_describe: status -");
    check(er_recognizer_init(memory + info.model_bytes, arena_bytes() - (size_t)info.model_bytes, network,
                             ER_SAMPLE_RATE, &recognizer),
          "er_recognizer_init: status -");
    do {
        count = read_input(pcm, sizeof pcm) / sizeof *pcm;
        for (i = 0; i < count; i++) {
            samples[i] = (float)pcm[i] / 32768.0f;
        }
        hear(recognizer, network, samples, count);
    } while (count == PIECE);
    do {
        check(er_recognizer_finish(recognizer, words, WORDS, &count), "er_recognizer_finish: status -");
        put_words(network, words, count);
    } while (count == WORDS);
    report("model_bytes ", (uint32_t)info.model_bytes);
    report("recognizer_bytes ", (uint32_t)er_recognizer_size(network, ER_SAMPLE_RATE));
    report("stack_bytes ", stack_bytes_used());
    return 0;
}
