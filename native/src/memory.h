/* SPDX-License-Identifier: MIT
 *
 * Memory of the library's objects. An object is one block that begins at a cache line: its struct,
 * then its arrays, each at a cache line of its own. The block is the caller's, or er_memory_allocate
 * got it; then the object remembers the allocation and its er_*_destroy frees it.
 */
#ifndef EDGE_RUNTIME_MEMORY_H
#define EDGE_RUNTIME_MEMORY_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

enum {
    ER_ALIGNMENT = 64           /* of objects in the caller's memory and of their arrays: a cache line */
};

/* No object is larger, or pointers into it could not be subtracted. Sizes that size_t does not hold, as those of a
 * large model on 32 bits, are counted as SIZE_MAX, which is refused for it. */
#define ER_MOST_BYTES ((size_t)PTRDIFF_MAX - ER_ALIGNMENT)

/* The sum of two sizes, or SIZE_MAX. */
static inline size_t er_memory_add(size_t a, size_t b)
{
    return b > SIZE_MAX - a ? SIZE_MAX : a + b;
}

/* Bytes of the whole cache lines that size bytes take, or SIZE_MAX. */
static inline size_t er_memory_round_up(size_t size)
{
    return size > ER_MOST_BYTES ? SIZE_MAX : (size + ER_ALIGNMENT - 1) / ER_ALIGNMENT * ER_ALIGNMENT;
}

/* Does the caller's memory have room for an object of size bytes, and begin at a cache line? */
static inline int er_memory_is_fit(const void *memory, size_t memory_size, size_t size)
{
    return (uintptr_t)memory % ER_ALIGNMENT == 0 && memory_size >= size && size <= ER_MOST_BYTES;
}

/* Take count values of size bytes at base + *used, and move *used on to the next cache line. With a
 * null base only the bytes are counted and the result is null; so one function can both lay out an
 * object and tell its size. */
static inline void *er_memory_take(char *base, size_t *used, size_t count, size_t size)
{
    void *place = base == NULL ? NULL : base + *used;
    const size_t bytes = size != 0 && count > SIZE_MAX / size ? SIZE_MAX : count * size;

    *used = er_memory_add(*used, er_memory_round_up(bytes));
    return place;
}

/* Allocate size bytes that begin at a cache line; null if there is no memory. malloc aligns to less
 * than that: take one line more, and tell what to free. For er_*_create only. */
static inline void *er_memory_allocate(size_t size, void **allocation_out)
{
    char *allocation = size > ER_MOST_BYTES ? NULL : malloc(size + ER_ALIGNMENT);

    if (allocation == NULL) {
        return NULL;
    }
    *allocation_out = allocation;
    return allocation + (ER_ALIGNMENT - (uintptr_t)allocation % ER_ALIGNMENT);
}

#endif
