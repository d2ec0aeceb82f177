/* The numbers that an index stores per photo: a record of D magnitudes, the D/8 bytes of its code, the projection and
 * the scale. docs/index-format.md defines them.
 *
 * Coordinates rounded later compensate for the error of earlier ones, as far as the photos' covariance allows: the
 * update of GPTQ (Frantar et al., ICLR 2023, arXiv 2210.17323). That halves the error of a score. */
#include "kernel.h"
#include "exact.h"
#include <stdlib.h>

#define LARGEST 511 /* 2 * 255 + 1 */
#define PROJECTIONS 32767
#define SCALE_UNIT 0x1p-24f
/* Coordinates that compensate for others' errors may exceed the largest residual. */
#define HEADROOM 1.03f
/* Residuals of queries are multiples of 2^-36, so that no sum of a score rounds, whatever its order: 511 * |r_i| add up
 * to less than 2^16 for any D. */
#define SCORE_STEPS 0x1p36
/* Photos that are rounded at once, and dimensions whose errors are compensated for at once. */
#define LANES 16
#define BLOCK 32
#define TILE 4
/* Units in which no sum rounds: of a covariance of 8192 photos in double, and of the updates by a block of errors in
 * float. */
#define RESIDUAL_STEPS 0x1p20
#define ERROR_STEPS 0x1p7f
#define MOST_ERROR 8
#define SHARE_STEPS 0x1p8
#define MOST_SHARE 2
/* Share of the mean variance that is added in every direction, as queries are not photos. */
#define DAMPING 0.1
/* The largest share of a coordinate's variance that others may leave unexplained: students leave 0.31 to 0.38;
 * embeddings evenly on the sphere, 0.92 or more. */
#define MOST_UNEXPLAINED 0.7

/* Coordinates of LANES photos. */
typedef float Photos[LANES];

/* Round to an odd number; 0 goes to -1, as its bit in a code is 0. */
BODY float nearest_odd(float value) {
    float half = value * 0.5f;
    half = half > -LARGEST ? half < LARGEST ? half : LARGEST : -LARGEST;
    float above = whole_float(half);
    above += above < half ? 1 : 0;
    float odd = 2 * above - 1;
    return odd > -LARGEST ? odd < LARGEST ? odd : LARGEST : -LARGEST;
}

/* Round coordinates to odd levels, in place; subtracting e * feedback[i][j] from every j > i compensates for an error e
 * of coordinate i. */
BODY void round_levels(Photos *values, size_t dim, const float *feedback) {
    for (size_t start = 0; start < dim; start += BLOCK) {
        size_t stop = start + BLOCK < dim ? start + BLOCK : dim;
        Photos errors[BLOCK];
        for (size_t i = start; i < stop; i++) {
            float *error = errors[i - start];
            for (size_t lane = 0; lane < LANES; lane++) {
                float odd = nearest_odd(values[i][lane]);
                error[lane] = values[i][lane] - odd;
                values[i][lane] = odd;
            }
            for (size_t j = i + 1; feedback && j < stop; j++)
                for (size_t lane = 0; lane < LANES; lane++) values[j][lane] -= feedback[i * dim + j] * error[lane];
        }
        if (!feedback) continue;
        for (size_t i = 0; i < stop - start; i++)
            for (size_t lane = 0; lane < LANES; lane++) {
                float error = errors[i][lane];
                error = error > -MOST_ERROR ? error < MOST_ERROR ? error : MOST_ERROR : -MOST_ERROR;
                errors[i][lane] = whole_float(error * ERROR_STEPS) / ERROR_STEPS;
            }
        for (size_t j = stop; j < dim; j += TILE) {
            Photos sums[TILE] = {{0}};
            for (size_t i = start; i < stop; i++)
                for (size_t t = 0; t < TILE; t++)
                    for (size_t lane = 0; lane < LANES; lane++)
                        sums[t][lane] += feedback[i * dim + j + t] * errors[i - start][lane];
            for (size_t t = 0; t < TILE; t++)
                for (size_t lane = 0; lane < LANES; lane++) values[j + t][lane] -= sums[t][lane];
        }
    }
}

BODY void write_record(const Photos *levels, size_t lane, size_t dim, uint8_t *record) {
    uint8_t *code = record + dim;
    memset(code, 0, dim / 8);
    for (size_t i = 0; i < dim; i++) {
        int level = (int)levels[i][lane];
        record[i] = (uint8_t)(((level < 0 ? -level : level) - 1) / 2);
        code[i >> 3] |= (uint8_t)((level > 0) << (i & 7));
    }
}

/* The scale is rounded up before it divides anything, so rounding it costs no precision. */
BODY int encode(const float *rows, size_t count, size_t dim, const float *axis, const float *feedback,
                uint8_t *records) {
    size_t size = dim + dim / 8 + 4;
    Photos *values = calloc(dim + dim / LANES + 1, sizeof *values);
    if (!values) return 0;
    float *residual = (float *)(values + dim);
    for (size_t at = 0; at < count; at += LANES) {
        size_t many = count - at < LANES ? count - at : LANES;
        uint8_t *first = records + at * size;
        for (size_t lane = 0; lane < many; lane++) {
            float projection = split(rows + (at + lane) * dim, axis, dim, residual), peak = 0;
            for (size_t i = 0; i < dim; i++) {
                float size_of = residual[i] < 0 ? -residual[i] : residual[i];
                peak = size_of > peak ? size_of : peak;
            }
            peak = peak * (feedback ? HEADROOM : 1) / ((LARGEST + 1) * SCALE_UNIT);
            uint16_t scale = (uint16_t)within(ceiling((double)peak), 1, UINT16_MAX);
            float step = (float)scale * SCALE_UNIT;
            for (size_t i = 0; i < dim; i++) values[i][lane] = residual[i] / step;
            int16_t steps = (int16_t)within(
                whole_float((float)within(projection, -1, 1) / (float)(1.0 / PROJECTIONS)), -PROJECTIONS, PROJECTIONS);
            memcpy(first + lane * size + size - 4, &steps, sizeof steps);
            memcpy(first + lane * size + size - 2, &scale, sizeof scale);
        }
        round_levels(values, dim, feedback);
        for (size_t lane = 0; lane < many; lane++) write_record(values, lane, dim, first + lane * size);
    }
    free(values);
    return 1;
}

EACH_LEVEL(int, encode,
           (const float *rows, size_t count, size_t dim, const float *axis, const float *feedback, uint8_t *records),
           (rows, count, dim, axis, feedback, records))

/* Encode rotated embeddings [count][dim] of length 1 around an axis of length 1 or 0, rounded with `feedback` [dim][dim]
 * or, if NULL, each coordinate alone. Return 0 if memory runs out. */
int mcad_encode(const float *rows, size_t count, size_t dim, const float *axis, const float *feedback, uint8_t *records,
                int level) {
    return AT_LEVEL(encode, level)(rows, count, dim, axis, feedback, records);
}

/* The rotated embeddings [count][dim] that records stand for. */
void mcad_decode(const uint8_t *records, size_t count, size_t dim, const float *axis, float *rows) {
    size_t size = dim + dim / 8 + 4;
    for (size_t row = 0; row < count; row++) {
        const uint8_t *record = records + row * size, *code = record + dim;
        int16_t steps;
        uint16_t scale;
        memcpy(&steps, record + size - 4, sizeof steps);
        memcpy(&scale, record + size - 2, sizeof scale);
        float step = (float)scale * SCALE_UNIT, projection = (float)steps * (float)(1.0 / PROJECTIONS);
        for (size_t i = 0; i < dim; i++) {
            int level = 2 * record[i] + 1;
            rows[row * dim + i] = (float)(code[i >> 3] >> (i & 7) & 1 ? level : -level) * step + projection * axis[i];
        }
    }
}

/* Split a rotated query by an axis: its residual, and what one step of a photo's projection adds to its score. */
double mcad_split_query(const float *query, size_t dim, const float *axis, double *residual) {
    float projection = (float)(exact_dot(query, axis, dim) / (STEPS * STEPS));
    for (size_t i = 0; i < dim; i++)
        residual[i] = whole((double)(query[i] - projection * axis[i]) * SCORE_STEPS) / SCORE_STEPS;
    return (double)projection * (double)(float)(1.0 / PROJECTIONS);
}

/* Add rotated embeddings [count][dim] to a sum [dim], from which `mcad_axis` computes the direction of their mean. */
void mcad_add_up(const float *rows, size_t count, size_t dim, double *total) {
    for (size_t row = 0; row < count; row++)
        for (size_t i = 0; i < dim; i++) total[i] += whole((double)rows[row * dim + i] * STEPS);
}

/* Zeros if the photos cancel out. */
void mcad_axis(const double *total, size_t dim, float *axis) {
    double squares = 0;
    for (size_t i = 0; i < dim; i++) squares += total[i] * total[i];
    double length = sqrt(squares);
    for (size_t i = 0; i < dim; i++) axis[i] = length > 0 ? (float)(total[i] / length) : 0;
}

BODY int add_covariance(const float *rows, size_t count, size_t dim, const float *axis, double *covariance) {
    double *residuals = calloc(8 * dim + dim / 2 + 1, sizeof *residuals);
    if (!residuals) return 0;
    float *residual = (float *)(residuals + 8 * dim);
    for (size_t at = 0; at < count; at += 8) {
        size_t many = count - at < 8 ? count - at : 8;
        memset(residuals, 0, 8 * dim * sizeof *residuals);
        for (size_t row = 0; row < many; row++) {
            split(rows + (at + row) * dim, axis, dim, residual);
            for (size_t i = 0; i < dim; i++) residuals[row * dim + i] = whole((double)residual[i] * RESIDUAL_STEPS);
        }
        for (size_t i = 0; i < dim; i++) {
            const double *z = residuals;
            double *out = covariance + i * dim, own[8];
            for (size_t row = 0; row < 8; row++) own[row] = z[row * dim + i];
            for (size_t j = i / 8 * 8; j < dim; j++)
                out[j] += ((own[0] * z[j] + own[1] * z[dim + j]) + (own[2] * z[2 * dim + j] + own[3] * z[3 * dim + j]))
                    + ((own[4] * z[4 * dim + j] + own[5] * z[5 * dim + j])
                       + (own[6] * z[6 * dim + j] + own[7] * z[7 * dim + j]));
        }
    }
    free(residuals);
    return 1;
}

EACH_LEVEL(int, add_covariance, (const float *rows, size_t count, size_t dim, const float *axis, double *covariance),
           (rows, count, dim, axis, covariance))

/* Add the residuals of rotated embeddings to the upper half of a covariance [dim][dim], whose unit does not matter.
 * Return 0 if memory runs out. */
int mcad_add_covariance(const float *rows, size_t count, size_t dim, const float *axis, double *covariance, int level) {
    return AT_LEVEL(add_covariance, level)(rows, count, dim, axis, covariance);
}

/* The inverse of a covariance A is U'U with an upper triangular U, and feedback[i][j] = U[i][j] / U[i][i]. U is the
 * inverse of the R in A = R R', which comes from Cholesky's method with the last coordinate first. */
BODY int feedback(double *a, size_t dim, float *shares, double *column) {
    double trace = 0, unexplained = 0;
    for (size_t i = 0; i < dim; i++) trace += a[i * dim + i];
    double mean = trace / (double)dim;
    if (!(mean > 0)) return 0;
    for (size_t i = 0; i < dim; i++) a[i * dim + i] += DAMPING * mean;
    for (size_t j = dim; j-- > 0;) {
        double root = sqrt(a[j * dim + j]);
        for (size_t i = 0; i < j; i++) column[i] = a[i * dim + j] /= root;
        a[j * dim + j] = root;
        unexplained += root * root;
        for (size_t i = 0; i < j; i++)
            for (size_t k = i; k < j; k++) a[i * dim + k] -= column[i] * column[k];
    }
    if (!(unexplained / (double)dim <= MOST_UNEXPLAINED * (mean + DAMPING * mean))) return 0;
    for (size_t i = 0; i < dim; i++) {
        double *row = column;
        for (size_t j = i + 1; j < dim; j++) row[j] = -a[i * dim + j];
        for (size_t k = i + 1; k < dim; k++) {
            row[k] /= a[k * dim + k];
            for (size_t j = k + 1; j < dim; j++) row[j] -= row[k] * a[k * dim + j];
        }
        for (size_t j = 0; j < dim; j++) {
            double share = j < i ? 0 : j == i ? 1 : whole(within(row[j], -MOST_SHARE, MOST_SHARE) * SHARE_STEPS);
            shares[i * dim + j] = (float)(j > i ? share / SHARE_STEPS : share);
        }
    }
    return 1;
}

EACH_LEVEL(int, feedback, (double *a, size_t dim, float *shares, double *column), (a, dim, shares, column))

/* Compute the feedback [dim][dim] of `mcad_encode` from a covariance, which this overwrites. Return 1, 0 if photos lie
 * evenly in all directions, as their covariance is noise then, or -1 if memory runs out. */
int mcad_feedback(double *covariance, size_t dim, float *shares, int level) {
    double *column = malloc(dim * sizeof *column);
    int useful = column ? AT_LEVEL(feedback, level)(covariance, dim, shares, column) : -1;
    free(column);
    return useful;
}
