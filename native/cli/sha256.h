/* SPDX-License-Identifier: MIT */
#ifndef EDGE_DIGITS_SHA256_H
#define EDGE_DIGITS_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { SHA256_TEXT = 65 };

/* SHA-256 (FIPS 180-4) of size bytes, in lower-case hexadecimal. */
void sha256_text(const uint8_t *data, size_t size, char text_out[SHA256_TEXT]);

#endif
