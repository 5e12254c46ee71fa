/* SPDX-License-Identifier: MIT */
#include "recording.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const double LEAST_LIMIT_BYTES = 1e7, FILE_S = 3600.0, PAUSE_S = 0.5;
static const double FILES = 4.0;    /* at least so many fit into the limit: the oldest goes when a new one begins */
static const double LATE = 1.05;    /* a file ends at this share of its length even without a pause */
enum { HEADER_BYTES = 58 };

static void put_u32(uint8_t *p, uint32_t value)
{
    p[0] = (uint8_t)value;
    p[1] = (uint8_t)(value >> 8);
    p[2] = (uint8_t)(value >> 16);
    p[3] = (uint8_t)(value >> 24);
}

/* The header, which says how many samples there are. They are there before it says so. */
static int state_size(struct recording *recording)
{
    uint8_t header[HEADER_BYTES] = "RIFF....WAVEfmt \x12\0\0\0\x03\0\x01\0........\x04\0\x20\0\0\0fact\x04\0\0\0....data";
    const uint32_t size = (uint32_t)recording->size_bytes;

    put_u32(header + 4, size + HEADER_BYTES - 8);
    put_u32(header + 24, recording->sample_rate);
    put_u32(header + 28, 4 * recording->sample_rate);
    put_u32(header + 46, size / 4);
    put_u32(header + 54, size);
    recording->stated_bytes = recording->size_bytes;
    if (fflush(recording->audio) != 0 || fseek(recording->audio, 0, SEEK_SET) != 0 ||
        fwrite(header, 1, sizeof header, recording->audio) != sizeof header || fflush(recording->audio) != 0 ||
        fseek(recording->audio, 0, SEEK_END) != 0) {
        return FAILED;
    }
    return 0;
}

/* What a full disk refuses, it refuses for the rest of the session. */
static void check(struct recording *recording, int status)
{
    if (status != 0 && !recording->failed) {
        recording->failed = 1;
        display_warning(recording->display, "audio is not kept any more: %s: %s", recording->path, strerror(errno));
    }
}

/* Is this one of our files? "digits-20261122-103000.wav", perhaps "-2" before the ending. */
static int is_recording(const char *name)
{
    const char *p = name;
    int i;

    for (i = 0; i < 22; i++, p++) {
        const char expected = "digits-########-######"[i];

        if (expected == '#' ? *p < '0' || *p > '9' : *p != expected) {
            return 0;
        }
    }
    if (*p == '-') {
        const size_t digits = strspn(p + 1, "0123456789");

        if (digits == 0) {
            return 0;
        }
        p += digits + 1;
    }
    return strcmp(p, ".wav") == 0;
}

/* The words of a recording are beside it. */
static void lines_path(const char *path, char *out, size_t size)
{
    snprintf(out, size, "%.*s.jsonl", (int)(strlen(path) - 4), path);
}

/* Delete the oldest recording if those of the folder leave too little room. Returns 1 if there may be more to do. */
static int delete_oldest(struct recording *recording)
{
    double left_bytes = recording->limit_bytes - recording->file_bytes * LATE;
    char path[sizeof recording->path], oldest[sizeof recording->path] = "";
    struct timespec oldest_time = {0, 0};
    DIR *folder = opendir(recording->folder);
    struct dirent *entry;
    struct stat about;

    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        if (!is_recording(entry->d_name) ||
            (size_t)snprintf(path, sizeof path, "%s/%s", recording->folder, entry->d_name) >= sizeof path ||
            lstat(path, &about) != 0 || !S_ISREG(about.st_mode)) {
            continue;
        }
        left_bytes -= (double)about.st_size;
        if (oldest[0] == '\0' || about.st_mtim.tv_sec < oldest_time.tv_sec ||
            (about.st_mtim.tv_sec == oldest_time.tv_sec && about.st_mtim.tv_nsec < oldest_time.tv_nsec)) {
            oldest_time = about.st_mtim;
            memcpy(oldest, path, sizeof path);
        }
    }
    if (folder != NULL) {
        closedir(folder);
    }
    if (left_bytes >= 0.0 || oldest[0] == '\0' || unlink(oldest) != 0) {
        return 0;
    }
    lines_path(oldest, path, sizeof path);
    unlink(path);
    display_note(recording->display, "deleted %s: the recordings had reached their limit", oldest);
    return 1;
}

/* What is beside a file begins with what it was heard with. */
static void describe(struct recording *recording, const struct timeval *now)
{
    struct tm local;
    char text[64], zone[16];

    localtime_r(&now->tv_sec, &local);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &local);
    strftime(zone, sizeof zone, "%z", &local);
    fputs("{\"audio\": ", recording->lines);
    write_json_string(recording->lines, strrchr(recording->path, '/') + 1);
    fprintf(recording->lines, ", \"began\": \"%s.%03d%.3s:%s\", \"device\": ", text,
            (int)(now->tv_usec / 1000), zone, zone + 3);
    write_json_string(recording->lines, recording->device);
    fprintf(recording->lines, ", \"sample_rate\": %u, \"threshold\": ", (unsigned)recording->sample_rate);
    write_rounded(recording->lines, recording->threshold, 6);
    fprintf(recording->lines, ", \"model_sha256\": \"%s\", \"edge_runtime\": \"%s\"}\n", recording->model_sha256,
            er_version());
}

/* Files are named after the time, and never replace another. */
static int begin(struct recording *recording)
{
    const double share = recording->limit_bytes / (FILES * LATE), hour = 4.0 * FILE_S * recording->sample_rate;
    char stem[64], path[sizeof recording->path];
    struct timeval now;
    struct tm local;
    unsigned number;
    int descriptor;

    recording->file_bytes = share < hour ? share : hour;
    while (delete_oldest(recording)) {
    }
    gettimeofday(&now, NULL);
    localtime_r(&now.tv_sec, &local);
    strftime(stem, sizeof stem, "digits-%Y%m%d-%H%M%S", &local);
    for (number = 1;; number++) {
        char suffix[16] = "";

        if (number > 1) {
            snprintf(suffix, sizeof suffix, "-%u", number);
        }
        if ((size_t)snprintf(recording->path, sizeof recording->path - 8, "%s/%s%s.wav", recording->folder, stem,
                             suffix) >= sizeof recording->path - 8) {
            errno = ENAMETOOLONG;
            return FAILED;
        }
        descriptor = open(recording->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (descriptor >= 0) {
            /* Neither replaces a file, nor goes where a link leads. */
            lines_path(recording->path, path, sizeof path);
            recording->lines = fopen(path, "wxe");
            if (recording->lines != NULL || errno != EEXIST) {
                break;
            }
            close(descriptor);
            unlink(recording->path);
        } else if (errno != EEXIST) {
            break;
        }
    }
    recording->audio = descriptor < 0 ? NULL : fdopen(descriptor, "w+");
    if (recording->audio == NULL || recording->lines == NULL) {
        return FAILED;
    }
    setvbuf(recording->lines, NULL, _IOLBF, BUFSIZ);
    recording->size_bytes = 0;
    describe(recording, &now);
    return state_size(recording);
}

/* A file without samples is not kept. */
static int complete(struct recording *recording)
{
    char path[sizeof recording->path];
    int status = 0;

    if (recording->lines != NULL) {
        status |= fclose(recording->lines);
        recording->lines = NULL;
    }
    if (recording->audio != NULL) {
        status |= state_size(recording);
        status |= fclose(recording->audio);
        recording->audio = NULL;
        if (recording->size_bytes == 0) {
            unlink(recording->path);
            lines_path(recording->path, path, sizeof path);
            unlink(path);
        } else if (recording->kept++ == 0) {
            memcpy(recording->first_path, recording->path, sizeof recording->path);
        }
    }
    return status;
}

/* As mkdir -p. */
static int make_folder(const char *folder)
{
    char path[4096];
    size_t i, length = strlen(folder);

    if (length == 0 || length >= sizeof path) {
        errno = length == 0 ? ENOENT : ENAMETOOLONG;
        return FAILED;
    }
    for (i = 1; i <= length; i++) {
        if (folder[i] == '/' || folder[i] == '\0') {
            memcpy(path, folder, i);
            path[i] = '\0';
            if (mkdir(path, 0777) != 0 && errno != EEXIST) {
                return FAILED;
            }
        }
    }
    return 0;
}

int recording_open(struct recording *recording, const char *folder, double limit_bytes, uint32_t sample_rate,
                   struct display *display, struct problem *problem)
{
    recording->folder = folder;
    recording->limit_bytes = limit_bytes;
    recording->display = display;
    recording->sample_rate = sample_rate;
    if (!(limit_bytes >= LEAST_LIMIT_BYTES)) {
        return problem_set(problem, "save limit: expected %g GB or more, got %g GB", LEAST_LIMIT_BYTES / 1e9,
                           limit_bytes / 1e9);
    }
    if (make_folder(folder) != 0 || begin(recording) != 0) {
        problem_set(problem, "--save-audio: %s: %s; name a folder that can be written", folder, strerror(errno));
        complete(recording);
        return FAILED;
    }
    display_note(display, "audio is kept in %s, %g GB at most; the oldest is deleted", folder, limit_bytes / 1e9);
    return 0;
}

int recording_is_due(const struct recording *recording, double heard_s)
{
    const double size = (double)recording->size_bytes / recording->file_bytes;

    return !recording->failed && (size >= LATE || (size >= 1.0 && heard_s - recording->in_word_s >= PAUSE_S));
}

void recording_audio(struct recording *recording, const float *samples, size_t count)
{
    uint8_t bytes[4 * 256];
    int status = 0;

    while (count > 0 && !recording->failed && status == 0) {
        const size_t part = count < 256 ? count : 256;
        size_t i;

        for (i = 0; i < part; i++) {
            uint32_t bits;

            memcpy(&bits, samples + i, sizeof bits);
            put_u32(bytes + 4 * i, bits);
        }
        status = fwrite(bytes, 4, part, recording->audio) == part ? 0 : FAILED;
        recording->size_bytes += 4 * part;
        samples += part;
        count -= part;
    }
    if (!recording->failed && status == 0 &&
        recording->size_bytes - recording->stated_bytes >= 4 * (uint64_t)recording->sample_rate) {
        status = state_size(recording);
    }
    check(recording, status);
}

void recording_word(struct recording *recording, const heard_word *word)
{
    if (!recording->failed) {
        write_word_json(recording->lines, word);
        check(recording, ferror(recording->lines) ? FAILED : 0);
    }
}

void recording_in_word(struct recording *recording, double heard_s)
{
    recording->in_word_s = heard_s;
}

void recording_restart(struct recording *recording, uint32_t sample_rate)
{
    if (!recording->failed) {
        check(recording, complete(recording));
        recording->sample_rate = sample_rate;
    }
    if (!recording->failed) {
        check(recording, begin(recording));
    }
}

void recording_close(struct recording *recording)
{
    check(recording, complete(recording));
    if (recording->kept == 1) {
        display_note(recording->display, "audio kept in %s", recording->first_path);
    } else if (recording->kept > 1) {
        display_note(recording->display, "audio kept in %u files, %s to %s", recording->kept, recording->first_path,
                     recording->path);
    }
}
