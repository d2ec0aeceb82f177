/* libFuzzer, or chance (-DBY_CHANCE): bytes that others wrote, in the kernels that read them. Each block is of the size
 * that its kernel may read, every level of this processor's instructions must find the same, and one allocation of the
 * kernels may fail. KERNELS_COUNTS names a file for the number of inputs by outcome. */
#undef malloc
#undef calloc
#undef realloc
#include "kernel.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The kernels are compiled with these in place of the allocator's. */
static size_t allowed;
static int has_failed;
static int may(void) {
    has_failed |= !allowed;
    return allowed-- > 0;
}
void *fuzz_malloc(size_t size) { return may() ? malloc(size) : NULL; }
void *fuzz_calloc(size_t count, size_t size) { return may() ? calloc(count, size) : NULL; }
void *fuzz_realloc(void *block, size_t size) { return may() ? realloc(block, size) : NULL; }

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
    const float *weights = number(0, 1) ? floats(bits * dim) : take(bits * dim * sizeof *weights);
    double step = mcad_quantize_query(weights, bits, given, dim, room(3 * bits / 8));
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
    uint32_t photos = (uint32_t)number(0, 40), text = (uint32_t)number(1, 60), rows[40];
    uint32_t head[] = {1, 1, 0, text, 5}; /* read, lines, places, bytes of text, of terms */
    size_t size = sizeof head + 16 + text + head[4], of_text = size - head[4];
    uint8_t *given = take(photos * size), *file, *out;
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
    int is_wrong = photos && !number(0, 3);
    if (is_wrong) given[photos * size - number(1, number(0, 1) ? 7 : size)] ^= 1 << number(0, 7);
    if (!number(0, 3)) allowed = number(0, 60);
    int64_t bytes = mcad_words_build(NULL, 0, given, photos * size, rows, photos, photos, 0, &file);
    if (bytes == -1 && has_failed) return "words: no memory";
    if (bytes == -1 && is_wrong) return "words: wrong records";
    if (bytes < 0 || has_failed) abort();
    uint8_t *data = memcpy(room((size_t)bytes), file, (size_t)bytes);
    mcad_words_free(file);
    size_t changes = number(0, 4);
    for (size_t i = 0; i < changes; i++) data[number(0, (size_t)bytes - 1)] ^= *(uint8_t *)take(1);
    memcpy(data + 16, &photos, 4); /* Python compares it with the segment's */
    WordQuery queries[2] = {{.term = take(3), .size = 3, .modes = WORD_BEGINS, .sources = 7},
                            {.term = take(5), .size = 5, .modes = WORD_BEGINS | WORD_NEAR, .sources = 7}};
    int damaged = mcad_words_find(data, (size_t)bytes, queries, 2, room(photos)) < 0;
    void *model = NULL;
    int opened = mcad_words_open(data, (size_t)bytes, &model);
    if (opened > 0) {
        int64_t read = mcad_words_records(data, (size_t)bytes, model, rows, photos, &out);
        damaged |= read == -1;
        if (!changes && !is_wrong && read >= 0)
            for (uint32_t i = 0; i < photos; i++) {
                if (memcmp(out + i * of_text, given + i * size, 16)) abort();
                same(out + i * of_text + of_text - text, given + i * size + of_text - text, text);
            }
        mcad_words_free(out);
    } else damaged |= !opened;
    mcad_words_close(model);
    int32_t *new_rows = take(photos * sizeof *new_rows);
    for (uint32_t i = 0; i < photos; i++) new_rows[i] = new_rows[i] < 0 ? -1 : (int32_t)i;
    OldWords old = {data, (size_t)bytes, new_rows};
    int64_t built = mcad_words_build(&old, 1, NULL, 0, NULL, 0, photos, 0, &out);
    damaged |= built < -1;
    if ((opened < 0 || built == -1) && !has_failed) abort();
    if (damaged && !changes) abort();
    mcad_words_free(out);
    return has_failed ? "words: no memory" : damaged ? "words: damaged" : "words: read";
}

/* Photos on the way into an index. */
static const char *tune(void) {
    size_t dim = 64 * number(1, 2) + 8 * number(0, 1), count = number(0, 29) ? number(1, 40) : number(256, 300);
    uint32_t chance = *(uint32_t *)take(4), photos = (uint32_t)number(1, 65535);
    size_t fails = number(0, 3) ? SIZE_MAX : number(0, 40);
    float *rows = floats(count * dim), *coded = room(count * dim * sizeof *rows), *axis = room(dim * sizeof *axis);
    double *total = room(dim * sizeof *total);
    for (size_t i = 0; i < count * dim; i++)
        rows[i] += (float)(chance = chance * 1664525 + 1013904223) / 4294967296.0f - 0.4f;
    allowed = fails;
    int failed = !mcad_prepare(rows, count, dim, room(count * sizeof *rows));
    mcad_add_up(rows, count, dim, total);
    mcad_axis(total, dim, axis);
    uint8_t *records = NULL;
    int16_t *sample = room(count * dim * sizeof *sample);
    mcad_shrink(rows, count * dim, sample);
    Limits limits;
    mcad_limits(&limits);
    limits.cells_gain = 0;
    limits.photos_per_cell = 10;
    Tune plain = {.sample = sample, .count = count, .dim = dim, .axis = axis, .photos = photos};
    size_t bytes = count * (dim + dim / 8 + 4);
    for (int level = 0; level <= mcad_level() && !failed; level++) {
        double *covariance = room(dim * dim * sizeof *covariance);
        float *shares = room(dim * dim * sizeof *shares);
        uint8_t *found = room(bytes);
        Tune t = plain;
        t.bit_weights = room(dim * dim * sizeof *t.bit_weights);
        t.centroids = room(MOST_CELLS * dim * sizeof *t.centroids);
        failed = !mcad_add_covariance(rows, count, dim, axis, covariance, level);
        int useful = failed ? 0 : mcad_feedback(covariance, dim, shares, level);
        failed |= useful < 0 || !mcad_encode(rows, count, dim, axis, useful > 0 ? shares : NULL, found, level) ||
                  !mcad_tune(&t, &limits, level);
        if (failed) break;
        if (!level) plain = t, records = found;
        same(records, found, bytes);
        same(plain.bit_weights, t.bit_weights, dim * t.scan_bits * sizeof *t.bit_weights);
        same(plain.centroids, t.centroids, dim * t.cells * sizeof *t.centroids);
        if (memcmp(&plain.candidates, &t.candidates, sizeof(Count))) abort();
    }
    if (failed != has_failed) abort();
    if (failed) return "tune: no memory";
    mcad_decode(records, count, dim, axis, coded);
    for (size_t i = 0; i < count; i++) {
        double cosine = 0;
        for (size_t d = 0; d < dim; d++) cosine += (double)rows[i * dim + d] * coded[i * dim + d];
        if (cosine < 0.99) abort();
    }
    return plain.scan_bits ? "tune: tuned" : "tune: too few";
}

static const char *places(void) {
    uint32_t head[] = {(uint32_t)number(0, 20), (uint32_t)number(0, 5)}, spans[8], text = (uint32_t)number(0, 200);
    size_t starts = 4 * ((head[0] + head[1] + 15) / 16 + 1), size = 16 + starts + 7 * head[0] + text;
    uint8_t *data = take(size);
    memcpy(data, "MCADPLC1", 8);
    memcpy(data + 8, head, sizeof head);
    if (number(0, 3)) memset(data + 16, 0, starts);
    memcpy(data + 12 + starts, &text, 4);
    for (uint8_t *at = data + size - text; at < data + size; at++)
        if (*at > 200) *at = '\n';
    if (mcad_places_check(data, size - 1) || !mcad_places_check(data, size)) abort();
    uint16_t *first = take(2 * sizeof *first);
    if (head[0]) {
        if (number(0, 1)) memset(data + 16 + starts, 0, 6 * head[0]);
        memcpy(first, data + 16 + starts, 2);
        memcpy(first + 1, data + 16 + starts + 2 * head[0], 2);
    }
    int lines = mcad_places_near(data, size, first[0] / 65536.0 * 180 - 90, first[1] / 65536.0 * 360 - 180, 0.9, spans);
    for (int i = 0; i < 2 * lines; i += 2)
        if (spans[i] > size || spans[i + 1] > size - spans[i]) abort();
    return lines < 0 ? "places: damaged" : lines ? "places: found" : "places: none";
}

static const char *(*const kernels[])(void) = {query, scan,  rescore, cells, records, boxes,
                                               words, words, words,   tune,  places};
static struct {
    const char *name;
    size_t inputs;
} outcomes[32];

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
    allowed = SIZE_MAX;
    has_failed = 0;
    const char *outcome = kernels[number(0, sizeof kernels / sizeof *kernels - 1)]();
    size_t at = 0;
    while (outcomes[at].name && strcmp(outcomes[at].name, outcome)) at++;
    outcomes[at].name = outcome;
    outcomes[at].inputs++;
    while (taken) free(blocks[--taken]);
    return 0;
}

#ifdef BY_CHANCE
int main(int count, char **arguments) {
    uint8_t data[6000];
    uint64_t chance = 1;
    for (int runs = count > 1 ? atoi(arguments[1]) : 0; runs; runs--) {
        for (size_t i = 0; i < sizeof data; i++)
            data[i] = (uint8_t)((chance = chance * 6364136223846793005u + 1442695040888963407u) >> 56);
        LLVMFuzzerTestOneInput(data, sizeof data);
    }
}
#endif
