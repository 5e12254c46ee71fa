/* SPDX-License-Identifier: MIT
 *
 * A recognizer and those who are told: blocks of samples in; words, level and recording out. */
#ifndef EDGE_DIGITS_SESSION_H
#define EDGE_DIGITS_SESSION_H

#include "display.h"
#include "edge_runtime.h"
#include "hook.h"
#include "problem.h"
#include "recording.h"

struct session {
    const er_model *model;
    er_recognizer *recognizer;
    uint32_t sample_rate;
    float threshold;            /* negative: the model's */
    struct display *display;
    struct recording *recording;       /* null: nothing is kept */
    struct hook *hook;                 /* null: no command */
    double began_s;             /* audio heard when the recognizer last began anew */
    uint32_t began_string;      /* number of the first string since then */
    uint64_t samples;           /* since then */
    unsigned long words;
    double busy_s;              /* spent in recognition */
    int warned;
};

/* Make the recognizer; the other fields are set by the caller, 0 what counts. */
int session_open(struct session *session, uint32_t sample_rate, struct problem *problem);

/* Recognize a block, float [shape=(count)], full scale 1.0. Blocks of any length give the same words.
 * dropped: samples lost so far. Returns 0, FAILED or INTERRUPTED as `display_word`. */
int session_hear(struct session *session, const float *samples, size_t count, unsigned long long dropped,
                 struct problem *problem);

/* Report the words still due. */
int session_finish(struct session *session, struct problem *problem);

/* Report the words still due and begin anew at this rate, as before the first sample; times go on. */
int session_restart(struct session *session, uint32_t sample_rate, struct problem *problem);

/* Audio heard so far, in seconds. */
double session_heard_s(const struct session *session);

void session_close(struct session *session);

#endif
