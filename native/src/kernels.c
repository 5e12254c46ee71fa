/* SPDX-License-Identifier: MIT */
#include "kernels/kernels.h"

#include <stddef.h>
#include <string.h>

#include "cpu.h"

#define GEMV_SCALAR { NULL, er_binary_gemv_scalar, er_ternary_gemv_scalar, er_pow2_gemv_scalar }

#if defined(ER_KERNELS_AVX2)
er_operands_fn er_operands_avx2;
er_tables_fn er_ternary_pairs_tables_avx2;
er_product_fn er_ternary_pairs_single_avx2, er_ternary_pairs_double_avx2;
er_gates_fn er_rnn_gates_avx2, er_gru_gates_avx2, er_lstm_gates_avx2, er_dense_gates_avx2;

static const er_product_kind products_avx2[] = {
    { er_operands_avx2, er_ternary_pairs_tables_avx2, er_ternary_pairs_single_avx2,
      ER_FORM_PAIRS, 4, 1, 32, 5, 31, 4, 0 },
    { er_operands_avx2, er_ternary_pairs_tables_avx2, er_ternary_pairs_double_avx2,
      ER_FORM_PAIRS, 4, 2, 32, 5, 15, 4, 0 },
};
#endif

#if defined(ER_KERNELS_AVX512)
er_operands_fn er_operands_avx512;
er_tables_fn er_ternary_four_tables_avx512, er_ternary_five_tables_avx512;
er_product_fn er_ternary_four_single_avx512, er_ternary_four_double_avx512;
er_product_fn er_ternary_five_single_avx512, er_ternary_five_double_avx512;
er_gates_fn er_rnn_gates_avx512, er_gru_gates_avx512, er_lstm_gates_avx512, er_dense_gates_avx512;

static const er_product_kind products_avx512[] = {
    { er_operands_avx512, er_ternary_four_tables_avx512, er_ternary_four_single_avx512,
      ER_FORM_FOUR, 4, 1, 64, 10, 31, 4, 0 },
    { er_operands_avx512, er_ternary_five_tables_avx512, er_ternary_five_single_avx512,
      ER_FORM_FIVE, 5, 1, 64, 8, 25, 5, 1 << 20 },
    { er_operands_avx512, er_ternary_four_tables_avx512, er_ternary_four_double_avx512,
      ER_FORM_FOUR, 4, 2, 64, 10, 15, 4, 0 },
    { er_operands_avx512, er_ternary_five_tables_avx512, er_ternary_five_double_avx512,
      ER_FORM_FIVE, 5, 2, 64, 8, 12, 5, 1 << 18 },
};
#endif

/* In rising order: the last one that the CPU can run wins. */
static const er_kernels table[] = {
    { "scalar", 0, GEMV_SCALAR, { NULL, NULL, NULL, NULL, NULL }, 0, NULL, 0 },
#if defined(ER_KERNELS_AVX2)
    { "avx2", ER_CPU_AVX2, GEMV_SCALAR,
      { NULL, er_rnn_gates_avx2, er_gru_gates_avx2, er_lstm_gates_avx2, er_dense_gates_avx2 }, 1,
      products_avx2, sizeof products_avx2 / sizeof products_avx2[0] },
#endif
#if defined(ER_KERNELS_AVX512)
    { "avx512", ER_CPU_AVX512, GEMV_SCALAR,
      { NULL, er_rnn_gates_avx512, er_gru_gates_avx512, er_lstm_gates_avx512, er_dense_gates_avx512 }, 0,
      products_avx512, sizeof products_avx512 / sizeof products_avx512[0] },
#endif
};

/* See kernels.h. To add an ISA: its files, a row in the table, and its test in cpu.c. */
const er_kernels *er_kernels_find(const char *isa)
{
    const uint32_t features = er_cpu_features();
    const er_kernels *found = NULL;
    size_t i;

    for (i = 0; i < sizeof table / sizeof table[0]; i++) {
        if ((table[i].cpu & ~features) == 0 && (isa == NULL || strcmp(isa, table[i].isa) == 0)) {
            found = &table[i];
        }
    }
    return found;
}
