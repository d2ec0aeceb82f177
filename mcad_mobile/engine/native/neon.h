/* Both passes for Arm: NEON, which every 64-bit processor has, and the byte dot product, available from Cortex-A55 and
 * A75 on. Integer arithmetic is exact, so the results equal those of the plain loops. */
#include "digits.h"
#include <arm_neon.h>

#define NEON 1
#define DOT 2

/* Compilers enable these instructions in different ways; assemblers do not. */
BODY int32x4_t dot(int32x4_t sum, int8x16_t a, int8x16_t b) {
    __asm__(".arch_extension dotprod\n\tsdot %0.4s, %1.16b, %2.16b" : "+w"(sum) : "w"(a), "w"(b));
    return sum;
}

BODY uint32x4_t udot(uint32x4_t sum, uint8x16_t a, uint8x16_t b) {
    __asm__(".arch_extension dotprod\n\tudot %0.4s, %1.16b, %2.16b" : "+w"(sum) : "w"(a), "w"(b));
    return sum;
}

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

/* A query's word, twice: a register holds two rows. */
typedef struct {
    uint8x16_t signs, weight_1, weight_2;
} Word;

BODY Word word_of(const Scan *s, size_t w) {
    const uint64_t *word = s->query + w;
    return (Word){vreinterpretq_u8_u64(vdupq_n_u64(word[0])), vreinterpretq_u8_u64(vdupq_n_u64(word[s->words])),
                  vreinterpretq_u8_u64(vdupq_n_u64(word[2 * s->words]))};
}

/* Add a word's differing bits in 16 rows to the counts of weights 1 and 2; `begin`: overwrite the counts. */
BODY void neon_count(const Scan *s, size_t row, size_t w, uint8x16_t *once, uint8x16_t *twice, int begin) {
    const uint8_t *rows = (const uint8_t *)(s->columns + w * s->stride + row);
    Word word = word_of(s, w);
    UNROLL for (int i = 0; i < 8; i++) {
        uint8x16_t differ = veorq_u8(vld1q_u8(rows + 16 * i), word.signs);
        uint8x16_t one = vcntq_u8(vandq_u8(differ, word.weight_1)), two = vcntq_u8(vandq_u8(differ, word.weight_2));
        once[i] = begin ? one : vaddq_u8(once[i], one);
        twice[i] = begin ? two : vaddq_u8(twice[i], two);
    }
}

/* Weighted distances of 16 rows. Byte sums hold eight words, each adding at most 24. */
BODY void neon_distances(const Scan *s, size_t row, uint16_t *near) {
    uint16x8_t low = vdupq_n_u16(0), high = low;
    for (size_t first = 0; first < s->words; first += 8) {
        uint8x16_t once[8], twice[8];
        uint16x8_t pairs[8];
        size_t end = s->words < first + 8 ? s->words : first + 8;
        neon_count(s, row, first, once, twice, 1);
        for (size_t w = first + 1; w < end; w++) neon_count(s, row, w, once, twice, 0);
        UNROLL for (int i = 0; i < 8; i++) pairs[i] = vpaddlq_u8(vmlaq_u8(once[i], twice[i], vdupq_n_u8(2)));
        UNROLL for (int i = 0; i < 4; i++) pairs[i] = vpaddq_u16(pairs[2 * i], pairs[2 * i + 1]);
        low = vaddq_u16(low, vpaddq_u16(pairs[0], pairs[1]));
        high = vaddq_u16(high, vpaddq_u16(pairs[2], pairs[3]));
    }
    vst1q_u16(near, low);
    vst1q_u16(near + 8, high);
}

/* As neon_count, but dot products with 1 and 2 add bytes up to 32-bit sums. */
BODY void dot_count(const Scan *s, size_t row, size_t w, Word word, uint32x4_t *sums) {
    const uint8_t *rows = (const uint8_t *)(s->columns + w * s->stride + row);
    UNROLL for (int i = 0; i < 8; i++) {
        uint8x16_t differ = veorq_u8(vld1q_u8(rows + 16 * i), word.signs);
        sums[i] = udot(sums[i], vcntq_u8(vandq_u8(differ, word.weight_1)), vdupq_n_u8(1));
        sums[i] = udot(sums[i], vcntq_u8(vandq_u8(differ, word.weight_2)), vdupq_n_u8(2));
    }
}

/* Distances in whole steps of 16 rows; return the number of rows done. The first `few` words, as many as fit in
 * registers, are loaded once. */
BODY size_t dot_distances(const Scan *s, size_t start, size_t n, size_t few, uint16_t *near) {
    Word first[4];
    size_t done = 0;
    UNROLL for (size_t w = 0; w < few; w++) first[w] = word_of(s, w);
    for (; done + 16 <= n; done += 16) {
        uint32x4_t sums[8];
        UNROLL for (int i = 0; i < 8; i++) sums[i] = vdupq_n_u32(0);
        UNROLL for (size_t w = 0; w < few; w++) dot_count(s, start + done, w, first[w], sums);
        for (size_t w = few; w < s->words; w++) dot_count(s, start + done, w, word_of(s, w), sums);
        UNROLL for (int i = 0; i < 4; i++) sums[i] = vpaddq_u32(sums[2 * i], sums[2 * i + 1]);
        uint16x8_t low = vuzp1q_u16(vreinterpretq_u16_u32(sums[0]), vreinterpretq_u16_u32(sums[1]));
        uint16x8_t high = vuzp1q_u16(vreinterpretq_u16_u32(sums[2]), vreinterpretq_u16_u32(sums[3]));
        vst1q_u16(near + done, low);
        vst1q_u16(near + done + 8, high);
    }
    return done;
}

/* Which of 16 distances are below a limit: one bit in every four. */
BODY uint64_t neon_below(const uint16_t *near, uint16_t limit) {
    uint16x8_t left = vcltq_u16(vld1q_u16(near), vdupq_n_u16(limit));
    uint16x8_t right = vcltq_u16(vld1q_u16(near + 8), vdupq_n_u16(limit));
    uint8x16_t bytes = vuzp1q_u8(vreinterpretq_u8_u16(left), vreinterpretq_u8_u16(right));
    uint8x8_t fours = vshrn_n_u16(vreinterpretq_u16_u8(bytes), 4);
    return vget_lane_u64(vreinterpret_u64_u8(fours), 0) & 0x1111111111111111;
}

/* Bytes of ones for those of 16 dimensions whose sign bit is 0; `bits` masks the bits of a byte, twice. */
BODY uint8x16_t negative(const uint8_t *signs, uint8x16_t bits) {
    uint8x16_t spread = vcombine_u8(vdup_n_u8(signs[0]), vdup_n_u8(signs[1]));
    return vceqzq_u8(vandq_u8(spread, bits));
}
#define BITS vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201))

/* A level is 2 n + 1, where n (9 bits) is the magnitude or its bitwise inverse. So the sum of products with levels is
 * twice the sum with n, plus the sum of the residual. */
BODY double neon_products(const Digits *d, const uint8_t *magnitudes, const uint8_t *signs) {
    int32x4_t sums[DIGITS_13];
    UNROLL for (int k = 0; k < DIGITS_13; k++) sums[k] = vdupq_n_s32(0);
    for (size_t i = 0; i < d->padded; i += 16) {
        uint8x16_t minus = negative(signs + i / 8, BITS), low = veorq_u8(vld1q_u8(magnitudes + i), minus);
        int16x8_t first = vreinterpretq_s16_u8(vzip1q_u8(low, minus));
        int16x8_t second = vreinterpretq_s16_u8(vzip2q_u8(low, minus));
        UNROLL for (size_t k = 0; k < DIGITS_13; k++) {
            const int16_t *digits = d->wide + i * DIGITS_13 + k * 16;
            int16x8_t left = vld1q_s16(digits), right = vld1q_s16(digits + 8);
            sums[k] = vmlal_s16(sums[k], vget_low_s16(first), vget_low_s16(left));
            sums[k] = vmlal_high_s16(sums[k], first, left);
            sums[k] = vmlal_s16(sums[k], vget_low_s16(second), vget_low_s16(right));
            sums[k] = vmlal_high_s16(sums[k], second, right);
        }
    }
    int64_t sum = 0;
    UNROLL for (int k = DIGITS_13; k-- > 0;) sum = sum * 8192 + vaddlvq_s32(sums[k]);
    return (double)(2 * sum + d->sum) * RESIDUAL_UNIT;
}

/* As neon_products, with n split into 2 a + c: a of 8 bits, c 0 or 1. */
BODY double dot_products(const Digits *d, const uint8_t *magnitudes, const uint8_t *signs) {
    int32x4_t sums[DIGITS_8], rests[DIGITS_8];
    UNROLL for (int k = 0; k < DIGITS_8; k++) sums[k] = rests[k] = vdupq_n_s32(0);
    for (size_t i = 0; i < d->padded; i += 16) {
        uint8x16_t minus = negative(signs + i / 8, BITS), low = veorq_u8(vld1q_u8(magnitudes + i), minus);
        int8x16_t rest = vreinterpretq_s8_u8(vandq_u8(low, vdupq_n_u8(1)));
        int8x16_t half = vreinterpretq_s8_u8(vsriq_n_u8(minus, low, 1));
        UNROLL for (size_t k = 0; k < DIGITS_8; k++) {
            int8x16_t digits = vld1q_s8(d->narrow + i * DIGITS_8 + k * 16);
            sums[k] = dot(sums[k], half, digits);
            rests[k] = dot(rests[k], rest, digits);
        }
    }
    int64_t sum = 0;
    UNROLL for (int k = DIGITS_8; k-- > 0;) sum = sum * 256 + vaddlvq_s32(vaddq_s32(vaddq_s32(sums[k], sums[k]), rests[k]));
    return (double)(2 * sum + d->sum) * RESIDUAL_UNIT;
}
