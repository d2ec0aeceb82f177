/* Arithmetic with the same result on every processor. The order of additions and the last bits of the mathematical
 * library vary. So terms are rounded to multiples of a unit such that no sum rounds, and logarithms, powers, sines and
 * cosines are computed here by additions, products and divisions, whose results IEEE 754 defines. */
#include <math.h>

/* The unit of vectors of length 1: a product of two is a sum of multiples of 2^-52 that stays below 2. */
#define STEPS 0x1p26
#define LN_2 0x1.62e42fefa39efp-1
#define LARGEST_POWER 1024

typedef double Doubles __attribute__((vector_size(64)));

/* Round to an integer, halves to even; |x| is below 2^51. Compilers vectorize this at every instruction level. */
BODY double whole(double x) { return (x + 0x1.8p52) - 0x1.8p52; }

BODY double ceiling(double x) { return whole(x) + (whole(x) < x ? 1 : 0); }

/* As `whole`, for |x| below 2^22. */
BODY float whole_float(float x) { return (x + 0x1.8p23f) - 0x1.8p23f; }

/* NaN becomes `low`. */
BODY double within(double x, double low, double high) { return x > low ? x < high ? x : high : low; }

/* The dot product in units of 2^-52 of vectors whose lengths multiply to at most 2; `dim` is a multiple of 8. */
BODY double exact_dot(const float *a, const float *b, size_t dim) {
    double sums[8] = {0};
    for (size_t i = 0; i < dim; i += 8)
        for (size_t lane = 0; lane < 8; lane++)
            sums[lane] += whole((double)a[i + lane] * STEPS) * whole((double)b[i + lane] * STEPS);
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

/* Split a rotated vector by an axis: write the residual z and return the projection p on it. */
BODY float split(const float *vector, const float *axis, size_t dim, float *residual) {
    float projection = (float)(exact_dot(vector, axis, dim) / (STEPS * STEPS));
    for (size_t i = 0; i < dim; i++) residual[i] = vector[i] - projection * axis[i];
    return projection;
}

/* The natural logarithm of a normal number above 0, by the series of the inverse hyperbolic tangent. */
BODY double natural_log(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    double exponent = (double)(int)(bits >> 52) - 1023, sum = 0;
    bits = (bits & 0xfffffffffffff) | UINT64_C(1023) << 52;
    memcpy(&x, &bits, sizeof x);
    if (x > 1.5) {
        x /= 2;
        exponent++;
    }
    double t = (x - 1) / (x + 1), square = t * t;
    for (int n = 31; n > 0; n -= 2) sum = sum * square + 1.0 / n;
    return 2 * t * sum + exponent * LN_2;
}

/* e to the power of x, by its Taylor series within half of ln 2. */
BODY double natural_power(double x) {
    double doublings = whole(within(x / LN_2, -LARGEST_POWER, LARGEST_POWER)), left = x - doublings * LN_2, sum = 1;
    if (doublings <= -1022) return 0;
    if (doublings >= LARGEST_POWER) return HUGE_VAL;
    for (int n = 16; n > 0; n--) sum = 1 + sum * left / n;
    uint64_t bits = (uint64_t)((int)doublings + 1023) << 52;
    double scale;
    memcpy(&scale, &bits, sizeof scale);
    return sum * scale;
}
