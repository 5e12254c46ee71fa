/* SPDX-License-Identifier: MIT */
#include "hook.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "interrupt.h"
#include "process.h"

static const double TIMEOUT_S = 10.0;
enum { POLL_MS = 10, VALUES = 5, VALUE_SIZE = 352 };
static const char *const NAMES[VALUES] = {"word", "digit", "confidence", "start", "end"};

/* One argument of a command from *place on, its end in *place: quotes and backslashes as in a POSIX shell. Returns
 * where its text ends, which is no longer than what it is made of; null if a quotation is not closed. */
static char *split_argument(const char **place, char *out)
{
    const char *p = *place;
    char quote = '\0';

    for (; *p != '\0' && (quote != '\0' || strchr(" \t\r\n", *p) == NULL); p++) {
        if (quote != '\0' && *p == quote) {
            quote = '\0';
        } else if (quote == '\0' && (*p == '\'' || *p == '"')) {
            quote = *p;
        } else if (*p == '\\' && quote != '\'') {
            if (p[1] == '\0') {
                return NULL;
            }
            if (quote == '\0' || p[1] == '"' || p[1] == '\\') {
                p++;
            }
            *out++ = *p;
        } else {
            *out++ = *p;
        }
    }
    if (quote != '\0') {
        return NULL;
    }
    *out++ = '\0';
    *place = p;
    return out;
}

int hook_open(struct hook *hook, const char *command, int lossless, struct display *display,
              struct problem *problem)
{
    const char *place = command;
    char *out;

    memset(hook, 0, sizeof *hook);
    hook->lossless = lossless;
    hook->display = display;
    hook->text = out = malloc(2 * strlen(command) + 2);
    if (out == NULL) {
        return problem_set(problem, "--exec: no memory");
    }
    for (;;) {
        place += strspn(place, " \t\r\n");
        if (*place == '\0') {
            break;
        }
        if (hook->argument_count == HOOK_ARGUMENTS - 1) {
            return problem_set(problem, "--exec: expected at most %d arguments", HOOK_ARGUMENTS - 2);
        }
        hook->arguments[hook->argument_count++] = out;
        out = split_argument(&place, out);
        if (out == NULL) {
            return problem_set(problem, "--exec: '%s': No closing quotation; expected a program and its arguments",
                               command);
        }
    }
    if (hook->argument_count == 0) {
        return problem_set(problem, "--exec: expected a program and its arguments, found nothing");
    }
    if (!process_find(hook->arguments[0], hook->program, sizeof hook->program)) {
        return problem_set(problem, "--exec: no program '%s'; expected one in PATH, or a path to one",
                           hook->arguments[0]);
    }
    return 0;
}

/* What placeholders and environment variables stand for. */
static void fill_values(char (*values)[VALUE_SIZE], const heard_word *word)
{
    const int digit = digit_of(word->label);

    snprintf(values[0], VALUE_SIZE, "%s", word->label);
    if (digit >= 0) {
        snprintf(values[1], VALUE_SIZE, "%d", digit);
    }
    snprintf(values[2], VALUE_SIZE, "%.4f", (double)word->confidence);
    snprintf(values[3], VALUE_SIZE, "%.3f", word->start_s);
    snprintf(values[4], VALUE_SIZE, "%.3f", word->end_s);
}

/* Number of the placeholder that a text begins with, its length in *length_out; or -1. */
static int placeholder(const char *text, size_t *length_out)
{
    int i;

    for (i = 0; i < VALUES; i++) {
        const size_t length = strlen(NAMES[i]);

        if (text[0] == '{' && strncmp(text + 1, NAMES[i], length) == 0 && text[length + 1] == '}') {
            *length_out = length + 2;
            return i;
        }
    }
    return -1;
}

/* An argument with its placeholders replaced, to be freed, or null. *found_out becomes 1 if it had one. */
static char *replace(const char *argument, char (*values)[VALUE_SIZE], int *found_out)
{
    char *result = malloc(strlen(argument) * VALUE_SIZE / 4 + VALUE_SIZE), *out = result;
    size_t length;

    while (result != NULL && *argument != '\0') {
        const int which = placeholder(argument, &length);

        if (which < 0) {
            *out++ = *argument++;
            continue;
        }
        *found_out = 1;
        argument += length;
        length = strlen(values[which]);
        memcpy(out, values[which], length);
        out += length;
    }
    if (result != NULL) {
        *out = '\0';
    }
    return result;
}

/* Say it, the first time. */
static void report(struct hook *hook, const char *what)
{
    unsigned i;

    for (i = 0; i < hook->reported_count; i++) {
        if (strcmp(hook->reported[i], what) == 0) {
            return;
        }
    }
    if (hook->reported_count < HOOK_KINDS) {
        snprintf(hook->reported[hook->reported_count++], sizeof hook->reported[0], "%s", what);
    }
    display_note(hook->display, "--exec: %s %s", hook->program, what);
}

/* Start the command for a word. Whatever the word is, it stays within one argument, and does not make an option of it:
 * labels are whatever a model file says. */
static void start(struct hook *hook, const heard_word *word)
{
    char values[VALUES][VALUE_SIZE] = {""}, settings[VALUES][VALUE_SIZE + 32], what[80];
    const char *setting_list[VALUES + 1] = {NULL};
    char *arguments[HOOK_ARGUMENTS + 1] = {NULL};
    int i, found = 0, complete = 1, options = 1, refused = 0;

    fill_values(values, word);
    for (i = 0; i < VALUES; i++) {
        static const char *const upper[VALUES] = {"WORD", "DIGIT", "CONFIDENCE", "START", "END"};

        snprintf(settings[i], sizeof settings[i], "DIGIT_DEMO_%s=%.*s", upper[i], VALUE_SIZE - 1, values[i]);
        setting_list[i] = settings[i];
    }
    arguments[0] = hook->program;
    for (i = 1; i < hook->argument_count; i++) {
        arguments[i] = replace(hook->arguments[i], values, &found);
        complete &= arguments[i] != NULL;
    }
    if (!found) {
        arguments[i] = values[0];
    }
    for (i = 1; complete && arguments[i] != NULL; i++) {
        const char *written = i < hook->argument_count ? hook->arguments[i] : "";

        options &= strcmp(written, "--") != 0;
        refused |= options && arguments[i][0] == '-' && written[0] != '-';
    }
    hook->timed_out = 0;
    hook->until_s = clock_s() + TIMEOUT_S;
    hook->process = -1;
    if (refused) {
        report(hook, "is not run for words that begin with a dash, unless -- comes before them");
        hook->process = 0;
    } else if (complete) {
        hook->process = process_start(hook->program, arguments, setting_list, -1, STDERR_FILENO, STDERR_FILENO);
    }
    if (hook->process < 0) {
        snprintf(what, sizeof what, "does not start: %s", strerror(errno));
        report(hook, what);
        hook->process = 0;
    }
    for (i = 1; i < hook->argument_count; i++) {
        free(arguments[i]);
    }
}

void hook_poll(struct hook *hook)
{
    char what[80];
    int status;

    if (hook->process > 0) {
        const pid_t ended = waitpid(hook->process, &status, WNOHANG);

        if (ended == 0) {
            if (!hook->timed_out && clock_s() > hook->until_s) {
                kill(-hook->process, SIGKILL);
                hook->timed_out = 1;
            }
            return;
        }
        hook->process = 0;
        if (hook->timed_out) {
            snprintf(what, sizeof what, "took longer than %g s and was killed", TIMEOUT_S);
            report(hook, what);
        } else if (ended > 0 && WIFEXITED(status) && WEXITSTATUS(status) != 0) {
            snprintf(what, sizeof what, "ended with status %d", WEXITSTATUS(status));
            report(hook, what);
        } else if (ended > 0 && WIFSIGNALED(status)) {
            snprintf(what, sizeof what, "was ended by signal %d", WTERMSIG(status));
            report(hook, what);
        }
    }
    while (hook->count > 0 && hook->process == 0) {
        const heard_word word = hook->words[hook->first];

        hook->first = (hook->first + 1) % HOOK_WORDS;
        hook->count--;
        start(hook, &word);
    }
}

void hook_word(struct hook *hook, const heard_word *word)
{
    hook_poll(hook);
    while (hook->lossless && hook->count == HOOK_WORDS && !interrupt_came()) {
        wait_readable(-1, -1, POLL_MS);
        hook_poll(hook);
    }
    if (hook->count == HOOK_WORDS) {
        if (hook->dropped == 0) {
            display_note(hook->display, "--exec: words come faster than the command ends: words are dropped");
        }
        hook->dropped++;
        return;
    }
    hook->words[(hook->first + hook->count++) % HOOK_WORDS] = *word;
    hook_poll(hook);
}

void hook_close(struct hook *hook)
{
    const double until_s = clock_s() + TIMEOUT_S;

    for (hook_poll(hook); hook->process > 0; hook_poll(hook)) {
        if (clock_s() > until_s) {
            hook->dropped += hook->count;
            hook->count = 0;
            kill(-hook->process, SIGKILL);
        }
        usleep(POLL_MS * 1000);
    }
    if (hook->dropped > 0) {
        display_note(hook->display, "--exec: %lu words were dropped", hook->dropped);
    }
    free(hook->text);
    hook->text = NULL;
}
