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

/* Bytes of the whole cache lines that size bytes take. */
static inline size_t er_memory_round_up(size_t size)
{
    return (size + ER_ALIGNMENT - 1) / ER_ALIGNMENT * ER_ALIGNMENT;
}

/* Does the caller's memory have room for an object of size bytes, and begin at a cache line? */
static inline int er_memory_is_fit(const void *memory, size_t memory_size, size_t size)
{
    return (uintptr_t)memory % ER_ALIGNMENT == 0 && memory_size >= size;
}

/* Take count values of size bytes at base + *used, and move *used on to the next cache line. With a
 * null base only the bytes are counted and the result is null; so one function can both lay out an
 * object and tell its size. */
static inline void *er_memory_take(char *base, size_t *used, size_t count, size_t size)
{
    void *place = base == NULL ? NULL : base + *used;

    *used += er_memory_round_up(count * size);
    return place;
}

/* Allocate size bytes that begin at a cache line; null if there is no memory. malloc aligns to less
 * than that: take one line more, and tell what to free. For er_*_create only. */
static inline void *er_memory_allocate(size_t size, void **allocation_out)
{
    char *allocation = malloc(size + ER_ALIGNMENT);

    if (allocation == NULL) {
        return NULL;
    }
    *allocation_out = allocation;
    return allocation + (ER_ALIGNMENT - (uintptr_t)allocation % ER_ALIGNMENT);
}

#endif
