/* SPDX-License-Identifier: MIT */
#include "cpu.h"

#if defined(__x86_64__) || defined(__i386__)

#include <cpuid.h>

enum {
    LEAF1_ECX_POPCNT = 1 << 23,
    LEAF1_ECX_OSXSAVE = 1 << 27,
    LEAF7_EBX_AVX2 = 1 << 5,
    LEAF7_EBX_AVX512F = 1 << 16,
    LEAF7_EBX_AVX512BW = 1 << 30,
    LEAF7_ECX_AVX512VBMI = 1 << 1,
    XCR0_YMM = 0x06,                    /* XMM and YMM state */
    XCR0_ZMM = 0xE6                     /* and masks, upper halves, registers 16 to 31 */
};
#define LEAF7_EBX_AVX512VL 0x80000000u  /* bit 31 does not fit an enumeration constant */

/* The register sets that the operating system saves. Only where OSXSAVE says that it can be asked. */
static uint32_t saved_state(void)
{
    uint32_t low, high;

    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

/* cpuid alone is not enough: without the operating system's part the upper register halves are lost
 * whenever it switches tasks. */
uint32_t er_cpu_features(void)
{
    const uint32_t needed = LEAF1_ECX_POPCNT | LEAF1_ECX_OSXSAVE;
    const uint32_t wanted = LEAF7_EBX_AVX512F | LEAF7_EBX_AVX512BW | LEAF7_EBX_AVX512VL;
    uint32_t a, b, c, d, state, features = 0;

    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & needed) != needed) {
        return 0;
    }
    state = saved_state();
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        return 0;
    }
    if ((state & XCR0_YMM) == XCR0_YMM && (b & LEAF7_EBX_AVX2) != 0) {
        features |= ER_CPU_AVX2;
        if ((state & XCR0_ZMM) == XCR0_ZMM && (b & wanted) == wanted) {
            features |= ER_CPU_AVX512BW | ((c & LEAF7_ECX_AVX512VBMI) != 0 ? ER_CPU_AVX512 : 0);
        }
    }
    return features;
}

#elif defined(__aarch64__)

/* Part of the architecture. */
uint32_t er_cpu_features(void)
{
    return ER_CPU_NEON;
}

#elif defined(__arm__) && defined(__linux__)

#include <sys/auxv.h>

enum { AUXV_HWCAP_NEON = 1 << 12 };     /* HWCAP_NEON of Linux for 32-bit ARM */

/* As the kernel tells. */
uint32_t er_cpu_features(void)
{
    return (getauxval(AT_HWCAP) & AUXV_HWCAP_NEON) != 0 ? ER_CPU_NEON : 0;
}

#else

/* Nothing is known of this machine. */
uint32_t er_cpu_features(void)
{
    return 0;
}

#endif
