/* SPDX-License-Identifier: MIT */
#include "samples.h"

#include <string.h>

size_t sample_bytes(sample_format format)
{
    static const size_t bytes[] = {1, 2, 3, 4, 4, 8};

    return bytes[format];
}

static uint64_t read_bytes(const uint8_t *data, size_t count)
{
    uint64_t value = 0;

    while (count > 0) {
        value = value << 8 | data[--count];
    }
    return value;
}

/* 24 bits are the upper ones of 32. All roundings are to the nearest float. */
static float decode(const uint8_t *data, sample_format format)
{
    const uint64_t bits = read_bytes(data, sample_bytes(format));
    const uint32_t low = (uint32_t)bits;
    int32_t whole;
    float single;
    double wide;

    switch (format) {
    case SAMPLE_U8:
        return ((float)low - 128.0f) / 128.0f;
    case SAMPLE_S16:
        return (float)(low < 0x8000u ? (int32_t)low : (int32_t)low - 0x10000) / 32768.0f;
    case SAMPLE_F32:
        memcpy(&single, &low, sizeof single);
        return single;
    case SAMPLE_F64:
        memcpy(&wide, &bits, sizeof wide);
        return (float)wide;
    default:
        break;
    }
    {
        const uint32_t shifted = format == SAMPLE_S24 ? low << 8 : low;

        memcpy(&whole, &shifted, sizeof whole);
    }
    return (float)((double)whole / 2147483648.0);
}

/* The order of numpy's sum: one after the other up to 7, eight sums side by side up to 128, halves above. */
static float sum(const float *x, size_t count)
{
    size_t i, k, half;
    float total = 0.0f, part[8];

    if (count < 8) {
        for (i = 0; i < count; i++) {
            total += x[i];
        }
        return total;
    }
    if (count > 128) {
        half = count / 2 - count / 2 % 8;
        return sum(x, half) + sum(x + half, count - half);
    }
    memcpy(part, x, sizeof part);
    for (i = 8; i + 8 <= count; i += 8) {
        for (k = 0; k < 8; k++) {
            part[k] += x[i + k];
        }
    }
    total = ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
    for (; i < count; i++) {
        total += x[i];
    }
    return total;
}

void samples_to_mono(const uint8_t *data, size_t frames, size_t channels, sample_format format, float *frame,
                     float *mono)
{
    const size_t bytes = sample_bytes(format);
    size_t i, k;

    for (i = 0; i < frames; i++) {
        for (k = 0; k < channels; k++, data += bytes) {
            frame[k] = decode(data, format);
        }
        mono[i] = channels == 1 ? frame[0] : sum(frame, channels) / (float)channels;
    }
}
