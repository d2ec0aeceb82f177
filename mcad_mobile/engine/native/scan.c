/* Pass 1: find the rows with the least weighted bit distance from the query. */
#include "kernel.h"
#include <sys/mman.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include "neon.h"
#endif

#define BLOCK 2048
#define GROUP 16
/* `guess` samples FEW rows of each block, and aims for SURELY more rows than wanted. It saves nothing if one row in
 * SPARSE or more is wanted. */
#define FEW 128
#define SURELY 64
#define SPARSE 8
/* If at most one row in RARE passes, visiting those rows is faster than measuring all. */
#define RARE 4
/* Rows per step of AVX2 or NEON, and words whose counts, at most 24 per byte each, fit in a byte. */
#define ROWS 16
#define WORDS 8
#define MOST_WORDS 64

typedef void Measure(const Scan *, size_t start, size_t n, uint16_t *near);

/* Keep rows nearer than `limit`, and the first of those at it, up to `wanted` in all. */
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

/* Distances of `n` rows from `start` on. */
BODY void count_bits(const Scan *s, size_t start, size_t n, uint16_t *near) {
    uint64_t sums[BLOCK];
    memset(sums, 0, n * sizeof *sums);
    for (size_t w = 0; w < s->words; w++) {
        const uint64_t *column = s->columns + w * s->stride + start;
        uint64_t signs = s->query[w], weight_1 = s->query[s->words + w];
        uint64_t weight_2 = s->query[2 * s->words + w];
        for (size_t i = 0; i < n; i++) {
            uint64_t differ = column[i] ^ signs;
            sums[i] += (uint64_t)__builtin_popcountll(differ & weight_1)
                + 2 * (uint64_t)__builtin_popcountll(differ & weight_2);
        }
    }
    for (size_t i = 0; i < n; i++) near[i] = (uint16_t)sums[i];
}

static int passes(const Scan *s, size_t row) {
    return !s->allowed || s->allowed[row >> 3] >> (row & 7) & 1;
}

/* The bits of `n` rows from `start` on, at most 56: what 8 bytes hold at any bit offset. */
BODY uint64_t bits_of(const Scan *s, size_t start, size_t n) {
    size_t byte = start >> 3, left = (s->stride + 7) / 8 - byte;
    uint64_t bits = 0;
    if (left >= 8) memcpy(&bits, s->allowed + byte, 8);
    else memcpy(&bits, s->allowed + byte, left);
    return bits >> (start & 7) & (((uint64_t)1 << n) - 1);
}

/* If passing rows are rare among `n` rows from `start` on, list them and return 1; else return 0. */
BODY int rare(const Scan *s, size_t start, size_t n, uint16_t *list, size_t *count) {
    if (!s->allowed) return 0;
    size_t most = 0;
    for (size_t done = 0; done < n; done += 56)
        most += (size_t)__builtin_popcountll(bits_of(s, start + done, n - done < 56 ? n - done : 56));
    if (most > n / RARE) return 0;
    *count = 0;
    for (size_t done = 0; done < n; done += 56) {
        uint64_t bits = bits_of(s, start + done, n - done < 56 ? n - done : 56);
        for (; bits; bits &= bits - 1) list[(*count)++] = (uint16_t)(done + (size_t)__builtin_ctzll(bits));
    }
    return 1;
}

BODY uint16_t distance(const Scan *s, size_t row) {
    uint16_t near;
    count_bits(s, row, 1, &near);
    return near;
}

/* Rows kept so far, how many of them are at most at `limit`, and the distance a new row must be below. */
typedef struct {
    size_t kept, inside, limit;
} Found;

BODY void keep(const Scan *s, Found *f, size_t row, uint16_t near) {
    if (near >= f->limit) return;
    s->rows[f->kept] = (uint32_t)row;
    s->distances[f->kept++] = near;
    s->histogram[near]++;
    /* Once enough rows are found, only nearer ones matter. */
    if (++f->inside < s->wanted) return;
    if (f->limit > 3 * 64 * s->words) f->limit--;
    while (f->inside - s->histogram[f->limit] >= s->wanted) f->inside -= s->histogram[f->limit--];
}

/* List the members of a group that are nearer than a limit, and return their number. */
BODY size_t list_nearer(const uint16_t *near, uint16_t limit, uint8_t *list, int level) {
    size_t count = 0;
#if defined(__aarch64__)
    if (level >= NEON) {
        for (uint64_t bits = neon_below(near, limit); bits; bits &= bits - 1)
            list[count++] = (uint8_t)(__builtin_ctzll(bits) / 4);
        return count;
    }
#endif
    (void)level;
    uint16_t any = 0;
    for (size_t i = 0; i < GROUP; i++) any |= (uint16_t)(near[i] < limit);
    if (!any) return 0;
    for (size_t i = 0; i < GROUP; i++) { /* branchless, as a branch would be unpredictable */
        list[count] = (uint8_t)i;
        count += near[i] < limit;
    }
    return count;
}

/* Keep the rows near enough among `n` rows from `start` on; `near` has room for whole groups. */
BODY void keep_near(const Scan *s, Found *f, size_t start, size_t n, uint16_t *near, int level) {
    for (size_t i = n; i % GROUP; i++) near[i] = UINT16_MAX;
    for (size_t group = 0; group < n; group += GROUP) {
        uint8_t hits[GROUP];
        size_t count = list_nearer(near + group, (uint16_t)f->limit, hits, level);
        for (size_t hit = 0; hit < count; hit++) {
            size_t i = group + hits[hit];
            if (passes(s, start + i)) keep(s, f, start + i, near[i]);
        }
    }
}

/* Keep rows nearer than `limit`, which falls as rows are found. */
BODY size_t scan_within(const Scan *s, Measure measure, size_t limit, int level) {
    Found found = {0, 0, limit};
    for (size_t span = 0, start = s->spans[0]; span < s->span_count;) {
        size_t end = s->spans[2 * span + 1];
        size_t n = end - start < BLOCK ? end - start : BLOCK;
        uint16_t near[BLOCK], list[BLOCK / RARE];
        size_t listed;
        if (rare(s, start, n, list, &listed)) {
            for (size_t i = 0; i < listed; i++) keep(s, &found, start + list[i], distance(s, start + list[i]));
        } else {
            measure(s, start, n, near);
            keep_near(s, &found, start, n, near, level);
        }
        if (found.kept > s->wanted + BLOCK / 2 && found.inside >= s->wanted)
            found.kept = compact(s, found.kept, found.limit, found.inside - s->histogram[found.limit]);
        start += n;
        if (start == end && ++span < s->span_count) start = s->spans[2 * span];
    }
    if (found.inside < s->wanted) return found.kept;
    return compact(s, found.kept, found.limit, found.inside - s->histogram[found.limit]);
}

/* Estimate from FEW rows per BLOCK a limit that holds slightly more rows than wanted; `all` if that fails. */
BODY size_t guess(const Scan *s, Measure measure, size_t all) {
    size_t seen = 0, count = 0, measured = 0;
    for (size_t span = 0; span < s->span_count; span++) count += s->spans[2 * span + 1] - s->spans[2 * span];
    if (count / SPARSE < s->wanted) return all;
    for (size_t span = 0; span < s->span_count; span++)
        for (size_t start = s->spans[2 * span]; start + FEW <= s->spans[2 * span + 1]; start += BLOCK) {
            uint16_t near[FEW], list[FEW / RARE];
            size_t listed;
            measured += FEW;
            if (rare(s, start, FEW, list, &listed)) {
                for (size_t i = 0; i < listed; i++) s->histogram[distance(s, start + list[i])]++;
                continue;
            }
            measure(s, start, FEW, near);
            for (size_t i = 0; i < FEW; i++)
                if (passes(s, start + i)) s->histogram[near[i]]++;
        }
    size_t limit = 0, enough = s->wanted * measured / count;
    enough += enough / 4 + SURELY;
    while (limit < all && seen < enough) seen += s->histogram[limit++];
    memset(s->histogram, 0, all * sizeof *s->histogram);
    return limit;
}

BODY size_t scan(const Scan *s, Measure measure, int level) {
    size_t all = 3 * 64 * s->words + 1, limit = guess(s, measure, all);
    size_t kept = scan_within(s, measure, limit, level);
    if (kept >= s->wanted || limit == all) return kept;
    memset(s->histogram, 0, all * sizeof *s->histogram);
    return scan_within(s, measure, all, level);
}

static void measure_plain(const Scan *s, size_t start, size_t n, uint16_t *near) {
    count_bits(s, start, n, near);
}
static size_t scan_plain(const Scan *s) { return scan(s, measure_plain, 0); }

#if defined(__x86_64__)
/* AVX2 cannot count bits: look up those of each half byte. */
AVX2 void measure_avx2(const Scan *s, size_t start, size_t n, uint16_t *near) {
    const __m256i zero = _mm256_setzero_si256(), low = _mm256_set1_epi8(15);
    const __m256i once = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1,
                                          2, 2, 3, 2, 3, 3, 4);
    const __m256i twice = _mm256_add_epi8(once, once);
    __m256i query[MOST_WORDS][5]; /* signs; weights 1 and 2, each for the low and high half of bytes */
    for (size_t w = 0; w < s->words; w++) {
        __m256i weight_1 = _mm256_set1_epi64x((int64_t)s->query[s->words + w]);
        __m256i weight_2 = _mm256_set1_epi64x((int64_t)s->query[2 * s->words + w]);
        query[w][0] = _mm256_set1_epi64x((int64_t)s->query[w]);
        query[w][1] = _mm256_and_si256(weight_1, low);
        query[w][2] = _mm256_and_si256(_mm256_srli_epi16(weight_1, 4), low);
        query[w][3] = _mm256_and_si256(weight_2, low);
        query[w][4] = _mm256_and_si256(_mm256_srli_epi16(weight_2, 4), low);
    }
    size_t done = 0;
    for (; done + ROWS <= n; done += ROWS) {
        __m256i sums[4] = {zero, zero, zero, zero};
        for (size_t first = 0; first < s->words; first += WORDS) {
            __m256i bytes[4] = {zero, zero, zero, zero};
            size_t end = first + WORDS < s->words ? first + WORDS : s->words;
            for (size_t w = first; w < end; w++) {
                const __m256i *rows = (const __m256i *)(s->columns + w * s->stride + start + done);
                for (int i = 0; i < 4; i++) {
                    __m256i differ = _mm256_xor_si256(_mm256_loadu_si256(rows + i), query[w][0]);
                    __m256i high = _mm256_srli_epi16(differ, 4);
                    __m256i ones = _mm256_add_epi8(_mm256_shuffle_epi8(once, _mm256_and_si256(differ, query[w][1])),
                                                   _mm256_shuffle_epi8(once, _mm256_and_si256(high, query[w][2])));
                    __m256i twos = _mm256_add_epi8(_mm256_shuffle_epi8(twice, _mm256_and_si256(differ, query[w][3])),
                                                   _mm256_shuffle_epi8(twice, _mm256_and_si256(high, query[w][4])));
                    bytes[i] = _mm256_add_epi8(bytes[i], _mm256_add_epi8(ones, twos));
                }
            }
            for (int i = 0; i < 4; i++) sums[i] = _mm256_add_epi64(sums[i], _mm256_sad_epu8(bytes[i], zero));
        }
        /* Pack four vectors of 64-bit sums into sixteen 16-bit sums, in row order. */
        __m256i packed = _mm256_packus_epi32(_mm256_packus_epi32(sums[0], sums[1]),
                                             _mm256_packus_epi32(sums[2], sums[3]));
        packed = _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
        _mm256_storeu_si256((__m256i *)(near + done), packed);
    }
    count_bits(s, start + done, n - done, near + done);
}
AVX2 size_t scan_avx2(const Scan *s) { return scan(s, measure_avx2, 1); }

AVX512 void measure_avx512(const Scan *s, size_t start, size_t n, uint16_t *near) {
    size_t done = 0;
    for (; done + 32 <= n; done += 32) {
        __m512i sums[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
        for (size_t w = 0; w < s->words; w++) {
            const uint64_t *rows = s->columns + w * s->stride + start + done;
            __m512i signs = _mm512_set1_epi64((int64_t)s->query[w]);
            __m512i weight_1 = _mm512_set1_epi64((int64_t)s->query[s->words + w]);
            __m512i weight_2 = _mm512_set1_epi64((int64_t)s->query[2 * s->words + w]);
            for (size_t i = 0; i < 4; i++) {
                __m512i differ = _mm512_xor_si512(_mm512_loadu_si512(rows + 8 * i), signs);
                __m512i twos = _mm512_popcnt_epi64(_mm512_and_si512(differ, weight_2));
                sums[i] = _mm512_add_epi64(sums[i], _mm512_popcnt_epi64(_mm512_and_si512(differ, weight_1)));
                sums[i] = _mm512_add_epi64(sums[i], _mm512_add_epi64(twos, twos));
            }
        }
        for (size_t i = 0; i < 4; i++) _mm_storeu_si128((__m128i *)(near + done + 8 * i), _mm512_cvtepi64_epi16(sums[i]));
    }
    count_bits(s, start + done, n - done, near + done);
}
AVX512 size_t scan_avx512(const Scan *s) { return scan(s, measure_avx512, 2); }
#elif defined(__aarch64__)
static void measure_neon(const Scan *s, size_t start, size_t n, uint16_t *near) {
    size_t done = 0;
    for (; done + ROWS <= n; done += ROWS) neon_distances(s, start + done, near + done);
    count_bits(s, start + done, n - done, near + done);
}
static void measure_dot(const Scan *s, size_t start, size_t n, uint16_t *near) {
    size_t done = s->words >= 4 ? dot_distances(s, start, n, 4, near)
        : s->words == 3         ? dot_distances(s, start, n, 3, near)
        : s->words == 2         ? dot_distances(s, start, n, 2, near)
                                : dot_distances(s, start, n, 1, near);
    count_bits(s, start + done, n - done, near + done);
}
/* One function for both keeps the app small; measuring a block takes longer than the indirect call. */
static size_t scan_arm(const Scan *s, int level) { return scan(s, level == DOT ? measure_dot : measure_neon, NEON); }
#endif

/* The distances of all `stride` photos, without a choice: for tuning. */
void mcad_distances(const Scan *s, uint16_t *near, int level) {
    Measure *measure = measure_plain;
#if defined(__x86_64__)
    if (level > 0) measure = level == 2 ? measure_avx512 : measure_avx2;
#elif defined(__aarch64__)
    if (level > 0) measure = level == DOT ? measure_dot : measure_neon;
#endif
    (void)level;
    for (size_t start = 0; start < s->stride; start += BLOCK)
        measure(s, start, s->stride - start < BLOCK ? s->stride - start : BLOCK, near + start);
}

/* Start reading the pages of the spans of a column that are not in memory, without read-ahead and without waiting.
 * Asking about the whole column at once saves a system call per span. */
static void read_ahead(const Scan *s, const uint64_t *column, size_t page) {
    unsigned char known[1024];
    uintptr_t first = (uintptr_t)(column + s->spans[0]) / page * page;
    uintptr_t end = (uintptr_t)(column + s->spans[2 * s->span_count - 1]);
    size_t span = 0;
    for (uintptr_t at = first, next; at < end; at = next) {
        next = end - at < page * sizeof known ? end : at + page * sizeof known;
        if (mincore((void *)at, next - at, (void *)known)) memset(known, 0, sizeof known);
        for (; span < s->span_count; span++) {
            uintptr_t from = (uintptr_t)(column + s->spans[2 * span]) / page * page;
            uintptr_t until = (uintptr_t)(column + s->spans[2 * span + 1]);
            if (from >= next) break;
            size_t begin = from < at ? 0 : (from - at) / page;
            size_t size = (until < next ? until : next) - (at + begin * page);
            if (memchr(known + begin, 0, (size + page - 1) / page))
                madvise((void *)(at + begin * page), size, MADV_WILLNEED);
            if (until > next) break;
        }
    }
}

size_t mcad_scan(const Scan *s, int level) {
    size_t page = mcad_page();
    for (size_t w = 0; w < s->words && s->span_count; w++) read_ahead(s, s->columns + w * s->stride, page);
#if defined(__x86_64__)
    if (level == 2) return scan_avx512(s);
    if (level == 1) return scan_avx2(s);
#elif defined(__aarch64__)
    if (level >= NEON) return scan_arm(s, level);
#endif
    (void)level;
    return scan_plain(s);
}
