/* SPDX-License-Identifier: MIT
 * Random networks in memory, as the parser would leave them, for check_kernels.c and bench_step.c. */
#ifndef ER_RANDOM_NETWORK_H
#define ER_RANDOM_NETWORK_H

#include "model.h"

/* xorshift64*; the seed must not be zero. */
typedef struct random_state {
    uint64_t s;
} random_state;

uint32_t random_u32(random_state *random);
uint32_t random_below(random_state *random, uint32_t limit);    /* 0 .. limit - 1 */
int16_t random_i16(random_state *random);                       /* extremes among them */

/* How the weights of a matrix are drawn. */
enum { WEIGHTS_RANDOM, WEIGHTS_ZERO, WEIGHTS_PLUS, WEIGHTS_MINUS, WEIGHTS_ALTERNATING, WEIGHTS_KINDS };

typedef struct layer_spec {
    uint8_t kind;               /* ER_LAYER_* */
    uint8_t activation;
    uint8_t flags;              /* ER_LAYER_SHARED_SCALE, ER_LAYER_RESET_BEFORE */
    uint8_t weights;            /* WEIGHTS_* */
    uint8_t encoding;           /* ER_ENCODING_* of all matrices */
    uint8_t plane_count;
    uint8_t typical;            /* 1: shifts and scales as trained networks have them; 0: any */
    uint32_t units;
    int32_t clamp_x;
    int32_t clamp_h;
} layer_spec;

/* A network of layers. Everything it points to is allocated; random_network_free releases it. No kernels
 * are chosen yet: er_plan_make. */
void random_network(random_state *random, struct er_model *model, uint32_t input_size, const layer_spec *specs,
                    uint32_t layer_count);
void random_network_free(struct er_model *model);

/* Put a network into numeric profile 2, with biases and shifts of it. */
void make_fine(random_state *random, struct er_model *model);

/* A copy of the network with a plan for the kernels; *memory_out is what to free after its last use. */
void plan_network(struct er_model *planned, const struct er_model *network, const er_kernels *kernels,
                  void **memory_out);

/* malloc that ends the program instead of failing. */
void *take_memory(size_t size);

#endif
