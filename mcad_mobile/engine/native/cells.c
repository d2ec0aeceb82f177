/* Cells: photos near each other are stored together, and a search scans only some cells.
 *
 * This is the inverted file of Sivic and Zisserman (ICCV 2003), as in faiss: k-means (Lloyd) on a sample gives C
 * centroids. A query scans the cells whose centroids have the largest inner product with it, until they hold as many
 * photos as tune.c measured to be enough. Residuals and centroids are multiples of 2^-11, so that all sums are of
 * integers, and a photo is in the same cell on every processor. */
#include "kernel.h"
#include "exact.h"
#include "integers.h"
#include "cells.h"
#include <stdlib.h>

#define ROUNDS 8
#define CELL_STEPS 2048
#define SAMPLE_UNIT 0x1p-15f
/* Over this many dimensions, a product of a residual and an int16 stays below 2^31. */
#define PART 512

BODY void to_steps(const float *values, size_t dim, int16_t *steps) {
    for (size_t i = 0; i < dim; i++)
        steps[i] = (int16_t)within(whole((double)values[i] * CELL_STEPS), INT16_MIN, INT16_MAX);
}

BODY int64_t product(const int16_t *steps, const int16_t *centroid, size_t dim) {
    int64_t sum = 0;
    for (size_t i = 0; i < dim; i += PART) sum += dot_16(steps + i, centroid + i, dim - i < PART ? dim - i : PART);
    return sum;
}

/* Half of the squared length of each centroid, rounded down. */
BODY void measure_lengths(const int16_t *centroids, size_t cells, size_t dim, int64_t *halves) {
    for (size_t c = 0; c < cells; c++) {
        int64_t squares = 0;
        for (size_t i = 0; i < dim; i++) squares += (int64_t)centroids[c * dim + i] * centroids[c * dim + i];
        halves[c] = squares / 2;
    }
}

/* The cell of a residual; the first in a tie. */
BODY size_t nearest(const int16_t *steps, const int16_t *centroids, size_t cells, size_t dim, const int64_t *halves) {
    size_t best = 0;
    int64_t most = INT64_MIN;
    for (size_t c = 0; c < cells; c++) {
        int64_t near = product(steps, centroids + c * dim, dim) - halves[c];
        if (near > most) {
            most = near;
            best = c;
        }
    }
    return best;
}

/* The residual of a photo of the sample. */
BODY void sample_residual(const int16_t *photo, const float *axis, size_t dim, float *values, int16_t *steps) {
    for (size_t i = 0; i < dim; i++) values[i] = photo[i] * SAMPLE_UNIT;
    split(values, axis, dim, values);
    to_steps(values, dim, steps);
}

BODY int assign(const float *rows, size_t count, size_t dim, const float *axis, const int16_t *centroids, size_t cells,
                uint16_t *of_rows) {
    int64_t *halves = malloc(cells * sizeof *halves + dim * (sizeof(float) + sizeof(int16_t)));
    if (!halves) return 0;
    float *residual = (float *)(halves + cells);
    int16_t *steps = (int16_t *)(residual + dim);
    measure_lengths(centroids, cells, dim, halves);
    for (size_t row = 0; row < count; row++) {
        split(rows + row * dim, axis, dim, residual);
        to_steps(residual, dim, steps);
        of_rows[row] = (uint16_t)nearest(steps, centroids, cells, dim, halves);
    }
    free(halves);
    return 1;
}

EACH_LEVEL(int, assign,
           (const float *rows, size_t count, size_t dim, const float *axis, const int16_t *centroids, size_t cells,
            uint16_t *of_rows),
           (rows, count, dim, axis, centroids, cells, of_rows))

/* Find the cells of rotated embeddings [count][dim]. Return 0 if memory runs out. */
int mcad_assign_cells(const float *rows, size_t count, size_t dim, const float *axis, const int16_t *centroids,
                      size_t cells, uint16_t *of_rows, int level) {
    return AT_LEVEL(assign, level)(rows, count, dim, axis, centroids, cells, of_rows);
}

BODY int lloyd(const int16_t *sample, size_t count, size_t dim, const float *axis, size_t cells, int16_t *centroids,
               uint16_t *of_photos) {
    int64_t *halves = malloc(cells * sizeof *halves + cells * (dim + 1) * sizeof(int32_t)
                             + dim * (sizeof(float) + sizeof(int16_t)));
    if (!halves) return 0;
    int32_t *sums = (int32_t *)(halves + cells), *sizes = sums + cells * dim;
    float *residual = (float *)(sizes + cells);
    int16_t *steps = (int16_t *)(residual + dim);
    for (size_t c = 0; c < cells; c++)
        sample_residual(sample + c * (count / cells) * dim, axis, dim, residual, centroids + c * dim);
    for (int round = 0; round <= ROUNDS; round++) {
        measure_lengths(centroids, cells, dim, halves);
        memset(sums, 0, cells * (dim + 1) * sizeof *sums);
        for (size_t p = 0; p < count; p++) {
            sample_residual(sample + p * dim, axis, dim, residual, steps);
            size_t cell = nearest(steps, centroids, cells, dim, halves);
            of_photos[p] = (uint16_t)cell;
            sizes[cell]++;
            for (size_t i = 0; i < dim; i++) sums[cell * dim + i] += steps[i];
        }
        for (size_t at = 0; at < cells * dim && round < ROUNDS; at++)
            if (sizes[at / dim]) centroids[at] = (int16_t)whole((double)sums[at] / sizes[at / dim]);
    }
    free(halves);
    return 1;
}

EACH_LEVEL(int, lloyd,
           (const int16_t *sample, size_t count, size_t dim, const float *axis, size_t cells, int16_t *centroids,
            uint16_t *of_photos),
           (sample, count, dim, axis, cells, centroids, of_photos))

/* Find centroids [cells][dim] of a sample, and the cell of each of its photos. Return 0 if memory runs out. */
size_t fit_cells(const int16_t *sample, size_t count, size_t dim, const float *axis, size_t cells, int16_t *centroids,
                 uint16_t *of_photos, int level) {
    return (size_t)AT_LEVEL(lloyd, level)(sample, count, dim, axis, cells, centroids, of_photos);
}

/* A cell and minus its product with the query. */
typedef struct {
    int64_t away, cell;
} Place;

static int compare(const void *a, const void *b) {
    const Place *left = a, *right = b;
    if (left->away != right->away) return left->away < right->away ? -1 : 1;
    return left->cell < right->cell ? -1 : left->cell > right->cell;
}

/* List the cells in the order in which a rotated query scans them. Return 0 if memory runs out. */
int mcad_order_cells(const float *query, size_t dim, const int16_t *centroids, size_t cells, int64_t *order) {
    int16_t steps[MOST_DIM];
    Place *places = malloc((cells + 1) * sizeof *places);
    if (!places) return 0;
    to_steps(query, dim, steps);
    for (size_t c = 0; c < cells; c++) places[c] = (Place){-product(steps, centroids + c * dim, dim), (int64_t)c};
    qsort(places, cells, sizeof *places, compare);
    for (size_t c = 0; c < cells; c++) order[c] = places[c].cell;
    free(places);
    return 1;
}
