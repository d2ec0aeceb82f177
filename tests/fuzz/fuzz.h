/* What the fuzzed programs share: the input, an allocator that fails, and a host of indexes in memory. */
#undef malloc
#undef calloc
#undef realloc
#include "segment.h"
#include <stdio.h>
#include <stdlib.h>

/* Say where, and end the run. */
#define MUST(right) \
    do { \
        if (!(right)) fprintf(stderr, "%s:%d: not %s\n", __FILE__, __LINE__, #right), abort(); \
    } while (0)

/* ---- driver.c ---- */

extern size_t allowed; /* allocations of the core before one fails */
extern int ran_out;
extern const uint8_t *rest;
extern size_t left;

size_t number(size_t below);           /* of one byte of the input, or two; 0 after its end */
void take(void *into, size_t size);    /* bytes of the input, zeros after its end */

/* Each runs an input, and returns MCAD_DONE or the code of the first error. */
int fuzz_segment(void), fuzz_words(void), fuzz_places(void), fuzz_calls(void), fuzz_kernels(void), fuzz_threads(void);

/* ---- host.c ---- */

#define MOST_SEGMENTS 64

/* An index whose files are in memory; they and the deleted rows are the host's own. */
typedef struct {
    size_t dim, count;
    McadEntry entries[MOST_SEGMENTS];
    McadIndex *index;
} Host;

int new_file(const void *data, size_t size);
int host_open(Host *, int is_tuned, McadError *);
void host_free(Host *);
/* Commit changes to an index `after`, not open; `how` & 1 merges all segments, & 2 tunes anew. */
int host_commit(const Host *, McadWriter *, int how, const McadStop *, Host *after, McadError *);
/* Make an index of photos a/0000.jpg and so on, every other one with words; with `cells`, in cells. */
void make_index(Host *, size_t dim, size_t photos, int cells);

void put(McadStrings *, const void *text, size_t size);
void drop(McadStrings *);
void embed(uint32_t seed, size_t dim, float *embedding); /* of length 1 */
/* The record of a sign "w<words>", in Lisbon if odd; the bytes before its terms. */
size_t put_record(McadStrings *, unsigned words);
/* Call all that reads an index, then write it anew with a photo more. Return the first error. */
int use_index(const Host *);
