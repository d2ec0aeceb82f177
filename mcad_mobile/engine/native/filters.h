/* The photos of an index that a search may find. */
#ifndef FILTERS_H
#define FILTERS_H
#include "index.h"

/* Those of a segment: rows from `first` to before `end` whose bit is set. With cells, the bits of a cell's places are set
 * when it is first probed; rows ascend in a cell, so there a range of rows is one of places. */
typedef struct {
    size_t first, end, count;
    int is_all;
    uint64_t *row_bits, *place_bits; /* NULL if all in the range pass; the same without cells */
    uint32_t *from, *until;          /* [cells]: the range of places that may pass */
    int32_t *counts;                 /* [cells]: how many pass; negative until the cell is probed */
} Passing;

struct McadFilter {
    const McadIndex *index;
    Passing *of; /* [segments] */
};

/* The places of the first cells in `order`, which this sorts, that hold `enough` photos that pass, as `spans`, with room
 * for one a cell and one more: first place, place after the last. */
int passing_spans(const Segment *, Passing *, int64_t *order, size_t enough, uint64_t *spans, size_t *count, McadError *);
/* All `count` places that pass, ascending. */
int passing_places(const Segment *, Passing *, uint32_t *places, McadError *);
#endif
