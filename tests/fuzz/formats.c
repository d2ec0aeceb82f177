/* Files that hold anything: a segment, words, a table of places. An input begins with CONTROL bytes that say how it is
 * read; what keeps from deep code, checksums above all, is made right. */
#include "fuzz.h"
#include <unistd.h>

enum { CONTROL = 100, MOST_SIZE = 1 << 20 };

/* What is left of the input behind the control bytes, which alone are `left` then. */
static size_t split_control(const uint8_t **data) {
    size_t control = left < CONTROL ? left : CONTROL, size = left - control;
    *data = rest + control;
    left = control;
    return size;
}

static void set_32(uint8_t *at, uint32_t value) { memcpy(at, &value, sizeof value); }
static uint64_t get(const uint8_t *at, size_t size) {
    uint64_t value = 0;
    memcpy(&value, at, size);
    return value;
}

/* Make checksums right: of the parts that a segment has, and of its header. */
static void set_checksums(uint8_t *file, size_t size, int of_parts) {
    if (size < HEADER) return;
    memcpy(file, SEGMENT_MAGIC, 8);
    for (size_t part = 0; of_parts && part < PARTS; part++) {
        uint8_t *entry = file + PARTS_AT + part * PART_SIZE;
        uint64_t offset = get(entry, 8), length = get(entry + 8, 8);
        if (offset <= size && length <= size - offset) set_32(entry + 16, crc_32(0, file + offset, length));
    }
    set_32(file + CRC_AT, crc_32(0, file, CRC_AT));
}

/* A file of the parts that follow a few numbers, one after the other; NULL if it is too large. */
static uint8_t *lay_out(const uint8_t *data, size_t size, size_t *made) {
    uint16_t numbers[5] = {0}; /* dimensions / 8, words, cells, photos, photos of the axis */
    size_t known = size < sizeof numbers ? size : sizeof numbers;
    memcpy(numbers, data, known);
    data += known, size -= known;
    uint32_t head[] = {8 * (1 + numbers[0] % 16u), PARTS, 1 + numbers[3] % 500u, 0, numbers[4], 0, 0, numbers[2] % 40u};
    head[6] = 64 * (numbers[1] % (head[0] / 64 + 1));
    uint64_t lengths[PARTS], total = 0, at = HEADER;
    part_lengths(head[0], head[6], head[7], head[2], lengths);
    for (size_t part = 0; part < PATHS; part++) total += lengths[part];
    lengths[PATHS] = size > total ? size - total : 0;
    uint8_t *file = calloc(1, total + lengths[PATHS] + PARTS * ALIGNMENT + HEADER);
    memcpy(file + 8, head, sizeof head);
    for (size_t part = 0; part < PARTS; part++) {
        uint8_t *entry = file + PARTS_AT + part * PART_SIZE;
        uint64_t offset = aligned(at), count = lengths[part] < size ? lengths[part] : size;
        memcpy(entry, &offset, 8);
        memcpy(entry + 8, lengths + part, 8);
        memcpy(file + offset, data, count);
        data += count, size -= count, at = offset + lengths[part];
    }
    *made = at;
    return file;
}

static int use(Host *h, int is_tuned, size_t cut, int words) {
    McadError error;
    McadEntry *e = h->entries;
    int code = host_open(h, is_tuned, &error);
    if (code) return code;
    /* A file may become shorter while it is open. */
    if (cut) MUST(!ftruncate(words ? e->words : e->file, (off_t)((cut - 1) * (words ? 8 : 512))));
    return use_index(h);
}

int fuzz_segment(void) {
    const uint8_t *data;
    size_t size = split_control(&data), flags = number(256);
    if (size > MOST_SIZE) return 0;
    uint8_t *file = flags & 1 ? memcpy(calloc(1, size + HEADER), data, size) : lay_out(data, size, &size);
    if (!(flags & 16)) set_checksums(file, size, !(flags & 2));
    if (flags & 4) file[number(256) + 8] ^= (uint8_t)(1 + number(255)), set_32(file + CRC_AT, crc_32(0, file, CRC_AT));
    uint32_t dim = (uint32_t)get(file + 8, 4), *deleted = malloc(2 * sizeof *deleted);
    uint64_t photos = get(file + 16, 8);
    McadEntry e = {.file = new_file(file, size), .words = -1, .header_crc32 = (uint32_t)get(file + CRC_AT, 4),
                   .has_cells = get(file + 36, 4) != 0, .photos = photos, .prescan_bits = 64 * number(3),
                   .candidates = {0.5 * (double)number(5), 0.5 * (double)number(4), 1}, .prescan = {2, 0.5, 1},
                   .cells = {0.5 * (double)number(5), 0.5 * (double)number(4), 1}};
    if (photos > 4 && number(2)) deleted[0] = 1, deleted[1] = (uint32_t)photos - 1, e.deleted_count = 2;
    e.deleted = deleted;
    Host h = {.dim = dim % 8 || dim > MOST_DIM ? 8 : dim, .count = 1, .entries = {e}};
    int code = use(&h, number(2) == 0, flags & 8 ? number(256) + 1 : 0, 0);
    host_free(&h);
    free(file);
    return code;
}

int fuzz_words(void) {
    static Host plain;
    const uint8_t *data;
    size_t size = split_control(&data), flags = number(256);
    if (!plain.count) make_index(&plain, 8, 40, 0);
    if (size > MOST_SIZE) return 0;
    uint8_t *file = memcpy(calloc(1, size + 40), data, size);
    if (!(flags & 1) && size >= 40) { /* magic, checksum, segment's, photos, five sizes: see words.c */
        uint64_t known = 40 + (40 + 7) / 8 + 4 * ((40 + 15) / 16);
        memcpy(file, "MCADWRD1", 8);
        set_32(file + 12, plain.entries[0].header_crc32);
        set_32(file + 16, 40);
        for (size_t i = 0; i < 4; i++) known += get(file + 20 + 4 * i, 4) * (i ? 1 : 8);
        if (known <= size) set_32(file + 36, (uint32_t)(size - known));
    }
    if (!(flags & 2) && size >= 12) set_32(file + 8, crc_32(0, file + 12, size - 12));
    uint32_t *deleted = malloc(sizeof *deleted);
    *deleted = (uint32_t)number(40);
    McadEntry e = plain.entries[0];
    e.file = dup(e.file);
    e.words = new_file(file, size);
    e.deleted = deleted, e.deleted_count = number(2);
    Host h = {.dim = 8, .count = 1, .entries = {e}};
    int code = use(&h, 1, flags & 8 ? number(256) + 1 : 0, 1);
    host_free(&h);
    free(file);
    return code;
}

int fuzz_places(void) {
    const uint8_t *data;
    size_t size = split_control(&data), flags = number(4);
    uint8_t *table = memcpy(malloc(size + 1), data, size); /* not a byte more than its size is read: ASan sees */
    table = realloc(table, size ? size : 1);
    uint32_t spans[8];
    int code = 0;
    if (!(flags & 1) && size >= 20) {
        uint32_t cities = data[8] % 40u, regions = data[12] % 10u;
        size_t starts = 4 * ((cities + regions + 15) / 16 + 1), known = 16 + starts + 7 * cities;
        memcpy(table, "MCADPLC1", 8);
        set_32(table + 8, cities), set_32(table + 12, regions);
        if (known <= size) set_32(table + 12 + starts, (uint32_t)(size - known));
    }
    if (mcad_places_check(table, size))
        for (int i = 0; i < 8 && code >= 0; i++) {
            double north = (double)number(65536) / 65536 * 180 - 90, east = (double)number(65536) / 65536 * 360 - 180;
            code = mcad_places_near(table, size, north, east, (double)number(256) / 255, spans);
            MUST(code == -1 || code == 0 || code == 2 || code == 4);
            for (int line = 0; line < 2 * code; line += 2) MUST(spans[line] <= size && spans[line + 1] <= size - spans[line]);
        }
    else code = 5;
    free(table);
    return code < 0 ? 1 : code;
}
