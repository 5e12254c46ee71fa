/* SPDX-License-Identifier: MIT */
#include "doctor.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "alsa.h"
#include "arecord.h"
#include "devices.h"
#include "interrupt.h"
#include "level.h"
#include "microphone.h"

static const double LISTEN_S = 2.0, CLIPPED = 1e-3, LOUD_DB = -20.0, FAINT_DB = -70.0, OFFSET = 0.02;
enum { MOST_SAMPLES = 192000 * 3 };
#define GAIN_ADVICE "`alsamixer`, F6 for the card, F4 for capture; or `pactl set-source-volume @DEFAULT_SOURCE@ 80%`"
#define MUTE_ADVICE \
    "`alsamixer`, F6, F4, space or M; or `pactl set-source-mute @DEFAULT_SOURCE@ 0`; or a switch on it; or -d another"

/* A finding, and what to do about it; advice may be null. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
static void finding(const char *kind, const char *advice, const char *format, ...)
{
    va_list arguments;

    printf("%-8s ", kind);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    if (advice != NULL) {
        printf("         do: %s\n", advice);
    }
    fflush(stdout);
}

static int examine_program(const model_file *file, const char *kernel, struct problem *problem)
{
    er_model_info info;
    er_model *model;

    if (model_file_make(file, kernel, &model, problem) != 0) {
        return FAILED;
    }
    er_model_describe(model, &info);
    finding("OK", NULL, "edge-digits %s, %s, kernel %s", er_version(), file->name, info.kernel);
    er_model_destroy(model);
    return 0;
}

static int examine_ways(int verbose)
{
    const int library = alsa_is_there(verbose);
    struct problem reason;
    char path[4096];
    int problems = 0;

    finding(library ? "OK" : "note", NULL, "%s",
            library ? "libasound" : "no libasound in this program: arecord is used");
    if (arecord_find(path, sizeof path, &reason) == 0) {
        finding("OK", NULL, "arecord, %s", path);
    } else if (library) {
        finding("note", NULL, "%s", reason.text);
    } else {
        finding("PROBLEM", "sudo apt install alsa-utils", "arecord is missing");
        problems = 1;
    }
    return problems;
}

/* Devices of the kernel to record from: "pcmC1D0c". */
static int examine_cards(void)
{
    DIR *folder = opendir("/dev/snd");
    struct dirent *entry;
    char path[300];
    int found = 0, problems = 0;

    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        const size_t length = strlen(entry->d_name);

        if (strncmp(entry->d_name, "pcmC", 4) != 0 || entry->d_name[length - 1] != 'c') {
            continue;
        }
        found = 1;
        snprintf(path, sizeof path, "/dev/snd/%s", entry->d_name);
        if (access(path, R_OK | W_OK) == 0) {
            finding("OK", NULL, "this user may open %s", path);
        } else {
            finding("PROBLEM", "sudo usermod -aG audio $USER; then log out and in again",
                    "this user may not open %s", path);
            problems++;
        }
    }
    if (folder != NULL) {
        closedir(folder);
    }
    if (!found) {
        finding("note",
                "plug a microphone in; `arecord -l` lists it then. A virtual machine or container must be given one",
                "no sound card with an input (nothing to record from in /dev/snd)");
    }
    return problems;
}

static void examine_devices(const struct options *options)
{
    struct device_list list;
    struct problem reason;
    size_t i;

    if (devices_read(&list, options->arecord, options->verbose, &reason) != 0) {
        finding("note", NULL, "ALSA lists no input device");
        return;
    }
    for (i = 0; i < list.count; i++) {
        finding("OK", NULL, "device %u: %s (%s)", (unsigned)i, list.devices[i].name, list.devices[i].text);
    }
    devices_release(&list);
}

/* Say what a level means. */
static int judge(const struct level *heard)
{
    char text[160];
    int problems = 0;

    if (heard->is_silent) {
        finding("PROBLEM", MUTE_ADVICE, "digital silence: it is muted, or the wrong device");
        return 1;
    }
    snprintf(text, sizeof text, "level: peak %.0f dBFS, RMS %.0f dBFS, DC offset %+.4f", heard->peak_db, heard->rms_db,
             heard->offset);
    if (heard->clipped > CLIPPED) {
        finding("PROBLEM", "lower the gain: " GAIN_ADVICE, "%s; %.1f %% of it is clipped", text,
                100.0 * heard->clipped);
        problems = 1;
    } else if (heard->rms_db > LOUD_DB) {
        finding("note", "lower the gain: " GAIN_ADVICE, "%s: very loud", text);
    } else if (heard->peak_db < FAINT_DB) {
        finding("note", "if you spoke, raise the gain: " GAIN_ADVICE, "%s: very faint", text);
    } else {
        finding("OK", NULL, "%s", text);
    }
    if (heard->offset > OFFSET || heard->offset < -OFFSET) {
        finding("note", NULL, "the DC offset is large: harmless here, but a sign of bad hardware");
    }
    return problems;
}

/* Two seconds. samples: room for MOST_SAMPLES and a block. Returns their number, FAILED or INTERRUPTED. */
static long listen(struct microphone *microphone, float *samples, struct problem *problem)
{
    const double began_s = clock_s();
    size_t count = 0;

    while (clock_s() - began_s < LISTEN_S && count < MOST_SAMPLES) {
        const long got = microphone_read(microphone, samples + count, problem);

        if (got < 0) {
            return got;
        }
        count += (size_t)got;
    }
    return (long)count;
}

static int examine_microphone(const struct options *options, struct problem *problem)
{
    static struct microphone microphone;
    float *samples = malloc((MOST_SAMPLES + MICROPHONE_FRAMES) * sizeof *samples);
    struct level heard;
    int status;
    long count;

    if (samples == NULL) {
        return problem_set(problem, "no memory to listen");
    }
    status = microphone_open(&microphone, options->device, options->sample_rate, options->arecord, options->verbose,
                             problem);
    if (status == 0) {
        finding("OK", NULL, "'%s' opened through %s: %u Hz, %u channels", microphone.name,
                microphone.through_arecord ? "arecord" : "libasound", (unsigned)microphone.sample_rate,
                (unsigned)microphone.channels);
        fprintf(stderr, "listening for %.0f s: say something\n", LISTEN_S);
        count = listen(&microphone, samples, problem);
        status = count < 0 ? (int)count : 0;
        if (status == 0 && microphone_overflows(&microphone) > 0) {
            finding("note", "close what keeps the computer busy", "%llu samples dropped, %lu overflows in the system",
                    microphone_lost(&microphone), microphone_overflows(&microphone));
        }
        if (status == 0 && count > 0) {
            heard = level_of(samples, (size_t)count);
            status = judge(&heard);
        }
        microphone_close(&microphone);
    }
    free(samples);
    if (status == FAILED) {
        finding("PROBLEM", NULL, "%s", problem->text);
        status = 1;
    }
    return status;
}

int doctor(const model_file *file, const struct options *options, struct problem *problem)
{
    int problems = 0, status = examine_program(file, options->kernel, problem);

    if (status != 0) {
        return status;
    }
    problems = examine_ways(options->verbose) + examine_cards();
    examine_devices(options);
    status = examine_microphone(options, problem);
    if (status < 0) {
        return status;
    }
    if (problems + status == 0) {
        finding("OK", NULL, "nothing keeps digits from being heard");
    }
    return problems + status > 0;
}
