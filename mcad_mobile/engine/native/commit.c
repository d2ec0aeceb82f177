/* Writes the segment of a commit, and files of words: rows of merged segments and new ones, by ascending path. */
#include "writer.h"

#define ROWS_READ 256 /* at once */

/* ---- The photos by ascending path ---- */

static int advance(Merge *m, size_t i, McadError *error) {
    MergeCursor *c = m->cursors + i;
    const Segment *s = c->reader.segment;
    while (c->row < s->photos && !has_bit(m->w->kept[i], c->row)) c->row++;
    c->path = (Span){0};
    return c->row < s->photos ? in_file(path_at(&c->reader, c->row, &c->path, error), error, i, 0) : MCAD_DONE;
}

int merge_begin(Merge *m, McadWriter *w, McadError *error) {
    size_t count = w->index->count;
    *m = (Merge){.w = w, .cursors = calloc(count + 1, sizeof *m->cursors), .last = -1};
    int code = m->cursors ? MCAD_DONE : no_memory(error);
    for (size_t i = 0; !code && i < count; i++) {
        m->cursors[i].reader.segment = &w->index->lives[i].segment;
        if (w->fates[i] == MCAD_MERGED) code = advance(m, i, error);
    }
    return code;
}

void merge_end(Merge *m) {
    for (size_t i = 0; m->cursors && i < m->w->index->count; i++) free_paths(&m->cursors[i].reader);
    free(m->cursors);
}

/* The stamps of a cursor's row: many are read at once. */
static int cursor_stamps(MergeCursor *c, uint32_t stamps[2], McadError *error) {
    const Segment *s = c->reader.segment;
    size_t room = sizeof c->stamps / 8;
    if (c->row < c->stamps_at || c->row >= c->stamps_at + c->stamps_count) {
        c->stamps_count = s->photos - c->row < room ? s->photos - c->row : room;
        c->stamps_at = c->row;
        int code = read_at(s->file, c->stamps, 8 * c->stamps_count, s->offsets[STAMPS] + 8 * (uint64_t)c->row, error);
        if (code) return code;
    }
    memcpy(stamps, c->stamps + 2 * (c->row - c->stamps_at), 8);
    return MCAD_DONE;
}

int merge_next(Merge *m, McadError *error) {
    const McadWriter *w = m->w;
    size_t count = w->index->count, first = count;
    if (m->last >= 0) {
        m->cursors[m->last].row++;
        int code = advance(m, (size_t)m->last, error);
        if (code) return code;
    }
    m->last = -1;
    for (size_t i = 0; i < count; i++)
        if (m->cursors[i].path.at && (first == count || compare(m->cursors[i].path, m->cursors[first].path) < 0)) first = i;
    Span pending = m->at < w->pending_count ? key_bytes(&w->paths, w->pending[m->at]) : (Span){0};
    m->change = NULL;
    if (pending.at && (first == count || compare(pending, m->cursors[first].path) < 0)) {
        const Change *c = m->change = change_of(w, w->pending[m->at++]);
        m->path = pending, m->source = c->source, m->row = c->row, m->time = c->time;
        memcpy(m->stamps, c->stamps, sizeof m->stamps);
        return MCAD_DONE;
    }
    m->path = (Span){0};
    if (first == count) return MCAD_DONE;
    MergeCursor *c = m->cursors + first;
    m->path = c->path, m->source = (uint32_t)first, m->row = (uint32_t)c->row, m->last = (int)first;
    m->time = c->reader.segment->times[c->row];
    return in_file(cursor_stamps(c, m->stamps, error), error, first, 0);
}

/* ---- The new segment ---- */

typedef struct {
    McadWriter *w;
    const McadStop *stop;
    Frame frame;
    Tune tune;
    float *axis;         /* those of a new frame; NULL where the frame is a segment's */
    float *shares;       /* feedback for rounding, or NULL */
    uint64_t **written;  /* [sources]: a bit for each row that is written */
    size_t *counts;      /* [sources]: how many */
    uint16_t **cells;    /* [sources]: of each row, or NULL */
} Commit;

static size_t source_rows(const McadWriter *w, size_t source) {
    return source < w->index->count ? w->index->lives[source].segment.photos : w->spooled;
}

/* Read embeddings [count][dim], rotated, of rows of a segment or, after them, of the spool. */
static int read_source(McadWriter *w, size_t source, const size_t *rows, size_t count, float *embeddings,
                       McadError *error) {
    size_t size = w->index->dim * sizeof *embeddings;
    if (source < w->index->count)
        return in_file(read_embeddings(&w->index->lives[source].segment, rows, count, embeddings, error), error, source, 0);
    for (size_t at = 0, run; at < count; at += run) {
        for (run = 1; at + run < count && rows[at + run] == rows[at] + run;) run++;
        int code = read_at(w->spool, (uint8_t *)embeddings + at * size, run * size, rows[at] * (uint64_t)size, error);
        if (code) return error->file = MCAD_NEW_FILE, code;
    }
    return MCAD_DONE;
}

typedef int OfBlock(Commit *, const float *embeddings, const size_t *rows, size_t count, void *context, McadError *);

/* Visit every `step`-th of the rows of a source whose bit is set. */
static int for_rows(Commit *c, size_t source, const uint64_t *bits, size_t step, OfBlock *visit, void *context,
                    McadError *error) {
    size_t rows[ROWS_READ], count = 0, seen = 0, all = source_rows(c->w, source);
    float *embeddings = malloc(ROWS_READ * c->frame.dim * sizeof *embeddings);
    int code = embeddings ? MCAD_DONE : no_memory(error);
    for (size_t row = 0; !code && row <= all; row++) {
        if (row < all && (!has_bit(bits, row) || seen++ % step)) continue;
        if (row < all) rows[count++] = row;
        if (count < ROWS_READ && row < all) continue;
        if (!count) break;
        code = is_stopped(c->stop, error);
        if (!code) code = read_source(c->w, source, rows, count, embeddings, error);
        if (!code) code = visit(c, embeddings, rows, count, context, error);
        count = 0;
    }
    free(embeddings);
    return code;
}

static int for_written(Commit *c, size_t step, OfBlock *visit, void *context, McadError *error) {
    int code = MCAD_DONE;
    for (size_t source = 0; !code && source <= c->w->index->count; source++)
        if (c->counts[source]) code = for_rows(c, source, c->written[source], step, visit, context, error);
    return code;
}

static int list_written(Commit *c, McadError *error) {
    McadWriter *w = c->w;
    size_t sources = w->index->count + 1;
    c->written = calloc(sources, sizeof *c->written);
    c->counts = calloc(sources, sizeof *c->counts);
    c->cells = calloc(sources, sizeof *c->cells);
    if (!c->written || !c->counts || !c->cells) return no_memory(error);
    for (size_t i = 0; i < sources; i++) {
        size_t rows = source_rows(w, i), bytes = bit_words(rows) * sizeof **c->written;
        if (!(c->written[i] = calloc(1, bytes + 1))) return no_memory(error);
        if (i + 1 < sources && w->fates[i] == MCAD_MERGED) memcpy(c->written[i], w->kept[i], bytes);
    }
    for (size_t i = 0; i < w->pending_count; i++) {
        const Change *change = change_of(w, w->pending[i]);
        set_bit(c->written[change->source], change->row);
    }
    for (size_t i = 0; i < sources; i++) c->counts[i] = count_bits_set(c->written[i], source_rows(w, i));
    return MCAD_DONE;
}

/* Copying unchecked bytes would give damaged data a valid checksum. */
static int verify_written(Commit *c, McadError *error) {
    int code = MCAD_DONE;
    for (size_t i = 0; !code && i < c->w->index->count; i++) {
        Live *live = c->w->index->lives + i;
        if (!c->counts[i]) continue;
        code = in_file(segment_verify(&live->segment, c->stop, error), error, i, 0);
        if (!code && live->has_words) code = in_file(words_verify(&live->words, error), error, i, 1);
    }
    return code;
}

/* The segment with the most live photos; the number of segments if there are none. */
static size_t largest_segment(const McadWriter *w, size_t *most) {
    size_t largest = w->index->count;
    *most = 0;
    for (size_t i = 0; i < w->index->count; i++) {
        size_t live = w->index->lives[i].segment.photos - (size_t)w->deleted_counts[i];
        if (live > *most) largest = i, *most = live;
    }
    return largest;
}

static const float zeros[MOST_DIM];

/* Take the frame of the largest segment, or none for an index without photos. */
static void take_frame(Commit *c, McadEntry *entry) {
    size_t most, largest = largest_segment(c->w, &most);
    c->frame = (Frame){.dim = c->w->index->dim, .axis = zeros, .bit_weights = zeros};
    *entry = (McadEntry){.file = -1, .words = -1, .candidates = {1, 1, 1}};
    if (largest == c->w->index->count) return;
    const Live *live = c->w->index->lives + largest;
    const Segment *s = &live->segment;
    c->frame = (Frame){s->dim, s->scan_bits, s->cells, s->axis_photos, s->axis, s->bit_weights, s->centroids};
    entry->candidates = live->candidates;
    entry->prescan_bits = live->prescan_bits;
    entry->prescan = live->prescan;
    entry->cells = live->cells;
}

static int add_to_mean(Commit *c, const float *rows, const size_t *numbers, size_t count, void *total, McadError *error) {
    (void)numbers, (void)error;
    mcad_add_up(rows, count, c->frame.dim, total);
    return MCAD_DONE;
}

static int add_to_sample(Commit *c, const float *rows, const size_t *numbers, size_t count, void *sample,
                         McadError *error) {
    (void)numbers, (void)error;
    mcad_shrink(rows, count * c->frame.dim, (int16_t *)sample + c->tune.count * c->frame.dim);
    c->tune.count += count;
    return MCAD_DONE;
}

/* Compute the axis from all photos, and choose a tuning on a sample of them. */
static int make_frame(Commit *c, McadEntry *entry, McadError *error) {
    size_t dim = c->frame.dim, photos = (size_t)c->w->plan.photos, step = mcad_sample_step(photos, dim), count = 0;
    size_t scanned = dim < MOST_SCANNED ? dim : MOST_SCANNED;
    for (size_t i = 0; i <= c->w->index->count; i++) count += (c->counts[i] + step - 1) / step;
    double *total = calloc(dim, sizeof *total);
    int16_t *sample = malloc(count * dim * sizeof *sample);
    c->axis = malloc((dim + scanned * dim) * sizeof *c->axis + MOST_CELLS * dim * sizeof(int16_t));
    int code = total && sample && c->axis ? for_written(c, 1, add_to_mean, total, error) : no_memory(error);
    if (!code) {
        mcad_axis(total, dim, c->axis);
        c->tune = (Tune){.sample = sample, .dim = dim, .axis = c->axis, .photos = photos, .bit_weights = c->axis + dim,
                         .centroids = (int16_t *)(c->axis + dim + scanned * dim)};
        code = for_written(c, step, add_to_sample, sample, error);
    }
    if (!code && !mcad_tune(&c->tune, &c->w->limits, (int)c->w->limits.level)) code = no_memory(error);
    free(total);
    free(sample);
    if (code) return code;
    const Tune *t = &c->tune;
    c->frame = (Frame){dim, t->scan_bits, t->cells, photos, t->axis, t->bit_weights, t->centroids};
    entry->candidates = t->candidates;
    entry->prescan_bits = t->prescan_bits;
    entry->prescan = t->prescan;
    entry->cells = t->in_cells;
    return MCAD_DONE;
}

static int add_covariance(Commit *c, const float *rows, const size_t *numbers, size_t count, void *covariance,
                          McadError *error) {
    (void)numbers;
    return mcad_add_covariance(rows, count, c->frame.dim, c->frame.axis, covariance, (int)c->w->limits.level)
        ? MCAD_DONE : no_memory(error);
}

/* Compute the feedback for rounding from a sample of the largest segment or, if they are more, of the new photos. */
static int make_feedback(Commit *c, McadError *error) {
    size_t most, source = largest_segment(c->w, &most), spool = c->w->index->count, dim = c->frame.dim;
    if (c->w->pending_count > most) source = spool;
    /* `most` photos of a segment; of the pending ones, those of the spool. */
    size_t count = source == spool ? c->counts[spool] : most, step = mcad_feedback_step(count, dim);
    if (!step) return MCAD_DONE;
    double *covariance = calloc(dim * dim, sizeof *covariance);
    c->shares = malloc(dim * dim * sizeof *c->shares);
    const uint64_t *bits = source == spool ? c->written[spool] : c->w->kept[source];
    int code = covariance && c->shares ? for_rows(c, source, bits, step, add_covariance, covariance, error) : no_memory(error);
    int useful = code ? 0 : mcad_feedback(covariance, dim, c->shares, (int)c->w->limits.level);
    if (useful < 0) code = no_memory(error);
    if (useful <= 0) {
        free(c->shares);
        c->shares = NULL;
    }
    free(covariance);
    return code;
}

static int assign_block(Commit *c, const float *rows, const size_t *numbers, size_t count, void *cells,
                        McadError *error) {
    uint16_t found[ROWS_READ];
    const Frame *f = &c->frame;
    if (!mcad_assign_cells(rows, count, f->dim, f->axis, f->centroids, f->cells, found, (int)c->w->limits.level))
        return no_memory(error);
    for (size_t i = 0; i < count; i++) ((uint16_t *)cells)[numbers[i]] = found[i];
    return MCAD_DONE;
}

/* Find the cells of all rows that are written, and their sizes. Rows of a segment with the same cells keep theirs. */
static int assign_cells(Commit *c, uint32_t *sizes, McadError *error) {
    const Frame *f = &c->frame;
    int code = MCAD_DONE;
    for (size_t source = 0; !code && source <= c->w->index->count; source++) {
        size_t rows = source_rows(c->w, source);
        if (!c->counts[source]) continue;
        uint16_t *cells = c->cells[source] = calloc(rows, sizeof *cells);
        if (!cells) return no_memory(error);
        Segment *s = source < c->w->index->count ? &c->w->index->lives[source].segment : NULL;
        int is_same = s && s->cells == f->cells
            && !memcmp(s->centroids, f->centroids, f->cells * f->dim * sizeof *f->centroids);
        if (!is_same) code = for_rows(c, source, c->written[source], 1, assign_block, cells, error);
        for (size_t row = 0; !code && row < rows; row++) {
            size_t place;
            if (!has_bit(c->written[source], row)) continue;
            if (is_same) {
                code = in_file(place_of(s, row, &place, error), error, source, 0);
                if (!code) cells[row] = (uint16_t)cell_at(s, place);
            }
            sizes[cells[row]]++;
        }
    }
    return code;
}

/* Photos of a batch, by ascending path. */
typedef struct {
    size_t count, room;
    uint32_t *sources, *rows, *stamps;
    int32_t *times;
    uint16_t *cells;
    uint8_t *records;
    float *embeddings;
    Strings paths;
} Rows;

static int rows_of(Rows *r, size_t dim, McadError *error) {
    size_t room = batch_size(dim);
    *r = (Rows){.room = room, .sources = malloc(room * 4), .rows = malloc(room * 4), .stamps = malloc(room * 8),
                .times = malloc(room * 4), .cells = malloc(room * 2), .records = malloc(room * whole_size(dim)),
                .embeddings = malloc(ROWS_READ * dim * sizeof(float))};
    return r->sources && r->rows && r->stamps && r->times && r->cells && r->records && r->embeddings ? MCAD_DONE
                                                                                                    : no_memory(error);
}

static void free_rows(Rows *r) {
    void *all[] = {r->sources, r->rows, r->stamps, r->times, r->cells, r->records, r->embeddings};
    free_strings(&r->paths);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

/* Copy or make the records of photos of one source, at `at` [count] in the batch. */
static int make_records(Commit *c, Rows *r, size_t source, const size_t *at, size_t count, McadError *error) {
    McadWriter *w = c->w;
    size_t rows[ROWS_READ], places[ROWS_READ], whole = whole_size(c->frame.dim);
    Segment *s = source < w->index->count ? &w->index->lives[source].segment : NULL;
    /* A record around the same axis is copied, so that no photo is rounded twice. */
    int is_same = s && !memcmp(s->axis, c->frame.axis, s->dim * sizeof *s->axis);
    uint8_t *made = malloc(ROWS_READ * whole);
    int code = made ? MCAD_DONE : no_memory(error);
    for (size_t i = 0; !code && i < count; i++) {
        rows[i] = r->rows[at[i]];
        if (is_same) code = place_of(s, rows[i], places + i, error);
    }
    if (!code && is_same) code = read_records(s, places, count, made, error);
    else if (!code) {
        code = read_source(w, source, rows, count, r->embeddings, error);
        if (!code && !mcad_encode(r->embeddings, count, c->frame.dim, c->frame.axis, c->shares, made, (int)w->limits.level))
            code = no_memory(error);
    }
    for (size_t i = 0; !code && i < count; i++) memcpy(r->records + at[i] * whole, made + i * whole, whole);
    free(made);
    return s ? in_file(code, error, source, 0) : code;
}

static int write_rows(Commit *c, Rows *r, SegmentWriter *out, McadError *error) {
    size_t at[ROWS_READ], sources = c->w->index->count + 1;
    int code = has_failed(&r->paths) ? no_memory(error) : is_stopped(c->stop, error);
    for (size_t source = 0; !code && source < sources; source++) {
        size_t count = 0;
        for (size_t i = 0; !code && i <= r->count; i++) {
            if (i < r->count && r->sources[i] == source) at[count++] = i;
            if (count < ROWS_READ && i < r->count) continue;
            if (count) code = make_records(c, r, source, at, count, error);
            count = 0;
        }
    }
    if (code) return code;
    Batch batch = {r->count, r->records, r->stamps, r->times, c->frame.cells ? r->cells : NULL,
                   all_strings(&r->paths)};
    code = segment_add(out, &batch, error);
    r->count = r->paths.data.size = r->paths.ends.size = 0;
    return in_file(code, error, MCAD_NEW_FILE / 2, 1);
}

static int merge_rows(Commit *c, SegmentWriter *out, McadError *error) {
    Merge m;
    Rows r;
    int code = merge_begin(&m, c->w, error), rows_code = rows_of(&r, c->frame.dim, error);
    if (!code) code = rows_code;
    for (;;) {
        if (!code) code = merge_next(&m, error);
        if (code || !m.path.at) break;
        r.sources[r.count] = m.source;
        r.rows[r.count] = m.row;
        memcpy(r.stamps + 2 * r.count, m.stamps, sizeof m.stamps);
        r.times[r.count] = m.time;
        if (c->frame.cells) r.cells[r.count] = c->cells[m.source][m.row];
        put_string(&r.paths, m.path, (Span){0});
        if (++r.count == r.room) code = write_rows(c, &r, out, error);
    }
    if (!code && r.count) code = write_rows(c, &r, out, error);
    merge_end(&m);
    free_rows(&r);
    return code;
}

static int write_segment(Commit *c, int file, McadEntry *entry, McadError *error) {
    size_t photos = (size_t)c->w->plan.photos;
    SegmentWriter out = {0};
    if (photos < c->w->limits.cells_from) c->frame.cells = 0;
    uint32_t *sizes = calloc(c->frame.cells + 1, sizeof *sizes);
    int code = sizes ? MCAD_DONE : no_memory(error);
    if (!code && c->frame.cells) code = assign_cells(c, sizes, error);
    if (!code) code = in_file(segment_begin(&out, file, &c->frame, photos, sizes, error), error, MCAD_NEW_FILE / 2, 1);
    if (!code) code = merge_rows(c, &out, error);
    if (!code) code = in_file(segment_end(&out, &entry->header_crc32, error), error, MCAD_NEW_FILE / 2, 1);
    segment_abandon(&out);
    free(sizes);
    entry->photos = photos;
    entry->has_cells = c->frame.cells > 0;
    c->w->new_crc32 = entry->header_crc32;
    return code;
}

int mcad_writer_segment(McadWriter *w, int file, const McadStop *stop, McadEntry *entry, McadError *error) {
    Commit c = {.w = w, .stop = stop, .frame.dim = w->index->dim};
    take_frame(&c, entry);
    int code = check_sizes(w->index, error);
    if (!code) code = list_written(&c, error);
    if (!code) code = verify_written(&c, error);
    if (!code && w->is_new_axis) code = make_frame(&c, entry, error);
    if (!code) code = make_feedback(&c, error);
    if (!code) code = write_segment(&c, file, entry, error);
    for (size_t i = 0; i <= w->index->count; i++) {
        if (c.written) free(c.written[i]);
        if (c.cells) free(c.cells[i]);
    }
    free(c.written);
    free(c.counts);
    free(c.cells);
    free(c.axis);
    free(c.shares);
    return code;
}

/* ---- Words ---- */

/* Where the words of a photo come from, and whether its name makes words. */
typedef struct {
    const Change *record; /* new words, or NULL */
    int is_kept, is_named;
} Origin;

static Origin origin_of(const McadWriter *w, Span path, size_t source, int is_renamed) {
    const Change *change = w->paths.count ? find_change(w, path) : NULL;
    Origin o = {.record = change && change->has_words ? change : NULL};
    o.is_kept = !o.record && source < w->index->count && w->index->lives[source].has_words;
    o.is_named = !o.is_kept || is_renamed;
    return o;
}

typedef int OfPhoto(McadWriter *, Span path, size_t source, size_t row, size_t new_row, Origin, void *context, McadError *);

/* Visit the photos of the new segment, or of one that stays, deleted rows too. */
static int for_photos(McadWriter *w, size_t entry, OfPhoto *visit, void *context, McadError *error) {
    int code = MCAD_DONE;
    if (entry < w->index->count) {
        PathReader reader = {.segment = &w->index->lives[entry].segment};
        for (size_t row = 0; !code && row < reader.segment->photos; row++) {
            Span path;
            code = in_file(path_at(&reader, row, &path, error), error, entry, 0);
            if (!code) code = visit(w, path, entry, row, row, origin_of(w, path, entry, 0), context, error);
        }
        free_paths(&reader);
        return code;
    }
    Merge m;
    code = merge_begin(&m, w, error);
    for (size_t new_row = 0;; new_row++) {
        if (!code) code = merge_next(&m, error);
        if (code || !m.path.at) break;
        code = visit(w, m.path, m.source, m.row, new_row, origin_of(w, m.path, m.source, m.change != NULL), context, error);
    }
    merge_end(&m);
    return code;
}

static int list_name(McadWriter *w, Span path, size_t source, size_t row, size_t new_row, Origin o, void *context,
                     McadError *error) {
    Strings *files = context;
    (void)w, (void)source, (void)row, (void)new_row;
    if (o.is_named) put_string(files, (Span){path.at, file_part(path)}, (Span){0});
    return has_failed(files) ? no_memory(error) : MCAD_DONE;
}

int mcad_writer_names(McadWriter *w, size_t entry, McadStrings *files, McadError *error) {
    Strings listed = {0};
    return give_strings(&listed, for_photos(w, entry, list_name, &listed, error), files, error);
}

/* What a file of words is made of. */
typedef struct {
    OldWords *old;        /* [segments], in use where `used` says so */
    uint8_t *used;
    Strings records;
    Buffer rows, named;   /* new rows: of the records, and of the names */
} Parts;

static int take_photo(McadWriter *w, Span path, size_t source, size_t row, size_t new_row, Origin o, void *context,
                      McadError *error) {
    Parts *p = context;
    uint32_t number = (uint32_t)new_row;
    (void)path;
    if (o.is_named) append(&p->named, &number, sizeof number);
    if (o.record) {
        put_string(&p->records, (Span){w->records.data + o.record->words_at, o.record->words_size}, (Span){0});
        append(&p->rows, &number, sizeof number);
    }
    if (o.is_kept) {
        OldWords *old = p->old + source;
        size_t photos = w->index->lives[source].segment.photos;
        if (!p->used[source]) {
            uint32_t *new_rows = malloc(photos * sizeof *new_rows);
            uint8_t *is_renamed = calloc(photos, 1);
            *old = (OldWords){&w->index->lives[source].words, new_rows, is_renamed};
            p->used[source] = 1;
            if (!new_rows || !is_renamed) return no_memory(error);
            memset(new_rows, 0xff, photos * sizeof *new_rows);
        }
        ((uint32_t *)old->new_rows)[row] = number;
        ((uint8_t *)old->is_renamed)[row] = (uint8_t)o.is_named;
    }
    return p->named.failed || p->rows.failed || has_failed(&p->records) ? no_memory(error) : MCAD_DONE;
}

static int build_words(McadWriter *w, size_t entry, Parts *p, const McadStrings *names, Buffer *file, McadError *error) {
    size_t old_count = 0, failed = 0, count = w->index->count, numbers[2] = {0};
    const Segment *s = entry < count ? &w->index->lives[entry].segment : NULL;
    size_t *of_old = calloc(count + 1, sizeof *of_old);
    OldWords *old = calloc(count + 1, sizeof *old);
    int code = of_old && old ? MCAD_DONE : no_memory(error);
    for (size_t i = 0; !code && i < count; i++)
        if (p->used[i]) of_old[old_count] = i, old[old_count++] = p->old[i];
    numbers[0] = p->named.size / 4;
    if (!code && numbers[0] != names->count) code = fail(error, MCAD_ORDER, (int64_t)names->count, 0, 0);
    McadStrings records = all_strings(&p->records);
    if (!code) {
        code = words_build(old, old_count, &records, (const uint32_t *)p->rows.data, names, (const uint32_t *)p->named.data,
                           s ? s->photos : (size_t)w->plan.photos, s ? s->header_crc32 : w->new_crc32, file, &failed, error);
        error->file = failed < old_count ? (int32_t)(2 * of_old[failed] + 1) : MCAD_NEW_FILE;
    }
    free(of_old);
    free(old);
    return code;
}

int mcad_writer_words(McadWriter *w, size_t entry, const McadStrings *names, int file, McadError *error) {
    size_t count = w->index->count;
    Parts p = {.old = calloc(count + 1, sizeof *p.old), .used = calloc(count + 1, 1)};
    Buffer made = {0};
    int code = p.old && p.used ? MCAD_DONE : no_memory(error);
    /* Those of merged segments were compared with their checksums when these were merged. */
    if (!code && entry < count && w->index->lives[entry].has_words)
        code = in_file(words_verify(&w->index->lives[entry].words, error), error, entry, 1);
    if (!code) code = for_photos(w, entry, take_photo, &p, error);
    if (!code) code = build_words(w, entry, &p, names, &made, error);
    if (!code) code = in_file(write_at(file, made.data, made.size, 0, error), error, MCAD_NEW_FILE / 2, 1);
    if (!code) code = in_file(flush(file, error), error, MCAD_NEW_FILE / 2, 1);
    for (size_t i = 0; p.old && i < count; i++) {
        free((void *)p.old[i].new_rows);
        free((void *)p.old[i].is_renamed);
    }
    free_strings(&p.records);
    void *all[] = {p.old, p.used, p.rows.data, p.named.data, made.data};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    return code;
}
