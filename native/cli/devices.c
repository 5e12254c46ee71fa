/* SPDX-License-Identifier: MIT */
#include "devices.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "alsa.h"
#include "arecord.h"

/* What is listed beside devices: conversions, and a source of silence. */
static int is_no_device(const char *name)
{
    static const char *const known[] = {"null",  "jack",      "oss",   "lavrate", "samplerate",
                                        "speex", "speexrate", "upmix", "vdownmix"};
    size_t i;

    for (i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(name, known[i]) == 0) {
            return 1;
        }
    }
    return 0;
}

/* A line that is not indented is a name; those behind it are its description, which becomes one line in place: each
 * begins behind an indentation of two at least, room for the comma. */
static int parse(struct device_list *list)
{
    char *line = list->memory, *out = line;
    size_t lines = 1;
    const char *p;

    for (p = list->memory; *p != '\0'; p++) {
        lines += *p == '\n';
    }
    list->devices = calloc(lines, sizeof *list->devices);
    if (list->devices == NULL) {
        return FAILED;
    }
    while (*line != '\0') {
        const size_t length = strcspn(line, "\n"), indent = strspn(line, " \t");
        char *next = line + length + (line[length] == '\n');

        line[length] = '\0';
        if (indent == 0 && length > 0) {
            list->devices[list->count].name = line;
            list->devices[list->count++].text = out = line + length;
        } else if (list->count > 0 && indent >= 2) {
            struct device *last = list->devices + list->count - 1;

            if (*last->text == '\0') {
                last->text = out = line + indent;
                out += strlen(out);
            } else {
                memcpy(out, ", ", 2);
                memmove(out + 2, line + indent, length - indent + 1);
                out += length - indent + 2;
            }
        }
        line = next;
    }
    return 0;
}

void devices_release(struct device_list *list)
{
    free(list->devices);
    free(list->memory);
}

int devices_read(struct device_list *list, int through_arecord, int verbose, struct problem *problem)
{
    size_t i, kept = 0;

    memset(list, 0, sizeof *list);
    if (!through_arecord && alsa_is_there(verbose)) {
        list->memory = alsa_list();
    } else {
        list->memory = arecord_list(problem);
        if (list->memory == NULL) {
            return FAILED;
        }
    }
    if (list->memory != NULL && parse(list) != 0) {
        devices_release(list);
        return problem_set(problem, "no memory for the list of devices");
    }
    for (i = 0; i < list->count; i++) {
        if (!is_no_device(list->devices[i].name)) {
            list->devices[kept++] = list->devices[i];
        }
    }
    list->count = kept;
    if (kept == 0) {
        devices_release(list);
        return problem_set(problem, "no input device found: plug a microphone in, check `arecord -l`, and that your "
                                    "user is in group audio (or recognize a file with -i FILE.wav)");
    }
    return 0;
}

/* Letters, digits and underscores, a colon, and something without blanks. */
static int is_alsa_name(const char *text)
{
    const char *colon = strchr(text, ':'), *p;

    if (colon == NULL || colon[1] == '\0' || !isalpha((unsigned char)text[0])) {
        return 0;
    }
    for (p = text; p < colon; p++) {
        if (!isalnum((unsigned char)*p) && *p != '_') {
            return 0;
        }
    }
    return strpbrk(colon + 1, " \t\r\n") == NULL;
}

static int has_part(const char *text, const char *part)
{
    return strcasestr(text, part) != NULL;
}

/* One card has many names; plughw: converts what the hardware does not do. Returns the number of those found. */
static size_t search(const struct device_list *list, const char *part, int plughw_only, const char **name_out)
{
    size_t i, found = 0;

    for (i = 0; i < list->count; i++) {
        const struct device *device = list->devices + i;

        if ((has_part(device->name, part) || has_part(device->text, part)) &&
            (!plughw_only || strncmp(device->name, "plughw:", 7) == 0)) {
            *name_out = device->name;
            found++;
        }
    }
    return found;
}

char *devices_find(const char *wanted, int through_arecord, int verbose, struct problem *problem)
{
    const char *name = NULL;
    size_t i, found = 0, digits;
    struct device_list list;
    char *result;

    if (wanted == NULL || is_alsa_name(wanted)) {
        result = strdup(wanted == NULL ? "default" : wanted);
        if (result == NULL) {
            problem_set(problem, "no memory");
        }
        return result;
    }
    if (devices_read(&list, through_arecord, verbose, problem) != 0) {
        return NULL;
    }
    digits = strspn(wanted, "0123456789");
    if (digits > 0 && digits < 5 && wanted[digits] == '\0' && (size_t)atoi(wanted) < list.count) {
        name = list.devices[atoi(wanted)].name;
        found = 1;
    }
    for (i = 0; i < list.count && found == 0; i++) {
        if (strcmp(list.devices[i].name, wanted) == 0) {
            name = wanted;
            found = 1;
        }
    }
    if (found == 0 && (digits == 0 || wanted[digits] != '\0')) {
        found = search(&list, wanted, 1, &name);
        found = found > 0 ? found : search(&list, wanted, 0, &name);
    }
    result = found == 1 ? strdup(name) : NULL;
    devices_release(&list);
    if (result == NULL) {
        problem_set(problem, "%s called '%s' by ALSA: choose one with --device; --list-devices shows them",
                    found > 1 ? "several are" : "none is", wanted);
    }
    return result;
}
