/* SPDX-License-Identifier: MIT
 * A model of your own: numbers from standard input, as many a step as it has inputs; logits to standard output.
 *
 *     cc own_model.c $(pkg-config --cflags --libs edge_runtime) -o own_model
 *     ./own_model MODEL.ernn < features.txt > logits.txt */
#include <edge_runtime.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    er_model *model = NULL;
    er_model_info info;
    er_stream *stream;
    er_error error = { 0 };
    uint32_t i = 0;

    if (argc != 2) {
        fputs("usage: own_model MODEL.ernn < features.txt\n", stderr);
        return 2;
    }
    if (er_model_create_from_file(argv[1], NULL, &model, &error) != ER_OK) {
        fprintf(stderr, "%s: %s\n", argv[1], er_status_text(error.status));
        return 2;
    }
    er_model_describe(model, &info);
    float *x = malloc(info.input_size * sizeof *x), *y = malloc(info.output_size * sizeof *y);
    if (x == NULL || y == NULL || er_stream_create(model, &stream) != ER_OK) {
        return 2;
    }
    while (scanf("%f", &x[i]) == 1) {
        if (++i == info.input_size) {               /* a step: the stream keeps the state to the next */
            er_stream_step(stream, x, y);
            for (i = 0; i < info.output_size; i++) {
                printf("%.9g%c", (double)y[i], i + 1 < info.output_size ? ' ' : '\n');
            }
            i = 0;
        }
    }
    er_stream_destroy(stream);
    er_model_destroy(model);
    free(x);
    free(y);
    return 0;
}
