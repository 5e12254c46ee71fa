/* SPDX-License-Identifier: MIT
 *
 * Levels of audio in dBFS: 0 is full scale, for the peak as for the root mean square. */
#ifndef EDGE_DIGITS_LEVEL_H
#define EDGE_DIGITS_LEVEL_H

#include <stddef.h>

struct level {
    double peak_db;     /* at least -100 */
    double rms_db;      /* without the offset, at least -100 */
    double offset;      /* mean, full scale 1.0 */
    double clipped;     /* share of the samples at full scale, 0 to 1 */
    int is_silent;      /* every sample is the same, which no microphone that is on delivers */
};

/* Measure samples, float [shape=(count)], full scale 1.0; count at least 1. */
struct level level_of(const float *samples, size_t count);

/* The root mean square alone, offset included. */
double level_rms_db(const float *samples, size_t count);

#endif
