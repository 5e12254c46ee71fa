/* SPDX-License-Identifier: MIT
 *
 * Standard output, which is written to when it is flushed, and not before: only then is it known why it cannot be. */
#ifndef EDGE_DIGITS_OUTPUT_H
#define EDGE_DIGITS_OUTPUT_H

#include "problem.h"

enum { OUTPUT_BYTES = 1 << 16 };    /* between two flushes */

/* Before anything is printed. */
void output_open(void);

/* Returns 0; INTERRUPTED if the reader has gone; FAILED if it cannot be written. */
int output_flush(struct problem *problem);

#endif
