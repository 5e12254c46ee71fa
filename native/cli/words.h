/* SPDX-License-Identifier: MIT
 *
 * Recognized words as text. */
#ifndef EDGE_DIGITS_WORDS_H
#define EDGE_DIGITS_WORDS_H

#include <stdio.h>

#include "edge_runtime.h"

/* A word of a session: times and string count from its beginning. */
typedef struct heard_word {
    const char *label;      /* UTF-8, the model's */
    double start_s;
    double end_s;
    float confidence;
    uint32_t string;
} heard_word;

/* The digit that a label stands for, "oh" being 0, or -1. */
int digit_of(const char *label);

/* One line of --json, with its line feed: word, digit (null if it is none), start_s, end_s, confidence, string. */
void write_word_json(FILE *out, const heard_word *word);

/* A JSON string in quotes, in ASCII. text: UTF-8. */
void write_json_string(FILE *out, const char *text);

/* A number rounded to so many decimals, written as Python writes the result: the fewest digits, at least one behind
 * the point. */
void write_rounded(FILE *out, double value, int decimals);

#endif
