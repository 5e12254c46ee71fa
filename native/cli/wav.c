/* SPDX-License-Identifier: MIT */
#include "wav.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "edge_runtime.h"
#include "interrupt.h"

enum {
    TAG_PCM = 1,
    TAG_FLOAT = 3,
    TAG_EXTENSIBLE = 0xFFFE,
    FORMAT_BYTES = 64,          /* of a format chunk that are looked at */
    BUFFER_BYTES = 1 << 16,     /* at least a frame, whose size has 16 bits */
    IDLE_MS = 20
};
/* Programs that write to a pipe do not know the length: they state 0, or nearly 2^31 or 2^32 bytes. */
static const uint32_t UNKNOWN_LENGTH = 0x7FFF0000u;

static uint32_t read_u16(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

static uint32_t read_u32(const uint8_t *p)
{
    return read_u16(p) | read_u16(p + 2) << 16;
}

/* `count` bytes, less only at the end: a pipe returns what it has. FAILED or INTERRUPTED as `wav_read`. */
static long read_bytes(wav_reader *reader, uint8_t *data, size_t count, struct problem *problem)
{
    size_t got = 0;

    if (reader->memory != NULL) {
        got = count < reader->memory_bytes ? count : reader->memory_bytes;
        memcpy(data, reader->memory, got);
        reader->memory += got;
        reader->memory_bytes -= got;
        count = got;
    }
    while (got < count) {
        const int ready = wait_readable(reader->descriptor, -1, reader->idle == NULL ? WAIT_FOR_EVER : IDLE_MS);
        ssize_t part;

        if (ready == INTERRUPTED) {
            return INTERRUPTED;
        }
        if (ready == 0) {
            if (reader->idle != NULL) {
                reader->idle(reader->idle_context);
            }
            continue;
        }
        part = read(reader->descriptor, data + got, count - got);
        if (part < 0) {
            if (errno == EINTR || errno == EAGAIN) {
                continue;
            }
            return problem_set(problem, "%s: %s", reader->name, strerror(errno));
        }
        if (part == 0) {
            break;
        }
        got += (size_t)part;
    }
    reader->position += got;
    return (long)got;
}

/* Returns 0 at the end of the file too, FAILED or INTERRUPTED. */
static int skip_bytes(wav_reader *reader, uint64_t count, struct problem *problem)
{
    while (count > 0) {
        const size_t part = count < BUFFER_BYTES ? (size_t)count : BUFFER_BYTES;
        const long got = read_bytes(reader, reader->bytes, part, problem);

        if (got <= 0) {
            return (int)got;
        }
        count -= (uint64_t)got;
    }
    return 0;
}

static int truncated(const wav_reader *reader, const char *how, struct problem *problem)
{
    return problem_set(problem, "%s: truncated WAV file: %s; copy or record it again", reader->name, how);
}

static int find_format(uint32_t tag, uint32_t bits, sample_format *format_out)
{
    static const struct {
        uint32_t tag, bits;
        sample_format format;
    } known[] = {
        {TAG_PCM, 8, SAMPLE_U8},    {TAG_PCM, 16, SAMPLE_S16},  {TAG_PCM, 24, SAMPLE_S24},
        {TAG_PCM, 32, SAMPLE_S32},  {TAG_FLOAT, 32, SAMPLE_F32}, {TAG_FLOAT, 64, SAMPLE_F64},
    };
    size_t i;

    for (i = 0; i < sizeof known / sizeof *known; i++) {
        if (known[i].tag == tag && known[i].bits == bits) {
            *format_out = known[i].format;
            return 1;
        }
    }
    return 0;
}

static const char *encoding_name(uint32_t tag, char *text, size_t size)
{
    static const struct {
        uint32_t tag;
        const char *name;
    } known[] = {{2, "ADPCM"}, {6, "A-law"}, {7, "mu-law"}, {17, "IMA ADPCM"}, {85, "MP3"}};
    size_t i;

    for (i = 0; i < sizeof known / sizeof *known; i++) {
        if (known[i].tag == tag) {
            return known[i].name;
        }
    }
    snprintf(text, size, "number %u", (unsigned)tag);
    return text;
}

/* What a format chunk says. */
static int parse_format(wav_reader *reader, const uint8_t *body, size_t size, struct problem *problem)
{
    uint32_t tag, bits;
    char text[24];

    if (size < 16) {
        return problem_set(problem, "%s: damaged WAV file: format chunk of %zu bytes; export it again",
                           reader->name, size);
    }
    tag = read_u16(body);
    reader->channels = read_u16(body + 2);
    reader->sample_rate = read_u32(body + 4);
    reader->frame_bytes = read_u16(body + 12);
    bits = read_u16(body + 14);
    if (tag == TAG_EXTENSIBLE && size >= 26) {
        tag = read_u16(body + 24);
    }
    if (!find_format(tag, bits, &reader->format)) {
        return problem_set(problem,
                           "%s: WAV encoding %s with %u bits is not supported; "
                           "convert it: ffmpeg -i INPUT -c:a pcm_s16le OUTPUT.wav",
                           reader->name, encoding_name(tag, text, sizeof text), (unsigned)bits);
    }
    if (reader->channels == 0 || reader->sample_rate == 0 || reader->frame_bytes != reader->channels * bits / 8) {
        return problem_set(problem,
                           "%s: damaged WAV file: %u channels, %u Hz, %zu bytes per frame of %u-bit samples; "
                           "export it again",
                           reader->name, (unsigned)reader->channels, (unsigned)reader->sample_rate,
                           reader->frame_bytes, (unsigned)bits);
    }
    return 0;
}

/* The first bytes of what is no WAV file, in quotes. */
static int not_wav(const wav_reader *reader, const uint8_t *head, size_t size, struct problem *problem)
{
    char text[4 * 4 + 1] = "";
    size_t i, used = 0;

    for (i = 0; i < size && i < 4; i++) {
        if (head[i] >= ' ' && head[i] < 127 && head[i] != '\'' && head[i] != '\\') {
            used += (size_t)snprintf(text + used, sizeof text - used, "%c", head[i]);
        } else {
            used += (size_t)snprintf(text + used, sizeof text - used, "\\x%02x", (unsigned)head[i]);
        }
    }
    return problem_set(problem,
                       "%s: not a WAV file (it begins with '%s'); "
                       "convert it: ffmpeg -i INPUT -c:a pcm_s16le OUTPUT.wav",
                       reader->name, text);
}

/* The length that the data chunk states, against what is there. file_bytes: UINT64_MAX for a pipe. */
static int check_length(wav_reader *reader, uint32_t size, uint64_t file_bytes, struct problem *problem)
{
    const int is_pipe = file_bytes == UINT64_MAX;
    char text[80];

    if (size >= UNKNOWN_LENGTH || (size == 0 && is_pipe)) {
        return 0;
    }
    reader->has_length = 1;
    reader->frames_left = size / reader->frame_bytes;
    if (reader->frames_left == 0) {
        return problem_set(problem, "%s: there are no samples in it; record or export it again", reader->name);
    }
    if (!is_pipe && reader->position + size > file_bytes) {
        const uint64_t there = file_bytes > reader->position ? file_bytes - reader->position : 0;

        snprintf(text, sizeof text, "it states %llu samples, %llu are there",
                 (unsigned long long)reader->frames_left, (unsigned long long)(there / reader->frame_bytes));
        return truncated(reader, text, problem);
    }
    return 0;
}

/* Read everything before the samples. */
static int read_header(wav_reader *reader, uint64_t file_bytes, struct problem *problem)
{
    uint8_t head[12], body[FORMAT_BYTES];
    uint32_t size;
    int status, has_format = 0;
    long got = read_bytes(reader, head, sizeof head, problem);

    if (got < 0) {
        return (int)got;
    }
    if (got == 0) {
        return problem_set(problem, "%s: empty, there is no audio in it; record or export it again", reader->name);
    }
    if (got < 12 || memcmp(head, "RIFF", 4) != 0 || memcmp(head + 8, "WAVE", 4) != 0) {
        return not_wav(reader, head, (size_t)got, problem);
    }
    for (;;) {
        uint64_t rest;

        got = read_bytes(reader, head, 8, problem);
        if (got < 0) {
            return (int)got;
        }
        if (got < 8) {
            return truncated(reader, "it ends before its samples begin", problem);
        }
        rest = size = read_u32(head + 4);
        if (memcmp(head, "data", 4) == 0) {
            break;
        }
        if (memcmp(head, "fmt ", 4) == 0) {
            const size_t part = size < FORMAT_BYTES ? size : FORMAT_BYTES;

            got = read_bytes(reader, body, part, problem);
            if (got < 0) {
                return (int)got;
            }
            if ((size_t)got < part) {
                return truncated(reader, "it ends before its samples begin", problem);
            }
            if (parse_format(reader, body, part, problem) != 0) {
                return FAILED;
            }
            has_format = 1;
            rest = size - part;
        }
        status = skip_bytes(reader, rest + (size & 1), problem);
        if (status != 0) {
            return status;
        }
    }
    if (!has_format) {
        return problem_set(problem, "%s: damaged WAV file: no format before the samples; export it again",
                           reader->name);
    }
    return check_length(reader, size, file_bytes, problem);
}

/* Other audio files are named as such. They are known by how they begin, which a pipe would lose. */
static int refuse_other_audio(const wav_reader *reader, struct problem *problem)
{
    const size_t length = strlen(reader->name);
    uint8_t head[4] = {0};
    const int is_mp3 = length >= 4 && strcasecmp(reader->name + length - 4, ".mp3") == 0;

    if (!is_mp3 && pread(reader->descriptor, head, sizeof head, 0) < 4) {
        return 0;
    }
    if (is_mp3 || memcmp(head, "fLaC", 4) == 0 || memcmp(head, "OggS", 4) == 0) {
        return problem_set(problem, "%s: not a WAV file; convert it: ffmpeg -i INPUT -c:a pcm_s16le OUTPUT.wav",
                           reader->name);
    }
    return 0;
}

static int open_file(wav_reader *reader, const char *path, uint32_t raw_rate, uint64_t *bytes_out,
                     struct problem *problem)
{
    struct stat about;

    reader->descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (reader->descriptor >= 0 && fstat(reader->descriptor, &about) == 0 && S_ISDIR(about.st_mode)) {
        close(reader->descriptor);
        reader->descriptor = -1;
        errno = EISDIR;
    }
    if (reader->descriptor < 0) {
        return problem_set(problem, "%s: %s; name a WAV file that can be read", path, strerror(errno));
    }
    if (S_ISREG(about.st_mode)) {
        *bytes_out = (uint64_t)about.st_size;
        return raw_rate != 0 ? 0 : refuse_other_audio(reader, problem);
    }
    return 0;
}

static int check_rate(const wav_reader *reader, struct problem *problem)
{
    if (er_resampler_size(reader->sample_rate) == 0) {
        return problem_set(problem,
                           "%s: %u Hz is not supported (8000 to 192000 Hz, usual rates); "
                           "convert it: ffmpeg -i INPUT -ar 16000 OUTPUT.wav",
                           reader->name, (unsigned)reader->sample_rate);
    }
    return 0;
}

/* What is the same for every source: header, rate, buffers. status: of opening it. */
static int begin(wav_reader *reader, int status, uint32_t raw_rate, uint64_t file_bytes, struct problem *problem)
{
    reader->bytes = malloc(BUFFER_BYTES);
    if (status == 0 && reader->bytes == NULL) {
        status = problem_set(problem, "%s: no memory", reader->name);
    }
    if (status == 0 && raw_rate != 0) {
        reader->sample_rate = raw_rate;
        reader->channels = 1;
        reader->format = SAMPLE_S16;
        reader->frame_bytes = 2;
    } else if (status == 0) {
        status = read_header(reader, file_bytes, problem);
    }
    if (status == 0) {
        status = check_rate(reader, problem);
    }
    if (status == 0) {
        reader->frame = malloc(reader->channels * sizeof *reader->frame);
        if (reader->frame == NULL) {
            status = problem_set(problem, "%s: no memory", reader->name);
        }
    }
    if (status != 0) {
        wav_close(reader);
    }
    return status;
}

int wav_open(wav_reader *reader, const char *path, uint32_t raw_rate, struct problem *problem)
{
    uint64_t file_bytes = UINT64_MAX;
    int status = 0;

    memset(reader, 0, sizeof *reader);
    reader->name = path;
    if (strcmp(path, "-") == 0) {
        reader->name = "standard input";
        reader->descriptor = STDIN_FILENO;
    } else {
        status = open_file(reader, path, raw_rate, &file_bytes, problem);
    }
    return begin(reader, status, raw_rate, file_bytes, problem);
}

int wav_open_memory(wav_reader *reader, const char *name, const uint8_t *data, size_t size, struct problem *problem)
{
    memset(reader, 0, sizeof *reader);
    reader->name = name;
    reader->descriptor = -1;
    reader->memory = data;
    reader->memory_bytes = size;
    return begin(reader, 0, 0, size, problem);
}

long wav_read(wav_reader *reader, float *mono, size_t frames, struct problem *problem)
{
    size_t done = 0;
    char text[64];

    if (reader->has_length && frames > reader->frames_left) {
        frames = (size_t)reader->frames_left;
    }
    while (done < frames) {
        const size_t fit = BUFFER_BYTES / reader->frame_bytes;
        const size_t wanted = frames - done < fit ? frames - done : fit;
        const long got = read_bytes(reader, reader->bytes, wanted * reader->frame_bytes, problem);
        const size_t whole = got < 0 ? 0 : (size_t)got / reader->frame_bytes;

        if (got < 0) {
            return got;
        }
        samples_to_mono(reader->bytes, whole, reader->channels, reader->format, reader->frame, mono + done);
        done += whole;
        if (whole < wanted) {
            break;
        }
    }
    if (reader->has_length) {
        reader->frames_left -= done;
        if (done < frames) {
            snprintf(text, sizeof text, "%llu samples are missing", (unsigned long long)reader->frames_left);
            return truncated(reader, text, problem);
        }
    }
    return (long)done;
}

void wav_close(wav_reader *reader)
{
    free(reader->frame);
    free(reader->bytes);
    if (reader->descriptor > STDERR_FILENO) {
        close(reader->descriptor);
    }
    reader->frame = NULL;
    reader->bytes = NULL;
    reader->descriptor = -1;
}
