/* SPDX-License-Identifier: MIT */
#include "utf8.h"

/* The lead byte gives the number of continuation bytes and the least code point that needs so many;
 * a smaller one is an overlong form. */
int er_utf8_valid(const uint8_t *text, size_t size)
{
    size_t i = 0;

    while (i < size) {
        const uint8_t lead = text[i++];
        uint32_t code;
        uint32_t least;
        uint32_t follow;

        if (lead < 0x80) {
            continue;
        } else if (lead >= 0xC2 && lead < 0xE0) {
            code = lead & 0x1Fu;
            least = 0x80;
            follow = 1;
        } else if (lead >= 0xE0 && lead < 0xF0) {
            code = lead & 0x0Fu;
            least = 0x800;
            follow = 2;
        } else if (lead >= 0xF0 && lead < 0xF5) {
            code = lead & 0x07u;
            least = 0x10000;
            follow = 3;
        } else {
            return 0;
        }
        if (follow > size - i) {
            return 0;
        }
        for (; follow > 0; follow--) {
            if ((text[i] & 0xC0u) != 0x80u) {
                return 0;
            }
            code = (code << 6) | (text[i++] & 0x3Fu);
        }
        if (code < least || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) {
            return 0;
        }
    }
    return 1;
}
