/* SPDX-License-Identifier: MIT
 *
 * The reader of WAV files and of bare samples: the same bytes from memory, from a file, from a file as bare samples,
 * and from a pipe, in blocks of sizes that the end of the input draws. Memory and file must agree on everything; a
 * pipe, which does not know its length, on all samples that the others give. */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "wav.h"

enum { FRAMES = 1 << 14, BLOCK = 700 };

/* What a source gave. */
typedef struct heard {
    int opened;                 /* what opening returned */
    long last;                  /* what the last block returned */
    size_t count;
    uint32_t sample_rate, channels;
    struct problem problem;
    float samples[FRAMES];
} heard;

/* One line of text that begins with the name. */
static void check_problem(const struct problem *problem, const char *name)
{
    const size_t length = strnlen(problem->text, sizeof problem->text);

    REQUIRE(length > 0 && length < sizeof problem->text);
    REQUIRE(strncmp(problem->text, name, strlen(name)) == 0);
    REQUIRE(strchr(problem->text, '\n') == NULL);
}

/* All of an opened source. */
static void read_all(wav_reader *reader, uint32_t seed, heard *out)
{
    const char *name = reader->name;
    float block[BLOCK];

    out->count = 0;
    if (out->opened != 0) {
        check_problem(&out->problem, name);
        return;
    }
    out->sample_rate = reader->sample_rate;
    out->channels = reader->channels;
    REQUIRE(er_resampler_size(reader->sample_rate) > 0 && reader->channels >= 1 && reader->channels <= 65535);
    for (;;) {
        const size_t wanted = 1 + next_random(&seed) % BLOCK;

        out->last = wav_read(reader, block, wanted, &out->problem);
        REQUIRE(out->last >= FAILED && out->last <= (long)wanted);
        if (out->last <= 0) {
            break;
        }
        REQUIRE(out->count + (size_t)out->last <= FRAMES);
        memcpy(out->samples + out->count, block, (size_t)out->last * sizeof *block);
        out->count += (size_t)out->last;
    }
    if (out->last == FAILED) {
        check_problem(&out->problem, name);
    }
    wav_close(reader);
}

static void require_equal(const heard *a, const heard *b)
{
    REQUIRE(a->opened == b->opened);
    if (a->opened == 0) {
        REQUIRE(a->last == b->last && a->count == b->count);
        REQUIRE(a->sample_rate == b->sample_rate && a->channels == b->channels);
        REQUIRE(memcmp(a->samples, b->samples, a->count * sizeof *a->samples) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static heard memory, file, pipe_heard, raw;
    static int descriptor = -1, standard_input = -1;
    static char path[64];
    const uint32_t seed = er_crc32(data, size) | 1u;
    wav_reader reader;
    int ends[2];

    if (descriptor < 0) {
        descriptor = memfd_create("fuzz_wav", MFD_CLOEXEC);
        standard_input = dup(STDIN_FILENO);
        REQUIRE(descriptor >= 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    }
    if (size > FRAMES) {
        return 0;
    }
    REQUIRE(ftruncate(descriptor, 0) == 0 && pwrite(descriptor, data, size, 0) == (ssize_t)size);

    memory.opened = wav_open_memory(&reader, "memory", data, size, &memory.problem);
    read_all(&reader, seed, &memory);
    file.opened = wav_open(&reader, path, 0, &file.problem);
    read_all(&reader, seed, &file);
    require_equal(&memory, &file);

    raw.opened = wav_open(&reader, path, 8000 + seed % 1000, &raw.problem);
    REQUIRE(raw.opened == 0 || er_resampler_size(8000 + seed % 1000) == 0);
    read_all(&reader, seed * 3 | 1u, &raw);
    REQUIRE(raw.opened != 0 || (raw.last == 0 && raw.count == size / 2));

    REQUIRE(pipe(ends) == 0 && write(ends[1], data, size) == (ssize_t)size && close(ends[1]) == 0);
    REQUIRE(dup2(ends[0], STDIN_FILENO) == STDIN_FILENO && close(ends[0]) == 0);
    pipe_heard.opened = wav_open(&reader, "-", 0, &pipe_heard.problem);
    read_all(&reader, seed * 5 | 1u, &pipe_heard);
    if (standard_input >= 0) {
        dup2(standard_input, STDIN_FILENO);
    }
    if (memory.opened == 0 && memory.last == 0) {
        require_equal(&memory, &pipe_heard);
    } else {
        REQUIRE(memory.opened != 0 || pipe_heard.opened == 0);
    }
    return 0;
}
