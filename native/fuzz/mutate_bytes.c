/* SPDX-License-Identifier: MIT
 * What libFuzzer has of its own and other programs need: changes of bytes that know nothing of what they are. */
#include <string.h>

#include "fuzz.h"

/* Bytes set, flipped, put in or taken out. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size)
{
    static uint32_t random_state = 2463534242u;
    const uint32_t r = next_random(&random_state);
    const size_t at = size == 0 ? 0 : next_random(&random_state) % size;

    switch (r % 4) {
    case 0:
        if (size < max_size) {
            memmove(data + at + 1, data + at, size - at);
            data[at] = (uint8_t)(r >> 8);
            return size + 1;
        }
        break;
    case 1:
        if (size > 1) {
            memmove(data + at, data + at + 1, size - at - 1);
            return size - 1;
        }
        break;
    case 2:
        if (size > 0) {
            data[at] = (uint8_t)(r >> 8);
        }
        break;
    default:
        if (size > 0) {
            data[at] ^= (uint8_t)(1u << (r >> 8) % 8);
        }
        break;
    }
    return size;
}
