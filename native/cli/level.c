/* SPDX-License-Identifier: MIT */
#include "level.h"

#include <math.h>

static const double FLOOR_DB = -100.0;      /* below the least step of 16 bits */
static const float FULL_SCALE = 32766.0f / 32768.0f;

static double to_db(double value, double factor)
{
    const double db = value > 0.0 ? factor * log10(value) : FLOOR_DB;

    return db > FLOOR_DB ? db : FLOOR_DB;
}

static double mean_square(const float *samples, size_t count, double offset)
{
    double total = 0.0;
    size_t i;

    for (i = 0; i < count; i++) {
        total += ((double)samples[i] - offset) * ((double)samples[i] - offset);
    }
    return count == 0 ? 0.0 : total / (double)count;
}

double level_rms_db(const float *samples, size_t count)
{
    return to_db(mean_square(samples, count, 0.0), 10.0);
}

struct level level_of(const float *samples, size_t count)
{
    struct level result = {0, 0, 0, 0, 1};
    float peak = 0.0f;
    size_t i, clipped = 0;

    for (i = 0; i < count; i++) {
        const float size = fabsf(samples[i]);

        peak = size > peak ? size : peak;
        clipped += size >= FULL_SCALE;
        result.offset += (double)samples[i];
        result.is_silent &= samples[i] == samples[0];
    }
    result.offset /= (double)count;
    result.clipped = (double)clipped / (double)count;
    result.peak_db = to_db((double)peak, 20.0);
    result.rms_db = to_db(mean_square(samples, count, result.offset), 10.0);
    return result;
}
