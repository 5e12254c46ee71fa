/* SPDX-License-Identifier: MIT
 *
 * From the sums of the products to the state or output of a layer, 32 units at a time: AVX-512 with BW. The
 * rules are those of exporters/FORMAT.md, section 7, on 16-bit lanes; fixed.h and activation.c are the
 * scalar forms. */
#if defined(__AVX512BW__)

#include <immintrin.h>
#include <stddef.h>

#include "../activation_table.h"
#include "../model.h"
#include "kernels.h"
#include "opaque.h"

#define INLINE static inline __attribute__((always_inline))

/* The activation tables in registers: 64 entries of 16 bits in two each. The base is that of fractions without
 * sign: (F >> s) = ((F + 2^15) >> s) - 2^(15 - s). */
typedef struct activation {
    __m512i base[2], shift1[2], shift2[2], shift3[2];
} activation;

/* 32 shifts, of an 8-bit table. */
INLINE __m512i load_shifts(const uint8_t *shifts)
{
    return _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)shifts));
}

/* Half i of the tables. */
INLINE void load_half(activation *t, int i)
{
    const __m512i most = _mm512_set1_epi16(-32768);

    t->shift1[i] = load_shifts(er_activation_shift1 + 32 * i);
    t->shift2[i] = load_shifts(er_activation_shift2 + 32 * i);
    t->shift3[i] = load_shifts(er_activation_shift3 + 32 * i);
    t->base[i] = _mm512_loadu_si512(er_activation_base + 32 * i);
    t->base[i] = _mm512_sub_epi16(t->base[i], _mm512_srlv_epi16(most, t->shift1[i]));
    t->base[i] = _mm512_sub_epi16(t->base[i], _mm512_srlv_epi16(most, t->shift2[i]));
    t->base[i] = _mm512_add_epi16(t->base[i], _mm512_srlv_epi16(most, t->shift3[i]));
}

/* seg(i, f - 2^15) of section 7.4. */
INLINE __m512i segment(const activation *t, __m512i i, __m512i f)
{
    __m512i y = _mm512_permutex2var_epi16(t->base[0], i, t->base[1]);

    y = _mm512_add_epi16(y, _mm512_srlv_epi16(f, _mm512_permutex2var_epi16(t->shift1[0], i, t->shift1[1])));
    y = _mm512_add_epi16(y, _mm512_srlv_epi16(f, _mm512_permutex2var_epi16(t->shift2[0], i, t->shift2[1])));
    return _mm512_sub_epi16(y, _mm512_srlv_epi16(f, _mm512_permutex2var_epi16(t->shift3[0], i, t->shift3[1])));
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
    const __m512i y = segment(t, _mm512_srli_epi16(a, 7), _mm512_slli_epi16(a, 9));

    return _mm512_mask_sub_epi16(y, _mm512_movepi16_mask(p), _mm512_setzero_si512(), y);
}

/* N14: gates b in 0 .. 255. */
INLINE __m512i sigmoid_of(const activation *t, __m512i p)
{
    const __m512i a = _mm512_min_epu16(_mm512_abs_epi16(p), _mm512_set1_epi16(16383));
    const __m512i y = segment(t, _mm512_srli_epi16(a, 8), _mm512_slli_epi16(a, 8));
    const __m512i middle = _mm512_set1_epi16(32768 - 128);
    const __m512i b = _mm512_add_epi16(middle, y);

    return _mm512_srli_epi16(_mm512_mask_subs_epu16(b, _mm512_movepi16_mask(p), middle, y), 8);
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

/* What is known of scales and sums: nothing; or scales are er_packed_scale, and L is at least 1; or besides, sums
 * shifted by L still fit 16 bits. */
enum { ANY, SATURATING, EXACT };

/* N3 made ready for a left shift L: for L > 0 clamp to +-2^(15 - L), shift by L - 1, and add to itself with
 * saturation; else add `half` (the plan has left room) and shift right. */
typedef struct shifter {
    __m512i bound, half;
    __m128i count, exact;
    int32_t left;
} shifter;

INLINE shifter make_shifter(int32_t left)
{
    shifter s;

    s.left = left;
    s.bound = _mm512_set1_epi16((short)(left > 0 ? 1 << (15 - left) : 0));
    s.half = _mm512_set1_epi16((short)(left < 0 ? 1 << (-left - 1) : 0));
    s.count = _mm_cvtsi32_si128(left > 0 ? left - 1 : -left);
    s.exact = _mm_cvtsi32_si128(left);
    return s;
}

/* N3. form is a constant. */
INLINE __m512i shift_sums(const shifter *s, __m512i sums, const uint32_t form)
{
    if (form == EXACT) {
        return _mm512_sll_epi16(sums, s->exact);
    }
    if (form == SATURATING || s->left > 0) {
        sums = _mm512_min_epi16(sums, s->bound);
        sums = _mm512_max_epi16(sums, _mm512_sub_epi16(_mm512_setzero_si512(), s->bound));
        sums = _mm512_sll_epi16(sums, s->count);
        return _mm512_adds_epi16(sums, sums);
    }
    return _mm512_sra_epi16(_mm512_add_epi16(sums, s->half), s->count);
}

/* N4 and N5 by an er_packed_scale: gates of W1 in 0.12 us instead of 0.17. With an array each for shifts, signs and
 * biases there would be fewer instructions, but W4L took 10.1 us instead of 9.6, as its weights just fit the
 * second-level cache. */
INLINE __m512i scale_packed(const er_packed_scale *scale, __m512i v)
{
    const __m512i terms = _mm512_load_si512(scale->terms);
    const __m512i u = _mm512_ternarylogic_epi32(v, _mm512_srai_epi16(terms, 15), SIGN_BITS, 0x96);   /* xor */
    const __m512i t = _mm512_srlv_epi16(u, _mm512_and_si512(terms, _mm512_set1_epi16(31)));

    return _mm512_adds_epi16(v, _mm512_add_epi16(t, _mm512_load_si512(scale->bias)));
}

/* N4 and N5: sat16(bias + term1 + term2). The terms of a row have one sign, or opposite ones; three numbers
 * are added exactly with saturation if those of opposite signs go first. */
INLINE __m512i scale_any(const er_scale_block *scale, __m512i v)
{
    const __m512i ones = _mm512_set1_epi16(-1);
    const __mmask32 opposite = scale->opposite;
    const __m512i bias = _mm512_load_si512(scale->bias);
    __m512i t1 = _mm512_maskz_srav_epi16(scale->present1, v, _mm512_load_si512(scale->shift1));
    __m512i t2 = _mm512_maskz_srav_epi16(scale->present2, v, _mm512_load_si512(scale->shift2));

    t1 = _mm512_mask_sub_epi16(t1, scale->negative1, ones, t1);
    t2 = _mm512_mask_sub_epi16(t2, scale->negative2, ones, t2);
    t1 = _mm512_adds_epi16(t1, _mm512_mask_blend_epi16(opposite, bias, t2));
    return _mm512_adds_epi16(t1, _mm512_mask_blend_epi16(opposite, t2, bias));
}

/* N3 to N5 by the scale block number `index`. */
INLINE __m512i scale_sums(const void *scales, uint32_t index, const shifter *s, __m512i sums, const uint32_t form)
{
    const __m512i v = shift_sums(s, sums, form);

    return form != ANY ? scale_packed((const er_packed_scale *)scales + index, v)
                 : scale_any((const er_scale_block *)scales + index, v);
}

/* The scale blocks behind the first `count`. */
INLINE const void *skip_scales(const void *scales, uint32_t count, const uint32_t form)
{
    return form != ANY ? (const void *)((const er_packed_scale *)scales + count)
                 : (const void *)((const er_scale_block *)scales + count);
}

/* What each call needs beside its arguments. */
typedef struct context {
    activation table;
    shifter x, h;
} context;

INLINE context make_context(const er_gates *gates)
{
    context c;

    load_half(&c.table, 0);
    load_half(&c.table, 1);
    c.x = make_shifter(gates->left_shift_x);
    c.h = make_shifter(gates->left_shift_h);
    return c;
}

/* N6: pre-activations of 32 rows by the scale blocks from number `index` on. form is a constant. */
INLINE __m512i preactivation(const context *c, const void *scales, uint32_t index, const int16_t *sums_x,
                             const int16_t *sums_h, const uint32_t shared, const uint32_t form)
{
    const __m512i x = _mm512_loadu_si512(sums_x), h = _mm512_loadu_si512(sums_h);

    return shared ? scale_sums(scales, index, &c->x, _mm512_add_epi16(x, h), form)
                  : _mm512_adds_epi16(scale_sums(scales, index, &c->x, x, form),
                                      scale_sums(scales, index + 1, &c->h, h, form));
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

/* The function for each form of a layer: shared, form, and how many blocks it takes at a time. */
#define SELECT(function)                                                                          \
    if (gates->exact && gates->shared) {                                                          \
        function(gates, sums_x, sums_h, out, 1, EXACT, 2);                                        \
    } else if (gates->exact) {                                                                    \
        function(gates, sums_x, sums_h, out, 0, EXACT, 2);                                        \
    } else if (gates->unshifted && gates->shared) {                                               \
        function(gates, sums_x, sums_h, out, 1, SATURATING, 2);                                   \
    } else if (gates->unshifted) {                                                                \
        function(gates, sums_x, sums_h, out, 0, SATURATING, 2);                                   \
    } else if (gates->shared) {                                                                   \
        function(gates, sums_x, sums_h, out, 1, ANY, 1);                                          \
    } else {                                                                                      \
        function(gates, sums_x, sums_h, out, 0, ANY, 1);                                          \
    }

/* Do X(0), and X(1) if count is 2. Two blocks at a time, step by step: one alone waits for its own results
 * much of the time (LSTM gates 11 % slower). */
#define EACH_BLOCK(count, X)        \
    do {                            \
        X(0)                        \
        if ((count) > 1) X(1)       \
    } while (0)

#define GRU_RESET(k) r[k] = sigmoid_of(&c->table, preactivation(c, s[k], 0, x + 32 * k, h + 32 * k, shared, form));
#define GRU_UPDATE(k)                                                                             \
    z[k] = sigmoid_of(&c->table, preactivation(c, s[k], each, x_z + 32 * k, h_z + 32 * k, shared, form));
#define GRU_SCALE(k)                                                                              \
    {                                                                                             \
        a_x[k] = scale_sums(s[k], 2 * each, &c->x, _mm512_loadu_si512(x_n + 32 * k), form);                \
        a_h[k] = scale_sums(s[k], 2 * each + 1, &c->h, _mm512_loadu_si512(h_n + 32 * k), form);            \
    }
#define GRU_GATE(k) a_h[k] = chain(r[k], a_h[k], _mm512_setzero_si512());
#define GRU_NEW(k) a_x[k] = tanh_of(&c->table, _mm512_adds_epi16(a_x[k], a_h[k]));
#define GRU_STATE(k)                                                                              \
    {                                                                                             \
        const uint32_t l = left - (k == 0 ? 0 : ER_BLOCK_UNITS);                                  \
        store_units(state + 32 * k, chain(z[k], load_units(state + 32 * k, l), a_x[k]), l);       \
    }

/* N9, reset after the product, for count blocks of units. shared, form and count are constants. */
INLINE void gru_blocks(const context *c, const void *scales, const int16_t *x, const int16_t *h,
                       uint32_t units, uint32_t left, int16_t *state, const uint32_t shared,
                       const uint32_t form, const uint32_t count)
{
    const uint32_t each = shared ? 1 : 2;       /* scale blocks of a gate */
    const void *s[2] = { scales, skip_scales(scales, shared ? 4 : 6, form) };
    const int16_t *x_z = x + units, *h_z = h + units, *x_n = x_z + units, *h_n = h_z + units;
    __m512i r[2], z[2], a_x[2], a_h[2];

    EACH_BLOCK(count, GRU_RESET);
    EACH_BLOCK(count, GRU_UPDATE);
    EACH_BLOCK(count, GRU_SCALE);
    EACH_BLOCK(count, GRU_GATE);
    EACH_BLOCK(count, GRU_NEW);
    EACH_BLOCK(count, GRU_STATE);
}

/* All units, count blocks at a time, which is 1 or 2. shared, form and count are constants. */
INLINE void gru(const er_gates *gates, const int16_t *x, const int16_t *h, int16_t *state,
                const uint32_t shared, const uint32_t form, const uint32_t count)
{
    const context c = make_context(gates);
    const void *scales = gates->scales;
    const uint32_t units = gates->units;
    uint32_t left = units;

    while (left > (count - 1) * ER_BLOCK_UNITS) {
        gru_blocks(&c, scales, x, h, units, left, state, shared, form, count);
        scales = skip_scales(scales, shared ? 4 * count : 6 * count, form);
        x += count * ER_BLOCK_UNITS;
        h += count * ER_BLOCK_UNITS;
        state += count * ER_BLOCK_UNITS;
        left = left < count * ER_BLOCK_UNITS ? 0 : left - count * ER_BLOCK_UNITS;
    }
    if (count > 1 && left > 0) {
        gru_blocks(&c, scales, x, h, units, left, state, shared, form, 1);
    }
}

/* See kernels.h. */
void er_gru_gates_avx512(const er_gates *gates, const int16_t *sums_x, const int16_t *sums_h, int16_t *out)
{
    SELECT(gru)
}

/* See kernels.h. */
void er_gru_reset_avx512(const er_gates *gates, const int16_t *sums_x, const int16_t *sums_h, const int16_t *h,
                         int16_t *gated_out)
{
    const context c = make_context(gates);
    const void *scales = gates->reset_scales;
    uint32_t left = gates->units;

    while (left > 0) {
        const __m512i p = preactivation(&c, scales, 0, sums_x, sums_h, gates->shared, ANY);

        store_units(gated_out, chain(sigmoid_of(&c.table, p), load_units(h, left), _mm512_setzero_si512()), left);
        scales = skip_scales(scales, gates->shared ? 1 : 2, ANY);
        sums_x += ER_BLOCK_UNITS;
        sums_h += ER_BLOCK_UNITS;
        h += ER_BLOCK_UNITS;
        gated_out += ER_BLOCK_UNITS;
        left = left < ER_BLOCK_UNITS ? 0 : left - ER_BLOCK_UNITS;
    }
}

/* rs(a, 1); and rs(a, 3) is rs(a >> 2, 1). */
INLINE __m512i halve(__m512i a)
{
    return _mm512_add_epi16(_mm512_srai_epi16(a, 1), _mm512_and_si512(a, _mm512_set1_epi16(1)));
}

#define LSTM_INPUT(k) i[k] = sigmoid_of(&c->table, preactivation(c, s[k], 0, x + 32 * k, h + 32 * k, shared, form));
#define LSTM_FORGET(k)                                                                            \
    f[k] = sigmoid_of(&c->table, preactivation(c, s[k], each, x_f + 32 * k, h_f + 32 * k, shared, form));
#define LSTM_NEW(k)                                                                               \
    g[k] = tanh_of(&c->table, preactivation(c, s[k], 2 * each, x_g + 32 * k, h_g + 32 * k, shared, form));
#define LSTM_OUTPUT(k)                                                                            \
    o[k] = sigmoid_of(&c->table, preactivation(c, s[k], 3 * each, x_o + 32 * k, h_o + 32 * k, shared, form));
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

/* N10 for count blocks of units. shared, form and count are constants. */
INLINE void lstm_blocks(const context *c, const void *scales, const int16_t *x, const int16_t *h,
                        uint32_t units, uint32_t left, int16_t *state, int16_t *cell, const uint32_t shared,
                        const uint32_t form, const uint32_t count)
{
    const uint32_t each = shared ? 1 : 2;       /* scale blocks of a gate */
    const void *s[2] = { scales, skip_scales(scales, shared ? 4 : 8, form) };
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

/* All units, count blocks at a time, which is 1 or 2. shared, form and count are constants. */
INLINE void lstm(const er_gates *gates, const int16_t *x, const int16_t *h, int16_t *state,
                 const uint32_t shared, const uint32_t form, const uint32_t count)
{
    const context c = make_context(gates);
    const void *scales = gates->scales;
    const uint32_t units = gates->units;
    int16_t *cell = state + units;
    uint32_t left = units;

    while (left > (count - 1) * ER_BLOCK_UNITS) {
        lstm_blocks(&c, scales, x, h, units, left, state, cell, shared, form, count);
        scales = skip_scales(scales, shared ? 4 * count : 8 * count, form);
        x += count * ER_BLOCK_UNITS;
        h += count * ER_BLOCK_UNITS;
        state += count * ER_BLOCK_UNITS;
        cell += count * ER_BLOCK_UNITS;
        left = left < count * ER_BLOCK_UNITS ? 0 : left - count * ER_BLOCK_UNITS;
    }
    if (count > 1 && left > 0) {
        lstm_blocks(&c, scales, x, h, units, left, state, cell, shared, form, 1);
    }
}

/* See kernels.h. */
void er_lstm_gates_avx512(const er_gates *gates, const int16_t *sums_x, const int16_t *sums_h, int16_t *out)
{
    SELECT(lstm)
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

/* N8. form is a constant. */
INLINE void rnn(const er_gates *gates, const int16_t *sums_x, const int16_t *sums_h, int16_t *state,
                const uint32_t form)
{
    const context c = make_context(gates);
    const void *scales = gates->scales;
    uint32_t left = gates->units;

    while (left > 0) {
        const __m512i p = preactivation(&c, scales, 0, sums_x, sums_h, gates->shared, form);

        store_units(state, activate(&c.table, gates->activation, p), left);
        scales = skip_scales(scales, gates->shared ? 1 : 2, form);
        sums_x += ER_BLOCK_UNITS;
        sums_h += ER_BLOCK_UNITS;
        state += ER_BLOCK_UNITS;
        left = left < ER_BLOCK_UNITS ? 0 : left - ER_BLOCK_UNITS;
    }
}

/* See kernels.h. */
void er_rnn_gates_avx512(const er_gates *gates, const int16_t *sums_x, const int16_t *sums_h, int16_t *out)
{
    if (gates->unshifted) {
        rnn(gates, sums_x, sums_h, out, SATURATING);
    } else {
        rnn(gates, sums_x, sums_h, out, ANY);
    }
}

/* N11. form is a constant. */
INLINE void dense(const er_gates *gates, const int16_t *sums, int16_t *out, const uint32_t form)
{
    const context c = make_context(gates);
    const void *scales = gates->scales;
    uint32_t left = gates->units;

    while (left > 0) {
        const __m512i p = scale_sums(scales, 0, &c.x, _mm512_loadu_si512(sums), form);

        _mm512_storeu_si512(out, activate(&c.table, gates->activation, p));
        scales = skip_scales(scales, 1, form);
        sums += ER_BLOCK_UNITS;
        out += ER_BLOCK_UNITS;
        left = left < ER_BLOCK_UNITS ? 0 : left - ER_BLOCK_UNITS;
    }
}

/* See kernels.h. */
void er_dense_gates_avx512(const er_gates *gates, const int16_t *sums_x, const int16_t *sums_h, int16_t *out)
{
    (void)sums_h;
    if (gates->unshifted) {
        dense(gates, sums_x, out, SATURATING);
    } else {
        dense(gates, sums_x, out, ANY);
    }
}

#else
typedef int er_gates_avx512_is_empty;   /* a file must not be */
#endif
