/* The loops of a search. Each is compiled at several instruction levels, one of which the caller names: 2 is AVX-512 with
 * VPOPCNTDQ, on Arm NEON with the dot product of bytes, 1 AVX2 or NEON, 0 the compiler's default. All levels give the same
 * results, bit by bit; tests/support/kernel_oracle.py computes them in numpy. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BODY static inline __attribute__((always_inline))
#if defined(__x86_64__)
#define FOR(features) static __attribute__((target(features), noinline))
#define AVX2 FOR("avx2,popcnt")
#define AVX512 FOR("avx512f,avx512bw,avx512vl,avx512dq,avx512vpopcntdq,popcnt")
#endif

/* A scan of a segment, see scan.c. */
typedef struct {
    const uint64_t *columns; /* [words][stride] */
    size_t stride;
    const uint64_t *spans; /* [span_count][2]: from which row to before which */
    size_t span_count;
    const uint64_t *query; /* [3][words]: signs, weight 1, weight 2 */
    const uint8_t *allowed; /* a bit a row of the segment, or NULL */
    size_t words, wanted;
    uint32_t *rows;      /* [wanted + 2 * BLOCK] */
    uint16_t *distances; /* the same */
    uint32_t *histogram; /* [3 * 64 * words + 1], zeros */
} Scan;

/* A segment and its candidates, see rescore.c. */
typedef struct {
    int file;
    int64_t offset;      /* of the records in the file */
    size_t size;         /* of a record: magnitudes, the rest of the signs, projection, scale */
    size_t dim, words, stride;
    const uint64_t *columns;
    const double *residual;    /* [dim], of the query */
    double projection_step;    /* what a step of a projection adds to a cosine */
    const uint32_t *rows;      /* [count], ascending: the candidates */
    const uint16_t *distances; /* [count], or NULL where all are scored */
    size_t count, at_least;    /* how many there are, and are scored in any case */
    double slope;              /* what 1 more of a distance adds to a cosine: less than 0 */
    double missed;             /* how many of the best may be expected among the candidates left out */
    float *cosines;            /* [count], NaN where they are not known */
} Segment;

/* The photos of each cell that pass, see filters.c. Bits are least significant first. */
typedef struct {
    const uint32_t *rows;     /* [photos]: the row of each place; in a cell they ascend */
    const uint32_t *starts;   /* [cells + 1] */
    const uint32_t *row_bits; /* a bit a row, or NULL: all from `first` to before `end` */
    uint8_t *place_bits;      /* a bit a place, or NULL: zeros in cells that are not filtered yet */
    uint32_t *cell_starts, *cell_ends; /* [cells]: the places that may pass, from and to before */
    int32_t *counts;          /* [cells]: how many pass, below 0 in cells that are not filtered yet */
    size_t photos, first, end;
} Filter;

size_t mcad_scan(const Scan *, int level);
int mcad_rescore(const Segment *, size_t count, size_t k, int level);
int64_t mcad_probe_cells(const Filter *, const int64_t *order, size_t cells, size_t enough, int level);
int mcad_rotate(float *vector, size_t dim, int back);
int mcad_layout(void);
size_t mcad_page(void);
int mcad_level(void);
