/* SPDX-License-Identifier: MIT */
#include "kernels/kernels.h"

#include <stddef.h>
#include <string.h>

/* In rising order: the last one that the CPU can run wins. */
static const er_kernels table[] = {
    { "scalar", { NULL, er_binary_gemv_scalar, er_ternary_gemv_scalar, er_pow2_gemv_scalar } },
};

/* See kernels.h. To add an ISA: its files, a row in the table, and its test in cpu.c. */
const er_kernels *er_kernels_find(const char *isa)
{
    const er_kernels *found = NULL;
    size_t i;

    for (i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (isa == NULL || strcmp(isa, table[i].isa) == 0) {
            found = &table[i];
        }
    }
    return found;
}
