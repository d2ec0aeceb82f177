/* Sequences of calls on a small index, beside a model of what it must hold: photos by path. An allocation may fail in any
 * call; a writer that lacked memory may be used on, but what it commits is thrown away. */
#include "fuzz.h"
#include <math.h>
#include <unistd.h>

enum { FILES = 12, TAILS = 3, NAMED = FILES * TAILS, BULK = 280, PHOTOS = NAMED + BULK, LONG = 300 };

typedef struct {
    int is_there, is_new;
    uint32_t seed, stamp;
    int32_t time;
    unsigned words; /* 0 for none */
} Photo;

static Photo committed[PHOTOS], pending[PHOTOS];
static char paths[PHOTOS][LONG + 40];
static size_t sorted[PHOTOS], budget;
static Host host;
static McadWriter *writer;
static McadLimits limits;
static McadError error;
static int spool = -1, is_loose;

/* Call it with few allocations; if these fail, with many. */
#define READ(call) \
    do { \
        arm(); \
        if (disarm(call)) MUST(!(call)); \
    } while (0)

static void arm(void) { allowed = budget, budget = SIZE_MAX, ran_out = 0; }

/* Return whether memory failed, the only error. */
static int disarm(int code) {
    allowed = SIZE_MAX;
    MUST(!code || (code == MCAD_NO_MEMORY && ran_out));
    return code;
}

/* Return whether a change was made; without memory, the writer's state is unknown from here on. */
static int changed(int code) {
    allowed = SIZE_MAX;
    if (is_loose) return 0;
    return !(is_loose = disarm(code));
}

static int by_path(const void *a, const void *b) { return strcmp(paths[*(const size_t *)a], paths[*(const size_t *)b]); }

static void name_paths(void) {
    static const char *const tails[TAILS] = {"", "#t=1.000", "#t=12.500"};
    char folder[LONG + 1];
    memset(folder, 'f', LONG);
    folder[LONG] = 0;
    for (size_t i = 0; i < PHOTOS; i++) {
        size_t file = i / TAILS;
        if (i < NAMED) sprintf(paths[i], "%s/%zu.mp4%s", file % 4 == 3 ? folder : file % 2 ? "a" : "b", file, tails[i % TAILS]);
        else sprintf(paths[i], "bulk/%04zu.jpg", i - NAMED);
        sorted[i] = i;
    }
    qsort(sorted, PHOTOS, sizeof *sorted, by_path);
}

static void put_path(McadStrings *s, size_t photo) { put(s, paths[photo], strlen(paths[photo])); }

static size_t count_photos(int (*passes)(const Photo *, size_t), size_t what) {
    size_t count = 0;
    for (size_t i = 0; i < PHOTOS; i++) count += committed[i].is_there && (!passes || passes(committed + i, what));
    return count;
}

static int has_words(const Photo *p, size_t words) { return p->words == words; }
static int is_in_lisbon(const Photo *p, size_t unused) { return (void)unused, p->words % 2; }
static int is_before(const Photo *p, size_t end) { return p->time != NO_TIME && p->time < (int32_t)end; }
static int is_below(const Photo *p, size_t letter) { return paths[p - committed][0] == (char)letter; }

/* ---- Reading ---- */

/* Each photo is listed once, in order, a few at once. */
static void list_all(size_t most) {
    McadRow *rows = malloc(most * sizeof *rows);
    size_t at = 0;
    for (McadStrings given = {0}, found = {0};; drop(&given), mcad_strings_free(&found)) {
        while (at < PHOTOS && !committed[sorted[at]].is_there) at++;
        put(&given, "", 0);
        put(&given, at ? paths[sorted[at - 1]] : "", at ? strlen(paths[sorted[at - 1]]) : 0);
        READ(mcad_index_list(host.index, &given, most, rows, &found, &error));
        MUST(found.count == 0 || at < PHOTOS);
        for (size_t i = 0, start = 0; i < found.count; start = found.ends[i++], at++) {
            while (!committed[sorted[at]].is_there) at++;
            MUST(at < PHOTOS && found.ends[i] - start == strlen(paths[sorted[at]]));
            MUST(!memcmp(found.data + start, paths[sorted[at]], found.ends[i] - start));
        }
        if (found.count == most) continue;
        while (at < PHOTOS) MUST(!committed[sorted[at++]].is_there);
        drop(&given), mcad_strings_free(&found);
        break;
    }
    free(rows);
}

/* All paths are found that there are, and what is known of them is right. */
static void read_all(void) {
    static uint32_t stamps[PHOTOS][2];
    static int32_t times[PHOTOS];
    static uint8_t is_read[PHOTOS];
    static float embeddings[PHOTOS * 64], embedding[64];
    static McadRow rows[PHOTOS];
    McadStrings all = {0}, records, record = {0};
    const McadPhotos p = {stamps[0], times, is_read, embeddings, NULL, NULL};
    for (size_t i = 0; i < PHOTOS; i++) put_path(&all, i);
    READ(mcad_index_find(host.index, &all, rows, &error));
    READ(mcad_index_photos(host.index, rows, PHOTOS, &p, &error));
    READ(mcad_words_read(host.index, rows, PHOTOS, &records, &error));
    for (size_t i = 0; i < PHOTOS; i++) {
        const Photo *photo = committed + i;
        MUST(photo->is_there == (rows[i].segment != MCAD_NONE));
        if (!photo->is_there) continue;
        double cosine = 0;
        embed(photo->seed, host.dim, embedding);
        for (size_t d = 0; d < host.dim; d++) cosine += (double)embedding[d] * embeddings[i * host.dim + d];
        MUST(cosine > 0.98 && stamps[i][0] == photo->stamp && times[i] == photo->time && is_read[i] == (photo->words > 0));
        uint64_t start = i ? records.ends[i - 1] : 0;
        if (photo->words) {
            size_t size = put_record(&record, photo->words);
            MUST(records.ends[i] - start == size && !memcmp(records.data + start, record.data, 16));
            MUST(!memcmp(records.data + start + 20, record.data + 20, size - 20));
            drop(&record);
        } else MUST(start == records.ends[i] || (records.ends[i] - start == 20 && !records.data[start]));
    }
    drop(&all);
    mcad_strings_free(&records);
}

static void search(McadFilter *filter, size_t count) {
    float query[64], cosine = 2;
    size_t photo = number(PHOTOS), k = number(2) ? 5 : 1 + number(300), found;
    int is_exact = (int)number(2), has_cells = 0;
    for (size_t i = 0; i < host.count; i++) has_cells |= host.entries[i].has_cells;
    embed(committed[photo].seed, host.dim, query);
    McadRow *rows = malloc(k * sizeof *rows);
    float *scores = malloc(k * sizeof *scores);
    double milliseconds;
    READ((found = k, mcad_search(filter, query, is_exact, &limits, rows, scores, &found, &milliseconds, &error)));
    MUST(found <= k && found <= count && (!is_exact || found == (k < count ? k : count)));
    for (size_t i = 0; i < found; cosine = scores[i++]) MUST(scores[i] <= cosine);
    if (committed[photo].is_there && count == count_photos(NULL, 0) && (is_exact || !has_cells)) MUST(found && scores[0] > 0.98f);
    free(rows), free(scores);
}

static void search_words(McadFilter *filter) {
    static McadRow rows[PHOTOS];
    static float shares[PHOTOS];
    char word[12];
    unsigned words = 1 + (unsigned)number(9);
    McadStrings terms = {0};
    put(&terms, word, (size_t)sprintf(word, "w%u", words));
    const uint8_t modes[] = {0};
    const McadTerms given = {terms, modes};
    size_t found;
    READ((found = PHOTOS, mcad_words_search(filter, &given, NULL, rows, shares, &found, NULL, &error)));
    MUST(found == count_photos(has_words, words));
    drop(&terms);
}

static void filter_photos(void) {
    static const int64_t none = INT64_MIN, all = INT64_MAX;
    static uint32_t groups[PHOTOS];
    McadFilter *filter;
    McadChoice choice = {.first = none, .end = all};
    size_t count, what = number(5), end = number(256), expected = count_photos(NULL, 0);
    if (what == 1) put(&choice.folders, "a/", 2), expected = count_photos(is_below, 'a');
    if (what == 2) choice.end = (int64_t)end, expected = count_photos(is_before, end);
    if (what == 3) put(&choice.place, "lisbon", 6), expected = count_photos(is_in_lisbon, 0);
    READ(mcad_filter_open(host.index, what ? &choice : NULL, &filter, &count, &error));
    MUST(count == expected);
    search(filter, count);
    if (!what) search_words(filter);
    if (what == 4 && count) {
        READ(mcad_duplicates(filter, 0.97, NULL, groups, &error));
        for (size_t i = 0; i < count; i++) MUST(groups[i] <= i && groups[groups[i]] == groups[i]);
    }
    mcad_filter_close(filter);
    drop(&choice.folders), drop(&choice.place);
}

/* ---- Changes ---- */

static void open_writer(void) {
    if (writer) return;
    spool = new_file(NULL, 0);
    READ(mcad_writer_open(host.index, spool, &limits, &writer, &error));
}

static void close_writer(void) {
    mcad_writer_close(writer);
    if (writer) close(spool);
    writer = NULL, is_loose = 0;
    memcpy(pending, committed, sizeof pending);
}

static void add(size_t first, size_t count) {
    McadStrings added = {0};
    uint32_t seed = (uint32_t)number(256), (*stamps)[2] = malloc(count * sizeof *stamps);
    int32_t time = number(4) ? (int32_t)number(256) : NO_TIME, *times = malloc(count * sizeof *times);
    float *embeddings = malloc(count * host.dim * sizeof *embeddings);
    for (size_t i = 0; i < count; i++) {
        put_path(&added, first + i);
        embed(seed + (uint32_t)i, host.dim, embeddings + i * host.dim);
        stamps[i][0] = stamps[i][1] = seed, times[i] = time;
    }
    if (!number(16)) { /* too long a vector: nothing is added */
        embeddings[0] = 2;
        int code = mcad_writer_add(writer, &added, embeddings, stamps[0], times, &error);
        MUST(code == MCAD_LENGTH || is_loose);
    } else {
        arm();
        if (changed(mcad_writer_add(writer, &added, embeddings, stamps[0], times, &error)))
            for (size_t i = 0; i < count; i++) pending[first + i] = (Photo){1, 1, seed + (uint32_t)i, seed, time, 0};
    }
    drop(&added);
    free(stamps), free(times), free(embeddings);
}

static void move(void) {
    size_t count = 1 + number(3), from[3], to[3], found, taken = 0, rows[9], moved[9];
    uint32_t stamps[3][2];
    Photo photos[9];
    McadStrings old = {0}, new = {0};
    for (size_t i = 0; i < count; i++) {
        put_path(&old, from[i] = TAILS * number(FILES));
        put_path(&new, to[i] = TAILS * number(FILES));
        stamps[i][0] = stamps[i][1] = (uint32_t)number(256);
    }
    arm();
    int is_done = changed(mcad_writer_move(writer, &old, &new, stamps[0], &found, &error));
    for (size_t i = 0; is_done && i < count * TAILS; i++) {
        Photo *p = pending + from[i / TAILS] + i % TAILS;
        if (!p->is_there) continue;
        photos[taken] = *p, rows[taken] = to[i / TAILS] + i % TAILS, moved[taken++] = i / TAILS;
        *p = (Photo){0};
    }
    for (size_t i = 0; is_done && i < taken; i++) {
        pending[rows[i]] = photos[i];
        pending[rows[i]].stamp = stamps[moved[i]][0], pending[rows[i]].is_new = 1;
    }
    MUST(!is_done || found == taken);
    drop(&old), drop(&new);
}

static void delete(void) {
    size_t count = 1 + number(3), files[3], found, expected = 0;
    McadStrings given = {0};
    for (size_t i = 0; i < count; i++) put_path(&given, files[i] = TAILS * number(FILES));
    arm();
    int is_done = changed(mcad_writer_delete(writer, &given, &found, &error));
    for (size_t i = 0; is_done && i < count; i++) {
        size_t there = 0;
        for (size_t tail = 0; tail < TAILS; tail++) there += (size_t)pending[files[i] + tail].is_there;
        memset(pending + files[i], 0, TAILS * sizeof *pending);
        expected += there > 0;
    }
    MUST(!is_done || found == expected);
    drop(&given);
}

static void set_times(void) {
    size_t file = TAILS * number(FILES), found, expected = 0;
    const int32_t time = (int32_t)number(256);
    McadStrings given = {0};
    put_path(&given, file);
    arm();
    int is_done = changed(mcad_writer_set_times(writer, &given, &time, &found, &error));
    for (size_t i = file; is_done && i < file + TAILS; i++)
        if (pending[i].is_new) pending[i].time = time, expected++;
    MUST(!is_done || found == expected);
    drop(&given);
}

static void set_words(void) {
    size_t count = number(8) ? 1 + number(4) : BULK, first = number(PHOTOS - count + 1), found, expected = 0;
    unsigned words = (unsigned)number(256);
    McadStrings given = {0}, records = {0};
    for (size_t i = 0; i < count; i++) put_path(&given, first + i), put_record(&records, 1 + (words + (unsigned)i) % 9);
    arm();
    int is_done = changed(mcad_writer_set_words(writer, &given, &records, &found, &error));
    for (size_t i = 0; is_done && i < count; i++) {
        Photo *p = pending + first + i;
        expected += (size_t)p->is_there;
        if (p->is_there) p->words = 1 + (words + (unsigned)i) % 9;
    }
    MUST(!is_done || found == expected);
    drop(&given), drop(&records);
}

static int asked(void *left_to_ask) { return !(*(size_t *)left_to_ask)--; }

static void commit(void) {
    Host after;
    size_t asks = number(8) ? SIZE_MAX : number(16);
    const McadStop stop = {asked, &asks};
    int how = (int)number(4), was_loose = is_loose;
    arm();
    int code = host_commit(&host, writer, how, &stop, &after, &error), is_stopped = code == MCAD_STOPPED && asks == SIZE_MAX;
    if (!is_loose && !is_stopped) changed(code);
    allowed = SIZE_MAX;
    if (!code && !was_loose) {
        memcpy(committed, pending, sizeof committed);
        for (size_t i = 0; i < PHOTOS; i++) committed[i].is_new = 0;
    }
    close_writer();
    if (code) return;
    if (was_loose) {
        host_free(&after);
        return;
    }
    host_free(&host);
    host = after;
    READ(host_open(&host, 1, &error));
    READ(mcad_index_verify(host.index, NULL, &error));
    read_all();
}

int fuzz_calls(void) {
    McadSize size;
    if (!*paths[0]) name_paths();
    host = (Host){.dim = number(2) ? 64 : 8};
    memset(committed, 0, sizeof committed), memset(pending, 0, sizeof pending);
    mcad_limits(&limits);
    limits.level = number((size_t)mcad_level() + 1);
    if (number(2)) limits.cells_from = limits.photos_per_cell = 15, limits.cells_gain = 0;
    budget = SIZE_MAX;
    MUST(!host_open(&host, 1, &error));
    while (left) {
        size_t call = number(12);
        if (call < 6) open_writer();
        switch (call) {
            case 0: add(number(NAMED), 1 + number(4)); break;
            case 1: number(16) ? add(number(NAMED), 1) : add(NAMED, BULK); break;
            case 2: move(); break;
            case 3: delete(); break;
            case 4: set_times(); break;
            case 5: set_words(); break;
            case 6: if (writer) commit(); break;
            case 7: if (!number(4)) close_writer(); break;
            case 8: list_all(1 + number(100)); break;
            case 9: read_all(); break;
            case 10: filter_photos(); break;
            default: budget = number(2) ? number(30) : number(2000);
        }
        mcad_index_size(host.index, &size);
        MUST(size.photos == count_photos(NULL, 0));
    }
    close_writer();
    host_free(&host);
    return 0;
}
