/* The two loops of a search, in plain C: scan.py and codes.py hold the same in numpy, for where this
 * is not built, and give the same results bit by bit. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#define BLOCK 2048
#define GROUP 32
#define READ 65536
#define AHEAD 4
/* Rows of a block that tell where the wanted ones end, and how many more than that make it sure. A
 * guess saves nothing where one row of SPARSE or more is wanted. */
#define FEW 128
#define SURELY 64
#define SPARSE 8

#if defined(__x86_64__)
#define FOR(features) static __attribute__((target(features), noinline))
#endif
#define BODY static inline __attribute__((always_inline))

typedef struct {
    const uint64_t *columns; /* [words][stride] */
    size_t stride;
    const uint64_t *spans; /* [span_count][2]: from which row to before which */
    size_t span_count;
    const uint64_t *query; /* [3][words]: signs, weight 1, weight 2 */
    const uint8_t *allowed; /* a bit a row of the segment, or NULL */
    size_t words, wanted;
    uint32_t *rows;      /* [wanted + 2 * BLOCK] */
    uint16_t *distances; /* the same */
    uint32_t *histogram; /* [3 * 64 * words + 1], zeros */
} Scan;

/* Keep what is nearer than `limit`, and of those at it the first, `wanted` in all. */
static size_t compact(const Scan *s, size_t kept, size_t limit, size_t nearer) {
    size_t ties = s->wanted - nearer, out = 0;
    for (size_t i = 0; i < kept; i++) {
        size_t d = s->distances[i];
        if (d > limit || (d == limit && ties == 0)) continue;
        ties -= d == limit;
        s->rows[out] = s->rows[i];
        s->distances[out++] = (uint16_t)d;
    }
    return out;
}

/* Distances of `some` rows from `start` on. */
BODY void measure(const Scan *s, size_t start, size_t some, uint16_t *near) {
    uint64_t sums[BLOCK];
    memset(sums, 0, some * sizeof *sums);
    for (size_t w = 0; w < s->words; w++) {
        const uint64_t *column = s->columns + w * s->stride + start;
        uint64_t signs = s->query[w], one = s->query[s->words + w];
        uint64_t two = s->query[2 * s->words + w];
        for (size_t i = 0; i < some; i++) {
            uint64_t differ = column[i] ^ signs;
            sums[i] += (uint64_t)__builtin_popcountll(differ & one)
                + 2 * (uint64_t)__builtin_popcountll(differ & two);
        }
    }
    for (size_t i = 0; i < some; i++) near[i] = (uint16_t)sums[i];
}

static int passes(const Scan *s, size_t row) {
    return !s->allowed || s->allowed[row >> 3] >> (row & 7) & 1;
}

/* Keep what is nearer than `limit`, which falls as rows are found. */
BODY size_t scan_within(const Scan *s, size_t limit) {
    size_t kept = 0, inside = 0;
    for (size_t span = 0, start = s->spans[0]; span < s->span_count;) {
        size_t end = s->spans[2 * span + 1];
        size_t some = end - start < BLOCK ? end - start : BLOCK;
        uint16_t near[BLOCK];
        measure(s, start, some, near);
        for (size_t i = some; i < BLOCK; i++) near[i] = UINT16_MAX;
        for (size_t group = 0; group < some; group += GROUP) {
            uint16_t within = (uint16_t)limit;
            int any = 0;
            for (size_t i = group; i < group + GROUP; i++) any |= near[i] < within;
            if (!any) continue;
            for (size_t i = group; i < group + GROUP; i++) {
                size_t row = start + i;
                if (near[i] >= limit || !passes(s, row)) continue;
                s->rows[kept] = (uint32_t)row;
                s->distances[kept++] = near[i];
                s->histogram[near[i]]++;
                inside++;
                /* As soon as enough are within reach, only nearer ones are of interest. */
                if (inside >= s->wanted) {
                    if (limit > 3 * 64 * s->words) limit--;
                    while (inside - s->histogram[limit] >= s->wanted) inside -= s->histogram[limit--];
                }
            }
        }
        if (kept > s->wanted + BLOCK / 2 && inside >= s->wanted)
            kept = compact(s, kept, limit, inside - s->histogram[limit]);
        start += some;
        if (start == end && ++span < s->span_count) start = s->spans[2 * span];
    }
    return inside >= s->wanted ? compact(s, kept, limit, inside - s->histogram[limit]) : kept;
}

/* What some more than are wanted are nearer than, by a few rows of every BLOCK; `all` where they do not tell. */
BODY size_t guess(const Scan *s, size_t all) {
    size_t seen = 0, count = 0, measured = 0;
    for (size_t span = 0; span < s->span_count; span++) count += s->spans[2 * span + 1] - s->spans[2 * span];
    if (count / SPARSE < s->wanted) return all;
    for (size_t span = 0; span < s->span_count; span++)
        for (size_t start = s->spans[2 * span]; start + FEW <= s->spans[2 * span + 1]; start += BLOCK) {
            uint16_t near[FEW];
            measure(s, start, FEW, near);
            measured += FEW;
            for (size_t i = 0; i < FEW; i++)
                if (passes(s, start + i)) s->histogram[near[i]]++;
        }
    size_t limit = 0, enough = s->wanted * measured / count;
    enough += enough / 4 + SURELY;
    while (limit < all && seen < enough) seen += s->histogram[limit++];
    memset(s->histogram, 0, all * sizeof *s->histogram);
    return limit;
}

BODY size_t scan(const Scan *s) {
    size_t all = 3 * 64 * s->words + 1, limit = guess(s, all);
    size_t kept = scan_within(s, limit);
    if (kept >= s->wanted || limit == all) return kept;
    memset(s->histogram, 0, all * sizeof *s->histogram);
    return scan_within(s, all);
}

typedef struct {
    int file;
    int64_t offset;      /* of the records in the file */
    size_t size;         /* of a record: magnitudes, the rest of the signs, along, scale */
    size_t dim, words, stride;
    const uint64_t *columns;
    const double *steps; /* [dim] */
    double along;        /* what a step of along adds to a score */
    const uint32_t *rows;
    size_t count;
    float *scores;
} Score;

typedef int32_t Ints __attribute__((vector_size(32)));
typedef uint32_t Lanes __attribute__((vector_size(32)));
typedef double Doubles __attribute__((vector_size(64)));

/* A sum of products that does not round, whatever its order. Bytes are spread over lanes by shifts: what compilers
 * make of a conversion takes them one by one. */
BODY double products(const double *steps, const uint8_t *magnitudes, const uint8_t *signs, size_t dim) {
    const Ints bits = {1, 2, 4, 8, 16, 32, 64, 128};
    const Lanes places = {0, 8, 16, 24, 0, 8, 16, 24};
    Doubles sums = {0};
    for (size_t i = 0; i < dim; i += 8) {
        uint32_t four[2];
        Doubles step;
        memcpy(four, magnitudes + i, 8);
        memcpy(&step, steps + i, 64);
        Lanes spread = {four[0], four[0], four[0], four[0], four[1], four[1], four[1], four[1]};
        Ints levels = (Ints)(2 * (spread >> places & 255) + 1);
        Ints minus = (Ints)((bits & (int32_t)signs[i >> 3]) == 0); /* -1 where the bit is 0 */
        levels = (levels ^ minus) - minus;
        sums += step * __builtin_convertvector(levels, Doubles);
    }
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

BODY int score(const Score *s) {
    uint8_t buffer[READ], signs[512];
    size_t most = READ / s->size;
    for (size_t at = 0, run; at < s->count; at += run) {
        /* Words of rows far apart come from as many places: asked for some rows ahead. */
        if (at + AHEAD < s->count)
            for (size_t w = 0; w < s->words; w++)
                __builtin_prefetch(s->columns + w * s->stride + s->rows[at + AHEAD]);
        for (run = 1; run < most && at + run < s->count && s->rows[at + run] == s->rows[at] + run;) run++;
        ssize_t wanted = (ssize_t)(run * s->size);
        if (pread(s->file, buffer, wanted, s->offset + (int64_t)s->rows[at] * (int64_t)s->size) != wanted)
            return -1;
        for (size_t i = 0; i < run; i++) {
            const uint8_t *record = buffer + i * s->size, *tail = record + s->dim;
            for (size_t w = 0; w < s->words; w++)
                memcpy(signs + 8 * w, s->columns + w * s->stride + s->rows[at + i], 8);
            size_t left = s->dim / 8 - 8 * s->words;
            memcpy(signs + 8 * s->words, tail, left);
            int16_t along;
            uint16_t scale;
            memcpy(&along, tail + left, 2);
            memcpy(&scale, tail + left + 2, 2);
            double sum = products(s->steps, record, signs, s->dim);
            s->scores[at + i] = (float)(sum * (double)(scale * 0x1p-24f) + along * s->along);
        }
    }
    return 0;
}

#if defined(__x86_64__)
#define WIDE "avx512f,avx512bw,avx512vl,avx512dq,avx512vpopcntdq,popcnt"
FOR(WIDE) size_t scan_avx512(const Scan *s) { return scan(s); }
FOR(WIDE) int score_avx512(const Score *s) { return score(s); }
FOR("avx2,popcnt") size_t scan_avx2(const Scan *s) { return scan(s); }
FOR("avx2,popcnt") int score_avx2(const Score *s) { return score(s); }
#endif
static size_t scan_plain(const Scan *s) { return scan(s); }
static int score_plain(const Score *s) { return score(s); }

/* Of the layout of Scan and Score: kernel.py leaves a library of another one alone. */
int mcad_layout(void) { return 2; }

/* 2: AVX-512 with VPOPCNTDQ, 1: AVX2, 0: what the compiler takes by itself (NEON on Arm). */
int mcad_level(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512vpopcntdq") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) return 2;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt")) return 1;
#endif
    return 0;
}

size_t mcad_scan(const Scan *s, int level) {
#if defined(__x86_64__)
    if (level == 2) return scan_avx512(s);
    if (level == 1) return scan_avx2(s);
#endif
    (void)level;
    return scan_plain(s);
}

int mcad_score(const Score *s, int level) {
#if defined(__x86_64__)
    if (level == 2) return score_avx512(s);
    if (level == 1) return score_avx2(s);
#endif
    (void)level;
    return score_plain(s);
}
