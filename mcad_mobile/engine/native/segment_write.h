/* Writes a segment from front to back, except columns and parts ordered by cell. */
#ifndef SEGMENT_WRITE_H
#define SEGMENT_WRITE_H
#include "segment.h"

/* What the photos of a segment are coded around, and how it is searched. */
typedef struct {
    size_t dim, scan_bits, cells;
    uint64_t axis_photos;
    const float *axis, *bit_weights;
    const int16_t *centroids;
} Frame;

typedef struct {
    int file;
    const Frame *frame;
    size_t photos, row;
    uint64_t offsets[PARTS], written[PARTS];
    uint32_t crcs[PARTS];
    uint32_t *starts, *next, *rows; /* with cells: their first places, the next free ones, the row of each place */
    Buffer blocks, last, packed;
    uint32_t *order;                /* of a batch */
    uint8_t *scratch;
} SegmentWriter;

/* Photos by ascending path, with whole records; `cells` is NULL without cells. */
typedef struct {
    size_t count;
    const uint8_t *records;
    const uint32_t *stamps; /* [count][2] */
    const int32_t *times;
    const uint16_t *cells;
    McadStrings paths;
} Batch;

/* Photos of a batch: its records are a few megabytes. */
size_t batch_size(size_t dim);

/* Begin a segment of `photos` photos; `sizes` [cells]: how many photos each cell has. */
int segment_begin(SegmentWriter *, int file, const Frame *, size_t photos, const uint32_t *sizes, McadError *);
int segment_add(SegmentWriter *, const Batch *, McadError *);
/* Write what is left and flush the file. */
int segment_end(SegmentWriter *, uint32_t *header_crc32, McadError *);
void segment_abandon(SegmentWriter *);
#endif
