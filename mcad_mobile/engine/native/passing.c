/* Which photos pass a filter: of times by row, and by place as far as searches look into cells. */
#include "kernel.h"
#if defined(__x86_64__)
#include <immintrin.h>
#define BMI2 FOR("avx2,bmi2,popcnt")
#endif

/* Bits are least significant first. */
typedef struct {
    const uint32_t *rows;    /* [photos]: whose place it is; in a cell they ascend */
    const uint32_t *starts;  /* [cells + 1] */
    const uint32_t *of_rows; /* a bit a row, or NULL: all from `first` to before `end` */
    uint8_t *of_places;      /* the same by place, or NULL: zeros where it is not known yet */
    uint32_t *from, *until;  /* [cells]: between which places they are */
    int32_t *held;           /* [cells]: how many pass, below 0 where it is not known yet */
    size_t photos, first, end;
} Passing;

/* The first place from `from` on whose row is not before one, by bisection; `until` where there is none. */
BODY size_t place_of(const Passing *p, size_t from, size_t until, size_t row) {
    while (from < until) {
        size_t middle = from + (until - from) / 2;
        if (p->rows[middle] < row) from = middle + 1;
        else until = middle;
    }
    return from;
}

BODY unsigned bits_of(const Passing *p, size_t from, size_t until) {
    unsigned bits = 0;
    for (size_t place = from; place < until; place++) {
        uint32_t row = p->rows[place];
        bits |= (p->of_rows[row >> 5] >> (row & 31) & 1) << (place & 7);
    }
    return bits;
}

typedef int32_t Note(const Passing *, size_t from, size_t until);

/* Note which places pass; how many. */
BODY int32_t note(const Passing *p, size_t from, size_t until) {
    int32_t count = 0;
    for (size_t place = from, end; place < until; place = end) {
        end = (place | 7) + 1;
        /* Eight is a constant, and worth a loop of its own. */
        unsigned bits = end - place == 8 && end <= until ? bits_of(p, place, place + 8)
                                                         : bits_of(p, place, end < until ? end : until);
        p->of_places[place >> 3] |= (uint8_t)bits;
        count += __builtin_popcount(bits);
    }
    return count;
}

/* How many of a cell pass; below 0 where one of its places is of no row. */
BODY int32_t look_into(const Passing *p, size_t cell, Note *note_places) {
    size_t from = p->starts[cell], until = p->starts[cell + 1];
    if (p->first > 0) from = place_of(p, from, until, p->first);
    if (p->end < p->photos) until = place_of(p, from, until, p->end);
    p->from[cell] = (uint32_t)from;
    p->until[cell] = (uint32_t)until;
    if (!p->of_rows) return (int32_t)(until - from);
    uint32_t last = 0;
    for (size_t place = from; place < until; place++) last = p->rows[place] > last ? p->rows[place] : last;
    return from < until && last >= p->photos ? -1 : note_places(p, from, until);
}

/* How many of the first cells of an order hold `enough` that pass, all if fewer; below 0 as above. */
BODY int64_t hold(const Passing *p, const int64_t *order, size_t cells, size_t enough, Note *note_places) {
    size_t held = 0, some = 0;
    while (some < cells && held < enough) {
        size_t cell = (size_t)order[some++];
        if (p->held[cell] < 0) p->held[cell] = look_into(p, cell, note_places);
        if (p->held[cell] < 0) return -1;
        held += (size_t)p->held[cell];
    }
    return (int64_t)some;
}

/* Set the bits of rows whose times are from `first` to `first + more`, both included. */
BODY void between(const int32_t *times, size_t from, size_t until, uint32_t first, uint32_t more, uint8_t *bits) {
    for (size_t row = from; row < until;) {
        uint8_t passes[8];
        size_t some = row % 8 == 0 && row + 8 <= until ? 8 : 1;
        for (size_t i = 0; i < some; i++) passes[i] = (uint32_t)times[row + i] - first <= more;
        for (size_t i = 0; i < some; i++) bits[row / 8] |= (uint8_t)(passes[i] << (row + i) % 8);
        row += some;
    }
}

static int32_t note_plain(const Passing *p, size_t from, size_t until) { return note(p, from, until); }

#if defined(__x86_64__)
/* BMI2 shifts by what is in any register, in half of the time. */
BMI2 int32_t note_bmi2(const Passing *p, size_t from, size_t until) { return note(p, from, until); }
BMI2 int64_t hold_bmi2(const Passing *p, const int64_t *order, size_t cells, size_t enough) {
    return hold(p, order, cells, enough, note_bmi2);
}
BMI2 void between_avx2(const int32_t *times, size_t from, size_t until, uint32_t first, uint32_t more, uint8_t *bits) {
    size_t row = (from + 7) / 8 * 8 < until ? (from + 7) / 8 * 8 : until;
    between(times, from, row, first, more, bits);
    for (; row + 8 <= until; row += 8) {
        __m256i since = _mm256_loadu_si256((const __m256i *)(times + row));
        since = _mm256_sub_epi32(since, _mm256_set1_epi32((int32_t)first));
        __m256i passes = _mm256_cmpeq_epi32(_mm256_min_epu32(since, _mm256_set1_epi32((int32_t)more)), since);
        bits[row / 8] = (uint8_t)_mm256_movemask_ps(_mm256_castsi256_ps(passes));
    }
    between(times, row, until, first, more, bits);
}

AVX512 int32_t note_avx512(const Passing *p, size_t from, size_t until) {
    size_t place = (from + 15) / 16 * 16 < until ? (from + 15) / 16 * 16 : until;
    int32_t count = note(p, from, place);
    for (; place + 16 <= until; place += 16) {
        __m512i rows = _mm512_loadu_si512(p->rows + place);
        __m512i words = _mm512_i32gather_epi32(_mm512_srli_epi32(rows, 5), p->of_rows, 4);
        __m512i bit = _mm512_sllv_epi32(_mm512_set1_epi32(1), _mm512_and_si512(rows, _mm512_set1_epi32(31)));
        uint16_t bits = _mm512_test_epi32_mask(words, bit);
        memcpy(p->of_places + place / 8, &bits, sizeof bits);
        count += __builtin_popcount(bits);
    }
    return count + note(p, place, until);
}
AVX512 int64_t hold_avx512(const Passing *p, const int64_t *order, size_t cells, size_t enough) {
    return hold(p, order, cells, enough, note_avx512);
}
#endif

int64_t mcad_hold(const Passing *p, const int64_t *order, size_t cells, size_t enough, int level) {
#if defined(__x86_64__)
    if (level == 2) return hold_avx512(p, order, cells, enough);
    if (level == 1) return hold_bmi2(p, order, cells, enough);
#endif
    (void)level;
    return hold(p, order, cells, enough, note_plain);
}

void mcad_between(
    const int32_t *times, size_t from, size_t until, uint32_t first, uint32_t more, uint8_t *bits, int level) {
#if defined(__x86_64__)
    if (level >= 1) {
        between_avx2(times, from, until, first, more, bits);
        return;
    }
#endif
    (void)level;
    between(times, from, until, first, more, bits);
}
