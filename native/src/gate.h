/* SPDX-License-Identifier: MIT
 *
 * The idle gate: does the signal stand out from steady noise? It hears every sample of 16 kHz, decides once per frame
 * of 10 ms, counted from the first sample, and keeps the last half second, so that a front end woken late still gets
 * all of a word.
 */
#ifndef ER_GATE_H
#define ER_GATE_H

#include "edge_runtime.h"

enum {
    ER_GATE_FRAME = 160,            /* samples */
    ER_GATE_BANDS = 2,
    ER_GATE_LAG = 24,               /* samples before a frame that are kept with it; the bands reach back 17 */
    ER_GATE_SMOOTH = 4              /* frames over which the energy is averaged */
};

typedef struct er_gate {
    float *ring;                    /* [ring_size] sample n is at n % ring_size */
    uint32_t ring_size;             /* a multiple of the frame */
    float block[ER_GATE_LAG + ER_GATE_FRAME];   /* the started frame after the end of the one before */
    uint32_t filled;                /* samples of the started frame */
    uint64_t position;              /* samples in whole frames, all of them in the ring but for its size */
    float energy[ER_GATE_BANDS][ER_GATE_SMOOTH];    /* of the last frames, the newest first */
    float level[ER_GATE_BANDS];     /* of the noise */
    uint32_t steady_frames;         /* frames in turn that did not stand out */
    int stands_out;                 /* the last one did */
    uint64_t replay;                /* next sample of the ring to be heard again; below position: there are some */
} er_gate;

/* Take the ring at base + *used, as er_memory_take does; with base null only the bytes are counted. step_samples: of
 * the front end. */
void er_gate_init(er_gate *gate, uint32_t step_samples, char *base, size_t *used);

/* Forget the signal. */
void er_gate_reset(er_gate *gate);

/* How many samples the started frame still takes. */
uint32_t er_gate_room(const er_gate *gate);

/* Samples that follow, at most er_gate_room. */
void er_gate_take(er_gate *gate, const float *samples, size_t count);

/* The started frame is full: measure it and begin another. */
void er_gate_end_frame(er_gate *gate);

/* Replay the ring from the first sample that begins a step of the front end and is less than half a second and a step
 * old; returns its number. */
uint64_t er_gate_rewind(er_gate *gate, uint32_t step_samples);

/* The next samples to be replayed: their number, and where they are; 0: none. The caller adds to gate->replay what it
 * has used. */
size_t er_gate_replay(const er_gate *gate, const float **samples_out);

#endif
