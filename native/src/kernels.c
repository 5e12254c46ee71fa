/* SPDX-License-Identifier: MIT */
#include "kernels/kernels.h"

#include <stddef.h>
#include <string.h>

#include "cpu.h"

#define GEMV_SCALAR { NULL, er_binary_gemv_scalar, er_ternary_gemv_scalar, er_pow2_gemv_scalar }

er_widen_fn er_widen_scalar;
er_quantize_fn er_quantize_scalar;
er_logits_fn er_logits_scalar;

#if defined(ER_KERNELS_AVX2)
er_widen_fn er_widen_avx2;
er_quantize_fn er_quantize_avx2;
er_logits_fn er_logits_avx2;
er_digits_fn er_digits_avx2;
er_add_narrow_fn er_add_narrow_avx2;
er_add_wide_fn er_add_wide_avx2;
er_outputs_fn er_outputs_avx2;
er_operands_fn er_operands_avx2;
er_tables_fn er_ternary_pairs_tables_avx2, er_binary_seven_tables_avx2;
er_tables_fn er_pow2_tables_avx2;
er_product_fn er_ternary_pairs_single_avx2, er_ternary_pairs_double_avx2;
er_product_four_fn er_ternary_pairs_single_four_avx2, er_ternary_pairs_double_four_avx2;
er_product_fn er_pow2_single_avx2, er_pow2_double_avx2;
er_reset_fn er_gru_reset_avx2;
extern const er_changing er_ternary_pairs_changing_avx2;
er_gates_fn er_rnn_gates_avx2, er_gru_gates_avx2, er_lstm_gates_avx2, er_dense_gates_avx2;

/* AVX2 is bound by instructions at all sizes, so two bits a weight serve all of them. Two groups a pass
 * instead of one: W2 5.3 us instead of 5.9, W4L 28.5 instead of 31.8 (bench_step, clamps 12 and 25). Tiles of
 * three or five blocks are 1 to 2 % slower than of four. W1 in us, scalar and this: ternary 21.2 1.01, with clamp
 * 127 21.0 1.78; binary 18.4 0.84; powers of two 28.4 3.4, with clamp 127 28.6 4.0; two ternary planes 37.9 2.7;
 * ternary with RESET_BEFORE 23.1 1.31. */
static const er_product_kind products_avx2[] = {
    { er_operands_avx2, er_ternary_pairs_tables_avx2, er_ternary_pairs_single_avx2,
      ER_FORM_PAIRS, 4, 1, 32, 4, 31, 4, 0, 32, er_ternary_pairs_single_four_avx2, 0, NULL },
    { er_operands_avx2, er_ternary_pairs_tables_avx2, er_ternary_pairs_double_avx2,
      ER_FORM_PAIRS, 4, 2, 32, 4, 15, 4, 0, 32, er_ternary_pairs_double_four_avx2, 0,
      &er_ternary_pairs_changing_avx2 },
    { er_operands_avx2, er_binary_seven_tables_avx2, er_ternary_pairs_single_avx2,
      ER_FORM_BITS, 7, 1, 32, 4, 18, 7, 0, 32, NULL, 0, NULL },
    { er_operands_avx2, er_binary_seven_tables_avx2, er_ternary_pairs_double_avx2,
      ER_FORM_BITS, 7, 2, 32, 4, 9, 7, 0, 32, NULL, 0, NULL },
    { er_operands_avx2, er_pow2_tables_avx2, er_pow2_single_avx2,
      ER_FORM_NIBBLES, 4, 1, 16, 2, 127, 0, 0, 128, NULL, 7, NULL },
    { er_operands_avx2, er_pow2_tables_avx2, er_pow2_double_avx2,
      ER_FORM_NIBBLES, 4, 2, 16, 2, 31, 0, 0, 128, NULL, 6, NULL },
};
#endif

#if defined(ER_KERNELS_AVX512BW)
er_widen_fn er_widen_avx512;
er_quantize_fn er_quantize_avx512;
er_logits_fn er_logits_avx512;
er_digits_fn er_digits_avx512;
er_add_narrow_fn er_add_narrow_avx512;
er_add_wide_fn er_add_wide_avx512;
er_outputs_fn er_outputs_avx512;
er_operands_fn er_operands_avx512;
er_product_fn er_ternary_pairs_single_avx512bw, er_ternary_pairs_double_avx512bw;
er_tables_fn er_pow2_tables_avx512;
er_product_fn er_pow2_single_avx512, er_pow2_double_avx512;
er_reset_fn er_gru_reset_avx512;
extern const er_changing er_ternary_four_changing_avx512, er_ternary_five_changing_avx512;
er_gates_fn er_rnn_gates_avx512, er_gru_gates_avx512, er_lstm_gates_avx512, er_dense_gates_avx512;

/* The form of AVX2 in twice the lanes, for CPUs without the look-ups of VBMI. Against AVX2, us by bench_step on
 * Zen 5: W1 0.57 instead of 1.06, W2 1.9 instead of 3.6, W3 3.2 instead of 6.3, W4L 12.5 instead of 21.5.
 * Tiles of five, six or eight blocks are as fast. */
static const er_product_kind products_avx512bw[] = {
    { er_operands_avx512, er_ternary_pairs_tables_avx2, er_ternary_pairs_single_avx512bw,
      ER_FORM_PAIRS, 4, 1, 64, 10, 31, 4, 0, 32, NULL, 0, NULL },
    { er_operands_avx512, er_ternary_pairs_tables_avx2, er_ternary_pairs_double_avx512bw,
      ER_FORM_PAIRS, 4, 2, 64, 10, 15, 4, 0, 32, NULL, 0, NULL },
    { er_operands_avx512, er_binary_seven_tables_avx2, er_ternary_pairs_single_avx512bw,
      ER_FORM_BITS, 7, 1, 64, 10, 18, 7, 0, 32, NULL, 0, NULL },
    { er_operands_avx512, er_binary_seven_tables_avx2, er_ternary_pairs_double_avx512bw,
      ER_FORM_BITS, 7, 2, 64, 10, 9, 7, 0, 32, NULL, 0, NULL },
    { er_operands_avx512, er_pow2_tables_avx512, er_pow2_single_avx512,
      ER_FORM_NIBBLES, 8, 1, 16, 4, 127, 0, 0, 256, NULL, 7, NULL },
    { er_operands_avx512, er_pow2_tables_avx512, er_pow2_double_avx512,
      ER_FORM_NIBBLES, 8, 2, 16, 4, 31, 0, 0, 256, NULL, 6, NULL },
};
#endif

#if defined(ER_KERNELS_AVX512)
er_tables_fn er_ternary_four_tables_avx512, er_ternary_two_fours_tables_avx512, er_ternary_five_tables_avx512;
er_tables_fn er_binary_seven_tables_avx512;
er_product_fn er_ternary_four_single_avx512, er_ternary_four_double_avx512;
er_product_fn er_ternary_five_single_avx512, er_ternary_five_double_avx512, er_binary_seven_double_avx512;
er_product_four_fn er_ternary_five_single_four_avx512, er_ternary_five_double_four_avx512;

/* Five weights a byte cost more instructions than four and fewer loads: better once the weights leave the
 * first-level cache. Steps in us by bench_step, Zen 5 at 3.6 GHz, with four and with five:
 *      clamp 12    W1 0.47 0.48    W2 1.58 1.43    W3 2.68 2.28    W4L 11.1 9.4    W4G 17.9 14.7
 *      clamp 25    W1 0.48 0.51    W2 1.55 1.56    W3 2.65 2.6     W4L 11.9 10.8
 * in models of 0.15, 0.6, 1.2, 4.4 and 6.3 million weights. W1 in us, scalar and this: ternary 21.2 0.37, with
 * clamp 127 21.0 0.75; binary 18.4 0.33; powers of two 28.4 1.77, with clamp 127 28.6 1.98; two ternary planes
 * 37.9 1.14; ternary with RESET_BEFORE 23.1 0.62. The digit model, whose last layer of 13 rows is powers of two: 1.34
 * us instead of 3.4 with that layer scalar. A layer of two units is quicker than scalar, too: GRU 0.08 us instead
 * of 0.30, dense 0.19 instead of 1.6. */
static const er_product_kind products_avx512[] = {
    { er_operands_avx512, er_ternary_four_tables_avx512, er_ternary_four_single_avx512,
      ER_FORM_FOUR, 4, 1, 64, 10, 31, 4, 0, 128, NULL, 0, NULL },
    { er_operands_avx512, er_ternary_five_tables_avx512, er_ternary_five_single_avx512,
      ER_FORM_FIVE, 5, 1, 64, 8, 25, 5, 1 << 21, 128, er_ternary_five_single_four_avx512, 0, NULL },
    { er_operands_avx512, er_ternary_two_fours_tables_avx512, er_ternary_four_double_avx512,
      ER_FORM_TWO_FOURS, 4, 2, 64, 10, 15, 4, 0, 96, NULL, 0, &er_ternary_four_changing_avx512 },
    { er_operands_avx512, er_ternary_five_tables_avx512, er_ternary_five_double_avx512,
      ER_FORM_FIVE, 5, 2, 64, 8, 12, 5, 1 << 18, 128, er_ternary_five_double_four_avx512, 0,
      &er_ternary_five_changing_avx512 },
    { er_operands_avx512, er_binary_seven_tables_avx512, er_ternary_four_single_avx512,
      ER_FORM_BITS, 7, 1, 64, 10, 18, 7, 0, 128, NULL, 0, NULL },
    { er_operands_avx512, er_binary_seven_tables_avx512, er_binary_seven_double_avx512,
      ER_FORM_BITS, 7, 2, 64, 10, 9, 7, 0, 128, NULL, 0, NULL },
    { er_operands_avx512, er_pow2_tables_avx512, er_pow2_single_avx512,
      ER_FORM_NIBBLES, 8, 1, 16, 4, 127, 0, 0, 256, NULL, 7, NULL },
    { er_operands_avx512, er_pow2_tables_avx512, er_pow2_double_avx512,
      ER_FORM_NIBBLES, 8, 2, 16, 4, 31, 0, 0, 256, NULL, 6, NULL },
};
#endif

#if defined(ER_KERNELS_NEON)
er_widen_fn er_widen_neon;
#if defined(__aarch64__)
er_quantize_fn er_quantize_neon;
er_logits_fn er_logits_neon;
#define FLOATS_NEON er_quantize_neon, er_logits_neon
#else
/* NEON of ARMv7 takes denormal numbers for zero, which scalar code does not. */
#define FLOATS_NEON er_quantize_scalar, er_logits_scalar
#endif
er_digits_fn er_digits_neon;
er_add_narrow_fn er_add_narrow_neon;
er_add_wide_fn er_add_wide_neon;
er_outputs_fn er_outputs_neon;
er_operands_fn er_operands_neon;
er_tables_fn er_ternary_triples_tables_neon, er_binary_five_tables_neon, er_pow2_tables_neon;
er_product_fn er_ternary_triples_single_neon, er_ternary_triples_three_neon;
er_product_fn er_pow2_single_neon, er_pow2_double_neon;
er_reset_fn er_gru_reset_neon;
er_gates_fn er_rnn_gates_neon, er_gru_gates_neon, er_lstm_gates_neon, er_dense_gates_neon;

/* No ARM machine has run these yet: they are exact under qemu. The form is that of the fewest instructions
 * a weight, counted: 0.070 in loops of three groups on AArch64 and 0.10 on ARMv7; two groups of 81 entries take 0.13.
 * docs/cycles.md has estimates. A step of the digit model executes 57 thousand instructions on AArch64, 84 on ARMv7;
 * with its last layer of powers of two scalar 81 and 106, all scalar 857 and 809. */
static const er_product_kind products_neon[] = {
    { er_operands_neon, er_ternary_triples_tables_neon, er_ternary_triples_single_neon,
      ER_FORM_THREE, 3, 1, 16, ER_NEON_BLOCKS, 31, 3, 0, 32, NULL, 0, NULL },
    { er_operands_neon, er_ternary_triples_tables_neon, er_ternary_triples_three_neon,
      ER_FORM_THREE, 3, 3, 16, ER_NEON_BLOCKS, 14, 3, 0, 32, NULL, 0, NULL },
    { er_operands_neon, er_binary_five_tables_neon, er_ternary_triples_single_neon,
      ER_FORM_BITS, 5, 1, 16, ER_NEON_BLOCKS, 25, 5, 0, 32, NULL, 0, NULL },
    { er_operands_neon, er_binary_five_tables_neon, er_ternary_triples_three_neon,
      ER_FORM_BITS, 5, 3, 16, ER_NEON_BLOCKS, 8, 5, 0, 32, NULL, 0, NULL },
    { er_operands_neon, er_pow2_tables_neon, er_pow2_single_neon,
      ER_FORM_NIBBLES, 2, 1, 16, ER_NEON_BLOCKS / 2, 127, 0, 0, 64, NULL, 7, NULL },
    { er_operands_neon, er_pow2_tables_neon, er_pow2_double_neon,
      ER_FORM_NIBBLES, 2, 2, 16, ER_NEON_BLOCKS / 2, 31, 0, 0, 64, NULL, 6, NULL },
};
#endif

/* In rising order: the last one that the CPU can run wins. */
static const er_kernels table[] = {
    { "scalar", 0, GEMV_SCALAR, { NULL, NULL, NULL, NULL, NULL }, NULL,
      er_widen_scalar, er_quantize_scalar, er_logits_scalar, ER_TERMS_MASKS, ER_UNSHIFTED_NONE,
      NULL, 0, NULL, NULL, NULL, NULL },
#if defined(ER_KERNELS_AVX2)
    { "avx2", ER_CPU_AVX2, GEMV_SCALAR,
      { NULL, er_rnn_gates_avx2, er_gru_gates_avx2, er_lstm_gates_avx2, er_dense_gates_avx2 },
      er_gru_reset_avx2, er_widen_avx2, er_quantize_avx2, er_logits_avx2, ER_TERMS_FLAGS, ER_UNSHIFTED_LANES,
      products_avx2, sizeof products_avx2 / sizeof products_avx2[0],
      er_digits_avx2, er_add_narrow_avx2, er_add_wide_avx2, er_outputs_avx2 },
#endif
#if defined(ER_KERNELS_AVX512BW)
    { "avx512bw", ER_CPU_AVX2 | ER_CPU_AVX512BW, GEMV_SCALAR,
      { NULL, er_rnn_gates_avx512, er_gru_gates_avx512, er_lstm_gates_avx512, er_dense_gates_avx512 },
      er_gru_reset_avx512, er_widen_avx512, er_quantize_avx512, er_logits_avx512, ER_TERMS_MASKS, ER_UNSHIFTED_PACKED,
      products_avx512bw, sizeof products_avx512bw / sizeof products_avx512bw[0],
      er_digits_avx512, er_add_narrow_avx512, er_add_wide_avx512, er_outputs_avx512 },
#endif
#if defined(ER_KERNELS_AVX512)
    { "avx512", ER_CPU_AVX512, GEMV_SCALAR,
      { NULL, er_rnn_gates_avx512, er_gru_gates_avx512, er_lstm_gates_avx512, er_dense_gates_avx512 },
      er_gru_reset_avx512, er_widen_avx512, er_quantize_avx512, er_logits_avx512, ER_TERMS_MASKS, ER_UNSHIFTED_PACKED,
      products_avx512, sizeof products_avx512 / sizeof products_avx512[0],
      er_digits_avx512, er_add_narrow_avx512, er_add_wide_avx512, er_outputs_avx512 },
#endif
#if defined(ER_KERNELS_NEON)
    { "neon", ER_CPU_NEON, GEMV_SCALAR,
      { NULL, er_rnn_gates_neon, er_gru_gates_neon, er_lstm_gates_neon, er_dense_gates_neon },
      er_gru_reset_neon, er_widen_neon, FLOATS_NEON, ER_TERMS_COUNTS, ER_UNSHIFTED_NONE,
      products_neon, sizeof products_neon / sizeof products_neon[0],
      er_digits_neon, er_add_narrow_neon, er_add_wide_neon, er_outputs_neon },
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
