/* How an index is searched: which segments a commit merges, how many bits a scan reads, whether a shorter scan or cells
 * come first, how many candidates go on, and how many of them the second pass scores. All counts depend on the student,
 * so they are measured on a sample when a commit tunes an index, see sample.c. */
#include "kernel.h"
#include "exact.h"
#include "bit_weights.h"
#include "cells.h"
#include "sample.h"
#include <stdlib.h>

/* An index of fewer photos is not tuned: pass 2 scores all of them. */
#define MIN_TUNED 256
#define SAMPLE_STEPS 0x1p15
/* Photos times dimensions in a sample, and its least number of photos; photos that bit weights are fitted to. */
#define SAMPLE ((size_t)1 << 22)
#define MIN_SAMPLE 4096
#define FIT_SAMPLE 4096
/* The least and most photos for a covariance, and the width up to which it is worthwhile. */
#define FEEDBACK_FROM 256
#define FEEDBACK_SAMPLE 4096
#define FEEDBACK_DIM 1024
#define MIN_CELLS 16
/* With fewer photos all cells are scanned: an eighth of a sample, the least measured, has as many. */
#define CELLS_MEASURED_FROM 2048
/* A segment with more than one deleted row in so many is rewritten: opening it reads its tombstones, and every scan
 * reads their rows. */
#define MOST_DELETED 8
/* Costs in ns on a server's core: a scanned byte, a scored photo, and each of its bytes. */
#define NS_BYTE 0.1
#define NS_PHOTO 1500.0
#define NS_PHOTO_BYTE 0.6
/* Choosing the cells to scan, and each number of a centroid. */
#define NS_CELLS 150000.0
#define NS_NUMBER 0.1
/* A photo that a prescan passes on, and each further word, a scattered read. */
#define NS_PRESCANNED 40.0
#define NS_WORD 60.0
/* A prescan loses some photos that the scan would find, so it passes more on. */
#define PRESCAN_FACTOR 1.5
/* Words may be harder to place than photos, and candidates that pass 2 skips cost little. */
#define CANDIDATE_FACTOR 2
/* A few more cells cost little, too. */
#define CELLS_FACTOR 1.5
/* A shorter scan may cost this much more. */
#define COST_TOLERANCE 1.05
#define SIZES 4

void mcad_limits(Limits *limits) {
    *limits = (Limits){.axis_growth = 8, .cells_from = 1 << 16, .photos_per_cell = 50, .cells_gain = 1, .at_least = 128,
                       .per_result = 4, .part = 8, .many = 8, .missed = 1 / 64.0, .missed_of_many = 1 / 512.0, .level = (size_t)mcad_level()};
}

/* How many of `photos` are candidates for k results: 2 k or more, or all. */
size_t mcad_count(const Count *count, size_t photos, size_t k) {
    if (photos <= k) return photos;
    double wanted = count->factor * natural_power(count->exponent * natural_log((double)photos)
                                                  + count->growth * natural_log((double)k));
    wanted = ceiling(wanted > 2.0 * (double)k ? wanted : 2.0 * (double)k);
    return wanted < (double)photos ? (size_t)wanted : photos;
}

/* How many of `photos` the scanned cells must hold. */
size_t mcad_count_in_cells(const Count *count, size_t photos, size_t k) {
    return photos < CELLS_MEASURED_FROM ? photos : mcad_count(count, photos, k);
}

/* Mark the segments, of `live` and `deleted` rows each, that merge with the `added` photos, and return whether the axis
 * is computed anew. All merge when the index has `axis_growth` times the `axis_photos` that its axis is based on. Else
 * those with too many deleted rows do, and every segment at most twice as large as all that merged before it. So sizes
 * at least double: an index of N photos has at most log2 N segments, and a photo is copied about as often. */
int mcad_plan_merge(const int64_t *live, const int64_t *deleted, size_t segments, int64_t added, int64_t axis_photos,
                    const Limits *limits, uint8_t *merged) {
    int64_t total = added, size = added;
    for (size_t i = 0; i < segments; i++) total += live[i];
    int anew = total >= MIN_TUNED && total / (int64_t)limits->axis_growth >= axis_photos;
    for (size_t i = 0; i < segments; i++) {
        merged[i] = anew || deleted[i] * MOST_DELETED > live[i] + deleted[i];
        if (merged[i]) size += live[i];
    }
    for (int more = 1; more;) {
        size_t least = segments;
        for (size_t i = 0; i < segments; i++)
            if (!merged[i] && (least == segments || live[i] < live[least])) least = i;
        more = least < segments && live[least] <= 2 * size;
        if (more) {
            merged[least] = 1;
            size += live[least];
        }
    }
    return anew;
}

/* The sample for `mcad_tune` is one photo in so many. */
size_t mcad_sample_step(size_t photos, size_t dim) {
    size_t most = SAMPLE / dim > MIN_SAMPLE ? SAMPLE / dim : MIN_SAMPLE;
    return (photos + most - 1) / most;
}

/* The sample for `mcad_feedback` is one photo in so many; 0 for few photos, or for so many dimensions that it would be
 * slow. */
size_t mcad_feedback_step(size_t photos, size_t dim) {
    return photos < FEEDBACK_FROM || dim > FEEDBACK_DIM ? 0 : (photos + FEEDBACK_SAMPLE - 1) / FEEDBACK_SAMPLE;
}

/* Round numbers of rotated photos to steps of 2^-15, in which products of two photos are exact in 32 bits. */
void mcad_shrink(const float *rows, size_t numbers, int16_t *sample) {
    for (size_t i = 0; i < numbers; i++)
        sample[i] = (int16_t)within(whole((double)rows[i] * SAMPLE_STEPS), INT16_MIN, INT16_MAX);
}

/* What a search costs, in ns. */
static double cost(const Tune *t, size_t dim) {
    double passed = (double)mcad_count(&t->candidates, t->photos, RESULTS), scanned = (double)t->photos;
    double sum = passed * (NS_PHOTO + (double)dim * NS_PHOTO_BYTE);
    size_t bits = t->scan_bits;
    if (t->cells) {
        scanned = (double)mcad_count(&t->in_cells, t->photos, RESULTS);
        sum += NS_CELLS + (double)(t->cells * dim) * NS_NUMBER;
    }
    if (t->prescan_bits) {
        double words = (double)((t->scan_bits - t->prescan_bits) / 64);
        bits = t->prescan_bits;
        sum += (double)mcad_count(&t->prescan, t->photos, RESULTS) * (NS_PRESCANNED + words * NS_WORD);
    }
    return sum + scanned * (double)bits / 8 * NS_BYTE;
}

static Count times(Count count, double factor) {
    return (Count){whole(factor * count.factor * 1000) / 1000, count.exponent, count.growth};
}

/* The signs of residuals of the sample, as columns [most / 64][count]. */
static void sign_columns(const Tune *t, size_t most, uint64_t *columns, float *residual) {
    for (size_t p = 0; p < t->count; p++) {
        for (size_t i = 0; i < t->dim; i++) residual[i] = (float)(t->sample[p * t->dim + i] / SAMPLE_STEPS);
        split(residual, t->axis, t->dim, residual);
        for (size_t s = 0; s < most; s++)
            columns[s / 64 * t->count + p] |= (uint64_t)(residual[s] > 0) << (s % 64);
    }
}

/* Measure the candidates of a scan of each size. */
static int measure_sizes(const Tune *t, const Queries *queries, size_t most, const uint64_t *columns, Fit *f,
                         size_t *sizes, Count *counts, size_t *count, int level) {
    size_t step = (t->count + FIT_SAMPLE - 1) / FIT_SAMPLE;
    int done = fit_moments(f, t->sample, t->count, step, t->dim, columns, t->count, most, level);
    for (size_t quarters = 1; done && quarters <= SIZES; quarters++) {
        size_t bits = 64 * (most * quarters / 256 ? most * quarters / 256 : 1);
        if (*count && sizes[*count - 1] == bits) continue;
        done = fit_bit_weights(f, bits, t->bit_weights, level)
            && count_candidates(queries, t->bit_weights, bits, columns, counts + *count, level);
        sizes[(*count)++] = bits;
    }
    return done;
}

/* Find cells, if the index is large enough for them. */
static int measure_cells(Tune *t, const Queries *queries, const Limits *limits, int level) {
    size_t cells = t->count / limits->photos_per_cell;
    cells = cells > MOST_CELLS ? MOST_CELLS : cells;
    if (t->photos < limits->cells_from || cells < MIN_CELLS) return 1;
    uint16_t *of_photos = malloc(t->count * sizeof *of_photos);
    int done = of_photos
        && fit_cells(t->sample, t->count, t->dim, t->axis, cells, t->centroids, of_photos, level)
        && count_cells(queries, t->centroids, cells, of_photos, &t->in_cells);
    t->in_cells = times(t->in_cells, CELLS_FACTOR);
    t->cells = cells;
    free(of_photos);
    return done;
}

/* Set what is cheapest: the fewest bits that cost little more than the least. */
static void choose(Tune *t, const Limits *limits, const size_t *sizes, const Count *counts, size_t count) {
    double costs[SIZES * SIZES * 2], least = HUGE_VAL;
    Tune tried[SIZES * SIZES * 2];
    size_t all = 0;
    for (size_t size = 0; size < count; size++)
        for (size_t with_cells = 0; with_cells <= (t->cells > 0); with_cells++)
            for (size_t shorter = 0; shorter <= size; shorter++, all++) { /* 0: no prescan */
                Tune *next = tried + all;
                *next = *t;
                next->scan_bits = sizes[size];
                next->candidates = counts[size];
                next->cells = with_cells ? t->cells : 0;
                next->prescan_bits = shorter ? sizes[shorter - 1] : 0;
                if (shorter) next->prescan = times(counts[shorter - 1], PRESCAN_FACTOR);
                costs[all] = cost(next, t->dim) * (with_cells ? limits->cells_gain : 1);
                least = costs[all] < least ? costs[all] : least;
            }
    size_t best = all;
    for (size_t i = 0; i < all; i++)
        if (costs[i] <= COST_TOLERANCE * least
            && (best == all || (tried[i].scan_bits == tried[best].scan_bits && costs[i] < costs[best])))
            best = i;
    *t = tried[best];
    t->candidates = times(t->candidates, CANDIDATE_FACTOR);
}

/* Choose the cheapest tuning for an index of `photos` photos; none for few photos or dimensions. Return 0 if memory
 * runs out. */
int mcad_tune(Tune *t, const Limits *limits, int level) {
    size_t most = (t->dim < MOST_SCANNED ? t->dim : MOST_SCANNED) / 64 * 64, sizes[SIZES], count = 0;
    Count counts[SIZES];
    t->scan_bits = t->prescan_bits = t->cells = 0;
    t->candidates = t->prescan = t->in_cells = (Count){1, 1, 1};
    if (t->count < MIN_TUNED || !most) return 1;
    Queries queries = {0};
    Fit f = {0};
    uint64_t *columns = calloc(most / 64 * t->count, sizeof *columns);
    float *residual = malloc(t->dim * sizeof *residual);
    int done = columns && residual;
    if (done) sign_columns(t, most, columns, residual);
    free(residual);
    done = done && make_queries(&queries, t->sample, t->count, t->dim, t->axis, level)
        && measure_sizes(t, &queries, most, columns, &f, sizes, counts, &count, level)
        && measure_cells(t, &queries, limits, level);
    if (done) {
        choose(t, limits, sizes, counts, count);
        done = fit_bit_weights(&f, t->scan_bits, t->bit_weights, level);
    }
    free_queries(&queries);
    free_fit(&f);
    free(columns);
    return done;
}
