/* SPDX-License-Identifier: MIT
 *
 * The idle gate. Energies in two bands: for voices the mean of eight samples less that of the eight before, which
 * passes 200 to 1500 Hz, little of hum and of hiss and nothing of an offset; for s and f the difference x[n] - x[n-1].
 * Each is compared with a level that follows steady noise, so only ratios count, not the gain. Sums run in one
 * order, hence the same bits everywhere.
 */
#include "gate.h"

#include <string.h>

#include "mathf.h"
#include "memory.h"

enum {
    PREROLL_SAMPLES = 7680,     /* 0.48 s */
    LANES = 8                   /* partial sums of an energy */
};

/* Noise of half a step of 16-bit samples, full scale 1.0, in the sums of ER_GATE_SMOOTH frames: what is below counts
 * as silence. */
static const float SILENCE = 0.25f * (float)ER_GATE_FRAME * (float)ER_GATE_SMOOTH / (32768.0f * 32768.0f);

/* A frame stands out from RATIO times the level. Then the level rises by 4 dB a second until the noise is steady
 * again; what is below the level by as much lets it fall by 58 dB a second; within, it follows in 0.6 s. It begins
 * with the first frames. */
static const float RATIO = 1.75f;
static const float RISE = 1.01f;
static const float FALL = 0.875f;
static const float FOLLOW = 1.0f / 64.0f;

void er_gate_init(er_gate *gate, uint32_t step_samples, char *base, size_t *used)
{
    gate->ring_size =
        (PREROLL_SAMPLES + step_samples + ER_GATE_FRAME - 1) / ER_GATE_FRAME * ER_GATE_FRAME;
    gate->ring = er_memory_take(base, used, gate->ring_size, sizeof(float));
}

/* The ring needs no clearing: position says what of it is valid. */
void er_gate_reset(er_gate *gate)
{
    float *const ring = gate->ring;
    const uint32_t ring_size = gate->ring_size;

    memset(gate, 0, sizeof *gate);
    gate->ring = ring;
    gate->ring_size = ring_size;
}

uint32_t er_gate_room(const er_gate *gate)
{
    return ER_GATE_FRAME - gate->filled;
}

void er_gate_take(er_gate *gate, const float *samples, size_t count)
{
    memcpy(gate->block + ER_GATE_LAG + gate->filled, samples, count * sizeof(float));
    gate->filled += (uint32_t)count;
}

/* Energy of the differences later[i] - earlier[i]. LANES independent partial sums, added up in a fixed order: the
 * compiler may vectorize them without changing a rounding. */
static float difference_energy(const float *later, const float *earlier)
{
    float sum[LANES] = {0};
    uint32_t i;
    uint32_t lane;

    for (i = 0; i < ER_GATE_FRAME; i += LANES) {
        for (lane = 0; lane < LANES; lane++) {
            const float difference = later[i + lane] - earlier[i + lane];

            sum[lane] += difference * difference;
        }
    }
    return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
}

/* Sums of eight by sums of two and of four, each from a few samples before the frame on. */
static float voice_energy(const float *samples)
{
    const float *before;
    float two[ER_GATE_FRAME + 16], four[ER_GATE_FRAME + 12], eight[ER_GATE_FRAME + 8];
    uint32_t i;

    samples -= 16;
    before = samples - 1;
    for (i = 0; i < ER_GATE_FRAME + 16; i++) {
        two[i] = samples[i] + before[i];
    }
    for (i = 0; i < ER_GATE_FRAME + 12; i++) {
        four[i] = two[i + 4] + two[i + 2];
    }
    for (i = 0; i < ER_GATE_FRAME + 8; i++) {
        eight[i] = four[i + 4] + four[i];
    }
    return difference_energy(eight + 8, eight) * (1.0f / 64.0f);
}

/* Measure a band and let its level follow; 1: it stands out, -1: it is far below the level, 0: neither. */
static int measure(er_gate *gate, uint32_t band)
{
    const float *samples = gate->block + ER_GATE_LAG;
    float *energy = gate->energy[band];
    float *level = &gate->level[band];
    float now;

    memmove(energy + 1, energy, (ER_GATE_SMOOTH - 1) * sizeof(float));
    energy[0] = band == 0 ? voice_energy(samples) : difference_energy(samples, samples - 1);
    now = SILENCE + ((energy[0] + energy[1]) + (energy[2] + energy[3]));
    if (gate->position < (ER_GATE_SMOOTH - 1) * ER_GATE_FRAME) {
        *level = now;
        return 1;
    }
    if (now > RATIO * *level) {
        *level *= RISE;
        return 1;
    }
    if (RATIO * now < *level) {
        *level *= FALL;
        return -1;
    }
    *level += (now - *level) * FOLLOW;
    return 0;
}

void er_gate_end_frame(er_gate *gate)
{
    const float *samples = gate->block + ER_GATE_LAG;
    int steady = 1;
    uint32_t band;

    gate->stands_out = 0;
    for (band = 0; band < ER_GATE_BANDS; band++) {
        const int found = measure(gate, band);

        gate->stands_out |= found > 0;
        steady &= found == 0;
    }
    gate->steady_frames = !steady ? 0 : gate->steady_frames < UINT32_MAX ? gate->steady_frames + 1 : UINT32_MAX;
    memcpy(gate->ring + gate->position % gate->ring_size, samples, ER_GATE_FRAME * sizeof(float));
    memcpy(gate->block, samples + ER_GATE_FRAME - ER_GATE_LAG, ER_GATE_LAG * sizeof(float));
    gate->position += ER_GATE_FRAME;
    gate->replay = gate->position;
    gate->filled = 0;
}

uint64_t er_gate_rewind(er_gate *gate, uint32_t step_samples)
{
    const uint64_t first = gate->position < PREROLL_SAMPLES ? 0 : gate->position - PREROLL_SAMPLES;

    gate->replay = first / step_samples * step_samples;
    return gate->replay;
}

size_t er_gate_replay(const er_gate *gate, const float **samples_out)
{
    const uint64_t left = gate->position - gate->replay;
    const uint32_t offset = (uint32_t)(gate->replay % gate->ring_size);
    const uint32_t whole = gate->ring_size - offset;

    *samples_out = gate->ring + offset;
    return left < whole ? (size_t)left : whole;
}
