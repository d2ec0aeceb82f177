/* Bit weights fitted to a sample, see bit_weights.c. */
typedef struct {
    size_t most, dim;
    double *lower;  /* [most][most]: Cholesky's factor of the moments of bits with bits */
    double *solved; /* [most][dim]: the moments of bits with photos, solved forward by it */
} Fit;

int fit_moments(Fit *, const int16_t *sample, size_t count, size_t step, size_t dim, const uint64_t *columns,
                size_t stride, size_t most, int level);
int fit_bit_weights(const Fit *, size_t bits, float *bit_weights, int level);
void free_fit(Fit *);
