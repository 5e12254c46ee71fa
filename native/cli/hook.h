/* SPDX-License-Identifier: MIT
 *
 * --exec: a command for every word, one at a time, in the order of the words. Recognition does not wait: up to 16
 * words do, more are dropped and counted. A command that takes longer than ten seconds is killed, with what it has
 * started. */
#ifndef EDGE_DIGITS_HOOK_H
#define EDGE_DIGITS_HOOK_H

#include <sys/types.h>

#include "display.h"
#include "problem.h"
#include "words.h"

enum { HOOK_WORDS = 16, HOOK_ARGUMENTS = 64, HOOK_KINDS = 24 };

struct hook {
    char program[4096];
    char *text;                                 /* the arguments, one behind the other */
    char *arguments[HOOK_ARGUMENTS + 1];        /* the program's own name first */
    int argument_count;
    int lossless;
    struct display *display;
    heard_word words[HOOK_WORDS];
    unsigned first, count;                      /* of the words that wait */
    unsigned long dropped;
    pid_t process;                              /* that runs, or 0 */
    double until_s;
    int timed_out;
    char reported[HOOK_KINDS][80];              /* what has been said, each the first time only */
    unsigned reported_count;
};

/* Split a command as a shell would split it, expanding nothing.
 * lossless: wait for the commands instead of dropping words: for a file, which can wait. */
int hook_open(struct hook *hook, const char *command, int lossless, struct display *display,
              struct problem *problem);

/* Have the command run. */
void hook_word(struct hook *hook, const heard_word *word);

/* Look after the command that runs, and start the next. To be called often. */
void hook_poll(struct hook *hook);

/* Wait for the commands that are due, at most ten seconds. */
void hook_close(struct hook *hook);

#endif
