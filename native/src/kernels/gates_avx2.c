/* SPDX-License-Identifier: MIT
 *
 * From the sums of the products to the state or output of a layer, 32 units at a time: AVX2. The rules are
 * those of exporters/FORMAT.md, section 7; fixed.h and activation.c are the scalar forms. Shifts by a count
 * per row exist on 32-bit lanes only: there 16 values are two registers, in the order of vpunpcklwd and
 * vpunpckhwd, from which vpackssdw puts them together again. */
#if defined(__AVX2__)

#include <immintrin.h>
#include <stddef.h>

#include "../activation_table.h"
#include "../model.h"
#include "kernels.h"
#include "opaque.h"

#define INLINE static inline __attribute__((always_inline))

enum { LANES = 16 };

INLINE __m256i load(const int16_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

/* `left` values, zeros behind them; nothing else is read. */
INLINE __m256i load_units(const int16_t *p, uint32_t left)
{
    int16_t rest[LANES] = { 0 };
    uint32_t i;

    if (left >= LANES) {
        return load(p);
    }
    for (i = 0; i < left; i++) {
        rest[i] = p[i];
    }
    return load(rest);
}

/* The first `left` values; nothing else is written. */
INLINE void store_units(int16_t *p, __m256i v, uint32_t left)
{
    int16_t rest[LANES];
    uint32_t i;

    if (left >= LANES) {
        _mm256_storeu_si256((__m256i *)(void *)p, v);
        return;
    }
    _mm256_storeu_si256((__m256i *)(void *)rest, v);
    for (i = 0; i < left; i++) {
        p[i] = rest[i];
    }
}

/* See kernels.h. */
void er_widen_avx2(const int8_t *x, uint32_t count, int16_t *values_out)
{
    while (count >= LANES) {
        const __m128i v = _mm_max_epi8(_mm_loadu_si128((const __m128i *)(const void *)x), _mm_set1_epi8(-127));

        _mm256_storeu_si256((__m256i *)(void *)values_out, _mm256_cvtepi8_epi16(v));
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

/* The activation tables for look-ups of 16 bytes at a time. Four tables, for each byte of the entries of
 * 64: the low and the high byte of the base, shift1 and shift2 as two nibbles, shift3. Of each the first 16
 * entries, then what turns one 16 into the next by exclusive or. */
typedef struct activation {
    __m256i part[4][4];
} activation;

/* 16 entries of the table k from entry `first` on. */
INLINE __m128i entries(int k, int first)
{
    const __m128i low = _mm_loadu_si128((const __m128i *)(const void *)(er_activation_base + first));
    const __m128i high = _mm_loadu_si128((const __m128i *)(const void *)(er_activation_base + first + 8));
    const __m128i byte = _mm_set1_epi16(255);

    switch (k) {
    case 0:
        return _mm_packus_epi16(_mm_and_si128(low, byte), _mm_and_si128(high, byte));
    case 1:
        return _mm_packus_epi16(_mm_srli_epi16(low, 8), _mm_srli_epi16(high, 8));
    case 2:
        return _mm_or_si128(
            _mm_loadu_si128((const __m128i *)(const void *)(er_activation_shift1 + first)),
            _mm_slli_epi16(_mm_loadu_si128((const __m128i *)(const void *)(er_activation_shift2 + first)), 4));
    default:
        return _mm_loadu_si128((const __m128i *)(const void *)(er_activation_shift3 + first));
    }
}

INLINE void load_table(activation *t, int k)
{
    const __m128i e0 = entries(k, 0), e1 = entries(k, 16), e2 = entries(k, 32), e3 = entries(k, 48);

    t->part[k][0] = _mm256_broadcastsi128_si256(e0);
    t->part[k][1] = _mm256_broadcastsi128_si256(_mm_xor_si128(e0, e1));
    t->part[k][2] = _mm256_broadcastsi128_si256(_mm_xor_si128(e1, e2));
    t->part[k][3] = _mm256_broadcastsi128_si256(_mm_xor_si128(e2, e3));
}

INLINE void load_activation(activation *t)
{
    load_table(t, 0);
    load_table(t, 1);
    load_table(t, 2);
    load_table(t, 3);
}

/* Entries of table k: vpshufb gives 0 as long as the index less 16, 32, 48 is negative. */
INLINE __m256i look_up(const activation *t, int k, const __m256i i[4])
{
    const __m256i a =
        _mm256_xor_si256(_mm256_shuffle_epi8(t->part[k][0], i[0]), _mm256_shuffle_epi8(t->part[k][1], i[1]));
    const __m256i b =
        _mm256_xor_si256(_mm256_shuffle_epi8(t->part[k][2], i[2]), _mm256_shuffle_epi8(t->part[k][3], i[3]));

    return _mm256_xor_si256(a, b);
}

/* The two 32-bit halves of 16 values, with sign. */
INLINE __m256i widen_low(__m256i v) { return _mm256_srai_epi32(_mm256_unpacklo_epi16(v, v), 16); }
INLINE __m256i widen_high(__m256i v) { return _mm256_srai_epi32(_mm256_unpackhi_epi16(v, v), 16); }

/* F >> S1 + F >> S2 - F >> S3, from words S1 + 16 S2 + 256 S3. */
INLINE __m256i fraction(__m256i f, __m256i shifts)
{
    const __m256i nibble = _mm256_set1_epi32(15);
    const __m256i s1 = _mm256_and_si256(shifts, nibble);
    const __m256i s2 = _mm256_and_si256(_mm256_srli_epi32(shifts, 4), nibble);
    const __m256i s3 = _mm256_srli_epi32(shifts, 8);

    return _mm256_sub_epi32(_mm256_add_epi32(_mm256_srav_epi32(f, s1), _mm256_srav_epi32(f, s2)),
                            _mm256_srav_epi32(f, s3));
}

/* The same of 16 values. */
INLINE __m256i fractions(__m256i f, __m256i shifts)
{
    const __m256i zero = _mm256_setzero_si256();

    return _mm256_packs_epi32(fraction(widen_low(f), _mm256_unpacklo_epi16(shifts, zero)),
                              fraction(widen_high(f), _mm256_unpackhi_epi16(shifts, zero)));
}

/* seg(i, F) of 32 values, y[0] and y[1]: section 7.4. */
INLINE void segments(const activation *t, const __m256i i[2], const __m256i f[2], __m256i y[2])
{
    __m256i at[4], base[2], shifts[2];

    at[0] = _mm256_packus_epi16(i[0], i[1]);
    at[1] = _mm256_sub_epi8(at[0], _mm256_set1_epi8(16));
    at[2] = _mm256_sub_epi8(at[0], _mm256_set1_epi8(32));
    at[3] = _mm256_sub_epi8(at[0], _mm256_set1_epi8(48));
    base[1] = look_up(t, 1, at);
    base[0] = look_up(t, 0, at);
    shifts[1] = look_up(t, 3, at);
    shifts[0] = look_up(t, 2, at);
    y[0] = _mm256_unpacklo_epi8(base[0], base[1]);
    y[1] = _mm256_unpackhi_epi8(base[0], base[1]);
    at[0] = _mm256_unpacklo_epi8(shifts[0], shifts[1]);
    at[1] = _mm256_unpackhi_epi8(shifts[0], shifts[1]);
    y[0] = _mm256_add_epi16(y[0], fractions(f[0], at[0]));
    y[1] = _mm256_add_epi16(y[1], fractions(f[1], at[1]));
}

#define SIGN_BITS _mm256_set1_epi16(-32768)

/* y negated where p is negative. */
INLINE __m256i with_sign(__m256i y, __m256i p)
{
    const __m256i negative = _mm256_srai_epi16(p, 15);

    return _mm256_sub_epi16(_mm256_xor_si256(y, negative), negative);
}

/* The gate that belongs to tanh(p / 2), as in N14. */
INLINE __m256i gate(__m256i y)
{
    return _mm256_srli_epi16(_mm256_subs_epu16(_mm256_xor_si256(y, SIGN_BITS), _mm256_set1_epi16(128)), 8);
}

/* N13 of 32 values, in place. The magnitude of -32768 is 32768 as an unsigned number. */
INLINE void tanh_both(const activation *t, __m256i p[2])
{
    const __m256i most = _mm256_set1_epi16(8191);
    const __m256i a0 = _mm256_min_epu16(_mm256_abs_epi16(p[0]), most);
    const __m256i a1 = _mm256_min_epu16(_mm256_abs_epi16(p[1]), most);
    const __m256i i[2] = { _mm256_srli_epi16(a0, 7), _mm256_srli_epi16(a1, 7) };
    const __m256i f[2] = { _mm256_xor_si256(_mm256_slli_epi16(a0, 9), SIGN_BITS),
                           _mm256_xor_si256(_mm256_slli_epi16(a1, 9), SIGN_BITS) };
    __m256i y[2];

    segments(t, i, f, y);
    p[0] = with_sign(y[0], p[0]);
    p[1] = with_sign(y[1], p[1]);
}

/* N14 of 32 values, in place: gates b in 0 .. 255. */
INLINE void sigmoid_both(const activation *t, __m256i p[2])
{
    const __m256i most = _mm256_set1_epi16(16383);
    const __m256i a0 = _mm256_min_epu16(_mm256_abs_epi16(p[0]), most);
    const __m256i a1 = _mm256_min_epu16(_mm256_abs_epi16(p[1]), most);
    const __m256i i[2] = { _mm256_srli_epi16(a0, 8), _mm256_srli_epi16(a1, 8) };
    const __m256i f[2] = { _mm256_xor_si256(_mm256_slli_epi16(a0, 8), SIGN_BITS),
                           _mm256_xor_si256(_mm256_slli_epi16(a1, 8), SIGN_BITS) };
    __m256i y[2];

    segments(t, i, f, y);
    p[0] = gate(with_sign(y[0], p[0]));
    p[1] = gate(with_sign(y[1], p[1]));
}

/* One turn of N7 on values with their sign bit inverted, as vpavgw wants them. vpblendvb looks at bit 7 of
 * each byte of m. */
INLINE __m256i chain_turn(__m256i a, __m256i m, __m256i p, __m256i q)
{
    return _mm256_avg_epu16(a, _mm256_blendv_epi8(q, p, m));
}

/* N7. With the gate in both bytes, a shift brings a bit of it to the top of both. */
INLINE __m256i chain(__m256i b, __m256i p, __m256i q)
{
    __m256i a;

    b = _mm256_or_si256(b, _mm256_slli_epi16(b, 8));
    p = _mm256_xor_si256(p, SIGN_BITS);
    q = _mm256_xor_si256(q, SIGN_BITS);
    a = chain_turn(p, _mm256_slli_epi16(b, 7), p, q);
    a = chain_turn(a, _mm256_slli_epi16(b, 6), p, q);
    a = chain_turn(a, _mm256_slli_epi16(b, 5), p, q);
    a = chain_turn(a, _mm256_slli_epi16(b, 4), p, q);
    a = chain_turn(a, _mm256_slli_epi16(b, 3), p, q);
    a = chain_turn(a, _mm256_slli_epi16(b, 2), p, q);
    a = chain_turn(a, _mm256_slli_epi16(b, 1), p, q);
    a = chain_turn(a, b, p, q);
    return _mm256_xor_si256(a, SIGN_BITS);
}

/* N3 made ready for a left shift L: for L > 0 clamp to +-2^(15 - L), shift by L - 1, and add to itself with
 * saturation; else add `half` (the plan has left room) and shift right. */
typedef struct shifter {
    __m256i bound, half;
    __m128i count;
    int32_t left;
} shifter;

INLINE shifter make_shifter(int32_t left)
{
    shifter s;

    s.left = left;
    s.bound = _mm256_set1_epi16((short)(left > 0 ? 1 << (15 - left) : 0));
    s.half = _mm256_set1_epi16((short)(left < 0 ? 1 << (-left - 1) : 0));
    s.count = _mm_cvtsi32_si128(left > 0 ? left - 1 : -left);
    return s;
}

/* N3. */
INLINE __m256i shift_sums(const shifter *s, __m256i sums)
{
    if (s->left > 0) {
        sums = _mm256_min_epi16(sums, s->bound);
        sums = _mm256_max_epi16(sums, _mm256_sub_epi16(_mm256_setzero_si256(), s->bound));
        sums = _mm256_sll_epi16(sums, s->count);
        return _mm256_adds_epi16(sums, sums);
    }
    return _mm256_sra_epi16(_mm256_add_epi16(sums, s->half), s->count);
}

/* N4 of one term, negative as its complement, from term words (er_scale_block). odd has the values of odd
 * rows in the upper halves of 32-bit lanes, even those of even rows; what is below them does not matter. */
INLINE __m256i term(__m256i even, __m256i odd, __m256i words, __m256i negative)
{
    const __m256i nibble = _mm256_set1_epi32(15);
    const __m256i low = _mm256_srav_epi32(even, _mm256_and_si256(words, nibble));
    const __m256i high = _mm256_srav_epi32(odd, _mm256_and_si256(_mm256_srli_epi32(words, 16), nibble));
    const __m256i t = _mm256_blend_epi16(_mm256_srli_epi32(low, 16), high, 0xAA);

    return _mm256_and_si256(_mm256_xor_si256(t, negative), _mm256_srai_epi16(words, 15));
}

/* N4 and N5: sat16(bias + term1 + term2) of the 16 rows of a block from `half` (0 or 16) on. The terms of a
 * row have one sign, or opposite ones; three numbers are added exactly with saturation if those of opposite
 * signs go first. */
INLINE __m256i scale_sums(const er_scale_block *scale, uint32_t half, const shifter *s, __m256i sums)
{
    const __m256i odd = shift_sums(s, sums);
    const __m256i even = _mm256_slli_epi32(odd, 16);
    const __m256i words1 = load(scale->shift1 + half), words2 = load(scale->shift2 + half);
    const __m256i bias = load(scale->bias + half);
    const __m256i negative1 = _mm256_srai_epi16(_mm256_slli_epi16(words1, 1), 15);
    const __m256i negative2 = _mm256_srai_epi16(_mm256_slli_epi16(words2, 1), 15);
    const __m256i opposite = _mm256_xor_si256(negative1, negative2);
    const __m256i t1 = term(even, odd, words1, negative1), t2 = term(even, odd, words2, negative2);

    return _mm256_adds_epi16(_mm256_adds_epi16(t1, _mm256_blendv_epi8(bias, t2, opposite)),
                             _mm256_blendv_epi8(t2, bias, opposite));
}

/* What each call needs beside its arguments. */
typedef struct context {
    activation table;
    shifter x, h;
} context;

INLINE void make_context(context *c, const er_gates *gates)
{
    load_activation(&c->table);
    c->x = make_shifter(gates->left_shift_x);
    c->h = make_shifter(gates->left_shift_h);
}

/* The outputs of 32 rows of one matrix from its sums. */
INLINE void outputs(const er_scale_block *scale, const shifter *s, const int16_t *sums, __m256i a[2])
{
    a[0] = scale_sums(scale, 0, s, load(sums));
    a[1] = scale_sums(scale, LANES, s, load(sums + LANES));
}

/* N6: pre-activations of 32 rows, moving *scale behind their blocks. shared is a constant. */
INLINE void preactivations(const context *c, const er_scale_block **scale, const int16_t *x, const int16_t *h,
                           const int shared, __m256i p[2])
{
    __m256i a_h[2];

    if (shared) {
        p[0] = scale_sums(*scale, 0, &c->x, _mm256_add_epi16(load(x), load(h)));
        p[1] = scale_sums(*scale, LANES, &c->x, _mm256_add_epi16(load(x + LANES), load(h + LANES)));
        *scale += 1;
    } else {
        outputs(*scale, &c->x, x, p);
        outputs(*scale + 1, &c->h, h, a_h);
        p[0] = _mm256_adds_epi16(p[0], a_h[0]);
        p[1] = _mm256_adds_epi16(p[1], a_h[1]);
        *scale += 2;
    }
}

/* Units of the second half of a block when `left` are to come. */
INLINE uint32_t behind(uint32_t left)
{
    return left > LANES ? left - LANES : 0;
}

/* N7 on both halves, a gate times p. */
INLINE void gate_both(const __m256i b[2], __m256i p[2])
{
    p[0] = chain(b[0], p[0], _mm256_setzero_si256());
    p[1] = chain(b[1], p[1], _mm256_setzero_si256());
}

/* Write 32 values, or as many as are left. */
INLINE void store_both(int16_t *p, const __m256i v[2], uint32_t left)
{
    store_units(p, v[0], left);
    store_units(p + LANES, v[1], behind(left));
}

/* N9, reset after the product. */
INLINE void gru(const er_gates *gates, const int16_t *x, const int16_t *h, int16_t *state, const int shared)
{
    const er_scale_block *scale = gates->scales;
    const uint32_t row_z = gates->units, row_n = row_z + row_z;
    uint32_t left = gates->units;
    context c;

    make_context(&c, gates);
    while (left > 0) {
        __m256i r[2], z[2], n[2], a_h[2];

        preactivations(&c, &scale, x, h, shared, r);
        preactivations(&c, &scale, x + row_z, h + row_z, shared, z);
        sigmoid_both(&c.table, r);
        sigmoid_both(&c.table, z);
        outputs(scale, &c.x, x + row_n, n);
        outputs(scale + 1, &c.h, h + row_n, a_h);
        gate_both(r, a_h);
        n[0] = _mm256_adds_epi16(n[0], a_h[0]);
        n[1] = _mm256_adds_epi16(n[1], a_h[1]);
        tanh_both(&c.table, n);
        n[0] = chain(z[0], load_units(state, left), n[0]);
        n[1] = chain(z[1], load_units(state + LANES, behind(left)), n[1]);
        store_both(state, n, left);
        scale += 2;
        x += ER_BLOCK_UNITS;
        h += ER_BLOCK_UNITS;
        state += ER_BLOCK_UNITS;
        left = left < ER_BLOCK_UNITS ? 0 : left - ER_BLOCK_UNITS;
    }
}

/* See kernels.h. */
void er_gru_gates_avx2(const er_gates *gates, const int16_t *sums_x, const int16_t *sums_h, int16_t *out)
{
    if (gates->shared) {
        gru(gates, sums_x, sums_h, out, 1);
    } else {
        gru(gates, sums_x, sums_h, out, 0);
    }
}

/* rs(a, 1); and rs(a, 3) is rs(a >> 2, 1). */
INLINE __m256i halve(__m256i a)
{
    return _mm256_add_epi16(_mm256_srai_epi16(a, 1), _mm256_and_si256(a, _mm256_set1_epi16(1)));
}

/* N10. */
INLINE void lstm(const er_gates *gates, const int16_t *x, const int16_t *h, int16_t *state, const int shared)
{
    const er_scale_block *scale = gates->scales;
    const uint32_t row_f = gates->units;
    uint32_t row_g = row_f + row_f, row_o, left = gates->units;
    int16_t *cell = state + row_f;
    context c;

    ER_OPAQUE(row_g);       /* else row_o is a multiplication by 3 */
    row_o = row_g + row_f;
    make_context(&c, gates);
    while (left > 0) {
        __m256i i[2], f[2], g[2], o[2], now[2];

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
        now[0] = _mm256_adds_epi16(now[0], halve(_mm256_srai_epi16(g[0], 2)));
        now[1] = _mm256_adds_epi16(now[1], halve(_mm256_srai_epi16(g[1], 2)));
        store_both(cell, now, left);
        now[0] = halve(now[0]);
        now[1] = halve(now[1]);
        tanh_both(&c.table, now);
        sigmoid_both(&c.table, o);
        gate_both(o, now);
        store_both(state, now, left);
        x += ER_BLOCK_UNITS;
        h += ER_BLOCK_UNITS;
        state += ER_BLOCK_UNITS;
        cell += ER_BLOCK_UNITS;
        left = left < ER_BLOCK_UNITS ? 0 : left - ER_BLOCK_UNITS;
    }
}

/* See kernels.h. */
void er_lstm_gates_avx2(const er_gates *gates, const int16_t *sums_x, const int16_t *sums_h, int16_t *out)
{
    if (gates->shared) {
        lstm(gates, sums_x, sums_h, out, 1);
    } else {
        lstm(gates, sums_x, sums_h, out, 0);
    }
}

/* (b + 1) << 7, at most 32767: 256 << 7 would be 32768. */
INLINE __m256i sigmoid_value(__m256i b)
{
    b = _mm256_slli_epi16(_mm256_add_epi16(b, _mm256_set1_epi16(1)), 7);
    return _mm256_min_epu16(b, _mm256_set1_epi16(32767));
}

/* N8 and N11: outputs from pre-activations, in place. */
INLINE void activate(const activation *t, uint32_t kind, __m256i p[2])
{
    switch (kind) {
    case ER_ACTIVATION_TANH:
        tanh_both(t, p);
        break;
    case ER_ACTIVATION_RELU:
        p[0] = _mm256_max_epi16(p[0], _mm256_setzero_si256());
        p[1] = _mm256_max_epi16(p[1], _mm256_setzero_si256());
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
void er_rnn_gates_avx2(const er_gates *gates, const int16_t *sums_x, const int16_t *sums_h, int16_t *out)
{
    const er_scale_block *scale = gates->scales;
    uint32_t left = gates->units;
    context c;

    make_context(&c, gates);
    while (left > 0) {
        __m256i p[2];

        if (gates->shared) {
            preactivations(&c, &scale, sums_x, sums_h, 1, p);
        } else {
            preactivations(&c, &scale, sums_x, sums_h, 0, p);
        }
        activate(&c.table, gates->activation, p);
        store_both(out, p, left);
        sums_x += ER_BLOCK_UNITS;
        sums_h += ER_BLOCK_UNITS;
        out += ER_BLOCK_UNITS;
        left = left < ER_BLOCK_UNITS ? 0 : left - ER_BLOCK_UNITS;
    }
}

/* N11. */
void er_dense_gates_avx2(const er_gates *gates, const int16_t *sums_x, const int16_t *sums_h, int16_t *out)
{
    const er_scale_block *scale = gates->scales;
    uint32_t left = gates->units;
    context c;

    (void)sums_h;
    make_context(&c, gates);
    while (left > 0) {
        __m256i p[2];

        outputs(scale, &c.x, sums_x, p);
        activate(&c.table, gates->activation, p);
        store_both(out, p, left);
        scale++;
        sums_x += ER_BLOCK_UNITS;
        out += ER_BLOCK_UNITS;
        left = left < ER_BLOCK_UNITS ? 0 : left - ER_BLOCK_UNITS;
    }
}

#else
typedef int er_gates_avx2_is_empty;     /* a file must not be */
#endif
