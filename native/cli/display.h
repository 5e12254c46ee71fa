/* SPDX-License-Identifier: MIT
 *
 * What the person in front sees: words on standard output, everything else on standard error. */
#ifndef EDGE_DIGITS_DISPLAY_H
#define EDGE_DIGITS_DISPLAY_H

#include "problem.h"
#include "words.h"

struct display {
    int json, quiet, verbose;
    int growing;            /* digits grow on one line, for a terminal */
    int meter;
    int meter_shown;
    double next_meter_s;
    size_t line_length;     /* characters of the growing line */
};

enum { DISPLAY_JSON = 1, DISPLAY_PLAIN = 2, DISPLAY_QUIET = 4, DISPLAY_VERBOSE = 8, DISPLAY_METER = 16 };

/* flags: DISPLAY_*; plain: a line per word and no meter, on a terminal too. */
void display_init(struct display *display, int flags);

/* Show a word at once. Returns 0; INTERRUPTED if the reader has gone; FAILED if it cannot be written. */
int display_word(struct display *display, const heard_word *word, struct problem *problem);

/* Redraw the level meter, ten times a second at most. dropped: samples lost so far. */
void display_level(struct display *display, double rms_db, unsigned long long dropped);

/* A line on standard error; a note is not shown when quiet. As printf. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void display_note(struct display *display, const char *format, ...);
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void display_warning(struct display *display, const char *format, ...);

/* End the line that grows. */
void display_end(struct display *display);

#endif
