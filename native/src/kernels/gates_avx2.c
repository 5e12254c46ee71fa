/* SPDX-License-Identifier: MIT
 *
 * From the sums of the products to the state or output of a layer, 16 units at a time: AVX2. The rules are
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

/* seg(i, F) of 32 values, y[0] and y[1]: section 7.4. */
INLINE void segments(const activation *t, const __m256i i[2], const __m256i f[2], __m256i y[2])
{
    const __m256i zero = _mm256_setzero_si256();
    __m256i at[4], base[2], shifts[2];
    int k;

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
    for (k = 0; k < 2; k++) {
        const __m256i low = fraction(widen_low(f[k]), _mm256_unpacklo_epi16(at[k], zero));
        const __m256i high = fraction(widen_high(f[k]), _mm256_unpackhi_epi16(at[k], zero));

        y[k] = _mm256_add_epi16(y[k], _mm256_packs_epi32(low, high));
    }
}

#define SIGN_BITS _mm256_set1_epi16(-32768)

/* y negated where p is negative. */
INLINE __m256i with_sign(__m256i y, __m256i p)
{
    const __m256i negative = _mm256_srai_epi16(p, 15);

    return _mm256_sub_epi16(_mm256_xor_si256(y, negative), negative);
}

/* N14 of p[0], gates b in 0 .. 255, and either the same or N13 of p[1]: two at a time share a look-up. The
 * magnitude of -32768 is 32768 as an unsigned number. both is a constant. */
INLINE void activations(const activation *t, __m256i p[2], const int both)
{
    const __m256i a0 = _mm256_min_epu16(_mm256_abs_epi16(p[0]), _mm256_set1_epi16(16383));
    const __m256i a1 = _mm256_min_epu16(_mm256_abs_epi16(p[1]), _mm256_set1_epi16(both ? 16383 : 8191));
    const __m256i i[2] = { _mm256_srli_epi16(a0, 8), _mm256_srli_epi16(a1, both ? 8 : 7) };
    const __m256i f[2] = { _mm256_xor_si256(_mm256_slli_epi16(a0, 8), SIGN_BITS),
                           _mm256_xor_si256(_mm256_slli_epi16(a1, both ? 8 : 9), SIGN_BITS) };
    __m256i y[2];
    int k;

    segments(t, i, f, y);
    for (k = 0; k < 2; k++) {
        p[k] = with_sign(y[k], p[k]);
        if (k == 0 || both) {
            p[k] = _mm256_subs_epu16(_mm256_xor_si256(p[k], SIGN_BITS), _mm256_set1_epi16(128));
            p[k] = _mm256_srli_epi16(p[k], 8);
        }
    }
}

/* N13. */
INLINE __m256i tanh_of(const activation *t, __m256i p)
{
    __m256i pair[2] = { _mm256_setzero_si256(), p };

    activations(t, pair, 0);
    return pair[1];
}

/* One turn of N7 on values with their sign bit inverted, as vpavgw wants them. */
INLINE __m256i chain_turn(__m256i a, __m256i b, __m256i p, __m256i q, int bit)
{
    const __m256i one = _mm256_set1_epi16((short)bit);
    const __m256i m = _mm256_cmpeq_epi16(_mm256_and_si256(b, one), one);

    return _mm256_avg_epu16(a, _mm256_blendv_epi8(q, p, m));
}

/* N7. */
INLINE __m256i chain(__m256i b, __m256i p, __m256i q)
{
    __m256i a;

    p = _mm256_xor_si256(p, SIGN_BITS);
    q = _mm256_xor_si256(q, SIGN_BITS);
    a = chain_turn(p, b, p, q, 1);
    a = chain_turn(a, b, p, q, 2);
    a = chain_turn(a, b, p, q, 4);
    a = chain_turn(a, b, p, q, 8);
    a = chain_turn(a, b, p, q, 16);
    a = chain_turn(a, b, p, q, 32);
    a = chain_turn(a, b, p, q, 64);
    a = chain_turn(a, b, p, q, 128);
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

/* N4 of one term, on 32-bit lanes; the term words (er_scale_block) stand in their upper halves. */
INLINE __m256i term(__m256i v, __m256i words)
{
    const __m256i count = _mm256_and_si256(_mm256_srli_epi32(words, 16), _mm256_set1_epi32(15));
    const __m256i present = _mm256_srai_epi32(words, 31);
    const __m256i negative = _mm256_srai_epi32(_mm256_slli_epi32(words, 1), 31);

    return _mm256_and_si256(_mm256_xor_si256(_mm256_srav_epi32(v, count), negative), present);
}

/* N4 and N5: sat16(bias + term1 + term2) of the 16 rows of a block from `half` (0 or 16) on. */
INLINE __m256i scale_sums(const er_scale_block *scale, uint32_t half, const shifter *s, __m256i sums)
{
    const __m256i v = shift_sums(s, sums);
    const __m256i words1 = load(scale->shift1 + half), words2 = load(scale->shift2 + half);
    const __m256i bias = load(scale->bias + half), zero = _mm256_setzero_si256();
    __m256i low = widen_low(v), high = widen_high(v);

    low = _mm256_add_epi32(term(low, _mm256_unpacklo_epi16(zero, words1)),
                           term(low, _mm256_unpacklo_epi16(zero, words2)));
    high = _mm256_add_epi32(term(high, _mm256_unpackhi_epi16(zero, words1)),
                            term(high, _mm256_unpackhi_epi16(zero, words2)));
    return _mm256_packs_epi32(_mm256_add_epi32(low, widen_low(bias)),
                              _mm256_add_epi32(high, widen_high(bias)));
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

/* N6: pre-activations of 16 rows, moving *scale behind their blocks. shared is a constant. */
INLINE __m256i preactivation(const context *c, const er_scale_block **scale, uint32_t half,
                             const int16_t *sums_x, const int16_t *sums_h, const int shared)
{
    const __m256i x = load(sums_x), h = load(sums_h);
    __m256i p;

    if (shared) {
        p = scale_sums(*scale, half, &c->x, _mm256_add_epi16(x, h));
        *scale += 1;
    } else {
        p = _mm256_adds_epi16(scale_sums(*scale, half, &c->x, x), scale_sums(*scale + 1, half, &c->h, h));
        *scale += 2;
    }
    return p;
}

/* N9, reset after the product. The scale blocks, of 32 rows, serve two turns. */
INLINE void gru(const er_gates *gates, const int16_t *x, const int16_t *h, int16_t *state, const int shared)
{
    const er_scale_block *block = gates->scales;
    const uint32_t row_z = gates->units, row_n = row_z + row_z;
    uint32_t left = gates->units, half = 0;
    context c;

    make_context(&c, gates);
    while (left > 0) {
        const er_scale_block *scale = block;
        const __m256i old = load_units(state, left);
        __m256i gate[2], a_x, a_h, n;

        gate[0] = preactivation(&c, &scale, half, x, h, shared);
        gate[1] = preactivation(&c, &scale, half, x + row_z, h + row_z, shared);
        activations(&c.table, gate, 1);
        a_x = scale_sums(scale, half, &c.x, load(x + row_n));
        a_h = scale_sums(scale + 1, half, &c.h, load(h + row_n));
        n = tanh_of(&c.table, _mm256_adds_epi16(a_x, chain(gate[0], a_h, _mm256_setzero_si256())));
        store_units(state, chain(gate[1], old, n), left);
        block = half ? scale + 2 : block;
        half = LANES - half;
        x += LANES;
        h += LANES;
        state += LANES;
        left = left < LANES ? 0 : left - LANES;
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
    const __m256i zero = _mm256_setzero_si256();
    const er_scale_block *block = gates->scales;
    const uint32_t row_f = gates->units;
    uint32_t row_g = row_f + row_f, row_o, left = gates->units, half = 0;
    int16_t *cell = state + row_f;
    context c;

    ER_OPAQUE(row_g);       /* else row_o is a multiplication by 3 */
    row_o = row_g + row_f;
    make_context(&c, gates);
    while (left > 0) {
        const er_scale_block *scale = block;
        __m256i i_f[2], o_g[2], now;

        i_f[0] = preactivation(&c, &scale, half, x, h, shared);
        i_f[1] = preactivation(&c, &scale, half, x + row_f, h + row_f, shared);
        o_g[1] = preactivation(&c, &scale, half, x + row_g, h + row_g, shared);
        o_g[0] = preactivation(&c, &scale, half, x + row_o, h + row_o, shared);
        activations(&c.table, i_f, 1);
        activations(&c.table, o_g, 0);
        now = halve(_mm256_srai_epi16(chain(i_f[0], o_g[1], zero), 2));
        now = _mm256_adds_epi16(chain(i_f[1], load_units(cell, left), zero), now);
        store_units(cell, now, left);
        store_units(state, chain(o_g[0], tanh_of(&c.table, halve(now)), zero), left);
        block = half ? scale : block;
        half = LANES - half;
        x += LANES;
        h += LANES;
        state += LANES;
        cell += LANES;
        left = left < LANES ? 0 : left - LANES;
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

/* N8 and N11: outputs from pre-activations. */
INLINE __m256i activate(const activation *t, uint32_t kind, __m256i p)
{
    __m256i pair[2] = { p, p };

    switch (kind) {
    case ER_ACTIVATION_TANH:
        return tanh_of(t, p);
    case ER_ACTIVATION_RELU:
        return _mm256_max_epi16(p, _mm256_setzero_si256());
    case ER_ACTIVATION_SIGMOID:     /* (b + 1) << 7, at most 32767: 256 << 7 would be 32768 */
        activations(t, pair, 1);
        p = _mm256_slli_epi16(_mm256_add_epi16(pair[0], _mm256_set1_epi16(1)), 7);
        return _mm256_min_epu16(p, _mm256_set1_epi16(32767));
    default:
        return p;
    }
}

/* N8. */
void er_rnn_gates_avx2(const er_gates *gates, const int16_t *sums_x, const int16_t *sums_h, int16_t *out)
{
    const er_scale_block *block = gates->scales;
    uint32_t left = gates->units, half = 0;
    context c;

    make_context(&c, gates);
    while (left > 0) {
        const er_scale_block *scale = block;
        const __m256i p = gates->shared ? preactivation(&c, &scale, half, sums_x, sums_h, 1)
                                        : preactivation(&c, &scale, half, sums_x, sums_h, 0);

        store_units(out, activate(&c.table, gates->activation, p), left);
        block = half ? scale : block;
        half = LANES - half;
        sums_x += LANES;
        sums_h += LANES;
        out += LANES;
        left = left < LANES ? 0 : left - LANES;
    }
}

/* N11. */
void er_dense_gates_avx2(const er_gates *gates, const int16_t *sums_x, const int16_t *sums_h, int16_t *out)
{
    const er_scale_block *scale = gates->scales;
    uint32_t left = gates->units, half = 0;
    context c;

    (void)sums_h;
    make_context(&c, gates);
    while (left > 0) {
        const __m256i p = scale_sums(scale, half, &c.x, load(sums_x));

        store_units(out, activate(&c.table, gates->activation, p), left);
        scale += half >> 4;
        half = LANES - half;
        sums_x += LANES;
        out += LANES;
        left = left < LANES ? 0 : left - LANES;
    }
}

#else
typedef int er_gates_avx2_is_empty;     /* a file must not be */
#endif
