/* Errors, checksums, and reads and writes of files at offsets. */
#ifndef FILES_H
#define FILES_H
#include "span.h"
#include <stdlib.h>

/* Bytes that grow. */
typedef struct {
    uint8_t *data;
    size_t size, room;
    int failed; /* there was no memory */
} Buffer;

void reserve(Buffer *, size_t size); /* room for as many more */
void append(Buffer *, const void *from, size_t size);

/* Return `code`, and write it and its values to the error. */
int fail(McadError *, int code, int64_t a, int64_t b, int64_t c);
int fail_number(McadError *, int code, int64_t a, double number);
int no_memory(McadError *);
int is_stopped(const McadStop *, McadError *);

uint32_t crc_32(uint32_t before, const void *data, size_t size);

/* Read exactly `size` bytes. Return MCAD_CUT_OFF if the file ends before. */
int read_at(int file, void *into, size_t size, uint64_t offset, McadError *);
int write_at(int file, const void *from, size_t size, uint64_t offset, McadError *);
int flush(int file, McadError *);
int file_size(int file, uint64_t *size, McadError *);

/* Compare `size` bytes of a file from `offset` on with their CRC-32. */
int crc_of(int file, uint64_t offset, uint64_t size, uint32_t *crc, const McadStop *, McadError *);

/* Texts that grow, as `McadStrings` has them. */
typedef struct {
    Buffer data, ends;
} Strings;

/* Append a text, of two parts. */
void put_string(Strings *, Span text, Span more);
BODY int has_failed(const Strings *s) { return s->data.failed || s->ends.failed; }
BODY McadStrings all_strings(const Strings *s) {
    return (McadStrings){s->data.data, (const uint64_t *)s->ends.data, s->ends.size / sizeof(uint64_t)};
}
void free_strings(Strings *);
/* Unless `code` says that something failed, give the texts to the host; else free them. Return the code. */
int give_strings(Strings *, int code, McadStrings *, McadError *);

/* Text i. */
BODY Span string_at(const McadStrings *s, size_t i) {
    uint64_t start = i ? s->ends[i - 1] : 0;
    return (Span){s->data + start, (size_t)(s->ends[i] - start)};
}
#endif
