/* The two passes by which Pillow resizes a photo (src/libImaging/Resample.c), in fixed point, rounded to bytes between
 * them: for Java, which has no such library. The same numbers come out, to the bit. */
#include "kernel.h"

#define PRECISION (32 - 8 - 2)
#define HALF (1 << (PRECISION - 1))

static uint8_t clipped(int32_t sum) {
    int32_t value = sum >> PRECISION;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* A colour over opaque white, in the fixed point of Pillow's alpha_composite. */
static uint32_t over_white(uint32_t value, uint32_t alpha) {
    uint32_t sum = (value * alpha << 7) + (255 * (255 - alpha) << 7) + (0x80 << 7);
    return ((sum >> 8) + sum) >> 8 >> 7;
}

void mcad_resize_row(uint32_t *argb, size_t width, const Taps *taps, uint8_t *rgb) {
    for (size_t i = 0; i < width; i++) {
        uint32_t pixel = argb[i], alpha = pixel >> 24;
        if (alpha != 255)
            argb[i] = over_white(pixel >> 16 & 255, alpha) << 16 | over_white(pixel >> 8 & 255, alpha) << 8
                      | over_white(pixel & 255, alpha);
    }
    for (size_t x = 0; x < taps->size; x++) {
        const uint32_t *pixels = argb + taps->first[x];
        const int32_t *weights = taps->weights + x * taps->most;
        int32_t sums[4] = {HALF, HALF, HALF, HALF};
        for (int32_t k = 0; k < taps->count[x]; k++)
            for (int channel = 0; channel < 4; channel++)
                sums[channel] += (int32_t)(pixels[k] >> 8 * channel & 255) * weights[k];
        for (int channel = 0; channel < 3; channel++) rgb[3 * x + channel] = clipped(sums[2 - channel]);
    }
}

void mcad_resize_columns(const uint8_t *rows, size_t stride, const Taps *taps, int32_t *sums, uint8_t *out) {
    for (size_t y = 0; y < taps->size; y++, out += stride) {
        for (size_t i = 0; i < stride; i++) sums[i] = HALF;
        for (int32_t k = 0; k < taps->count[y]; k++) {
            const uint8_t *row = rows + (size_t)(taps->first[y] + k) * stride;
            int32_t weight = taps->weights[y * taps->most + (size_t)k];
            for (size_t i = 0; i < stride; i++) sums[i] += row[i] * weight;
        }
        for (size_t i = 0; i < stride; i++) out[i] = clipped(sums[i]);
    }
}
