/* SPDX-License-Identifier: MIT
 *
 * From the sums of the products to the state or output of a layer, 32 units at a time: AVX2. The rules are
 * those of exporters/FORMAT.md, section 7; fixed.h and activation.c are the scalar forms. Shifts by a count
 * per row exist on 32-bit lanes only: there 16 values are two registers, in the order of vpunpcklwd and
 * vpunpckhwd, from which vpackssdw puts them together again. */
#if defined(__AVX2__)

#include <immintrin.h>
#include <stddef.h>

#include "../model.h"
#include "activation_planes.h"
#include "kernels.h"
#include "opaque.h"

#define INLINE static inline __attribute__((always_inline))

enum { LANES = 16 };

INLINE __m256i load(const int16_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

INLINE void store(int16_t *p, __m256i v)
{
    _mm256_storeu_si256((__m256i *)(void *)p, v);
}

INLINE __m256i load_shifts(const uint32_t *p)
{
    return _mm256_load_si256((const __m256i *)(const void *)p);
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
        store(p, v);
        return;
    }
    store(rest, v);
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

/* 16 entries of the activation tables by bytes, in both halves of a register. */
INLINE __m256i part_of_plane(int k, int part)
{
    return _mm256_broadcastsi128_si256(
        _mm_loadu_si128((const __m128i *)(const void *)er_activation_planes[k][part]));
}

/* The first 48 or 64 entries of plane k; entry_count is a constant. i: the indices, then less 16, 32, 48:
 * vpshufb gives 0 as long as one is negative. */
INLINE __m256i look_up(int k, const __m256i i[4], const int entry_count)
{
    const __m256i a = _mm256_xor_si256(_mm256_shuffle_epi8(part_of_plane(k, 0), i[0]),
                                       _mm256_shuffle_epi8(part_of_plane(k, 1), i[1]));
    const __m256i b = _mm256_shuffle_epi8(part_of_plane(k, 2), i[2]);

    if (entry_count <= 48) {
        return _mm256_xor_si256(a, b);
    }
    return _mm256_xor_si256(a, _mm256_xor_si256(b, _mm256_shuffle_epi8(part_of_plane(k, 3), i[3])));
}

/* F >> S1 + F >> S2 - F >> S3 in 32-bit lanes, without signs. `place` takes the shifts of the lanes from
 * their bytes. Of a lane only the half that has F counts. */
INLINE __m256i fraction(__m256i f, __m256i shift12, __m256i shift3, __m256i place)
{
    const __m256i s12 = _mm256_shuffle_epi8(shift12, place);
    const __m256i s1 = _mm256_and_si256(s12, _mm256_set1_epi32(15));
    const __m256i s2 = _mm256_srli_epi32(s12, 4);
    const __m256i s3 = _mm256_shuffle_epi8(shift3, place);

    return _mm256_sub_epi16(_mm256_add_epi16(_mm256_srlv_epi32(f, s1), _mm256_srlv_epi32(f, s2)),
                            _mm256_srlv_epi32(f, s3));
}

/* The same of 16 values, whose shifts are the bytes from `first` (0 or 8) on of both halves. */
INLINE __m256i fractions(__m256i f, __m256i shift12, __m256i shift3, int first)
{
    const __m256i even_bytes = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, -128, -128, -128, 2, -128, -128, -128, 4, -128, -128, -128, 6, -128, -128, -128));
    const __m256i place = _mm256_add_epi8(even_bytes, _mm256_set1_epi32(first));
    const __m256i even = fraction(_mm256_and_si256(f, _mm256_set1_epi32(0xFFFF)), shift12, shift3, place);
    const __m256i odd = fraction(f, shift12, shift3, _mm256_add_epi8(place, _mm256_set1_epi32(1)));

    return _mm256_blend_epi16(even, odd, 0xAA);
}

/* seg(i, F) of 32 values, y[0] and y[1], for i below entry_count: section 7.4. f is F + 2^15, which the
 * bases of er_activation_planes allow for. */
INLINE void segments(const __m256i i[2], const __m256i f[2], const int entry_count, __m256i y[2])
{
    __m256i at[4], low, high, shift12, shift3;

    at[0] = _mm256_packus_epi16(i[0], i[1]);
    at[1] = _mm256_sub_epi8(at[0], _mm256_set1_epi8(16));
    at[2] = _mm256_sub_epi8(at[0], _mm256_set1_epi8(32));
    at[3] = _mm256_sub_epi8(at[0], _mm256_set1_epi8(48));
    shift12 = look_up(2, at, entry_count);      /* what takes longest goes first: 33 cycles instead of 36 */
    shift3 = look_up(3, at, entry_count);
    y[0] = fractions(f[0], shift12, shift3, 0);
    y[1] = fractions(f[1], shift12, shift3, 8);
    low = look_up(0, at, entry_count);
    high = look_up(1, at, entry_count);
    y[0] = _mm256_add_epi16(y[0], _mm256_unpacklo_epi8(low, high));
    y[1] = _mm256_add_epi16(y[1], _mm256_unpackhi_epi8(low, high));
}

#define SIGN_BITS _mm256_set1_epi16(-32768)

/* N13 of 32 values, in place. The magnitude of -32768 is 32768 as an unsigned number. tanh(0) is 0, so
 * vpsignw, which makes 0 of it, is right. */
INLINE void tanh_both(__m256i p[2])
{
    const __m256i most = _mm256_set1_epi16(8191);
    const __m256i a0 = _mm256_min_epu16(_mm256_abs_epi16(p[0]), most);
    const __m256i a1 = _mm256_min_epu16(_mm256_abs_epi16(p[1]), most);
    const __m256i i[2] = { _mm256_srli_epi16(a0, 7), _mm256_srli_epi16(a1, 7) };
    const __m256i f[2] = { _mm256_slli_epi16(a0, 9), _mm256_slli_epi16(a1, 9) };
    __m256i y[2];

    segments(i, f, 64, y);
    p[0] = _mm256_sign_epi16(y[0], p[0]);
    p[1] = _mm256_sign_epi16(y[1], p[1]);
}

/* N14 of 16 values from seg and p, as words whose upper byte is the gate less 128. */
INLINE __m256i gate(__m256i y, __m256i p)
{
    const __m256i u = _mm256_sub_epi16(_mm256_sign_epi16(y, p), _mm256_set1_epi16(128));

    return _mm256_sub_epi8(u, _mm256_cmpgt_epi16(p, _mm256_set1_epi16(12767)));
}

/* N14 of 32 values, in place: see gate. From segment 48 on a gate is 0, or 254 up to 12767, then 255: so
 * segments end there, which spares a tenth of the instructions. */
INLINE void sigmoid_both(__m256i p[2])
{
    const __m256i most = _mm256_set1_epi16(48 * 256 - 1);
    const __m256i a0 = _mm256_min_epu16(_mm256_abs_epi16(p[0]), most);
    const __m256i a1 = _mm256_min_epu16(_mm256_abs_epi16(p[1]), most);
    const __m256i i[2] = { _mm256_srli_epi16(a0, 8), _mm256_srli_epi16(a1, 8) };
    const __m256i f[2] = { _mm256_slli_epi16(a0, 8), _mm256_slli_epi16(a1, 8) };
    __m256i y[2];

    segments(i, f, 48, y);
    p[0] = gate(y[0], p[0]);
    p[1] = gate(y[1], p[1]);
}

/* One turn of N7 on values with their sign bit inverted, as vpavgw wants them. vpblendvb looks at bit 7 of
 * each byte of m. */
INLINE __m256i chain_turn(__m256i a, __m256i m, __m256i p, __m256i q)
{
    return _mm256_avg_epu16(a, _mm256_blendv_epi8(q, p, m));
}

/* N7 with the gate of `gate`. With it in both bytes, a shift brings a bit of it to the top of both; the
 * topmost bit is the other way round. */
INLINE __m256i chain(__m256i b, __m256i p, __m256i q)
{
    __m256i a;

    b = _mm256_shuffle_epi8(b, _mm256_broadcastsi128_si256(
                                   _mm_setr_epi8(1, 1, 3, 3, 5, 5, 7, 7, 9, 9, 11, 11, 13, 13, 15, 15)));
    p = _mm256_xor_si256(p, SIGN_BITS);
    q = _mm256_xor_si256(q, SIGN_BITS);
    a = chain_turn(p, _mm256_slli_epi16(b, 7), p, q);
    a = chain_turn(a, _mm256_slli_epi16(b, 6), p, q);
    a = chain_turn(a, _mm256_slli_epi16(b, 5), p, q);
    a = chain_turn(a, _mm256_slli_epi16(b, 4), p, q);
    a = chain_turn(a, _mm256_slli_epi16(b, 3), p, q);
    a = chain_turn(a, _mm256_slli_epi16(b, 2), p, q);
    a = chain_turn(a, _mm256_slli_epi16(b, 1), p, q);
    a = chain_turn(a, b, q, p);
    return _mm256_xor_si256(a, SIGN_BITS);
}

/* N3 made ready for a left shift L: for L > 0 clamp to +-2^(15 - L), shift by L - 1, and add to itself with
 * saturation; else add `half` (the plan has left room) and shift right. */
typedef struct shifter {
    __m256i bound, least, half;
    __m128i count, all;
    int32_t left;
} shifter;

INLINE shifter make_shifter(int32_t left)
{
    shifter s;

    s.left = left;
    s.bound = _mm256_set1_epi16((short)(left > 0 ? 1 << (15 - left) : 0));
    s.least = _mm256_sub_epi16(_mm256_setzero_si256(), s.bound);
    s.half = _mm256_set1_epi16((short)(left < 0 ? 1 << (-left - 1) : 0));
    s.count = _mm_cvtsi32_si128(left > 0 ? left - 1 : -left);
    s.all = _mm_cvtsi32_si128(left);
    return s;
}

/* N3 for L > 0. */
INLINE __m256i shift_left(const shifter *s, __m256i sums)
{
    sums = _mm256_min_epi16(sums, s->bound);
    sums = _mm256_max_epi16(sums, s->least);
    sums = _mm256_sll_epi16(sums, s->count);
    return _mm256_adds_epi16(sums, sums);
}

/* N3. */
INLINE __m256i shift_sums(const shifter *s, __m256i sums)
{
    if (s->left > 0) {
        return shift_left(s, sums);
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

/* The forms of scales: er_scale_block, er_unshifted_scale, the same with er_gates.exact. */
enum { ANY_FORM, UNSHIFTED, UNSHIFTED_EXACT };

/* The same with unshifted scales: 7 cycles for 32 rows instead of 20, 6 if the shift is exact. form is a
 * constant, here and below. */
INLINE __m256i scale_unshifted(const er_scale_block *block, uint32_t half, const shifter *s, __m256i sums,
                               const int form)
{
    const er_unshifted_scale *scale = (const er_unshifted_scale *)(const void *)block;
    const __m256i v = form == UNSHIFTED_EXACT ? _mm256_sll_epi16(sums, s->all) : shift_left(s, sums);
    const __m256i even = _mm256_srav_epi32(_mm256_slli_epi32(v, 16), load_shifts(scale->even + (half >> 1)));
    const __m256i odd = _mm256_srav_epi32(v, load_shifts(scale->odd + (half >> 1)));
    const __m256i t = _mm256_sign_epi16(_mm256_blend_epi16(even, odd, 0xAA), load(scale->sign + half));

    return _mm256_adds_epi16(v, _mm256_add_epi16(t, load(scale->bias + half)));
}

/* Blocks of units that go through each part of a cell before the next part begins. A block alone waits for
 * its own results half of the time: GRU gates of W1 0.36 us instead of 0.40, one Zen 5 core. */
enum { PART_BLOCKS = 8, PART_UNITS = PART_BLOCKS * ER_BLOCK_UNITS };

/* What the parts of a cell need beside their arguments. */
typedef struct context {
    shifter x, h;
    uint32_t shared;
    int form;
    uint32_t stride;            /* from the scales of a gate in a block of units to those in the next */
} context;

static context make_context(const er_gates *gates, uint32_t stride)
{
    context c;

    c.x = make_shifter(gates->left_shift_x);
    c.h = make_shifter(gates->left_shift_h);
    c.shared = gates->shared;
    c.form = !gates->unshifted ? ANY_FORM : gates->exact ? UNSHIFTED_EXACT : UNSHIFTED;
    c.stride = stride;
    return c;
}

/* N4 and N5 of 16 rows. */
INLINE __m256i scaled(const er_scale_block *scale, uint32_t half, const shifter *s, __m256i sums,
                      const int form)
{
    return form == ANY_FORM ? scale_sums(scale, half, s, sums) : scale_unshifted(scale, half, s, sums, form);
}

INLINE void output_blocks(const er_scale_block *scale, uint32_t stride, const shifter *by, const int16_t *sums,
                          uint32_t blocks, int16_t *out, const int form)
{
    const shifter s = *by;

    for (; blocks > 0; blocks--) {
        store(out, scaled(scale, 0, &s, load(sums), form));
        store(out + LANES, scaled(scale, LANES, &s, load(sums + LANES), form));
        scale += stride;
        sums += ER_BLOCK_UNITS;
        out += ER_BLOCK_UNITS;
        ER_OPAQUE(scale);
    }
}

/* N3 to N5: the outputs of one matrix from its sums. */
static void outputs(const context *c, const er_scale_block *scale, const shifter *s, const int16_t *sums,
                    uint32_t blocks, int16_t *out)
{
    switch (c->form) {
    case UNSHIFTED_EXACT:
        output_blocks(scale, c->stride, s, sums, blocks, out, UNSHIFTED_EXACT);
        break;
    case UNSHIFTED:
        output_blocks(scale, c->stride, s, sums, blocks, out, UNSHIFTED);
        break;
    default:
        output_blocks(scale, c->stride, s, sums, blocks, out, ANY_FORM);
        break;
    }
}

INLINE __m256i preactivation(const er_scale_block *scale, uint32_t half, const shifter *s_x, const shifter *s_h,
                             const int16_t *x, const int16_t *h, const int shared, const int form)
{
    const __m256i sums_x = load(x + half), sums_h = load(h + half);

    return shared ? scaled(scale, half, s_x, _mm256_add_epi16(sums_x, sums_h), form)
                  : _mm256_adds_epi16(scaled(scale, half, s_x, sums_x, form),
                                      scaled(scale + 1, half, s_h, sums_h, form));
}

INLINE void preactivation_blocks(const context *c, const er_scale_block *scale, const int16_t *x, const int16_t *h,
                                 uint32_t blocks, int16_t *p, const int shared, const int form)
{
    const shifter s_x = c->x, s_h = c->h;
    const uint32_t stride = c->stride;

    for (; blocks > 0; blocks--) {
        store(p, preactivation(scale, 0, &s_x, &s_h, x, h, shared, form));
        store(p + LANES, preactivation(scale, LANES, &s_x, &s_h, x, h, shared, form));
        scale += stride;
        x += ER_BLOCK_UNITS;
        h += ER_BLOCK_UNITS;
        p += ER_BLOCK_UNITS;
        ER_OPAQUE(scale);
    }
}

INLINE void preactivations_of(const context *c, const er_scale_block *scale, const int16_t *x, const int16_t *h,
                              uint32_t blocks, int16_t *p, const int form)
{
    if (c->shared) {
        preactivation_blocks(c, scale, x, h, blocks, p, 1, form);
    } else {
        preactivation_blocks(c, scale, x, h, blocks, p, 0, form);
    }
}

/* N6: the pre-activations of a gate. */
static void preactivations(const context *c, const er_scale_block *scale, const int16_t *x, const int16_t *h,
                           uint32_t blocks, int16_t *p)
{
    switch (c->form) {
    case UNSHIFTED_EXACT:
        preactivations_of(c, scale, x, h, blocks, p, UNSHIFTED_EXACT);
        break;
    case UNSHIFTED:
        preactivations_of(c, scale, x, h, blocks, p, UNSHIFTED);
        break;
    default:
        preactivations_of(c, scale, x, h, blocks, p, ANY_FORM);
        break;
    }
}

/* N13 in place. */
static void tanh_blocks(int16_t *p, uint32_t blocks)
{
    for (; blocks > 0; blocks--) {
        __m256i v[2] = { load(p), load(p + LANES) };

        tanh_both(v);
        store(p, v[0]);
        store(p + LANES, v[1]);
        p += ER_BLOCK_UNITS;
    }
}

/* N14 in place, for chain. */
static void sigmoid_blocks(int16_t *p, uint32_t blocks)
{
    for (; blocks > 0; blocks--) {
        __m256i v[2] = { load(p), load(p + LANES) };

        sigmoid_both(v);
        store(p, v[0]);
        store(p + LANES, v[1]);
        p += ER_BLOCK_UNITS;
    }
}

/* The blocks of the next part, of `left` units. */
INLINE uint32_t part_blocks(uint32_t left)
{
    return left < PART_UNITS ? (left + ER_BLOCK_UNITS - 1) >> 5 : PART_BLOCKS;
}

/* N9, reset after the product. */
void er_gru_gates_avx2(const er_gates *gates, const int16_t *sums_x, const int16_t *sums_h, int16_t *out)
{
    const uint32_t own = gates->shared ? 1 : 2;             /* scale blocks of r and z */
    const context c = make_context(gates, own + own + 2);
    const er_scale_block *scale = gates->scales;
    const int16_t *x_z = sums_x + gates->units, *h_z = sums_h + gates->units;
    const int16_t *x_n = x_z + gates->units, *h_n = h_z + gates->units;
    uint32_t left = gates->units, k;
    int16_t r[PART_UNITS], z[PART_UNITS], n[PART_UNITS], a_h[PART_UNITS];

    while (left > 0) {
        const uint32_t blocks = part_blocks(left);

        preactivations(&c, scale, sums_x, sums_h, blocks, r);
        preactivations(&c, scale + own, x_z, h_z, blocks, z);
        outputs(&c, scale + own + own, &c.x, x_n, blocks, n);
        outputs(&c, scale + own + own + 1, &c.h, h_n, blocks, a_h);
        sigmoid_blocks(r, blocks);
        sigmoid_blocks(z, blocks);
        for (k = 0; k < blocks << 5; k += LANES) {
            const __m256i reset = chain(load(r + k), load(a_h + k), _mm256_setzero_si256());

            store(n + k, _mm256_adds_epi16(load(n + k), reset));
        }
        tanh_blocks(n, blocks);
        for (k = 0; k < blocks << 5 && k < left; k += LANES) {
            store_units(out + k, chain(load(z + k), load_units(out + k, left - k), load(n + k)), left - k);
        }
        for (k = 0; k < blocks; k++) {
            scale += c.stride;
            ER_OPAQUE(scale);
        }
        sums_x += PART_UNITS;
        sums_h += PART_UNITS;
        x_z += PART_UNITS;
        h_z += PART_UNITS;
        x_n += PART_UNITS;
        h_n += PART_UNITS;
        out += PART_UNITS;
        left = left < PART_UNITS ? 0 : left - PART_UNITS;
    }
}

/* See kernels.h. */
void er_gru_reset_avx2(const er_gates *gates, const int16_t *sums_x, const int16_t *sums_h, const int16_t *h,
                       int16_t *gated_out)
{
    const context c = make_context(gates, gates->shared ? 1 : 2);
    const er_scale_block *scale = gates->reset_scales;
    uint32_t left = gates->units, k;
    int16_t r[PART_UNITS];

    while (left > 0) {
        const uint32_t blocks = part_blocks(left);

        preactivations(&c, scale, sums_x, sums_h, blocks, r);
        sigmoid_blocks(r, blocks);
        for (k = 0; k < blocks << 5 && k < left; k += LANES) {
            const __m256i state = load_units(h + k, left - k);

            store_units(gated_out + k, chain(load(r + k), state, _mm256_setzero_si256()), left - k);
        }
        for (k = 0; k < blocks; k++) {
            scale += c.stride;
            ER_OPAQUE(scale);
        }
        sums_x += PART_UNITS;
        sums_h += PART_UNITS;
        h += PART_UNITS;
        gated_out += PART_UNITS;
        left = left < PART_UNITS ? 0 : left - PART_UNITS;
    }
}

/* rs(a, 1); and rs(a, 3) is rs(a >> 2, 1). */
INLINE __m256i halve(__m256i a)
{
    return _mm256_add_epi16(_mm256_srai_epi16(a, 1), _mm256_and_si256(a, _mm256_set1_epi16(1)));
}

/* N10. */
void er_lstm_gates_avx2(const er_gates *gates, const int16_t *sums_x, const int16_t *sums_h, int16_t *out)
{
    const uint32_t own = gates->shared ? 1 : 2;             /* scale blocks of a gate */
    const context c = make_context(gates, own << 2);
    const er_scale_block *scale = gates->scales;
    const int16_t *x_f = sums_x + gates->units, *h_f = sums_h + gates->units;
    const int16_t *x_g = x_f + gates->units, *h_g = h_f + gates->units, *x_o, *h_o;
    const __m256i zero = _mm256_setzero_si256();
    int16_t *cell = out + gates->units;
    uint32_t left = gates->units, k;
    int16_t i[PART_UNITS], f[PART_UNITS], g[PART_UNITS], o[PART_UNITS];

    ER_OPAQUE(x_g);         /* else the offset is a multiplication by 3 */
    ER_OPAQUE(h_g);
    x_o = x_g + gates->units;
    h_o = h_g + gates->units;
    while (left > 0) {
        const uint32_t blocks = part_blocks(left);
        const er_scale_block *s = scale;

        preactivations(&c, s, sums_x, sums_h, blocks, i);
        s += own;
        preactivations(&c, s, x_f, h_f, blocks, f);
        s += own;
        preactivations(&c, s, x_g, h_g, blocks, g);
        s += own;
        preactivations(&c, s, x_o, h_o, blocks, o);
        sigmoid_blocks(i, blocks);
        sigmoid_blocks(f, blocks);
        tanh_blocks(g, blocks);
        sigmoid_blocks(o, blocks);
        for (k = 0; k < blocks << 5 && k < left; k += LANES) {
            const __m256i new = halve(_mm256_srai_epi16(chain(load(i + k), load(g + k), zero), 2));
            const __m256i kept = chain(load(f + k), load_units(cell + k, left - k), zero);
            const __m256i now = _mm256_adds_epi16(kept, new);

            store_units(cell + k, now, left - k);
            store(g + k, halve(now));
        }
        tanh_blocks(g, blocks);
        for (k = 0; k < blocks << 5 && k < left; k += LANES) {
            store_units(out + k, chain(load(o + k), load(g + k), zero), left - k);
        }
        for (k = 0; k < blocks; k++) {
            scale += c.stride;
            ER_OPAQUE(scale);
        }
        sums_x += PART_UNITS;
        sums_h += PART_UNITS;
        x_f += PART_UNITS;
        h_f += PART_UNITS;
        x_g += PART_UNITS;
        h_g += PART_UNITS;
        x_o += PART_UNITS;
        h_o += PART_UNITS;
        out += PART_UNITS;
        cell += PART_UNITS;
        left = left < PART_UNITS ? 0 : left - PART_UNITS;
    }
}

/* (b + 1) << 7, at most 32767: 256 << 7 would be 32768. */
INLINE __m256i sigmoid_value(__m256i b)
{
    b = _mm256_srli_epi16(_mm256_xor_si256(b, SIGN_BITS), 8);
    b = _mm256_slli_epi16(_mm256_add_epi16(b, _mm256_set1_epi16(1)), 7);
    return _mm256_min_epu16(b, _mm256_set1_epi16(32767));
}

/* N8 and N11: the output of up to PART_UNITS units from their pre-activations. */
static void activate(uint32_t kind, int16_t *p, uint32_t left, int16_t *out)
{
    const uint32_t blocks = part_blocks(left);
    uint32_t k;

    if (kind == ER_ACTIVATION_TANH) {
        tanh_blocks(p, blocks);
    } else if (kind == ER_ACTIVATION_SIGMOID) {
        sigmoid_blocks(p, blocks);
    }
    for (k = 0; k < blocks << 5 && k < left; k += LANES) {
        __m256i v = load(p + k);

        if (kind == ER_ACTIVATION_RELU) {
            v = _mm256_max_epi16(v, _mm256_setzero_si256());
        } else if (kind == ER_ACTIVATION_SIGMOID) {
            v = sigmoid_value(v);
        }
        store_units(out + k, v, left - k);
    }
}

/* N8. */
void er_rnn_gates_avx2(const er_gates *gates, const int16_t *sums_x, const int16_t *sums_h, int16_t *out)
{
    const context c = make_context(gates, gates->shared ? 1 : 2);
    const er_scale_block *scale = gates->scales;
    uint32_t left = gates->units;
    int16_t p[PART_UNITS];

    while (left > 0) {
        preactivations(&c, scale, sums_x, sums_h, part_blocks(left), p);
        activate(gates->activation, p, left, out);
        scale += c.shared ? PART_BLOCKS : 2 * PART_BLOCKS;
        sums_x += PART_UNITS;
        sums_h += PART_UNITS;
        out += PART_UNITS;
        left = left < PART_UNITS ? 0 : left - PART_UNITS;
    }
}

/* N11. */
void er_dense_gates_avx2(const er_gates *gates, const int16_t *sums_x, const int16_t *sums_h, int16_t *out)
{
    const context c = make_context(gates, 1);
    const er_scale_block *scale = gates->scales;
    uint32_t left = gates->units;
    int16_t p[PART_UNITS];

    (void)sums_h;
    while (left > 0) {
        outputs(&c, scale, &c.x, sums_x, part_blocks(left), p);
        activate(gates->activation, p, left, out);
        scale += PART_BLOCKS;
        sums_x += PART_UNITS;
        out += PART_UNITS;
        left = left < PART_UNITS ? 0 : left - PART_UNITS;
    }
}

#else
typedef int er_gates_avx2_is_empty;     /* a file must not be */
#endif
