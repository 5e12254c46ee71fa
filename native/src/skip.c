/* SPDX-License-Identifier: MIT
 * Products of a stream that skips: sums of the last step, brought up to date by the groups of columns whose operands
 * changed. Sums are integers, so nothing is lost however often that is done. No multiply instruction is in this
 * object, nor in any that it calls. */
#include <string.h>

#include "matrix.h"
#include "opaque.h"

/* Whether all operands are those of the last step. */
static int are_same(const int8_t *operands, const int8_t *last, uint32_t count)
{
    while (count > 0 && *operands == *last) {
        operands++;
        last++;
        count--;
        ER_OPAQUE(operands);
        ER_OPAQUE(last);
    }
    return count == 0;
}

/* See matrix.h. */
const int16_t *er_product_run_skipping(const er_product *product, const er_work *work, const int16_t *x)
{
    const er_product_kind *kind = product->kind;
    er_skip *skip = er_skip_of(work, product);
    uint8_t *tables = work->tables + product->table_offset;
    const int kept = product->tables_kept && work->carried_valid && er_skip_of(work, product->kept_from)->full;
    uint32_t count = ER_TOO_MANY, left;

    kind->operands(product, x, work->operand_bytes);
    if (skip->valid && product->most_changes > 0) {
        count = kind->changing->find(product, work->operand_bytes, skip->operands, work->differences, work->changes,
                                     work->slots);
    } else if (skip->valid && are_same(work->operand_bytes, skip->operands, product->columns)) {
        count = 0;
    }
    skip->full = count == ER_TOO_MANY;
    if (count == 0) {
        return skip->sums;
    }
    memcpy(skip->operands, work->operand_bytes, product->columns);
    if (count < ER_TOO_MANY) {
        const int32_t bias = product->table_bias + product->table_bias;
        er_product changed = *product;
        int32_t start = 0;

        changed.group_count = (kind->changing->slot_groups > 1 ? count << 1 : count + 1) & ~1u;
        changed.table_bias = bias;
        kind->tables(&changed, work->slots, tables);
        for (left = count; left > 0; left--) {
            start -= bias;
            ER_OPAQUE(start);
        }
        kind->changing->run(product, work->changes, count, tables, start, skip->sums);
        return skip->sums;
    }
    if (!kept) {
        kind->tables(product, work->operand_bytes, tables);
    }
    kind->run(product, tables, skip->sums);
    skip->valid = 1;
    return skip->sums;
}
