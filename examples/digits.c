/* SPDX-License-Identifier: MIT
 * Words of a recording (WAV, 16 bits, mono, 8 to 192 kHz), a line each: word, begin, end, confidence.
 *
 *     cc digits.c $(pkg-config --cflags --libs edge_runtime) -o digits
 *     ./digits MODEL.ernn RECORDING.wav */
#include <edge_runtime.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void stop(const char *what, const char *why) { fprintf(stderr, "%s: %s\n", what, why), exit(2); }

static void print(const er_model *model, const er_word *words, size_t count)
{
    for (const er_word *w = words; w < words + count; w++) {
        const char *label = er_model_label(model, w->label);

        printf("%s %.2f %.2f %.2f\n", label, w->start_s, w->end_s, (double)w->confidence);
    }
}

int main(int argc, char **argv)
{
    unsigned char bytes[320], head[24] = { 0 };
    float samples[160];
    er_model *model;
    er_recognizer *recognizer;
    er_word words[4];
    size_t count, used, begin, i;

    if (argc != 3) {
        stop("usage", "digits MODEL.ernn RECORDING.wav");
    }
    er_status status = er_model_create_from_file(argv[1], NULL, &model, NULL);
    if (status != ER_OK) {
        stop(argv[1], er_status_text(status));
    }
    FILE *file = fopen(argv[2], "rb");
    if (file == NULL) {
        stop(argv[2], "cannot be opened");
    }
    fseek(file, 12, SEEK_SET);      /* "RIFF", size, "WAVE"; then chunks: name, size, contents */
    while (fread(bytes, 8, 1, file) == 1 && memcmp(bytes, "data", 4) != 0) {
        const long size = bytes[4] | bytes[5] << 8 | (long)bytes[6] << 16, begins = ftell(file);
        if (memcmp(bytes, "fmt ", 4) == 0) {
            fread(head, 16, 1, file);
        }
        fseek(file, begins + size + size % 2, SEEK_SET);
    }
    const uint32_t sample_rate = head[4] | (uint32_t)head[5] << 8 | (uint32_t)head[6] << 16;
    status = er_recognizer_create(model, sample_rate, &recognizer);
    if (memcmp(head, "\1\0\1\0", 4) != 0 || head[14] != 16 || status != ER_OK) {
        stop(argv[2], "expected 16-bit mono PCM at 8 to 192 kHz");
    }
    while ((count = fread(bytes, 2, 160, file)) > 0) {
        for (i = 0; i < count; i++) {
            samples[i] = (float)(int16_t)(bytes[2 * i] | bytes[2 * i + 1] << 8) / 32768.0f;
        }
        for (begin = 0; begin < count; begin += used) {
            er_recognizer_push(recognizer, samples + begin, count - begin, words, 4, &i, &used);
            print(model, words, i);
        }
    }
    do {
        er_recognizer_finish(recognizer, words, 4, &count);
        print(model, words, count);
    } while (count == 4);
    er_recognizer_destroy(recognizer);
    er_model_destroy(model);
    return fclose(file);
}
