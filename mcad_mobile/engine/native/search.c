/* Search in two passes: a scan of bits in the cells nearest to the query, then cosines by bytes. */
#include "filters.h"
#include "exact.h"
#include <fcntl.h>
#include <time.h>

#define SCANNED_AT_ONCE 2048
#define FEW_ROWS 256
/* A photo's numbers are rounded, and a query's length is within 0.01 of 1: above this, a record is damaged. */
#define MOST_COSINE 1.05f

static double milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

static void free_chosen(Chosen *chosen, size_t count) {
    for (size_t i = 0; chosen && i < count; i++) {
        free(chosen[i].places);
        free(chosen[i].distances);
    }
    free(chosen);
}

/* Run a scan, whose results the caller frees. Return 0 without memory. */
static int run_scan(Scan *s, Chosen *found, int level) {
    size_t room = s->wanted + 2 * SCANNED_AT_ONCE;
    s->rows = malloc(room * sizeof *s->rows);
    s->distances = malloc(room * sizeof *s->distances);
    s->histogram = calloc(3 * 64 * s->words + 1, sizeof *s->histogram);
    if (s->rows && s->distances && s->histogram) found->count = s->wanted && s->span_count ? mcad_scan(s, level) : 0;
    int done = s->rows && s->distances && s->histogram;
    free(s->histogram);
    found->places = s->rows;
    found->distances = s->distances;
    return done;
}

/* Narrow places that the first words found to the `wanted` nearest by all words. Return 0 without memory. */
static int look_again(const Segment *s, const uint64_t *query, size_t wanted, Chosen *found, int level) {
    size_t words = s->scan_bits / 64, count = found->count;
    uint64_t *columns = malloc((words * count + 1) * sizeof *columns), span[2] = {0, count};
    Chosen kept = {.step = found->step};
    if (!columns) return 0;
    for (size_t w = 0; w < words; w++)
        for (size_t i = 0; i < count; i++) columns[w * count + i] = s->columns[w * s->photos + found->places[i]];
    Scan all = {.columns = columns, .stride = count, .spans = span, .span_count = count > 0, .query = query, .words = words,
                .wanted = wanted < count ? wanted : count};
    int done = run_scan(&all, &kept, level);
    for (size_t i = 0; done && i < kept.count; i++) kept.places[i] = found->places[kept.places[i]];
    free(columns);
    free(found->places);
    free(found->distances);
    *found = kept;
    return done;
}

/* The first `words` of each of three rows of `all` words. */
static void narrow(const uint64_t *query, size_t words, size_t all, uint64_t *narrowed) {
    for (size_t i = 0; i < 3; i++) memcpy(narrowed + i * words, query + i * all, words * sizeof *narrowed);
}

/* Pass 1: choose the places of a segment that pass 2 may score. */
static int choose(const Live *live, Passing *p, const float *rotated, size_t k, int is_exact, int level, Chosen *chosen,
                  McadError *error) {
    const Segment *s = &live->segment;
    size_t count = mcad_count(&live->candidates, p->count, k), words = s->scan_bits / 64, span_count = 0, places = 0;
    if (is_exact || count >= p->count || !words) {
        chosen->places = malloc((p->count + 1) * sizeof *chosen->places);
        chosen->count = p->count;
        return chosen->places ? passing_places(s, p, chosen->places, error) : no_memory(error);
    }
    uint64_t query[3 * MOST_DIM / 64], first[3 * MOST_DIM / 64];
    uint64_t *spans = malloc((2 * s->cells + 2) * sizeof *spans);
    int64_t *order = malloc((s->cells + 1) * sizeof *order);
    int code = spans && order ? MCAD_DONE : no_memory(error);
    chosen->step = mcad_quantize_query(s->bit_weights, s->scan_bits, rotated, s->dim, query);
    if (!code && s->cells && !mcad_order_cells(rotated, s->dim, s->centroids, s->cells, order)) code = no_memory(error);
    size_t enough = s->cells ? mcad_count_in_cells(&live->cells, p->count, k) : 0;
    if (!code) code = passing_spans(s, p, order, enough, spans, &span_count, error);
    for (size_t i = 0; !code && i < span_count; i++) places += (size_t)(spans[2 * i + 1] - spans[2 * i]);
    size_t prescan = live->prescan_bits / 64, passed_on = count;
    if (prescan) {
        size_t prescanned = mcad_count(&live->prescan, p->count, k);
        passed_on = prescanned > count ? prescanned : count;
        narrow(query, prescan, words, first);
    }
    Scan scan = {.columns = s->columns, .stride = s->photos, .spans = spans, .span_count = span_count,
                 .query = prescan ? first : query, .allowed = (const uint8_t *)p->place_bits,
                 .words = prescan ? prescan : words, .wanted = passed_on < places ? passed_on : places};
    if (!code && !run_scan(&scan, chosen, level)) code = no_memory(error);
    if (!code && prescan && !look_again(s, query, count, chosen, level)) code = no_memory(error);
    free(spans);
    free(order);
    return code;
}

int score_places(const McadIndex *index, const float *rotated, const Chosen *chosen, size_t k, const Limits *limits,
                 float *const *cosines, McadError *error) {
    Candidates *tasks = calloc(index->count + 1, sizeof *tasks);
    double *residuals = malloc((index->count * index->dim + 1) * sizeof *residuals);
    int code = tasks && residuals ? MCAD_DONE : no_memory(error);
    for (size_t i = 0; !code && i < index->count; i++) {
        const Segment *s = &index->lives[i].segment;
        double *residual = residuals + i * index->dim;
        tasks[i] = (Candidates){
            .file = s->file, .offset = (int64_t)s->offsets[RECORDS], .size = record_size(s->dim, s->scan_bits),
            .dim = s->dim, .words = s->scan_bits / 64, .stride = s->photos, .columns = s->columns, .residual = residual,
            .projection_step = mcad_split_query(rotated, s->dim, s->axis, residual), .rows = chosen[i].places,
            .distances = chosen[i].distances, .count = chosen[i].count, .step = chosen[i].step, .cosines = cosines[i]};
    }
    int failed = code ? 0 : mcad_rescore(tasks, index->count, k, limits, (int)limits->level);
    if (failed < 0) code = no_memory(error);
    if (failed > 0) {
        code = segment_check_size(&index->lives[failed - 1].segment, error);
        if (!code) code = fail(error, MCAD_NOT_READ, 0, 0, 0);
        in_file(code, error, (size_t)failed - 1, 0);
    }
    free(tasks);
    free(residuals);
    return code;
}

int score_rows(const McadIndex *index, size_t entry, const float *rotated, const size_t *rows, size_t count,
               float *cosines, McadError *error) {
    Segment *s = &index->lives[entry].segment;
    size_t places[64];
    uint8_t *records = malloc(64 * whole_size(s->dim));
    float *embeddings = malloc(64 * s->dim * sizeof *embeddings);
    int code = records && embeddings ? MCAD_DONE : no_memory(error);
    for (size_t at = 0; !code && at < count; at += 64) {
        size_t many = count - at < 64 ? count - at : 64;
        for (size_t i = 0; !code && i < many; i++) code = place_of(s, rows[at + i], places + i, error);
        if (!code) code = read_records(s, places, many, records, error);
        if (code) break;
        mcad_decode(records, many, s->dim, s->axis, embeddings);
        for (size_t i = 0; i < many; i++)
            cosines[at + i] = (float)(exact_dot(embeddings + i * s->dim, rotated, s->dim) / (STEPS * STEPS));
    }
    free(records);
    free(embeddings);
    return in_file(code, error, entry, 0);
}

/* A photo that was scored, by its position among all candidates. */
typedef struct {
    float cosine;
    uint32_t segment, place;
} Scored;

/* Best first; ties in the order of segments and places. */
static int by_cosine(const void *a, const void *b) {
    const Scored *x = a, *y = b;
    if (x->cosine != y->cosine) return x->cosine > y->cosine ? -1 : 1;
    if (x->segment != y->segment) return x->segment < y->segment ? -1 : 1;
    return x->place < y->place ? -1 : x->place > y->place;
}

/* Keep the k best in a heap whose first is the worst. */
static void keep_best(Scored *heap, size_t *count, size_t k, Scored next) {
    size_t at = 0;
    if (*count < k) {
        for (at = (*count)++; at && by_cosine(&heap[(at - 1) / 2], &next) < 0; at = (at - 1) / 2)
            heap[at] = heap[(at - 1) / 2];
    } else {
        if (by_cosine(&next, heap) >= 0) return;
        for (size_t child; (child = 2 * at + 1) < k; at = child) {
            child += child + 1 < k && by_cosine(&heap[child + 1], &heap[child]) > 0;
            if (by_cosine(&heap[child], &next) <= 0) break;
            heap[at] = heap[child];
        }
    }
    heap[at] = next;
}

/* Have the system read the rows of places at once: uncached reads would wait one after the other. */
static void prefetch_rows(const McadIndex *index, const Scored *scored, size_t count) {
#ifdef POSIX_FADV_WILLNEED
    for (size_t i = 0; i < count; i++) {
        const Segment *s = &index->lives[scored[i].segment].segment;
        if (s->cells) posix_fadvise(s->file, (off_t)(s->offsets[ROWS] + 4 * (uint64_t)scored[i].place), 4, POSIX_FADV_WILLNEED);
    }
#else
    (void)index, (void)scored, (void)count;
#endif
}

/* Set the rows and scores of the best candidates. */
static int select_best(const McadIndex *index, const Chosen *chosen, float *const *cosines, McadRow *rows, float *scores,
                       size_t *count, McadError *error) {
    size_t k = *count, found = 0;
    Scored *heap = malloc((k + 1) * sizeof *heap);
    int code = heap ? MCAD_DONE : no_memory(error);
    for (size_t number = 0; !code && number < index->count; number++)
        for (size_t i = 0; i < chosen[number].count; i++) {
            float cosine = cosines[number][i];
            if (cosine != cosine) continue; /* not scored */
            keep_best(heap, &found, k, (Scored){cosine, (uint32_t)number, chosen[number].places[i]});
        }
    if (!code) qsort(heap, found, sizeof *heap, by_cosine);
    *count = found;
    if (!code && found <= FEW_ROWS) prefetch_rows(index, heap, found);
    for (size_t i = 0; !code && i < found; i++) {
        size_t row;
        code = row_at(&index->lives[heap[i].segment].segment, heap[i].place, &row, error);
        if (!code && (heap[i].cosine > MOST_COSINE || heap[i].cosine < -MOST_COSINE))
            code = fail_number(error, MCAD_SCORE, (int64_t)row, (double)heap[i].cosine);
        in_file(code, error, heap[i].segment, 0);
        rows[i] = (McadRow){heap[i].segment, (uint32_t)row};
        scores[i] = heap[i].cosine;
    }
    free(heap);
    return code;
}

int mcad_search(McadFilter *filter, const float *query, int is_exact, const McadLimits *given, McadRow *rows, float *scores,
                size_t *count, double *scan_ms, McadError *error) {
    const McadIndex *index = filter->index;
    double started = milliseconds();
    float rotated[MOST_DIM];
    McadLimits limits;
    size_t k = *count;
    *scan_ms = 0;
    if (!k) return MCAD_DONE;
    Chosen *chosen = calloc(index->count + 1, sizeof *chosen);
    float **cosines = calloc(index->count + 1, sizeof *cosines);
    int code = chosen && cosines ? check_sizes(index, error) : no_memory(error);
    mcad_limits(&limits);
    if (given) limits = *given;
    memcpy(rotated, query, index->dim * sizeof *rotated);
    if (!code && !mcad_rotate(rotated, 1, index->dim, 0)) code = no_memory(error);
    for (size_t i = 0; !code && i < index->count; i++) {
        code = in_file(choose(index->lives + i, filter->of + i, rotated, k, is_exact, (int)limits.level, chosen + i, error),
                       error, i, 0);
        cosines[i] = malloc((chosen[i].count + 1) * sizeof **cosines);
        if (!code && !cosines[i]) code = no_memory(error);
    }
    *scan_ms = milliseconds() - started;
    if (!code) code = score_places(index, rotated, chosen, k, &limits, cosines, error);
    if (!code) code = select_best(index, chosen, cosines, rows, scores, count, error);
    if (code) *count = 0;
    for (size_t i = 0; cosines && i < index->count; i++) free(cosines[i]);
    free(cosines);
    free_chosen(chosen, index->count);
    return code;
}
