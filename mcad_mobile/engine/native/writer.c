/* Collects the changes to an index. */
#include "writer.h"

#define MARK "#t="
#define MARK_SIZE 3
#define NORM_TOLERANCE 1e-2f

int mcad_writer_open(const McadIndex *index, int spool, const McadLimits *limits, McadWriter **opened, McadError *error) {
    McadWriter *w = calloc(1, sizeof *w);
    *opened = NULL;
    if (!w) return no_memory(error);
    *w = (McadWriter){.index = index, .spool = spool};
    mcad_limits(&w->limits);
    if (limits) w->limits = *limits;
    w->kept = calloc(index->count + 1, sizeof *w->kept);
    w->readers = calloc(index->count + 1, sizeof *w->readers);
    int code = w->kept && w->readers ? MCAD_DONE : no_memory(error);
    for (size_t i = 0; !code && i < index->count; i++) {
        const Live *live = index->lives + i;
        w->readers[i].segment = &live->segment;
        w->kept[i] = all_bits(live->segment.photos);
        if (!w->kept[i]) code = no_memory(error);
        else if (live->kept) memcpy(w->kept[i], live->kept, bit_words(live->segment.photos) * sizeof **w->kept);
    }
    if (code) mcad_writer_close(w);
    else *opened = w;
    return code;
}

void mcad_writer_close(McadWriter *w) {
    if (!w) return;
    for (size_t i = 0; i < w->index->count; i++) {
        if (w->kept) free(w->kept[i]);
        if (w->readers) free_paths(w->readers + i);
        if (w->deleted) free(w->deleted[i]);
    }
    free(w->kept);
    free(w->readers);
    free(w->fates);
    free(w->deleted);
    free(w->deleted_counts);
    free(w->pending);
    free_table(&w->paths);
    free(w->changes.data);
    free(w->records.data);
    free(w);
}

Change *find_change(const McadWriter *w, Span path) {
    Key *key = look_up((Table *)&w->paths, path.at, path.size, 0);
    return key ? change_of(w, (size_t)(key - key_of(&w->paths, 0))) : NULL;
}

/* The change at a path, made if there is none; NULL without memory. */
static Change *make_change(McadWriter *w, Span path) {
    static const Change none = {0};
    size_t before = w->paths.count;
    reserve(&w->changes, sizeof none); /* first, so that each path has a change even if there is no memory */
    Key *key = w->changes.failed ? NULL : look_up(&w->paths, path.at, path.size, 1);
    if (key && w->paths.count > before) append(&w->changes, &none, sizeof none);
    return key ? change_of(w, (size_t)(key - key_of(&w->paths, 0))) : NULL;
}

/* Remove the photo at a path, committed or pending. `where` is what was there; not pending if nothing was. */
static int take(McadWriter *w, Span path, Change *where, McadError *error) {
    *where = (Change){0};
    for (size_t i = 0; i < w->index->count; i++) {
        uint32_t row;
        int code = in_file(find_row(w->readers + i, path, &row, error), error, i, 0);
        if (code) return code;
        if (row == MCAD_NONE || !has_bit(w->kept[i], row)) continue;
        clear_bit(w->kept[i], row);
        *where = (Change){.is_pending = 1, .source = (uint32_t)i, .row = row,
                          .time = w->index->lives[i].segment.times[row]};
    }
    Change *change = find_change(w, path);
    if (change) {
        if (change->is_pending) *where = *change;
        where->has_words = change->has_words;
        where->words_at = change->words_at;
        where->words_size = change->words_size;
        *change = (Change){0};
    }
    w->is_changed |= where->is_pending;
    return MCAD_DONE;
}

/* Check that paths have a length that an index can hold. */
static int check_paths(const McadStrings *paths, McadError *error) {
    for (size_t i = 0; i < paths->count; i++) {
        size_t size = string_at(paths, i).size;
        if (!size || size > MOST_PATH) return fail(error, MCAD_ORDER, (int64_t)i, (int64_t)size, 0);
    }
    return MCAD_DONE;
}

static int check_lengths(const float *lengths, size_t count, McadError *error) {
    size_t first = count, wrong = 0;
    for (size_t i = 0; i < count; i++) {
        float off = lengths[i] - 1;
        if (off >= -NORM_TOLERANCE && off <= NORM_TOLERANCE) continue; /* NaN is not */
        if (!wrong++) first = i;
    }
    if (!wrong) return MCAD_DONE;
    fail_number(error, MCAD_LENGTH, (int64_t)first, (double)lengths[first]);
    error->values[1] = (int64_t)wrong;
    return MCAD_LENGTH;
}

int mcad_writer_add(McadWriter *w, const McadStrings *paths, const float *embeddings, const uint32_t *stamps,
                    const int32_t *times, McadError *error) {
    size_t count = paths->count, dim = w->index->dim, first = w->spooled;
    float *rows = malloc((count * (dim + 1) + 1) * sizeof *rows), *lengths = rows ? rows + count * dim : NULL;
    int code = rows ? check_paths(paths, error) : no_memory(error);
    if (!code) {
        memcpy(rows, embeddings, count * dim * sizeof *rows);
        code = mcad_prepare(rows, count, dim, lengths) ? check_lengths(lengths, count, error) : no_memory(error);
    }
    if (!code) code = write_at(w->spool, rows, count * dim * sizeof *rows, first * (uint64_t)(dim * sizeof *rows), error);
    free(rows);
    if (!code) w->spooled += count; /* also if some of them cannot be added */
    for (size_t i = 0; !code && i < count; i++) {
        Span path = string_at(paths, i);
        Change before, *change;
        code = take(w, path, &before, error);
        if (code) break;
        if (!(change = make_change(w, path))) return no_memory(error);
        *change = (Change){.is_pending = 1, .source = (uint32_t)w->index->count, .row = (uint32_t)(first + i),
                           .stamps = {stamps[2 * i], stamps[2 * i + 1]}, .time = times[i]};
        w->is_changed = 1;
    }
    return code;
}

/* ---- Files and their moments ---- */

size_t file_part(Span path) {
    size_t digits = 0, at = path.size;
    if (at < MARK_SIZE + 6 || path.at[at - 4] != '.') return path.size;
    for (size_t i = at - 3; i < at; i++)
        if (path.at[i] < '0' || path.at[i] > '9') return path.size;
    for (at -= 4; at > MARK_SIZE && path.at[at - 1] >= '0' && path.at[at - 1] <= '9'; at--) digits++;
    return digits && at > MARK_SIZE && !memcmp(path.at + at - MARK_SIZE, MARK, MARK_SIZE) ? at - MARK_SIZE : path.size;
}

/* Paths of pending moments, sorted. */
typedef struct {
    const McadWriter *w;
    uint32_t *numbers;
    size_t count;
} Moments;

typedef struct {
    Span path;
    uint32_t number;
} Named;

static int by_path(const void *a, const void *b) { return compare(((const Named *)a)->path, ((const Named *)b)->path); }

/* Sort numbers of strings by these. Return 0 without memory. */
static int sort_numbers(const Table *t, uint32_t *numbers, size_t count) {
    Named *named = malloc((count + 1) * sizeof *named);
    if (!named) return 0;
    for (size_t i = 0; i < count; i++) named[i] = (Named){key_bytes(t, numbers[i]), numbers[i]};
    qsort(named, count, sizeof *named, by_path);
    for (size_t i = 0; i < count; i++) numbers[i] = named[i].number;
    free(named);
    return 1;
}

static int find_moments(const McadWriter *w, Moments *m, McadError *error) {
    *m = (Moments){w, malloc((w->paths.count + 1) * sizeof(uint32_t)), 0};
    if (!m->numbers) return no_memory(error);
    for (size_t i = 0; i < w->paths.count; i++) {
        Span path = key_bytes(&w->paths, i);
        if (change_of(w, i)->is_pending && file_part(path) < path.size) m->numbers[m->count++] = (uint32_t)i;
    }
    return sort_numbers(&w->paths, m->numbers, m->count) ? MCAD_DONE : no_memory(error);
}

/* List what the rows of a file add to its path: a photo's own row nothing, whether it is there or not. */
static int list_rows(McadWriter *w, const Moments *m, Span file, Strings *tails, McadError *error) {
    Buffer prefix = {0};
    int code = MCAD_DONE;
    put_string(tails, (Span){0}, (Span){0});
    append(&prefix, file.at, file.size);
    append(&prefix, MARK, MARK_SIZE);
    if (prefix.failed) return no_memory(error);
    Span start = {prefix.data, prefix.size}, path;
    for (size_t i = 0; !code && i < w->index->count; i++) {
        size_t row;
        code = lower_bound(w->readers + i, start, &row, error);
        for (; !code && row < w->readers[i].segment->photos; row++) {
            code = path_at(w->readers + i, row, &path, error);
            if (code || !begins_with(path, start)) break;
            if (has_bit(w->kept[i], row) && file_part(path) == file.size)
                put_string(tails, (Span){path.at + file.size, path.size - file.size}, (Span){0});
        }
        in_file(code, error, i, 0);
    }
    size_t low = 0, high = m->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (compare(key_bytes(&w->paths, m->numbers[middle]), start) < 0) low = middle + 1;
        else high = middle;
    }
    for (; !code && low < m->count && begins_with(path = key_bytes(&w->paths, m->numbers[low]), start); low++)
        if (change_of(w, m->numbers[low])->is_pending && file_part(path) == file.size)
            put_string(tails, (Span){path.at + file.size, path.size - file.size}, (Span){0});
    free(prefix.data);
    if (!code && has_failed(tails)) code = no_memory(error);
    return code;
}

int mcad_writer_move(McadWriter *w, const McadStrings *from, const McadStrings *to, const uint32_t *stamps, size_t *found,
                     McadError *error) {
    Moments moments;
    Strings old = {0}, new = {0}, tails = {0};
    Buffer files = {0}, places = {0};
    int code = find_moments(w, &moments, error);
    *found = 0;
    for (size_t i = 0; !code && i < from->count; i++) {
        tails.data.size = tails.ends.size = 0;
        code = list_rows(w, &moments, string_at(from, i), &tails, error);
        McadStrings of_file = all_strings(&tails);
        for (size_t j = 0; !code && j < of_file.count; j++) {
            put_string(&old, string_at(from, i), string_at(&of_file, j));
            put_string(&new, string_at(to, i), string_at(&of_file, j));
            append(&files, &i, sizeof i);
        }
    }
    McadStrings before = all_strings(&old), after = all_strings(&new);
    if (!code && (has_failed(&old) || has_failed(&new) || files.failed)) code = no_memory(error);
    if (!code) code = check_paths(&after, error);
    for (size_t i = 0; !code && i < after.count; i++) {
        Change where;
        code = take(w, string_at(&before, i), &where, error);
        append(&places, &where, sizeof where);
        if (!code && places.failed) code = no_memory(error);
    }
    for (int is_placed = 0; !code && is_placed < 2; is_placed++) /* first whatever is there goes */
        for (size_t i = 0; !code && i < after.count; i++) {
            Change where, replaced, *change;
            memcpy(&where, places.data + i * sizeof where, sizeof where);
            if (!where.is_pending) continue;
            if (!is_placed) {
                code = take(w, string_at(&after, i), &replaced, error);
                continue;
            }
            size_t file;
            memcpy(&file, files.data + i * sizeof file, sizeof file);
            memcpy(where.stamps, stamps + 2 * file, sizeof where.stamps);
            if ((change = make_change(w, string_at(&after, i)))) *change = where, ++*found;
            else code = no_memory(error);
        }
    free(moments.numbers);
    free(files.data);
    free(places.data);
    free_strings(&old);
    free_strings(&new);
    free_strings(&tails);
    return code;
}

/* Call a function for each row of files: `tails` of one. */
typedef int OfRow(McadWriter *, Span path, size_t file, void *context, McadError *);

static int for_rows(McadWriter *w, const McadStrings *files, OfRow *visit, void *context, McadError *error) {
    Moments moments;
    Strings tails = {0}, path = {0};
    int code = find_moments(w, &moments, error);
    for (size_t i = 0; !code && i < files->count; i++) {
        tails.data.size = tails.ends.size = 0;
        code = list_rows(w, &moments, string_at(files, i), &tails, error);
        McadStrings of_file = all_strings(&tails);
        for (size_t j = 0; !code && j < of_file.count; j++) {
            path.data.size = path.ends.size = 0;
            put_string(&path, string_at(files, i), string_at(&of_file, j));
            code = has_failed(&path) ? no_memory(error)
                                     : visit(w, (Span){path.data.data, path.data.size}, i, context, error);
        }
    }
    free(moments.numbers);
    free_strings(&tails);
    free_strings(&path);
    return code;
}

/* How many files were deleted, and the last of these + 1. */
typedef struct {
    size_t found, last;
} Deleted;

static int delete_row(McadWriter *w, Span path, size_t file, void *context, McadError *error) {
    Deleted *deleted = context;
    Change where;
    int code = take(w, path, &where, error);
    if (!code && where.is_pending && deleted->last != file + 1) deleted->found++, deleted->last = file + 1;
    return code;
}

int mcad_writer_delete(McadWriter *w, const McadStrings *files, size_t *found, McadError *error) {
    Deleted deleted = {0};
    int code = for_rows(w, files, delete_row, &deleted, error);
    *found = deleted.found;
    return code;
}

/* Times by file, and of how many rows they were set. */
typedef struct {
    const int32_t *times;
    size_t found;
} Times;

static int set_time(McadWriter *w, Span path, size_t file, void *context, McadError *error) {
    Times *times = context;
    Change *change = find_change(w, path);
    (void)error;
    if (!change || !change->is_pending) return MCAD_DONE;
    change->time = times->times[file];
    times->found++;
    return MCAD_DONE;
}

int mcad_writer_set_times(McadWriter *w, const McadStrings *files, const int32_t *given, size_t *found, McadError *error) {
    Times times = {given, 0};
    int code = for_rows(w, files, set_time, &times, error);
    *found = times.found;
    return code;
}

int mcad_writer_set_words(McadWriter *w, const McadStrings *paths, const McadStrings *records, size_t *found,
                          McadError *error) {
    int code = MCAD_DONE;
    *found = 0;
    for (size_t i = 0; !code && i < paths->count; i++) {
        Span path = string_at(paths, i), record = string_at(records, i);
        Change *change = find_change(w, path);
        int is_known = change && change->is_pending;
        for (size_t s = 0; !code && !is_known && s < w->index->count; s++) {
            uint32_t row;
            code = in_file(find_row(w->readers + s, path, &row, error), error, s, 0);
            is_known = !code && row != MCAD_NONE && has_bit(w->kept[s], row);
        }
        if (code || !is_known) continue;
        size_t at = w->records.size;
        append(&w->records, record.at, record.size);
        if (w->records.failed || !(change = make_change(w, path))) return no_memory(error);
        change->has_words = 1, change->words_at = at, change->words_size = record.size;
        w->is_changed = 1;
        ++*found;
    }
    return code;
}

/* ---- The plan ---- */

/* Set the deleted rows of a segment. */
static int list_deleted(McadWriter *w, size_t i, McadError *error) {
    size_t photos = w->index->lives[i].segment.photos, count = photos - count_bits_set(w->kept[i], photos);
    uint32_t *rows = malloc((count + 1) * sizeof *rows);
    w->deleted[i] = rows;
    w->deleted_counts[i] = count;
    if (!rows) return no_memory(error);
    for (size_t word = 0; word < bit_words(photos); word++)
        for (uint64_t gone = ~w->kept[i][word]; gone; gone &= gone - 1) {
            size_t row = 64 * word + (size_t)__builtin_ctzll(gone);
            if (row < photos) *rows++ = (uint32_t)row;
        }
    return MCAD_DONE;
}

/* Whether photos of a segment that stays have new words. */
static int has_new_words(McadWriter *w, size_t i, int *has, McadError *error) {
    int code = MCAD_DONE;
    *has = 0;
    for (size_t number = 0; !code && !*has && number < w->paths.count; number++) {
        uint32_t row;
        if (!change_of(w, number)->has_words) continue;
        code = in_file(find_row(w->readers + i, key_bytes(&w->paths, number), &row, error), error, i, 0);
        *has = !code && row != MCAD_NONE && has_bit(w->kept[i], row);
    }
    return code;
}

static int list_pending(McadWriter *w, McadError *error) {
    w->pending = malloc((w->paths.count + 1) * sizeof *w->pending);
    if (!w->pending) return no_memory(error);
    for (size_t i = 0; i < w->paths.count; i++)
        if (change_of(w, i)->is_pending) w->pending[w->pending_count++] = (uint32_t)i;
    return sort_numbers(&w->paths, w->pending, w->pending_count) ? MCAD_DONE : no_memory(error);
}

int mcad_writer_plan(McadWriter *w, int merge_all, int retune, McadPlan *plan, McadError *error) {
    size_t count = w->index->count, largest = count;
    int64_t *live = calloc(2 * count + 1, sizeof *live), *gone = live ? live + count : NULL;
    uint8_t *merged = calloc(count + 1, 1);
    w->fates = calloc(count + 1, 1);
    w->deleted = calloc(count + 1, sizeof *w->deleted);
    w->deleted_counts = calloc(count + 1, sizeof *w->deleted_counts);
    int code = live && merged && w->fates && w->deleted && w->deleted_counts ? list_pending(w, error) : no_memory(error);
    int is_tidy = count <= 1;
    for (size_t i = 0; !code && i < count; i++) {
        code = list_deleted(w, i, error);
        gone[i] = (int64_t)w->deleted_counts[i];
        live[i] = (int64_t)w->index->lives[i].segment.photos - gone[i];
        is_tidy &= !gone[i];
        if (live[i] > 0 && (largest == count || live[i] > live[largest])) largest = i;
    }
    if (!code) {
        uint64_t axis_photos = retune || largest == count ? 0 : w->index->lives[largest].segment.axis_photos;
        w->is_new_axis = mcad_plan_merge(live, gone, count, (int64_t)w->pending_count, (int64_t)axis_photos, &w->limits,
                                         merged);
        w->plan = (McadPlan){.is_changed = w->is_changed || retune || (merge_all && !is_tidy),
                             .photos = w->pending_count, .fates = w->fates,
                             .deleted = (const uint32_t *const *)w->deleted, .deleted_counts = w->deleted_counts};
    }
    for (size_t i = 0; !code && i < w->paths.count; i++) w->plan.has_words |= change_of(w, i)->has_words;
    for (size_t i = 0; !code && i < count; i++) {
        int has = 0;
        w->plan.has_words |= w->index->lives[i].has_words;
        if (merged[i] || merge_all || retune) {
            w->fates[i] = MCAD_MERGED;
            w->plan.photos += (uint64_t)live[i];
        } else {
            code = has_new_words(w, i, &has, error);
            w->fates[i] = has ? MCAD_NEW_WORDS : MCAD_KEPT;
        }
    }
    free(live);
    free(merged);
    if (!code) *plan = w->plan;
    return code;
}
