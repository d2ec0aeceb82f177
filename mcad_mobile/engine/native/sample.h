/* Queries made from a sample of photos, and the best photos for each, see sample.c. */
#define RESULTS 10
#define MEASURED 3

typedef struct {
    const int16_t *photos; /* [count][dim], in steps of 2^-15 */
    size_t count, dim, queries;
    float *vectors;      /* [queries][dim] */
    uint32_t *source;    /* [queries]: the photo that it was made from, and does not find */
    uint32_t *best[MEASURED]; /* [queries][k] */
    size_t k[MEASURED];
    double recall; /* the share of the best that a count must include */
} Queries;

int make_queries(Queries *, const int16_t *photos, size_t count, size_t dim, const float *axis, int level);
void free_queries(Queries *);
int count_candidates(const Queries *, const float *bit_weights, size_t bits, const uint64_t *columns, Count *, int level);
int count_cells(const Queries *, const int16_t *centroids, size_t cells, const uint16_t *of_photos, Count *);
