/* The search kernels. Each is compiled at several instruction levels, and the caller names one: 2 is AVX-512 with
 * VPOPCNTDQ, or Arm NEON with the byte dot product; 1 is AVX2 or NEON; 0 is the compiler's default. All levels give
 * bit-identical results; tests/support/kernel_oracle.py computes them in numpy. */
#ifndef KERNEL_H
#define KERNEL_H
#include "mcad_index.h"
#include <string.h>

#define BODY static inline __attribute__((always_inline))
#if defined(__x86_64__)
#define FOR(features) static __attribute__((target(features), noinline))
#define AVX2 FOR("avx2,popcnt")
#define AVX512 FOR("avx512f,avx512bw,avx512vl,avx512dq,avx512vpopcntdq,popcnt")
/* Compile a function for each level; AT_LEVEL names the one to call. */
#define EACH_LEVEL(result, name, parameters, arguments) \
    static result name##_plain parameters { return name arguments; } \
    AVX2 result name##_avx2 parameters { return name arguments; } \
    AVX512 result name##_avx512 parameters { return name arguments; }
#define AT_LEVEL(name, level) ((level) == 2 ? name##_avx512 : (level) == 1 ? name##_avx2 : name##_plain)
#else
#define EACH_LEVEL(result, name, parameters, arguments) \
    static result name##_plain parameters { return name arguments; }
#define AT_LEVEL(name, level) ((void)(level), name##_plain)
#endif

#define MOST_DIM 4096

/* A photo of a segment has a row, its number in the order of paths, and a place, its number in the columns and records.
 * Without cells, both are the same; with cells, the photos of a cell lie side by side. Scan and Candidates know places
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
    size_t count;
    double step;               /* each unit of distance lowers the cosine by twice this */
    float *cosines;            /* [count], NaN if not scored */
} Candidates;

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

#define MOST_MAP_SIDE (1 << 14)
#define MOST_MAP_AREA (1 << 22)

int64_t mcad_boxes(const float *map, size_t width, size_t height, size_t most, float *boxes);

int mcad_places_check(const uint8_t *data, size_t size);
int mcad_places_near(const uint8_t *data, size_t size, double latitude, double longitude, double cosine, uint32_t spans[8]);

typedef McadCount Count;
typedef McadLimits Limits;

/* A sample of photos, and how an index of them is best searched, see tune.c. */
typedef struct {
    const int16_t *sample; /* [count][dim]: rotated photos, see `mcad_shrink` */
    size_t count, dim;
    const float *axis;
    size_t photos; /* of the index */
    float *bit_weights; /* out: [scan_bits][dim], with room for MOST_SCANNED */
    int16_t *centroids; /* out: [cells][dim], with room for MOST_CELLS */
    size_t scan_bits, prescan_bits, cells; /* out; the last two are 0 for none */
    Count candidates, prescan, in_cells;   /* out */
} Tune;

#define MOST_SCANNED 1024
#define MOST_CELLS 256

int mcad_prepare(float *rows, size_t count, size_t dim, float *lengths);
int mcad_rotate(float *rows, size_t count, size_t dim, int back);
int mcad_encode(const float *rows, size_t count, size_t dim, const float *axis, const float *feedback, uint8_t *records,
                int level);
void mcad_decode(const uint8_t *records, size_t count, size_t dim, const float *axis, float *rows);
double mcad_split_query(const float *query, size_t dim, const float *axis, double *residual);
void mcad_add_up(const float *rows, size_t count, size_t dim, double *total);
void mcad_axis(const double *total, size_t dim, float *axis);
int mcad_add_covariance(const float *rows, size_t count, size_t dim, const float *axis, double *covariance, int level);
int mcad_feedback(double *covariance, size_t dim, float *shares, int level);

double mcad_quantize_query(const float *bit_weights, size_t bits, const float *query, size_t dim, uint64_t *words);
int mcad_assign_cells(const float *rows, size_t count, size_t dim, const float *axis, const int16_t *centroids,
                      size_t cells, uint16_t *of_rows, int level);
int mcad_order_cells(const float *query, size_t dim, const int16_t *centroids, size_t cells, int64_t *order);

size_t mcad_count(const Count *, size_t photos, size_t k);
size_t mcad_count_in_cells(const Count *, size_t photos, size_t k);
int mcad_plan_merge(const int64_t *live, const int64_t *deleted, size_t segments, int64_t added, int64_t axis_photos,
                    const Limits *, uint8_t *merged);
size_t mcad_sample_step(size_t photos, size_t dim);
size_t mcad_feedback_step(size_t photos, size_t dim);
void mcad_shrink(const float *rows, size_t numbers, int16_t *sample);
int mcad_tune(Tune *, const Limits *, int level);

void mcad_distances(const Scan *, uint16_t *near, int level);
size_t mcad_scan(const Scan *, int level);
int mcad_rescore(const Candidates *, size_t count, size_t k, const Limits *, int level);
void mcad_filter_times(const int32_t *times, size_t from, size_t until, uint32_t first, uint32_t more, uint8_t *bits,
                       int level);
int64_t mcad_probe_cells(const Filter *, const int64_t *order, size_t cells, size_t enough, int level);
size_t mcad_page(void);
int mcad_level(void);

#endif
