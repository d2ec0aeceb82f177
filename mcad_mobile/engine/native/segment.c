/* Opens segments (docs/index-format.md), and reads them. A file may hold anything: its length and the checksum of its
 * header are compared first, then the parts that every search reads with theirs; what is read later is checked when it
 * is read. */
#include "segment.h"
#include "exact.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define MOST_CELLS_STORED 65535
#define NORM_TOLERANCE 1e-2
/* A fit to photos of length 1, whose regularization keeps weights below 4. */
#define MOST_BIT_WEIGHT 100
#define READ ((size_t)1 << 16)
#define HEAD_READ 256 /* bytes that hold most first paths of a block */

void part_lengths(size_t dim, size_t scan_bits, size_t cells, uint64_t photos, uint64_t lengths[PARTS]) {
    const uint64_t all[PARTS] = {
        [AXIS] = 4 * dim,
        [BIT_WEIGHTS] = 4 * (uint64_t)scan_bits * dim,
        [CENTROIDS] = 2 * (uint64_t)cells * dim,
        [STARTS] = cells ? 4 * (cells + 1) : 0,
        [ROWS] = cells ? 4 * photos : 0,
        [COLUMNS] = photos * (scan_bits / 8),
        [RECORDS] = photos * record_size(dim, scan_bits),
        [TIMES] = 4 * photos,
        [STAMPS] = 8 * photos,
        [PATH_BLOCKS] = (photos + PATHS_A_BLOCK - 1) / PATHS_A_BLOCK * 8,
    };
    memcpy(lengths, all, sizeof all);
}

/* Take the fields of a header whose checksum is right. */
static int read_fields(Segment *s, Span header, McadError *error) {
    Span at = {header.at + 8, header.size - 8};
    uint32_t dim = 0, parts = 0, scan_bits = 0, cells = 0;
    uint64_t photos = 0;
    (void)(take_32(&at, &dim) && take_32(&at, &parts) && take_64(&at, &photos) && take_64(&at, &s->axis_photos)
           && take_32(&at, &scan_bits) && take_32(&at, &cells));
    if (dim % 8 || dim < 8 || dim > MOST_DIM || parts != PARTS || !photos || photos >= UINT32_MAX)
        return fail(error, MCAD_SHAPE, dim, parts, (int64_t)photos);
    if (scan_bits % 64 || scan_bits > dim) return fail(error, MCAD_SCAN_BITS, scan_bits, dim, 0);
    if (cells > MOST_CELLS_STORED) return fail(error, MCAD_CELLS, cells, 0, 0);
    s->dim = dim, s->photos = photos, s->scan_bits = scan_bits, s->cells = cells;
    uint64_t lengths[PARTS], end = HEADER;
    part_lengths(dim, scan_bits, cells, photos, lengths);
    for (int part = 0; part < PARTS; part++) {
        Span entry = {0};
        (void)(span_part(header, PARTS_AT + (uint64_t)part * PART_SIZE, PART_SIZE, &entry)
               && take_64(&entry, s->offsets + part) && take_64(&entry, s->lengths + part)
               && take_32(&entry, s->crcs + part));
        if (part != PATHS && s->lengths[part] != lengths[part])
            return fail(error, MCAD_PART_LENGTH, part, (int64_t)s->lengths[part], (int64_t)lengths[part]);
        if (s->offsets[part] != aligned(end) || s->offsets[part] > s->size
            || s->lengths[part] > s->size - s->offsets[part])
            return fail(error, MCAD_PART_PLACE, part, (int64_t)s->offsets[part], (int64_t)s->size);
        end = s->offsets[part] + s->lengths[part];
    }
    return end == s->size ? MCAD_DONE : fail(error, MCAD_FILE_SIZE, (int64_t)s->size, (int64_t)end, 0);
}

static int check_header(Segment *s, McadError *error) {
    uint8_t header[HEADER];
    size_t size = s->size < HEADER ? (size_t)s->size : HEADER;
    int code = read_at(s->file, header, size, 0, error);
    if (code) return code;
    uint64_t magic = 0;
    memcpy(&magic, header, size < 8 ? size : 8);
    if (size < 8 || memcmp(header, SEGMENT_MAGIC, 8)) {
        int is_newer = size >= 8 && !memcmp(header, SEGMENT_MAGIC, 7) && header[7] >= '2' && header[7] <= '9';
        return fail(error, is_newer ? MCAD_NEWER : MCAD_MAGIC, (int64_t)magic, (int64_t)(size < 8 ? size : 8), 0);
    }
    if (size < HEADER) return fail(error, MCAD_SHORT_HEADER, (int64_t)size, 0, 0);
    uint32_t crc = crc_32(0, header, CRC_AT);
    memcpy(&s->header_crc32, header + CRC_AT, sizeof s->header_crc32);
    if (crc != s->header_crc32) return fail(error, MCAD_HEADER_CRC, crc, 0, 0);
    return read_fields(s, (Span){header, HEADER}, error);
}

/* The array of `count` numbers of `width` bytes that a part of the map is. */
static const void *array(const Segment *s, int part, uint64_t count, uint64_t width) {
    Span bytes = {0};
    (void)span_part((Span){s->map, (size_t)s->size}, s->offsets[part], s->lengths[part], &bytes);
    return span_array(bytes, count, width);
}

static int map_parts(Segment *s, McadError *error) {
    void *map = mmap(NULL, (size_t)s->size, PROT_READ, MAP_SHARED, s->file, 0);
    if (map == MAP_FAILED) return no_memory(error);
    s->map = map;
    /* Each search reads all of the first parts, and little of the others: scans prefetch what they read. */
    madvise(map, (size_t)s->size, MADV_RANDOM);
    madvise(map, (size_t)s->offsets[ROWS], MADV_WILLNEED);
#ifdef POSIX_FADV_RANDOM
    posix_fadvise(s->file, 0, 0, POSIX_FADV_RANDOM);
#endif
    s->axis = array(s, AXIS, s->dim, 4);
    s->bit_weights = array(s, BIT_WEIGHTS, (uint64_t)s->scan_bits * s->dim, 4);
    s->centroids = array(s, CENTROIDS, (uint64_t)s->cells * s->dim, 2);
    s->rows = array(s, ROWS, s->cells ? s->photos : 0, 4);
    s->columns = array(s, COLUMNS, (uint64_t)s->scan_bits / 64 * s->photos, 8);
    s->times = array(s, TIMES, s->photos, 4);
    if (!s->axis || !s->bit_weights || !s->centroids || !s->rows || !s->columns || !s->times)
        return fail(error, MCAD_FILE_SIZE, (int64_t)s->size, 0, 0);
    for (int part = AXIS; part <= STARTS; part++) {
        uint32_t crc = crc_32(0, s->map + s->offsets[part], (size_t)s->lengths[part]);
        if (crc != s->crcs[part]) return fail(error, MCAD_PART_CRC, part, crc, s->crcs[part]);
    }
    return MCAD_DONE;
}

static int check_numbers(Segment *s, McadError *error) {
    double squares = 0;
    for (size_t i = 0; i < s->dim; i++) squares += (double)s->axis[i] * s->axis[i];
    double length = sqrt(squares);
    if (squares != 0 && !(length >= 1 - NORM_TOLERANCE && length <= 1 + NORM_TOLERANCE))
        return fail_number(error, MCAD_AXIS, 0, length);
    for (size_t i = 0; i < s->scan_bits * s->dim; i++)
        if (!(s->bit_weights[i] >= -MOST_BIT_WEIGHT && s->bit_weights[i] <= MOST_BIT_WEIGHT))
            return fail_number(error, MCAD_BIT_WEIGHT, 0, (double)s->bit_weights[i]);
    if (!s->cells) return MCAD_DONE;
    const uint32_t *starts = array(s, STARTS, s->cells + 1, 4);
    s->starts = malloc((s->cells + 1) * sizeof *s->starts);
    if (!s->starts || !starts) return no_memory(error);
    memcpy(s->starts, starts, (s->cells + 1) * sizeof *s->starts);
    int are_right = s->starts[0] == 0 && s->starts[s->cells] == s->photos;
    for (size_t c = 0; c < s->cells; c++) are_right &= s->starts[c] <= s->starts[c + 1];
    return are_right ? MCAD_DONE : fail(error, MCAD_CELL_STARTS, (int64_t)s->cells, (int64_t)s->photos, 0);
}

int segment_open(Segment *s, int file, McadError *error) {
    *s = (Segment){.file = file, .finding = PTHREAD_MUTEX_INITIALIZER};
    int code = file_size(file, &s->size, error);
    if (!code) code = check_header(s, error);
    if (!code) code = map_parts(s, error);
    if (!code) code = check_numbers(s, error);
    return code;
}

void segment_close(Segment *s) {
    if (s->map) munmap(s->map, (size_t)s->size);
    if (s->file >= 0) close(s->file);
    free(s->starts);
    free(s->places);
}

int segment_check_size(const Segment *s, McadError *error) {
    uint64_t size;
    int code = file_size(s->file, &size, error);
    return code ? code : size < s->size ? fail(error, MCAD_CUT_OFF, (int64_t)size, 0, 0) : MCAD_DONE;
}

int row_at(const Segment *s, size_t place, size_t *row, McadError *error) {
    *row = place;
    if (!s->cells) return MCAD_DONE;
    uint32_t stored;
    int code = read_at(s->file, &stored, sizeof stored, s->offsets[ROWS] + 4 * (uint64_t)place, error);
    *row = stored;
    return code ? code : stored < s->photos ? MCAD_DONE : fail(error, MCAD_PLACE, (int64_t)place, stored, 0);
}

static int read_places(Segment *s, uint32_t *places, McadError *error) {
    uint32_t rows[READ / 4];
    int code = MCAD_DONE;
    memset(places, 0xff, s->photos * sizeof *places);
    for (size_t at = 0; !code && at < s->photos; at += READ / 4) {
        size_t count = s->photos - at < READ / 4 ? s->photos - at : READ / 4;
        code = read_at(s->file, rows, 4 * count, s->offsets[ROWS] + 4 * (uint64_t)at, error);
        for (size_t i = 0; !code && i < count; i++)
            if (rows[i] >= s->photos) code = fail(error, MCAD_PLACE, (int64_t)(at + i), rows[i], 0);
            else places[rows[i]] = (uint32_t)(at + i);
    }
    for (size_t row = 0; !code && row < s->photos; row++)
        if (places[row] == UINT32_MAX) code = fail(error, MCAD_NO_PLACE, (int64_t)row, 0, 0);
    return code;
}

/* Find the places of all rows, once, whichever thread needs them first. */
static int find_places(Segment *s, uint32_t **found, McadError *error) {
    if ((*found = __atomic_load_n(&s->places, __ATOMIC_ACQUIRE))) return MCAD_DONE;
    pthread_mutex_lock(&s->finding);
    uint32_t *places = s->places ? NULL : malloc(s->photos * sizeof *places);
    int code = s->places ? MCAD_DONE : places ? read_places(s, places, error) : no_memory(error);
    if (!s->places && !code) __atomic_store_n(&s->places, places, __ATOMIC_RELEASE);
    else free(places);
    *found = s->places;
    pthread_mutex_unlock(&s->finding);
    return code;
}

int place_of(Segment *s, size_t row, size_t *place, McadError *error) {
    uint32_t *places;
    *place = row;
    if (!s->cells) return MCAD_DONE;
    int code = find_places(s, &places, error);
    if (!code) *place = places[row];
    return code;
}

size_t cell_at(const Segment *s, size_t place) {
    size_t low = 0, high = s->cells - 1;
    while (low < high) { /* the last cell that starts at or before it */
        size_t middle = (low + high + 1) / 2;
        if (s->starts[middle] <= place) low = middle;
        else high = middle - 1;
    }
    return low;
}

int read_records(const Segment *s, const size_t *places, size_t count, uint8_t *records, McadError *error) {
    size_t size = record_size(s->dim, s->scan_bits), whole = whole_size(s->dim), words = s->scan_bits / 64;
    uint8_t raw[READ];
    for (size_t at = 0, run; at < count; at += run) {
        for (run = 1; at + run < count && places[at + run] == places[at] + run && (run + 1) * size <= READ;) run++;
        int code = read_at(s->file, raw, run * size, s->offsets[RECORDS] + places[at] * (uint64_t)size, error);
        if (code) return code;
        for (size_t i = 0; i < run; i++) {
            const uint8_t *stored = raw + i * size;
            uint8_t *record = records + (at + i) * whole, *code_at = record + s->dim;
            memcpy(record, stored, s->dim);
            for (size_t w = 0; w < words; w++) memcpy(code_at + 8 * w, s->columns + w * s->photos + places[at + i], 8);
            memcpy(code_at + 8 * words, stored + s->dim, size - s->dim);
        }
    }
    return MCAD_DONE;
}

int read_embeddings(Segment *s, const size_t *rows, size_t count, float *embeddings, McadError *error) {
    enum { BATCH = 64 };
    size_t places[BATCH], whole = whole_size(s->dim);
    uint8_t *records = malloc(BATCH * whole);
    int code = records ? MCAD_DONE : no_memory(error);
    for (size_t at = 0; !code && at < count; at += BATCH) {
        size_t many = count - at < BATCH ? count - at : BATCH;
        for (size_t i = 0; !code && i < many; i++) code = place_of(s, rows[at + i], places + i, error);
        if (!code) code = read_records(s, places, many, records, error);
        if (!code) mcad_decode(records, many, s->dim, s->axis, embeddings + at * s->dim);
    }
    free(records);
    return code;
}

int read_stamps(const Segment *s, size_t row, uint32_t stamps[2], McadError *error) {
    return read_at(s->file, stamps, 8, s->offsets[STAMPS] + 8 * (uint64_t)row, error);
}

/* ---- Paths ---- */

static size_t block_count(const Segment *s) { return (s->photos + PATHS_A_BLOCK - 1) / PATHS_A_BLOCK; }

/* Where a block starts and stops in the part. */
static int block_span(const Segment *s, size_t block, uint64_t span[2], McadError *error) {
    size_t is_last = block + 1 == block_count(s);
    int code = read_at(s->file, span, is_last ? 8 : 16, s->offsets[PATH_BLOCKS] + 8 * (uint64_t)block, error);
    if (is_last) span[1] = s->lengths[PATHS];
    if (code || (span[0] < span[1] && span[1] <= s->lengths[PATHS])) return code;
    return fail(error, MCAD_PATH_BLOCK, (int64_t)block, (int64_t)span[0], (int64_t)span[1]);
}

/* Have the bytes of a block in `raw`, reading on if blocks come one after the other. */
static int read_block(PathReader *p, size_t block, Span *bytes, McadError *error) {
    const Segment *s = p->segment;
    uint64_t span[2];
    int code = block_span(s, block, span, error);
    if (code) return code;
    if (span[0] < p->raw_at || span[1] > p->raw_at + p->raw.size || !p->raw.size) {
        uint64_t size = span[1] - span[0], rest = s->lengths[PATHS] - span[0];
        if (!p->is_prefetched && p->block && block == p->block && size < READ) size = rest < READ ? rest : READ;
        p->raw.size = 0;
        if (p->raw.room < size) {
            free(p->raw.data);
            p->raw = (Buffer){.data = malloc((size_t)size), .room = (size_t)size};
            if (!p->raw.data) return no_memory(error);
        }
        code = read_at(s->file, p->raw.data, (size_t)size, s->offsets[PATHS] + span[0], error);
        if (code) return code;
        p->raw.size = (size_t)size;
        p->raw_at = span[0];
    }
    (void)span_part((Span){p->raw.data, p->raw.size}, span[0] - p->raw_at, span[1] - span[0], bytes);
    return MCAD_DONE;
}

static int unpack(PathReader *p, size_t block, McadError *error) {
    Span bytes = {0}, tail = {0};
    if (p->block == block + 1) return MCAD_DONE;
    int code = read_block(p, block, &bytes, error);
    if (code) return code;
    size_t left = p->segment->photos - block * PATHS_A_BLOCK, before = 0;
    p->count = left < PATHS_A_BLOCK ? left : PATHS_A_BLOCK;
    p->block = p->text.size = 0;
    for (size_t i = 0; i < p->count; i++) {
        uint8_t shared;
        uint16_t length;
        size_t start = p->text.size, size = start - before;
        if (!take_8(&bytes, &shared) || !take_16(&bytes, &length) || !take_bytes(&bytes, length, &tail) || shared > size
            || !(shared + length))
            return fail(error, MCAD_PATH, (int64_t)block, 0, 0);
        reserve(&p->text, (size_t)shared + length);
        if (!p->text.failed) append(&p->text, p->text.data + before, shared);
        append(&p->text, tail.at, tail.size);
        if (p->text.failed) return no_memory(error);
        p->ends[i] = p->text.size;
        before = start;
    }
    p->block = block + 1;
    return MCAD_DONE;
}

int path_at(PathReader *p, size_t row, Span *path, McadError *error) {
    int code = unpack(p, row / PATHS_A_BLOCK, error);
    size_t i = row % PATHS_A_BLOCK, start = i ? p->ends[i - 1] : 0;
    if (!code) *path = (Span){p->text.data + start, p->ends[i] - start};
    return code;
}

/* The first path of a block, from the reader's memory of them. */
static int first_path(PathReader *p, size_t block, Span *path, McadError *error) {
    const Segment *s = p->segment;
    uint8_t head[HEAD_READ];
    uint16_t length;
    uint8_t shared;
    if (!p->firsts && !(p->firsts = calloc(block_count(s), sizeof *p->firsts))) return no_memory(error);
    if (!p->firsts[block]) {
        uint64_t span[2] = {0};
        int code = block_span(s, block, span, error);
        size_t size = span[1] - span[0] < HEAD_READ ? (size_t)(span[1] - span[0]) : HEAD_READ;
        if (!code) code = read_at(s->file, head, size, s->offsets[PATHS] + span[0], error);
        if (code) return code;
        Span bytes = {head, size}, text;
        if (!take_8(&bytes, &shared) || !take_16(&bytes, &length) || shared || !length
            || length > span[1] - span[0] - PATH_HEAD)
            return fail(error, MCAD_PATH, (int64_t)block, 0, 0);
        size_t at = p->heads.size;
        append(&p->heads, &length, sizeof length);
        if (take_bytes(&bytes, length, &text)) append(&p->heads, text.at, text.size);
        else {
            if ((code = unpack(p, block, error))) return code;
            append(&p->heads, p->text.data, p->ends[0]);
        }
        if (p->heads.failed) return no_memory(error);
        p->firsts[block] = at + 1;
    }
    memcpy(&length, p->heads.data + p->firsts[block] - 1, sizeof length);
    *path = (Span){p->heads.data + p->firsts[block] - 1 + sizeof length, length};
    return MCAD_DONE;
}

int lower_bound(PathReader *p, Span path, size_t *row, McadError *error) {
    size_t low = 0, high = block_count(p->segment);
    while (low < high) { /* the first block that begins after the path */
        size_t middle = (low + high) / 2;
        Span first;
        int code = first_path(p, middle, &first, error);
        if (code) return code;
        if (compare(first, path) <= 0) low = middle + 1;
        else high = middle;
    }
    *row = 0;
    if (!low) return MCAD_DONE;
    int code = unpack(p, low - 1, error);
    if (code) return code;
    size_t i = 0;
    for (size_t start = 0; i < p->count; start = p->ends[i++])
        if (compare((Span){p->text.data + start, p->ends[i] - start}, path) >= 0) break;
    *row = (low - 1) * PATHS_A_BLOCK + i;
    return MCAD_DONE;
}

void free_paths(PathReader *p) {
    free(p->raw.data);
    free(p->text.data);
    free(p->heads.data);
    free(p->firsts);
}

int prefetch_paths(const Segment *s, const size_t *rows, size_t count, McadError *error) {
#ifdef POSIX_FADV_WILLNEED
    for (size_t i = 0; i < count; i++)
        posix_fadvise(s->file, (off_t)(s->offsets[PATH_BLOCKS] + rows[i] / PATHS_A_BLOCK * 8), 16, POSIX_FADV_WILLNEED);
    for (size_t i = 0; i < count; i++) {
        uint64_t span[2];
        int code = block_span(s, rows[i] / PATHS_A_BLOCK, span, error);
        if (code) return code;
        posix_fadvise(s->file, (off_t)(s->offsets[PATHS] + span[0]), (off_t)(span[1] - span[0]), POSIX_FADV_WILLNEED);
    }
#else
    (void)s, (void)rows, (void)count, (void)error;
#endif
    return MCAD_DONE;
}

/* ---- The whole file ---- */

static int check_gap(const Segment *s, int part, uint64_t from, McadError *error) {
    uint8_t gap[ALIGNMENT];
    size_t size = (size_t)(s->offsets[part] - from);
    int code = read_at(s->file, gap, size, from, error);
    for (size_t i = 0; !code && i < size; i++)
        if (gap[i]) code = fail(error, MCAD_GAP, part, 0, 0);
    return code;
}

static int check_paths(const Segment *s, McadError *error) {
    PathReader reader = {.segment = s};
    Buffer before = {0};
    Span path;
    int code = MCAD_DONE;
    for (size_t row = 0; !code && row < s->photos; row++) {
        code = path_at(&reader, row, &path, error);
        if (!code && row && compare((Span){before.data, before.size}, path) >= 0)
            code = fail(error, MCAD_PATH_ORDER, (int64_t)row, 0, 0);
        before.size = 0;
        if (!code) append(&before, path.at, path.size);
        if (before.failed) code = no_memory(error);
    }
    free(before.data);
    free_paths(&reader);
    return code;
}

/* Check that each row has a place, and that rows ascend in a cell. */
static int check_places(Segment *s, McadError *error) {
    size_t place, row, before = 0;
    int code = place_of(s, 0, &place, error);
    for (place = 0; !code && place < s->photos; place++, before = row) {
        row = s->rows[place];
        if (place && row <= before && s->starts[cell_at(s, place)] != place)
            code = fail(error, MCAD_PLACE_ORDER, (int64_t)place, 0, 0);
    }
    return code;
}

int segment_verify(Segment *s, const McadStop *stop, McadError *error) {
    Segment now = {.file = s->file, .size = s->size};
    int code = segment_check_size(s, error);
    if (!code) code = check_header(&now, error);
    uint64_t end = HEADER;
    for (int part = 0; !code && part < PARTS; part++) {
        uint32_t crc;
        code = check_gap(s, part, end, error);
        if (!code) code = crc_of(s->file, s->offsets[part], s->lengths[part], &crc, stop, error);
        if (!code && crc != s->crcs[part]) code = fail(error, MCAD_PART_CRC, part, crc, s->crcs[part]);
        end = s->offsets[part] + s->lengths[part];
    }
    if (!code) code = check_paths(s, error);
    if (!code && s->cells) code = check_places(s, error);
    return code;
}
