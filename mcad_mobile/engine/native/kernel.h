/* The search kernels. Each is compiled at several instruction levels, and the caller names one: 2 is AVX-512 with
 * VPOPCNTDQ, or Arm NEON with the byte dot product; 1 is AVX2 or NEON; 0 is the compiler's default. All levels give
 * bit-identical results; tests/support/kernel_oracle.py computes them in numpy. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BODY static inline __attribute__((always_inline))
#if defined(__x86_64__)
#define FOR(features) static __attribute__((target(features), noinline))
#define AVX2 FOR("avx2,popcnt")
#define AVX512 FOR("avx512f,avx512bw,avx512vl,avx512dq,avx512vpopcntdq,popcnt")
#endif

/* A photo of a segment has a row, its number in the order of paths, and a place, its number in the columns and records.
 * Without cells, both are the same; with cells, the photos of a cell lie side by side. Scan and Segment know places
 * alone: their rows are rows of the columns. */

/* A scan of a segment, see scan.c. */
typedef struct {
    const uint64_t *columns; /* [words][stride] */
    size_t stride;
    const uint64_t *spans; /* [span_count][2]: first place, place after the last */
    size_t span_count;
    const uint64_t *query; /* [3][words]: signs, weight 1, weight 2 */
    const uint8_t *allowed; /* one bit per place, or NULL if all pass */
    size_t words, wanted;
    uint32_t *rows;      /* [wanted + 2 * BLOCK]: places */
    uint16_t *distances; /* the same */
    uint32_t *histogram; /* [3 * 64 * words + 1], zeros */
} Scan;

/* A segment and its candidates, see rescore.c. */
typedef struct {
    int file;
    int64_t offset;      /* of the records in the file */
    size_t size;         /* of a record: magnitudes, remaining signs, projection, scale */
    size_t dim, words, stride;
    const uint64_t *columns;
    const double *residual;    /* [dim], of the query */
    double projection_step;    /* the cosine per projection step */
    const uint32_t *rows;      /* [count]: places of the candidates, ascending */
    const uint16_t *distances; /* [count], or NULL if all are scored */
    size_t count, at_least;    /* the number of candidates, and of those always scored */
    double slope;              /* the cosine per unit of distance: negative */
    double missed;             /* how many of the best k the unscored candidates may be expected to hold */
    float *cosines;            /* [count], NaN if not scored */
} Segment;

/* The passing photos of each cell, see filters.c. Bits are least significant first. */
typedef struct {
    const uint32_t *rows;     /* [photos]: the row of each place, ascending in a cell */
    const uint32_t *starts;   /* [cells + 1] */
    const uint32_t *row_bits; /* one bit per row; NULL: all from `first` to before `end` */
    uint8_t *place_bits;      /* one bit per place, or NULL; 0 in cells not yet filtered */
    uint32_t *cell_starts, *cell_ends; /* [cells]: the range of places that may pass */
    int32_t *counts;          /* [cells]: how many pass; negative if not yet filtered */
    size_t photos, first, end;
} Filter;

/* What each of `size` pixels of a resized photo is made of: `count` pixels from `first` on, by their weights. */
typedef struct {
    size_t size, most;
    const int32_t *first, *count; /* [size] */
    const int32_t *weights;       /* [size][most] */
} Taps;

/* A row of pixels, composed over white in place, to `taps->size` pixels of three bytes. */
void mcad_resize_row(uint32_t *argb, size_t width, const Taps *, uint8_t *rgb);
/* Rows of `stride` bytes to `taps->size` rows; `sums` has room for a row. */
void mcad_resize_columns(const uint8_t *rows, size_t stride, const Taps *, int32_t *sums, uint8_t *out);

size_t mcad_scan(const Scan *, int level);
int mcad_rescore(const Segment *, size_t count, size_t k, int level);
int64_t mcad_probe_cells(const Filter *, const int64_t *order, size_t cells, size_t enough, int level);
int mcad_rotate(float *vector, size_t dim, int back);
int mcad_layout(void);
size_t mcad_page(void);
int mcad_level(void);
