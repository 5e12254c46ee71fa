/* SPDX-License-Identifier: MIT */
#include "microphone.h"

#include <stdlib.h>
#include <string.h>

#include "devices.h"
#include "interrupt.h"
#include "samples.h"

enum { POLL_MS = 20 };
static const double SILENT_DEVICE_S = 3.0;      /* without a single block: the device is gone */
static const double RETRY_S = 1.0;

static void close_input(struct microphone *microphone)
{
    microphone->overflows_before = microphone_overflows(microphone);
    microphone->lost_before = microphone_lost(microphone);
    if (microphone->is_open && microphone->through_arecord) {
        arecord_close(&microphone->input.arecord);
    } else if (microphone->is_open) {
        alsa_close(&microphone->input.alsa);
    }
    microphone->is_open = 0;
}

/* The rate that is asked for; or the one that the device had, and the usual ones. */
static int open_input(struct microphone *microphone, struct problem *problem)
{
    const uint32_t usual[] = {microphone->sample_rate, 48000, 44100, 16000};
    const uint32_t *rates = microphone->sample_rate == 0 ? usual + 1 : usual;
    const size_t count = microphone->wanted_rate != 0 ? 1 : microphone->sample_rate == 0 ? 3 : 4;
    int status;

    if (microphone->wanted_rate != 0) {
        rates = &microphone->wanted_rate;
    }
    if (microphone->through_arecord) {
        status = arecord_open(&microphone->input.arecord, microphone->name, rates, count, problem);
    } else {
        status = alsa_open(&microphone->input.alsa, microphone->name, rates, count, problem);
    }
    if (status == 0) {
        const arecord_input *arecord = &microphone->input.arecord;
        const alsa_input *alsa = &microphone->input.alsa;

        microphone->is_open = 1;
        microphone->sample_rate = microphone->through_arecord ? arecord->sample_rate : alsa->sample_rate;
        microphone->channels = microphone->through_arecord ? arecord->channels : alsa->channels;
        microphone->last_s = clock_s();
    }
    return status;
}

int microphone_open(struct microphone *microphone, const char *wanted, uint32_t sample_rate, int arecord,
                    int verbose, struct problem *problem)
{
    int status;

    memset(microphone, 0, sizeof *microphone);
    microphone->wanted_rate = sample_rate;
    microphone->through_arecord = arecord || !alsa_is_there(verbose);
    microphone->name = devices_find(wanted, arecord, verbose, problem);
    if (microphone->name == NULL) {
        return interrupt_came() ? INTERRUPTED : FAILED;
    }
    status = open_input(microphone, problem);
    if (status != 0) {
        microphone_close(microphone);
    }
    return status;
}

long microphone_read(struct microphone *microphone, float *mono, struct problem *problem)
{
    float frame[2];
    char reason[256];
    long got;

    if (microphone->through_arecord) {
        got = arecord_read(&microphone->input.arecord, microphone->bytes, MICROPHONE_FRAMES, POLL_MS);
    } else {
        got = alsa_read(&microphone->input.alsa, microphone->bytes, MICROPHONE_FRAMES, POLL_MS);
    }
    if (got > 0) {
        microphone->last_s = clock_s();
        samples_to_mono(microphone->bytes, (size_t)got, microphone->channels, SAMPLE_S16, frame, mono);
        return got;
    }
    if (got == FAILED) {
        memcpy(reason,
               microphone->through_arecord ? microphone->input.arecord.reason : microphone->input.alsa.reason,
               sizeof reason);
    } else if (got == 0 && clock_s() - microphone->last_s > SILENT_DEVICE_S) {
        strcpy(reason, "nothing for 3 s");
    } else {
        return got;
    }
    return problem_set(problem, "'%s' stopped delivering audio (%s): was it unplugged? See --list-devices",
                       microphone->name, reason);
}

int microphone_reconnect(struct microphone *microphone, double timeout_s, struct problem *problem)
{
    const double until_s = clock_s() + timeout_s;

    for (;;) {
        double left_s;
        int status;

        close_input(microphone);
        status = open_input(microphone, problem);
        if (status != FAILED) {
            return status;
        }
        left_s = until_s - clock_s();
        if (left_s <= 0.0) {
            return problem_set(problem, "'%s' did not come back within %g s", microphone->name, timeout_s);
        }
        if (wait_readable(-1, -1, (int)(1000.0 * (left_s < RETRY_S ? left_s : RETRY_S)) + 1) == INTERRUPTED) {
            return INTERRUPTED;
        }
    }
}

unsigned long microphone_overflows(const struct microphone *microphone)
{
    unsigned long now = 0;

    if (microphone->is_open) {
        now = microphone->through_arecord ? microphone->input.arecord.overflows : microphone->input.alsa.overflows;
    }
    return microphone->overflows_before + now;
}

unsigned long long microphone_lost(const struct microphone *microphone)
{
    uint64_t now = 0;

    if (microphone->is_open) {
        now = microphone->through_arecord ? microphone->input.arecord.lost_frames : microphone->input.alsa.lost_frames;
    }
    return microphone->lost_before + now;
}

void microphone_close(struct microphone *microphone)
{
    close_input(microphone);
    free(microphone->name);
    microphone->name = NULL;
}
