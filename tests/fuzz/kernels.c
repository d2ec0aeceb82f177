/* libFuzzer: bytes that others wrote, in the kernels that read them. Each block is of the size that its kernel may
 * read, and every level of this processor's instructions must find the same. KERNELS_COUNTS names a file for the
 * number of inputs by outcome. */
#include "kernel.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const uint8_t *rest;
static size_t left, taken;
static void *blocks[64];

static void *room(size_t bytes) { return blocks[taken++] = calloc(1, bytes ? bytes : 1); }

/* The next bytes of the input, and zeros after its end. */
static void *take(size_t bytes) {
    void *block = room(bytes);
    size_t known = bytes < left ? bytes : left;
    memcpy(block, rest, known);
    rest += known;
    left -= known;
    return block;
}

static size_t number(size_t least, size_t most) {
    return least + *(uint16_t *)take(sizeof(uint16_t)) % (most - least + 1);
}

/* Numbers from -1 to 1, as in what this program computes itself. */
static float *floats(size_t count) {
    int16_t *given = take(count * sizeof *given);
    float *made = room(count * sizeof *made);
    for (size_t i = 0; i < count; i++) made[i] = given[i] * 0x1p-15f;
    return made;
}

/* What level 0 found, and what another level finds. */
static void same(const void *a, const void *b, size_t bytes) {
    if (memcmp(a, b, bytes)) abort();
}

static void ascend(const uint32_t *rows, size_t count, size_t end) {
    for (size_t i = 0; i < count; i++)
        if (rows[i] >= end || (i && rows[i] <= rows[i - 1])) abort();
}

static const char *query(void) {
    size_t bits = 64, dim = bits + 8 * number(0, 1);
    const float *given = floats(dim);
    double step = mcad_quantize_query(take(bits * dim * sizeof(float)), bits, given, dim, room(3 * bits / 8));
    return step > 0 ? "query: quantized" : "query: no step";
}

static const char *scan(void) {
    Scan s = {.words = number(1, 4), .stride = number(1, 5000), .span_count = 1};
    uint64_t *spans = room(4 * sizeof *spans);
    spans[0] = number(0, s.stride - 1);
    spans[1] = number(spans[0] + 1, s.stride);
    if (spans[1] < s.stride) {
        spans[2] = number(spans[1], s.stride - 1);
        spans[3] = number(spans[2] + 1, s.stride);
        s.span_count = 2;
    }
    s.spans = spans;
    s.wanted = number(1, spans[1] - spans[0] + spans[3] - spans[2]);
    s.query = take(3 * s.words * sizeof *s.query);
    s.allowed = number(0, 1) ? take((s.stride + 7) / 8) : NULL;
    s.columns = take(s.words * s.stride * sizeof *s.columns);
    Scan plain = s;
    size_t count = 0, most = s.wanted + 2 * 2048;
    for (int level = 0; level <= mcad_level(); level++) {
        s.rows = room(most * sizeof *s.rows);
        s.distances = room(most * sizeof *s.distances);
        s.histogram = room((3 * 64 * s.words + 1) * sizeof *s.histogram);
        size_t found = mcad_scan(&s, level);
        if (!level) plain = s, count = found;
        if (found != count || found > s.wanted) abort();
        same(plain.rows, s.rows, count * sizeof *s.rows);
        same(plain.distances, s.distances, count * sizeof *s.distances);
    }
    ascend(plain.rows, count, s.stride);
    return count < s.wanted ? "scan: all that pass" : "scan: the nearest";
}

static const char *rescore(void) {
    Limits limits;
    mcad_limits(&limits);
    Segment s = {.words = number(0, 4), .stride = number(1, 400)};
    s.dim = 64 * s.words + 8 * number(s.words ? 0 : 1, 8);
    s.size = s.dim + s.dim / 8 - 8 * s.words + 4;
    float *query = floats(s.dim), *axis = floats(s.dim);
    double *residual = room(s.dim * sizeof *residual);
    s.projection_step = mcad_split_query(query, s.dim, axis, residual);
    s.residual = residual;
    s.step = number(0, 1000) * 1e-5;
    s.columns = take(s.words * s.stride * sizeof *s.columns);
    uint32_t *rows = room(s.stride * sizeof *rows);
    uint16_t *distances = room(s.stride * sizeof *distances);
    for (size_t row = number(0, s.stride - 1); row < s.stride; row += number(1, 40)) {
        if (taken > 40) break;
        distances[s.count] = (uint16_t)number(0, 3 * 64 * s.words);
        rows[s.count++] = (uint32_t)row;
    }
    s.rows = rows;
    s.distances = s.words ? distances : NULL;
    size_t k = number(1, 20), bytes = number(0, 1) ? s.stride * s.size : left;
    FILE *file = tmpfile();
    if (!file) return "rescore: no file";
    fwrite(take(bytes), 1, bytes, file);
    fflush(file);
    s.file = fileno(file);
    float *plain = NULL;
    int failed = 0;
    for (int level = 0; level <= mcad_level(); level++) {
        s.cosines = room(s.count * sizeof *s.cosines);
        int done = mcad_rescore(&s, 1, k, &limits, level);
        if (!level) plain = s.cosines, failed = done;
        if (done != failed) abort();
        same(plain, s.cosines, s.count * sizeof *plain);
    }
    fclose(file);
    return failed ? "rescore: a record is missing" : "rescore: scored";
}

static const char *cells(void) {
    size_t photos = number(1, 600), cells = number(1, 20), dim = 8 * number(1, 20);
    uint32_t *starts = room((cells + 1) * sizeof *starts);
    for (size_t c = 1; c < cells; c++) starts[c] = (uint32_t)number(starts[c - 1], photos);
    starts[cells] = (uint32_t)photos;
    int16_t *centroids = take(cells * dim * sizeof *centroids);
    int64_t *order = room(cells * sizeof *order);
    if (!mcad_order_cells(floats(dim), dim, centroids, cells, order)) abort();
    size_t bytes = (photos + 63) / 64 * 8, enough = number(1, photos);
    Filter f = {.rows = take(photos * sizeof *f.rows), .starts = starts, .photos = photos};
    f.first = number(0, photos - 1);
    f.end = number(f.first + 1, photos);
    if (number(0, 1)) {
        int32_t *times = take(photos * sizeof *times);
        uint32_t first = *(uint32_t *)take(4), more = *(uint32_t *)take(4);
        uint8_t *bits = NULL;
        for (int level = 0; level <= mcad_level(); level++) {
            uint8_t *made = room(bytes);
            mcad_filter_times(times, f.first, f.end, first, more, made, level);
            if (!level) bits = made;
            same(bits, made, bytes);
        }
        f.row_bits = (uint32_t *)bits;
    }
    Filter plain = f;
    int64_t probed = 0;
    for (int level = 0; level <= mcad_level(); level++) {
        f.place_bits = f.row_bits ? room(bytes) : NULL;
        f.cell_starts = room(cells * sizeof *f.cell_starts);
        f.cell_ends = room(cells * sizeof *f.cell_ends);
        f.counts = room(cells * sizeof *f.counts);
        memset(f.counts, -1, cells * sizeof *f.counts);
        int64_t done = mcad_probe_cells(&f, order, cells, enough, level);
        if (!level) plain = f, probed = done;
        if (done != probed) abort();
        same(plain.counts, f.counts, cells * sizeof *f.counts);
        if (f.row_bits) same(plain.place_bits, f.place_bits, bytes);
    }
    for (size_t c = 0; c < cells; c++)
        if (plain.counts[c] >= 0 && (plain.cell_starts[c] > plain.cell_ends[c] || plain.cell_ends[c] > photos)) abort();
    return probed < 0 ? "cells: a place names no row" : "cells: probed";
}

static const char *records(void) {
    size_t dim = 8 * number(1, 40), count = number(1, 20), cells = number(1, 10);
    const float *axis = floats(dim);
    int16_t *centroids = take(cells * dim * sizeof *centroids);
    float *rows = room(count * dim * sizeof *rows);
    mcad_decode(take(count * (dim + dim / 8 + 4)), count, dim, axis, rows);
    uint16_t *plain = room(count * sizeof *plain);
    mcad_assign_cells(rows, count, dim, axis, centroids, cells, plain, 0);
    for (int level = 1; level <= mcad_level(); level++) {
        uint16_t *found = room(count * sizeof *found);
        mcad_assign_cells(rows, count, dim, axis, centroids, cells, found, level);
        same(plain, found, count * sizeof *found);
    }
    return "records: decoded";
}

static const char *boxes(void) {
    size_t width = number(1, 200), height = number(1, 200), most = number(1, 30);
    return mcad_boxes(take(width * height * sizeof(float)), width, height, most, room(9 * most * sizeof(float)))
        ? "boxes: found" : "boxes: none";
}

/* A file of words that was written, then changed. */
static const char *words(void) {
    uint32_t photos = (uint32_t)number(1, 40), text = (uint32_t)number(1, 60), rows[40];
    uint32_t head[] = {1, 1, 0, text, 5}; /* read, lines, places, bytes of text, of terms */
    size_t size = sizeof head + 16 + text + head[4];
    uint8_t *given = take(photos * size), *file;
    for (uint32_t i = 0; i < photos; i++) {
        uint8_t *record = given + i * size, *line = record + sizeof head + 16, *end = line + text;
        rows[i] = i;
        memcpy(record, head, sizeof head);
        for (uint8_t *at = line; at < end; at++)
            if (*at == '\n') *at = ' ';
        end[-1] = '\n';
        end[0] %= WORD_SOURCES;
        end[1] = 3;
    }
    int64_t bytes = mcad_words_build(NULL, 0, given, photos * size, rows, photos, photos, 0, &file);
    if (bytes < 0) abort();
    uint8_t *data = memcpy(room((size_t)bytes), file, (size_t)bytes), *out;
    mcad_words_free(file);
    for (size_t changes = number(0, 4); changes; changes--) data[number(0, (size_t)bytes - 1)] ^= *(uint8_t *)take(1);
    memcpy(data + 16, &photos, 4); /* Python compares it with the segment's */
    WordQuery queries[2] = {{.term = take(3), .size = 3, .modes = WORD_BEGINS, .sources = 7},
                            {.term = take(5), .size = 5, .modes = WORD_BEGINS | WORD_NEAR, .sources = 7}};
    int damaged = mcad_words_find(data, (size_t)bytes, queries, 2, room(photos)) < 0;
    void *model = NULL;
    if (mcad_words_open(data, (size_t)bytes, &model) > 0) {
        damaged |= mcad_words_records(data, (size_t)bytes, model, rows, photos, &out) < 0;
        mcad_words_free(out);
    } else damaged = 1;
    mcad_words_close(model);
    int32_t *new_rows = take(photos * sizeof *new_rows);
    for (uint32_t i = 0; i < photos; i++) new_rows[i] = new_rows[i] < 0 ? -1 : (int32_t)i;
    OldWords old = {data, (size_t)bytes, new_rows};
    damaged |= mcad_words_build(&old, 1, NULL, 0, NULL, 0, photos, 0, &out) < 0;
    mcad_words_free(out);
    return damaged ? "words: damaged" : "words: read";
}

static const char *(*const kernels[])(void) = {query, scan, rescore, cells, records, boxes, words};
static struct {
    const char *name;
    size_t inputs;
} outcomes[16];

static void write_counts(void) {
    FILE *file = fopen(getenv("KERNELS_COUNTS"), "w");
    if (!file) return;
    fprintf(file, "{");
    for (size_t i = 0; outcomes[i].name; i++)
        fprintf(file, "%s\"%s\": %zu", i ? ", " : "", outcomes[i].name, outcomes[i].inputs);
    fprintf(file, "}\n");
    fclose(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static int first = 1;
    if (first && getenv("KERNELS_COUNTS")) atexit(write_counts);
    first = 0;
    rest = data;
    left = size;
    const char *outcome = kernels[number(0, sizeof kernels / sizeof *kernels - 1)]();
    size_t at = 0;
    while (outcomes[at].name && strcmp(outcomes[at].name, outcome)) at++;
    outcomes[at].name = outcome;
    outcomes[at].inputs++;
    while (taken) free(blocks[--taken]);
    return 0;
}
