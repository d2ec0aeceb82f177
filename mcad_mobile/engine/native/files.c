#include "files.h"
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK (1 << 18)
#define POLYNOMIAL 0xedb88320u /* of zip and zlib, bits reversed */
#define SLICES 8

void reserve(Buffer *b, size_t size) {
    if (b->failed || (b->data && size <= b->room - b->size)) return;
    size_t room = 2 * (b->size + size) + 64;
    uint8_t *data = realloc(b->data, room);
    b->failed = !data;
    if (data) b->data = data, b->room = room;
}

void append(Buffer *b, const void *from, size_t size) {
    reserve(b, size);
    if (b->failed || !size) return;
    memcpy(b->data + b->size, from, size);
    b->size += size;
}

void put_string(Strings *s, Span text, Span more) {
    append(&s->data, text.at, text.size);
    append(&s->data, more.at, more.size);
    uint64_t end = s->data.size;
    append(&s->ends, &end, sizeof end);
}

int fail(McadError *error, int code, int64_t a, int64_t b, int64_t c) {
    *error = (McadError){.code = code, .values = {a, b, c}};
    return code;
}

int fail_number(McadError *error, int code, int64_t a, double number) {
    *error = (McadError){.code = code, .values = {a}, .number = number};
    return code;
}

int no_memory(McadError *error) { return fail(error, MCAD_NO_MEMORY, 0, 0, 0); }

int is_stopped(const McadStop *stop, McadError *error) {
    return stop && stop->asked(stop->host) ? fail(error, MCAD_STOPPED, 0, 0, 0) : MCAD_DONE;
}

static uint32_t slices[SLICES][256];

/* When the library is loaded, so that no two threads do. */
__attribute__((constructor)) static void make_slices(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
        slices[0][byte] = crc;
    }
    for (size_t slice = 1; slice < SLICES; slice++)
        for (size_t byte = 0; byte < 256; byte++)
            slices[slice][byte] = slices[slice - 1][byte] >> 8 ^ slices[0][slices[slice - 1][byte] & 255];
}

/* Eight bytes at once: Kounavis and Berry, A Systematic Approach to Building High Performance Software-based CRC
 * Generators, 2005. */
uint32_t crc_32(uint32_t before, const void *data, size_t size) {
    uint32_t crc = ~before;
    const uint8_t *at = data, *end = at + size;
    for (; end - at >= SLICES; at += SLICES) {
        uint64_t next;
        memcpy(&next, at, sizeof next);
        next ^= crc;
        crc = 0;
        for (size_t i = 0; i < SLICES; i++) crc ^= slices[SLICES - 1 - i][next >> 8 * i & 255];
    }
    for (; at < end; at++) crc = crc >> 8 ^ slices[0][(crc ^ *at) & 255];
    return ~crc;
}

int read_at(int file, void *into, size_t size, uint64_t offset, McadError *error) {
    for (size_t done = 0; done < size;) {
        ssize_t count = pread(file, (uint8_t *)into + done, size - done, (off_t)(offset + done));
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return fail(error, MCAD_NOT_READ, errno, 0, 0);
        if (!count) return fail(error, MCAD_CUT_OFF, (int64_t)(offset + done), 0, 0);
        done += (size_t)count;
    }
    return MCAD_DONE;
}

int write_at(int file, const void *from, size_t size, uint64_t offset, McadError *error) {
    for (size_t done = 0; done < size;) {
        ssize_t count = pwrite(file, (const uint8_t *)from + done, size - done, (off_t)(offset + done));
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return fail(error, MCAD_NOT_WRITTEN, errno, 0, 0);
        done += (size_t)count;
    }
    return MCAD_DONE;
}

int flush(int file, McadError *error) { return fsync(file) ? fail(error, MCAD_NOT_WRITTEN, errno, 0, 0) : MCAD_DONE; }

int file_size(int file, uint64_t *size, McadError *error) {
    struct stat found;
    if (fstat(file, &found)) return fail(error, MCAD_NOT_READ, errno, 0, 0);
    *size = (uint64_t)found.st_size;
    return MCAD_DONE;
}

int crc_of(int file, uint64_t offset, uint64_t size, uint32_t *crc, const McadStop *stop, McadError *error) {
    uint8_t *chunk = malloc(CHUNK);
    int code = chunk ? MCAD_DONE : no_memory(error);
    *crc = 0;
    for (uint64_t done = 0; !code && done < size;) {
        size_t next = size - done < CHUNK ? (size_t)(size - done) : CHUNK;
        code = is_stopped(stop, error);
        if (!code) code = read_at(file, chunk, next, offset + done, error);
        if (!code) *crc = crc_32(*crc, chunk, next);
        done += next;
    }
    free(chunk);
    return code;
}

void free_strings(Strings *s) {
    free(s->data.data);
    free(s->ends.data);
    *s = (Strings){0};
}

int give_strings(Strings *s, int code, McadStrings *given, McadError *error) {
    append(&s->data, "", 0); /* even without texts, they are somewhere */
    append(&s->ends, "", 0);
    if (!code && has_failed(s)) code = no_memory(error);
    if (code) free_strings(s);
    *given = all_strings(s);
    return code;
}

void mcad_strings_free(McadStrings *strings) {
    free((void *)strings->data);
    free((void *)strings->ends);
    *strings = (McadStrings){0};
}
