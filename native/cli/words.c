/* SPDX-License-Identifier: MIT */
#include "words.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int digit_of(const char *label)
{
    static const char *const digits[] = {"zero", "one", "two",   "three", "four",
                                         "five", "six", "seven", "eight", "nine"};
    int digit;

    for (digit = 0; digit < 10; digit++) {
        if (strcmp(label, digits[digit]) == 0) {
            return digit;
        }
    }
    return strcmp(label, "oh") == 0 ? 0 : -1;
}

/* The next code point, and the text behind it. The parser of model files has seen that labels are UTF-8; of file
 * names it may be anything, where a stray byte stands for itself. */
static uint32_t next_code_point(const char **text)
{
    const unsigned char *p = (const unsigned char *)*text;
    const int more = p[0] >= 0xF0 ? 3 : p[0] >= 0xE0 ? 2 : p[0] >= 0xC0 ? 1 : 0;
    uint32_t code = more == 0 ? p[0] : p[0] & (0x3Fu >> more);
    int i;

    for (i = 1; i <= more; i++) {
        if ((p[i] & 0xC0) != 0x80) {
            *text += 1;
            return p[0];
        }
        code = code << 6 | (p[i] & 0x3Fu);
    }
    *text += more + 1;
    return code;
}

void write_json_string(FILE *out, const char *text)
{
    static const char escaped[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";

    putc('"', out);
    while (*text != '\0') {
        const uint32_t code = next_code_point(&text);
        const char *place = code < 128 ? strchr(escaped, (int)code) : NULL;

        if (place != NULL) {
            fprintf(out, "\\%c", letters[place - escaped]);
        } else if (code >= ' ' && code < 127) {
            putc((int)code, out);
        } else if (code < 0x10000) {
            fprintf(out, "\\u%04x", (unsigned)code);
        } else {
            fprintf(out, "\\u%04x\\u%04x", 0xD800u + (unsigned)((code - 0x10000) >> 10),
                    0xDC00u + (unsigned)((code - 0x10000) & 0x3FF));
        }
    }
    putc('"', out);
}

/* printf rounds the exact binary value, half to even, as Python does. */
void write_rounded(FILE *out, double value, int decimals)
{
    char text[352];
    int digits;
    size_t length;

    snprintf(text, sizeof text, "%.*f", decimals, value);
    value = strtod(text, NULL);
    if (value != 0.0 && fabs(value) < 1e-4) {       /* Python changes to exponents here */
        for (digits = 1; digits < 17; digits++) {
            snprintf(text, sizeof text, "%.*g", digits, value);
            if (strtod(text, NULL) == value) {
                break;
            }
        }
        fputs(text, out);
        return;
    }
    for (length = strlen(text); text[length - 1] == '0' && text[length - 2] != '.'; length--) {
    }
    fprintf(out, "%.*s", (int)length, text);
}

void write_word_json(FILE *out, const heard_word *word)
{
    const int digit = digit_of(word->label);

    fputs("{\"word\": ", out);
    write_json_string(out, word->label);
    if (digit < 0) {
        fputs(", \"digit\": null, \"start_s\": ", out);
    } else {
        fprintf(out, ", \"digit\": %d, \"start_s\": ", digit);
    }
    write_rounded(out, word->start_s, 3);
    fputs(", \"end_s\": ", out);
    write_rounded(out, word->end_s, 3);
    fputs(", \"confidence\": ", out);
    write_rounded(out, (double)word->confidence, 4);
    fprintf(out, ", \"string\": %u}\n", (unsigned)word->string);
}
