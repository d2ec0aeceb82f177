/* Filters of photos: times by row, and all filters by place in the cells that a search probes. */
#include "kernel.h"
#if defined(__x86_64__)
#include <immintrin.h>
#define BMI2 FOR("avx2,bmi2,popcnt")
#endif

/* Bisect for the first place from `from` on with a row of at least `row`; `until` if there is none. */
BODY size_t lower_bound(const Filter *f, size_t from, size_t until, size_t row) {
    while (from < until) {
        size_t middle = from + (until - from) / 2;
        if (f->rows[middle] < row) from = middle + 1;
        else until = middle;
    }
    return from;
}

BODY unsigned bits_of(const Filter *f, size_t from, size_t until) {
    unsigned bits = 0;
    for (size_t place = from; place < until; place++) {
        uint32_t row = f->rows[place];
        bits |= (f->row_bits[row >> 5] >> (row & 31) & 1) << (place & 7);
    }
    return bits;
}

typedef int32_t SetBits(const Filter *, size_t from, size_t until);

/* Set the bits of the places that pass, and return their number. */
BODY int32_t set_place_bits(const Filter *f, size_t from, size_t until) {
    int32_t count = 0;
    for (size_t place = from, end; place < until; place = end) {
        end = (place | 7) + 1;
        /* A constant length of eight lets the compiler unroll the loop. */
        unsigned bits = end - place == 8 && end <= until ? bits_of(f, place, place + 8)
                                                         : bits_of(f, place, end < until ? end : until);
        f->place_bits[place >> 3] |= (uint8_t)bits;
        count += __builtin_popcount(bits);
    }
    return count;
}

/* Return how many photos of a cell pass; negative if a place names no row. */
BODY int32_t filter_cell(const Filter *f, size_t cell, SetBits *set_bits) {
    size_t from = f->starts[cell], until = f->starts[cell + 1];
    if (f->first > 0) from = lower_bound(f, from, until, f->first);
    if (f->end < f->photos) until = lower_bound(f, from, until, f->end);
    f->cell_starts[cell] = (uint32_t)from;
    f->cell_ends[cell] = (uint32_t)until;
    if (!f->row_bits) return (int32_t)(until - from);
    uint32_t last = 0;
    for (size_t place = from; place < until; place++) last = f->rows[place] > last ? f->rows[place] : last;
    return from < until && last >= f->photos ? -1 : set_bits(f, from, until);
}

/* Filter cells in `order` until they hold `enough` passing photos. Return the number of cells this takes, all of them
 * if they hold fewer; negative if a place names no row. */
BODY int64_t probe_cells(const Filter *f, const int64_t *order, size_t cells, size_t enough, SetBits *set_bits) {
    size_t found = 0, probed = 0;
    while (probed < cells && found < enough) {
        size_t cell = (size_t)order[probed++];
        if (f->counts[cell] < 0) f->counts[cell] = filter_cell(f, cell, set_bits);
        if (f->counts[cell] < 0) return -1;
        found += (size_t)f->counts[cell];
    }
    return (int64_t)probed;
}

/* Set the bits of rows whose times are from `first` to `first + more`, both included. */
BODY void filter_times(const int32_t *times, size_t from, size_t until, uint32_t first, uint32_t more, uint8_t *bits) {
    for (size_t row = from; row < until;) {
        uint8_t passes[8];
        size_t count = row % 8 == 0 && row + 8 <= until ? 8 : 1;
        for (size_t i = 0; i < count; i++) passes[i] = (uint32_t)times[row + i] - first <= more;
        for (size_t i = 0; i < count; i++) bits[row / 8] |= (uint8_t)(passes[i] << (row + i) % 8);
        row += count;
    }
}

static int32_t set_bits_plain(const Filter *f, size_t from, size_t until) { return set_place_bits(f, from, until); }

#if defined(__x86_64__)
/* BMI2 shifts by any register, in half the time. */
BMI2 int32_t set_bits_bmi2(const Filter *f, size_t from, size_t until) { return set_place_bits(f, from, until); }
BMI2 int64_t probe_cells_bmi2(const Filter *f, const int64_t *order, size_t cells, size_t enough) {
    return probe_cells(f, order, cells, enough, set_bits_bmi2);
}
BMI2 void filter_times_avx2(
    const int32_t *times, size_t from, size_t until, uint32_t first, uint32_t more, uint8_t *bits) {
    size_t row = (from + 7) / 8 * 8 < until ? (from + 7) / 8 * 8 : until;
    filter_times(times, from, row, first, more, bits);
    for (; row + 8 <= until; row += 8) {
        __m256i since = _mm256_loadu_si256((const __m256i *)(times + row));
        since = _mm256_sub_epi32(since, _mm256_set1_epi32((int32_t)first));
        __m256i passes = _mm256_cmpeq_epi32(_mm256_min_epu32(since, _mm256_set1_epi32((int32_t)more)), since);
        bits[row / 8] = (uint8_t)_mm256_movemask_ps(_mm256_castsi256_ps(passes));
    }
    filter_times(times, row, until, first, more, bits);
}

AVX512 int32_t set_bits_avx512(const Filter *f, size_t from, size_t until) {
    size_t place = (from + 15) / 16 * 16 < until ? (from + 15) / 16 * 16 : until;
    int32_t count = set_place_bits(f, from, place);
    for (; place + 16 <= until; place += 16) {
        __m512i rows = _mm512_loadu_si512(f->rows + place);
        __m512i words = _mm512_i32gather_epi32(_mm512_srli_epi32(rows, 5), f->row_bits, 4);
        __m512i bit = _mm512_sllv_epi32(_mm512_set1_epi32(1), _mm512_and_si512(rows, _mm512_set1_epi32(31)));
        uint16_t bits = _mm512_test_epi32_mask(words, bit);
        memcpy(f->place_bits + place / 8, &bits, sizeof bits);
        count += __builtin_popcount(bits);
    }
    return count + set_place_bits(f, place, until);
}
AVX512 int64_t probe_cells_avx512(const Filter *f, const int64_t *order, size_t cells, size_t enough) {
    return probe_cells(f, order, cells, enough, set_bits_avx512);
}
#endif

int64_t mcad_probe_cells(const Filter *f, const int64_t *order, size_t cells, size_t enough, int level) {
#if defined(__x86_64__)
    if (level == 2) return probe_cells_avx512(f, order, cells, enough);
    if (level == 1) return probe_cells_bmi2(f, order, cells, enough);
#endif
    (void)level;
    return probe_cells(f, order, cells, enough, set_bits_plain);
}

void mcad_filter_times(
    const int32_t *times, size_t from, size_t until, uint32_t first, uint32_t more, uint8_t *bits, int level) {
#if defined(__x86_64__)
    if (level >= 1) {
        filter_times_avx2(times, from, until, first, more, bits);
        return;
    }
#endif
    (void)level;
    filter_times(times, from, until, first, more, bits);
}
