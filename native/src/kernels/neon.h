/* SPDX-License-Identifier: MIT
 *
 * Where AArch64 and ARMv7 differ for the NEON kernels: look-ups and shuffles of whole registers. ARMv7 looks up
 * eight bytes at a time in at most 32, and has half as many registers.
 *
 * Tables are loaded as one operand: gcc 12 takes those made of parts through the stack at every look-up, which
 * doubled the instructions of the AArch64 product. On ARMv7 it moves the halves of registers about and knows no
 * such load, hence the inline assembly. */
#ifndef ER_NEON_H
#define ER_NEON_H

#include <arm_neon.h>
#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))

#if defined(__aarch64__)

/* Tables of 32 and 64 bytes. */
typedef uint8x16x2_t er_table32;
typedef uint8x16x4_t er_table64;

INLINE er_table32 er_table32_load(const uint8_t *p)
{
    return vld1q_u8_x2(p);
}

INLINE er_table64 er_table64_load(const uint8_t *p)
{
    return vld1q_u8_x4(p);
}

/* table[at], 0 from 16 on. */
INLINE uint8x16_t er_lookup16(uint8x16_t table, uint8x16_t at)
{
    return vqtbl1q_u8(table, at);
}

/* table[at], 0 from 32 on. */
INLINE uint8x16_t er_lookup32(er_table32 table, uint8x16_t at)
{
    return vqtbl2q_u8(table, at);
}

/* table[at], at below 64. */
INLINE uint8x16_t er_lookup64(er_table64 table, uint8x16_t at)
{
    return vqtbl4q_u8(table, at);
}

/* Values of 16 bits from their low and high bytes. */
INLINE void er_zip(uint8x16_t low, uint8x16_t high, int16x8_t out[2])
{
    out[0] = vreinterpretq_s16_u8(vzip1q_u8(low, high));
    out[1] = vreinterpretq_s16_u8(vzip2q_u8(low, high));
}

/* The high bytes of 16 values. */
INLINE uint8x16_t er_high_bytes(uint16x8_t a, uint16x8_t b)
{
    return vuzp2q_u8(vreinterpretq_u8_u16(a), vreinterpretq_u8_u16(b));
}

#else

typedef uint8x8x4_t er_table32;
typedef const uint8_t *er_table64;      /* four of them would be all registers */

INLINE er_table32 er_table32_load(const uint8_t *p)
{
#if defined(__clang__) || __GNUC__ >= 14
    return vld1_u8_x4(p);
#else
    er_table32 t;

    __asm__("vld1.8 %h0, [%1]" : "=w"(t) : "r"(p), "m"(*(const uint8_t(*)[32])p));
    return t;
#endif
}

INLINE er_table64 er_table64_load(const uint8_t *p)
{
    return p;
}

INLINE uint8x16_t er_lookup16(uint8x16_t table, uint8x16_t at)
{
#if defined(__clang__)
    const uint8x8x2_t t = { { vget_low_u8(table), vget_high_u8(table) } };

    return vcombine_u8(vtbl2_u8(t, vget_low_u8(at)), vtbl2_u8(t, vget_high_u8(at)));
#else
    uint8x16_t out;

    __asm__("vtbl.8 %e0, {%e1, %f1}, %e2\n\tvtbl.8 %f0, {%e1, %f1}, %f2" : "=&w"(out) : "w"(table), "w"(at));
    return out;
#endif
}

INLINE uint8x16_t er_lookup32(er_table32 table, uint8x16_t at)
{
#if defined(__clang__)
    return vcombine_u8(vtbl4_u8(table, vget_low_u8(at)), vtbl4_u8(table, vget_high_u8(at)));
#else
    __asm__("vtbl.8 %e0, %h1, %e0\n\tvtbl.8 %f0, %h1, %f0" : "+w"(at) : "w"(table));
    return at;
#endif
}

INLINE uint8x16_t er_lookup64(er_table64 table, uint8x16_t at)
{
    const uint8x16_t beyond = vsubq_u8(at, vdupq_n_u8(32));
    const er_table32 first = er_table32_load(table), second = er_table32_load(table + 32);
#if defined(__clang__)
    return vcombine_u8(
        vtbx4_u8(vtbl4_u8(first, vget_low_u8(at)), second, vget_low_u8(beyond)),
        vtbx4_u8(vtbl4_u8(first, vget_high_u8(at)), second, vget_high_u8(beyond)));
#else
    at = er_lookup32(first, at);
    __asm__("vtbx.8 %e0, %h1, %e2\n\tvtbx.8 %f0, %h1, %f2" : "+w"(at) : "w"(second), "w"(beyond));
    return at;
#endif
}

INLINE void er_zip(uint8x16_t low, uint8x16_t high, int16x8_t out[2])
{
    const uint8x16x2_t both = vzipq_u8(low, high);

    out[0] = vreinterpretq_s16_u8(both.val[0]);
    out[1] = vreinterpretq_s16_u8(both.val[1]);
}

INLINE uint8x16_t er_high_bytes(uint16x8_t a, uint16x8_t b)
{
    return vcombine_u8(vshrn_n_u16(a, 8), vshrn_n_u16(b, 8));
}

#endif
#endif
