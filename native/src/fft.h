/* SPDX-License-Identifier: MIT
 *
 * Power spectrum of a real signal, float, for sizes that are a power of two from 64 to 2048.
 */
#ifndef EDGE_RUNTIME_FFT_H
#define EDGE_RUNTIME_FFT_H

#include <stddef.h>
#include <stdint.h>

typedef struct er_fft {
    uint32_t size;          /* real samples, N */
    float *cosine;          /* [N] cos(2 pi k / N) */
    float *sine;            /* [N] sin(2 pi k / N) */
    float *work;            /* [2 * N] real and imaginary halves of two buffers */
} er_fft;

/* Floats of storage that er_fft_init needs. */
size_t er_fft_storage_floats(uint32_t size);

/* Fill the tables in storage, which must live as long as the er_fft. */
void er_fft_init(er_fft *fft, uint32_t size, float *storage);

/* Squared magnitudes of the spectrum, not divided by N.
 *   x            float [shape=(size)]
 *   power_out    float [shape=(size / 2 + 1)] */
void er_fft_power(const er_fft *fft, const float *x, float *power_out);

#endif
