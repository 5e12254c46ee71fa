/* SPDX-License-Identifier: MIT */
#ifndef ER_UTF8_H
#define ER_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* 1 if the bytes are valid UTF-8 (RFC 3629: no overlong form, no surrogate, nothing above U+10FFFF),
 * else 0. */
int er_utf8_valid(const uint8_t *text, size_t size);

#endif
