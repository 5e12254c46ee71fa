/* SPDX-License-Identifier: MIT */
#include "alsa.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "interrupt.h"

/* Of asoundlib.h, which need not be installed. */
enum { STREAM_CAPTURE = 1, OPEN_NONBLOCK = 1, ACCESS_RW_INTERLEAVED = 3, FORMAT_S16_LE = 2 };
enum { PERIOD_US = 20000, BUFFER_US = 500000, WAIT_MS = 20 };
static const double START_S = 3.0;

typedef void error_handler(const char *file, int line, const char *function, int code, const char *format, ...);

/* The functions in use, in the order of NAMES. */
static struct {
    int (*set_error_handler)(error_handler *handler);
    const char *(*text)(int code);
    int (*hints)(int card, const char *interface, void ***hints_out);
    char *(*hint)(const void *hint, const char *id);
    int (*free_hints)(void **hints);
    int (*open)(void **pcm_out, const char *name, int stream, int mode);
    int (*close)(void *pcm);
    int (*start)(void *pcm);
    int (*prepare)(void *pcm);
    int (*resume)(void *pcm);
    int (*wait)(void *pcm, int timeout_ms);
    long (*read)(void *pcm, void *data, unsigned long frames);
    int (*new_params)(void **params_out);
    void (*free_params)(void *params);
    int (*any)(void *pcm, void *params);
    int (*set_resample)(void *pcm, void *params, unsigned on);
    int (*set_access)(void *pcm, void *params, int access);
    int (*set_format)(void *pcm, void *params, int format);
    int (*set_channels)(void *pcm, void *params, unsigned channels);
    int (*set_rate)(void *pcm, void *params, unsigned rate, int direction);
    int (*set_period)(void *pcm, void *params, unsigned *us, int *direction);
    int (*set_buffer)(void *pcm, void *params, unsigned *us, int *direction);
    int (*set_params)(void *pcm, void *params);
} alsa;

static const char *const NAMES[] = {
    "snd_lib_error_set_handler",
    "snd_strerror",
    "snd_device_name_hint",
    "snd_device_name_get_hint",
    "snd_device_name_free_hint",
    "snd_pcm_open",
    "snd_pcm_close",
    "snd_pcm_start",
    "snd_pcm_prepare",
    "snd_pcm_resume",
    "snd_pcm_wait",
    "snd_pcm_readi",
    "snd_pcm_hw_params_malloc",
    "snd_pcm_hw_params_free",
    "snd_pcm_hw_params_any",
    "snd_pcm_hw_params_set_rate_resample",
    "snd_pcm_hw_params_set_access",
    "snd_pcm_hw_params_set_format",
    "snd_pcm_hw_params_set_channels",
    "snd_pcm_hw_params_set_rate",
    "snd_pcm_hw_params_set_period_time_near",
    "snd_pcm_hw_params_set_buffer_time_near",
    "snd_pcm_hw_params",
};
enum { NAME_COUNT = sizeof NAMES / sizeof *NAMES };
_Static_assert(sizeof alsa == NAME_COUNT * sizeof(void *), "a name for every function");

static void say_nothing(const char *file, int line, const char *function, int code, const char *format, ...)
{
    (void)file;
    (void)line;
    (void)function;
    (void)code;
    (void)format;
}

int alsa_is_there(int verbose)
{
    static int tried, found;
    void *library, *address;
    size_t i;

    if (tried) {
        return found;
    }
    tried = 1;
    library = dlopen("libasound.so.2", RTLD_NOW);
    if (library == NULL) {
        return 0;
    }
    for (i = 0; i < NAME_COUNT; i++) {
        address = dlsym(library, NAMES[i]);
        if (address == NULL) {
            return 0;
        }
        memcpy((char *)&alsa + i * sizeof address, &address, sizeof address);
    }
    if (!verbose) {
        alsa.set_error_handler(say_nothing);
    }
    found = 1;
    return 1;
}

/* A line of the list, or an indented one of a description for every line in it. */
static void print_hint(FILE *out, const void *hint)
{
    char *name = alsa.hint(hint, "NAME"), *text = alsa.hint(hint, "DESC"), *direction = alsa.hint(hint, "IOID");
    char *line, *rest = NULL;

    if (name != NULL && (direction == NULL || strcmp(direction, "Input") == 0)) {
        fprintf(out, "%s\n", name);
        for (line = text; line != NULL && (line = strtok_r(line, "\n", &rest)) != NULL; line = rest) {
            fprintf(out, "    %s\n", line);
        }
    }
    free(name);
    free(text);
    free(direction);
}

char *alsa_list(void)
{
    char *text = NULL;
    size_t size = 0, i;
    void **hints;
    FILE *out;

    if (alsa.hints(-1, "pcm", &hints) != 0) {
        return NULL;
    }
    out = open_memstream(&text, &size);
    for (i = 0; out != NULL && hints[i] != NULL; i++) {
        print_hint(out, hints[i]);
    }
    alsa.free_hints(hints);
    if (out != NULL) {
        fclose(out);
    }
    return text;
}

/* Returns 0 or ALSA's code. */
static int set_params(void *pcm, unsigned rate, unsigned channels, unsigned resample)
{
    unsigned period_us = PERIOD_US, buffer_us = BUFFER_US;
    void *params;
    int code = alsa.new_params(&params);

    if (code < 0) {
        return code;
    }
    if ((code = alsa.any(pcm, params)) >= 0 && (code = alsa.set_resample(pcm, params, resample)) >= 0 &&
        (code = alsa.set_access(pcm, params, ACCESS_RW_INTERLEAVED)) >= 0 &&
        (code = alsa.set_format(pcm, params, FORMAT_S16_LE)) >= 0 &&
        (code = alsa.set_channels(pcm, params, channels)) >= 0 &&
        (code = alsa.set_rate(pcm, params, rate, 0)) >= 0 &&
        (code = alsa.set_period(pcm, params, &period_us, NULL)) >= 0 &&
        (code = alsa.set_buffer(pcm, params, &buffer_us, NULL)) >= 0) {
        code = alsa.set_params(pcm, params);
    }
    alsa.free_params(params);
    return code < 0 ? code : 0;
}

/* The device's own rates before those that the library would convert. */
static int choose_params(alsa_input *input, const uint32_t *rates, size_t rate_count)
{
    int code = -EINVAL;
    size_t i;

    for (i = 0; i < 4 * rate_count; i++) {
        input->sample_rate = rates[i / 2 % rate_count];
        input->channels = 1 + i % 2;
        code = set_params(input->pcm, input->sample_rate, input->channels, i >= 2 * rate_count);
        if (code == 0) {
            break;
        }
    }
    return code;
}

int alsa_open(alsa_input *input, const char *pcm, const uint32_t *rates, size_t rate_count, struct problem *problem)
{
    int code;

    memset(input, 0, sizeof *input);
    code = alsa.open(&input->pcm, pcm, STREAM_CAPTURE, OPEN_NONBLOCK);
    if (code < 0) {
        return problem_set(problem, "cannot record from '%s' (ALSA: %s): --list-devices shows what there is", pcm,
                           code == -EBUSY ? "another program is using it" : alsa.text(code));
    }
    code = choose_params(input, rates, rate_count);
    if (code == 0) {
        code = alsa.start(input->pcm);
    }
    if (code < 0) {
        problem_set(problem, "cannot record from '%s' (ALSA: %s): plughw: names take any rate", pcm,
                    alsa.text(code));
        alsa_close(input);
        return FAILED;
    }
    input->last_s = clock_s();
    while (alsa.wait(input->pcm, WAIT_MS) == 0) {
        if (interrupt_came()) {
            alsa_close(input);
            return INTERRUPTED;
        }
        if (clock_s() - input->last_s > START_S) {
            problem_set(problem, "cannot record from '%s' (ALSA: it delivers nothing)", pcm);
            alsa_close(input);
            return FAILED;
        }
    }
    return 0;
}

/* All that waited is lost, and what came meanwhile. */
static int recover(alsa_input *input, int code)
{
    if (code == -ESTRPIPE && alsa.resume(input->pcm) == 0) {
        return 0;
    }
    input->overflows++;
    input->lost_frames += (uint64_t)((clock_s() - input->last_s) * input->sample_rate);
    input->last_s = clock_s();
    code = alsa.prepare(input->pcm);
    return code < 0 ? code : alsa.start(input->pcm);
}

long alsa_read(alsa_input *input, uint8_t *data, size_t frames, int timeout_ms)
{
    long got;

    if (interrupt_came()) {
        return INTERRUPTED;
    }
    got = alsa.wait(input->pcm, timeout_ms);
    if (interrupt_came()) {
        return INTERRUPTED;
    }
    if (got == 0 || got == -EINTR) {
        return 0;
    }
    if (got > 0) {
        got = alsa.read(input->pcm, data, frames);
    }
    if (got > 0) {
        input->last_s = clock_s();
        return got;
    }
    if (got == -EAGAIN || got == 0) {
        return 0;
    }
    if (got == -EPIPE || got == -ESTRPIPE) {
        got = recover(input, (int)got);
    }
    if (got < 0) {
        snprintf(input->reason, sizeof input->reason, "ALSA: %s", alsa.text((int)got));
        return FAILED;
    }
    return 0;
}

void alsa_close(alsa_input *input)
{
    if (input->pcm != NULL) {
        alsa.close(input->pcm);
        input->pcm = NULL;
    }
}
