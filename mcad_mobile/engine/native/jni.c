/* JNI bindings: of mcad_index.h for engine.index.IndexCore in Java, which says what the functions do, and of kernels
 * for engine.photos.Resize, engine.reading.Detector and engine.words.Places. Arguments are checked before they are used
 * to access memory, and are copied. */
#include "kernel.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* JNI functions by their index in its specification, so that compiling needs no JDK. */
typedef void **const *Env;
typedef void *Object;
enum {
    FIND_CLASS = 6, THROW_NEW = 14, DELETE_LOCAL = 23, ARRAY_LENGTH = 171, NEW_OBJECTS = 172, OBJECT_AT = 173,
    SET_OBJECT = 174, NEW_BYTES = 176, NEW_INTS = 179, NEW_LONGS = 180, BYTES = 200, INTS = 203, LONGS = 204,
    FLOATS = 205, DOUBLES = 206, SET_BYTES = 208, SET_INTS = 211, SET_LONGS = 212, SET_FLOATS = 213,
    SET_DOUBLES = 214, BUFFER_ADDRESS = 230, BUFFER_CAPACITY = 231,
};
#define EXPORT __attribute__((visibility("default")))
#define CALL(env, number, type) ((type)(*(env))[number])
typedef void Region(Env, Object, int32_t, int32_t, void *);

/* What a call has allocated, freed at its end, when its error becomes a Java exception. */
typedef struct {
    Env env;
    int failed;
    const char *kind, *message; /* of the exception; NULL if Java has thrown one */
    void *last;
} Call;

static void fail(Call *c, const char *kind, const char *message) {
    if (c->failed) return;
    c->failed = 1;
    c->kind = kind;
    c->message = message;
}

/* Fail with IllegalArgumentException unless `right`; return whether the call has not failed so far. */
static int check(Call *c, int right, const char *message) {
    if (!right) fail(c, "java/lang/IllegalArgumentException", message);
    return !c->failed;
}

static void no_memory(Call *c) { fail(c, "java/lang/OutOfMemoryError", "There is no memory for the index."); }

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
    Object class = c->kind ? CALL(c->env, FIND_CLASS, Object (*)(Env, const char *))(c->env, c->kind) : NULL;
    if (class) CALL(c->env, THROW_NEW, int32_t (*)(Env, Object, const char *))(c->env, class, c->message);
}

static size_t length(Call *c, Object array) {
    if (c->failed || !array) return 0;
    return (size_t)CALL(c->env, ARRAY_LENGTH, int32_t (*)(Env, Object))(c->env, array);
}

/* A copy of an array of exactly `count` numbers, and a zero. */
static void *numbers(Call *c, Object array, int region, size_t size, size_t count, const char *name) {
    if (!check(c, array && length(c, array) == count, name)) return NULL;
    void *copy = take(c, count + 1, size);
    if (copy) CALL(c->env, region, Region *)(c->env, array, 0, (int32_t)count, copy);
    return copy;
}

/* Copy numbers to the start of an array. */
static void set(Call *c, Object array, int region, size_t count, const void *from) {
    if (!c->failed) CALL(c->env, region, Region *)(c->env, array, 0, (int32_t)count, (void *)from);
}

static void forget(Call *c, Object object) {
    if (object) CALL(c->env, DELETE_LOCAL, void (*)(Env, Object))(c->env, object);
}

static Object at(Call *c, Object array, size_t index) {
    return CALL(c->env, OBJECT_AT, Object (*)(Env, Object, int32_t))(c->env, array, (int32_t)index);
}

static void set_at(Call *c, Object array, size_t index, Object object) {
    if (!c->failed)
        CALL(c->env, SET_OBJECT, void (*)(Env, Object, int32_t, Object))(c->env, array, (int32_t)index, object);
    forget(c, object);
}

/* A new array of numbers; NULL if there is no memory for it. */
static Object new_array(Call *c, int kind, int region, uint64_t count, const void *from) {
    if (count > INT32_MAX) no_memory(c);
    Object made = c->failed ? NULL : CALL(c->env, kind, Object (*)(Env, int32_t))(c->env, (int32_t)count);
    if (made) set(c, made, region, (size_t)count, from);
    else c->failed = 1;
    return made;
}

/* The bytes of a direct buffer, at least `size`, aligned to 8. */
static void *buffer(Call *c, Object object, size_t size, const char *name) {
    if (!check(c, object != NULL, name)) return NULL;
    void *bytes = CALL(c->env, BUFFER_ADDRESS, void *(*)(Env, Object))(c->env, object);
    int64_t capacity = CALL(c->env, BUFFER_CAPACITY, int64_t (*)(Env, Object))(c->env, object);
    int fits = bytes && (uintptr_t)bytes % 8 == 0 && capacity >= 0 && (size_t)capacity >= size;
    return check(c, fits, name) ? bytes : NULL;
}

/* A copy of the texts of a byte[][], of which none is null. */
static McadStrings strings(Call *c, Object array, const char *name) {
    McadStrings all = {.count = check(c, array != NULL, name) ? length(c, array) : 0};
    size_t size = 0;
    for (size_t i = 0; i < all.count && !c->failed; i++) {
        Object text = at(c, array, i);
        check(c, text != NULL, name);
        size += length(c, text);
        forget(c, text);
    }
    uint8_t *data = take(c, size + 1, 1);
    uint64_t *ends = take(c, all.count + 1, sizeof *ends), end = 0;
    for (size_t i = 0; i < all.count && !c->failed; i++) {
        Object text = at(c, array, i);
        size_t more = length(c, text);
        if (check(c, text && more <= size - end, name)) /* another thread may have changed it */
            CALL(c->env, BYTES, Region *)(c->env, text, 0, (int32_t)more, data + end);
        ends[i] = end += more;
        forget(c, text);
    }
    all.data = data;
    all.ends = ends;
    return all;
}

/* Texts as a byte[][]; frees them. */
static Object texts(Call *c, McadStrings *all) {
    Object class = c->failed ? NULL : CALL(c->env, FIND_CLASS, Object (*)(Env, const char *))(c->env, "[B");
    Object made = class ? CALL(c->env, NEW_OBJECTS, Object (*)(Env, int32_t, Object, Object))(
                              c->env, (int32_t)all->count, class, NULL)
                        : NULL;
    if (!made) c->failed = 1;
    uint64_t start = 0;
    for (size_t i = 0; i < all->count && !c->failed; start = all->ends[i++])
        set_at(c, made, i, new_array(c, NEW_BYTES, SET_BYTES, all->ends[i] - start, all->data + start));
    mcad_strings_free(all);
    return c->failed ? NULL : made;
}

#define INDEX(result, name, ...) \
    EXPORT result Java_io_github_mcadmobile_engine_index_IndexCore_##name(Env env, Object class, __VA_ARGS__)
/* Start a call of a function that may set `found`, and end it. */
#define BEGIN \
    Call c = {.env = env}; \
    McadError found = {0}; \
    (void)class, (void)found
#define END(result) return ({ __typeof__(result) end = (result); finish(&c); end; })

/* An open index, with what arguments are checked against. */
typedef struct {
    McadIndex *index;
    size_t dim, segments;
    uint64_t photos[]; /* [segments] */
} OpenIndex;

typedef struct {
    McadWriter *writer;
    size_t dim, entries;
    size_t listed; /* names of entry `listed_of` */
    int spool, is_planned, listed_of;
} OpenWriter;

/* What a handle points to; `error` has room for an error. */
static void *handle(Call *c, int64_t pointer, Object error) {
    check(c, length(c, error) == 6, "error");
    return check(c, pointer != 0, "handle") ? (void *)(intptr_t)pointer : NULL;
}

/* Fail, or tell Java of an error of C. */
static void tell(Call *c, Object error, int code, const McadError *found) {
    if (code == MCAD_NO_MEMORY) no_memory(c);
    if (code == MCAD_DONE || c->failed) return;
    int64_t values[] = {code, found->file, found->values[0], found->values[1], found->values[2], 0};
    memcpy(values + 5, &found->number, sizeof found->number);
    set(c, error, SET_LONGS, 6, values);
}

/* Whether to stop, by an int32 or NULL. */
static int asked(void *host) { return host && __atomic_load_n((int32_t *)host, __ATOMIC_RELAXED); }

/* The path of a file, without zeros. */
static const char *path_of(Call *c, Object path) {
    size_t size = length(c, path);
    const char *name = numbers(c, path, BYTES, 1, size, "path");
    return check(c, name && size && strlen(name) == size, "path") ? name : NULL;
}

/* Open a regular file without waiting for the other end of a pipe. A negative error number if that fails. */
static int open_file(const char *path) {
    struct stat status;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file < 0) return -errno;
    if (!fstat(file, &status) && S_ISREG(status.st_mode)) return file;
    close(file);
    return -EINVAL;
}

/* Create a file that this app alone may read; tell Java if that fails. */
static int create_file(Call *c, const char *path, Object error) {
    int file = c->failed ? -1 : open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    McadError found = {MCAD_NOT_WRITTEN, MCAD_NEW_FILE, {errno}, 0};
    if (file < 0 && !c->failed) tell(c, error, found.code, &found);
    return file;
}

/* Rows of photos that an index has. */
static const McadRow *rows_of(Call *c, const OpenIndex *open, Object array, size_t *count) {
    *count = length(c, array);
    const McadRow *rows = numbers(c, array, LONGS, sizeof *rows, *count, "rows");
    for (size_t i = 0; i < *count && !c->failed; i++)
        check(c, rows[i].segment < open->segments && rows[i].row < open->photos[rows[i].segment], "rows");
    return rows;
}

INDEX(Object, reason, int32_t number) {
    BEGIN;
    const char *words = strerror(number);
    END(new_array(&c, NEW_BYTES, SET_BYTES, strlen(words), words));
}

/* The entries of a commit, whose files are opened here: return 0 if one was not, and tell Java. */
static int open_entries(Call *c, Object files, McadEntry *entries, size_t count, Object error) {
    for (size_t i = 0; i < 2 * count && !c->failed; i++) {
        Object path = at(c, files, i);
        const char *name = path || i % 2 == 0 ? path_of(c, path) : NULL;
        forget(c, path);
        int file = name ? open_file(name) : -1;
        McadError found = {MCAD_NOT_READ, (int32_t)i, {-file}, 0};
        if (name && file < 0) {
            tell(c, error, found.code, &found);
            return 0;
        }
        *(i % 2 ? &entries[i / 2].words : &entries[i / 2].file) = file;
    }
    return !c->failed;
}

INDEX(int64_t, openIndex, Object files, Object shapes, Object deleted, Object counts, int32_t dim, Object error) {
    BEGIN;
    size_t count = length(&c, deleted);
    check(&c, deleted && files && length(&c, files) == 2 * count, "files");
    check(&c, dim > 0 && dim % 8 == 0 && dim <= MOST_DIM, "dim");
    check(&c, length(&c, error) == 6, "error");
    const int64_t *shape = numbers(&c, shapes, LONGS, sizeof *shape, 4 * count, "numbers");
    const McadCount *of = numbers(&c, counts, DOUBLES, sizeof(double), 9 * count, "counts");
    McadEntry *entries = take(&c, count + 1, sizeof *entries);
    for (size_t i = 0; entries && i < count; i++) entries[i].file = entries[i].words = -1;
    for (size_t i = 0; i < count && !c.failed; i++, shape += 4, of += 3) {
        check(&c, shape[2] > 0 && shape[2] < UINT32_MAX && shape[3] >= 0, "numbers");
        Object gone = at(&c, deleted, i);
        size_t rows = length(&c, gone);
        const uint32_t *row = numbers(&c, gone, INTS, sizeof *row, rows, "deleted");
        for (size_t j = 0; j < rows && !c.failed; j++)
            check(&c, row[j] < (uint64_t)shape[2] && (j == 0 || row[j - 1] < row[j]), "deleted");
        forget(&c, gone);
        entries[i] = (McadEntry){-1, -1, (uint32_t)shape[0], shape[1] != 0, (uint64_t)shape[2], rows,
                                 (uint64_t)shape[3], row, of[0], of[1], of[2]};
    }
    OpenIndex *open = c.failed ? NULL : calloc(1, sizeof *open + count * sizeof *open->photos);
    if (!open) no_memory(&c);
    int is_open = !c.failed && open_entries(&c, files, entries, count, error);
    if (is_open) {
        *open = (OpenIndex){.dim = (size_t)dim, .segments = count};
        for (size_t i = 0; i < count; i++) open->photos[i] = entries[i].photos;
        int code = mcad_index_open(entries, count, (size_t)dim, 1, &open->index, &found);
        tell(&c, error, code, &found);
        is_open = code == MCAD_DONE;
    } else if (entries)
        for (size_t i = 0; i < count; i++) close(entries[i].file), close(entries[i].words); /* -1 is no file */
    if (!is_open) free(open), open = NULL;
    END((intptr_t)open);
}

INDEX(void, closeIndex, int64_t index) {
    OpenIndex *open = (void *)(intptr_t)index;
    (void)env, (void)class;
    if (open) mcad_index_close(open->index);
    free(open);
}

INDEX(int32_t, verify, int64_t index, Object stop, Object error) {
    BEGIN;
    OpenIndex *open = handle(&c, index, error);
    McadStop asks = {asked, stop ? buffer(&c, stop, sizeof(int32_t), "stop") : NULL};
    if (!c.failed) tell(&c, error, mcad_index_verify(open->index, &asks, &found), &found);
    END(0);
}

INDEX(Object, size, int64_t index) {
    BEGIN;
    McadSize size = {0};
    OpenIndex *open = (void *)(intptr_t)index;
    if (check(&c, open != NULL, "index")) mcad_index_size(open->index, &size);
    int64_t values[] = {(int64_t)size.photos, (int64_t)size.bytes, size.has_words};
    END(new_array(&c, NEW_LONGS, SET_LONGS, 3, values));
}

INDEX(Object, find, int64_t index, Object paths, Object error) {
    BEGIN;
    OpenIndex *open = handle(&c, index, error);
    McadStrings wanted = strings(&c, paths, "paths");
    McadRow *rows = take(&c, wanted.count + 1, sizeof *rows);
    if (!c.failed) tell(&c, error, mcad_index_find(open->index, &wanted, rows, &found), &found);
    END(new_array(&c, NEW_LONGS, SET_LONGS, wanted.count, rows));
}

INDEX(Object, paths, int64_t index, Object rows, Object error) {
    BEGIN;
    McadStrings paths = {0};
    OpenIndex *open = handle(&c, index, error);
    size_t count;
    const McadRow *wanted = rows_of(&c, open, rows, &count);
    if (!c.failed) tell(&c, error, mcad_index_paths(open->index, wanted, count, &paths, &found), &found);
    END(texts(&c, &paths));
}

INDEX(Object, list, int64_t index, Object after, Object rows, Object error) {
    BEGIN;
    McadStrings paths = {0};
    OpenIndex *open = handle(&c, index, error);
    size_t size = length(&c, after), most = length(&c, rows);
    uint64_t ends[] = {0, size}; /* any prefix */
    McadStrings wanted = {numbers(&c, after, BYTES, 1, size, "after"), ends, 2};
    McadRow *listed = take(&c, most + 1, sizeof *listed);
    check(&c, most > 0, "rows");
    if (!c.failed) tell(&c, error, mcad_index_list(open->index, &wanted, most, listed, &paths, &found), &found);
    set(&c, rows, SET_LONGS, paths.count, listed);
    END(texts(&c, &paths));
}

/* Room for `count` numbers that go to an array with as many or more; NULL without an array. */
static void *room(Call *c, Object array, size_t count, size_t size, const char *name) {
    if (!array || !check(c, length(c, array) >= count, name)) return NULL;
    return take(c, count + 1, size);
}

INDEX(int32_t, photos, int64_t index, Object rows, Object stamps, Object is_read, Object embeddings, Object error) {
    BEGIN;
    OpenIndex *open = handle(&c, index, error);
    size_t count, width = c.failed ? 0 : open->dim;
    const McadRow *wanted = rows_of(&c, open, rows, &count);
    McadPhotos p = {.stamps = room(&c, stamps, 2 * count, sizeof *p.stamps, "stamps")};
    p.is_read = room(&c, is_read, count, 1, "isRead");
    p.embeddings = room(&c, embeddings, count * width, sizeof *p.embeddings, "embeddings");
    if (!c.failed) tell(&c, error, mcad_index_photos(open->index, wanted, count, &p, &found), &found);
    if (stamps) set(&c, stamps, SET_INTS, 2 * count, p.stamps);
    if (is_read) set(&c, is_read, SET_BYTES, count, p.is_read);
    if (embeddings) set(&c, embeddings, SET_FLOATS, count * width, p.embeddings);
    END((int32_t)count);
}

INDEX(int64_t, openFilter, int64_t index, Object rows, Object place, Object count, Object error) {
    BEGIN;
    OpenIndex *open = handle(&c, index, error);
    McadChoice choice = {.first = INT64_MIN, .end = INT64_MAX, .place = strings(&c, place, "place")};
    const uint64_t **bits = rows && !c.failed ? take(&c, open->segments + 1, sizeof *bits) : NULL;
    check(&c, !rows || c.failed || length(&c, rows) == open->segments, "rows");
    for (size_t i = 0; bits && i < open->segments && !c.failed; i++) {
        Object of = at(&c, rows, i);
        bits[i] = numbers(&c, of, LONGS, sizeof **bits, (size_t)(open->photos[i] + 63) / 64, "rows");
        forget(&c, of);
    }
    choice.rows = bits;
    check(&c, length(&c, count) == 1, "count");
    McadFilter *made = NULL;
    size_t passing = 0;
    const McadChoice *chosen = bits || choice.place.count ? &choice : NULL;
    if (!c.failed) tell(&c, error, mcad_filter_open(open->index, chosen, &made, &passing, &found), &found);
    int64_t value = (int64_t)passing;
    set(&c, count, SET_LONGS, 1, &value);
    END((intptr_t)made);
}

INDEX(void, closeFilter, int64_t filter) {
    (void)env, (void)class;
    if (filter) mcad_filter_close((void *)(intptr_t)filter);
}

INDEX(int32_t, search, int64_t index, int64_t filter, Object query, uint8_t exact, Object rows, Object scores,
      Object scan_ms, Object error) {
    BEGIN;
    OpenIndex *open = handle(&c, index, error);
    McadFilter *among = handle(&c, filter, error);
    size_t count = length(&c, rows);
    double ms = 0;
    check(&c, count > 0 && length(&c, scores) == count, "scores");
    check(&c, length(&c, scan_ms) == 1, "scanMs");
    const float *vector = numbers(&c, query, FLOATS, sizeof *vector, c.failed ? 0 : open->dim, "query");
    McadRow *best = take(&c, count, sizeof *best);
    float *cosines = take(&c, count, sizeof *cosines);
    int code = c.failed ? MCAD_NO_MEMORY : mcad_search(among, vector, exact, NULL, best, cosines, &count, &ms, &found);
    tell(&c, error, code, &found);
    if (code != MCAD_DONE) count = 0;
    set(&c, rows, SET_LONGS, count, best);
    set(&c, scores, SET_FLOATS, count, cosines);
    set(&c, scan_ms, SET_DOUBLES, 1, &ms);
    END((int32_t)count);
}

static McadTerms terms_of(Call *c, Object words, Object modes) {
    McadTerms terms = {.words = strings(c, words, "terms")};
    terms.modes = numbers(c, modes, BYTES, 1, terms.words.count, "modes");
    return terms;
}

INDEX(int32_t, searchWords, int64_t index, int64_t filter, Object words, Object modes, Object near, Object rows,
      Object shares, Object cosines, Object error) {
    BEGIN;
    OpenIndex *open = handle(&c, index, error);
    McadFilter *among = handle(&c, filter, error);
    size_t count = length(&c, rows);
    check(&c, count > 0 && length(&c, shares) == count, "shares");
    check(&c, length(&c, cosines) == count, "cosines");
    McadTerms terms = terms_of(&c, words, modes);
    const float *vector = near && !c.failed ? numbers(&c, near, FLOATS, sizeof *vector, open->dim, "near") : NULL;
    McadRow *best = take(&c, count, sizeof *best);
    float *share = take(&c, count, sizeof *share), *cosine = take(&c, count, sizeof *cosine);
    int code = MCAD_NO_MEMORY;
    if (!c.failed) code = mcad_words_search(among, &terms, vector, best, share, &count, cosine, &found);
    tell(&c, error, code, &found);
    if (code != MCAD_DONE) count = 0;
    set(&c, rows, SET_LONGS, count, best);
    set(&c, shares, SET_FLOATS, count, share);
    set(&c, cosines, SET_FLOATS, count, cosine);
    END((int32_t)count);
}

INDEX(Object, readWords, int64_t index, Object rows, Object error) {
    BEGIN;
    McadStrings records = {0};
    OpenIndex *open = handle(&c, index, error);
    size_t count;
    const McadRow *wanted = rows_of(&c, open, rows, &count);
    if (!c.failed) tell(&c, error, mcad_words_read(open->index, wanted, count, &records, &found), &found);
    END(texts(&c, &records));
}

INDEX(Object, alike, Object words, Object modes, Object given) {
    BEGIN;
    McadTerms terms = terms_of(&c, words, modes);
    McadStrings others = strings(&c, given, "words");
    uint8_t *alike = take(&c, others.count + 1, 1);
    if (!c.failed) mcad_words_alike(&terms, &others, alike);
    END(new_array(&c, NEW_BYTES, SET_BYTES, others.count, alike));
}

static void close_writer(OpenWriter *open) {
    if (!open) return;
    if (open->writer) mcad_writer_close(open->writer);
    close(open->spool); /* -1 is no file */
    free(open);
}

INDEX(int64_t, openWriter, int64_t index, Object spool, int32_t cells_from, double cells_gain, Object error) {
    BEGIN;
    McadLimits limits;
    OpenIndex *of = handle(&c, index, error);
    const char *path = path_of(&c, spool);
    mcad_limits(&limits);
    if (cells_from >= 0) limits.cells_from = (size_t)cells_from;
    if (cells_gain >= 0) limits.cells_gain = cells_gain;
    OpenWriter *open = c.failed ? NULL : calloc(1, sizeof *open);
    if (!open) no_memory(&c);
    int code = MCAD_NOT_WRITTEN;
    if (open) {
        unlink(path); /* of a process that was killed here */
        *open = (OpenWriter){.dim = of->dim, .entries = of->segments, .listed_of = -1};
        open->spool = create_file(&c, path, error);
        if (open->spool >= 0) {
            unlink(path);
            code = mcad_writer_open(of->index, open->spool, &limits, &open->writer, &found);
            tell(&c, error, code, &found);
        }
    }
    if (code != MCAD_DONE) close_writer(open), open = NULL;
    END((intptr_t)open);
}

INDEX(void, closeWriter, int64_t writer) {
    (void)env, (void)class;
    close_writer((void *)(intptr_t)writer);
}

/* A writer that takes changes, or one that has planned its commit. */
static OpenWriter *writer_of(Call *c, int64_t pointer, int is_planned, Object error) {
    OpenWriter *open = handle(c, pointer, error);
    check(c, c->failed || open->is_planned == is_planned, "writer");
    return open;
}

INDEX(int32_t, add, int64_t writer, Object paths, Object embeddings, Object stamps, Object times, Object error) {
    BEGIN;
    OpenWriter *open = writer_of(&c, writer, 0, error);
    McadStrings photos = strings(&c, paths, "paths");
    size_t count = photos.count, width = c.failed ? 0 : open->dim;
    const float *vectors = numbers(&c, embeddings, FLOATS, sizeof *vectors, count * width, "embeddings");
    const uint32_t *states = numbers(&c, stamps, INTS, sizeof *states, 2 * count, "stamps");
    const int32_t *minutes = numbers(&c, times, INTS, sizeof *minutes, count, "times");
    if (!c.failed) tell(&c, error, mcad_writer_add(open->writer, &photos, vectors, states, minutes, &found), &found);
    END(0);
}

INDEX(int64_t, move, int64_t writer, Object from, Object to, Object stamps, Object error) {
    BEGIN;
    size_t moved = 0;
    OpenWriter *open = writer_of(&c, writer, 0, error);
    McadStrings old = strings(&c, from, "from"), new = strings(&c, to, "to");
    check(&c, old.count == new.count, "to");
    const uint32_t *states = numbers(&c, stamps, INTS, sizeof *states, 2 * old.count, "stamps");
    if (!c.failed) tell(&c, error, mcad_writer_move(open->writer, &old, &new, states, &moved, &found), &found);
    END((int64_t)moved);
}

INDEX(int64_t, delete, int64_t writer, Object files, Object error) {
    BEGIN;
    size_t deleted = 0;
    OpenWriter *open = writer_of(&c, writer, 0, error);
    McadStrings gone = strings(&c, files, "files");
    if (!c.failed) tell(&c, error, mcad_writer_delete(open->writer, &gone, &deleted, &found), &found);
    END((int64_t)deleted);
}

INDEX(int64_t, setWords, int64_t writer, Object paths, Object records, Object error) {
    BEGIN;
    size_t known = 0;
    OpenWriter *open = writer_of(&c, writer, 0, error);
    McadStrings photos = strings(&c, paths, "paths"), words = strings(&c, records, "records");
    check(&c, photos.count == words.count, "records");
    if (!c.failed) tell(&c, error, mcad_writer_set_words(open->writer, &photos, &words, &known, &found), &found);
    END((int64_t)known);
}

INDEX(Object, plan, int64_t writer, Object fates, Object deleted, Object error) {
    BEGIN;
    McadPlan plan = {0};
    OpenWriter *open = writer_of(&c, writer, 0, error);
    check(&c, c.failed || (fates && length(&c, fates) == open->entries), "fates");
    check(&c, c.failed || (deleted && length(&c, deleted) == open->entries), "deleted");
    int code = c.failed ? MCAD_NO_MEMORY : mcad_writer_plan(open->writer, 0, 0, &plan, &found);
    tell(&c, error, code, &found);
    if (code == MCAD_DONE) {
        open->is_planned = 1;
        set(&c, fates, SET_BYTES, open->entries, plan.fates);
        for (size_t i = 0; i < open->entries && !c.failed; i++)
            if (plan.fates[i] != MCAD_MERGED)
                set_at(&c, deleted, i, new_array(&c, NEW_INTS, SET_INTS, plan.deleted_counts[i], plan.deleted[i]));
    }
    int64_t values[] = {plan.is_changed, plan.has_words, (int64_t)plan.photos};
    END(new_array(&c, NEW_LONGS, SET_LONGS, 3, values));
}

INDEX(int32_t, writeSegment, int64_t writer, Object file, Object stop, Object shape, Object counts, Object error) {
    BEGIN;
    McadEntry entry = {0};
    OpenWriter *open = writer_of(&c, writer, 1, error);
    McadStop asks = {asked, stop ? buffer(&c, stop, sizeof(int32_t), "stop") : NULL};
    check(&c, length(&c, shape) == 4, "numbers");
    check(&c, length(&c, counts) == 9, "counts");
    const char *path = path_of(&c, file);
    int out = create_file(&c, path, error);
    if (out >= 0) {
        tell(&c, error, mcad_writer_segment(open->writer, out, &asks, &entry, &found), &found);
        close(out);
    }
    int64_t values[] = {entry.header_crc32, entry.has_cells, (int64_t)entry.photos, (int64_t)entry.prescan_bits};
    McadCount all[] = {entry.candidates, entry.prescan, entry.cells};
    set(&c, shape, SET_LONGS, 4, values);
    set(&c, counts, SET_DOUBLES, 9, all);
    END(0);
}

INDEX(Object, names, int64_t writer, int32_t entry, Object error) {
    BEGIN;
    McadStrings files = {0};
    OpenWriter *open = writer_of(&c, writer, 1, error);
    check(&c, c.failed || (entry >= 0 && (size_t)entry <= open->entries), "entry");
    if (!c.failed) {
        int code = mcad_writer_names(open->writer, (size_t)entry, &files, &found);
        tell(&c, error, code, &found);
        open->listed = files.count;
        open->listed_of = code == MCAD_DONE ? entry : -1;
    }
    END(texts(&c, &files));
}

INDEX(int32_t, writeWords, int64_t writer, int32_t entry, Object names, Object file, Object error) {
    BEGIN;
    OpenWriter *open = writer_of(&c, writer, 1, error);
    McadStrings terms = strings(&c, names, "names");
    check(&c, c.failed || (entry >= 0 && entry == open->listed_of && terms.count == open->listed), "names");
    const char *path = path_of(&c, file);
    int out = create_file(&c, path, error);
    if (out >= 0) {
        tell(&c, error, mcad_writer_words(open->writer, (size_t)entry, &terms, out, &found), &found);
        close(out);
    }
    END(0);
}

EXPORT int32_t Java_io_github_mcadmobile_engine_base_NativeLibrary_layout(Env env, Object class) {
    (void)env, (void)class;
    return mcad_layout();
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
    BEGIN;
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
    BEGIN;
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

/* Of each line of a coordinate's names, its start in the table and its bytes; NULL if the table is damaged. */
EXPORT Object Java_io_github_mcadmobile_engine_words_Places_near(
    Env env, Object class, Object table, double latitude, double longitude, double cosine) {
    BEGIN;
    const uint8_t *data = buffer(&c, table, 0, "table");
    int64_t size = c.failed ? 0 : CALL(env, BUFFER_CAPACITY, int64_t (*)(Env, Object))(env, table);
    uint32_t spans[8];
    int lines = c.failed ? -1 : mcad_places_near(data, (size_t)size, latitude, longitude, cosine, spans);
    Object made = lines < 0 ? NULL : new_array(&c, NEW_INTS, SET_INTS, 2 * (uint64_t)lines, spans);
    finish(&c);
    return made;
}

/* Find boxes in a map [height][width] of floats; how many were written to `boxes` [most][9]. */
EXPORT int32_t Java_io_github_mcadmobile_engine_reading_Detector_boxes(
    Env env, Object class, Object map, int32_t width, int32_t height, Object boxes) {
    BEGIN;
    size_t most = length(&c, boxes) / 9, wide = (size_t)width, high = (size_t)height;
    check(&c, width > 0 && width <= MOST_MAP_SIDE, "width");
    check(&c, height > 0 && height <= MOST_MAP_SIDE && (c.failed || high * wide <= MOST_MAP_AREA), "height");
    check(&c, most > 0, "boxes");
    const float *probabilities = c.failed ? NULL : buffer(&c, map, high * wide * sizeof *probabilities, "map");
    float *made = take(&c, 9 * most, sizeof *made);
    int64_t count = 0;
    if (!c.failed && (count = mcad_boxes(probabilities, wide, high, most, made)) < 0) no_memory(&c);
    set(&c, boxes, SET_FLOATS, 9 * most, made);
    finish(&c);
    return (int32_t)count;
}
