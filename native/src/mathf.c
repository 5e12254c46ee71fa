/* SPDX-License-Identifier: MIT */
#include "mathf.h"

#include <string.h>

/* Sine or cosine of x in [0, pi/4] by its Taylor series, highest term first. The terms left out are
 * below 1e-19, so the rounding of the sum is all the error there is. */
static double small_sine(double x)
{
    const double z = x * x;
    double sum = -1.0 / 1307674368000.0;    /* 15! */
    sum = sum * z + 1.0 / 6227020800.0;
    sum = sum * z - 1.0 / 39916800.0;
    sum = sum * z + 1.0 / 362880.0;
    sum = sum * z - 1.0 / 5040.0;
    sum = sum * z + 1.0 / 120.0;
    sum = sum * z - 1.0 / 6.0;
    return x + x * (z * sum);
}

/* As small_sine. */
static double small_cosine(double x)
{
    const double z = x * x;
    double sum = 1.0 / 20922789888000.0;    /* 16! */
    sum = sum * z - 1.0 / 87178291200.0;
    sum = sum * z + 1.0 / 479001600.0;
    sum = sum * z - 1.0 / 3628800.0;
    sum = sum * z + 1.0 / 40320.0;
    sum = sum * z - 1.0 / 720.0;
    sum = sum * z + 1.0 / 24.0;
    sum = sum * z - 0.5;
    return 1.0 + z * sum;
}

/* The angle is a rational part of a turn, so the reduction to an octant is exact integer work and
 * the usual trouble of subtracting multiples of pi does not arise. */
double er_sin_turns(int64_t k, int64_t n)
{
    int64_t octant;
    int64_t rest;
    double x;
    double y;

    k %= n;
    if (k < 0) {
        k += n;
    }
    octant = 8 * k / n;
    rest = 8 * k - octant * n;              /* angle = (octant + rest / n) * pi / 4 */
    if (octant & 1) {
        rest = n - rest;
    }
    x = (double)rest / (double)n * (ER_PI / 4.0);
    y = (octant & 3) == 1 || (octant & 3) == 2 ? small_cosine(x) : small_sine(x);
    return octant >= 4 ? -y : y;
}

/* cos(a) = sin(a + a quarter turn); the quarter is exact when counted in parts of 4n. */
double er_cos_turns(int64_t k, int64_t n)
{
    return er_sin_turns(4 * (k % n) + n, 4 * n);
}

/* x = m * 2^e with m in [sqrt(1/2), sqrt(2)), log m = 2 atanh((m - 1) / (m + 1)) as a series. */
double er_log(double x)
{
    uint64_t bits;
    int exponent = 0;
    double s;
    double z;
    double sum = 0.0;
    int term;

    if (x < DBL_MIN) {
        x *= 18014398509481984.0;           /* 2^54: out of the subnormals */
        exponent = -54;
    }
    memcpy(&bits, &x, sizeof bits);
    exponent += (int)(bits >> 52) - 1023;
    bits = (bits & 0xFFFFFFFFFFFFFu) | 0x3FF0000000000000u;
    memcpy(&x, &bits, sizeof x);
    if (x > 1.41421356237309505) {
        x *= 0.5;
        exponent += 1;
    }
    s = (x - 1.0) / (x + 1.0);
    z = s * s;
    for (term = 25; term >= 3; term -= 2) {
        sum = (sum + 1.0 / (double)term) * z;
    }
    return (double)exponent * 0.69314718055994531 + 2.0 * (s + s * sum);
}

/* e^x = 2^k e^r with |r| <= ln(2) / 2, the second factor by Taylor series. ln 2 is split in two so
 * that k * high is exact. */
double er_exp(double x)
{
    const double high = 0.693147180369123816490;
    const double low = 1.90821492927058770002e-10;
    const double scaled = x * 1.44269504088896340736;
    const int64_t k = (int64_t)(scaled < 0.0 ? scaled - 0.5 : scaled + 0.5);
    const double r = (x - (double)k * high) - (double)k * low;
    const uint64_t bits = (uint64_t)(k + 1023) << 52;
    double power;
    double sum = 1.0;
    int term;

    for (term = 18; term >= 1; term--) {
        sum = 1.0 + sum * r / (double)term;
    }
    memcpy(&power, &bits, sizeof power);
    return sum * power;
}

/* As er_log in float: the series in s = (m - 1) / (m + 1), |s| < 0.172, to s^9. Exponent times ln 2
 * is added in two parts, the larger with 15 trailing zero bits, so that its product is exact. */
float er_logf(float x)
{
    uint32_t bits;
    int32_t exponent = 0;
    float s;
    float z;
    float sum;

    if (x < FLT_MIN) {
        x *= 33554432.0f;                   /* 2^25: out of the subnormals */
        exponent = -25;
    }
    memcpy(&bits, &x, sizeof bits);
    exponent += (int32_t)(bits >> 23) - 127;
    bits = (bits & 0x7FFFFFu) | 0x3F800000u;
    memcpy(&x, &bits, sizeof x);
    if (x > 1.41421356f) {
        x *= 0.5f;
        exponent += 1;
    }
    s = (x - 1.0f) / (x + 1.0f);
    z = s * s;
    sum = 2.0f / 9.0f;
    sum = sum * z + 2.0f / 7.0f;
    sum = sum * z + 2.0f / 5.0f;
    sum = sum * z + 2.0f / 3.0f;
    sum = 2.0f * s + s * (z * sum);
    sum += (float)exponent * -2.12194440e-4f;
    return sum + (float)exponent * 0.693359375f;
}

/* e^x = 2^k e^r with |r| <= ln(2) / 2, the second factor by Taylor series to r^7 (the next term is
 * below 6e-9). ln 2 is split as in er_logf. Below -87 the result would leave the normal numbers. */
float er_expf(float x)
{
    int32_t k;
    uint32_t bits;
    float r;
    float sum = 1.0f / 5040.0f;
    float power;

    if (!(x >= -87.0f)) {
        return 0.0f;
    }
    k = (int32_t)(x * 1.44269504f - 0.5f);
    r = (x - (float)k * 0.693359375f) - (float)k * -2.12194440e-4f;
    sum = sum * r + 1.0f / 720.0f;
    sum = sum * r + 1.0f / 120.0f;
    sum = sum * r + 1.0f / 24.0f;
    sum = sum * r + 1.0f / 6.0f;
    sum = sum * r + 0.5f;
    sum = sum * r + 1.0f;
    sum = sum * r + 1.0f;
    bits = (uint32_t)(k + 127) << 23;
    memcpy(&power, &bits, sizeof power);
    return sum * power;
}
