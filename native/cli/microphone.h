/* SPDX-License-Identifier: MIT
 *
 * The microphone: heard through libasound or arecord, and found again after it was unplugged. */
#ifndef EDGE_DIGITS_MICROPHONE_H
#define EDGE_DIGITS_MICROPHONE_H

#include "alsa.h"
#include "arecord.h"
#include "problem.h"

enum { MICROPHONE_FRAMES = 4096 };     /* that are read at once, at most */

struct microphone {
    char *name;                 /* ALSA's */
    uint32_t sample_rate;       /* Hz; may be another after `microphone_reconnect` */
    uint32_t channels;
    int through_arecord;
    /* private */
    uint32_t wanted_rate;
    union {
        alsa_input alsa;
        arecord_input arecord;
    } input;
    int is_open;
    double last_s;              /* of the last audio */
    unsigned long overflows_before;     /* of inputs that have gone */
    uint64_t lost_before;
    uint8_t bytes[MICROPHONE_FRAMES * 4];
};

/* Open an input device: wanted as in `devices_find`, sample_rate in Hz or 0 for its own. arecord: even where libasound
 * is there. Returns 0, FAILED or INTERRUPTED; only after 0 it is to be closed. */
int microphone_open(struct microphone *microphone, const char *wanted, uint32_t sample_rate, int arecord,
                    int verbose, struct problem *problem);

/* Wait up to 20 ms for audio, the mean of the channels.
 *   mono     receives float [shape=(MICROPHONE_FRAMES)] at most
 * Returns the number of samples, 0 if none came; FAILED if the device has stopped, the problem says how; INTERRUPTED. */
long microphone_read(struct microphone *microphone, float *mono, struct problem *problem);

/* Wait until the lost device delivers audio again, looking for it every second, for so long. It is opened at the same
 * rate if it can be. Returns 0, FAILED or INTERRUPTED. */
int microphone_reconnect(struct microphone *microphone, double timeout_s, struct problem *problem);

/* Times that audio was lost because the program was held up for too long, and how many samples, at least. */
unsigned long microphone_overflows(const struct microphone *microphone);
unsigned long long microphone_lost(const struct microphone *microphone);

void microphone_close(struct microphone *microphone);

#endif
