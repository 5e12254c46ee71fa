/* SPDX-License-Identifier: MIT
 *
 * Samples as they lie in files and devices, little-endian and interleaved, to floats of one channel. */
#ifndef EDGE_DIGITS_SAMPLES_H
#define EDGE_DIGITS_SAMPLES_H

#include <stddef.h>
#include <stdint.h>

typedef enum sample_format {
    SAMPLE_U8,
    SAMPLE_S16,
    SAMPLE_S24,
    SAMPLE_S32,
    SAMPLE_F32,
    SAMPLE_F64
} sample_format;

/* Bytes of one sample. */
size_t sample_bytes(sample_format format);

/* The mean of the channels, full scale 1.0, with the roundings of numpy's float32 mean.
 *   data     [shape=(frames, channels)] samples, at any alignment
 *   frame    scratch, float [shape=(channels)]
 *   mono     receives float [shape=(frames)] */
void samples_to_mono(const uint8_t *data, size_t frames, size_t channels, sample_format format, float *frame,
                     float *mono);

#endif
