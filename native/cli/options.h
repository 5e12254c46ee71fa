/* SPDX-License-Identifier: MIT
 *
 * The command line: the flags of `python -m apps.digit_demo`, as far as they need no Python. */
#ifndef EDGE_DIGITS_OPTIONS_H
#define EDGE_DIGITS_OPTIONS_H

#include <stdint.h>

#include "problem.h"

struct options {
    const char *input;          /* null: the microphone */
    const char *device;
    const char *model;          /* null: built in */
    const char *kernel;
    const char *exec;
    const char *save_audio;
    double save_limit_gb;
    double reconnect_s;         /* 0: not at all; infinity: for ever */
    double threshold;           /* negative: the model's */
    uint32_t sample_rate;       /* 0: the device's own */
    int small, arecord, list_devices, doctor, raw, realtime, plain, json, quiet, verbose, logits, self_test;
    int help, version;
};

/* Returns 0 or FAILED. Strings stay the arguments'. */
int options_parse(struct options *options, int argc, char **argv, struct problem *problem);

/* What --help prints. */
extern const char OPTIONS_HELP[];

#endif
