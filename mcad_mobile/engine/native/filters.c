/* Filters of photos: by row when they are made, and by place in the cells that a search probes. */
#include "filters.h"
#if defined(__x86_64__)
#include <immintrin.h>
#define BMI2 FOR("avx2,bmi2,popcnt")
#endif

/* Bisect for the first place from `from` on with a row of at least `row`; `until` if there is none. */
BODY size_t first_place(const Filter *f, size_t from, size_t until, size_t row) {
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
    if (f->first > 0) from = first_place(f, from, until, f->first);
    if (f->end < f->photos) until = first_place(f, from, until, f->end);
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

/* ---- The filter of an index ---- */

/* The rows whose paths begin with a folder, which ends in a slash. */
static int rows_below(PathReader *reader, Span folder, size_t range[2], McadError *error) {
    Buffer after = {0};
    append(&after, folder.at, folder.size);
    if (after.failed) return no_memory(error);
    after.data[after.size - 1]++;
    int code = lower_bound(reader, folder, range, error);
    if (!code) code = lower_bound(reader, (Span){after.data, after.size}, range + 1, error);
    free(after.data);
    return code;
}

/* Find the ranges of rows below the folders, or all, as pairs. NULL without memory. */
static int find_ranges(const Segment *s, const McadStrings *folders, size_t **ranges, size_t *count, McadError *error) {
    *count = folders->count ? folders->count : 1;
    *ranges = calloc(2 * *count, sizeof **ranges);
    if (!*ranges) return no_memory(error);
    (*ranges)[1] = s->photos;
    PathReader reader = {.segment = s};
    int code = MCAD_DONE;
    for (size_t i = 0; !code && i < folders->count; i++)
        code = rows_below(&reader, string_at(folders, i), *ranges + 2 * i, error);
    free_paths(&reader);
    return code;
}

/* Clear the bits of photos whose place lacks a term. */
static int keep_places(const Live *live, const McadStrings *place, uint64_t *bits, McadError *error) {
    size_t photos = live->segment.photos;
    const McadTerms terms = {*place, NULL};
    for (size_t i = 0; i < place->count; i++) {
        uint8_t *marks = calloc(photos, 1);
        WordQuery query = query_of(&terms, i, 1 << PLACE_WORD);
        int is_whole = marks && (!live->has_words || !words_find(&live->words.view, &query, 1, marks));
        for (size_t row = 0; is_whole && row < photos; row++)
            if (!marks[row]) clear_bit(bits, row);
        free(marks);
        if (!marks) return no_memory(error);
        if (live->has_words) words_release(&live->words);
        if (!is_whole) return fail(error, MCAD_WORDS_DICTIONARY, 0, 0, 0);
    }
    return MCAD_DONE;
}

/* Set a bit for each row in the ranges that passes. */
static int set_row_bits(const Live *live, const McadChoice *choice, const uint64_t *rows, const size_t *ranges,
                        size_t range_count, uint64_t *bits, McadError *error) {
    const Segment *s = &live->segment;
    int is_timed = choice->first != INT64_MIN || choice->end != INT64_MAX;
    /* A photo of no known time passes no bound. */
    int64_t first = !is_timed ? NO_TIME : choice->first > NO_TIME ? choice->first : NO_TIME + 1;
    int64_t last = choice->end > INT32_MAX ? INT32_MAX : choice->end - 1;
    memset(bits, 0, bit_words(s->photos) * sizeof *bits);
    for (size_t i = 0; first <= last && i < range_count; i++)
        mcad_filter_times(s->times, ranges[2 * i], ranges[2 * i + 1], (uint32_t)first, (uint32_t)(last - first),
                          (uint8_t *)bits, mcad_level());
    for (size_t i = 0; i < bit_words(s->photos); i++) {
        if (live->kept) bits[i] &= live->kept[i];
        if (rows) bits[i] &= rows[i];
    }
    return keep_places(live, &choice->place, bits, error);
}

static int open_passing(const Live *live, const McadChoice *choice, const uint64_t *rows, Passing *p, McadError *error) {
    const Segment *s = &live->segment;
    size_t *ranges = NULL, range_count = 0, words = bit_words(s->photos) + 1;
    int code = find_ranges(s, &choice->folders, &ranges, &range_count, error);
    *p = (Passing){.first = s->photos};
    for (size_t i = 0; !code && i < range_count; i++) {
        if (ranges[2 * i] < p->first) p->first = ranges[2 * i];
        if (ranges[2 * i + 1] > p->end) p->end = ranges[2 * i + 1];
    }
    int is_range = range_count == 1 && choice->first == INT64_MIN && choice->end == INT64_MAX && !choice->place.count;
    p->count = p->end > p->first ? p->end - p->first : 0;
    if (!code && (!is_range || live->kept || rows)) {
        p->row_bits = calloc(words, sizeof *p->row_bits);
        code = p->row_bits ? set_row_bits(live, choice, rows, ranges, range_count, p->row_bits, error) : no_memory(error);
        if (!code) p->count = count_bits_set(p->row_bits, s->photos);
        p->place_bits = s->cells ? calloc(words, sizeof *p->place_bits) : p->row_bits;
        if (!code && !p->place_bits) code = no_memory(error);
    }
    free(ranges);
    p->is_all = !p->row_bits && p->count == s->photos;
    p->from = calloc(3 * s->cells + 1, sizeof *p->from);
    if (!code && !p->from) code = no_memory(error);
    if (code) return code;
    p->until = p->from + s->cells;
    p->counts = (int32_t *)(p->until + s->cells);
    for (size_t c = 0; c < s->cells; c++) {
        p->from[c] = s->starts[c];
        p->until[c] = s->starts[c + 1];
        p->counts[c] = p->is_all ? (int32_t)(p->until[c] - p->from[c]) : -1;
    }
    return MCAD_DONE;
}

int mcad_filter_open(const McadIndex *index, const McadChoice *choice, McadFilter **opened, size_t *count,
                     McadError *error) {
    const McadChoice all = {.first = INT64_MIN, .end = INT64_MAX};
    McadFilter *filter = calloc(1, sizeof *filter);
    Passing *of = calloc(index->count + 1, sizeof *of);
    int code = filter && of ? check_sizes(index, error) : no_memory(error);
    *count = 0;
    if (!choice) choice = &all;
    if (filter && of) *filter = (McadFilter){index, of};
    for (size_t i = 0; !code && i < index->count; i++) {
        code = open_passing(index->lives + i, choice, choice->rows ? choice->rows[i] : NULL, of + i, error);
        in_file(code, error, i, code == MCAD_WORDS_DICTIONARY);
        *count += of[i].count;
    }
    *opened = code ? NULL : filter;
    if (code && filter && of) mcad_filter_close(filter);
    else if (code) free(filter), free(of);
    return code;
}

void mcad_filter_close(McadFilter *filter) {
    if (!filter) return;
    for (size_t i = 0; i < filter->index->count; i++) {
        Passing *p = filter->of + i;
        if (p->place_bits != p->row_bits) free(p->place_bits);
        free(p->row_bits);
        free(p->from);
    }
    free(filter->of);
    free(filter);
}

/* How many of the first cells in `order` hold `enough` photos that pass, or all cells. */
static int probe(const Segment *s, Passing *p, const int64_t *order, size_t enough, size_t *probed, McadError *error) {
    Filter task = {s->rows, s->starts, (uint32_t *)p->row_bits, (uint8_t *)p->place_bits, p->from, p->until, p->counts,
                   s->photos, p->first, p->end};
    int64_t found = mcad_probe_cells(&task, order, s->cells, enough, mcad_level());
    *probed = (size_t)found;
    return found < 0 ? fail(error, MCAD_PLACE, -1, -1, 0) : MCAD_DONE;
}

static int by_number(const void *a, const void *b) {
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

int passing_spans(const Segment *s, Passing *p, int64_t *order, size_t enough, uint64_t *spans, size_t *count,
                  McadError *error) {
    size_t probed, ends = 0;
    if (!s->cells) {
        spans[0] = p->first, spans[1] = p->end;
        *count = p->end > p->first;
        return MCAD_DONE;
    }
    int code = probe(s, p, order, enough, &probed, error);
    if (code) return code;
    qsort(order, probed, sizeof *order, by_number);
    for (size_t i = 0; i < probed; i++) {
        uint32_t from = p->from[order[i]], until = p->until[order[i]];
        if (from >= until) continue;
        if (!ends || spans[ends - 1] != from) { /* neighbouring cells make one span */
            spans[ends] = from;
            ends += 2;
        }
        spans[ends - 1] = until;
    }
    *count = ends / 2;
    return MCAD_DONE;
}

int passing_places(const Segment *s, Passing *p, uint32_t *places, McadError *error) {
    uint64_t *spans = malloc((2 * s->cells + 2) * sizeof *spans);
    int64_t *order = malloc((s->cells + 1) * sizeof *order);
    size_t count = 0, found = 0;
    int code = spans && order ? MCAD_DONE : no_memory(error);
    for (size_t c = 0; !code && c < s->cells; c++) order[c] = (int64_t)c;
    if (!code) code = passing_spans(s, p, order, SIZE_MAX, spans, &count, error);
    for (size_t i = 0; !code && i < count; i++)
        for (uint64_t place = spans[2 * i]; place < spans[2 * i + 1]; place++)
            if (has_bit(p->place_bits, place) && found < p->count) places[found++] = (uint32_t)place;
    free(spans);
    free(order);
    if (!code && found < p->count) code = fail(error, MCAD_NO_PLACE, -1, 0, 0);
    return code;
}

int mcad_filter_rows(McadFilter *filter, McadRow *rows, McadError *error) {
    size_t count = 0;
    (void)error;
    for (size_t number = 0; number < filter->index->count; number++) {
        const Passing *p = filter->of + number;
        for (size_t row = p->first; row < p->end; row++)
            if (has_bit(p->row_bits, row)) rows[count++] = (McadRow){(uint32_t)number, (uint32_t)row};
    }
    return MCAD_DONE;
}
