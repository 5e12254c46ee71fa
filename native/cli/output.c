/* SPDX-License-Identifier: MIT */
#include "output.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void output_open(void)
{
    static char buffer[OUTPUT_BYTES];

    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    setvbuf(stderr, NULL, _IOLBF, BUFSIZ);
}

/* What failed once is not tried again: the reason is kept for those who ask later. */
int output_flush(struct problem *problem)
{
    static int reason;

    errno = 0;
    if (reason == 0 && (fflush(stdout) != 0 || ferror(stdout))) {
        reason = errno != 0 ? errno : EIO;
    }
    if (reason == 0) {
        return 0;
    }
    return reason == EPIPE ? INTERRUPTED : problem_set(problem, "standard output: %s", strerror(reason));
}
