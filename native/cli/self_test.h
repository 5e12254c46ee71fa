/* SPDX-License-Identifier: MIT
 *
 * --self-test: does this machine compute what every other does? */
#ifndef EDGE_DIGITS_SELF_TEST_H
#define EDGE_DIGITS_SELF_TEST_H

#include "model_file.h"
#include "problem.h"

/* Recognize a recording, path, or with a null path the built-in one, with every kernel of this CPU, and print what comes
 * of it. expect_words: the built-in words must be those said. Returns 0; 1 if something is wrong, which is printed;
 * FAILED or INTERRUPTED. */
int self_test(const model_file *file, const char *path, uint32_t raw_rate, int expect_words,
              struct problem *problem);

/* Print the logits of a recording, a step a line. Returns 0, FAILED or INTERRUPTED. */
int print_logits(const model_file *file, const char *kernel, const char *path, uint32_t raw_rate,
                 struct problem *problem);

#endif
