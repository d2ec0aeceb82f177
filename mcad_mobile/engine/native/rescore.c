/* Pass 2: compute cosines from the records of candidates, nearest by bits first, while one may still be among the best.
 * Bit distances predict cosines, up to a constant and an error. The nearest candidates are scored first: they show the
 * constant, the size of errors, and the cosine to beat. Then more are scored, nearest first, while one of the rest is
 * likely to beat it. So a query reads only the records that it needs, and at most as many as the index allows
 * (tune.c). */
#include "kernel.h"
#include "exact.h"
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#if defined(__aarch64__)
#include "neon.h"
#elif defined(__x86_64__)
#include "digits.h"
#include <immintrin.h>
#endif

#define READ 65536
/* Candidates this many bytes apart or less are read at once: no page lies between them, and a copy is faster than a
 * system call. */
#define GAP 4096
#define AHEAD 4
#define MOST_SIGNS 512
/* One in TIMED reads is timed; one slower than SLOW_NS came from the disk. */
#define TIMED 16
#define SLOW_NS 30000
/* Loops over 16 dimensions may read this many bytes past the end. */
#define PADDING 16
/* Each round scores at most GROWTH times as many candidates as are already scored. */
#define GROWTH 2
/* The unit of errors, in which their sums are exact. */
#define UNIT 0x1p-18

/* Candidates of a segment, nearest first; the first `scored` are scored, the first `wanted` will be. */
typedef struct {
    uint32_t *order, *batch;
    uint8_t *marks; /* per candidate: whether it is in the batch */
    size_t scored, wanted;
    double slope;  /* the cosine per unit of distance: negative */
    double missed; /* how many of the best k the unscored candidates may be expected to hold */
#if defined(__aarch64__) || defined(__x86_64__)
    Digits digits; /* of the query's residual; `wide` is NULL if it has none */
#endif
} Progress;

/* The k best cosines, as a min-heap. */
typedef struct {
    float *best;
    size_t count, k;
} Best;

static void keep(Best *b, float cosine) {
    size_t at = 0;
    if (b->count < b->k) {
        for (at = b->count++; at > 0 && b->best[(at - 1) / 2] > cosine; at = (at - 1) / 2)
            b->best[at] = b->best[(at - 1) / 2];
    } else if (cosine > b->best[0]) {
        for (size_t next = 1; next < b->k; next = 2 * at + 1) {
            if (next + 1 < b->k && b->best[next + 1] < b->best[next]) next++;
            if (b->best[next] >= cosine) break;
            b->best[at] = b->best[next];
            at = next;
        }
    } else {
        return;
    }
    b->best[at] = cosine;
}

typedef int32_t Ints __attribute__((vector_size(32)));
typedef uint32_t Lanes __attribute__((vector_size(32)));

/* An exact sum of products, so its order does not matter. Shifts spread bytes over lanes, because compilers convert
 * them one by one. */
BODY double products(const double *residual, const uint8_t *magnitudes, const uint8_t *signs, size_t dim) {
    const Ints bits = {1, 2, 4, 8, 16, 32, 64, 128};
    const Lanes places = {0, 8, 16, 24, 0, 8, 16, 24};
    Doubles sums = {0};
    for (size_t i = 0; i < dim; i += 8) {
        uint32_t four[2];
        Doubles step;
        memcpy(four, magnitudes + i, 8);
        memcpy(&step, residual + i, 64);
        Lanes spread = {four[0], four[0], four[0], four[0], four[1], four[1], four[1], four[1]};
        Ints levels = (Ints)(2 * (spread >> places & 255) + 1);
        Ints minus = (Ints)((bits & (int32_t)signs[i >> 3]) == 0); /* -1 where the bit is 0 */
        levels = (levels ^ minus) - minus;
        sums += step * __builtin_convertvector(levels, Doubles);
    }
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

#if defined(__x86_64__)
/* A level is 2 n + 1, where n is the magnitude or its bitwise inverse: see neon.h. */
AVX2 double avx2_products(const Digits *d, const uint8_t *magnitudes, const uint8_t *signs) {
    const __m128i bits = _mm_set1_epi64x((int64_t)0x8040201008040201), spread = _mm_set_epi64x(0x0101010101010101, 0);
    __m256i sums[DIGITS_13] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
    for (size_t i = 0; i < d->padded; i += 16) {
        uint16_t two;
        memcpy(&two, signs + i / 8, sizeof two);
        __m128i set = _mm_and_si128(_mm_shuffle_epi8(_mm_cvtsi32_si128(two), spread), bits);
        __m256i minus = _mm256_cvtepi8_epi16(_mm_cmpeq_epi8(set, _mm_setzero_si128()));
        __m256i n = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(magnitudes + i)));
        n = _mm256_xor_si256(n, minus);
        for (size_t k = 0; k < DIGITS_13; k++) {
            __m256i digits = _mm256_loadu_si256((const __m256i *)(d->wide + i * DIGITS_13 + k * 16));
            sums[k] = _mm256_add_epi32(sums[k], _mm256_madd_epi16(n, digits));
        }
    }
    int64_t sum = 0;
    for (size_t k = DIGITS_13; k-- > 0;) {
        __m128i half = _mm_add_epi32(_mm256_castsi256_si128(sums[k]), _mm256_extracti128_si256(sums[k], 1));
        __m128i wide = _mm_add_epi64(_mm_cvtepi32_epi64(half), _mm_cvtepi32_epi64(_mm_unpackhi_epi64(half, half)));
        sum = sum * 8192 + _mm_cvtsi128_si64(wide) + _mm_extract_epi64(wide, 1);
    }
    return (double)(2 * sum + d->sum) * RESIDUAL_UNIT;
}
#endif

BODY double products_by(const Candidates *s, const Progress *progress, const uint8_t *magnitudes, const uint8_t *signs,
                        int level) {
#if defined(__aarch64__)
    if (level == DOT && progress->digits.wide) return dot_products(&progress->digits, magnitudes, signs);
    if (level == NEON && progress->digits.wide) return neon_products(&progress->digits, magnitudes, signs);
#elif defined(__x86_64__)
    if (level && progress->digits.wide) return avx2_products(&progress->digits, magnitudes, signs);
#endif
    (void)progress, (void)level;
    return products(s->residual, magnitudes, signs, s->dim);
}

static int64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* Start reading all records of a batch, without waiting. */
static void read_ahead(const Candidates *s, const uint32_t *batch, size_t count) {
#ifdef POSIX_FADV_WILLNEED
    for (size_t i = 0; i < count; i++)
        posix_fadvise(s->file, s->offset + (int64_t)s->rows[batch[i]] * (int64_t)s->size, (off_t)s->size,
                      POSIX_FADV_WILLNEED);
#else
    (void)s, (void)batch, (void)count;
#endif
}

/* Score the first `count` candidates of the batch, which ascend. Return 0 if a record cannot be read. */
BODY int score(const Candidates *s, const Progress *progress, size_t count, Best *best, int level) {
    const uint32_t *batch = progress->batch;
    uint8_t buffer[READ + PADDING], signs[MOST_SIGNS + PADDING];
    size_t most = READ / s->size, gap = GAP / s->size + 1, reads = 0;
    int ahead = 0;
    for (size_t at = 0, run; at < count; at += run) {
        size_t row = s->rows[batch[at]], last = row;
        for (run = 1; at + run < count; run++) {
            size_t next = s->rows[batch[at + run]];
            if (next - last > gap || next - row >= most) break;
            last = next;
        }
        ssize_t wanted = (ssize_t)((last - row + 1) * s->size);
        int timed = !ahead && reads++ % TIMED == 0;
        int64_t began = timed ? nanoseconds() : 0;
        if (pread(s->file, buffer, wanted, s->offset + (int64_t)row * (int64_t)s->size) != wanted) return 0;
        if (timed && nanoseconds() - began > SLOW_NS) {
            read_ahead(s, batch + at + run, count - at - run);
            ahead = 1;
        }
        for (size_t i = 0; i < run; i++) {
            size_t own = s->rows[batch[at + i]];
            const uint8_t *record = buffer + (own - row) * s->size, *tail = record + s->dim;
            /* Words of rows far apart are in distant cache lines: prefetch them a few rows ahead. */
            if (at + i + AHEAD < count)
                for (size_t w = 0; w < s->words; w++)
                    __builtin_prefetch(s->columns + w * s->stride + s->rows[batch[at + i + AHEAD]]);
            for (size_t w = 0; w < s->words; w++) memcpy(signs + 8 * w, s->columns + w * s->stride + own, 8);
            size_t left = s->dim / 8 - 8 * s->words;
            memcpy(signs + 8 * s->words, tail, left);
            int16_t projection;
            uint16_t scale;
            memcpy(&projection, tail + left, 2);
            memcpy(&scale, tail + left + 2, 2);
            double sum = products_by(s, progress, record, signs, level);
            float cosine = (float)(sum * (double)(scale * 0x1p-24f) + projection * s->projection_step);
            s->cosines[batch[at + i]] = cosine;
            keep(best, cosine);
        }
    }
    return 1;
}

BODY int score_wanted(const Candidates *s, Progress *progress, Best *best, int level) {
    size_t count = 0;
    if (progress->scored == progress->wanted) return 1;
    for (size_t i = progress->scored; i < progress->wanted; i++) progress->marks[progress->order[i]] = 1;
    for (size_t i = 0; i < s->count; i++)
        if (progress->marks[i]) progress->batch[count++] = (uint32_t)i;
    memset(progress->marks, 0, s->count);
    progress->scored = progress->wanted;
    return score(s, progress, count, best, level);
}

/* Return whether more of the rest are expected to have a cosine above `beaten` than may be missed; if so, raise
 * `wanted` by their number, within bounds. */
static int wants_more(const Candidates *s, Progress *progress, double beaten) {
    double sum = 0, squares = 0, beyond = 0, expected = 0;
    size_t last = s->count, before = SIZE_MAX;
    if (progress->scored == last) return 0;
    for (size_t i = 0; i < progress->scored; i++) {
        size_t at = progress->order[i];
        double error = whole(((double)s->cosines[at] - s->distances[at] * progress->slope) * (1 / UNIT));
        sum += error;
        squares += error * error;
    }
    double mean = sum / (double)progress->scored, variance = squares / (double)progress->scored - mean * mean;
    double deviation = sqrt(variance > 0 ? variance : 0);
    deviation = (deviation > 1 ? deviation : 1) * UNIT;
    for (; last > progress->scored; last--) {
        size_t distance = s->distances[progress->order[last - 1]];
        if (distance != before) { /* many candidates share a distance */
            double z = (beaten - mean * UNIT - (double)distance * progress->slope) / deviation;
            expected = z < 0 ? 1 : natural_power(z * z * -0.5) * 0.5;
            before = distance;
        }
        beyond += expected;
        if (beyond > progress->missed) break;
    }
    size_t rest = last - progress->scored;
    progress->wanted += rest < GROWTH * progress->scored ? rest : GROWTH * progress->scored;
    return rest > 0;
}

/* Counting sort by distance, then row: there are few distances. */
static int sort_by_distance(const Candidates *s, Progress *progress) {
    size_t furthest = 0, *next;
    for (size_t i = 0; i < s->count; i++)
        if (s->distances[i] > furthest) furthest = s->distances[i];
    if (!(next = calloc(furthest + 2, sizeof *next))) return 0;
    for (size_t i = 0; i < s->count; i++) next[s->distances[i] + 1]++;
    for (size_t d = 1; d <= furthest; d++) next[d] += next[d - 1];
    for (size_t i = 0; i < s->count; i++) progress->order[next[s->distances[i]]++] = (uint32_t)i;
    free(next);
    return 1;
}

/* Set how many candidates are scored whatever they show, and how many photos may be missed, of k in `segments`. */
static void set_budget(const Candidates *s, Progress *progress, size_t segments, size_t k, const Limits *limits) {
    size_t least = s->count / limits->part;
    least = least < limits->at_least ? limits->at_least : least;
    least = least / limits->per_result < k ? limits->per_result * k : least;
    progress->wanted = s->distances && least < s->count ? least : s->count;
    int many = s->count > s->stride / limits->many;
    progress->missed = (many ? limits->missed_of_many : limits->missed) * (double)k / (double)segments;
    progress->slope = -2 * s->step;
}

static int start(const Candidates *s, Progress *progress) {
    progress->order = malloc((s->count + 1) * sizeof *progress->order);
    progress->batch = malloc((s->count + 1) * sizeof *progress->batch);
    progress->marks = calloc(s->count + 1, 1);
    if (!progress->order || !progress->batch || !progress->marks) return 0;
    for (size_t i = 0; i < s->count; i++) {
        s->cosines[i] = NAN;
        progress->order[i] = (uint32_t)i;
    }
#if defined(__aarch64__) || defined(__x86_64__)
    Digits *d = &progress->digits;
    d->padded = (s->dim + 15) / 16 * 16;
    if (!(d->wide = calloc(d->padded, DIGITS_13 * sizeof *d->wide + DIGITS_8))) return 0;
    d->narrow = (int8_t *)(d->wide + DIGITS_13 * d->padded);
    if (!split_digits(d, s->residual, s->dim)) {
        free(d->wide);
        d->wide = NULL;
    }
#endif
    return !s->distances || sort_by_distance(s, progress);
}

/* Return 0, or i + 1 if a record of segment i cannot be read. */
BODY int rescore(const Candidates *segments, Progress *progress, size_t count, Best *best, int level) {
    for (int more = 1; more;) {
        for (size_t i = 0; i < count; i++)
            if (!score_wanted(segments + i, progress + i, best, level)) return (int)i + 1;
        double beaten = best->count < best->k ? -INFINITY : best->best[0];
        more = 0;
        for (size_t i = 0; i < count; i++) more |= wants_more(segments + i, progress + i, beaten);
    }
    return 0;
}

typedef int Rescore(const Candidates *, Progress *, size_t, Best *);
static int rescore_plain(const Candidates *s, Progress *progress, size_t count, Best *best) {
    return rescore(s, progress, count, best, 0);
}
#if defined(__x86_64__)
AVX2 int rescore_avx2(const Candidates *s, Progress *progress, size_t count, Best *best) {
    return rescore(s, progress, count, best, 1);
}
AVX512 int rescore_avx512(const Candidates *s, Progress *progress, size_t count, Best *best) {
    return rescore(s, progress, count, best, 2);
}
static Rescore *const rescores[] = {rescore_plain, rescore_avx2, rescore_avx512};
#elif defined(__aarch64__)
static int rescore_neon(const Candidates *s, Progress *progress, size_t count, Best *best) {
    return rescore(s, progress, count, best, NEON);
}
static int rescore_dot(const Candidates *s, Progress *progress, size_t count, Best *best) {
    return rescore(s, progress, count, best, DOT);
}
static Rescore *const rescores[] = {rescore_plain, rescore_neon, rescore_dot};
#else
static Rescore *const rescores[] = {rescore_plain};
#endif

/* As `rescore`; -1 if memory runs out. */
int mcad_rescore(const Candidates *segments, size_t count, size_t k, const Limits *limits, int level) {
    Progress *progress = calloc(count + 1, sizeof *progress);
    size_t all = 1;
    for (size_t i = 0; i < count; i++) all += segments[i].count;
    Best best = {malloc((k < all ? k : all) * sizeof(float)), 0, k < all ? k : all};
    int done = progress && best.best ? 0 : -1;
    for (size_t i = 0; i < count && !done; i++) {
        set_budget(segments + i, progress + i, count, k, limits);
        done = start(segments + i, progress + i) ? 0 : -1;
    }
    if (!done) done = rescores[level](segments, progress, count, &best);
    for (size_t i = 0; progress && i < count; i++) {
        free(progress[i].order);
        free(progress[i].batch);
        free(progress[i].marks);
#if defined(__aarch64__) || defined(__x86_64__)
        free(progress[i].digits.wide);
#endif
    }
    free(progress);
    free(best.best);
    return done;
}
