/* SPDX-License-Identifier: MIT
 *
 * Sample-rate conversion to 16 kHz by a polyphase filter: a sinc with a Kaiser window, cut off at
 * the Nyquist frequency of the lower of the two rates, 28 zero crossings to each side.
 *
 * With the reduced ratio up / down = 16000 / rate, output k lies at input position k * down / up:
 * whole part i, phase p / up. It is the sum of taps samples around i with the row of weights that
 * belongs to p. The order of this sum is fixed, so any chunking gives the same bits.
 */
#include "resampler.h"

#include <stdlib.h>
#include <string.h>

#include "mathf.h"
#include "memory.h"

enum {
    ZERO_CROSSINGS = 28,    /* on each side, at the lower rate */
    MAX_PHASES = 640,
    MIN_RATE = 8000,
    MAX_RATE = 192000,
    LANES = 8,              /* partial sums of one output sample */
    BLOCK_SAMPLES = 256     /* samples between two moves of the buffer */
};

/* Infinities must be clamped, because infinity times weight 0 is not a number. Finite samples above
 * full scale pass: the front end clamps them. */
static const float GREATEST = 1e6f;

struct er_resampler {
    void *allocation;       /* what er_resampler_destroy releases; null in the caller's memory */
    uint32_t up;            /* phases; 1 with down 1: pass through */
    uint32_t down;
    uint32_t half;          /* the sum for position i runs over i - half + 1 .. i + half */
    uint32_t taps;          /* 2 * half, rounded up to whole LANES by zero weights */
    uint32_t buffer_size;
    float *weights;         /* [up][taps] */

    /* state */
    float *buffer;          /* [buffer_size + LANES]: padding taps may read behind buffer_size */
    uint32_t filled;        /* samples in the buffer */
    uint32_t offset;        /* index in the buffer of the next output's first tap; may pass filled */
    uint32_t phase;         /* p of the next output */
    uint64_t position;      /* i of the next output */
    uint64_t consumed;      /* input samples so far */
    int flushing;
};

/* ------------------------------------------------------------------------------------- tables */

/* Modified Bessel function of order 0 by its power series, as a function of x * x: the caller has
 * the square of the argument, and thus no square root is needed. All terms are positive and, for
 * x <= 9, soon below the rounding of the sum. */
static double bessel_i0_of_square(double square)
{
    double term = 1.0;
    double sum = 1.0;
    int k;

    for (k = 1; k < 32; k++) {
        term *= square / (4.0 * (double)k * (double)k);
        sum += term;
    }
    return sum;
}

/* Rows of the filter. Distances are counted in units of 1 / up input samples, so that the argument
 * of the sine is a rational part of a turn. Each row is scaled to sum 1: constant input stays
 * constant in every phase. */
static void fill_weights(er_resampler *resampler)
{
    const double beta = 8.0;                    /* Kaiser: stop band below -80 dB */
    const int64_t up = resampler->up;
    const int64_t half = resampler->half;
    const int64_t lower = up > resampler->down ? up : resampler->down;
    const double reach = (double)(ZERO_CROSSINGS * lower);
    int64_t phase;
    int64_t tap;

    for (phase = 0; phase < up; phase++) {
        float *row = resampler->weights + (size_t)phase * resampler->taps;
        double sum = 0.0;

        for (tap = 0; tap < 2 * half; tap++) {
            const int64_t distance = (half - 1 - tap) * up + phase;
            const double place = (double)distance / reach;
            const double x = ER_PI * (double)distance / (double)lower;
            double value = 0.0;

            if (place > -1.0 && place < 1.0) {
                value = distance == 0 ? 1.0 : er_sin_turns(distance, 2 * lower) / x;
                value *= bessel_i0_of_square(beta * beta * (1.0 - place * place));
            }
            row[tap] = (float)value;
            sum += value;
        }
        for (tap = 0; tap < 2 * half; tap++) {
            row[tap] = (float)((double)row[tap] / sum);
        }
        for (tap = 2 * half; tap < resampler->taps; tap++) {
            row[tap] = 0.0f;
        }
    }
}

/* --------------------------------------------------------------------------------- life cycle */

/* Euclid; a and b not both 0. */
static uint32_t greatest_common_divisor(uint32_t a, uint32_t b)
{
    while (b != 0) {
        const uint32_t rest = a % b;

        a = b;
        b = rest;
    }
    return a;
}

/* Fill in what follows from the rate and place the arrays behind the struct, or only count with base
 * null. Returns the size of the block, 0 if the rate is not supported. The first sum reaches half - 1
 * samples before the start of the signal. */
static size_t lay_out(er_resampler *resampler, char *base, uint32_t sample_rate)
{
    const uint32_t common = greatest_common_divisor(sample_rate, ER_SAMPLE_RATE);
    size_t used = 0;
    uint32_t lower;

    if (sample_rate < MIN_RATE || sample_rate > MAX_RATE ||
        ER_SAMPLE_RATE / common > MAX_PHASES) {
        return 0;
    }
    memset(resampler, 0, sizeof *resampler);
    resampler->up = ER_SAMPLE_RATE / common;
    resampler->down = sample_rate / common;
    lower = resampler->up > resampler->down ? resampler->up : resampler->down;
    resampler->half = (ZERO_CROSSINGS * lower + resampler->up - 1) / resampler->up;
    resampler->taps = (2 * resampler->half + LANES - 1) / LANES * LANES;
    resampler->buffer_size = resampler->taps + BLOCK_SAMPLES;
    if (resampler->up == resampler->down) {
        resampler->taps = 0;
        resampler->buffer_size = 0;
    }
    er_memory_take(base, &used, 1, sizeof *resampler);
    resampler->weights =
        er_memory_take(base, &used, (size_t)resampler->up * resampler->taps, sizeof(float));
    resampler->buffer =
        er_memory_take(base, &used, (size_t)resampler->buffer_size + LANES, sizeof(float));
    return used;
}

/* Only counted, so a struct on the stack will do. */
size_t er_resampler_size(uint32_t sample_rate)
{
    er_resampler probe;

    return lay_out(&probe, NULL, sample_rate);
}

/* Nothing is written to the caller's memory before every check has passed. */
er_status er_resampler_init(void *memory, size_t memory_size, uint32_t sample_rate,
                            er_resampler **resampler_out)
{
    er_resampler *resampler = memory;
    const size_t size = er_resampler_size(sample_rate);

    if (memory == NULL || resampler_out == NULL || size == 0) {
        return ER_ERROR_ARGUMENT;
    }
    if (!er_memory_is_fit(memory, memory_size, size)) {
        return ER_ERROR_MEMORY;
    }
    lay_out(resampler, memory, sample_rate);
    if (resampler->taps > 0) {
        fill_weights(resampler);
    }
    er_resampler_reset(resampler);
    *resampler_out = resampler;
    return ER_OK;
}

/* The object remembers what to free; if there is none, it is freed here. */
er_status er_resampler_create(uint32_t sample_rate, er_resampler **resampler_out)
{
    const size_t size = er_resampler_size(sample_rate);
    void *allocation;
    void *memory;
    er_status status;

    if (resampler_out == NULL || size == 0) {
        return ER_ERROR_ARGUMENT;
    }
    memory = er_memory_allocate(size, &allocation);
    if (memory == NULL) {
        return ER_ERROR_MEMORY;
    }
    status = er_resampler_init(memory, size, sample_rate, resampler_out);
    if (status != ER_OK) {
        free(allocation);
        return status;
    }
    (*resampler_out)->allocation = allocation;
    return ER_OK;
}

/* An object of er_resampler_init owns nothing: destroying it does nothing. */
void er_resampler_destroy(er_resampler *resampler)
{
    if (resampler != NULL) {
        free(resampler->allocation);
    }
}

/* The buffer starts with the zeros that the first sums find before the signal. The padding taps
 * have weight 0 but read the buffer too, so what they read must never be uninitialized memory that
 * happens to hold an infinity: clear all of it. */
void er_resampler_reset(er_resampler *resampler)
{
    if (resampler == NULL) {
        return;
    }
    if (resampler->taps > 0) {
        memset(resampler->buffer, 0, (resampler->buffer_size + LANES) * sizeof(float));
    }
    resampler->filled = resampler->taps > 0 ? resampler->half - 1 : 0;
    resampler->offset = 0;
    resampler->phase = 0;
    resampler->position = 0;
    resampler->consumed = 0;
    resampler->flushing = 0;
}

/* ------------------------------------------------------------------------------------ streaming */

/* One output sample. LANES independent partial sums, added up in a fixed order: the compiler may
 * vectorize them without changing a rounding. As an array they would stay in memory, at four times the cost. */
static float filter_at(const er_resampler *resampler)
{
    const float *w = resampler->weights + (size_t)resampler->phase * resampler->taps;
    const float *x = resampler->buffer + resampler->offset;
    const float *const end = w + resampler->taps;
    float sum_0 = 0.0f, sum_1 = 0.0f, sum_2 = 0.0f, sum_3 = 0.0f;
    float sum_4 = 0.0f, sum_5 = 0.0f, sum_6 = 0.0f, sum_7 = 0.0f;

    for (; w < end; w += LANES, x += LANES) {
        sum_0 += w[0] * x[0];
        sum_1 += w[1] * x[1];
        sum_2 += w[2] * x[2];
        sum_3 += w[3] * x[3];
        sum_4 += w[4] * x[4];
        sum_5 += w[5] * x[5];
        sum_6 += w[6] * x[6];
        sum_7 += w[7] * x[7];
    }
    return ((sum_0 + sum_4) + (sum_2 + sum_6)) + ((sum_1 + sum_5) + (sum_3 + sum_7));
}

/* Drop the samples that no later sum needs. The step from one output to the next can pass the end
 * of the buffer; then it is emptied and the rest of the step remains in offset. */
static void make_room(er_resampler *resampler)
{
    const uint32_t drop =
        resampler->offset < resampler->filled ? resampler->offset : resampler->filled;

    memmove(resampler->buffer, resampler->buffer + drop,
            (resampler->filled - drop) * sizeof(float));
    resampler->filled -= drop;
    resampler->offset -= drop;
}

/* The common loop of push and flush: samples null stands for zeros. Input is taken only as far as
 * the next output needs it. Output stops at position limit, which only the flush reaches: there it
 * is the end of the signal. A sum needs 2 * half samples; the padding taps behind them may read
 * what lies beyond filled (weight 0). */
static void convert(er_resampler *resampler, const float *samples, size_t count, float *out,
                    size_t capacity, uint64_t limit, size_t *produced_out, size_t *consumed_out)
{
    const uint32_t reach = 2 * resampler->half;
    size_t produced = 0;
    size_t consumed = 0;

    while (produced < capacity && resampler->position < limit) {
        if (resampler->offset + reach <= resampler->filled) {
            out[produced++] = filter_at(resampler);
            resampler->phase += resampler->down;
            resampler->offset += resampler->phase / resampler->up;
            resampler->position += resampler->phase / resampler->up;
            resampler->phase %= resampler->up;
            continue;
        }
        if (consumed == count) {
            break;
        }
        if (resampler->offset + reach > resampler->buffer_size) {
            make_room(resampler);
        }
        while (consumed < count && resampler->filled < resampler->offset + reach) {
            resampler->buffer[resampler->filled++] =
                samples == NULL ? 0.0f : er_sanitizef(samples[consumed], GREATEST);
            consumed++;
        }
    }
    *produced_out = produced;
    *consumed_out = consumed;
}

/* Pass-through copies, with the same treatment of bad samples. Refused: samples after a flush. */
er_status er_resampler_push(er_resampler *resampler, const float *samples, size_t count, float *out,
                            size_t capacity, size_t *produced_out, size_t *consumed_out)
{
    size_t produced = 0;
    size_t consumed = 0;

    if (resampler == NULL || (samples == NULL && count > 0) || out == NULL || capacity == 0 ||
        produced_out == NULL || consumed_out == NULL || (resampler->flushing && count > 0)) {
        return ER_ERROR_ARGUMENT;
    }
    if (resampler->taps == 0) {
        for (; produced < count && produced < capacity; produced++) {
            out[produced] = er_sanitizef(samples[produced], GREATEST);
        }
        consumed = produced;
    } else {
        convert(resampler, samples, count, out, capacity, UINT64_MAX, &produced, &consumed);
    }
    resampler->consumed += consumed;
    *produced_out = produced;
    *consumed_out = consumed;
    return ER_OK;
}

/* The sum for position i ends with sample i + half, so that i + half + 1 samples must be there. */
double er_resampler_arrival_s(const er_resampler *resampler, uint64_t count)
{
    uint64_t samples = count;

    if (resampler->taps > 0 && count > 0) {
        samples = (count - 1) * resampler->down / resampler->up + resampler->half + 1;
    }
    return (double)samples * (double)resampler->up / ((double)resampler->down * (double)ER_SAMPLE_RATE);
}

/* Zeros until the next output would lie at or behind the end of the signal: output k belongs to the
 * signal while k * down / up < total input. */
er_status er_resampler_flush(er_resampler *resampler, float *out, size_t capacity,
                             size_t *produced_out)
{
    size_t produced = 0;
    size_t consumed = 0;

    if (resampler == NULL || out == NULL || capacity == 0 || produced_out == NULL) {
        return ER_ERROR_ARGUMENT;
    }
    resampler->flushing = 1;
    if (resampler->taps > 0) {
        convert(resampler, NULL, SIZE_MAX, out, capacity, resampler->consumed, &produced, &consumed);
    }
    *produced_out = produced;
    return ER_OK;
}
