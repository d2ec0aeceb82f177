/* JNI bindings of the kernels, for mcad.engine.index.Kernel and mcad.engine.photos.Resize. Arguments and file contents
 * are checked before they are used to access memory; errors become Java exceptions. Java arrays are small and copied;
 * direct buffers over mapped files are read in place. */
#include "kernel.h"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* JNI functions by their index in its specification, so that compiling needs no JDK. */
typedef void **const *Env;
typedef void *Object;
enum {
    FIND_CLASS = 6,
    THROW_NEW = 14,
    DELETE_LOCAL = 23,
    ARRAY_LENGTH = 171,
    OBJECT_AT = 173,
    NEW_INTS = 179,
    BYTES = 200,
    INTS = 203,
    LONGS = 204,
    FLOATS = 205,
    DOUBLES = 206,
    SET_BYTES = 208,
    SET_INTS = 211,
    SET_FLOATS = 213,
    BUFFER_ADDRESS = 230,
    BUFFER_CAPACITY = 231,
};
#define EXPORT __attribute__((visibility("default")))
#define CALL(env, number, type) ((type)(*(env))[number])
typedef void Region(Env, Object, int32_t, int32_t, void *);

#define MOST_DIM 4096
#define CRC_AT 4092
#define BLOCKS (2 * 2048)

/* The allocations of a call, freed at its end. */
typedef struct {
    Env env;
    int failed; /* a Java exception is pending */
    void *last;
} Call;

static void throw(Call *c, const char *kind, const char *message) {
    if (c->failed) return;
    c->failed = 1;
    Object class = CALL(c->env, FIND_CLASS, Object (*)(Env, const char *))(c->env, kind);
    if (class) CALL(c->env, THROW_NEW, int32_t (*)(Env, Object, const char *))(c->env, class, message);
}

/* Throw IllegalArgumentException unless `right`; return whether the call has not failed so far. */
static int check(Call *c, int right, const char *message) {
    if (!right) throw(c, "java/lang/IllegalArgumentException", message);
    return !c->failed;
}

static void no_memory(Call *c) { throw(c, "java/lang/OutOfMemoryError", "There is no memory for a search."); }

/* Allocate zeros; NULL and OutOfMemoryError if memory runs out, NULL if the call has failed before. */
static void *take(Call *c, size_t count, size_t size) {
    void **block = c->failed ? NULL : calloc(1, sizeof *block * 2 + count * size);
    if (!block) {
        no_memory(c);
        return NULL;
    }
    block[0] = c->last;
    c->last = block;
    return block + 2;
}

static void finish(Call *c) {
    for (void **block = c->last, **before; block; block = before) {
        before = block[0];
        free(block);
    }
}

static size_t length(Call *c, Object array) {
    if (c->failed || !array) return 0;
    return (size_t)CALL(c->env, ARRAY_LENGTH, int32_t (*)(Env, Object))(c->env, array);
}

/* A copy of an array of exactly `count` numbers. */
static void *numbers(Call *c, Object array, int region, size_t size, size_t count, const char *name) {
    if (!check(c, array && length(c, array) == count, name)) return NULL;
    void *copy = take(c, count + 1, size);
    if (copy) CALL(c->env, region, Region *)(c->env, array, 0, (int32_t)count, copy);
    return copy;
}

static void forget(Call *c, Object object) {
    if (object) CALL(c->env, DELETE_LOCAL, void (*)(Env, Object))(c->env, object);
}

static Object at(Call *c, Object array, size_t index) {
    return CALL(c->env, OBJECT_AT, Object (*)(Env, Object, int32_t))(c->env, array, (int32_t)index);
}

/* The bytes of a direct buffer, at least `size`, aligned to 8. */
static void *buffer(Call *c, Object object, size_t size, const char *name) {
    if (!check(c, object != NULL, name)) return NULL;
    void *bytes = CALL(c->env, BUFFER_ADDRESS, void *(*)(Env, Object))(c->env, object);
    int64_t capacity = CALL(c->env, BUFFER_CAPACITY, int64_t (*)(Env, Object))(c->env, object);
    return check(c, bytes && (uintptr_t)bytes % 8 == 0 && capacity >= 0 && (size_t)capacity >= size, name) ? bytes : NULL;
}

static void set_ints(Call *c, Object array, size_t start, size_t count, const int32_t *from) {
    CALL(c->env, SET_INTS, void (*)(Env, Object, int32_t, int32_t, const int32_t *))(
        c->env, array, (int32_t)start, (int32_t)count, from);
}

static size_t bit_bytes(size_t count) { return (count + 63) / 64 * 8; }

EXPORT int32_t Java_mcad_engine_base_NativeLibrary_layout(Env env, Object class) {
    (void)env, (void)class;
    return mcad_layout();
}

/* Open a segment's file: its descriptor, -1 if it cannot be opened, -2 if its header has another CRC-32. */
EXPORT int32_t Java_mcad_engine_index_Kernel_open(Env env, Object class, Object path, int32_t header_crc) {
    Call c = {env, 0, NULL};
    (void)class;
    char *name = numbers(&c, path, BYTES, 1, length(&c, path), "path");
    int file = -1;
    uint32_t found;
    if (name && (file = open(name, O_RDONLY | O_CLOEXEC)) >= 0
        && (pread(file, &found, sizeof found, CRC_AT) != sizeof found || found != (uint32_t)header_crc)) {
        close(file);
        file = -2;
    }
#ifdef POSIX_FADV_RANDOM
    if (file >= 0) posix_fadvise(file, 0, 0, POSIX_FADV_RANDOM);
#endif
    finish(&c);
    return file;
}

/* Single numbers of a map will be read: disable read-ahead. */
EXPORT void Java_mcad_engine_index_Kernel_readAlone(Env env, Object class, Object map) {
    Call c = {env, 0, NULL};
    (void)class;
    uintptr_t start = (uintptr_t)buffer(&c, map, 0, "map"), page = mcad_page();
    int64_t capacity = c.failed ? 0 : CALL(env, BUFFER_CAPACITY, int64_t (*)(Env, Object))(env, map);
    if (!c.failed) madvise((void *)(start / page * page), start % page + (size_t)capacity, MADV_RANDOM);
    finish(&c);
}

/* Start reading all spans of a file: first byte, byte after the last. */
EXPORT void Java_mcad_engine_index_Kernel_fetch(Env env, Object class, int32_t file, Object array) {
    Call c = {env, 0, NULL};
    (void)class;
    size_t count = length(&c, array);
    const int64_t *spans = numbers(&c, array, LONGS, sizeof *spans, count, "spans");
    check(&c, file >= 0, "descriptor");
    check(&c, count % 2 == 0, "spans");
    for (size_t i = 0; !c.failed && i < count; i += 2) /* a length of 0 would mean the rest of the file */
        check(&c, spans[i] >= 0 && spans[i] < spans[i + 1], "spans");
#ifdef POSIX_FADV_WILLNEED
    for (size_t i = 0; !c.failed && i < count; i += 2)
        posix_fadvise(file, spans[i], spans[i + 1] - spans[i], POSIX_FADV_WILLNEED);
#endif
    finish(&c);
}

EXPORT void Java_mcad_engine_index_Kernel_close(Env env, Object class, int32_t file) {
    (void)env, (void)class;
    if (file >= 0) close(file);
}

EXPORT void Java_mcad_engine_index_Kernel_rotate(Env env, Object class, Object vector, uint8_t back) {
    Call c = {env, 0, NULL};
    (void)class;
    size_t dim = length(&c, vector);
    check(&c, dim > 0 && dim <= MOST_DIM, "vector");
    float *copy = numbers(&c, vector, FLOATS, sizeof *copy, dim, "vector");
    if (copy && !mcad_rotate(copy, dim, back)) no_memory(&c);
    if (!c.failed) CALL(env, SET_FLOATS, Region *)(env, vector, 0, (int32_t)dim, copy);
    finish(&c);
}

/* The spans to scan of `photos` places: first, after the last; ascending. */
static const uint64_t *spans_of(Call *c, Object array, size_t photos, size_t *count, size_t *places) {
    size_t all = length(c, array), end = 0;
    *count = all / 2;
    *places = 0;
    const int32_t *given = numbers(c, array, INTS, sizeof *given, all, "spans");
    uint64_t *spans = take(c, all + 1, sizeof *spans);
    check(c, all % 2 == 0, "spans");
    for (size_t i = 0; spans && !c->failed && i < all; i += 2) {
        if (!check(c, given[i] >= 0 && (size_t)given[i] >= end && given[i] < given[i + 1], "spans")) break;
        spans[i] = (uint64_t)given[i];
        spans[i + 1] = end = (size_t)given[i + 1];
        *places += end - spans[i];
    }
    check(c, end <= photos, "spans");
    return spans;
}

/* The first `words` of each row of [3][all]. */
static const uint64_t *narrowed(Call *c, const uint64_t *query, size_t words, size_t all) {
    uint64_t *first = take(c, 3 * words, sizeof *first);
    for (size_t i = 0; first && i < 3; i++) memcpy(first + i * words, query + i * all, words * sizeof *first);
    return first;
}

static size_t scan(Call *c, Scan *s) {
    s->rows = take(c, s->wanted + BLOCKS, sizeof *s->rows);
    s->distances = take(c, s->wanted + BLOCKS, sizeof *s->distances);
    s->histogram = take(c, 3 * 64 * s->words + 1, sizeof *s->histogram);
    return c->failed || !s->wanted ? 0 : mcad_scan(s, mcad_level());
}

/* Narrow the places found by some words to the `wanted` nearest by all `words`. */
static size_t look_again(Call *c, Scan *s, size_t found, const uint64_t *query, size_t words, size_t wanted) {
    uint64_t *columns = take(c, words * found + 1, sizeof *columns), span[2] = {0, found};
    if (c->failed || !found) return 0;
    for (size_t w = 0; w < words; w++)
        for (size_t i = 0; i < found; i++) columns[w * found + i] = s->columns[w * s->stride + s->rows[i]];
    Scan all = {columns, found, span, 1, query, NULL, words, wanted < found ? wanted : found, NULL, NULL, NULL};
    size_t kept = scan(c, &all);
    if (c->failed) return 0;
    for (size_t i = 0; i < kept; i++) all.rows[i] = s->rows[all.rows[i]];
    s->rows = all.rows;
    s->distances = all.distances;
    return kept;
}

/* The `wanted` nearest places, ascending, then their distances; a scan of the first words passes `prescanned`. */
EXPORT Object Java_mcad_engine_index_Kernel_nearest(
    Env env, Object class, Object columns, int32_t photos, Object query, Object spans, Object allowed,
    int32_t prescan_words, int32_t prescanned, int32_t wanted) {
    Call c = {env, 0, NULL};
    (void)class;
    size_t words = length(&c, query) / 3, places = 0, found = 0;
    check(&c, photos > 0, "photos");
    check(&c, words > 0 && 64 * words <= MOST_DIM, "query");
    check(&c, prescan_words >= 0 && (size_t)prescan_words <= words, "prescanWords");
    check(&c, wanted >= 0 && prescanned >= 0, "wanted");
    uint64_t *all = numbers(&c, query, LONGS, sizeof *all, 3 * words, "query");
    Scan s = {.stride = (size_t)photos, .words = prescan_words ? (size_t)prescan_words : words};
    s.spans = spans_of(&c, spans, s.stride, &s.span_count, &places);
    s.columns = buffer(&c, columns, 8 * words * s.stride, "columns");
    if (allowed) s.allowed = buffer(&c, allowed, bit_bytes(s.stride), "allowed");
    s.wanted = prescan_words ? (size_t)prescanned : (size_t)wanted;
    if (s.wanted > places) s.wanted = places;
    s.query = c.failed ? NULL : prescan_words ? narrowed(&c, all, s.words, words) : all;
    found = scan(&c, &s);
    if (!c.failed && prescan_words) found = look_again(&c, &s, found, all, words, (size_t)wanted);
    int32_t *distances = take(&c, found + 1, sizeof *distances);
    Object result = c.failed ? NULL : CALL(env, NEW_INTS, Object (*)(Env, int32_t))(env, (int32_t)(2 * found));
    if (result) {
        for (size_t i = 0; i < found; i++) distances[i] = s.distances[i];
        set_ints(&c, result, 0, found, (const int32_t *)s.rows);
        set_ints(&c, result, found, found, distances);
    }
    finish(&c);
    return result;
}

/* Return how many cells in `order` hold `enough` passing photos; -1 if a place names no row. `counts`: passing photos
 * per cell, negative while unknown. */
EXPORT int32_t Java_mcad_engine_index_Kernel_probe(
    Env env, Object class, Object rows, int32_t photos, Object starts, Object row_bits, Object place_bits, Object counts,
    Object order, int32_t enough) {
    Call c = {env, 0, NULL};
    (void)class;
    size_t cells = length(&c, counts), probes = length(&c, order);
    int64_t probed = -1;
    check(&c, photos > 0 && enough >= 0, "photos");
    Filter f = {.photos = (size_t)photos, .end = (size_t)photos};
    uint32_t *first = numbers(&c, starts, INTS, sizeof *first, cells + 1, "starts");
    if (!c.failed) check(&c, first[0] == 0 && first[cells] == f.photos, "starts");
    for (size_t i = 0; i < cells && !c.failed; i++) check(&c, first[i] <= first[i + 1], "starts");
    f.starts = first;
    f.counts = numbers(&c, counts, INTS, sizeof *f.counts, cells, "counts");
    f.cell_starts = take(&c, cells + 1, sizeof *f.cell_starts);
    f.cell_ends = take(&c, cells + 1, sizeof *f.cell_ends);
    if (row_bits) {
        f.rows = buffer(&c, rows, 4 * f.photos, "rows");
        f.row_bits = buffer(&c, row_bits, bit_bytes(f.photos), "rowBits");
        f.place_bits = buffer(&c, place_bits, bit_bytes(f.photos), "placeBits");
    }
    const int32_t *given = numbers(&c, order, INTS, sizeof *given, probes, "order");
    int64_t *cell = take(&c, probes + 1, sizeof *cell);
    for (size_t i = 0; i < probes && !c.failed; i++)
        if (check(&c, given[i] >= 0 && (size_t)given[i] < cells, "order")) cell[i] = given[i];
    if (!c.failed) {
        probed = mcad_probe_cells(&f, cell, probes, (size_t)enough, mcad_level());
        set_ints(&c, counts, 0, cells, f.counts);
    }
    finish(&c);
    return (int32_t)probed;
}

/* Per segment: descriptor, offset of its records, photos, words of its columns, candidates always scored; cosine per
 * projection step, slope, and how many of the best may be missed. */
enum { DESCRIPTOR, RECORDS_AT, PHOTOS, WORDS, AT_LEAST, SHAPES };
enum { PROJECTION_STEP, SLOPE, MISSED, FACTORS };

/* `of`: columns, its query's residual, its candidates' places and distances (NULL if all are scored). */
static void fill(Call *c, Segment *s, const int64_t *shape, const double *factors, const Object of[4]) {
    Object columns = of[0], residual = of[1], places = of[2], distances = of[3];
    s->dim = length(c, residual);
    s->count = length(c, places);
    check(c, s->dim % 8 == 0 && s->dim > 0 && s->dim <= MOST_DIM, "residual");
    check(c, shape[DESCRIPTOR] >= 0 && shape[DESCRIPTOR] <= INT32_MAX, "descriptor");
    check(c, shape[RECORDS_AT] >= 0 && shape[RECORDS_AT] <= INT64_MAX / 4, "recordsAt");
    check(c, shape[PHOTOS] > 0 && shape[PHOTOS] <= INT32_MAX, "photos");
    check(c, shape[WORDS] >= 0 && (uint64_t)shape[WORDS] <= s->dim / 64, "words");
    size_t least = distances && s->count ? 1 : distances ? 0 : s->count;
    check(c, shape[AT_LEAST] >= (int64_t)least && (uint64_t)shape[AT_LEAST] <= s->count, "atLeast");
    if (c->failed) return;
    s->file = (int)shape[DESCRIPTOR];
    s->offset = shape[RECORDS_AT];
    s->stride = (size_t)shape[PHOTOS];
    s->words = (size_t)shape[WORDS];
    s->at_least = (size_t)shape[AT_LEAST];
    s->size = s->dim + s->dim / 8 - 8 * s->words + 4;
    s->projection_step = factors[PROJECTION_STEP];
    s->slope = factors[SLOPE];
    s->missed = factors[MISSED];
    s->residual = numbers(c, residual, DOUBLES, sizeof *s->residual, s->dim, "residual");
    if (s->words) s->columns = buffer(c, columns, 8 * s->words * s->stride, "columns");
    int32_t *rows = numbers(c, places, INTS, sizeof *rows, s->count, "places");
    for (size_t i = 0; i < s->count && !c->failed; i++)
        check(c, rows[i] >= 0 && (size_t)rows[i] < s->stride && (i == 0 || rows[i] > rows[i - 1]), "places");
    s->rows = (const uint32_t *)rows;
    if (!distances) return;
    int32_t *far = numbers(c, distances, INTS, sizeof *far, s->count, "distances");
    uint16_t *narrow = take(c, s->count + 1, sizeof *narrow);
    for (size_t i = 0; i < s->count && !c->failed; i++)
        if (check(c, far[i] >= 0 && far[i] <= UINT16_MAX, "distances")) narrow[i] = (uint16_t)far[i];
    s->distances = narrow;
}

/* Write the cosines of all candidates, segment by segment; NaN if not scored. Return 0, or s + 1 if a record of segment
 * s could not be read. */
EXPORT int32_t Java_mcad_engine_index_Kernel_rescore(
    Env env, Object class, Object columns, Object shapes, Object factors, Object residuals, Object places,
    Object distances, int32_t k, Object cosines) {
    Call c = {env, 0, NULL};
    (void)class;
    size_t count = length(&c, columns), all = length(&c, cosines), known = 0;
    int32_t status = 0;
    check(&c, k > 0, "k");
    check(&c, length(&c, residuals) == count && length(&c, places) == count && length(&c, distances) == count, "columns");
    const int64_t *shape = numbers(&c, shapes, LONGS, sizeof *shape, SHAPES * count, "shapes");
    const double *factor = numbers(&c, factors, DOUBLES, sizeof *factor, FACTORS * count, "factors");
    Segment *segments = take(&c, count + 1, sizeof *segments);
    float *scores = take(&c, all + 1, sizeof *scores);
    for (size_t i = 0; i < count && !c.failed; i++) {
        Object of[] = {at(&c, columns, i), at(&c, residuals, i), at(&c, places, i), at(&c, distances, i)};
        fill(&c, segments + i, shape + SHAPES * i, factor + FACTORS * i, of);
        for (int object = 0; object < 4; object++) forget(&c, of[object]);
        check(&c, segments[i].count <= all - known, "cosines");
        if (!c.failed) segments[i].cosines = scores + known;
        known += segments[i].count;
    }
    check(&c, known == all, "cosines");
    if (!c.failed) {
        status = mcad_rescore(segments, count, (size_t)k < all + 1 ? (size_t)k : all + 1, mcad_level());
        if (status < 0) no_memory(&c);
    }
    if (!c.failed) CALL(env, SET_FLOATS, Region *)(env, cosines, 0, (int32_t)all, scores);
    finish(&c);
    return status;
}

/* The taps of `size` pixels, each within `available` ones. */
static Taps taps_of(Call *c, Object first, Object count, Object weights, size_t available) {
    Taps taps = {.size = length(c, first)};
    check(c, taps.size > 0, "first");
    taps.first = numbers(c, first, INTS, sizeof *taps.first, taps.size, "first");
    taps.count = numbers(c, count, INTS, sizeof *taps.count, taps.size, "count");
    taps.most = c->failed ? 0 : length(c, weights) / taps.size;
    taps.weights = numbers(c, weights, INTS, sizeof *taps.weights, taps.size * taps.most, "weights");
    for (size_t i = 0; i < taps.size && !c->failed; i++) {
        check(c, taps.count[i] >= 0 && (size_t)taps.count[i] <= taps.most, "count");
        check(c, taps.first[i] >= 0 && (size_t)taps.first[i] + (size_t)taps.count[i] <= available, "first");
    }
    return taps;
}

/* Write a row of pixels, resized, to `rgb` from `start` on. */
EXPORT void Java_mcad_engine_photos_Resize_row(
    Env env, Object class, Object argb, Object first, Object count, Object weights, Object rgb, int32_t start) {
    Call c = {env, 0, NULL};
    (void)class;
    size_t width = length(&c, argb);
    uint32_t *pixels = numbers(&c, argb, INTS, sizeof *pixels, width, "argb");
    Taps taps = taps_of(&c, first, count, weights, width);
    check(&c, start >= 0 && (size_t)start + 3 * taps.size <= length(&c, rgb), "start");
    uint8_t *resized = take(&c, 3 * taps.size, 1);
    if (!c.failed) {
        mcad_resize_row(pixels, width, &taps, resized);
        CALL(env, SET_BYTES, Region *)(env, rgb, start, (int32_t)(3 * taps.size), resized);
    }
    finish(&c);
}

/* Write rows of `stride` bytes, resized, to `out`. */
EXPORT void Java_mcad_engine_photos_Resize_columns(
    Env env, Object class, Object rows, int32_t stride, Object first, Object count, Object weights, Object out) {
    Call c = {env, 0, NULL};
    (void)class;
    size_t size = length(&c, rows), wide = (size_t)stride;
    check(&c, stride > 0 && size % wide == 0, "stride");
    const uint8_t *bytes = numbers(&c, rows, BYTES, 1, size, "rows");
    Taps taps = taps_of(&c, first, count, weights, c.failed ? 0 : size / wide);
    check(&c, length(&c, out) == taps.size * wide, "out");
    int32_t *sums = take(&c, c.failed ? 0 : wide, sizeof *sums);
    uint8_t *resized = take(&c, c.failed ? 0 : taps.size * wide, 1);
    if (!c.failed) {
        mcad_resize_columns(bytes, wide, &taps, sums, resized);
        CALL(env, SET_BYTES, Region *)(env, out, 0, (int32_t)(taps.size * wide), resized);
    }
    finish(&c);
}
