/* The loops of both passes for Arm: NEON, which every processor of 64 bits has, and the dot product of bytes that those
 * from Cortex-A55 and A75 on have. In whole numbers, which do not round: the results are those of the plain loops. */
#include <arm_neon.h>

#define NEON 1
#define DOT 2

/* Weighted distances of 16 rows, two in a register; `rows` are their first words, each column `stride` bytes behind the
 * one before. A byte holds 24 a word, so that sums of eight words fit; `query` is [3][all]. */
BODY void neon_distances(
    const uint8_t *rows, size_t stride, size_t words, const uint64_t *query, size_t all, uint16_t *near) {
    uint16x8_t low = vdupq_n_u16(0), high = low;
    for (size_t first = 0; first < words; first += 8) {
        uint8x16_t once[8], twice[8];
        uint16x8_t pairs[8];
        for (int i = 0; i < 8; i++) once[i] = twice[i] = vdupq_n_u8(0);
        for (size_t w = first; w < words && w < first + 8; w++) {
            uint8x16_t signs = vreinterpretq_u8_u64(vdupq_n_u64(query[w]));
            uint8x16_t weight_1 = vreinterpretq_u8_u64(vdupq_n_u64(query[all + w]));
            uint8x16_t weight_2 = vreinterpretq_u8_u64(vdupq_n_u64(query[2 * all + w]));
            for (int i = 0; i < 8; i++) {
                uint8x16_t differ = veorq_u8(vld1q_u8(rows + w * stride + 16 * i), signs);
                once[i] = vaddq_u8(once[i], vcntq_u8(vandq_u8(differ, weight_1)));
                twice[i] = vaddq_u8(twice[i], vcntq_u8(vandq_u8(differ, weight_2)));
            }
        }
        for (int i = 0; i < 8; i++) pairs[i] = vpaddlq_u8(vaddq_u8(once[i], vaddq_u8(twice[i], twice[i])));
        for (int i = 0; i < 4; i++) pairs[i] = vpaddq_u16(pairs[2 * i], pairs[2 * i + 1]);
        low = vaddq_u16(low, vpaddq_u16(pairs[0], pairs[1]));
        high = vaddq_u16(high, vpaddq_u16(pairs[2], pairs[3]));
    }
    vst1q_u16(near, low);
    vst1q_u16(near + 8, high);
}

/* A residual in whole numbers of 2^-36, and these in digits of 13 bits, and of 8, signed: numbers below 2^38. */
#define DIGITS_13 3
#define DIGITS_8 5
#define RESIDUAL_UNIT 0x1p-36
typedef struct {
    int64_t sum;
    size_t padded; /* [DIGITS_13][padded], with zeros behind the last */
    int16_t *wide;
    int8_t *narrow; /* [DIGITS_8][padded] */
} Digits;

/* Return 0 where a number is none such, and products of doubles must do. Zeros have been written to `wide`, `narrow`. */
BODY int split_digits(Digits *d, const double *residual, size_t dim) {
    d->sum = 0;
    for (size_t i = 0; i < dim; i++) {
        double units = residual[i] / RESIDUAL_UNIT;
        if (!(units > -0x1p37 && units < 0x1p37) || units != __builtin_rint(units)) return 0;
        int64_t whole = (int64_t)units, left = whole;
        d->sum += whole;
        for (size_t k = 0; k < DIGITS_13; k++) {
            int64_t digit = ((left + 4096) & 8191) - 4096;
            d->wide[k * d->padded + i] = (int16_t)digit;
            left = (left - digit) / 8192;
        }
        left = whole;
        for (size_t k = 0; k < DIGITS_8; k++) {
            int64_t digit = ((left + 128) & 255) - 128;
            d->narrow[k * d->padded + i] = (int8_t)digit;
            left = (left - digit) / 256;
        }
    }
    return 1;
}

/* Of 16 dimensions those whose bit is 0, all bits of a byte each. */
BODY uint8x16_t negative(const uint8_t *signs) {
    static const uint8_t bits[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint8x16_t spread = vcombine_u8(vdup_n_u8(signs[0]), vdup_n_u8(signs[1]));
    return vceqzq_u8(vandq_u8(spread, vld1q_u8(bits)));
}

/* A level is 2 n + 1, n of 9 bits: the magnitude, or all its bits inverted. So the sum of products with levels is twice
 * that with n, and the sum of the residual. */
BODY double neon_products(const Digits *d, const uint8_t *magnitudes, const uint8_t *signs) {
    int32x4_t sums[DIGITS_13];
    for (int k = 0; k < DIGITS_13; k++) sums[k] = vdupq_n_s32(0);
    for (size_t i = 0; i < d->padded; i += 16) {
        uint8x16_t minus = negative(signs + i / 8), low = veorq_u8(vld1q_u8(magnitudes + i), minus);
        int16x8_t first = vreinterpretq_s16_u8(vzip1q_u8(low, minus));
        int16x8_t second = vreinterpretq_s16_u8(vzip2q_u8(low, minus));
        for (size_t k = 0; k < DIGITS_13; k++) {
            const int16_t *digits = d->wide + k * d->padded + i;
            int16x8_t left = vld1q_s16(digits), right = vld1q_s16(digits + 8);
            sums[k] = vmlal_s16(sums[k], vget_low_s16(first), vget_low_s16(left));
            sums[k] = vmlal_high_s16(sums[k], first, left);
            sums[k] = vmlal_s16(sums[k], vget_low_s16(second), vget_low_s16(right));
            sums[k] = vmlal_high_s16(sums[k], second, right);
        }
    }
    int64_t sum = 0;
    for (int k = DIGITS_13; k-- > 0;) sum = sum * 8192 + vaddlvq_s32(sums[k]);
    return (double)(2 * sum + d->sum) * RESIDUAL_UNIT;
}

/* Compilers differ in how they are asked for these instructions; assemblers do not. */
BODY int32x4_t dot(int32x4_t sum, int8x16_t a, int8x16_t b) {
    __asm__(".arch_extension dotprod\n\tsdot %0.4s, %1.16b, %2.16b" : "+w"(sum) : "w"(a), "w"(b));
    return sum;
}

/* The same, and n is 2 a + c: a of 8 bits, c 0 or 1. */
BODY double dot_products(const Digits *d, const uint8_t *magnitudes, const uint8_t *signs) {
    int32x4_t sums[DIGITS_8], rests[DIGITS_8];
    for (int k = 0; k < DIGITS_8; k++) sums[k] = rests[k] = vdupq_n_s32(0);
    for (size_t i = 0; i < d->padded; i += 16) {
        uint8x16_t minus = negative(signs + i / 8), low = veorq_u8(vld1q_u8(magnitudes + i), minus);
        int8x16_t rest = vreinterpretq_s8_u8(vandq_u8(low, vdupq_n_u8(1)));
        int8x16_t half = vreinterpretq_s8_u8(vsriq_n_u8(minus, low, 1));
        for (size_t k = 0; k < DIGITS_8; k++) {
            int8x16_t digits = vld1q_s8(d->narrow + k * d->padded + i);
            sums[k] = dot(sums[k], half, digits);
            rests[k] = dot(rests[k], rest, digits);
        }
    }
    int64_t sum = 0;
    for (int k = DIGITS_8; k-- > 0;) sum = sum * 256 + vaddlvq_s32(vaddq_s32(vaddq_s32(sums[k], sums[k]), rests[k]));
    return (double)(2 * sum + d->sum) * RESIDUAL_UNIT;
}
