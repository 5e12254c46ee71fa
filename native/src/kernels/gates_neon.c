/* SPDX-License-Identifier: MIT
 *
 * From the sums of the products to the state or output of a layer, 16 units at a time: NEON of AArch64 and
 * ARMv7. The rules are those of exporters/FORMAT.md, section 7; fixed.h and activation.c are the scalar forms.
 * A shift by a register takes the low byte of each lane as a signed count and shifts right where that is
 * negative: vshl to floor, vrshl to nearest, vqrshl also saturates to the left, which is N3 in one instruction.
 * vrhadd is the turn of N7. What is done to 16 values is done to both halves in turn: cores that execute in
 * order wait for each result otherwise. */
#if defined(__ARM_NEON)

#include <stddef.h>
#include <string.h>

#include "../activation_table.h"
#include "../model.h"
#include "kernels.h"
#include "neon.h"
#include "opaque.h"

enum { LANES = 8, UNITS = 16 };

/* Distances in er_scale_block, in values: from shift1 to the others, and to the next block. */
enum {
    SHIFT2 = offsetof(er_scale_block, shift2) / sizeof(int16_t),
    BIAS = offsetof(er_scale_block, bias) / sizeof(int16_t),
    BLOCK = sizeof(er_scale_block) / sizeof(int16_t)
};

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

/* The activation tables, 64 bytes each, for look-ups of bytes: the low and the high byte of the base; 16 - shift1
 * with 16 - shift2 in the upper nibble; and -shift3. */
enum { LOW, HIGH, SHIFT12, SHIFT3, TABLES };

/* Where shift1 is 0 so is shift3, and the two terms cancel each other; they do with 1 too. */
INLINE void fill_activation(uint8_t tables[TABLES][64])
{
    const uint8x16_t one = vdupq_n_u8(1), sixteen = vdupq_n_u8(16);
    uint32_t i;

    for (i = 0; i < 64; i += 16) {
        const uint8x16x2_t base = vld2q_u8((const uint8_t *)(er_activation_base + i));
        const uint8x16_t shift1 = vmaxq_u8(vld1q_u8(er_activation_shift1 + i), one);
        const uint8x16_t shift2 = vld1q_u8(er_activation_shift2 + i);
        const uint8x16_t shift3 = vmaxq_u8(vld1q_u8(er_activation_shift3 + i), one);

        vst1q_u8(tables[LOW] + i, base.val[0]);
        vst1q_u8(tables[HIGH] + i, base.val[1]);
        vst1q_u8(tables[SHIFT12] + i, vsliq_n_u8(vsubq_u8(sixteen, shift1), vsubq_u8(sixteen, shift2), 4));
        vst1q_u8(tables[SHIFT3] + i, vsubq_u8(vdupq_n_u8(0), shift3));
    }
}

typedef struct activation {
    er_table64 low, high, shift12, shift3;
} activation;

/* f shifted by the counts of 16 bytes. */
INLINE void shift_both(const int16x8_t f[2], uint8x16_t counts, int16x8_t out[2])
{
    out[0] = vshlq_s16(f[0], vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(counts))));
    out[1] = vshlq_s16(f[1], vreinterpretq_s16_u16(vmovl_u8(vget_high_u8(counts))));
}

/* Section 7.4: seg(i, F) with 256 i + (F + 32768) / 256 = a, negated where p is negative, in place of p. */
INLINE void segments(const activation *t, const uint16x8_t a[2], int16x8_t p[2])
{
    const uint16x8_t centre = vdupq_n_u16(0x8000);
    const uint8x16_t at = er_high_bytes(a[0], a[1]), above = vdupq_n_u8(0xF0);
    const uint8x16_t shift12 = er_lookup64(t->shift12, at), shift3 = er_lookup64(t->shift3, at);
    const uint8x16_t low = er_lookup64(t->low, at), high = er_lookup64(t->high, at);
    const int16x8_t sign[2] = { vshrq_n_s16(p[0], 15), vshrq_n_s16(p[1], 15) };
    const int16x8_t f[2] = { vreinterpretq_s16_u16(veorq_u16(vshlq_n_u16(a[0], 8), centre)),
                             vreinterpretq_s16_u16(veorq_u16(vshlq_n_u16(a[1], 8), centre)) };
    int16x8_t y[2], term[2];

    er_zip(low, high, y);
    shift_both(f, vorrq_u8(shift12, above), term);
    y[0] = vaddq_s16(y[0], term[0]);
    y[1] = vaddq_s16(y[1], term[1]);
    shift_both(f, vsriq_n_u8(above, shift12, 4), term);
    y[0] = vaddq_s16(y[0], term[0]);
    y[1] = vaddq_s16(y[1], term[1]);
    shift_both(f, shift3, term);
    y[0] = vsubq_s16(y[0], term[0]);
    y[1] = vsubq_s16(y[1], term[1]);
    p[0] = vsubq_s16(veorq_s16(y[0], sign[0]), sign[0]);
    p[1] = vsubq_s16(veorq_s16(y[1], sign[1]), sign[1]);
}

/* |p|; that of -32768 is 32768 as an unsigned number. */
INLINE uint16x8_t magnitude(int16x8_t p)
{
    return vreinterpretq_u16_s16(vabsq_s16(p));
}

/* N13 of 16 values, in place: min(|p|, 8191), doubled. */
INLINE void tanh_both(const activation *t, int16x8_t p[2])
{
    const uint16x8_t most = vdupq_n_u16(2 * 8191);
    const uint16x8_t a[2] = { vminq_u16(vqshlq_n_u16(magnitude(p[0]), 1), most),
                              vminq_u16(vqshlq_n_u16(magnitude(p[1]), 1), most) };

    segments(t, a, p);
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
    const uint16x8_t most = vdupq_n_u16(16383);
    const uint16x8_t a[2] = { vminq_u16(magnitude(p[0]), most), vminq_u16(magnitude(p[1]), most) };

    segments(t, a, p);
    p[0] = gate(p[0]);
    p[1] = gate(p[1]);
}

/* One turn of N7. */
INLINE void chain_turn(int16x8_t a[2], const int16x8_t b[2], const int16x8_t p[2], const int16x8_t q[2], int16_t bit)
{
    const int16x8_t one = vdupq_n_s16(bit);

    a[0] = vrhaddq_s16(a[0], vbslq_s16(vtstq_s16(b[0], one), p[0], q[0]));
    a[1] = vrhaddq_s16(a[1], vbslq_s16(vtstq_s16(b[1], one), p[1], q[1]));
}

/* N7 of 16 values, in place of p. */
INLINE void chain_both(const int16x8_t b[2], int16x8_t p[2], const int16x8_t q[2])
{
    int16x8_t a[2] = { p[0], p[1] };

    chain_turn(a, b, p, q, 1);
    chain_turn(a, b, p, q, 2);
    chain_turn(a, b, p, q, 4);
    chain_turn(a, b, p, q, 8);
    chain_turn(a, b, p, q, 16);
    chain_turn(a, b, p, q, 32);
    chain_turn(a, b, p, q, 64);
    chain_turn(a, b, p, q, 128);
    p[0] = a[0];
    p[1] = a[1];
}

/* N4 of one term from the words of ER_TERMS_COUNTS, negative as its complement; *negative is its sign. */
INLINE int16x8_t term(int16x8_t v, int16x8_t words, int16x8_t *negative)
{
    *negative = vshrq_n_s16(words, 15);
    return veorq_s16(vshlq_s16(v, words), *negative);
}

/* N3 to N5: sat16(bias + term1 + term2) of 8 rows; scale points to their shift1 in an er_scale_block. The terms
 * of a row have one sign, or opposite ones; three numbers are added exactly with saturation if those of opposite
 * signs go first. */
INLINE int16x8_t scale_sums(const int16_t *scale, int16x8_t left_shift, int16x8_t sums)
{
    const int16x8_t v = vqrshlq_s16(sums, left_shift);
    const int16x8_t bias = vld1q_s16(scale + BIAS);
    int16x8_t negative1, negative2, t1, t2;
    uint16x8_t opposite;

    t1 = term(v, vld1q_s16(scale), &negative1);
    t2 = term(v, vld1q_s16(scale + SHIFT2), &negative2);
    opposite = vreinterpretq_u16_s16(veorq_s16(negative1, negative2));
    t1 = vqaddq_s16(t1, vbslq_s16(opposite, t2, bias));
    return vqaddq_s16(t1, vbslq_s16(opposite, bias, t2));
}

INLINE void load_both(const int16_t *p, int16x8_t v[2])
{
    v[0] = vld1q_s16(p);
    v[1] = vld1q_s16(p + LANES);
}

INLINE void store_both(int16_t *p, const int16x8_t v[2])
{
    vst1q_s16(p, v[0]);
    vst1q_s16(p + LANES, v[1]);
}

INLINE void add_both(int16x8_t a[2], const int16x8_t b[2])
{
    a[0] = vqaddq_s16(a[0], b[0]);
    a[1] = vqaddq_s16(a[1], b[1]);
}

/* The outputs of 16 rows of one matrix from its sums. */
INLINE void outputs(const int16_t *scale, int16x8_t left_shift, const int16_t *sums, int16x8_t a[2])
{
    a[0] = scale_sums(scale, left_shift, vld1q_s16(sums));
    a[1] = scale_sums(scale + LANES, left_shift, vld1q_s16(sums + LANES));
}

/* N7 of 16 values, in place: gates b times p. */
INLINE void gate_both(const int16x8_t b[2], int16x8_t p[2])
{
    const int16x8_t zero[2] = { vdupq_n_s16(0), vdupq_n_s16(0) };

    chain_both(b, p, zero);
}

/* What a loop over units needs beside its place. */
typedef struct context {
    activation table;
    int16x8_t shift_x, shift_h;
} context;

INLINE context make_context(const er_gates *gates, uint8_t tables[TABLES][64])
{
    context c;

    c.table.low = er_table64_load(tables[LOW]);
    c.table.high = er_table64_load(tables[HIGH]);
    c.table.shift12 = er_table64_load(tables[SHIFT12]);
    c.table.shift3 = er_table64_load(tables[SHIFT3]);
    c.shift_x = vdupq_n_s16((int16_t)gates->left_shift_x);
    c.shift_h = vdupq_n_s16((int16_t)gates->left_shift_h);
    return c;
}

/* N6: pre-activations of 16 rows, moving *scale behind their blocks. shared is a constant. */
INLINE void preactivations(const context *c, const int16_t **scale, const int16_t *x, const int16_t *h,
                           const int shared, int16x8_t p[2])
{
    int16x8_t a_h[2];

    if (shared) {
        p[0] = scale_sums(*scale, c->shift_x, vaddq_s16(vld1q_s16(x), vld1q_s16(h)));
        p[1] = scale_sums(*scale + LANES, c->shift_x, vaddq_s16(vld1q_s16(x + LANES), vld1q_s16(h + LANES)));
        *scale += BLOCK;
    } else {
        outputs(*scale, c->shift_x, x, p);
        outputs(*scale + BLOCK, c->shift_h, h, a_h);
        add_both(p, a_h);
        *scale += 2 * BLOCK;
    }
}

/* The next 16 units of a layer. scale: of their half of the first block. cell: of an LSTM. */
typedef struct place {
    const int16_t *scale, *x, *h;
    int16_t *out, *cell;
    uint32_t second_half;       /* 0 or 1 */
} place;

/* Go on to the next 16 units. behind: these units' half of what is behind their last block. */
INLINE void advance(place *at, const int16_t *behind)
{
    at->scale = at->second_half ? behind - UNITS : at->scale + UNITS;
    at->second_half ^= 1;
    at->x += UNITS;
    at->h += UNITS;
    at->out += UNITS;
    at->cell += UNITS;
    ER_OPAQUE(at->x);
    ER_OPAQUE(at->h);
    ER_OPAQUE(at->out);
    ER_OPAQUE(at->cell);
}

/* A layer's gates for count times 16 units, at least 16; returns the place behind them. */
typedef place units_fn(const er_gates *gates, uint8_t tables[TABLES][64], place at, uint32_t count);

/* The gates of all units. The last ones go through a copy, so that nothing behind them is read or written, and
 * the loops are free of calls, which would cost them the tables in registers. */
static void run_units(const er_gates *gates, const int16_t *x, const int16_t *h, int16_t *out, int has_cell,
                      units_fn *run)
{
    const uint32_t count = gates->units >> 4;
    const size_t rest = (gates->units & 15) << 1;       /* bytes */
    place at = { (const int16_t *)(const void *)gates->scales, x, h, out, out + gates->units, 0 };
    uint8_t tables[TABLES][64];
    int16_t last_out[UNITS] = { 0 }, last_cell[UNITS] = { 0 };

    fill_activation(tables);
    if (count > 0) {
        at = run(gates, tables, at, count);
    }
    if (rest > 0) {
        place last = at;

        last.out = last_out;
        last.cell = last_cell;
        memcpy(last_out, at.out, rest);
        if (has_cell) {
            memcpy(last_cell, at.cell, rest);
        }
        run(gates, tables, last, 1);
        memcpy(at.out, last_out, rest);
        if (has_cell) {
            memcpy(at.cell, last_cell, rest);
        }
    }
}

/* N9, reset after the product. */
INLINE place gru(const er_gates *gates, uint8_t tables[TABLES][64], place at, uint32_t count, const int shared)
{
    const context c = make_context(gates, tables);
    const uint32_t row_z = gates->units, row_n = row_z + row_z;

    do {
        const int16_t *scale = at.scale;
        int16x8_t r[2], z[2], n[2], a_h[2], state[2];

        preactivations(&c, &scale, at.x, at.h, shared, r);
        preactivations(&c, &scale, at.x + row_z, at.h + row_z, shared, z);
        sigmoid_both(&c.table, r);
        outputs(scale + BLOCK, c.shift_h, at.h + row_n, a_h);
        gate_both(r, a_h);
        outputs(scale, c.shift_x, at.x + row_n, n);
        add_both(n, a_h);
        tanh_both(&c.table, n);
        sigmoid_both(&c.table, z);
        load_both(at.out, state);
        chain_both(z, state, n);
        store_both(at.out, state);
        advance(&at, scale + 2 * BLOCK);
    } while (--count > 0);
    return at;
}

static place gru_shared(const er_gates *gates, uint8_t tables[TABLES][64], place at, uint32_t count)
{
    return gru(gates, tables, at, count, 1);
}

static place gru_apart(const er_gates *gates, uint8_t tables[TABLES][64], place at, uint32_t count)
{
    return gru(gates, tables, at, count, 0);
}

/* See kernels.h. */
void er_gru_gates_neon(const er_gates *gates, const int16_t *sums_x, const int16_t *sums_h, int16_t *out)
{
    run_units(gates, sums_x, sums_h, out, 0, gates->shared ? gru_shared : gru_apart);
}

/* N9, r * h of RESET_BEFORE, from h in place. */
INLINE place reset(const er_gates *gates, uint8_t tables[TABLES][64], place at, uint32_t count, const int shared)
{
    const context c = make_context(gates, tables);

    do {
        const int16_t *scale = at.scale;
        int16x8_t r[2], gated[2];

        preactivations(&c, &scale, at.x, at.h, shared, r);
        sigmoid_both(&c.table, r);
        load_both(at.out, gated);
        gate_both(r, gated);
        store_both(at.out, gated);
        advance(&at, scale);
    } while (--count > 0);
    return at;
}

static place reset_shared(const er_gates *gates, uint8_t tables[TABLES][64], place at, uint32_t count)
{
    return reset(gates, tables, at, count, 1);
}

static place reset_apart(const er_gates *gates, uint8_t tables[TABLES][64], place at, uint32_t count)
{
    return reset(gates, tables, at, count, 0);
}

/* See kernels.h. */
void er_gru_reset_neon(const er_gates *gates, const int16_t *sums_x, const int16_t *sums_h, const int16_t *h,
                       int16_t *gated_out)
{
    er_gates only_r = *gates;

    only_r.scales = gates->reset_scales;
    memcpy(gated_out, h, gates->units * sizeof *h);
    run_units(&only_r, sums_x, sums_h, gated_out, 0, gates->shared ? reset_shared : reset_apart);
}

/* N10. */
INLINE place lstm(const er_gates *gates, uint8_t tables[TABLES][64], place at, uint32_t count, const int shared)
{
    const context c = make_context(gates, tables);
    const uint32_t row_f = gates->units;
    uint32_t row_g = row_f + row_f, row_o;

    ER_OPAQUE(row_g);       /* else row_o is a multiplication by 3 */
    row_o = row_g + row_f;
    do {
        const int16_t *scale = at.scale;
        int16x8_t i[2], f[2], g[2], o[2], cell[2];

        preactivations(&c, &scale, at.x, at.h, shared, i);
        preactivations(&c, &scale, at.x + row_f, at.h + row_f, shared, f);
        preactivations(&c, &scale, at.x + row_g, at.h + row_g, shared, g);
        preactivations(&c, &scale, at.x + row_o, at.h + row_o, shared, o);
        sigmoid_both(&c.table, i);
        tanh_both(&c.table, g);
        gate_both(i, g);
        sigmoid_both(&c.table, f);
        load_both(at.cell, cell);
        gate_both(f, cell);
        g[0] = vrshrq_n_s16(g[0], 3);
        g[1] = vrshrq_n_s16(g[1], 3);
        add_both(cell, g);
        store_both(at.cell, cell);
        cell[0] = vrshrq_n_s16(cell[0], 1);
        cell[1] = vrshrq_n_s16(cell[1], 1);
        tanh_both(&c.table, cell);
        sigmoid_both(&c.table, o);
        gate_both(o, cell);
        store_both(at.out, cell);
        advance(&at, scale);
    } while (--count > 0);
    return at;
}

static place lstm_shared(const er_gates *gates, uint8_t tables[TABLES][64], place at, uint32_t count)
{
    return lstm(gates, tables, at, count, 1);
}

static place lstm_apart(const er_gates *gates, uint8_t tables[TABLES][64], place at, uint32_t count)
{
    return lstm(gates, tables, at, count, 0);
}

/* See kernels.h. */
void er_lstm_gates_neon(const er_gates *gates, const int16_t *sums_x, const int16_t *sums_h, int16_t *out)
{
    run_units(gates, sums_x, sums_h, out, 1, gates->shared ? lstm_shared : lstm_apart);
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
static place rnn(const er_gates *gates, uint8_t tables[TABLES][64], place at, uint32_t count)
{
    const context c = make_context(gates, tables);

    do {
        const int16_t *scale = at.scale;
        int16x8_t p[2];

        if (gates->shared) {
            preactivations(&c, &scale, at.x, at.h, 1, p);
        } else {
            preactivations(&c, &scale, at.x, at.h, 0, p);
        }
        activate(&c.table, gates->activation, p);
        store_both(at.out, p);
        advance(&at, scale);
    } while (--count > 0);
    return at;
}

/* See kernels.h. */
void er_rnn_gates_neon(const er_gates *gates, const int16_t *sums_x, const int16_t *sums_h, int16_t *out)
{
    run_units(gates, sums_x, sums_h, out, 0, rnn);
}

/* N11. */
static place dense(const er_gates *gates, uint8_t tables[TABLES][64], place at, uint32_t count)
{
    const context c = make_context(gates, tables);

    do {
        int16x8_t p[2];

        outputs(at.scale, c.shift_x, at.x, p);
        activate(&c.table, gates->activation, p);
        store_both(at.out, p);
        advance(&at, at.scale + BLOCK);
    } while (--count > 0);
    return at;
}

/* See kernels.h. */
void er_dense_gates_neon(const er_gates *gates, const int16_t *sums_x, const int16_t *sums_h, int16_t *out)
{
    (void)sums_h;
    run_units(gates, sums_x, sums_x, out, 0, dense);
}

#else
typedef int er_gates_neon_is_empty;     /* a file must not be */
#endif
