/* Products of vectors of 16-bit integers. */

/* A dot product modulo 2^32: exact below 2^31, which vectors in steps of 2^-15 or longer ones keep. */
BODY int32_t dot_16(const int16_t *a, const int16_t *b, size_t dim) {
    uint32_t sum = 0;
    for (size_t i = 0; i < dim; i++) sum += (uint32_t)((int32_t)a[i] * b[i]);
    return (int32_t)sum;
}
