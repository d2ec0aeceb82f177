/* An open segment, and the reader of its paths. */
#ifndef SEGMENT_H
#define SEGMENT_H
#include "files.h"
#include <pthread.h>

#define ALIGNMENT 4096
#define HEADER ALIGNMENT
#define CRC_AT (HEADER - 4)
#define PARTS_AT 40
#define PART_SIZE 24
#define SEGMENT_MAGIC "MCADSEG1"
#define PATHS_A_BLOCK 16
#define MOST_PATH 65535
#define MOST_SHARED 255
#define PATH_HEAD 3 /* bytes shared, and uint16 bytes that follow */
#define NO_TIME INT32_MIN

enum { AXIS, BIT_WEIGHTS, CENTROIDS, STARTS, ROWS, COLUMNS, RECORDS, TIMES, STAMPS, PATH_BLOCKS, PATHS, PARTS };

/* The parts' lengths; of the paths 0, as they have any. */
void part_lengths(size_t dim, size_t scan_bits, size_t cells, uint64_t photos, uint64_t lengths[PARTS]);
BODY uint64_t aligned(uint64_t offset) { return (offset + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

/* Bytes of a record: a whole one, as codes.c makes it, and a stored one, which lacks the bits in columns. */
BODY size_t whole_size(size_t dim) { return dim + dim / 8 + 4; }
BODY size_t record_size(size_t dim, size_t scan_bits) { return whole_size(dim) - scan_bits / 8; }

/* Records, stamps and paths are read at offsets: a search needs few of them, but a page fault maps 16 pages, so nearly
 * all would count as this process's memory. The rest is mapped, and was checked when the segment was opened. */
typedef struct {
    int file;
    uint64_t size, offsets[PARTS], lengths[PARTS];
    uint32_t crcs[PARTS], header_crc32;
    uint8_t *map;
    size_t dim, photos, scan_bits, cells;
    uint64_t axis_photos;
    const float *axis, *bit_weights;
    const int16_t *centroids;
    uint32_t *starts;          /* [cells + 1], a copy; NULL without cells */
    const uint32_t *rows;      /* [photos]: of each place; check_row() each */
    const uint64_t *columns;   /* [scan_bits / 64][photos] */
    const int32_t *times;
    uint32_t *places;          /* [photos]: of each row, or NULL until needed */
    pthread_mutex_t finding;   /* them */
} Segment;

int segment_open(Segment *, int file, McadError *);
void segment_close(Segment *);
int segment_verify(Segment *, const McadStop *, McadError *);
/* Check that the file is as long as when it was opened: reading a missing part of the map would end the process. */
int segment_check_size(const Segment *, McadError *);

/* The row of a place, and the place of a row. */
int row_at(const Segment *, size_t place, size_t *row, McadError *);
int place_of(Segment *, size_t row, size_t *place, McadError *);
size_t cell_at(const Segment *, size_t place);

/* Read whole records of places, or the embeddings [count][dim], rotated, that they stand for. */
int read_records(const Segment *, const size_t *places, size_t count, uint8_t *records, McadError *);
int read_embeddings(Segment *, const size_t *rows, size_t count, float *embeddings, McadError *);
int read_stamps(const Segment *, size_t row, uint32_t stamps[2], McadError *);

/* Reads paths, fastest in the order of rows. Zeros to begin with. */
typedef struct {
    const Segment *segment;
    Buffer raw;                 /* bytes of the paths from `raw_at` on */
    uint64_t raw_at;
    int is_prefetched;          /* the blocks to read, so that reading on would read more */
    size_t block;               /* the one that is unpacked, + 1 */
    Buffer text;                /* its paths, one after the other */
    size_t ends[PATHS_A_BLOCK]; /* of each in the text */
    size_t count;
    uint64_t *firsts;           /* [blocks]: where the first path of each is in `heads`, + 1; for `find_row` */
    Buffer heads;
} PathReader;

int path_at(PathReader *, size_t row, Span *path, McadError *); /* valid until the next call */
/* The first row whose path does not come before `path`; the number of photos if all do. */
int lower_bound(PathReader *, Span path, size_t *row, McadError *);
void free_paths(PathReader *);
/* Ask the system to read the paths of rows, which are not in its cache, all at once. */
int prefetch_paths(const Segment *, const size_t *rows, size_t count, McadError *);

/* An empty path may be nowhere, which memcmp does not allow. */
BODY int compare(Span a, Span b) {
    size_t size = a.size < b.size ? a.size : b.size;
    int order = size ? memcmp(a.at, b.at, size) : 0;
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

BODY int begins_with(Span path, Span prefix) {
    return path.size >= prefix.size && (!prefix.size || !memcmp(path.at, prefix.at, prefix.size));
}
#endif
