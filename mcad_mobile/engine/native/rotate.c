/* The rotation of embeddings, x = H S2 H S1 e: random signs S and a Hartley transform H, its own inverse. It computes
 * in double, and eight vectors at a time. docs/index-format.md says why embeddings are rotated. */
#include "kernel.h"
#include "exact.h"
#include <stdlib.h>

#define LANES 8
#define EIGHTH 0x1.921fb54442d18p-1 /* of a turn */

/* The cosine and the sine of i/dim of a turn, by Taylor series within an eighth of a turn. */
static void turn(size_t i, size_t dim, double *cosine, double *sine) {
    size_t octant = 8 * i / dim, left = 8 * i - octant * dim;
    double x = EIGHTH * (double)(octant % 2 ? dim - left : left) / (double)dim, square = x * x, c = 1, s = 1;
    for (int n = 18; n > 0; n -= 2) {
        c = 1 - c * square / (n * (n - 1));
        s = 1 - s * square / (n * (n + 1));
    }
    double across = octant % 2 ? s * x : c, up = octant % 2 ? c : s * x;
    switch (octant / 2) {
        case 0: *cosine = across, *sine = up; break;
        case 1: *cosine = -up, *sine = across; break;
        case 2: *cosine = -across, *sine = -up; break;
        default: *cosine = up, *sine = -across;
    }
}

/* The transform of n numbers, in[0], in[step], ...: split into even and odd halves while n is even, else by definition.
 * `turns` are the cosines, then the sines, of all multiples of 1/dim of a turn. */
static void hartley(const Doubles *in, Doubles *out, size_t n, size_t step, const double *turns, size_t dim,
                    Doubles *work) {
    size_t half = n / 2;
    if (n % 2) {
        for (size_t k = 0; k < n; k++) {
            out[k] = (Doubles){0};
            for (size_t j = 0; j < n; j++) {
                size_t at = j * k % n * step;
                out[k] += in[j * step] * (turns[at] + turns[dim + at]);
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

static void transform(float *rows, size_t count, size_t dim, const double *turns, Doubles *in) {
    Doubles *out = in + dim, *work = out + dim;
    double scale = 1 / sqrt((double)dim);
    for (size_t row = 0; row < LANES; row++)
        for (size_t i = 0; i < dim; i++) ((double *)(in + i))[row] = row < count ? (double)rows[row * dim + i] : 0;
    hartley(in, out, dim, 1, turns, dim, work);
    for (size_t row = 0; row < count; row++)
        for (size_t i = 0; i < dim; i++) rows[row * dim + i] = (float)(((double *)(out + i))[row] * scale);
}

/* Rotate vectors [count][dim] in place, or undo it if `back`. Return 0 if memory runs out. */
int mcad_rotate(float *rows, size_t count, size_t dim, int back) {
    double *turns = malloc(2 * dim * sizeof *turns);
    void *memory = malloc((3 * dim + 1) * sizeof(Doubles));
    Doubles *in = (Doubles *)(((uintptr_t)memory + sizeof *in - 1) / sizeof *in * sizeof *in);
    uint32_t second = 1;
    for (size_t i = 0; i < dim; i++) second = second * 1664525u + 1013904223u;
    for (size_t i = 0; turns && i < dim; i++) turn(i, dim, turns + i, turns + dim + i);
    for (size_t at = 0; turns && memory && at < count; at += LANES) {
        float *first = rows + at * dim;
        size_t many = count - at < LANES ? count - at : LANES;
        for (size_t row = 0; row < many && !back; row++) flip(first + row * dim, dim, 1);
        transform(first, many, dim, turns, in);
        for (size_t row = 0; row < many; row++) flip(first + row * dim, dim, second);
        transform(first, many, dim, turns, in);
        for (size_t row = 0; row < many && back; row++) flip(first + row * dim, dim, 1);
    }
    int done = turns && memory;
    free(turns);
    free(memory);
    return done;
}

/* Scale embeddings [count][dim] to length 1 and rotate them, in place; `lengths` [count] are those that they had. */
int mcad_prepare(float *rows, size_t count, size_t dim, float *lengths) {
    for (size_t row = 0; row < count; row++) {
        float *vector = rows + row * dim;
        lengths[row] = (float)sqrt(exact_dot(vector, vector, dim) / (STEPS * STEPS));
        for (size_t i = 0; i < dim; i++) vector[i] /= lengths[row];
    }
    return mcad_rotate(rows, count, dim, 0);
}
