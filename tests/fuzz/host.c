#define _GNU_SOURCE
#include "fuzz.h"
#include <math.h>
#include <sys/mman.h>
#include <unistd.h>

int new_file(const void *data, size_t size) {
    int file = memfd_create("fuzz", 0);
    MUST(file >= 0 && (!size || pwrite(file, data, size, 0) == (ssize_t)size));
    return file;
}

int host_open(Host *h, int is_tuned, McadError *error) {
    McadEntry given[MOST_SEGMENTS];
    memcpy(given, h->entries, sizeof given);
    for (size_t i = 0; i < h->count; i++) {
        given[i].file = dup(given[i].file);
        if (given[i].words >= 0) given[i].words = dup(given[i].words);
    }
    return mcad_index_open(given, h->count, h->dim, is_tuned, &h->index, error);
}

void host_free(Host *h) {
    mcad_index_close(h->index);
    for (size_t i = 0; i < h->count; i++) {
        close(h->entries[i].file);
        if (h->entries[i].words >= 0) close(h->entries[i].words);
        free((void *)h->entries[i].deleted);
    }
    *h = (Host){.dim = h->dim};
}

void put(McadStrings *s, const void *text, size_t size) {
    uint64_t start = s->count ? s->ends[s->count - 1] : 0, end = start + size;
    s->data = realloc((void *)s->data, end ? end : 1); /* no byte more, so that reading on is noticed */
    s->ends = realloc((void *)s->ends, (s->count + 1) * sizeof end);
    memcpy((void *)(s->data + start), text, size);
    memcpy((void *)(s->ends + s->count++), &end, sizeof end);
}

void drop(McadStrings *s) {
    free((void *)s->data);
    free((void *)s->ends);
    *s = (McadStrings){0};
}

/* A name makes a term of at most eight bytes. */
static int new_words(McadWriter *w, size_t number, McadEntry *entry, McadError *error) {
    McadStrings files, names = {0};
    int code = mcad_writer_names(w, number, &files, error);
    for (size_t i = 0; !code && i < files.count; i++) {
        uint64_t start = i ? files.ends[i - 1] : 0, size = files.ends[i] - start < 8 ? files.ends[i] - start : 8;
        uint8_t term[9] = {(uint8_t)size};
        memcpy(term + 1, files.data + start, size);
        put(&names, term, size + 1);
    }
    if (code) return code;
    mcad_strings_free(&files);
    entry->words = new_file(NULL, 0);
    code = mcad_writer_words(w, number, &names, entry->words, error);
    drop(&names);
    return code;
}

int host_commit(const Host *h, McadWriter *w, int how, const McadStop *stop, Host *after, McadError *error) {
    McadPlan plan;
    *after = (Host){.dim = h->dim};
    int code = mcad_writer_plan(w, how & 1, how & 2, &plan, error);
    for (size_t i = 0; !code && i < h->count; i++) {
        if (plan.is_changed && plan.fates[i] == MCAD_MERGED) continue;
        McadEntry *e = after->entries + after->count++, old = h->entries[i];
        int is_same = !plan.is_changed || plan.fates[i] == MCAD_KEPT;
        *e = old;
        e->file = dup(old.file);
        e->words = is_same && old.words >= 0 ? dup(old.words) : -1;
        e->deleted_count = plan.deleted_counts[i];
        e->deleted = memcpy(malloc(4 * e->deleted_count + 1), plan.deleted[i], 4 * e->deleted_count);
        if (!is_same) code = new_words(w, i, e, error);
    }
    if (!code && plan.is_changed && plan.photos) {
        McadEntry *e = after->entries + after->count++;
        int file = new_file(NULL, 0);
        code = mcad_writer_segment(w, file, stop, e, error);
        e->file = file;
        if (!code && plan.has_words) code = new_words(w, h->count, e, error);
    }
    if (code) host_free(after);
    return code;
}

void embed(uint32_t seed, size_t dim, float *embedding) {
    double squares = 0;
    for (size_t i = 0; i < dim; i++) {
        seed = seed * 1664525u + 1013904223u;
        embedding[i] = (float)(seed >> 8) * 0x1p-24f - 0.4f; /* around an axis */
        squares += (double)embedding[i] * embedding[i];
    }
    for (size_t i = 0; i < dim; i++) embedding[i] /= (float)sqrt(squares);
}

size_t put_record(McadStrings *records, unsigned words) {
    char text[64], terms[32];
    uint32_t size = (uint32_t)sprintf(text, "a sign w%u\n%s", words, words % 2 ? "Lisboa Portugal\n" : "");
    uint32_t of_terms = (uint32_t)sprintf(terms, "%c%cw%u", 0, 1 + snprintf(NULL, 0, "%u", words), words);
    if (words % 2) of_terms += (uint32_t)sprintf(terms + of_terms, "\2\6lisbon");
    const uint32_t head[] = {1, 1, words % 2, size, of_terms};
    const int16_t box[] = {100, 150, 700, 150, 700, 250, 100, 250};
    uint8_t record[256];
    memcpy(record, head, sizeof head);
    memcpy(record + sizeof head, box, sizeof box);
    memcpy(record + sizeof head + sizeof box, text, size);
    memcpy(record + sizeof head + sizeof box + size, terms, of_terms);
    put(records, record, sizeof head + sizeof box + size + of_terms);
    return sizeof head + sizeof box + size;
}

void make_index(Host *made, size_t dim, size_t photos, int cells) {
    McadError error;
    McadWriter *w;
    McadLimits limits;
    McadStrings paths = {0}, signs = {0}, records = {0};
    Host none = {.dim = dim};
    size_t found;
    float *embeddings = malloc(photos * dim * sizeof *embeddings);
    uint32_t *stamps = calloc(photos, 2 * sizeof *stamps);
    int32_t *times = calloc(photos, sizeof *times);
    for (size_t i = 0; i < photos; i++) {
        char path[32];
        put(&paths, path, (size_t)sprintf(path, "%c/%04zu.jpg", (int)('a' + i % 3), i));
        if (i % 2) put(&signs, path, strlen(path)), put_record(&records, (unsigned)i % 7);
        embed((uint32_t)i / 2, dim, embeddings + i * dim);
        times[i] = (int32_t)i;
    }
    mcad_limits(&limits);
    if (cells) limits.cells_from = limits.photos_per_cell = 15, limits.cells_gain = 0;
    int spool = new_file(NULL, 0), code = host_open(&none, 1, &error);
    if (!code) code = mcad_writer_open(none.index, spool, &limits, &w, &error);
    if (!code) code = mcad_writer_add(w, &paths, embeddings, stamps, times, &error);
    if (!code) code = mcad_writer_set_words(w, &signs, &records, &found, &error);
    if (!code) code = host_commit(&none, w, 0, NULL, made, &error);
    MUST(!code && found == photos / 2);
    mcad_writer_close(w);
    close(spool);
    host_free(&none);
    drop(&paths), drop(&signs), drop(&records);
    free(embeddings), free(stamps), free(times);
}

/* The first error counts; what can be called after it is. */
static int either(int code, int next) { return code ? code : next; }

static int search(const Host *h, McadFilter *f, size_t count, size_t k, int is_exact, McadError *error) {
    float query[MOST_DIM], *scores = malloc(k * sizeof *scores + 1);
    McadRow *rows = malloc(k * sizeof *rows + 1);
    double milliseconds;
    size_t found = k;
    embed((uint32_t)number(256), h->dim, query);
    int code = mcad_search(f, query, is_exact, NULL, rows, scores, &found, &milliseconds, error);
    MUST(code || (found <= k && found <= count));
    for (size_t i = 0; !code && i < found; i++)
        MUST(rows[i].segment < h->count && rows[i].row < h->entries[rows[i].segment].photos && (!i || scores[i] <= scores[i - 1]));
    free(rows), free(scores);
    return code;
}

static int search_words(const Host *h, McadFilter *f, size_t k, McadError *error) {
    static const char *const words[] = {"w1", "signs", "lisbon", "a", "portuga", "w", "zz", "\xc3\xa9"};
    float query[MOST_DIM], *shares = malloc(2 * k * sizeof *shares + 1);
    McadRow *rows = malloc(k * sizeof *rows + 1);
    McadStrings terms = {0};
    uint8_t modes[9], alike[9];
    size_t found = k, count = 1 + number(8);
    for (size_t i = 0; i < count; i++) {
        const char *word = words[number(8)];
        modes[i] = (uint8_t)number(4);
        put(&terms, word, strlen(word));
    }
    const McadTerms given = {terms, modes};
    embed(1, h->dim, query);
    int code = mcad_words_search(f, &given, number(2) ? query : NULL, rows, shares, &found, shares + k, error);
    MUST(code || found <= k);
    for (size_t i = 0; !code && i < found; i++) MUST(rows[i].segment < h->count && rows[i].row < h->entries[rows[i].segment].photos);
    mcad_words_alike(&given, &terms, alike);
    drop(&terms);
    free(rows), free(shares);
    return code;
}

static int use_filter(const Host *h, int is_narrow, McadError *error) {
    uint64_t *bits[MOST_SEGMENTS];
    McadChoice choice = {.first = number(2) ? INT64_MIN : (int64_t)number(256) - 9, .end = number(2) ? INT64_MAX : (int64_t)number(256)};
    McadFilter *f;
    size_t count;
    for (size_t i = 0; i < h->count; i++) {
        size_t words = (h->entries[i].photos + 63) / 64;
        memset(bits[i] = malloc(8 * words), (int)number(256) | 1, 8 * words);
    }
    if (number(2)) put(&choice.folders, "a/", 2), put(&choice.folders, "b/", number(2) + 1);
    if (number(2)) put(&choice.place, "lisbon", number(7));
    if (number(2)) choice.rows = (const uint64_t *const *)bits;
    int code = mcad_filter_open(h->index, is_narrow ? &choice : NULL, &f, &count, error);
    if (!code) {
        McadRow *rows = malloc(count * sizeof *rows + 1);
        uint32_t *groups = malloc(count * sizeof *groups + 1);
        code = mcad_filter_rows(f, rows, error);
        for (int is_exact = 0; is_exact < 2; is_exact++) code = either(code, search(h, f, count, number(20), is_exact, error));
        code = either(code, search_words(h, f, number(20), error));
        int joined = count < 1000 ? mcad_duplicates(f, 0.9, NULL, groups, error) : MCAD_DONE;
        for (size_t i = 0; !joined && count < 1000 && i < count; i++) MUST(groups[i] <= i && groups[groups[i]] == groups[i]);
        code = either(code, joined);
        mcad_filter_close(f);
        free(rows), free(groups);
    }
    for (size_t i = 0; i < h->count; i++) free(bits[i]);
    drop(&choice.folders), drop(&choice.place);
    return code;
}

/* Read all of rows; `records` become their words. */
static int read_photos(const Host *h, const McadRow *rows, size_t count, McadStrings *records, McadError *error) {
    float query[MOST_DIM];
    McadStrings paths = {0};
    embed(2, h->dim, query);
    McadPhotos p = {malloc(8 * count + 1), malloc(4 * count + 1), malloc(count + 1), malloc(4 * count * h->dim + 1), query,
                    malloc(4 * count + 1)};
    int code = mcad_index_photos(h->index, rows, count, &p, error), listed = mcad_index_paths(h->index, rows, count, &paths, error);
    McadRow *found = malloc(count * sizeof *found + 1);
    if (!listed) listed = mcad_index_find(h->index, &paths, found, error);
    mcad_strings_free(&paths);
    code = either(code, either(listed, mcad_words_read(h->index, rows, count, records, error)));
    void *all[] = {p.stamps, p.times, p.is_read, p.embeddings, p.cosines, found};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    return code;
}

/* Photos that were not changed have the same texts in an index as before, where they have any. */
static void same_texts(Host *now, const McadStrings *paths, const McadStrings *records) {
    McadError error;
    McadStrings found;
    McadRow *rows = malloc(paths->count * sizeof *rows + 1);
    MUST(!mcad_index_find(now->index, paths, rows, &error) && !mcad_words_read(now->index, rows, paths->count, &found, &error));
    for (size_t i = 0; i < records->count; i++) {
        uint64_t start = i ? records->ends[i - 1] : 0, at = i ? found.ends[i - 1] : 0, size = records->ends[i] - start;
        uint32_t head[5];
        if (!size || rows[i].segment == MCAD_NONE) continue;
        memcpy(head, records->data + start, sizeof head);
        size_t texts = sizeof head + 16 * head[1];
        MUST(size == found.ends[i] - at && !memcmp(found.data + at, head, sizeof head));
        MUST(!memcmp(found.data + at + texts, records->data + start + texts, size - texts));
    }
    mcad_strings_free(&found);
    free(rows);
}

static int rewrite(const Host *h, const McadStrings *paths, const McadStrings *records, McadError *error) {
    float embedding[MOST_DIM];
    const uint32_t stamp[2] = {1, 2};
    const int32_t time = 3;
    McadWriter *w;
    McadStrings added = {0}, from = {0}, to = {0};
    Host after = {0};
    size_t found;
    int spool = new_file(NULL, 0), code = mcad_writer_open(h->index, spool, NULL, &w, error);
    MUST(!code);
    put(&added, "zz/added", 8), put(&from, "c/0002.jpg", 10), put(&to, "zz/moved", 8);
    embed(3, h->dim, embedding);
    code = mcad_writer_add(w, &added, embedding, stamp, &time, error);
    if (!code) code = mcad_writer_move(w, &from, &to, stamp, &found, error);
    if (!code) code = mcad_writer_delete(w, &to, &found, error);
    if (!code) code = host_commit(h, w, 1 + (int)number(3), NULL, &after, error);
    mcad_writer_close(w);
    if (!code) { /* what is written is whole, whatever it was made of */
        MUST(!host_open(&after, 0, error) && !mcad_index_verify(after.index, NULL, error));
        same_texts(&after, paths, records);
        host_free(&after);
    }
    close(spool);
    drop(&added), drop(&from), drop(&to);
    return code;
}

int use_index(const Host *h) {
    enum { MOST = 50 };
    McadError error;
    McadStrings given = {0}, paths = {0}, records = {0}, more = {0};
    McadRow rows[MOST];
    put(&given, "b/00", number(5));
    put(&given, "a/0003", number(7));
    int code = mcad_index_list(h->index, &given, number(MOST), rows, &paths, &error);
    if (!code) code = read_photos(h, rows, paths.count, &records, &error);
    for (size_t i = 0; i < 9; i++) rows[i] = (McadRow){(uint32_t)(number(9) == 8), i ? (uint32_t)number(400) : MCAD_NONE};
    code = either(code, read_photos(h, rows, 9, &more, &error));
    for (int is_narrow = 0; is_narrow < 2; is_narrow++) code = either(code, use_filter(h, is_narrow, &error));
    int verified = mcad_index_verify(h->index, NULL, &error);
    /* What was not read may be wrong; what a commit copies is verified first. */
    int written = rewrite(h, &paths, &records, &error);
    MUST(!verified || written);
    drop(&given);
    mcad_strings_free(&paths), mcad_strings_free(&records), mcad_strings_free(&more);
    return either(code, either(verified, written));
}
