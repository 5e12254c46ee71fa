/* SPDX-License-Identifier: MIT
 *
 * Ctrl-C and SIGTERM end the program in an orderly way: whoever waits is woken, and the loops ask. A second one
 * ends it the hard way. */
#ifndef EDGE_DIGITS_INTERRUPT_H
#define EDGE_DIGITS_INTERRUPT_H

/* Catch both signals from here on, and let writing to a closed pipe fail instead of ending the program. */
void interrupt_catch(void);

/* 1 after one of them, else 0. */
int interrupt_came(void);

enum { WAIT_FOR_EVER = -1 };

/* Wait until one of the descriptors can be read, or has ended; descriptor -1 stands for none.
 * Returns bit 0 for the first and bit 1 for the second, 0 after so many milliseconds, or INTERRUPTED. */
int wait_readable(int first, int second, int timeout_ms);

/* Seconds of a clock that only goes forward. */
double clock_s(void);

#endif
