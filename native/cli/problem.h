/* SPDX-License-Identifier: MIT
 *
 * Why something could not be done: one line that names the file or argument, what was expected and what was found. */
#ifndef EDGE_DIGITS_PROBLEM_H
#define EDGE_DIGITS_PROBLEM_H

struct problem {
    char text[768];
};

/* Results of what may take long: negative values end it. */
enum {
    FAILED = -1,        /* the problem says why */
    INTERRUPTED = -2    /* Ctrl-C or SIGTERM */
};

/* Fill in the line, as printf. Returns FAILED. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
int problem_set(struct problem *problem, const char *format, ...);

/* The same on standard error, at once: "edge-digits: LINE". */
void problem_show(const struct problem *problem);

#endif
