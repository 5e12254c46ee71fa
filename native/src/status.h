/* SPDX-License-Identifier: MIT
 * What the rest of the library needs from status.c beyond the public header. */
#ifndef ER_STATUS_H
#define ER_STATUS_H

#include <stddef.h>
#include <stdint.h>

/* CRC-32 in parts: start with 0, feed each part with the result of the one before. The value after
 * any part is the CRC-32 of all bytes so far. */
uint32_t er_crc32_update(uint32_t crc, const uint8_t *data, size_t size);

#endif
