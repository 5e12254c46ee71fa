/* SPDX-License-Identifier: MIT
 *
 * The list of changed groups from a bit for each changed operand, for er_find_fn. Little-endian machines only. */
#ifndef ER_CHANGES_H
#define ER_CHANGES_H

#include <string.h>

#include "kernels.h"
#include "opaque.h"

/* changed: a bit for each column. differences: what was added to each operand. Each changed group gets a slot of
 * slot_columns differences, of which `kept` says which are its own, and slot_tables bytes of tables. */
static inline uint32_t er_list_changes(const er_product *product, const uint64_t *changed, const int8_t *differences,
                                       er_change *changes, int8_t *slots, const uint32_t slot_columns,
                                       const uint64_t kept, const uint32_t slot_tables)
{
    const uint16_t *group_of = product->group_of;
    uint32_t count = 0, tables = 0, column = 0;
    uint64_t fresh = UINT64_MAX;        /* columns whose group is not in the list */

    while (column < product->columns) {
        uint64_t left = *changed++ & fresh;

        fresh = UINT64_MAX;
        while (left != 0) {
            const er_group *group = product->groups + group_of[__builtin_ctzll(left)];
            const uint32_t end = group->end - column;
            uint64_t difference;

            if (count == product->most_changes) {
                return ER_TOO_MANY;
            }
            memcpy(&difference, differences + group->column, sizeof difference);
            difference = (difference & kept) << group->shift;
            memcpy(slots, &difference, sizeof difference);
            changes->tall = group->tall;
            changes->low = group->low;
            changes->first = tables + group->first;
            changes->second = tables + group->second;
            changes++;
            count++;
            slots += slot_columns;
            tables += slot_tables;
            ER_OPAQUE(slots);
            ER_OPAQUE(tables);
            left = end < 64 ? left & UINT64_MAX << end : 0;
            fresh = end > 64 ? UINT64_MAX << (end - 64) : fresh;
        }
        group_of += 64;
        column += 64;
    }
    return count;
}

#endif
