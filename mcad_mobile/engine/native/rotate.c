/* The rotation of embeddings, x = H S2 H S1 e: random signs S and a Hartley transform H, its own inverse. It computes
 * in double, so that rounding to float removes differences between processors. docs/index-format.md says why. */
#include "kernel.h"
#include <math.h>
#include <stdlib.h>

#define TURN 6.283185307179586476925

/* The transform of n numbers, in[0], in[step], ...: split into even and odd halves while n is even, else by definition.
 * `turns` are the cosines, then the sines, of all multiples of 1/dim of a turn. */
static void hartley(const double *in, double *out, size_t n, size_t step, const double *turns, size_t dim, double *work) {
    size_t half = n / 2;
    if (n % 2) {
        for (size_t k = 0; k < n; k++) {
            out[k] = 0;
            for (size_t j = 0; j < n; j++) {
                size_t turn = j * k % n * step;
                out[k] += in[j * step] * (turns[turn] + turns[dim + turn]);
            }
        }
        return;
    }
    hartley(in, out, half, 2 * step, turns, dim, work);
    hartley(in + step, out + half, half, 2 * step, turns, dim, work);
    memcpy(work, out, n * sizeof *out);
    for (size_t k = 0; k < n; k++) {
        size_t low = k % half, mirrored = (half - low) % half;
        out[k] = work[low] + turns[k * step] * work[half + low] + turns[dim + k * step] * work[half + mirrored];
    }
}

/* Flip signs by the generator's bits from `state` on; return the next state. */
static uint32_t flip(float *vector, size_t dim, uint32_t state) {
    for (size_t i = 0; i < dim; i++) {
        state = state * 1664525u + 1013904223u;
        if (state >> 31) vector[i] = -vector[i];
    }
    return state;
}

/* Rotate a vector in place, or undo it if `back`. Return 0 if memory runs out. */
int mcad_rotate(float *vector, size_t dim, int back) {
    double *in = malloc(5 * dim * sizeof *in);
    if (!in) return 0;
    double *out = in + dim, *work = out + dim, *turns = work + dim, scale = 1 / sqrt((double)dim);
    for (size_t i = 0; i < dim; i++) {
        turns[i] = cos(TURN * (double)i / (double)dim);
        turns[dim + i] = sin(TURN * (double)i / (double)dim);
    }
    uint32_t second = 1;
    for (size_t i = 0; i < dim; i++) second = second * 1664525u + 1013904223u;
    if (!back) flip(vector, dim, 1);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < dim; i++) in[i] = vector[i];
        hartley(in, out, dim, 1, turns, dim, work);
        for (size_t i = 0; i < dim; i++) vector[i] = (float)(out[i] * scale);
        if (!round) flip(vector, dim, second);
    }
    if (back) flip(vector, dim, 1);
    free(in);
    return 1;
}
