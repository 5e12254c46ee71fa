/* SPDX-License-Identifier: MIT
 * Input and output through the debugger or emulator that the processor is attached to (Arm's semihosting): its
 * standard streams, and the end of the program. */
#ifndef SEMIHOSTING_H
#define SEMIHOSTING_H

#include <stddef.h>
#include <stdint.h>

/* Bytes read from standard input, fewer than size only at its end. */
size_t read_input(void *data, size_t size);

/* Bytes to standard output. */
void write_output(const void *data, size_t size);

/* To standard error: a text, or one with a number behind it, which ends the line. */
void report_text(const char *text);
void report(const char *name, uint32_t number);

/* End of the program: its exit status. */
_Noreturn void stop(uint32_t status);

#endif
