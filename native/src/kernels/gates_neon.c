/* SPDX-License-Identifier: MIT
 *
 * From the sums of the products to the state or output of a layer, 16 units at a time: AArch64. The rules
 * are those of exporters/FORMAT.md, section 7; fixed.h and activation.c are the scalar forms. A shift by a
 * register shifts right where the count is negative: sshl to floor, srshl to nearest, sqrshl also saturates
 * to the left, which is N3 in one instruction. srhadd is the turn of N7. */
#if defined(__aarch64__)

#include <arm_neon.h>
#include <stddef.h>

#include "../activation_table.h"
#include "../model.h"
#include "kernels.h"
#include "opaque.h"

#define INLINE static inline __attribute__((always_inline))

enum { LANES = 8, UNITS = 16 };

/* `left` values, zeros behind them; nothing else is read. */
INLINE int16x8_t load_units(const int16_t *p, uint32_t left)
{
    int16_t rest[LANES] = { 0 };
    uint32_t i;

    if (left >= LANES) {
        return vld1q_s16(p);
    }
    for (i = 0; i < left; i++) {
        rest[i] = p[i];
    }
    return vld1q_s16(rest);
}

/* The first `left` values; nothing else is written. */
INLINE void store_units(int16_t *p, int16x8_t v, uint32_t left)
{
    int16_t rest[LANES];
    uint32_t i;

    if (left >= LANES) {
        vst1q_s16(p, v);
        return;
    }
    vst1q_s16(rest, v);
    for (i = 0; i < left; i++) {
        p[i] = rest[i];
    }
}

/* See kernels.h. */
void er_widen_neon(const int8_t *x, uint32_t count, int16_t *values_out)
{
    while (count >= LANES) {
        vst1q_s16(values_out, vmovl_s8(vmax_s8(vld1_s8(x), vdup_n_s8(-127))));
        x += LANES;
        values_out += LANES;
        count -= LANES;
        ER_OPAQUE(x);
        ER_OPAQUE(values_out);
        ER_OPAQUE(count);
    }
    for (; count > 0; count--) {
        *values_out++ = *x < -127 ? -127 : *x;
        x++;
    }
}

/* The activation tables for tbl, 64 bytes each: the low and the high byte of the base, shift1 with shift2 in
 * the upper nibble, and shift3. */
typedef struct activation {
    uint8x16x4_t low, high, shift12, shift3;
} activation;

/* A quarter of the tables. k is a constant. */
#define LOAD_QUARTER(t, k)                                                                        \
    do {                                                                                          \
        const uint8x16x2_t base_ = vld2q_u8((const uint8_t *)(er_activation_base + 16 * (k)));    \
                                                                                                  \
        (t)->low.val[k] = base_.val[0];                                                           \
        (t)->high.val[k] = base_.val[1];                                                          \
        (t)->shift12.val[k] = vorrq_u8(vld1q_u8(er_activation_shift1 + 16 * (k)),                 \
                                       vshlq_n_u8(vld1q_u8(er_activation_shift2 + 16 * (k)), 4)); \
        (t)->shift3.val[k] = vld1q_u8(er_activation_shift3 + 16 * (k));                           \
    } while (0)

INLINE void load_activation(activation *t)
{
    LOAD_QUARTER(t, 0);
    LOAD_QUARTER(t, 1);
    LOAD_QUARTER(t, 2);
    LOAD_QUARTER(t, 3);
}

/* F >> s for shifts s of 8 lanes. */
INLINE int16x8_t shift_right(int16x8_t f, uint8x8_t s)
{
    return vshlq_s16(f, vnegq_s16(vreinterpretq_s16_u16(vmovl_u8(s))));
}

/* What a segment adds to its base. */
INLINE int16x8_t fraction(int16x8_t f, uint8x8_t shift12, uint8x8_t shift3)
{
    const int16x8_t y = vaddq_s16(shift_right(f, vand_u8(shift12, vdup_n_u8(15))),
                                  shift_right(f, vshr_n_u8(shift12, 4)));

    return vsubq_s16(y, shift_right(f, shift3));
}

/* seg(i, F) of 16 values, negated where p is negative, in place of p: section 7.4. */
INLINE void segments(const activation *t, const uint16x8_t i[2], const int16x8_t f[2], int16x8_t p[2])
{
    const uint8x16_t at = vcombine_u8(vmovn_u16(i[0]), vmovn_u16(i[1]));
    const uint8x16_t shift12 = vqtbl4q_u8(t->shift12, at), shift3 = vqtbl4q_u8(t->shift3, at);
    const uint8x16_t low = vqtbl4q_u8(t->low, at), high = vqtbl4q_u8(t->high, at);
    const int16x8_t sign0 = vshrq_n_s16(p[0], 15), sign1 = vshrq_n_s16(p[1], 15);
    int16x8_t y0 = vreinterpretq_s16_u8(vzip1q_u8(low, high));
    int16x8_t y1 = vreinterpretq_s16_u8(vzip2q_u8(low, high));

    y0 = vaddq_s16(y0, fraction(f[0], vget_low_u8(shift12), vget_low_u8(shift3)));
    y1 = vaddq_s16(y1, fraction(f[1], vget_high_u8(shift12), vget_high_u8(shift3)));
    p[0] = vsubq_s16(veorq_s16(y0, sign0), sign0);
    p[1] = vsubq_s16(veorq_s16(y1, sign1), sign1);
}

/* min(|p|, most); the magnitude of -32768 is 32768 as an unsigned number. */
INLINE uint16x8_t magnitude(int16x8_t p, uint16_t most)
{
    return vminq_u16(vreinterpretq_u16_s16(vabsq_s16(p)), vdupq_n_u16(most));
}

/* The fraction F of a magnitude shifted to fill 16 bits. */
INLINE int16x8_t centred(uint16x8_t a)
{
    return vreinterpretq_s16_u16(veorq_u16(a, vdupq_n_u16(0x8000)));
}

/* N13 of 16 values, in place. */
INLINE void tanh_both(const activation *t, int16x8_t p[2])
{
    const uint16x8_t a0 = magnitude(p[0], 8191), a1 = magnitude(p[1], 8191);
    const uint16x8_t i[2] = { vshrq_n_u16(a0, 7), vshrq_n_u16(a1, 7) };
    const int16x8_t f[2] = { centred(vshlq_n_u16(a0, 9)), centred(vshlq_n_u16(a1, 9)) };

    segments(t, i, f, p);
}

/* The gate that belongs to tanh(p / 2), as in N14. */
INLINE int16x8_t gate(int16x8_t y)
{
    const uint16x8_t b = veorq_u16(vreinterpretq_u16_s16(y), vdupq_n_u16(0x8000));

    return vreinterpretq_s16_u16(vshrq_n_u16(vqsubq_u16(b, vdupq_n_u16(128)), 8));
}

/* N14 of 16 values, in place: gates b in 0 .. 255. */
INLINE void sigmoid_both(const activation *t, int16x8_t p[2])
{
    const uint16x8_t a0 = magnitude(p[0], 16383), a1 = magnitude(p[1], 16383);
    const uint16x8_t i[2] = { vshrq_n_u16(a0, 8), vshrq_n_u16(a1, 8) };
    const int16x8_t f[2] = { centred(vshlq_n_u16(a0, 8)), centred(vshlq_n_u16(a1, 8)) };

    segments(t, i, f, p);
    p[0] = gate(p[0]);
    p[1] = gate(p[1]);
}

/* One turn of N7. */
INLINE int16x8_t chain_turn(int16x8_t a, int16x8_t b, int16x8_t p, int16x8_t q, int16_t bit)
{
    return vrhaddq_s16(a, vbslq_s16(vtstq_s16(b, vdupq_n_s16(bit)), p, q));
}

/* N7. */
INLINE int16x8_t chain(int16x8_t b, int16x8_t p, int16x8_t q)
{
    int16x8_t a;

    a = chain_turn(p, b, p, q, 1);
    a = chain_turn(a, b, p, q, 2);
    a = chain_turn(a, b, p, q, 4);
    a = chain_turn(a, b, p, q, 8);
    a = chain_turn(a, b, p, q, 16);
    a = chain_turn(a, b, p, q, 32);
    a = chain_turn(a, b, p, q, 64);
    return chain_turn(a, b, p, q, 128);
}

/* N4 of one term, negative as its complement, from term words (er_scale_block); *negative is its sign. */
INLINE int16x8_t term(int16x8_t v, int16x8_t words, int16x8_t *negative)
{
    const int16x8_t count = vnegq_s16(vandq_s16(words, vdupq_n_s16(15)));

    *negative = vshrq_n_s16(vshlq_n_s16(words, 1), 15);
    return vandq_s16(veorq_s16(vshlq_s16(v, count), *negative), vshrq_n_s16(words, 15));
}

/* N3 to N5: sat16(bias + term1 + term2) of 8 rows of a block from `first` on. The terms of a row have one
 * sign, or opposite ones; three numbers are added exactly with saturation if those of opposite signs go
 * first. */
INLINE int16x8_t scale_sums(const er_scale_block *scale, uint32_t first, int16x8_t left_shift, int16x8_t sums)
{
    const int16x8_t v = vqrshlq_s16(sums, left_shift);
    const int16x8_t bias = vld1q_s16(scale->bias + first);
    int16x8_t negative1, negative2, t1, t2;
    uint16x8_t opposite;

    t1 = term(v, vld1q_s16(scale->shift1 + first), &negative1);
    t2 = term(v, vld1q_s16(scale->shift2 + first), &negative2);
    opposite = vreinterpretq_u16_s16(veorq_s16(negative1, negative2));
    t1 = vqaddq_s16(t1, vbslq_s16(opposite, t2, bias));
    return vqaddq_s16(t1, vbslq_s16(opposite, bias, t2));
}

/* What each call needs beside its arguments. half: 0 or 16, the half of the scale blocks in use. */
typedef struct context {
    activation table;
    int16x8_t shift_x, shift_h;
    uint32_t half;
} context;

INLINE void make_context(context *c, const er_gates *gates)
{
    load_activation(&c->table);
    c->shift_x = vdupq_n_s16((int16_t)gates->left_shift_x);
    c->shift_h = vdupq_n_s16((int16_t)gates->left_shift_h);
    c->half = 0;
}

/* The outputs of 16 rows of one matrix from its sums. */
INLINE void outputs(const context *c, const er_scale_block *scale, int16x8_t left_shift, const int16_t *sums,
                    int16x8_t a[2])
{
    a[0] = scale_sums(scale, c->half, left_shift, vld1q_s16(sums));
    a[1] = scale_sums(scale, c->half + LANES, left_shift, vld1q_s16(sums + LANES));
}

/* N6: pre-activations of 16 rows, moving *scale behind their blocks. shared is a constant. */
INLINE void preactivations(const context *c, const er_scale_block **scale, const int16_t *x, const int16_t *h,
                           const int shared, int16x8_t p[2])
{
    int16x8_t a_h[2];

    if (shared) {
        p[0] = vaddq_s16(vld1q_s16(x), vld1q_s16(h));
        p[1] = vaddq_s16(vld1q_s16(x + LANES), vld1q_s16(h + LANES));
        p[0] = scale_sums(*scale, c->half, c->shift_x, p[0]);
        p[1] = scale_sums(*scale, c->half + LANES, c->shift_x, p[1]);
        *scale += 1;
    } else {
        outputs(c, *scale, c->shift_x, x, p);
        outputs(c, *scale + 1, c->shift_h, h, a_h);
        p[0] = vqaddq_s16(p[0], a_h[0]);
        p[1] = vqaddq_s16(p[1], a_h[1]);
        *scale += 2;
    }
}

/* Units of the second 8 when `left` are to come. */
INLINE uint32_t behind(uint32_t left)
{
    return left > LANES ? left - LANES : 0;
}

/* N7 on both halves, a gate times p. */
INLINE void gate_both(const int16x8_t b[2], int16x8_t p[2])
{
    p[0] = chain(b[0], p[0], vdupq_n_s16(0));
    p[1] = chain(b[1], p[1], vdupq_n_s16(0));
}

/* Write 16 values, or as many as are left. */
INLINE void store_both(int16_t *p, const int16x8_t v[2], uint32_t left)
{
    store_units(p, v[0], left);
    store_units(p + LANES, v[1], behind(left));
}

/* Go on to the next 16 units: to the other half of the scale blocks, or behind them. Returns the first. */
INLINE const er_scale_block *next_half(context *c, const er_scale_block *first, const er_scale_block *behind_all)
{
    c->half = UNITS - c->half;
    return c->half == 0 ? behind_all : first;
}

/* N9, reset after the product. */
INLINE void gru(const er_gates *gates, const int16_t *x, const int16_t *h, int16_t *state, const int shared)
{
    const er_scale_block *first = gates->scales;
    const uint32_t row_z = gates->units, row_n = row_z + row_z;
    uint32_t left = gates->units;
    context c;

    make_context(&c, gates);
    while (left > 0) {
        const er_scale_block *scale = first;
        int16x8_t r[2], z[2], n[2], a_h[2];

        preactivations(&c, &scale, x, h, shared, r);
        preactivations(&c, &scale, x + row_z, h + row_z, shared, z);
        sigmoid_both(&c.table, r);
        sigmoid_both(&c.table, z);
        outputs(&c, scale, c.shift_x, x + row_n, n);
        outputs(&c, scale + 1, c.shift_h, h + row_n, a_h);
        gate_both(r, a_h);
        n[0] = vqaddq_s16(n[0], a_h[0]);
        n[1] = vqaddq_s16(n[1], a_h[1]);
        tanh_both(&c.table, n);
        n[0] = chain(z[0], load_units(state, left), n[0]);
        n[1] = chain(z[1], load_units(state + LANES, behind(left)), n[1]);
        store_both(state, n, left);
        first = next_half(&c, first, scale + 2);
        x += UNITS;
        h += UNITS;
        state += UNITS;
        left = left < UNITS ? 0 : left - UNITS;
    }
}

/* See kernels.h. */
void er_gru_gates_neon(const er_gates *gates, const int16_t *sums_x, const int16_t *sums_h, int16_t *out)
{
    if (gates->shared) {
        gru(gates, sums_x, sums_h, out, 1);
    } else {
        gru(gates, sums_x, sums_h, out, 0);
    }
}

/* N10. */
INLINE void lstm(const er_gates *gates, const int16_t *x, const int16_t *h, int16_t *state, const int shared)
{
    const er_scale_block *first = gates->scales;
    const uint32_t row_f = gates->units;
    uint32_t row_g = row_f + row_f, row_o, left = gates->units;
    int16_t *cell = state + row_f;
    context c;

    ER_OPAQUE(row_g);       /* else row_o is a multiplication by 3 */
    row_o = row_g + row_f;
    make_context(&c, gates);
    while (left > 0) {
        const er_scale_block *scale = first;
        int16x8_t i[2], f[2], g[2], o[2], now[2];

        preactivations(&c, &scale, x, h, shared, i);
        preactivations(&c, &scale, x + row_f, h + row_f, shared, f);
        preactivations(&c, &scale, x + row_g, h + row_g, shared, g);
        preactivations(&c, &scale, x + row_o, h + row_o, shared, o);
        sigmoid_both(&c.table, i);
        tanh_both(&c.table, g);
        gate_both(i, g);
        sigmoid_both(&c.table, f);
        now[0] = load_units(cell, left);
        now[1] = load_units(cell + LANES, behind(left));
        gate_both(f, now);
        now[0] = vqaddq_s16(now[0], vrshrq_n_s16(g[0], 3));
        now[1] = vqaddq_s16(now[1], vrshrq_n_s16(g[1], 3));
        store_both(cell, now, left);
        now[0] = vrshrq_n_s16(now[0], 1);
        now[1] = vrshrq_n_s16(now[1], 1);
        tanh_both(&c.table, now);
        sigmoid_both(&c.table, o);
        gate_both(o, now);
        store_both(state, now, left);
        first = next_half(&c, first, scale);
        x += UNITS;
        h += UNITS;
        state += UNITS;
        cell += UNITS;
        left = left < UNITS ? 0 : left - UNITS;
    }
}

/* See kernels.h. */
void er_lstm_gates_neon(const er_gates *gates, const int16_t *sums_x, const int16_t *sums_h, int16_t *out)
{
    if (gates->shared) {
        lstm(gates, sums_x, sums_h, out, 1);
    } else {
        lstm(gates, sums_x, sums_h, out, 0);
    }
}

/* (b + 1) << 7, at most 32767: the shift saturates. */
INLINE int16x8_t sigmoid_value(int16x8_t b)
{
    return vqshlq_n_s16(vaddq_s16(b, vdupq_n_s16(1)), 7);
}

/* N8 and N11: outputs from pre-activations, in place. */
INLINE void activate(const activation *t, uint32_t kind, int16x8_t p[2])
{
    switch (kind) {
    case ER_ACTIVATION_TANH:
        tanh_both(t, p);
        break;
    case ER_ACTIVATION_RELU:
        p[0] = vmaxq_s16(p[0], vdupq_n_s16(0));
        p[1] = vmaxq_s16(p[1], vdupq_n_s16(0));
        break;
    case ER_ACTIVATION_SIGMOID:
        sigmoid_both(t, p);
        p[0] = sigmoid_value(p[0]);
        p[1] = sigmoid_value(p[1]);
        break;
    default:
        break;
    }
}

/* N8. */
void er_rnn_gates_neon(const er_gates *gates, const int16_t *sums_x, const int16_t *sums_h, int16_t *out)
{
    const er_scale_block *first = gates->scales;
    uint32_t left = gates->units;
    context c;

    make_context(&c, gates);
    while (left > 0) {
        const er_scale_block *scale = first;
        int16x8_t p[2];

        if (gates->shared) {
            preactivations(&c, &scale, sums_x, sums_h, 1, p);
        } else {
            preactivations(&c, &scale, sums_x, sums_h, 0, p);
        }
        activate(&c.table, gates->activation, p);
        store_both(out, p, left);
        first = next_half(&c, first, scale);
        sums_x += UNITS;
        sums_h += UNITS;
        out += UNITS;
        left = left < UNITS ? 0 : left - UNITS;
    }
}

/* N11. */
void er_dense_gates_neon(const er_gates *gates, const int16_t *sums_x, const int16_t *sums_h, int16_t *out)
{
    const er_scale_block *first = gates->scales;
    uint32_t left = gates->units;
    context c;

    (void)sums_h;
    make_context(&c, gates);
    while (left > 0) {
        int16x8_t p[2];

        outputs(&c, first, c.shift_x, sums_x, p);
        activate(&c.table, gates->activation, p);
        store_both(out, p, left);
        first = next_half(&c, first, first + 1);
        sums_x += UNITS;
        out += UNITS;
        left = left < UNITS ? 0 : left - UNITS;
    }
}

#else
typedef int er_gates_neon_is_empty;     /* a file must not be */
#endif
