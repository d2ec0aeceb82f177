/* Exact products of a residual and levels in integers, several at once. */
#include "kernel.h"

/* A residual in integer multiples of 2^-36, below 2^37, split into signed digits of 13 and of 8 bits. */
#define DIGITS_13 3
#define DIGITS_8 5
#define RESIDUAL_UNIT 0x1p-36
typedef struct {
    int64_t sum;
    size_t padded; /* a multiple of 16 */
    int16_t *wide;  /* [padded / 16][DIGITS_13][16], zero-padded */
    int8_t *narrow; /* [padded / 16][DIGITS_8][16] */
} Digits;

/* Return 0 if a number does not fit; the caller then multiplies doubles. `wide` and `narrow` must hold zeros. */
BODY int split_digits(Digits *d, const double *residual, size_t dim) {
    d->sum = 0;
    for (size_t i = 0; i < dim; i++) {
        double units = residual[i] / RESIDUAL_UNIT;
        if (!(units > -0x1p37 && units < 0x1p37) || units != (units + 0x1.8p52) - 0x1.8p52) return 0; /* whole? */
        int64_t whole = (int64_t)units, left = whole;
        d->sum += whole;
        for (size_t k = 0; k < DIGITS_13; k++) {
            int64_t digit = ((left + 4096) & 8191) - 4096;
            d->wide[(i / 16 * DIGITS_13 + k) * 16 + i % 16] = (int16_t)digit;
            left = (left - digit) / 8192;
        }
        left = whole;
        for (size_t k = 0; k < DIGITS_8; k++) {
            int64_t digit = ((left + 128) & 255) - 128;
            d->narrow[(i / 16 * DIGITS_8 + k) * 16 + i % 16] = (int8_t)digit;
            left = (left - digit) / 256;
        }
    }
    return 1;
}
