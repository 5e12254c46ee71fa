/* SPDX-License-Identifier: MIT
 *
 * Other programs, started without a shell. */
#ifndef EDGE_DIGITS_PROCESS_H
#define EDGE_DIGITS_PROCESS_H

#include <stddef.h>
#include <sys/types.h>

/* Find a program as a shell would: in PATH, unless its name has a slash. Returns 1 and the path, or 0. */
int process_find(const char *name, char *path_out, size_t size);

/* Start a program in a session of its own, so that Ctrl-C in the terminal is not for it.
 *   path         of process_find
 *   arguments    the first is its name; ends with null
 *   settings     "NAME=value" for its environment; ends with null
 *   input, output, errors    its descriptors; -1: /dev/null
 * Returns its number, or -1 with errno if it cannot be started. */
pid_t process_start(const char *path, char *const *arguments, const char *const *settings, int input, int output,
                    int errors);

/* Wait until a program has ended, but not longer than a second. Returns 1, and its status as waitpid tells it, or 0. */
int process_wait(pid_t process, int *status_out);

/* End a program, and what it has started, if it does not do so by itself within a second after SIGTERM. */
void process_end(pid_t process);

#endif
