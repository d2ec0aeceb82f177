/* Pillow's resizing of 8 bits a channel (its Resample.c), bit by bit: rows across, then columns down, sums of
 * pixels times weights of 22 bits, rounded to 8 bits between the two. Pillow sums one pixel at a time, in 32
 * bits. Here AVX2 multiplies 16 numbers of 16 bits at once (pmaddwd), so a weight is its upper bits and its lower
 * 8, and a sum the upper ones' times 256 and the lower ones'. resize.py makes the weights and calls this. */
#include <stddef.h>
#include <stdint.h>

#define LAYOUT 1

typedef struct {
    const int32_t *starts; /* [size]: the first of the `taps` pixels that make one */
    /* [size][taps / 4][8]: the upper bits of four weights, then their lower ones. */
    const int16_t *weights;
    size_t size, taps;
} Axis;

typedef struct {
    const uint8_t *pixels; /* [height][width][4] */
    size_t width, height;
    Axis across, down;
    /* Rows that are resized across and wait for the way down: [down.taps + ROWS][bytes]. */
    uint8_t *ring;
    const uint8_t **rows; /* [down.taps] */
    uint8_t *small;       /* [down.size][bytes] */
    size_t bytes;         /* 4 * across.size or some more, whole 32 */
} Resize;

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#define AVX2 static __attribute__((target("avx2"), noinline))
#define INLINE static inline __attribute__((target("avx2"), always_inline))
#define ROWS 4
#define BITS 22
#define LOWER 8

typedef struct {
    __m256i upper, lower;
} Sums;

INLINE void add(Sums *sums, __m256i pixels, __m256i upper, __m256i lower) {
    sums->upper = _mm256_add_epi32(sums->upper, _mm256_madd_epi16(pixels, upper));
    sums->lower = _mm256_add_epi32(sums->lower, _mm256_madd_epi16(pixels, lower));
}

INLINE __m256i total(Sums sums) {
    return _mm256_add_epi32(_mm256_slli_epi32(sums.upper, LOWER), sums.lower);
}

INLINE __m256i rounded(Sums sums) {
    return _mm256_srai_epi32(_mm256_add_epi32(total(sums), _mm256_set1_epi32(1 << (BITS - 1))), BITS);
}

/* ROWS rows at a time, so that weights are read once for all of them. */
AVX2 void across(const Axis *axis, const uint8_t *const in[ROWS], uint8_t *const out[ROWS]) {
    /* Of four pixels: the first two, channel by channel, and the last two, each value in 16 bits. */
    const __m256i pairs = _mm256_setr_epi8(0, -1, 4, -1, 1, -1, 5, -1, 2, -1, 6, -1, 3, -1, 7, -1, 8, -1, 12, -1, 9,
                                           -1, 13, -1, 10, -1, 14, -1, 11, -1, 15, -1);
    const __m256i uppers = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
    const __m256i lowers = _mm256_setr_epi32(2, 2, 2, 2, 3, 3, 3, 3);
    const __m128i half = _mm_set1_epi32(1 << (BITS - 1));
    for (size_t x = 0; x < axis->size; x++) {
        const int16_t *weights = axis->weights + 2 * axis->taps * x;
        const size_t start = 4 * (size_t)axis->starts[x];
        Sums sums[ROWS];
        for (int row = 0; row < ROWS; row++) sums[row].upper = sums[row].lower = _mm256_setzero_si256();
        for (size_t tap = 0; tap < axis->taps; tap += 4) {
            __m256i both = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(weights + 2 * tap)));
            __m256i upper = _mm256_permutevar8x32_epi32(both, uppers);
            __m256i lower = _mm256_permutevar8x32_epi32(both, lowers);
            for (int row = 0; row < ROWS; row++) {
                __m128i four = _mm_loadu_si128((const __m128i *)(in[row] + start + 4 * tap));
                add(&sums[row], _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(four), pairs), upper, lower);
            }
        }
        for (int row = 0; row < ROWS; row++) {
            __m256i sum = total(sums[row]);
            __m128i one = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
            one = _mm_srai_epi32(_mm_add_epi32(one, half), BITS);
            one = _mm_packus_epi16(_mm_packs_epi32(one, one), one);
            int32_t pixel = _mm_cvtsi128_si32(one);
            memcpy(out[row] + 4 * x, &pixel, sizeof pixel);
        }
    }
}

AVX2 void down(const int16_t *weights, size_t taps, const uint8_t *const *rows, size_t bytes, uint8_t *out) {
    const __m256i zero = _mm256_setzero_si256();
    for (size_t i = 0; i < bytes; i += 32) {
        Sums sums[4] = {{zero, zero}, {zero, zero}, {zero, zero}, {zero, zero}};
        for (size_t tap = 0; tap < taps; tap += 2) {
            int32_t two[2];
            memcpy(&two[0], weights + tap / 4 * 8 + tap % 4, sizeof two[0]);
            memcpy(&two[1], weights + tap / 4 * 8 + tap % 4 + 4, sizeof two[1]);
            __m256i upper = _mm256_set1_epi32(two[0]), lower = _mm256_set1_epi32(two[1]);
            __m256i first = _mm256_loadu_si256((const __m256i *)(rows[tap] + i));
            __m256i second = _mm256_loadu_si256((const __m256i *)(rows[tap + 1] + i));
            __m256i left = _mm256_unpacklo_epi8(first, second), right = _mm256_unpackhi_epi8(first, second);
            add(&sums[0], _mm256_unpacklo_epi8(left, zero), upper, lower);
            add(&sums[1], _mm256_unpackhi_epi8(left, zero), upper, lower);
            add(&sums[2], _mm256_unpacklo_epi8(right, zero), upper, lower);
            add(&sums[3], _mm256_unpackhi_epi8(right, zero), upper, lower);
        }
        __m256i near = _mm256_packs_epi32(rounded(sums[0]), rounded(sums[1]));
        __m256i far = _mm256_packs_epi32(rounded(sums[2]), rounded(sums[3]));
        _mm256_storeu_si256((__m256i *)(out + i), _mm256_packus_epi16(near, far));
    }
}

void mcad_resize(const Resize *r) {
    const size_t held = r->down.taps + ROWS;
    size_t made = 0;
    for (size_t y = 0; y < r->down.size; y++) {
        const size_t start = (size_t)r->down.starts[y];
        for (; made < start + r->down.taps; made += ROWS) {
            const uint8_t *in[ROWS];
            uint8_t *out[ROWS];
            for (size_t row = 0; row < ROWS; row++) {
                size_t last = r->height - 1, at = made + row < last ? made + row : last;
                in[row] = r->pixels + 4 * r->width * at;
                out[row] = r->ring + r->bytes * ((made + row) % held);
            }
            across(&r->across, in, out);
        }
        for (size_t tap = 0; tap < r->down.taps; tap++) r->rows[tap] = r->ring + r->bytes * ((start + tap) % held);
        down(r->down.weights + 2 * r->down.taps * y, r->down.taps, r->rows, r->bytes, r->small + r->bytes * y);
    }
}

/* What resize.py has to agree with; 0 where this processor cannot run it. */
int mcad_resizes(void) { return __builtin_cpu_supports("avx2") ? LAYOUT : 0; }
#else
int mcad_resizes(void) { return 0; }
#endif
