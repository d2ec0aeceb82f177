/* JNI bindings of the kernels, for engine.index.Kernel, engine.photos.Resize, engine.reading.Detector and
 * engine.words.Places in Java. Arguments and file contents are checked before they are used to access memory; errors become Java exceptions. Java arrays are
 * small and copied; direct buffers over mapped files are read in place. */
#include "words.h"
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
    NEW_BYTES = 176,
    NEW_INTS = 179,
    BYTES = 200,
    INTS = 203,
    LONGS = 204,
    FLOATS = 205,
    DOUBLES = 206,
    SET_BYTES = 208,
    SET_INTS = 211,
    SET_LONGS = 212,
    SET_FLOATS = 213,
    PIN = 222,
    UNPIN = 223,
    SET_DOUBLES = 214,
    BUFFER_ADDRESS = 230,
    BUFFER_CAPACITY = 231,
};
#define EXPORT __attribute__((visibility("default")))
#define CALL(env, number, type) ((type)(*(env))[number])
typedef void Region(Env, Object, int32_t, int32_t, void *);

#define CRC_AT 4092
#define BLOCKS (2 * 2048)
#define PHOTOS_AT 16 /* in a file of words */

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

EXPORT int32_t Java_io_github_mcadmobile_engine_base_NativeLibrary_layout(Env env, Object class) {
    (void)env, (void)class;
    return mcad_layout();
}

/* Open a segment's file: its descriptor, -1 if it is a link or does not open, -2 if its header has another CRC-32. */
EXPORT int32_t Java_io_github_mcadmobile_engine_index_Kernel_open(
    Env env, Object class, Object path, int32_t header_crc) {
    Call c = {env, 0, NULL};
    (void)class;
    char *name = numbers(&c, path, BYTES, 1, length(&c, path), "path");
    int file = -1;
    uint32_t found;
    if (name && (file = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)) >= 0
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
EXPORT void Java_io_github_mcadmobile_engine_index_Kernel_readAlone(Env env, Object class, Object map) {
    Call c = {env, 0, NULL};
    (void)class;
    uintptr_t start = (uintptr_t)buffer(&c, map, 0, "map"), page = mcad_page();
    int64_t capacity = c.failed ? 0 : CALL(env, BUFFER_CAPACITY, int64_t (*)(Env, Object))(env, map);
    if (!c.failed) madvise((void *)(start / page * page), start % page + (size_t)capacity, MADV_RANDOM);
    finish(&c);
}

/* Start reading all spans of a file: first byte, byte after the last. */
EXPORT void Java_io_github_mcadmobile_engine_index_Kernel_fetch(Env env, Object class, int32_t file, Object array) {
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

EXPORT void Java_io_github_mcadmobile_engine_index_Kernel_close(Env env, Object class, int32_t file) {
    (void)env, (void)class;
    if (file >= 0) close(file);
}

/* Whether rows of so many numbers have a width that an index may have. */
static int check_dim(Call *c, size_t dim) { return check(c, dim % 8 == 0 && dim > 0 && dim <= MOST_DIM, "dim"); }

/* A copy of rows of `dim` numbers; their number goes to `count`. */
static float *rows_of(Call *c, Object array, size_t dim, size_t *count) {
    size_t all = length(c, array);
    *count = check_dim(c, dim) ? all / dim : 0;
    return check(c, all % (c->failed ? 1 : dim) == 0, "rows") ? numbers(c, array, FLOATS, sizeof(float), all, "rows")
                                                             : NULL;
}

static void set(Call *c, Object array, int region, size_t count, void *from) {
    if (!c->failed) CALL(c->env, region, Region *)(c->env, array, 0, (int32_t)count, from);
}

/* Scale an embedding to length 1 and rotate it; return the length that it had. */
EXPORT float Java_io_github_mcadmobile_engine_index_Kernel_prepare(Env env, Object class, Object vector) {
    Call c = {env, 0, NULL};
    (void)class;
    float found = 0;
    size_t dim = length(&c, vector), count;
    float *copy = rows_of(&c, vector, dim, &count);
    if (copy && !mcad_prepare(copy, 1, dim, &found)) no_memory(&c);
    set(&c, vector, SET_FLOATS, dim, copy);
    finish(&c);
    return found;
}

EXPORT void Java_io_github_mcadmobile_engine_index_Kernel_rotate(Env env, Object class, Object vector, uint8_t back) {
    Call c = {env, 0, NULL};
    (void)class;
    size_t dim = length(&c, vector), count;
    float *copy = rows_of(&c, vector, dim, &count);
    if (copy && !mcad_rotate(copy, 1, dim, back)) no_memory(&c);
    set(&c, vector, SET_FLOATS, dim, copy);
    finish(&c);
}

/* Encode rows as whole records; `feedback` [dim][dim] may be NULL. */
EXPORT void Java_io_github_mcadmobile_engine_index_Kernel_encode(
    Env env, Object class, Object rows, Object axis, Object feedback, Object records) {
    Call c = {env, 0, NULL};
    (void)class;
    size_t dim = length(&c, axis), count, size = dim + dim / 8 + 4;
    const float *given = rows_of(&c, rows, dim, &count);
    const float *around = numbers(&c, axis, FLOATS, sizeof *around, dim, "axis");
    const float *shares = feedback && !c.failed ? buffer(&c, feedback, dim * dim * sizeof *shares, "feedback") : NULL;
    check(&c, length(&c, records) == count * size, "records");
    uint8_t *made = take(&c, count * size + 1, 1);
    if (!c.failed && !mcad_encode(given, count, dim, around, shares, made, mcad_level())) no_memory(&c);
    set(&c, records, SET_BYTES, count * size, made);
    finish(&c);
}

/* Decode whole records to rows. */
EXPORT void Java_io_github_mcadmobile_engine_index_Kernel_decode(
    Env env, Object class, Object records, Object axis, Object rows) {
    Call c = {env, 0, NULL};
    (void)class;
    size_t dim = length(&c, axis), size = dim + dim / 8 + 4, count = length(&c, records) / size;
    check_dim(&c, dim);
    const uint8_t *given = numbers(&c, records, BYTES, 1, count * size, "records");
    const float *around = numbers(&c, axis, FLOATS, sizeof *around, dim, "axis");
    check(&c, length(&c, rows) == count * dim, "rows");
    float *made = take(&c, count * dim + 1, sizeof *made);
    if (!c.failed) mcad_decode(given, count, dim, around, made);
    set(&c, rows, SET_FLOATS, count * dim, made);
    finish(&c);
}

/* Split a rotated query by an axis: its residual, and its cosine per projection step. */
EXPORT double Java_io_github_mcadmobile_engine_index_Kernel_split(
    Env env, Object class, Object query, Object axis, Object residual) {
    Call c = {env, 0, NULL};
    (void)class;
    double step = 0;
    size_t dim = length(&c, axis);
    check_dim(&c, dim);
    const float *given = numbers(&c, query, FLOATS, sizeof *given, dim, "query");
    const float *around = numbers(&c, axis, FLOATS, sizeof *around, dim, "axis");
    check(&c, length(&c, residual) == dim, "residual");
    double *rest = take(&c, dim, sizeof *rest);
    if (!c.failed) step = mcad_split_query(given, dim, around, rest);
    set(&c, residual, SET_DOUBLES, dim, rest);
    finish(&c);
    return step;
}

EXPORT void Java_io_github_mcadmobile_engine_index_Kernel_addUp(Env env, Object class, Object rows, Object total) {
    Call c = {env, 0, NULL};
    (void)class;
    size_t dim = length(&c, total), count;
    const float *given = rows_of(&c, rows, dim, &count);
    double *sum = numbers(&c, total, DOUBLES, sizeof *sum, dim, "total");
    if (!c.failed) mcad_add_up(given, count, dim, sum);
    set(&c, total, SET_DOUBLES, dim, sum);
    finish(&c);
}

EXPORT void Java_io_github_mcadmobile_engine_index_Kernel_axis(Env env, Object class, Object total, Object axis) {
    Call c = {env, 0, NULL};
    (void)class;
    size_t dim = length(&c, axis);
    check_dim(&c, dim);
    const double *sum = numbers(&c, total, DOUBLES, sizeof *sum, dim, "total");
    float *made = take(&c, dim, sizeof *made);
    if (!c.failed) mcad_axis(sum, dim, made);
    set(&c, axis, SET_FLOATS, dim, made);
    finish(&c);
}

EXPORT void Java_io_github_mcadmobile_engine_index_Kernel_addCovariance(
    Env env, Object class, Object rows, Object axis, Object covariance) {
    Call c = {env, 0, NULL};
    (void)class;
    size_t dim = length(&c, axis), count;
    const float *given = rows_of(&c, rows, dim, &count);
    const float *around = numbers(&c, axis, FLOATS, sizeof *around, dim, "axis");
    double *sum = c.failed ? NULL : buffer(&c, covariance, dim * dim * sizeof *sum, "covariance");
    if (!c.failed && !mcad_add_covariance(given, count, dim, around, sum, mcad_level())) no_memory(&c);
    finish(&c);
}

/* Return whether rounding by `shares` is worthwhile. */
EXPORT uint8_t Java_io_github_mcadmobile_engine_index_Kernel_feedback(
    Env env, Object class, Object covariance, int32_t dim, Object shares) {
    Call c = {env, 0, NULL};
    (void)class;
    int useful = 0;
    size_t width = (size_t)dim;
    check_dim(&c, width);
    double *sum = c.failed ? NULL : buffer(&c, covariance, width * width * sizeof *sum, "covariance");
    float *made = c.failed ? NULL : buffer(&c, shares, width * width * sizeof *made, "shares");
    if (!c.failed && (useful = mcad_feedback(sum, width, made, mcad_level())) < 0) no_memory(&c);
    finish(&c);
    return useful > 0;
}

EXPORT int32_t Java_io_github_mcadmobile_engine_index_Kernel_feedbackStep(
    Env env, Object class, int32_t photos, int32_t dim) {
    (void)env, (void)class;
    return photos < 0 || dim <= 0 ? 0 : (int32_t)mcad_feedback_step((size_t)photos, (size_t)dim);
}

EXPORT int32_t Java_io_github_mcadmobile_engine_index_Kernel_sampleStep(
    Env env, Object class, int32_t photos, int32_t dim) {
    (void)env, (void)class;
    return photos <= 0 || dim <= 0 ? 1 : (int32_t)mcad_sample_step((size_t)photos, (size_t)dim);
}

EXPORT int32_t Java_io_github_mcadmobile_engine_index_Kernel_cellsFrom(Env env, Object class) {
    Limits limits;
    (void)env, (void)class;
    mcad_limits(&limits);
    return (int32_t)limits.cells_from;
}

EXPORT int32_t Java_io_github_mcadmobile_engine_index_Kernel_count(
    Env env, Object class, double factor, double exponent, double growth, int32_t photos, int32_t k, uint8_t in_cells) {
    Count count = {factor, exponent, growth};
    size_t n = photos > 0 ? (size_t)photos : 0, results = k > 0 ? (size_t)k : 1;
    (void)env, (void)class;
    return (int32_t)(in_cells ? mcad_count_in_cells(&count, n, results) : mcad_count(&count, n, results));
}

/* `merged`: whether each segment is merged; return whether the axis is computed anew. */
EXPORT uint8_t Java_io_github_mcadmobile_engine_index_Kernel_planMerge(
    Env env, Object class, Object live, Object deleted, int64_t added, int64_t axis_photos, Object merged) {
    Call c = {env, 0, NULL};
    Limits limits;
    (void)class;
    int anew = 0;
    size_t count = length(&c, merged);
    const int64_t *rows = numbers(&c, live, LONGS, sizeof *rows, count, "live");
    const int64_t *gone = numbers(&c, deleted, LONGS, sizeof *gone, count, "deleted");
    uint8_t *chosen = take(&c, count + 1, 1);
    mcad_limits(&limits);
    if (!c.failed) anew = mcad_plan_merge(rows, gone, count, added, axis_photos, &limits, chosen);
    set(&c, merged, SET_BYTES, count, chosen);
    finish(&c);
    return (uint8_t)anew;
}

/* Add rows to a sample from its row `at` on. */
EXPORT void Java_io_github_mcadmobile_engine_index_Kernel_shrink(
    Env env, Object class, Object rows, int32_t dim, Object sample, int32_t at) {
    Call c = {env, 0, NULL};
    (void)class;
    size_t count, width = (size_t)dim, before = (size_t)at * width;
    const float *given = rows_of(&c, rows, width, &count);
    check(&c, at >= 0, "at");
    int16_t *all = c.failed ? NULL : buffer(&c, sample, (before + count * width) * sizeof *all, "sample");
    if (!c.failed) mcad_shrink(given, count * width, all + before);
    finish(&c);
}

/* `counts`: bits to scan, bits of a prescan and cells, then the three numbers of each of three counts. */
EXPORT void Java_io_github_mcadmobile_engine_index_Kernel_tune(
    Env env, Object class, Object sample, int32_t count, Object axis, int32_t photos, int32_t cells_from,
    uint8_t at_any_cost, Object bit_weights, Object centroids, Object counts) {
    Call c = {env, 0, NULL};
    Limits limits;
    (void)class;
    size_t dim = length(&c, axis), scanned = dim < MOST_SCANNED ? dim : MOST_SCANNED;
    check_dim(&c, dim);
    check(&c, count >= 0 && photos >= 0 && cells_from >= 0, "photos");
    Tune t = {.count = (size_t)count, .dim = dim, .photos = (size_t)photos};
    t.axis = numbers(&c, axis, FLOATS, sizeof *t.axis, dim, "axis");
    if (!c.failed) t.sample = buffer(&c, sample, t.count * dim * sizeof *t.sample, "sample");
    if (!c.failed) t.bit_weights = buffer(&c, bit_weights, scanned * dim * sizeof *t.bit_weights, "bitWeights");
    if (!c.failed) t.centroids = buffer(&c, centroids, MOST_CELLS * dim * sizeof *t.centroids, "centroids");
    check(&c, length(&c, counts) == 12, "counts");
    mcad_limits(&limits);
    limits.cells_from = (size_t)cells_from;
    if (at_any_cost) limits.cells_gain = 0;
    if (!c.failed && !mcad_tune(&t, &limits, mcad_level())) no_memory(&c);
    double found[12] = {(double)t.scan_bits, (double)t.prescan_bits, (double)t.cells};
    memcpy(found + 3, &t.candidates, sizeof t.candidates);
    memcpy(found + 6, &t.prescan, sizeof t.prescan);
    memcpy(found + 9, &t.in_cells, sizeof t.in_cells);
    set(&c, counts, SET_DOUBLES, 12, found);
    finish(&c);
}

/* Quantize a rotated query by bit weights [words.length / 3 * 64][dim]; return the step. */
EXPORT double Java_io_github_mcadmobile_engine_index_Kernel_quantize(
    Env env, Object class, Object bit_weights, Object query, Object words) {
    Call c = {env, 0, NULL};
    (void)class;
    double step = 0;
    size_t dim = length(&c, query), all = length(&c, words), bits = all / 3 * 64;
    check_dim(&c, dim);
    check(&c, all % 3 == 0 && bits > 0 && bits <= dim, "words");
    const float *given = numbers(&c, query, FLOATS, sizeof *given, dim, "query");
    const float *weights = c.failed ? NULL : buffer(&c, bit_weights, bits * dim * sizeof *weights, "bitWeights");
    uint64_t *made = take(&c, all + 1, sizeof *made);
    if (!c.failed) step = mcad_quantize_query(weights, bits, given, dim, made);
    set(&c, words, SET_LONGS, all, made);
    finish(&c);
    return step;
}

/* Find the cell of each row. */
EXPORT void Java_io_github_mcadmobile_engine_index_Kernel_assignCells(
    Env env, Object class, Object rows, Object axis, Object centroids, int32_t cells, Object of_rows) {
    Call c = {env, 0, NULL};
    (void)class;
    size_t dim = length(&c, axis), count;
    const float *given = rows_of(&c, rows, dim, &count);
    const float *around = numbers(&c, axis, FLOATS, sizeof *around, dim, "axis");
    check(&c, cells > 0 && cells <= UINT16_MAX, "cells");
    const int16_t *centres = c.failed ? NULL : buffer(&c, centroids, (size_t)cells * dim * sizeof *centres, "centroids");
    check(&c, length(&c, of_rows) == count, "ofRows");
    uint16_t *found = take(&c, count + 1, sizeof *found);
    int32_t *wide = take(&c, count + 1, sizeof *wide);
    if (!c.failed && !mcad_assign_cells(given, count, dim, around, centres, (size_t)cells, found, mcad_level()))
        no_memory(&c);
    for (size_t i = 0; i < count && !c.failed; i++) wide[i] = found[i];
    set(&c, of_rows, SET_INTS, count, wide);
    finish(&c);
}

/* List all cells in the order in which a rotated query scans them. */
EXPORT void Java_io_github_mcadmobile_engine_index_Kernel_orderCells(
    Env env, Object class, Object query, Object centroids, Object order) {
    Call c = {env, 0, NULL};
    (void)class;
    size_t dim = length(&c, query), cells = length(&c, order);
    check_dim(&c, dim);
    const float *given = numbers(&c, query, FLOATS, sizeof *given, dim, "query");
    const int16_t *centres = c.failed ? NULL : buffer(&c, centroids, cells * dim * sizeof *centres, "centroids");
    int64_t *found = take(&c, cells + 1, sizeof *found);
    int32_t *narrow = take(&c, cells + 1, sizeof *narrow);
    if (!c.failed && !mcad_order_cells(given, dim, centres, cells, found)) no_memory(&c);
    for (size_t i = 0; i < cells && !c.failed; i++) narrow[i] = (int32_t)found[i];
    set(&c, order, SET_INTS, cells, narrow);
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
EXPORT Object Java_io_github_mcadmobile_engine_index_Kernel_nearest(
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
EXPORT int32_t Java_io_github_mcadmobile_engine_index_Kernel_probe(
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

/* Per segment: descriptor, offset of its records, photos, words of its columns; cosine per projection step, and half of
 * that per unit of distance. */
enum { DESCRIPTOR, RECORDS_AT, PHOTOS, WORDS, SHAPES };
enum { PROJECTION_STEP, STEP, FACTORS };

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
    if (c->failed) return;
    s->file = (int)shape[DESCRIPTOR];
    s->offset = shape[RECORDS_AT];
    s->stride = (size_t)shape[PHOTOS];
    s->words = (size_t)shape[WORDS];
    s->size = s->dim + s->dim / 8 - 8 * s->words + 4;
    s->projection_step = factors[PROJECTION_STEP];
    s->step = factors[STEP];
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
EXPORT int32_t Java_io_github_mcadmobile_engine_index_Kernel_rescore(
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
        Limits limits;
        mcad_limits(&limits);
        status = mcad_rescore(segments, count, (size_t)k, &limits, mcad_level());
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
EXPORT void Java_io_github_mcadmobile_engine_photos_Resize_row(
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
EXPORT void Java_io_github_mcadmobile_engine_photos_Resize_columns(
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

/* The bytes of a mapped file of words. */
static const uint8_t *words_of(Call *c, Object map, size_t *size) {
    const uint8_t *data = buffer(c, map, WORDS_HEAD, "map");
    *size = c->failed ? 0 : (size_t)CALL(c->env, BUFFER_CAPACITY, int64_t (*)(Env, Object))(c->env, map);
    return data;
}

/* Count no page of a file that was read as memory of this process. */
static void release(Call *c, const uint8_t *data, size_t size) {
    if (!c->failed) madvise((void *)data, size, MADV_DONTNEED);
}

static Object bytes_of(Call *c, const uint8_t *from, int64_t count) {
    if (count > INT32_MAX) no_memory(c);
    Object made = c->failed ? NULL : CALL(c->env, NEW_BYTES, Object (*)(Env, int32_t))(c->env, (int32_t)count);
    if (made) CALL(c->env, SET_BYTES, void (*)(Env, Object, int32_t, int32_t, const uint8_t *))(c->env, made, 0, (int32_t)count, from);
    return made;
}

EXPORT int64_t Java_io_github_mcadmobile_engine_index_Kernel_openWords(Env env, Object class, Object map) {
    Call c = {env, 0, NULL};
    (void)class;
    size_t size;
    const uint8_t *data = words_of(&c, map, &size);
    void *model = NULL;
    int done = c.failed ? 0 : mcad_words_open(data, size, &model);
    if (done < 0) no_memory(&c);
    if (done <= 0) mcad_words_close(model), model = NULL;
    finish(&c);
    return (int64_t)(intptr_t)model;
}

EXPORT void Java_io_github_mcadmobile_engine_index_Kernel_closeWords(Env env, Object class, int64_t model) {
    (void)env, (void)class;
    mcad_words_close((void *)(intptr_t)model);
}

EXPORT Object Java_io_github_mcadmobile_engine_index_Kernel_words(
    Env env, Object class, Object map, int64_t model, Object rows) {
    Call c = {env, 0, NULL};
    (void)class;
    size_t size, count = length(&c, rows);
    const uint8_t *data = words_of(&c, map, &size);
    const uint32_t *wanted = numbers(&c, rows, INTS, sizeof *wanted, count, "rows");
    uint8_t *records = NULL;
    check(&c, model != 0, "model");
    int64_t found = c.failed ? -1 : mcad_words_records(data, size, (void *)(intptr_t)model, wanted, count, &records);
    if (found == -2) no_memory(&c);
    Object made = found < 0 ? NULL : bytes_of(&c, records, found);
    mcad_words_free(records);
    release(&c, data, size);
    finish(&c);
    return made;
}

/* Maps and new rows of files that are taken over are NULL where a segment has none. */
EXPORT Object Java_io_github_mcadmobile_engine_index_Kernel_buildWords(
    Env env, Object class, Object maps, Object new_rows, Object records, Object rows, int32_t photos,
    int32_t segment_crc, Object damaged) {
    Call c = {env, 0, NULL};
    (void)class;
    size_t files = length(&c, maps), count = length(&c, rows), size = length(&c, records), old_count = 0;
    check(&c, length(&c, new_rows) == files && length(&c, damaged) == 1, "newRows");
    check(&c, photos > 0, "photos");
    OldWords *old = take(&c, files + 1, sizeof *old);
    int32_t *numbers_of = take(&c, files + 1, sizeof *numbers_of);
    for (size_t i = 0; i < files && !c.failed; i++) {
        Object map = at(&c, maps, i), of_file = at(&c, new_rows, i);
        if (map && !c.failed) {
            OldWords *next = old + old_count;
            next->data = words_of(&c, map, &next->size);
            size_t rows_of_file = c.failed ? 0 : get_32(next->data + PHOTOS_AT);
            const int32_t *given = numbers(&c, of_file, INTS, sizeof *given, rows_of_file, "newRows");
            for (size_t row = 0; row < rows_of_file && !c.failed; row++) check(&c, given[row] < photos, "newRows");
            next->new_rows = given;
            numbers_of[old_count++] = (int32_t)i;
        }
        forget(&c, map);
        forget(&c, of_file);
    }
    const uint8_t *given = numbers(&c, records, BYTES, 1, size, "records");
    const uint32_t *of_records = numbers(&c, rows, INTS, sizeof *of_records, count, "rows");
    for (size_t i = 0; i < count && !c.failed; i++) check(&c, of_records[i] < (uint32_t)photos, "rows");
    uint8_t *file = NULL;
    int64_t made = c.failed ? -1 : mcad_words_build(old, old_count, given, size, of_records, count, (size_t)photos, (uint32_t)segment_crc, &file);
    if (made == -1) no_memory(&c);
    Object result = made < 0 ? NULL : bytes_of(&c, file, made);
    mcad_words_free(file);
    for (size_t i = 0; i < old_count; i++) release(&c, old[i].data, old[i].size);
    if (made < -1 && !c.failed) set_ints(&c, damaged, 0, 1, numbers_of - 2 - made);
    finish(&c);
    return result;
}

/* Terms that are looked for: of each its modes, its sources, the number of its bytes, and these. */
static WordQuery *queries_of(Call *c, Object array, size_t *count) {
    size_t size = length(c, array), at = 0;
    const uint8_t *given = numbers(c, array, BYTES, 1, size, "queries");
    WordQuery *queries = take(c, size + 1, sizeof *queries);
    *count = 0;
    while (!c->failed && at < size) {
        size_t bytes = size - at > 3 ? given[at + 2] : 0;
        if (!check(c, bytes && bytes <= size - at - 3, "queries")) break;
        queries[(*count)++] = (WordQuery){.term = given + at + 3, .size = bytes, .modes = given[at], .sources = given[at + 1]};
        at += 3 + bytes;
    }
    return queries;
}

/* The bytes of an array, where they are, until they are unpinned: no call of JNI may be made before. */
static uint8_t *pin(Call *c, Object array) {
    uint8_t *bytes = c->failed ? NULL : CALL(c->env, PIN, void *(*)(Env, Object, uint8_t *))(c->env, array, NULL);
    if (!bytes) no_memory(c);
    return bytes;
}

static void unpin(Call *c, Object array, uint8_t *bytes) {
    if (bytes) CALL(c->env, UNPIN, void (*)(Env, Object, void *, int32_t))(c->env, array, bytes, 0);
}

EXPORT uint8_t Java_io_github_mcadmobile_engine_index_Kernel_findWords(
    Env env, Object class, Object map, Object queries, Object best, int32_t group, Object counts) {
    Call c = {env, 0, NULL};
    (void)class;
    size_t size, count;
    uint64_t photos = 0, first = 0;
    const uint8_t *data = words_of(&c, map, &size);
    WordQuery *terms = queries_of(&c, queries, &count);
    check(&c, count <= MOST_QUERIES && length(&c, counts) == count, "counts");
    if (!c.failed) photos = get_32(data + PHOTOS_AT), first = (uint32_t)group * photos;
    check(&c, best && length(&c, best) >= first + photos, "best");
    uint8_t *marks = pin(&c, best);
    int failed = !marks || mcad_words_find(data, size, terms, count, marks + first);
    unpin(&c, best, marks);
    int32_t found[MOST_QUERIES] = {0};
    for (size_t i = 0; !failed && i < count; i++) found[i] = (int32_t)terms[i].found;
    set(&c, counts, SET_INTS, count, found);
    release(&c, data, size);
    finish(&c);
    return !failed;
}

EXPORT uint8_t Java_io_github_mcadmobile_engine_index_Kernel_isLike(Env env, Object class, Object queries, Object word) {
    Call c = {env, 0, NULL};
    (void)class;
    size_t size = length(&c, word), count;
    WordQuery *terms = queries_of(&c, queries, &count);
    const uint8_t *letters = numbers(&c, word, BYTES, 1, size, "word");
    int is_like = !c.failed && mcad_word_likeness(terms, count, letters, size);
    finish(&c);
    return (uint8_t)is_like;
}

EXPORT int32_t Java_io_github_mcadmobile_engine_index_Kernel_rankWords(
    Env env, Object class, Object marks, Object worths, Object allowed, int32_t k, Object rows, Object found) {
    Call c = {env, 0, NULL};
    (void)class;
    size_t groups = length(&c, worths) / 256, room = length(&c, rows);
    int64_t count = 0;
    check(&c, k > 0 && (size_t)k <= room, "k");
    check(&c, length(&c, found) == room, "found");
    check(&c, marks && (groups ? length(&c, marks) % groups == 0 : !length(&c, marks)), "marks");
    WordRanking r = {.planes = groups};
    r.worths = numbers(&c, worths, FLOATS, sizeof *r.worths, 256 * groups, "worths");
    if (groups) r.end = r.photos = length(&c, marks) / groups;
    if (allowed && !c.failed) r.allowed = buffer(&c, allowed, bit_bytes(r.photos), "allowed");
    uint32_t *best = take(&c, room + 1, sizeof *best);
    float *worth = take(&c, room + 1, sizeof *worth);
    uint8_t *pinned = pin(&c, marks);
    r.best = pinned;
    if (pinned) count = mcad_words_rank(&r, (size_t)k, room, best, worth);
    unpin(&c, marks, pinned);
    if (count < 0) no_memory(&c);
    set(&c, rows, SET_INTS, room, best);
    set(&c, found, SET_FLOATS, room, worth);
    finish(&c);
    return (int32_t)count;
}

/* Of each line of a coordinate's names, its start in the table and its bytes; NULL if the table is damaged. */
EXPORT Object Java_io_github_mcadmobile_engine_words_Places_near(
    Env env, Object class, Object table, double latitude, double longitude, double cosine) {
    Call c = {env, 0, NULL};
    (void)class;
    const uint8_t *data = buffer(&c, table, 0, "table");
    int64_t size = c.failed ? 0 : CALL(env, BUFFER_CAPACITY, int64_t (*)(Env, Object))(env, table);
    uint32_t spans[8];
    int lines = c.failed ? -1 : mcad_places_near(data, (size_t)size, latitude, longitude, cosine, spans);
    Object made = lines < 0 ? NULL : CALL(env, NEW_INTS, Object (*)(Env, int32_t))(env, 2 * lines);
    if (made) set_ints(&c, made, 0, (size_t)(2 * lines), (const int32_t *)spans);
    finish(&c);
    return made;
}

/* Find boxes in a map [height][width] of floats; how many were written to `boxes` [most][9]. */
EXPORT int32_t Java_io_github_mcadmobile_engine_reading_Detector_boxes(
    Env env, Object class, Object map, int32_t width, int32_t height, Object boxes) {
    Call c = {env, 0, NULL};
    (void)class;
    size_t most = length(&c, boxes) / 9, wide = (size_t)width, high = (size_t)height;
    check(&c, width > 0 && width <= MOST_MAP_SIDE, "width");
    check(&c, height > 0 && height <= MOST_MAP_SIDE && (c.failed || high * wide <= MOST_MAP_AREA), "height");
    check(&c, most > 0, "boxes");
    const float *probabilities = c.failed ? NULL : buffer(&c, map, high * wide * sizeof *probabilities, "map");
    float *found = take(&c, 9 * most, sizeof *found);
    int64_t count = 0;
    if (!c.failed && (count = mcad_boxes(probabilities, wide, high, most, found)) < 0) no_memory(&c);
    set(&c, boxes, SET_FLOATS, 9 * most, found);
    finish(&c);
    return (int32_t)count;
}
