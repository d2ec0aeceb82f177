/* Opens a commit, and reads what it knows of photos. */
#include "index.h"
#include "exact.h"
#include <unistd.h>

/* A tuning serves up to this many times its photos. Writers retune at eight times. */
#define MOST_GROWTH 16
/* Rows whose paths are asked for at once, so that uncached reads do not wait one after the other. */
#define FEW_PATHS 256

uint64_t *all_bits(size_t count) {
    size_t words = bit_words(count);
    uint64_t *bits = malloc((words + 1) * sizeof *bits);
    if (!bits) return NULL;
    memset(bits, 0xff, words * sizeof *bits);
    if (count % 64) bits[words - 1] = (UINT64_C(1) << count % 64) - 1;
    return bits;
}

size_t count_bits_set(const uint64_t *bits, size_t count) {
    size_t sum = 0;
    for (size_t i = 0; i < bit_words(count); i++) sum += (size_t)__builtin_popcountll(bits[i]);
    return sum;
}

static int take_tombstones(Live *live, const McadEntry *entry, McadError *error) {
    size_t count = (size_t)entry->deleted_count;
    if (!count) return MCAD_DONE;
    live->deleted = malloc(count * sizeof *live->deleted);
    live->kept = all_bits(live->segment.photos);
    if (!live->deleted || !live->kept) return no_memory(error);
    memcpy(live->deleted, entry->deleted, count * sizeof *live->deleted);
    for (size_t i = 0; i < count; i++) clear_bit(live->kept, live->deleted[i]);
    live->deleted_count = count;
    return MCAD_DONE;
}

/* Our writers leave no tuning that does not fit: searches would miss more than promised. */
static int check_tuning(const McadIndex *index, size_t i, int has_cells, McadError *error) {
    const Live *live = index->lives + i;
    const Segment *s = &live->segment;
    size_t scan_bits = s->scan_bits ? s->scan_bits : 1;
    if (live->prescan_bits && (live->prescan_bits % 64 || live->prescan_bits >= scan_bits))
        return fail(error, MCAD_PRESCAN, (int64_t)live->prescan_bits, 0, 0);
    if (!has_cells != !s->cells) return fail(error, MCAD_CELLS_DIFFER, s->cells > 0, 0, 0);
    if (s->scan_bits && index->photos / MOST_GROWTH > s->axis_photos)
        return fail(error, MCAD_UNTUNED, (int64_t)index->photos, (int64_t)s->axis_photos, 0);
    return MCAD_DONE;
}

static int open_entry(McadIndex *index, size_t i, const McadEntry *entry, McadError *error) {
    Live *live = index->lives + i;
    const Segment *s = &live->segment;
    live->candidates = entry->candidates;
    live->prescan = entry->prescan;
    live->cells = entry->cells;
    live->prescan_bits = (size_t)entry->prescan_bits;
    int code = segment_open(&live->segment, entry->file, error);
    if (!code && (s->photos != entry->photos || s->dim != index->dim || s->header_crc32 != entry->header_crc32))
        code = fail(error, MCAD_OTHER_SEGMENT, 0, 0, 0);
    if (!code) code = take_tombstones(live, entry, error);
    if (code) return in_file(code, error, i, 0);
    index->photos += live_photos(live);
    if (entry->words < 0) return MCAD_DONE;
    live->has_words = 1;
    return in_file(words_open(&live->words, entry->words, s, error), error, i, 1);
}

int mcad_index_open(const McadEntry *entries, size_t count, size_t dim, int is_tuned, McadIndex **opened, McadError *error) {
    McadIndex *index = calloc(1, sizeof *index);
    Live *lives = calloc(count + 1, sizeof *lives);
    int code = index && lives ? MCAD_DONE : no_memory(error);
    size_t taken = 0;
    if (!code) *index = (McadIndex){lives, count, dim, 0};
    for (; !code && taken < count; taken++) {
        lives[taken].words.file = lives[taken].segment.file = -1;
        code = open_entry(index, taken, entries + taken, error);
        if (code && entries[taken].words >= 0 && !lives[taken].has_words) close(entries[taken].words);
    }
    for (size_t i = 0; !code && i < count; i++) {
        int wrong = check_tuning(index, i, entries[i].has_cells, error);
        if (is_tuned) code = in_file(wrong, error, i, 0);
        else if (wrong == MCAD_PRESCAN) lives[i].prescan_bits = 0; /* the segment has no such bits */
    }
    for (size_t i = taken; code && i < count; i++) {
        close(entries[i].file);
        if (entries[i].words >= 0) close(entries[i].words);
    }
    *opened = code ? NULL : index;
    if (!code) return code;
    if (index && lives) {
        index->count = taken;
        mcad_index_close(index);
    } else {
        free(index);
        free(lives);
    }
    return code;
}

void mcad_index_close(McadIndex *index) {
    if (!index) return;
    for (size_t i = 0; i < index->count; i++) {
        Live *live = index->lives + i;
        segment_close(&live->segment);
        if (live->has_words) words_close(&live->words);
        free(live->deleted);
        free(live->kept);
    }
    free(index->lives);
    free(index);
}

int check_sizes(const McadIndex *index, McadError *error) {
    int code = MCAD_DONE;
    for (size_t i = 0; !code && i < index->count; i++) {
        const Live *live = index->lives + i;
        code = in_file(segment_check_size(&live->segment, error), error, i, 0);
        if (!code && live->has_words) code = in_file(words_check_size(&live->words, error), error, i, 1);
    }
    return code;
}

int mcad_index_verify(const McadIndex *index, const McadStop *stop, McadError *error) {
    int code = MCAD_DONE;
    for (size_t i = 0; !code && i < index->count; i++) {
        code = in_file(segment_verify(&index->lives[i].segment, stop, error), error, i, 0);
        if (!code && index->lives[i].has_words) code = in_file(words_verify(&index->lives[i].words, error), error, i, 1);
    }
    return code;
}

void mcad_index_size(const McadIndex *index, McadSize *size) {
    *size = (McadSize){.photos = index->photos};
    for (size_t i = 0; i < index->count; i++) {
        for (int part = 0; part < PARTS; part++) size->bytes += index->lives[i].segment.lengths[part];
        size->has_words |= index->lives[i].has_words;
    }
}

int find_row(PathReader *reader, Span path, uint32_t *row, McadError *error) {
    size_t at;
    Span found = {0};
    *row = MCAD_NONE;
    int code = lower_bound(reader, path, &at, error);
    if (!code && at < reader->segment->photos) {
        code = path_at(reader, at, &found, error);
        if (!code && !compare(found, path)) *row = (uint32_t)at;
    }
    return code;
}

int mcad_index_find(const McadIndex *index, const McadStrings *paths, McadRow *rows, McadError *error) {
    int code = check_sizes(index, error);
    for (size_t i = 0; i < paths->count; i++) rows[i] = (McadRow){MCAD_NONE, MCAD_NONE};
    for (size_t number = 0; !code && number < index->count; number++) {
        const Live *live = index->lives + number;
        PathReader reader = {.segment = &live->segment};
        for (size_t i = 0; !code && i < paths->count; i++) {
            uint32_t row;
            code = find_row(&reader, string_at(paths, i), &row, error);
            if (!code && row != MCAD_NONE && has_bit(live->kept, row)) rows[i] = (McadRow){(uint32_t)number, row};
        }
        free_paths(&reader);
        in_file(code, error, number, 0);
    }
    return code;
}

/* The position of a row among those that were given. */
typedef struct {
    McadRow row;
    size_t at;
} Asked;

static int by_row(const void *a, const void *b) {
    const Asked *x = a, *y = b;
    if (x->row.segment != y->row.segment) return x->row.segment < y->row.segment ? -1 : 1;
    return x->row.row < y->row.row ? -1 : x->row.row > y->row.row;
}

/* Sort rows by segment and row; the first `known` are of the index. Return NULL without memory. */
static Asked *sort_rows(const McadIndex *index, const McadRow *rows, size_t count, size_t *known) {
    Asked *asked = malloc((count + 1) * sizeof *asked);
    *known = 0;
    for (size_t i = 0; asked && i < count; i++)
        if (rows[i].segment < index->count && rows[i].row < index->lives[rows[i].segment].segment.photos)
            asked[(*known)++] = (Asked){rows[i], i};
    if (asked) qsort(asked, *known, sizeof *asked, by_row);
    return asked;
}

/* Call a function for the rows of each segment, ascending. */
typedef int OfSegment(const McadIndex *, size_t number, const size_t *rows, const Asked *, size_t count, void *, McadError *);

static int for_segments(const McadIndex *index, const McadRow *rows, size_t count, OfSegment *visit, void *context,
                        McadError *error) {
    size_t known;
    int code = check_sizes(index, error);
    if (code) return code;
    Asked *asked = sort_rows(index, rows, count, &known);
    size_t *own = malloc((count + 1) * sizeof *own);
    if (!asked || !own) code = no_memory(error);
    for (size_t at = 0, end; !code && at < known; at = end) {
        size_t number = asked[at].row.segment;
        for (end = at; end < known && asked[end].row.segment == number; end++) own[end - at] = asked[end].row.row;
        code = visit(index, number, own, asked + at, end - at, context, error);
    }
    free(asked);
    free(own);
    return code;
}

/* Texts of positions, in any order. */
typedef struct {
    Buffer data;
    uint64_t *starts, *ends;
} Texts;

static int texts_of(Texts *t, size_t count, McadError *error) {
    *t = (Texts){.starts = calloc(2 * count + 1, sizeof *t->starts)};
    append(&t->data, "", 0); /* even if all are empty, they are somewhere */
    if (!t->starts) return no_memory(error);
    t->ends = t->starts + count;
    return MCAD_DONE;
}

/* Give the texts in the order of their positions. */
static int give_texts(Texts *t, size_t count, int code, McadStrings *strings, McadError *error) {
    Strings ordered = {0};
    if (!code && t->data.failed) code = no_memory(error);
    for (size_t i = 0; !code && i < count; i++)
        put_string(&ordered, (Span){t->data.data + t->starts[i], (size_t)(t->ends[i] - t->starts[i])}, (Span){0});
    free(t->data.data);
    free(t->starts);
    return give_strings(&ordered, code, strings, error);
}

static int paths_of(const McadIndex *index, size_t number, const size_t *rows, const Asked *asked, size_t count,
                    void *context, McadError *error) {
    Texts *texts = context;
    PathReader reader = {.segment = &index->lives[number].segment, .is_prefetched = count <= FEW_PATHS};
    int code = reader.is_prefetched ? prefetch_paths(reader.segment, rows, count, error) : MCAD_DONE;
    for (size_t i = 0; !code && i < count; i++) {
        Span path;
        if ((code = path_at(&reader, rows[i], &path, error))) break;
        texts->starts[asked[i].at] = texts->data.size;
        append(&texts->data, path.at, path.size);
        texts->ends[asked[i].at] = texts->data.size;
    }
    free_paths(&reader);
    return in_file(code, error, number, 0);
}

int mcad_index_paths(const McadIndex *index, const McadRow *rows, size_t count, McadStrings *paths, McadError *error) {
    Texts texts;
    int code = texts_of(&texts, count, error);
    if (!code) code = for_segments(index, rows, count, paths_of, &texts, error);
    return give_texts(&texts, count, code, paths, error);
}

static int records_of(const McadIndex *index, size_t number, const size_t *rows, const Asked *asked, size_t count,
                      void *context, McadError *error) {
    Texts *texts = context;
    Live *live = index->lives + number;
    Buffer ends = {0};
    size_t before = texts->data.size;
    if (!live->has_words) return MCAD_DONE;
    int code = words_read(&live->words, rows, count, &texts->data, &ends, error);
    for (size_t i = 0; !code && i < count; i++) {
        uint64_t end;
        memcpy(&end, ends.data + i * sizeof end, sizeof end);
        texts->starts[asked[i].at] = before;
        texts->ends[asked[i].at] = before = (size_t)end;
    }
    free(ends.data);
    return in_file(code, error, number, 1);
}

int mcad_words_read(const McadIndex *index, const McadRow *rows, size_t count, McadStrings *records, McadError *error) {
    Texts texts;
    int code = texts_of(&texts, count, error);
    if (!code) code = for_segments(index, rows, count, records_of, &texts, error);
    return give_texts(&texts, count, code, records, error);
}

/* What is read of photos, and the query, rotated. */
typedef struct {
    const McadPhotos *photos;
    const float *rotated;
} Wanted;

static int photos_of(const McadIndex *index, size_t number, const size_t *rows, const Asked *asked, size_t count,
                     void *context, McadError *error) {
    const Wanted *wanted = context;
    const McadPhotos *p = wanted->photos;
    Live *live = index->lives + number;
    size_t dim = index->dim;
    int code = MCAD_DONE;
    for (size_t i = 0; !code && i < count; i++) {
        size_t at = asked[i].at;
        if (p->times) p->times[at] = live->segment.times[rows[i]];
        if (p->is_read) p->is_read[at] = live->has_words && words_is_read(&live->words.view, rows[i]);
        if (p->stamps) code = read_stamps(&live->segment, rows[i], p->stamps + 2 * at, error);
    }
    float *stored = p->embeddings && !code ? malloc(count * dim * sizeof *stored) : NULL;
    if (stored) {
        float length;
        code = read_embeddings(&live->segment, rows, count, stored, error);
        if (!code && !mcad_rotate(stored, count, dim, 1)) code = no_memory(error);
        for (size_t i = 0; !code && i < count; i++) {
            float *out = p->embeddings + asked[i].at * dim, *from = stored + i * dim;
            length = (float)sqrt(exact_dot(from, from, dim) / (STEPS * STEPS));
            for (size_t j = 0; j < dim; j++) out[j] = from[j] / length;
        }
    } else if (p->embeddings && !code) code = no_memory(error);
    free(stored);
    float *cosines = p->cosines && !code ? malloc(count * sizeof *cosines) : NULL;
    if (cosines) {
        code = score_rows(index, number, wanted->rotated, rows, count, cosines, error);
        for (size_t i = 0; !code && i < count; i++) p->cosines[asked[i].at] = cosines[i];
        free(cosines);
        if (code) return code;
    } else if (p->cosines && !code) code = no_memory(error);
    return in_file(code, error, number, 0);
}

int mcad_index_photos(const McadIndex *index, const McadRow *rows, size_t count, const McadPhotos *photos,
                      McadError *error) {
    float rotated[MOST_DIM];
    if (photos->query) {
        memcpy(rotated, photos->query, index->dim * sizeof *rotated);
        if (!mcad_rotate(rotated, 1, index->dim, 0)) return no_memory(error);
    }
    Wanted wanted = {photos, rotated};
    return for_segments(index, rows, count, photos_of, &wanted, error);
}

/* Where a list of a segment's paths is. */
typedef struct {
    PathReader reader;
    size_t row;
    Span path; /* NULL at the end */
} Cursor;

static int advance(const Live *live, Cursor *c, Span prefix, McadError *error) {
    while (c->row < live->segment.photos && !has_bit(live->kept, c->row)) c->row++;
    c->path = (Span){0};
    if (c->row >= live->segment.photos) return MCAD_DONE;
    int code = path_at(&c->reader, c->row, &c->path, error);
    if (!code && !begins_with(c->path, prefix)) c->path = (Span){0};
    return code;
}

int mcad_index_list(const McadIndex *index, const McadStrings *prefix_and_after, size_t most, McadRow *rows,
                    McadStrings *paths, McadError *error) {
    Span prefix = string_at(prefix_and_after, 0), after = string_at(prefix_and_after, 1);
    Strings listed = {0};
    Cursor *cursors = calloc(index->count + 1, sizeof *cursors);
    int code = cursors ? check_sizes(index, error) : no_memory(error);
    Span from = after.size && compare(after, prefix) > 0 ? after : prefix;
    size_t last = 0;
    for (size_t i = 0; !code && i < index->count; i++) {
        Cursor *c = cursors + i;
        c->reader.segment = &index->lives[i].segment;
        code = lower_bound(&c->reader, from, &c->row, error);
        if (!code) code = advance(index->lives + i, c, prefix, error);
        if (!code && c->path.at && after.size && !compare(c->path, after)) {
            c->row++;
            code = advance(index->lives + i, c, prefix, error);
        }
        in_file(code, error, i, 0);
    }
    for (size_t count = 0; !code && count < most; count++) {
        size_t first = index->count;
        for (size_t i = 0; i < index->count; i++)
            if (cursors[i].path.at && (first == index->count || compare(cursors[i].path, cursors[first].path) < 0)) first = i;
        if (first == index->count) break;
        Cursor *c = cursors + first;
        /* Else a host that lists what comes after the last path might never end. */
        Span before = count ? (Span){listed.data.data + last, listed.data.size - last} : after;
        if (before.size && compare(before, c->path) >= 0) code = fail(error, MCAD_PATH_ORDER, (int64_t)c->row, 0, 0);
        rows[count] = (McadRow){(uint32_t)first, (uint32_t)c->row++};
        last = listed.data.size;
        put_string(&listed, c->path, (Span){0});
        if (!code && listed.data.failed) code = no_memory(error);
        if (!code) code = advance(index->lives + first, c, prefix, error);
        in_file(code, error, first, 0);
    }
    for (size_t i = 0; cursors && i < index->count; i++) free_paths(&cursors[i].reader);
    free(cursors);
    return give_strings(&listed, code, paths, error);
}
