/* Bytes of a file that may hold anything: every read is checked against their length, every product for overflow. No
 * other code reads mapped bytes but through a span, or through an array that a span gave. */
#ifndef SPAN_H
#define SPAN_H
#include "kernel.h"

typedef struct {
    const uint8_t *at;
    size_t size;
} Span;

/* Set `part` to `size` bytes from `offset` on. Return 0 if the span does not hold them. */
BODY int span_part(Span s, uint64_t offset, uint64_t size, Span *part) {
    if (offset > s.size || size > s.size - offset) return 0;
    *part = (Span){s.at + offset, (size_t)size};
    return 1;
}

/* Return an array of `count` numbers of `width` bytes that takes the whole span, aligned to them; NULL if it is not. An
 * empty array is somewhere, too. */
BODY const void *span_array(Span s, uint64_t count, uint64_t width) {
    uint64_t bytes;
    if (__builtin_mul_overflow(count, width, &bytes) || bytes != s.size || (uintptr_t)s.at % width) return NULL;
    return s.at;
}

/* Move the front of the span past the bytes that are taken; 0, and nothing moves, if there are fewer. */
BODY int take_bytes(Span *s, size_t size, Span *taken) {
    if (!span_part(*s, 0, size, taken)) return 0;
    s->at += size;
    s->size -= size;
    return 1;
}

BODY int take_8(Span *s, uint8_t *value) {
    Span byte;
    return take_bytes(s, 1, &byte) && (*value = *byte.at, 1);
}

BODY int take_16(Span *s, uint16_t *value) {
    Span bytes;
    return take_bytes(s, 2, &bytes) && (memcpy(value, bytes.at, 2), 1);
}

BODY int take_32(Span *s, uint32_t *value) {
    Span bytes;
    return take_bytes(s, 4, &bytes) && (memcpy(value, bytes.at, 4), 1);
}

BODY int take_64(Span *s, uint64_t *value) {
    Span bytes;
    return take_bytes(s, 8, &bytes) && (memcpy(value, bytes.at, 8), 1);
}

/* Number `i` of an array of uint32 that is not aligned. */
BODY int read_32(Span s, size_t i, uint32_t *value) {
    Span bytes;
    return i <= SIZE_MAX / 4 && span_part(s, 4 * i, 4, &bytes) && take_32(&bytes, value);
}

#endif
