/* Bytes that others wrote, in the kernels that read them. Each block is of the size that its kernel may read, every level of
 * this processor's instructions must find the same, and one allocation may fail. */
#include "fuzz.h"
#include <unistd.h>

static size_t taken;
static void *blocks[64];

static void *room(size_t bytes) { return blocks[taken++] = calloc(1, bytes ? bytes : 1); }

/* The next bytes of the input. */
static void *given(size_t bytes) {
    void *block = room(bytes);
    take(block, bytes);
    return block;
}

static size_t between(size_t least, size_t most) { return least + number(most - least + 1); }

/* Numbers from -1 to 1, as in what this program computes itself. */
static float *floats(size_t count) {
    int16_t *bytes = given(count * sizeof *bytes);
    float *made = room(count * sizeof *made);
    for (size_t i = 0; i < count; i++) made[i] = bytes[i] * 0x1p-15f;
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

static int quantize(void) {
    size_t bits = 64, dim = bits + 8 * between(0, 1);
    const float *query = floats(dim);
    const float *weights = between(0, 1) ? floats(bits * dim) : given(bits * dim * sizeof *weights);
    double step = mcad_quantize_query(weights, bits, query, dim, room(3 * bits / 8));
    return step > 0;
}

static int scan(void) {
    Scan s = {.words = between(1, 4), .stride = between(1, 5000), .span_count = 1};
    uint64_t *spans = room(4 * sizeof *spans);
    spans[0] = between(0, s.stride - 1);
    spans[1] = between(spans[0] + 1, s.stride);
    if (spans[1] < s.stride) {
        spans[2] = between(spans[1], s.stride - 1);
        spans[3] = between(spans[2] + 1, s.stride);
        s.span_count = 2;
    }
    s.spans = spans;
    s.wanted = between(1, spans[1] - spans[0] + spans[3] - spans[2]);
    s.query = given(3 * s.words * sizeof *s.query);
    s.allowed = between(0, 1) ? given((s.stride + 7) / 8) : NULL;
    s.columns = given(s.words * s.stride * sizeof *s.columns);
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
    return count < s.wanted;
}

static int rescore(void) {
    Limits limits;
    mcad_limits(&limits);
    Candidates s = {.words = between(0, 4), .stride = between(1, 400)};
    s.dim = 64 * s.words + 8 * between(s.words ? 0 : 1, 8);
    s.size = s.dim + s.dim / 8 - 8 * s.words + 4;
    float *query = floats(s.dim), *axis = floats(s.dim);
    double *residual = room(s.dim * sizeof *residual);
    s.projection_step = mcad_split_query(query, s.dim, axis, residual);
    s.residual = residual;
    s.step = between(0, 1000) * 1e-5;
    s.columns = given(s.words * s.stride * sizeof *s.columns);
    uint32_t *rows = room(s.stride * sizeof *rows);
    uint16_t *distances = room(s.stride * sizeof *distances);
    for (size_t row = between(0, s.stride - 1); row < s.stride; row += between(1, 40)) {
        if (taken > 40) break;
        distances[s.count] = (uint16_t)between(0, 3 * 64 * s.words);
        rows[s.count++] = (uint32_t)row;
    }
    s.rows = rows;
    s.distances = s.words ? distances : NULL;
    size_t k = between(1, 20), bytes = between(0, 1) ? s.stride * s.size : left;
    s.file = new_file(given(bytes), bytes);
    float *plain = NULL;
    int failed = 0;
    for (int level = 0; level <= mcad_level(); level++) {
        s.cosines = room(s.count * sizeof *s.cosines);
        int done = mcad_rescore(&s, 1, k, &limits, level);
        if (!level) plain = s.cosines, failed = done;
        if (done != failed) abort();
        same(plain, s.cosines, s.count * sizeof *plain);
    }
    close(s.file);
    return failed != 0;
}

static int cells(void) {
    size_t photos = between(1, 600), cells = between(1, 20), dim = 8 * between(1, 20);
    uint32_t *starts = room((cells + 1) * sizeof *starts);
    for (size_t c = 1; c < cells; c++) starts[c] = (uint32_t)between(starts[c - 1], photos);
    starts[cells] = (uint32_t)photos;
    int16_t *centroids = given(cells * dim * sizeof *centroids);
    int64_t *order = room(cells * sizeof *order);
    if (!mcad_order_cells(floats(dim), dim, centroids, cells, order)) abort();
    size_t bytes = (photos + 63) / 64 * 8, enough = between(1, photos);
    Filter f = {.rows = given(photos * sizeof *f.rows), .starts = starts, .photos = photos};
    f.first = between(0, photos - 1);
    f.end = between(f.first + 1, photos);
    if (between(0, 1)) {
        int32_t *times = given(photos * sizeof *times);
        uint32_t first = *(uint32_t *)given(4), more = *(uint32_t *)given(4);
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
    return probed < 0;
}

static int records(void) {
    size_t dim = 8 * between(1, 40), count = between(1, 20), cells = between(1, 10);
    const float *axis = floats(dim);
    int16_t *centroids = given(cells * dim * sizeof *centroids);
    float *rows = room(count * dim * sizeof *rows);
    mcad_decode(given(count * (dim + dim / 8 + 4)), count, dim, axis, rows);
    uint16_t *plain = room(count * sizeof *plain);
    mcad_assign_cells(rows, count, dim, axis, centroids, cells, plain, 0);
    for (int level = 1; level <= mcad_level(); level++) {
        uint16_t *found = room(count * sizeof *found);
        mcad_assign_cells(rows, count, dim, axis, centroids, cells, found, level);
        same(plain, found, count * sizeof *found);
    }
    return 0;
}

static int boxes(void) {
    size_t width = between(1, 200), height = between(1, 200), most = between(1, 30);
    return mcad_boxes(given(width * height * sizeof(float)), width, height, most, room(9 * most * sizeof(float))) > 0;
}

/* Photos on the way into an index. */
static int tune(void) {
    size_t dim = 64 + 8 * between(0, 1), count = between(0, 99) ? between(1, 40) : 256;
    uint32_t chance = *(uint32_t *)given(4), photos = (uint32_t)between(1, 65535);
    size_t fails = between(0, 3) ? SIZE_MAX : between(0, 40);
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
    if (failed != ran_out) abort();
    if (failed) return 2;
    mcad_decode(records, count, dim, axis, coded);
    for (size_t i = 0; i < count; i++) {
        double cosine = 0;
        for (size_t d = 0; d < dim; d++) cosine += (double)rows[i * dim + d] * coded[i * dim + d];
        if (cosine < 0.99) abort();
    }
    return !plain.scan_bits;
}

int fuzz_kernels(void) {
    static int (*const kernels[])(void) = {quantize, scan, rescore, cells, records, boxes, tune};
    size_t kernel = number(sizeof kernels / sizeof *kernels);
    int outcome = kernels[kernel]();
    while (taken) free(blocks[--taken]);
    return 3 * (int)kernel + outcome;
}
