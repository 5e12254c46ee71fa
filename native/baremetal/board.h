/* SPDX-License-Identifier: MIT
 * What a program has on a board without an operating system: a start, and memory. board.c calls main after reset. */
#ifndef BOARD_H
#define BOARD_H

#include <stddef.h>

/* All memory that is neither data nor stack: it begins at a multiple of 64 bytes. */
char *arena_begin(void);
size_t arena_bytes(void);

/* The most stack that has been used since reset; all of it or more is a fault. */
size_t stack_bytes_used(void);

int main(void);

#endif
