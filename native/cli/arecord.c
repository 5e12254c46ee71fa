/* SPDX-License-Identifier: MIT */
#include "arecord.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "interrupt.h"
#include "process.h"

enum { PIPE_BYTES = 1 << 20, LIST_BYTES = 1 << 16, WAIT_MS = 20, BIT_AUDIO = 1, BIT_MESSAGES = 2 };
static const double START_S = 5.0;
/* Its messages are read: they must be in English. */
static const char *const ENGLISH[] = {"LC_ALL=C", NULL};

int arecord_find(char *path_out, size_t size, struct problem *problem)
{
    if (!process_find("arecord", path_out, size)) {
        return problem_set(problem, "arecord is missing: sudo apt install alsa-utils");
    }
    return 0;
}

char *arecord_list(struct problem *problem)
{
    char path[4096], *text = malloc(LIST_BYTES);
    char *arguments[] = {path, "-L", NULL};
    size_t used = 0;
    pid_t process;
    int ends[2];

    if (text == NULL || arecord_find(path, sizeof path, problem) != 0 || pipe2(ends, O_CLOEXEC) != 0) {
        free(text);
        return NULL;
    }
    process = process_start(path, arguments, ENGLISH, -1, ends[1], -1);
    close(ends[1]);
    if (process < 0) {
        problem_set(problem, "%s cannot be started: %s", path, strerror(errno));
        close(ends[0]);
        free(text);
        return NULL;
    }
    while (used < LIST_BYTES - 1 && wait_readable(ends[0], -1, WAIT_FOR_EVER) != INTERRUPTED) {
        const ssize_t got = read(ends[0], text + used, LIST_BYTES - 1 - used);

        if (got == 0 || (got < 0 && errno != EINTR)) {
            break;
        }
        used += got > 0 ? (size_t)got : 0;
    }
    text[used] = '\0';
    close(ends[0]);
    process_end(process);
    return text;
}

static void take_message(arecord_input *input)
{
    static const char overrun[] = "overrun!!! (at least ";
    double lost_ms;

    input->line[input->line_length] = '\0';
    input->line_length = 0;
    if (strncmp(input->line, "overrun!!!", 10) == 0) {
        input->overflows++;
        lost_ms = 0.0;
        if (strncmp(input->line, overrun, sizeof overrun - 1) == 0) {
            lost_ms = strtod(input->line + sizeof overrun - 1, NULL);
        }
        if (lost_ms > 0.0 && lost_ms < 1e9) {
            input->lost_frames += (uint64_t)(lost_ms * input->sample_rate / 1000.0);
        }
    } else if (strncmp(input->line, "arecord: ", 9) == 0 || strstr(input->line, "rate is not accurate") != NULL) {
        memcpy(input->last_line, input->line, sizeof input->line);
    }
}

/* What has come by the second pipe. Returns 0 at its end. */
static int read_messages(arecord_input *input)
{
    char text[256];
    const ssize_t got = read(input->messages, text, sizeof text);
    ssize_t i;

    if (got <= 0) {
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) {
            return 1;
        }
        if (input->line_length > 0) {
            take_message(input);
        }
        return 0;
    }
    for (i = 0; i < got; i++) {
        if (text[i] == '\n') {
            take_message(input);
        } else if (input->line_length < sizeof input->line - 1) {
            input->line[input->line_length++] = text[i];
        }
    }
    return 1;
}

/* No more audio will come: why? */
static int ended(arecord_input *input)
{
    int status = 0;

    while (wait_readable(input->messages, -1, 1000) == 1 && read_messages(input)) {
    }
    if (input->last_line[0] != '\0') {
        memcpy(input->reason, input->last_line, sizeof input->reason);
    } else if (process_wait(input->process, &status)) {
        input->process = 0;
        snprintf(input->reason, sizeof input->reason, "arecord ended with status %d",
                 WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
    } else {
        snprintf(input->reason, sizeof input->reason, "arecord ended");
    }
    return FAILED;
}

long arecord_read(arecord_input *input, uint8_t *data, size_t frames, int timeout_ms)
{
    const size_t frame_bytes = 2 * input->channels;
    const int ready = wait_readable(input->audio, input->messages, timeout_ms);
    size_t bytes = input->rest_bytes;
    ssize_t got;

    if (ready == INTERRUPTED) {
        return INTERRUPTED;
    }
    if ((ready & BIT_MESSAGES) != 0 && !read_messages(input) && (ready & BIT_AUDIO) == 0) {
        return ended(input);
    }
    if ((ready & BIT_AUDIO) == 0) {
        return 0;
    }
    memcpy(data, input->rest, bytes);
    got = read(input->audio, data + bytes, frames * frame_bytes - bytes);
    if (got < 0) {
        return errno == EINTR || errno == EAGAIN ? 0 : ended(input);
    }
    if (got == 0) {
        return ended(input);
    }
    bytes += (size_t)got;
    input->rest_bytes = bytes % frame_bytes;
    memcpy(input->rest, data + bytes - input->rest_bytes, input->rest_bytes);
    return (long)(bytes / frame_bytes);
}

static int start(arecord_input *input, const char *program, const char *pcm, uint32_t rate, uint32_t channels,
                 struct problem *problem)
{
    char name[8] = "arecord", rate_text[16], channels_text[16];
    int audio[2], messages[2];
    char *arguments[] = {name, "-D", (char *)(size_t)pcm, "-t", "raw", "-f", "S16_LE", "-r", rate_text, "-c",
                         channels_text, "--period-time=20000", "--buffer-time=500000", NULL};

    input->sample_rate = rate;
    input->channels = channels;
    input->rest_bytes = input->line_length = 0;
    input->last_line[0] = '\0';
    snprintf(rate_text, sizeof rate_text, "%u", (unsigned)rate);
    snprintf(channels_text, sizeof channels_text, "%u", (unsigned)channels);
    if (pipe2(audio, O_CLOEXEC) != 0) {
        return problem_set(problem, "arecord: no pipe: %s", strerror(errno));
    }
    if (pipe2(messages, O_CLOEXEC) != 0) {
        close(audio[0]);
        close(audio[1]);
        return problem_set(problem, "arecord: no pipe: %s", strerror(errno));
    }
    fcntl(audio[0], F_SETPIPE_SZ, PIPE_BYTES);      /* may be refused: then it is smaller */
    input->process = process_start(program, arguments, ENGLISH, -1, audio[1], messages[1]);
    close(audio[1]);
    close(messages[1]);
    input->audio = audio[0];
    input->messages = messages[0];
    if (input->process < 0) {
        problem_set(problem, "%s cannot be started: %s", program, strerror(errno));
        input->process = 0;
        arecord_close(input);
        return FAILED;
    }
    return 0;
}

/* Returns 1 when audio is there, 0 if it will not come so, or INTERRUPTED. A message about the rate precedes it. */
static int wait_for_audio(arecord_input *input)
{
    const double until_s = clock_s() + START_S;

    while (clock_s() < until_s) {
        const int ready = wait_readable(input->audio, input->messages, WAIT_MS);
        int waiting = 0;

        if (ready == INTERRUPTED) {
            return INTERRUPTED;
        }
        if ((ready & BIT_MESSAGES) != 0 && read_messages(input)) {
            continue;
        }
        if ((ready & BIT_AUDIO) != 0) {
            if (ioctl(input->audio, FIONREAD, &waiting) != 0 || waiting <= 0) {
                return 0;
            }
            return strstr(input->last_line, "rate is not accurate") == NULL;
        }
    }
    return 0;
}

/* May another rate or number of channels do? */
static int is_about_format(const char *message)
{
    static const char *const known[] = {"non available", "rate is not accurate", "bad speed value",
                                        "Unable to install hw params"};
    size_t i;

    for (i = 0; i < sizeof known / sizeof *known; i++) {
        if (strstr(message, known[i]) != NULL) {
            return 1;
        }
    }
    return 0;
}

int arecord_open(arecord_input *input, const char *pcm, const uint32_t *rates, size_t rate_count,
                 struct problem *problem)
{
    char program[4096];
    size_t i;

    memset(input, 0, sizeof *input);
    input->audio = input->messages = -1;
    if (arecord_find(program, sizeof program, problem) != 0) {
        return FAILED;
    }
    for (i = 0; i < 2 * rate_count; i++) {
        int status;

        if (start(input, program, pcm, rates[i / 2], 1 + i % 2, problem) != 0) {
            return FAILED;
        }
        status = wait_for_audio(input);
        if (status == 1) {
            return 0;
        }
        if (status == 0) {
            ended(input);
        }
        arecord_close(input);
        if (status == INTERRUPTED) {
            return INTERRUPTED;
        }
        if (!is_about_format(input->last_line)) {
            break;
        }
    }
    return problem_set(problem,
                       "cannot record from '%s' (%s): `arecord -L` shows what there is; plughw: names take any rate",
                       pcm, input->last_line[0] != '\0' ? input->last_line : "arecord says nothing");
}

void arecord_close(arecord_input *input)
{
    if (input->process > 0) {
        process_end(input->process);
        input->process = 0;
    }
    if (input->audio >= 0) {
        close(input->audio);
        close(input->messages);
        input->audio = input->messages = -1;
    }
}
