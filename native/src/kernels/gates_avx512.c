/* SPDX-License-Identifier: MIT
 *
 * From the sums of the products to the state or output of a layer, 32 units at a time: AVX-512 with BW and
 * VBMI. The rules are those of exporters/FORMAT.md, section 7, on 16-bit lanes; fixed.h and activation.c
 * are the scalar forms. */
#if defined(__AVX512VBMI__)

#include <immintrin.h>
#include <stddef.h>

#include "../activation_table.h"
#include "../model.h"
#include "kernels.h"
#include "opaque.h"

#define INLINE static inline __attribute__((always_inline))

/* The activation tables in registers: 64 entries of 16 bits in two each. */
typedef struct activation {
    __m512i base[2], shift1[2], shift2[2], shift3[2];
} activation;

INLINE activation load_activation(void)
{
    activation t;
    int i;

    for (i = 0; i < 2; i++) {
        t.base[i] = _mm512_loadu_si512(er_activation_base + (i << 5));
        t.shift1[i] = _mm512_cvtepu8_epi16(
            _mm256_loadu_si256((const __m256i *)(const void *)(er_activation_shift1 + (i << 5))));
        t.shift2[i] = _mm512_cvtepu8_epi16(
            _mm256_loadu_si256((const __m256i *)(const void *)(er_activation_shift2 + (i << 5))));
        t.shift3[i] = _mm512_cvtepu8_epi16(
            _mm256_loadu_si256((const __m256i *)(const void *)(er_activation_shift3 + (i << 5))));
    }
    return t;
}

/* seg(i, F), negated where p is negative: section 7.4. */
INLINE __m512i segment(const activation *t, __m512i p, __m512i i, __m512i f)
{
    __m512i y = _mm512_permutex2var_epi16(t->base[0], i, t->base[1]);

    y = _mm512_add_epi16(y, _mm512_srav_epi16(f, _mm512_permutex2var_epi16(t->shift1[0], i, t->shift1[1])));
    y = _mm512_add_epi16(y, _mm512_srav_epi16(f, _mm512_permutex2var_epi16(t->shift2[0], i, t->shift2[1])));
    y = _mm512_sub_epi16(y, _mm512_srav_epi16(f, _mm512_permutex2var_epi16(t->shift3[0], i, t->shift3[1])));
    return _mm512_mask_sub_epi16(y, _mm512_movepi16_mask(p), _mm512_setzero_si512(), y);
}

/* See kernels.h. */
void er_widen_avx512(const int8_t *x, uint32_t count, int16_t *values_out)
{
    while (count > 0) {
        const __mmask32 mask = count < 32 ? (1u << count) - 1 : 0xFFFFFFFFu;
        const __m256i v = _mm256_max_epi8(_mm256_maskz_loadu_epi8(mask, x), _mm256_set1_epi8(-127));

        _mm512_storeu_si512(values_out, _mm512_cvtepi8_epi16(v));
        x += 32;
        values_out += 32;
        count = count < 32 ? 0 : count - 32;
    }
}

#define SIGN_BITS _mm512_set1_epi16(-32768)

/* N13. The magnitude of -32768 is 32768 as an unsigned number. */
INLINE __m512i tanh_of(const activation *t, __m512i p)
{
    const __m512i a = _mm512_min_epu16(_mm512_abs_epi16(p), _mm512_set1_epi16(8191));

    return segment(t, p, _mm512_srli_epi16(a, 7), _mm512_xor_si512(_mm512_slli_epi16(a, 9), SIGN_BITS));
}

/* N14: gates b in 0 .. 255. */
INLINE __m512i sigmoid_of(const activation *t, __m512i p)
{
    const __m512i a = _mm512_min_epu16(_mm512_abs_epi16(p), _mm512_set1_epi16(16383));
    const __m512i y =
        segment(t, p, _mm512_srli_epi16(a, 8), _mm512_xor_si512(_mm512_slli_epi16(a, 8), SIGN_BITS));

    return _mm512_srli_epi16(_mm512_subs_epu16(_mm512_xor_si512(y, SIGN_BITS), _mm512_set1_epi16(128)), 8);
}

/* One turn of N7 on values with their sign bit inverted, as vpavgw wants them. */
INLINE __m512i chain_turn(__m512i a, __m512i b, __m512i p, __m512i q, int bit)
{
    const __mmask32 m = _mm512_test_epi16_mask(b, _mm512_set1_epi16((short)bit));

    return _mm512_avg_epu16(a, _mm512_mask_blend_epi16(m, q, p));
}

/* N7. */
INLINE __m512i chain(__m512i b, __m512i p, __m512i q)
{
    __m512i a;

    p = _mm512_xor_si512(p, SIGN_BITS);
    q = _mm512_xor_si512(q, SIGN_BITS);
    a = chain_turn(p, b, p, q, 1);
    a = chain_turn(a, b, p, q, 2);
    a = chain_turn(a, b, p, q, 4);
    a = chain_turn(a, b, p, q, 8);
    a = chain_turn(a, b, p, q, 16);
    a = chain_turn(a, b, p, q, 32);
    a = chain_turn(a, b, p, q, 64);
    a = chain_turn(a, b, p, q, 128);
    return _mm512_xor_si512(a, SIGN_BITS);
}

/* N3 made ready for a left shift L: for L > 0 clamp to +-2^(15 - L), shift by L - 1, and add to itself with
 * saturation; else add `half` (the plan has left room) and shift right. */
typedef struct shifter {
    __m512i bound, half;
    __m128i count;
    int32_t left;
} shifter;

INLINE shifter make_shifter(int32_t left)
{
    shifter s;

    s.left = left;
    s.bound = _mm512_set1_epi16((short)(left > 0 ? 1 << (15 - left) : 0));
    s.half = _mm512_set1_epi16((short)(left < 0 ? 1 << (-left - 1) : 0));
    s.count = _mm_cvtsi32_si128(left > 0 ? left - 1 : -left);
    return s;
}

/* N3. */
INLINE __m512i shift_sums(const shifter *s, __m512i sums)
{
    if (s->left > 0) {
        sums = _mm512_min_epi16(sums, s->bound);
        sums = _mm512_max_epi16(sums, _mm512_sub_epi16(_mm512_setzero_si512(), s->bound));
        sums = _mm512_sll_epi16(sums, s->count);
        return _mm512_adds_epi16(sums, sums);
    }
    return _mm512_sra_epi16(_mm512_add_epi16(sums, s->half), s->count);
}

/* N4 and N5: sat16(bias + term1 + term2). The terms of a row have one sign, or opposite ones; three numbers
 * are added exactly with saturation if those of opposite signs go first. */
INLINE __m512i scale_sums(const er_scale_block *scale, const shifter *s, __m512i sums)
{
    const __m512i ones = _mm512_set1_epi16(-1);
    const __mmask32 opposite = scale->opposite;
    const __m512i v = shift_sums(s, sums);
    const __m512i bias = _mm512_load_si512(scale->bias);
    __m512i t1 = _mm512_maskz_srav_epi16(scale->present1, v, _mm512_load_si512(scale->shift1));
    __m512i t2 = _mm512_maskz_srav_epi16(scale->present2, v, _mm512_load_si512(scale->shift2));

    t1 = _mm512_mask_sub_epi16(t1, scale->negative1, ones, t1);
    t2 = _mm512_mask_sub_epi16(t2, scale->negative2, ones, t2);
    t1 = _mm512_adds_epi16(t1, _mm512_mask_blend_epi16(opposite, bias, t2));
    return _mm512_adds_epi16(t1, _mm512_mask_blend_epi16(opposite, t2, bias));
}

/* What each call needs beside its arguments. */
typedef struct context {
    activation table;
    shifter x, h;
} context;

INLINE context make_context(const er_gates *gates)
{
    context c;

    c.table = load_activation();
    c.x = make_shifter(gates->left_shift_x);
    c.h = make_shifter(gates->left_shift_h);
    return c;
}

/* N6: pre-activations of 32 rows, moving *scale behind their blocks. shared is a constant. */
INLINE __m512i preactivation(const context *c, const er_scale_block **scale, const int16_t *sums_x,
                             const int16_t *sums_h, const int shared)
{
    const __m512i x = _mm512_loadu_si512(sums_x), h = _mm512_loadu_si512(sums_h);
    __m512i p;

    if (shared) {
        p = scale_sums(*scale, &c->x, _mm512_add_epi16(x, h));
        *scale += 1;
    } else {
        p = _mm512_adds_epi16(scale_sums(*scale, &c->x, x), scale_sums(*scale + 1, &c->h, h));
        *scale += 2;
    }
    return p;
}

/* `left` values, zeros behind them; nothing else is read. */
INLINE __m512i load_units(const int16_t *p, uint32_t left)
{
    return left < ER_BLOCK_UNITS ? _mm512_maskz_loadu_epi16((1u << left) - 1, p) : _mm512_loadu_si512(p);
}

/* The first `left` values; nothing else is written. Masked only at the end, since loads have to wait for
 * masked stores. */
INLINE void store_units(int16_t *p, __m512i v, uint32_t left)
{
    if (left < ER_BLOCK_UNITS) {
        _mm512_mask_storeu_epi16(p, (1u << left) - 1, v);
    } else {
        _mm512_storeu_si512(p, v);
    }
}

/* Do X(0), and X(1) if count is 2. Two blocks at a time, step by step: one alone waits for its own results
 * much of the time (LSTM gates 11 % slower). */
#define EACH_BLOCK(count, X)        \
    do {                            \
        X(0)                        \
        if ((count) > 1) X(1)       \
    } while (0)

#define GRU_RESET(k) r[k] = sigmoid_of(&c->table, preactivation(c, &s[k], x + 32 * k, h + 32 * k, shared));
#define GRU_UPDATE(k)                                                                             \
    z[k] = sigmoid_of(&c->table, preactivation(c, &s[k], x_z + 32 * k, h_z + 32 * k, shared));
#define GRU_SCALE(k)                                                                              \
    {                                                                                             \
        a_x[k] = scale_sums(s[k], &c->x, _mm512_loadu_si512(x_n + 32 * k));                       \
        a_h[k] = scale_sums(s[k] + 1, &c->h, _mm512_loadu_si512(h_n + 32 * k));                   \
    }
#define GRU_GATE(k) a_h[k] = chain(r[k], a_h[k], _mm512_setzero_si512());
#define GRU_NEW(k) a_x[k] = tanh_of(&c->table, _mm512_adds_epi16(a_x[k], a_h[k]));
#define GRU_STATE(k)                                                                              \
    {                                                                                             \
        const uint32_t l = left - (k == 0 ? 0 : ER_BLOCK_UNITS);                                  \
        store_units(state + 32 * k, chain(z[k], load_units(state + 32 * k, l), a_x[k]), l);       \
    }

/* N9, reset after the product, for count blocks of units. shared and count are constants. */
INLINE void gru_blocks(const context *c, const er_scale_block *scale, const int16_t *x, const int16_t *h,
                       uint32_t units, uint32_t left, int16_t *state, const int shared, const uint32_t count)
{
    const er_scale_block *s[2] = { scale, scale + (shared ? 4 : 6) };
    const int16_t *x_z = x + units, *h_z = h + units, *x_n = x_z + units, *h_n = h_z + units;
    __m512i r[2], z[2], a_x[2], a_h[2];

    EACH_BLOCK(count, GRU_RESET);
    EACH_BLOCK(count, GRU_UPDATE);
    EACH_BLOCK(count, GRU_SCALE);
    EACH_BLOCK(count, GRU_GATE);
    EACH_BLOCK(count, GRU_NEW);
    EACH_BLOCK(count, GRU_STATE);
}

/* All units, two blocks at a time. */
INLINE void gru(const er_gates *gates, const int16_t *x, const int16_t *h, int16_t *state, const int shared)
{
    const context c = make_context(gates);
    const er_scale_block *scale = gates->scales;
    const uint32_t units = gates->units;
    uint32_t left = units;

    while (left > ER_BLOCK_UNITS) {
        gru_blocks(&c, scale, x, h, units, left, state, shared, 2);
        scale += shared ? 8 : 12;
        x += 2 * ER_BLOCK_UNITS;
        h += 2 * ER_BLOCK_UNITS;
        state += 2 * ER_BLOCK_UNITS;
        left = left < 2 * ER_BLOCK_UNITS ? 0 : left - 2 * ER_BLOCK_UNITS;
    }
    if (left > 0) {
        gru_blocks(&c, scale, x, h, units, left, state, shared, 1);
    }
}

/* See kernels.h. */
void er_gru_gates_avx512(const er_gates *gates, const int16_t *sums_x, const int16_t *sums_h, int16_t *out)
{
    if (gates->shared) {
        gru(gates, sums_x, sums_h, out, 1);
    } else {
        gru(gates, sums_x, sums_h, out, 0);
    }
}

/* rs(a, 1); and rs(a, 3) is rs(a >> 2, 1). */
INLINE __m512i halve(__m512i a)
{
    return _mm512_add_epi16(_mm512_srai_epi16(a, 1), _mm512_and_si512(a, _mm512_set1_epi16(1)));
}

#define LSTM_INPUT(k) i[k] = sigmoid_of(&c->table, preactivation(c, &s[k], x + 32 * k, h + 32 * k, shared));
#define LSTM_FORGET(k)                                                                            \
    f[k] = sigmoid_of(&c->table, preactivation(c, &s[k], x_f + 32 * k, h_f + 32 * k, shared));
#define LSTM_NEW(k)                                                                               \
    g[k] = tanh_of(&c->table, preactivation(c, &s[k], x_g + 32 * k, h_g + 32 * k, shared));
#define LSTM_OUTPUT(k)                                                                            \
    o[k] = sigmoid_of(&c->table, preactivation(c, &s[k], x_o + 32 * k, h_o + 32 * k, shared));
#define LSTM_GATE(k) g[k] = halve(_mm512_srai_epi16(chain(i[k], g[k], zero), 2));
#define LSTM_CELL(k)                                                                              \
    {                                                                                             \
        const uint32_t l = left - (k == 0 ? 0 : ER_BLOCK_UNITS);                                  \
        g[k] = _mm512_adds_epi16(chain(f[k], load_units(cell + 32 * k, l), zero), g[k]);          \
        store_units(cell + 32 * k, g[k], l);                                                      \
    }
#define LSTM_TANH(k) g[k] = tanh_of(&c->table, halve(g[k]));
#define LSTM_STATE(k)                                                                             \
    store_units(state + 32 * k, chain(o[k], g[k], zero), left - (k == 0 ? 0 : ER_BLOCK_UNITS));

/* N10 for count blocks of units. shared and count are constants. */
INLINE void lstm_blocks(const context *c, const er_scale_block *scale, const int16_t *x, const int16_t *h,
                        uint32_t units, uint32_t left, int16_t *state, int16_t *cell, const int shared,
                        const uint32_t count)
{
    const er_scale_block *s[2] = { scale, scale + (shared ? 4 : 8) };
    const int16_t *x_f = x + units, *h_f = h + units, *x_g = x_f + units, *h_g = h_f + units;
    const int16_t *x_o, *h_o;
    const __m512i zero = _mm512_setzero_si512();
    __m512i i[2], f[2], g[2], o[2];

    ER_OPAQUE(x_g);         /* else the offset is a multiplication by 3 */
    ER_OPAQUE(h_g);
    x_o = x_g + units;
    h_o = h_g + units;
    EACH_BLOCK(count, LSTM_INPUT);
    EACH_BLOCK(count, LSTM_FORGET);
    EACH_BLOCK(count, LSTM_NEW);
    EACH_BLOCK(count, LSTM_OUTPUT);
    EACH_BLOCK(count, LSTM_GATE);
    EACH_BLOCK(count, LSTM_CELL);
    EACH_BLOCK(count, LSTM_TANH);
    EACH_BLOCK(count, LSTM_STATE);
}

/* All units, two blocks at a time. */
INLINE void lstm(const er_gates *gates, const int16_t *x, const int16_t *h, int16_t *state, const int shared)
{
    const context c = make_context(gates);
    const er_scale_block *scale = gates->scales;
    const uint32_t units = gates->units;
    int16_t *cell = state + units;
    uint32_t left = units;

    while (left > ER_BLOCK_UNITS) {
        lstm_blocks(&c, scale, x, h, units, left, state, cell, shared, 2);
        scale += shared ? 8 : 16;
        x += 2 * ER_BLOCK_UNITS;
        h += 2 * ER_BLOCK_UNITS;
        state += 2 * ER_BLOCK_UNITS;
        cell += 2 * ER_BLOCK_UNITS;
        left = left < 2 * ER_BLOCK_UNITS ? 0 : left - 2 * ER_BLOCK_UNITS;
    }
    if (left > 0) {
        lstm_blocks(&c, scale, x, h, units, left, state, cell, shared, 1);
    }
}

/* See kernels.h. */
void er_lstm_gates_avx512(const er_gates *gates, const int16_t *sums_x, const int16_t *sums_h, int16_t *out)
{
    if (gates->shared) {
        lstm(gates, sums_x, sums_h, out, 1);
    } else {
        lstm(gates, sums_x, sums_h, out, 0);
    }
}

/* N8 and N11: outputs from pre-activations. */
INLINE __m512i activate(const activation *t, uint32_t kind, __m512i p)
{
    switch (kind) {
    case ER_ACTIVATION_TANH:
        return tanh_of(t, p);
    case ER_ACTIVATION_RELU:
        return _mm512_max_epi16(p, _mm512_setzero_si512());
    case ER_ACTIVATION_SIGMOID:     /* (b + 1) << 7, at most 32767: 256 << 7 would be 32768 */
        p = _mm512_slli_epi16(_mm512_add_epi16(sigmoid_of(t, p), _mm512_set1_epi16(1)), 7);
        return _mm512_min_epu16(p, _mm512_set1_epi16(32767));
    default:
        return p;
    }
}

/* N8. */
void er_rnn_gates_avx512(const er_gates *gates, const int16_t *sums_x, const int16_t *sums_h, int16_t *out)
{
    const context c = make_context(gates);
    const er_scale_block *scale = gates->scales;
    uint32_t left = gates->units;

    while (left > 0) {
        const __m512i p = gates->shared ? preactivation(&c, &scale, sums_x, sums_h, 1)
                                        : preactivation(&c, &scale, sums_x, sums_h, 0);

        store_units(out, activate(&c.table, gates->activation, p), left);
        sums_x += ER_BLOCK_UNITS;
        sums_h += ER_BLOCK_UNITS;
        out += ER_BLOCK_UNITS;
        left = left < ER_BLOCK_UNITS ? 0 : left - ER_BLOCK_UNITS;
    }
}

/* N11. */
void er_dense_gates_avx512(const er_gates *gates, const int16_t *sums_x, const int16_t *sums_h, int16_t *out)
{
    const context c = make_context(gates);
    const er_scale_block *scale = gates->scales;
    uint32_t left = gates->units;

    (void)sums_h;
    while (left > 0) {
        const __m512i p = scale_sums(scale, &c.x, _mm512_loadu_si512(sums_x));

        _mm512_storeu_si512(out, activate(&c.table, gates->activation, p));
        scale++;
        sums_x += ER_BLOCK_UNITS;
        out += ER_BLOCK_UNITS;
        left = left < ER_BLOCK_UNITS ? 0 : left - ER_BLOCK_UNITS;
    }
}

#else
typedef int er_gates_avx512_is_empty;   /* a file must not be */
#endif
