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
    size_t count;
    double step;               /* each unit of distance lowers the cosine by twice this */
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

BODY uint32_t get_32(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, 4);
    return value;
}

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

#define WORD_SOURCES 3
enum { WORD_MISREAD = 1, WORD_BEGUN, WORD_WHOLE }; /* how a term matches */
enum { WORD_BEGINS = 1, WORD_NEAR = 2 };           /* ways to match beside the whole word */

/* A term of a query, see words.c. `sources` has a bit for each source; `found` counts photos; `same` and `shift` are of
 * words.c. */
typedef struct {
    const uint8_t *term;
    size_t size, found, same;
    uint32_t modes, sources, shift;
} WordQuery;

/* How photos match the terms of a query, which passes them, and what that is worth. */
typedef struct {
    const uint8_t *best; /* [planes][photos]: of four terms each, see mcad_words_find */
    size_t planes, photos;
    const float *worths;    /* [planes][256], 0 first, the most last */
    const uint8_t *allowed; /* a bit for each row, or NULL if all from `first` to before `end` pass */
    size_t first, end;
} WordRanking;

/* Words of a file that a new one takes over: the new row of each photo, or less than 0. */
typedef struct {
    const uint8_t *data;
    size_t size;
    const int32_t *new_rows;
} OldWords;

int mcad_words_find(const uint8_t *data, size_t size, WordQuery *, size_t count, uint8_t *best);
int64_t mcad_words_rank(const WordRanking *, size_t k, size_t room, uint32_t *rows, float *found);
int mcad_word_likeness(const WordQuery *, size_t count, const uint8_t *term, size_t size);
void mcad_words_alike(const WordQuery *queries, size_t count, const uint8_t *words, const uint8_t *sizes, size_t number,
                      uint8_t *alike);
int mcad_words_open(const uint8_t *data, size_t size, void **model);
void mcad_words_close(void *model);
int64_t mcad_words_records(const uint8_t *data, size_t size, const void *model, const uint32_t *rows, size_t count,
                           uint8_t **out);
int64_t mcad_words_build(const OldWords *, size_t old_count, const uint8_t *records, size_t records_size,
                         const uint32_t *rows, size_t count, size_t photos, uint32_t segment_crc32, uint8_t **out);
void mcad_words_free(uint8_t *data);

int mcad_places_check(const uint8_t *data, size_t size);
int mcad_places_near(const uint8_t *data, size_t size, double latitude, double longitude, double cosine, uint32_t spans[8]);

/* Of n photos, factor * n ^ exponent * k ^ growth are candidates for k results. */
typedef struct {
    double factor, exponent, growth;
} Count;

/* When an index is tuned, and what a search may leave out. */
typedef struct {
    size_t axis_growth;     /* axis and tuning are computed anew when the photos have grown so many times */
    size_t cells_from;      /* the fewest photos of a segment with cells */
    size_t photos_per_cell; /* of the sample, that share a centroid */
    double cells_gain;      /* how many times cheaper cells must make a search (ADR 16) */
    /* Pass 2 scores the nearest `at_least`, `per_result` * k, or one candidate in `part`, whichever is most: these show
     * how large errors are. Then it goes on until at most `missed` photos per result are expected among the rest, or
     * `missed_of_many` if more than one photo in `many` is a candidate. */
    size_t at_least, per_result, part, many;
    double missed, missed_of_many;
} Limits;

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

void mcad_limits(Limits *);
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
int mcad_rescore(const Segment *, size_t count, size_t k, const Limits *, int level);
void mcad_filter_times(const int32_t *times, size_t from, size_t until, uint32_t first, uint32_t more, uint8_t *bits,
                       int level);
int64_t mcad_probe_cells(const Filter *, const int64_t *order, size_t cells, size_t enough, int level);
int mcad_layout(void);
size_t mcad_page(void);
int mcad_level(void);
