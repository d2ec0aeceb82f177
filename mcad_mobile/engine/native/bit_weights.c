/* How much each bit of a photo's code counts for a query.
 *
 * Students put most information into a few dozen directions, so the first S bits of a rotated code carry nearly as much
 * as all. The bit weights L [S, D] estimate a photo (less the mean) from its S bits by least squares: (L q) . bits is
 * the best estimate of q.x that is a sum over bits. It ignores a query's parts in directions where photos don't differ,
 * which matters as words and photos lie in different cones. L q is quantized to three bits a weight: its sign, and
 * |L q| in levels 0 to 3. */
#include "kernel.h"
#include "exact.h"
#include "bit_weights.h"
#include <stdlib.h>

#define RIDGE 0.02 /* of a bit's variance: regularizes the fit to a sample */
#define WEIGHT_STEPS 0x1p16
#define SAMPLE_UNIT 0x1p-15
#define LARGEST 3
/* Steps between the levels of |L q| that are tried, in units of its root mean square. */
#define FIRST_STEP 0.25
#define NEXT_STEP 0.05
#define TRIED 13
/* Photos whose bits are added at once. */
#define ROWS 8

/* The level of a size in steps; NaN has the largest. */
BODY uint8_t level_of(double size) {
    double level = whole(within(size, 0, LARGEST));
    return (uint8_t)(size >= 0 ? level : LARGEST);
}

/* Quantize L q of a rotated query for `mcad_scan`: `words` [3][bits / 64] are signs, and the bits that count 1 and 2.
 * Return by half of how much each unit of distance lowers the estimate of q.x. */
double mcad_quantize_query(const float *bit_weights, size_t bits, const float *query, size_t dim, uint64_t *words) {
    double steps[MOST_DIM], sizes[MOST_DIM], all = 0, highest = -1, best_step = 1, product = 0, squares = 0;
    size_t width = bits / 64;
    memset(words, 0, 3 * width * sizeof *words);
    for (size_t i = 0; i < dim; i++) steps[i] = whole((double)query[i] * STEPS);
    for (size_t s = 0; s < bits; s++) {
        const float *row = bit_weights + s * dim;
        double sums[8] = {0};
        for (size_t i = 0; i < dim; i += 8)
            for (size_t lane = 0; lane < 8; lane++) sums[lane] += (double)row[i + lane] * steps[i + lane];
        double sum = ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
        words[s >> 6] |= (uint64_t)(sum > 0) << (s & 63);
        sizes[s] = sum < 0 ? -sum : sum;
        all += sum * sum;
    }
    double typical = sqrt(all / (double)bits);
    if (!(typical > 0)) return 0;
    /* The levels with the highest cosine to the weights. */
    for (int tried = 0; tried < TRIED; tried++) {
        double step = (FIRST_STEP + tried * NEXT_STEP) * typical, dot = 0, length = 0;
        for (size_t s = 0; s < bits; s++) {
            double level = level_of(sizes[s] / step);
            dot += level * sizes[s];
            length += level * level;
        }
        double cosine = dot / sqrt(length > 1 ? length : 1);
        if (cosine > highest) {
            highest = cosine;
            best_step = step;
            product = dot;
            squares = length;
        }
    }
    for (size_t s = 0; s < bits; s++) {
        uint64_t level = level_of(sizes[s] / best_step);
        words[width + (s >> 6)] |= (level & 1) << (s & 63);
        words[2 * width + (s >> 6)] |= (level >> 1) << (s & 63);
    }
    return product / (squares > 1 ? squares : 1) / STEPS;
}

/* Sums of photos with the sign of each bit [most][dim] and of those signs [most], over one photo in `step`. */
BODY int add_signed(const int16_t *sample, size_t count, size_t step, size_t dim, const uint64_t *columns,
                    size_t stride, size_t most, int32_t *cross, int32_t *signs) {
    for (size_t at = 0; at < count; at += ROWS * step)
        for (size_t s = 0; s < most; s++) {
            const int16_t *rows[ROWS];
            int32_t minus[ROWS], *out = cross + s * dim;
            for (size_t r = 0; r < ROWS; r++) {
                size_t row = at + r * step < count ? at + r * step : at;
                rows[r] = sample + row * dim;
                minus[r] = (int32_t)(columns[(s >> 6) * stride + row] >> (s & 63) & 1) - 1;
            }
            size_t many = (count - at + step - 1) / step;
            for (size_t r = 0; r < ROWS && r < many; r++) signs[s] += 2 * minus[r] + 1;
            if (many >= ROWS)
                for (size_t i = 0; i < dim; i++) {
                    int32_t sum = 0;
                    for (size_t r = 0; r < ROWS; r++) sum += (rows[r][i] ^ minus[r]) - minus[r];
                    out[i] += sum;
                }
            else
                for (size_t r = 0; r < many; r++)
                    for (size_t i = 0; i < dim; i++) out[i] += (rows[r][i] ^ minus[r]) - minus[r];
        }
    return 1;
}

EACH_LEVEL(int, add_signed,
           (const int16_t *sample, size_t count, size_t step, size_t dim, const uint64_t *columns, size_t stride,
            size_t most, int32_t *cross, int32_t *signs),
           (sample, count, step, dim, columns, stride, most, cross, signs))

/* Mean products of bits with bits, 1 or -1. */
BODY int bit_products(const uint64_t *rows, size_t most, size_t words, size_t count, double *lower) {
    for (size_t s = 0; s < most; s++)
        for (size_t t = 0; t <= s; t++) {
            size_t differ = 0;
            for (size_t w = 0; w < words; w++)
                differ += (size_t)__builtin_popcountll(rows[s * words + w] ^ rows[t * words + w]);
            lower[s * most + t] = 1 - 2.0 * (double)differ / (double)count;
        }
    return 1;
}

EACH_LEVEL(int, bit_products, (const uint64_t *rows, size_t most, size_t words, size_t count, double *lower),
           (rows, most, words, count, lower))

BODY void subtract(double *from, const double *row, double times, size_t count) {
    for (size_t i = 0; i < count; i++) from[i] -= times * row[i];
}

/* Factor the moments by Cholesky's method, and solve forward. A factor of the first bits is the first part of that of
 * all. */
BODY int solve_forward(double *lower, double *solved, size_t most, size_t dim) {
    for (size_t j = 0; j < most; j++) {
        double diagonal = lower[j * most + j] + RIDGE;
        for (size_t k = 0; k < j; k++) diagonal -= lower[j * most + k] * lower[j * most + k];
        double root = sqrt(diagonal > 1e-9 ? diagonal : 1e-9);
        lower[j * most + j] = root;
        for (size_t i = j + 1; i < most; i++) {
            const double *a = lower + i * most, *b = lower + j * most;
            double sums[8] = {0};
            size_t k = 0;
            for (; k + 8 <= j; k += 8)
                for (size_t lane = 0; lane < 8; lane++) sums[lane] += a[k + lane] * b[k + lane];
            for (; k < j; k++) sums[k % 8] += a[k] * b[k];
            double sum = ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
            lower[i * most + j] = (a[j] - sum) / root;
        }
        double *row = solved + j * dim;
        for (size_t k = 0; k < j; k++) subtract(row, solved + k * dim, lower[j * most + k], dim);
        for (size_t i = 0; i < dim; i++) row[i] /= root;
    }
    return 1;
}

EACH_LEVEL(int, solve_forward, (double *lower, double *solved, size_t most, size_t dim), (lower, solved, most, dim))

BODY int solve_back(const Fit *f, size_t bits, double *solved, float *bit_weights) {
    memcpy(solved, f->solved, bits * f->dim * sizeof *solved);
    for (size_t s = bits; s-- > 0;) {
        double *row = solved + s * f->dim;
        for (size_t k = s + 1; k < bits; k++) subtract(row, solved + k * f->dim, f->lower[k * f->most + s], f->dim);
        for (size_t i = 0; i < f->dim; i++) {
            row[i] /= f->lower[s * f->most + s];
            bit_weights[s * f->dim + i] = (float)(whole(row[i] * WEIGHT_STEPS) / WEIGHT_STEPS);
        }
    }
    return 1;
}

EACH_LEVEL(int, solve_back, (const Fit *f, size_t bits, double *solved, float *bit_weights),
           (f, bits, solved, bit_weights))

void free_fit(Fit *f) {
    free(f->lower);
    free(f->solved);
}

/* Compute the moments that bit weights are fitted to, of one photo in `step`: mean products of bits with bits, and with
 * photos less their mean. `columns` [most / 64][stride] are the photos' bits. Return 0 if memory runs out. */
int fit_moments(Fit *f, const int16_t *sample, size_t count, size_t step, size_t dim, const uint64_t *columns,
                size_t stride, size_t most, int level) {
    size_t fitted = (count + step - 1) / step, words = (fitted + 63) / 64;
    *f = (Fit){most, dim, calloc(most * most + 1, sizeof *f->lower), calloc(most * dim + 1, sizeof *f->solved)};
    int32_t *cross = calloc(most * dim + most + 1, sizeof *cross), *signs = cross ? cross + most * dim : NULL;
    uint64_t *rows = calloc(most * words + 1, sizeof *rows);
    double *mean = calloc(dim, sizeof *mean);
    int done = f->lower && f->solved && cross && rows && mean;
    if (done) {
        for (size_t at = 0; at < fitted; at++) {
            for (size_t i = 0; i < dim; i++) mean[i] += sample[at * step * dim + i];
            for (size_t s = 0; s < most; s++)
                rows[s * words + at / 64] |= (columns[(s >> 6) * stride + at * step] >> (s & 63) & 1) << (at & 63);
        }
        AT_LEVEL(add_signed, level)(sample, count, step, dim, columns, stride, most, cross, signs);
        AT_LEVEL(bit_products, level)(rows, most, words, fitted, f->lower);
        for (size_t s = 0; s < most; s++)
            for (size_t i = 0; i < dim; i++)
                f->solved[s * dim + i] = ((double)cross[s * dim + i] - signs[s] * (mean[i] / (double)fitted))
                    * SAMPLE_UNIT / (double)fitted;
        AT_LEVEL(solve_forward, level)(f->lower, f->solved, most, dim);
    }
    free(cross);
    free(rows);
    free(mean);
    return done;
}

/* Compute L [bits][dim] for the first bits. Return 0 if memory runs out. */
int fit_bit_weights(const Fit *f, size_t bits, float *bit_weights, int level) {
    double *solved = malloc(bits * f->dim * sizeof *solved);
    if (solved) AT_LEVEL(solve_back, level)(f, bits, solved, bit_weights);
    free(solved);
    return solved != NULL;
}
