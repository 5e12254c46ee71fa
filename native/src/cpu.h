/* SPDX-License-Identifier: MIT
 * What the CPU and the operating system together allow. */
#ifndef ER_CPU_H
#define ER_CPU_H

#include <stdint.h>

enum {
    ER_CPU_AVX2 = 1,
    ER_CPU_AVX512 = 2,      /* F, BW, VL and VBMI */
    ER_CPU_NEON = 4,
    ER_CPU_AVX512BW = 8     /* F, BW and VL */
};

/* The ER_CPU_* that programs may use. */
uint32_t er_cpu_features(void);

#endif
