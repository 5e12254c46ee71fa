/* SPDX-License-Identifier: MIT
 *
 * What the ternary products are compared with where there is no ARM hardware to time (tests/estimate_cycles.py): a
 * product of 8-bit weights with 8-bit operands, written for this purpose as such kernels are usually written. Not part
 * of the library: it multiplies.
 *
 *     int8_gemv COUNT
 *
 * computes a product of 608 x 208 so many times, compares it with a plain loop, and prints the sums' sum.
 *
 * With the dot product instructions of ARMv8.2 (sdot) the weights are packed: four columns of each of 32 rows side by
 * side. Without, rows are as they are, eight or (ARMv7) four at a time: products of two halves of 16 columns are added
 * up in 16 bits, which holds two of them, and from there in 32. Row sums only: scaling is not in it. */
#include <arm_neon.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROWS = 608, COLUMNS = 208 };

void int8_gemv(const int8_t *weights, const int8_t *x, int32_t *sums);

#if defined(__ARM_FEATURE_DOTPROD)

enum { ROWS_AT_ONCE = 32 };

/* weights: [ROWS / 32][COLUMNS / 4][32][4] */
__attribute__((noinline)) void int8_gemv(const int8_t *weights, const int8_t *x, int32_t *sums)
{
    uint32_t row, column, k;

    for (row = 0; row < ROWS; row += ROWS_AT_ONCE) {
        int32x4_t acc[8];

        for (k = 0; k < 8; k++) {
            acc[k] = vdupq_n_s32(0);
        }
        for (column = 0; column < COLUMNS; column += 16) {
            const int8x16_t operands = vld1q_s8(x + column);

#define FOUR_COLUMNS(lane)                                                              \
            for (k = 0; k < 8; k++) {                                                   \
                acc[k] = vdotq_laneq_s32(acc[k], vld1q_s8(weights), operands, lane);    \
                weights += 16;                                                          \
            }
            FOUR_COLUMNS(0)
            FOUR_COLUMNS(1)
            FOUR_COLUMNS(2)
            FOUR_COLUMNS(3)
        }
        for (k = 0; k < 8; k++) {
            vst1q_s32(sums + row + 4 * k, acc[k]);
        }
    }
}

#else

#if defined(__aarch64__)
enum { ROWS_AT_ONCE = 8 };

/* 16 columns of a row, in 16 bits. */
static inline int16x8_t products(int8x16_t w, int8x16_t x)
{
    return vmlal_high_s8(vmull_s8(vget_low_s8(w), vget_low_s8(x)), w, x);
}
#else
enum { ROWS_AT_ONCE = 4 };

static inline int16x8_t products(int8x16_t w, int8x16_t x)
{
    return vmlal_s8(vmull_s8(vget_low_s8(w), vget_low_s8(x)), vget_high_s8(w), vget_high_s8(x));
}
#endif

/* weights: [ROWS][COLUMNS], none of them -128 */
__attribute__((noinline)) void int8_gemv(const int8_t *weights, const int8_t *x, int32_t *sums)
{
    uint32_t row, column, k;

    for (row = 0; row < ROWS; row += ROWS_AT_ONCE) {
        int32x4_t acc[ROWS_AT_ONCE];

        for (k = 0; k < ROWS_AT_ONCE; k++) {
            acc[k] = vdupq_n_s32(0);
        }
        for (column = 0; column < COLUMNS; column += 16) {
            const int8x16_t operands = vld1q_s8(x + column);

            for (k = 0; k < ROWS_AT_ONCE; k++) {
                acc[k] = vpadalq_s16(acc[k], products(vld1q_s8(weights + k * COLUMNS + column), operands));
            }
        }
        for (k = 0; k < ROWS_AT_ONCE; k++) {
            const int64x2_t pairs = vpaddlq_s32(acc[k]);

            sums[row + k] = (int32_t)(vgetq_lane_s64(pairs, 0) + vgetq_lane_s64(pairs, 1));
        }
        weights += ROWS_AT_ONCE * COLUMNS;
    }
}

#endif

/* Where a weight stands. */
static size_t place_of(uint32_t row, uint32_t column)
{
#if defined(__ARM_FEATURE_DOTPROD)
    return ((size_t)(row / 32) * (COLUMNS / 4) + column / 4) * 128 + row % 32 * 4 + column % 4;
#else
    return (size_t)row * COLUMNS + column;
#endif
}

int main(int argc, char **argv)
{
    static int8_t weights[ROWS * COLUMNS], x[COLUMNS];
    static int32_t sums[ROWS];
    unsigned long count = argc > 1 ? strtoul(argv[1], NULL, 10) : 1;
    uint32_t row, column, state = 1;
    int64_t all = 0;

    for (row = 0; row < ROWS * COLUMNS; row++) {
        state = state * 1664525u + 1013904223u;
        weights[row] = (int8_t)((int32_t)(state >> 24) % 255 - 127);
    }
    for (column = 0; column < COLUMNS; column++) {
        x[column] = (int8_t)(column * 37u % 255u - 127u);
    }
    for (; count > 0; count--) {
        int8_gemv(weights, x, sums);
    }
    for (row = 0; row < ROWS; row++) {
        int32_t expected = 0;

        for (column = 0; column < COLUMNS; column++) {
            expected += weights[place_of(row, column)] * x[column];
        }
        if (sums[row] != expected) {
            printf("row %u: %d instead of %d\n", (unsigned)row, (int)sums[row], (int)expected);
            return 1;
        }
        all += expected;
    }
    printf("%lld\n", (long long)all);
    return 0;
}
