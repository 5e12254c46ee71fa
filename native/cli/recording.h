/* SPDX-License-Identifier: MIT
 *
 * --save-audio: what was heard, as WAV files of 32-bit float samples, and its words in .jsonl files beside them, so
 * that a miss becomes a test. A file holds the very samples that the recognizer was given since it last began anew.
 * After an hour, or a quarter of the limit, a new file begins at the next pause, and the recognizer with it. The
 * headers are right to the second, even if the program is killed. A full disk ends the recording, not the session. */
#ifndef EDGE_DIGITS_RECORDING_H
#define EDGE_DIGITS_RECORDING_H

#include <stdio.h>

#include "display.h"
#include "problem.h"
#include "sha256.h"
#include "words.h"

struct recording {
    /* for the first line beside a file; set before recording_open */
    const char *device;
    char model_sha256[SHA256_TEXT];
    double threshold;
    /* private */
    const char *folder;
    double limit_bytes;
    double file_bytes;          /* after which a file ends at the next pause */
    struct display *display;
    int failed;
    FILE *audio, *lines;
    char path[4096], first_path[4096];
    unsigned kept;
    uint32_t sample_rate;
    uint64_t size_bytes, stated_bytes;
    double in_word_s;
};

/* Make the folder if it is missing, and begin the first file.
 * limit_bytes: the folder's recordings, earlier ones too, are kept below this: the oldest are deleted. */
int recording_open(struct recording *recording, const char *folder, double limit_bytes, uint32_t sample_rate,
                   struct display *display, struct problem *problem);

/* Is it time for a new file? heard_s: of the session. Then the recognizer is begun anew, and recording_restart called. */
int recording_is_due(const struct recording *recording, double heard_s);

/* Append samples, float [shape=(count)]. */
void recording_audio(struct recording *recording, const float *samples, size_t count);

/* Append the line of a word, its times and string as of the recognizer. */
void recording_word(struct recording *recording, const heard_word *word);

/* A word is in progress. */
void recording_in_word(struct recording *recording, double heard_s);

/* End the file and begin the next, at this rate. */
void recording_restart(struct recording *recording, uint32_t sample_rate);

/* Complete the last file. */
void recording_close(struct recording *recording);

#endif
