/* SPDX-License-Identifier: MIT
 *
 * Tiles of row blocks, which the products of all instruction sets run through. A file that includes this has
 *   run_tile(product, weights, tables, sums, ..., blocks), always inlined: the sums of `blocks` row blocks over all
 *   groups; returns the weights behind the tile. */
#ifndef ER_TILES_H
#define ER_TILES_H

#include <stddef.h>
#include <stdint.h>

#include "kernels.h"
#include "opaque.h"

/* Do X(i) for i = 0 .. count - 1, count a constant of at most the macro's number: written out, since accumulators must
 * be registers. */
#define ER_EACH_OF_2(count, X)      \
    do {                            \
        if ((count) > 0) X(0)       \
        if ((count) > 1) X(1)       \
    } while (0)
#define ER_EACH_OF_4(count, X)      \
    do {                            \
        ER_EACH_OF_2(count, X);     \
        if ((count) > 2) X(2)       \
        if ((count) > 3) X(3)       \
    } while (0)
#define ER_EACH_OF_8(count, X)      \
    do {                            \
        ER_EACH_OF_4(count, X);     \
        if ((count) > 4) X(4)       \
        if ((count) > 5) X(5)       \
        if ((count) > 6) X(6)       \
        if ((count) > 7) X(7)       \
    } while (0)
#define ER_EACH_OF_10(count, X)     \
    do {                            \
        ER_EACH_OF_8(count, X);     \
        if ((count) > 8) X(8)       \
        if ((count) > 9) X(9)       \
    } while (0)

typedef const uint8_t *er_tile_fn(const er_product *product, const uint8_t *weights, const uint8_t *tables,
                                  int16_t *sums);

/* One function per number of blocks, and their table `name`, by that number. The other arguments are the constants
 * that run_tile has before `blocks`. */
#define ER_TILE(name, blocks, ...)                                                                \
    static const uint8_t *name##_##blocks(const er_product *product, const uint8_t *weights,      \
                                          const uint8_t *tables, int16_t *sums)                   \
    {                                                                                             \
        return run_tile(product, weights, tables, sums, __VA_ARGS__, blocks);                     \
    }
#define ER_FOUR_TILES(name, ...)                                                                  \
    ER_TILE(name, 1, __VA_ARGS__)                                                                 \
    ER_TILE(name, 2, __VA_ARGS__)                                                                 \
    ER_TILE(name, 3, __VA_ARGS__)                                                                 \
    ER_TILE(name, 4, __VA_ARGS__)
#define ER_EIGHT_TILES(name, ...)                                                                 \
    ER_FOUR_TILES(name, __VA_ARGS__)                                                              \
    ER_TILE(name, 5, __VA_ARGS__)                                                                 \
    ER_TILE(name, 6, __VA_ARGS__)                                                                 \
    ER_TILE(name, 7, __VA_ARGS__)                                                                 \
    ER_TILE(name, 8, __VA_ARGS__)
#define ER_TILES_TO_4(name, ...)                                                                  \
    ER_FOUR_TILES(name, __VA_ARGS__)                                                              \
    static er_tile_fn *const name[5] = { NULL, name##_1, name##_2, name##_3, name##_4 };
#define ER_TILES_TO_8(name, ...)                                                                  \
    ER_EIGHT_TILES(name, __VA_ARGS__)                                                             \
    static er_tile_fn *const name[9] = {                                                          \
        NULL, name##_1, name##_2, name##_3, name##_4, name##_5, name##_6, name##_7, name##_8,     \
    };
#define ER_TILES_TO_10(name, ...)                                                                 \
    ER_EIGHT_TILES(name, __VA_ARGS__)                                                             \
    ER_TILE(name, 9, __VA_ARGS__)                                                                 \
    ER_TILE(name, 10, __VA_ARGS__)                                                                \
    static er_tile_fn *const name[11] = {                                                         \
        NULL, name##_1, name##_2, name##_3, name##_4, name##_5,                                   \
        name##_6, name##_7, name##_8, name##_9, name##_10,                                        \
    };

/* All tiles of a product, first the tall ones. row_shift: the binary logarithm of a block's rows, a constant. */
static inline void er_run_tiles(const er_product *product, const uint8_t *tables, int16_t *sums,
                                er_tile_fn *const *tiles, uint32_t row_shift)
{
    const uint8_t *weights = product->weights;
    uint32_t blocks = product->tile_blocks;
    uint32_t left = product->tall_count;
    uint32_t part;

    for (part = 0; part < 2; part++) {
        while (left > 0) {
            weights = tiles[blocks](product, weights, tables, sums);
            sums += blocks << row_shift;
            ER_OPAQUE(sums);
            left--;
        }
        blocks--;
        left = product->low_count;
    }
}

#endif
