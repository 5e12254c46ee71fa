/* SPDX-License-Identifier: MIT
 *
 * The model: built in, or a file. */
#ifndef EDGE_DIGITS_MODEL_FILE_H
#define EDGE_DIGITS_MODEL_FILE_H

#include "edge_runtime.h"
#include "problem.h"
#include "sha256.h"

typedef struct model_file {
    const char *name;           /* path, or that of the built-in one */
    const uint8_t *data;
    size_t size;
    void *memory;               /* what `data` is in, if it is a file */
} model_file;

/* Read a file, or with a null path take the built-in model, small or not. Only after 0 it is to be closed. */
int model_file_open(model_file *file, const char *path, int small, struct problem *problem);

/* Make the model, with a kernel or, null, the best. It must not outlive the file. Returns 0, or FAILED; with `kernel`
 * unknown here, ER_ERROR_KERNEL. */
int model_file_make(const model_file *file, const char *kernel, er_model **model_out, struct problem *problem);

/* SHA-256 of the file in hexadecimal. */
void model_file_hash(const model_file *file, char text_out[SHA256_TEXT]);

void model_file_close(model_file *file);

#endif
