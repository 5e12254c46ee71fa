/* SPDX-License-Identifier: MIT */
#include "fft.h"

#include "mathf.h"

/* Two tables of size entries; two work buffers of size / 2 complex numbers. */
size_t er_fft_storage_floats(uint32_t size)
{
    return 4 * (size_t)size;
}

/* One table of a whole turn serves both the complex transform of half the size (every second entry)
 * and the unfolding of its result. */
void er_fft_init(er_fft *fft, uint32_t size, float *storage)
{
    uint32_t k;

    fft->size = size;
    fft->cosine = storage;
    fft->sine = storage + size;
    fft->work = storage + 2 * (size_t)size;
    for (k = 0; k < size; k++) {
        fft->cosine[k] = (float)er_cos_turns(k, size);
        fft->sine[k] = (float)er_sin_turns(k, size);
    }
}

/* A radix-4 pass of the self-sorting (Stockham) transform: groups sub-transforms of 4 * quarter
 * points, whose elements lie groups apart. It reads from one buffer and writes the other in the
 * order the next pass wants, so no bit reversal is needed, and the inner loop walks with stride 1
 * over independent elements, which compilers vectorize without changing a single rounding. */
static void pass4(const er_fft *fft, uint32_t quarter, uint32_t groups, const float *re,
                  const float *im, float *re_out, float *im_out)
{
    const size_t step = (size_t)quarter * groups;
    uint32_t p;
    uint32_t q;

    for (p = 0; p < quarter; p++) {
        const size_t turn = 2 * (size_t)p * groups;
        const float c1 = fft->cosine[turn];
        const float s1 = -fft->sine[turn];
        const float c2 = fft->cosine[2 * turn];
        const float s2 = -fft->sine[2 * turn];
        const float c3 = fft->cosine[3 * turn];
        const float s3 = -fft->sine[3 * turn];
        const float *ar = re + (size_t)p * groups;
        const float *ai = im + (size_t)p * groups;
        float *restrict zr = re_out + 4 * (size_t)p * groups;
        float *restrict zi = im_out + 4 * (size_t)p * groups;

        for (q = 0; q < groups; q++) {
            const float sum02r = ar[q] + ar[q + 2 * step];
            const float sum02i = ai[q] + ai[q + 2 * step];
            const float dif02r = ar[q] - ar[q + 2 * step];
            const float dif02i = ai[q] - ai[q + 2 * step];
            const float sum13r = ar[q + step] + ar[q + 3 * step];
            const float sum13i = ai[q + step] + ai[q + 3 * step];
            const float dif13r = ar[q + step] - ar[q + 3 * step];
            const float dif13i = ai[q + step] - ai[q + 3 * step];
            const float y1r = dif02r + dif13i;
            const float y1i = dif02i - dif13r;
            const float y2r = sum02r - sum13r;
            const float y2i = sum02i - sum13i;
            const float y3r = dif02r - dif13i;
            const float y3i = dif02i + dif13r;

            zr[q] = sum02r + sum13r;
            zi[q] = sum02i + sum13i;
            zr[q + groups] = c1 * y1r - s1 * y1i;
            zi[q + groups] = c1 * y1i + s1 * y1r;
            zr[q + 2 * groups] = c2 * y2r - s2 * y2i;
            zi[q + 2 * groups] = c2 * y2i + s2 * y2r;
            zr[q + 3 * groups] = c3 * y3r - s3 * y3i;
            zi[q + 3 * groups] = c3 * y3i + s3 * y3r;
        }
    }
}

/* The last pass when the number of points is not a power of four; its factors are all one. */
static void pass2(uint32_t groups, const float *re, const float *im, float *restrict re_out,
                  float *restrict im_out)
{
    uint32_t q;

    for (q = 0; q < groups; q++) {
        re_out[q] = re[q] + re[q + groups];
        im_out[q] = im[q] + im[q + groups];
        re_out[q + groups] = re[q] - re[q + groups];
        im_out[q + groups] = im[q] - im[q + groups];
    }
}

/* Even samples as real parts, odd ones as imaginary parts of a complex signal of half the length;
 * transform; unfold: with Z the transform and Z' its mirror image conjugated,
 * X[k] = (Z + Z') / 2 - i e^(-2 pi i k / N) (Z - Z') / 2. */
void er_fft_power(const er_fft *fft, const float *x, float *power_out)
{
    const uint32_t half = fft->size / 2;
    float *re = fft->work;
    float *im = re + half;
    float *re_next = im + half;
    float *im_next = re_next + half;
    uint32_t points = half;
    uint32_t groups = 1;
    uint32_t k;

    for (k = 0; k < half; k++) {
        re[k] = x[2 * k];
        im[k] = x[2 * k + 1];
    }
    while (points > 1) {
        float *const re_old = re;
        float *const im_old = im;

        if (points == 2) {
            pass2(groups, re, im, re_next, im_next);
            points = 1;
        } else {
            points /= 4;
            pass4(fft, points, groups, re, im, re_next, im_next);
            groups *= 4;
        }
        re = re_next;
        im = im_next;
        re_next = re_old;
        im_next = im_old;
    }

    power_out[0] = (re[0] + im[0]) * (re[0] + im[0]);
    power_out[half] = (re[0] - im[0]) * (re[0] - im[0]);
    for (k = 1; k < half; k++) {
        const uint32_t mirror = half - k;
        const float c = fft->cosine[k];
        const float s = fft->sine[k];
        const float even_re = 0.5f * (re[k] + re[mirror]);
        const float even_im = 0.5f * (im[k] - im[mirror]);
        const float odd_re = 0.5f * (im[k] + im[mirror]);
        const float odd_im = 0.5f * (re[mirror] - re[k]);
        const float out_re = even_re + (c * odd_re + s * odd_im);
        const float out_im = even_im + (c * odd_im - s * odd_re);

        power_out[k] = out_re * out_re + out_im * out_im;
    }
}
