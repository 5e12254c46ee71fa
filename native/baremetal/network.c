/* SPDX-License-Identifier: MIT
 *
 * A network on a microcontroller. Standard input: steps of quantized inputs, int8 [shape=(steps, input_size)];
 * standard output: their logits, int16 [shape=(steps, output_size)]; standard error: the memory that it took.
 * Nothing is allocated, and the weights stay in flash. */
#include "board.h"
#include "edge_runtime.h"
#include "model.h"
#include "semihosting.h"

static void check(er_status status, const char *what)
{
    if (status != ER_OK) {
        report(what, (uint32_t)-status);
        stop(2);
    }
}

int main(void)
{
    const er_model_options options = { ER_MODEL_BORROW, "scalar" };
    char *memory = arena_begin();
    size_t left = arena_bytes(), buffers;
    er_model_info info;
    er_error error = { 0 };
    er_model *network;
    er_stream *stream;
    int8_t *x;
    int16_t *logits;

    if (er_model_init(memory, left, model, model_size, &options, &network, &error) == ER_ERROR_MEMORY) {
        report("er_model_init: bytes needed ", (uint32_t)error.expected);
    }
    check((er_status)error.status, "er_model_init: status -");
    check(er_model_describe(network, &info), "er_model_describe: status -");
    memory += info.model_bytes;                         /* both are multiples of 64, */
    left -= (size_t)info.model_bytes;
    check(er_stream_init(memory, left, network, &stream), "er_stream_init: status -");
    memory += info.stream_bytes;
    left -= (size_t)info.stream_bytes;
    buffers = info.output_size * sizeof *logits + info.input_size;
    logits = (int16_t *)(void *)memory;                 /* so these are aligned */
    x = (int8_t *)(logits + info.output_size);
    if (left < buffers) {
        report_text("no memory for inputs and logits\n");
        stop(2);
    }
    while (read_input(x, info.input_size) == info.input_size) {
        check(er_stream_step_quantized(stream, x, logits), "er_stream_step_quantized: status -");
        write_output(logits, info.output_size * sizeof *logits);
    }
    report("model_bytes ", (uint32_t)info.model_bytes);
    report("stream_bytes ", (uint32_t)info.stream_bytes);
    report("buffer_bytes ", (uint32_t)buffers);
    report("stack_bytes ", stack_bytes_used());
    return 0;
}
