/* Four threads on one open index, each with filters of its own: what is made when it is first needed is needed by all at
 * once. ThreadSanitizer watches; compiled with the system's allocator, as the one that fails is not made for threads. */
#include "fuzz.h"
#include <pthread.h>

enum { THREADS = 4, PHOTOS = 320, DIM = 64, K = 20 };

typedef struct {
    const McadIndex *index;
    pthread_barrier_t *all;
    size_t number, found;
    float *embeddings, scores[2 * K];
    McadRow rows[PHOTOS], best[2 * K];
    McadStrings records;
} Reader;

static void read_index(Reader *r, size_t what) {
    McadError error;
    McadFilter *filter;
    size_t count, found = K;
    double milliseconds;
    const McadPhotos photos = {.embeddings = r->embeddings};
    McadStrings words = {0};
    float query[DIM];
    embed(3, DIM, query);
    put(&words, "w3", 2);
    const McadTerms terms = {words, (const uint8_t *)"\3"};
    MUST(!mcad_filter_open(r->index, NULL, &filter, &count, &error) && count == PHOTOS);
    if (what == 0) MUST(!mcad_words_read(r->index, r->rows, PHOTOS, &r->records, &error));
    if (what == 1) MUST(!mcad_index_photos(r->index, r->rows, PHOTOS, &photos, &error));
    if (what == 2) MUST(!mcad_search(filter, query, 0, NULL, r->best, r->scores, &found, &milliseconds, &error));
    if (what == 3) MUST(!mcad_words_search(filter, &terms, query, r->best + K, r->scores + K, &found, NULL, &error));
    if (what >= 2) r->found += found;
    mcad_filter_close(filter);
    drop(&words);
}

static void *read_all(void *own) {
    Reader *r = own;
    for (uint32_t i = 0; i < PHOTOS; i++) r->rows[i] = (McadRow){0, i};
    pthread_barrier_wait(r->all);
    for (size_t i = 0; i < 4; i++) read_index(r, (r->number / 2 + i) % 4); /* two at the same */
    return NULL;
}

int fuzz_threads(void) {
    static Host h;
    McadError error;
    pthread_t threads[THREADS];
    pthread_barrier_t all;
    Reader *readers = calloc(THREADS, sizeof *readers);
    if (!h.count) make_index(&h, DIM, PHOTOS, 1);
    MUST(h.entries[0].has_cells && !host_open(&h, 1, &error) && !pthread_barrier_init(&all, NULL, THREADS));
    for (size_t i = 0; i < THREADS; i++) {
        readers[i] = (Reader){.index = h.index, .all = &all, .number = i, .embeddings = malloc(PHOTOS * DIM * sizeof(float))};
        MUST(!pthread_create(threads + i, NULL, read_all, readers + i));
    }
    for (size_t i = 0; i < THREADS; i++) {
        Reader *r = readers + i;
        MUST(!pthread_join(threads[i], NULL) && r->found == readers->found);
        MUST(!memcmp(r->best, readers->best, sizeof r->best) && !memcmp(r->scores, readers->scores, sizeof r->scores));
        MUST(!memcmp(r->embeddings, readers->embeddings, PHOTOS * DIM * sizeof(float)));
        MUST(!memcmp(r->records.data, readers->records.data, readers->records.ends[PHOTOS - 1]));
    }
    for (size_t i = 0; i < THREADS; i++) free(readers[i].embeddings), mcad_strings_free(&readers[i].records);
    pthread_barrier_destroy(&all);
    mcad_index_close(h.index);
    free(readers);
    return 0;
}
