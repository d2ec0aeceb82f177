/* An open index: the segments of a commit. */
#ifndef INDEX_H
#define INDEX_H
#include "words.h"

/* A segment as of a commit: its words, its deleted rows and its tuning. */
typedef struct {
    Segment segment;
    Words words;
    int has_words;
    size_t deleted_count;
    uint32_t *deleted; /* ascending */
    uint64_t *kept;    /* a bit for each row that is not deleted; NULL if none is */
    Count candidates, prescan, cells;
    size_t prescan_bits; /* 0 for none */
} Live;

struct McadIndex {
    Live *lives;
    size_t count, dim, photos;
};

BODY size_t live_photos(const Live *live) { return live->segment.photos - live->deleted_count; }
BODY size_t bit_words(size_t count) { return (count + 63) / 64; }
BODY int has_bit(const uint64_t *bits, size_t i) { return !bits || bits[i / 64] >> i % 64 & 1; }
BODY void clear_bit(uint64_t *bits, size_t i) { bits[i / 64] &= ~(UINT64_C(1) << i % 64); }
BODY void set_bit(uint64_t *bits, size_t i) { bits[i / 64] |= UINT64_C(1) << i % 64; }
/* Bits for `count` rows, all of them set; NULL without memory. */
uint64_t *all_bits(size_t count);
size_t count_bits_set(const uint64_t *bits, size_t count);

/* Return `code`, and say in the error which file of the index it is of. */
BODY int in_file(int code, McadError *error, size_t entry, int is_words) {
    if (code) error->file = (int32_t)(2 * entry + (size_t)is_words);
    return code;
}

int check_sizes(const McadIndex *, McadError *);
/* The row of a path in a segment, deleted or not; MCAD_NONE if it is not there. */
int find_row(PathReader *, Span path, uint32_t *row, McadError *);

/* A query in the frame of a segment, and candidates of it to score. */
typedef struct {
    uint32_t *places;    /* ascending */
    uint16_t *distances; /* NULL if all are scored */
    size_t count;
    double step;
} Chosen;

/* Score places of each segment (`Chosen` of each); `cosines` of each segment have room for its places. */
int score_places(const McadIndex *, const float *rotated, const Chosen *, size_t k, const Limits *, float *const *cosines,
                 McadError *);
/* The cosines of rows of a segment with a rotated query. */
int score_rows(const McadIndex *, size_t entry, const float *rotated, const size_t *rows, size_t count, float *cosines,
               McadError *);
#endif
