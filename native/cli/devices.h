/* SPDX-License-Identifier: MIT
 *
 * What can be recorded from: numbers, names and descriptions. */
#ifndef EDGE_DIGITS_DEVICES_H
#define EDGE_DIGITS_DEVICES_H

#include <stddef.h>

#include "problem.h"

struct device {
    const char *name;       /* ALSA's */
    char *text;             /* description, one line */
};

struct device_list {
    char *memory;
    struct device *devices;
    size_t count;
};

/* What there is, as libasound tells, or `arecord -L`; at least one. Only after 0 it is to be released. */
int devices_read(struct device_list *list, int through_arecord, int verbose, struct problem *problem);

void devices_release(struct device_list *list);

/* ALSA's name of the device that is meant by a number of that list, a name, a part of a name or description, or an
 * ALSA device string such as plughw:CARD=Webcam,DEV=0; null: the default. To be freed; null with a problem. */
char *devices_find(const char *wanted, int through_arecord, int verbose, struct problem *problem);

#endif
