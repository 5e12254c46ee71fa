/* SPDX-License-Identifier: MIT
 *
 * --doctor: can this computer hear digits, and if not, what is to be done? */
#ifndef EDGE_DIGITS_DOCTOR_H
#define EDGE_DIGITS_DOCTOR_H

#include "model_file.h"
#include "options.h"
#include "problem.h"

/* Check everything between a microphone and a word, and print what is found. Returns 0; 1 if something keeps digits
 * from being heard; FAILED or INTERRUPTED. */
int doctor(const model_file *file, const struct options *options, struct problem *problem);

#endif
