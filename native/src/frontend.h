/* SPDX-License-Identifier: MIT
 *
 * What the rest of the library needs to know about the front end beyond the public header.
 */
#ifndef EDGE_RUNTIME_FRONTEND_H
#define EDGE_RUNTIME_FRONTEND_H

#include "edge_runtime.h"

/* ER_OK if every parameter is in its documented range and all filters have a width, else
 * ER_ERROR_FRONTEND. Allocates nothing; cost a few hundred logarithms at most. */
er_status er_frontend_config_check(const er_frontend_config *config);

/* Frames of look-ahead: 0, 2 or 3 for delta order 0, 1 or 2. */
uint32_t er_frontend_lookahead_frames(const er_frontend_config *config);

/* Logarithms of the filters' energies in the last window, float [shape=(filter_count)]; before the first that of the
 * log floor. */
void er_frontend_log_mel(const er_frontend *frontend, float *log_mel_out);

#endif
