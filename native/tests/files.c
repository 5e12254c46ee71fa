/* SPDX-License-Identifier: MIT */
#include "files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Noreturn void stop(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(2);
}

void *take_memory(size_t size)
{
    void *memory = malloc(size == 0 ? 1 : size);

    if (memory == NULL) {
        stop("malloc", "no memory");
    }
    return memory;
}

uint8_t *read_file(const char *path, size_t *size_out)
{
    FILE *file = fopen(path, "rb");
    uint8_t *data = NULL;
    long size;

    if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0) {
        stop(path, "cannot be opened");
    }
    rewind(file);
    data = take_memory((size_t)size);
    if (fread(data, 1, (size_t)size, file) != (size_t)size) {
        stop(path, "cannot be read");
    }
    fclose(file);
    *size_out = (size_t)size;
    return data;
}

static uint32_t read_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* The chunks of a RIFF file follow each other, each padded to an even size. */
float *read_samples(const char *path, size_t *count_out, uint32_t *sample_rate_out)
{
    size_t size, begin = 0, i;
    uint8_t *data = read_file(path, &size);
    uint32_t sample_rate = 16000;
    float *samples;

    if (size >= 12 && memcmp(data, "RIFF", 4) == 0) {
        int format_is_right = 0;

        for (begin = 12;; begin += 8 + (read_u32(data + begin + 4) + 1) / 2 * 2) {
            if (begin + 8 > size || read_u32(data + begin + 4) > size - begin - 8) {
                stop(path, "no whole data chunk");
            }
            if (memcmp(data + begin, "data", 4) == 0) {
                break;
            }
            if (memcmp(data + begin, "fmt ", 4) == 0 && read_u32(data + begin + 4) >= 16) {
                /* PCM, one channel; 16 bits */
                format_is_right = read_u32(data + begin + 8) == 0x00010001u && data[begin + 22] == 16;
                sample_rate = read_u32(data + begin + 12);
            }
        }
        if (!format_is_right) {
            stop(path, "not 16-bit mono PCM");
        }
        size = begin + 8 + read_u32(data + begin + 4);
        begin += 8;
    }
    *count_out = (size - begin) / 2;
    *sample_rate_out = sample_rate;
    samples = take_memory(*count_out * sizeof *samples);
    for (i = 0; i < *count_out; i++) {
        const uint8_t *p = data + begin + 2 * i;
        const int32_t value = (int32_t)p[0] | (int32_t)p[1] << 8;

        samples[i] = (float)(value < 32768 ? value : value - 65536) / 32768.0f;
    }
    free(data);
    return samples;
}
