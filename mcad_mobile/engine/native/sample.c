/* How many photos a scan must pass on, or the scanned cells must hold, to include the best: measured on a sample.
 *
 * Queries are photos of the sample, each as it is and once more turned by 45 degrees in a random direction, since words
 * are further from photos than photos are. A count is the rank, by an estimate, at which nearly all of a query's best
 * photos have been met. Where photos lie about evenly in all directions, words are further still: queries are turned by
 * 76 degrees there, and fewer photos may be missed. */
#include "kernel.h"
#include "exact.h"
#include "integers.h"
#include "sample.h"
#include <stdlib.h>

#define SAMPLE_STEPS 0x1p15
/* Photos that become queries, and queries whose best photos are found at once. */
#define SOURCES 192
#define AT_ONCE 32
/* A larger number of results, which shows how candidates grow with them, and one photo in STEP of the sample, which
 * shows how they grow with the photos. */
#define LARGE_K 80
#define STEP 8
/* Share of the best that candidates hold, and the same if photos lie evenly. */
#define RECALL 0.997
#define EVEN_RECALL 0.999
/* The evenness from which photos lie evenly (the default student has 0.12, whitened 0.5), and the tangents of both
 * angles. */
#define MIN_EVENNESS 0.4
#define TANGENT 1.0
#define EVEN_TANGENT 4.0
/* How candidates grow with the photos: the exponent for small samples, the least one, and the sample from which it is
 * measured. Beyond the sample it is steeper, as measured at a million photos. */
#define EXPONENT 0.5
#define MIN_EXPONENT 0.45
#define EXPONENT_MARGIN 0.05
#define EXPONENT_FROM 4096
#define MIN_GROWTH 0.5
/* Growth is measured at these shares of the ranks: the last few are chance. */
static const double SHARES[] = {0.9, 0.95, 0.98};
/* What is measured: one photo in how many, and results. */
static const size_t STEPS_OF[MEASURED] = {1, STEP, 1}, RESULTS_OF[MEASURED] = {RESULTS, RESULTS, LARGE_K};

/* SplitMix64 (Steele, Lea and Flood, OOPSLA 2014). */
static uint64_t draw(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void normalize(float *vector, size_t dim) {
    double length = sqrt(exact_dot(vector, vector, dim)) / STEPS;
    for (size_t i = 0; i < dim; i++) vector[i] = (float)(vector[i] / (length > 0 ? length : 1));
}

/* The share of dimensions that unit vectors effectively use: (sum l)^2 / (D * sum l^2) of their covariance's
 * eigenvalues l, estimated from the cosines between pairs, whose mean square is sum l^2 / (sum l)^2. */
static double evenness(const int16_t *directions, size_t count, size_t dim) {
    double squares = 0;
    for (size_t a = 0; a < count; a++)
        for (size_t b = 0; b < a; b++) {
            double cosine = dot_16(directions + a * dim, directions + b * dim, dim) / (SAMPLE_STEPS * SAMPLE_STEPS);
            squares += 2 * cosine * cosine;
        }
    double mean = squares / (double)(count > 1 ? count * (count - 1) : 1);
    return mean > 0 ? 1 / ((double)dim * mean) : 1;
}

/* A photo whose score is higher, or the same as an earlier one's, comes first. */
typedef struct {
    int32_t score;
    uint32_t photo;
} Best;

/* Insert into a list of the `k` best, in descending order; photos come in ascending order. */
BODY void insert(Best *best, size_t k, int32_t score, uint32_t photo) {
    if (score <= best[k - 1].score) return;
    size_t at = k - 1;
    for (; at > 0 && best[at - 1].score < score; at--) best[at] = best[at - 1];
    best[at] = (Best){score, photo};
}

/* Find the best photos of the queries from `first` on. */
BODY int find_best(const Queries *q, size_t first, size_t many, const int16_t *vectors) {
    Best whole_sample[AT_ONCE][LARGE_K], part[AT_ONCE][RESULTS];
    for (size_t i = 0; i < many; i++) {
        for (size_t k = 0; k < LARGE_K; k++) whole_sample[i][k] = (Best){INT32_MIN, 0};
        for (size_t k = 0; k < RESULTS; k++) part[i][k] = (Best){INT32_MIN, 0};
    }
    for (size_t p = 0; p < q->count; p++)
        for (size_t i = 0; i < many; i++) {
            if (q->source[first + i] == p) continue;
            int32_t score = dot_16(q->photos + p * q->dim, vectors + i * q->dim, q->dim);
            insert(whole_sample[i], LARGE_K, score, (uint32_t)p);
            if (p % STEP == 0) insert(part[i], RESULTS, score, (uint32_t)p);
        }
    for (size_t i = 0; i < many; i++)
        for (size_t kind = 0; kind < MEASURED; kind++)
            for (size_t k = 0; k < q->k[kind]; k++)
                q->best[kind][(first + i) * q->k[kind] + k] = kind == 1 ? part[i][k].photo : whole_sample[i][k].photo;
    return 1;
}

EACH_LEVEL(int, find_best, (const Queries *q, size_t first, size_t many, const int16_t *vectors),
           (q, first, many, vectors))

void free_queries(Queries *q) {
    free(q->vectors);
    free(q->source);
    for (size_t kind = 0; kind < MEASURED; kind++) free(q->best[kind]);
}

/* Make queries from photos, of which there are RESULTS * STEP or more. Return 0 if memory runs out. */
int make_queries(Queries *q, const int16_t *photos, size_t count, size_t dim, const float *axis, int level) {
    size_t step = (count + SOURCES - 1) / SOURCES, sources = (count + step - 1) / step;
    *q = (Queries){.photos = photos, .count = count, .dim = dim, .queries = 2 * sources};
    q->vectors = malloc(q->queries * dim * sizeof *q->vectors);
    q->source = malloc(q->queries * sizeof *q->source);
    int done = q->vectors && q->source;
    for (size_t kind = 0; kind < MEASURED; kind++) {
        size_t among = (count + STEPS_OF[kind] - 1) / STEPS_OF[kind];
        q->k[kind] = among - 1 < RESULTS_OF[kind] ? among - 1 : RESULTS_OF[kind];
        done = (q->best[kind] = malloc((q->queries * q->k[kind] + 1) * sizeof *q->best[kind])) && done;
    }
    int16_t *directions = malloc((sources > AT_ONCE ? sources : AT_ONCE) * dim * sizeof *directions);
    double *sizes = malloc(sources * sizeof *sizes);
    done = done && directions && sizes;
    for (size_t s = 0; done && s < sources; s++) {
        float *own = q->vectors + s * dim, *residual = own + sources * dim;
        q->source[s] = q->source[s + sources] = (uint32_t)(s * step);
        for (size_t i = 0; i < dim; i++) own[i] = (float)(photos[s * step * dim + i] / SAMPLE_STEPS);
        split(own, axis, dim, residual);
        sizes[s] = sqrt(exact_dot(residual, residual, dim)) / STEPS;
        normalize(residual, dim);
        mcad_shrink(residual, dim, directions + s * dim);
    }
    int is_even = done && evenness(directions, sources, dim) > MIN_EVENNESS;
    q->recall = is_even ? EVEN_RECALL : RECALL;
    uint64_t state = 0, bits = 0;
    for (size_t s = 0; done && s < sources; s++) {
        float *own = q->vectors + s * dim, *turned = own + sources * dim;
        float size = (float)(sizes[s] * (is_even ? EVEN_TANGENT : TANGENT) / sqrt((double)dim));
        for (size_t i = 0; i < dim; i++, bits >>= 1) {
            if (i % 64 == 0) bits = draw(&state);
            turned[i] = own[i] + (bits & 1 ? size : -size);
        }
        normalize(turned, dim);
    }
    for (size_t first = 0; done && first < q->queries; first += AT_ONCE) {
        size_t many = q->queries - first < AT_ONCE ? q->queries - first : AT_ONCE;
        mcad_shrink(q->vectors + first * dim, many * dim, directions);
        AT_LEVEL(find_best, level)(q, first, many, directions);
    }
    free(directions);
    free(sizes);
    return done;
}

/* The rank that a share of ranks does not exceed; `counts` [count + 1] says how often each rank occurs. */
static double rank_at(const uint32_t *counts, size_t ranks, double share) {
    size_t wanted = (size_t)ceiling(share * (double)ranks), seen = 0, rank = 0;
    while ((seen += counts[rank]) < wanted) rank++;
    return (double)rank;
}

static double rounded(double value) { return whole(value * 1000) / 1000; }

/* Fit a count to ranks, by how often each occurs. */
static Count fit(const Queries *q, uint32_t *const ranks[MEASURED]) {
    double exponent = EXPONENT, growth = 0, steeper = 0, shares = sizeof SHARES / sizeof *SHARES;
    size_t all[MEASURED];
    for (size_t kind = 0; kind < MEASURED; kind++) all[kind] = q->queries * q->k[kind];
    for (size_t i = 0; i < sizeof SHARES / sizeof *SHARES; i++) {
        double typical = rank_at(ranks[0], all[0], SHARES[i]);
        steeper += natural_log(typical / rank_at(ranks[1], all[1], SHARES[i])) / (shares * natural_log(STEP));
        growth += natural_log(rank_at(ranks[2], all[2], SHARES[i]) / typical)
            / (shares * natural_log((double)LARGE_K / RESULTS));
    }
    if (q->count >= EXPONENT_FROM) exponent = rounded(within(steeper + EXPONENT_MARGIN, MIN_EXPONENT, 1));
    growth = rounded(within(growth, MIN_GROWTH, 1));
    double unit = natural_power(exponent * natural_log((double)q->count) + growth * natural_log(RESULTS));
    return (Count){rounded(rank_at(ranks[0], all[0], q->recall) / unit), exponent, growth};
}

/* Zeros for the number of each rank, in one allocation. */
static int take_ranks(const Queries *q, uint32_t *ranks[MEASURED]) {
    ranks[0] = calloc(MEASURED * (q->count + 1), sizeof *ranks[0]);
    for (size_t kind = 1; kind < MEASURED && ranks[0]; kind++) ranks[kind] = ranks[0] + kind * (q->count + 1);
    return ranks[0] != NULL;
}

/* Measure how many candidates a scan with bit weights [bits][dim] must pass on; `columns` [bits / 64][count] are the
 * photos' bits. Return 0 if memory runs out. */
int count_candidates(const Queries *q, const float *bit_weights, size_t bits, const uint64_t *columns, Count *count,
                     int level) {
    uint64_t words[3 * MOST_SCANNED / 64];
    uint32_t *ranks[MEASURED], up_to[MEASURED][3 * MOST_SCANNED + 1];
    uint16_t *near = malloc(q->count * sizeof *near);
    if (!take_ranks(q, ranks) || !near) {
        free(ranks[0]);
        free(near);
        return 0;
    }
    Scan scan = {.columns = columns, .stride = q->count, .query = words, .words = bits / 64};
    for (size_t query = 0; query < q->queries; query++) {
        mcad_quantize_query(bit_weights, bits, q->vectors + query * q->dim, q->dim, words);
        mcad_distances(&scan, near, level);
        memset(up_to, 0, sizeof up_to);
        for (size_t p = 0; p < q->count; p++)
            if (p != q->source[query]) {
                up_to[0][near[p]]++;
                up_to[1][near[p]] += p % STEP == 0;
            }
        for (size_t d = 1; d <= 3 * bits; d++)
            for (size_t kind = 0; kind < 2; kind++) up_to[kind][d] += up_to[kind][d - 1];
        for (size_t kind = 0; kind < MEASURED; kind++)
            for (size_t k = 0; k < q->k[kind]; k++)
                ranks[kind][up_to[kind % 2][near[q->best[kind][query * q->k[kind] + k]]]]++;
    }
    *count = fit(q, ranks);
    free(ranks[0]);
    free(near);
    return 1;
}

/* Measure how many photos a query's first cells must hold. Return 0 if memory runs out. */
int count_cells(const Queries *q, const int16_t *centroids, size_t cells, const uint16_t *of_photos, Count *count) {
    int64_t order[MOST_CELLS];
    uint32_t *ranks[MEASURED], sizes[2][MOST_CELLS] = {{0}}, up_to[2][MOST_CELLS];
    int done = take_ranks(q, ranks);
    for (size_t p = 0; p < q->count; p++) {
        sizes[0][of_photos[p]]++;
        sizes[1][of_photos[p]] += p % STEP == 0;
    }
    for (size_t query = 0; done && query < q->queries; query++) {
        uint32_t held[2] = {0};
        done = mcad_order_cells(q->vectors + query * q->dim, q->dim, centroids, cells, order);
        for (size_t c = 0; done && c < cells; c++)
            for (size_t kind = 0; kind < 2; kind++) up_to[kind][order[c]] = held[kind] += sizes[kind][order[c]];
        for (size_t kind = 0; done && kind < MEASURED; kind++)
            for (size_t k = 0; k < q->k[kind]; k++)
                ranks[kind][up_to[kind % 2][of_photos[q->best[kind][query * q->k[kind] + k]]]]++;
    }
    if (done) *count = fit(q, ranks);
    free(ranks[0]);
    return done;
}
