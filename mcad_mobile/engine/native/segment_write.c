#include "segment_write.h"

#define BATCH_BYTES ((size_t)1 << 21)
#define LEAST_BATCH 256
#define MOST_BATCH 4096

size_t batch_size(size_t dim) {
    size_t count = BATCH_BYTES / whole_size(dim);
    return count < LEAST_BATCH ? LEAST_BATCH : count > MOST_BATCH ? MOST_BATCH : count;
}

/* Write the next bytes of a part that is written in order. */
static int append_part(SegmentWriter *w, int part, const void *data, size_t size, McadError *error) {
    int code = write_at(w->file, data, size, w->offsets[part] + w->written[part], error);
    w->crcs[part] = crc_32(w->crcs[part], data, size);
    w->written[part] += size;
    return code;
}

int segment_begin(SegmentWriter *w, int file, const Frame *frame, size_t photos, const uint32_t *sizes, McadError *error) {
    uint64_t lengths[PARTS], end = HEADER;
    size_t words = frame->scan_bits / 64, batch = batch_size(frame->dim);
    *w = (SegmentWriter){.file = file, .frame = frame, .photos = photos};
    part_lengths(frame->dim, frame->scan_bits, frame->cells, photos, lengths);
    for (int part = 0; part < PARTS; part++) {
        w->offsets[part] = aligned(end);
        end = w->offsets[part] + lengths[part];
    }
    w->order = malloc(batch * sizeof *w->order);
    w->scratch = malloc(batch * (record_size(frame->dim, frame->scan_bits) + 8 * (words + 1)));
    if (!w->order || !w->scratch) return no_memory(error);
    int code = append_part(w, AXIS, frame->axis, frame->dim * sizeof *frame->axis, error);
    if (!code) code = append_part(w, BIT_WEIGHTS, frame->bit_weights, frame->scan_bits * frame->dim * sizeof(float), error);
    if (code || !frame->cells) return code;
    w->starts = calloc(frame->cells + 1, sizeof *w->starts);
    w->next = calloc(frame->cells, sizeof *w->next);
    w->rows = malloc(photos * sizeof *w->rows);
    if (!w->starts || !w->next || !w->rows) return no_memory(error);
    for (size_t c = 0; c < frame->cells; c++) {
        w->next[c] = w->starts[c];
        w->starts[c + 1] = w->starts[c] + sizes[c];
    }
    return MCAD_DONE;
}

/* Set `order` to the photos of a batch by cell, in a cell by row. */
static void sort_by_cell(SegmentWriter *w, const Batch *batch, uint32_t *sizes) {
    memset(sizes, 0, (w->frame->cells + 1) * sizeof *sizes);
    for (size_t i = 0; i < batch->count; i++) sizes[batch->cells[i] + 1]++;
    for (size_t c = 0; c < w->frame->cells; c++) sizes[c + 1] += sizes[c];
    for (size_t i = 0; i < batch->count; i++) w->order[sizes[batch->cells[i]]++] = (uint32_t)i;
}

/* Write stored records and columns of photos `order` [count], which lie side by side from a place on. */
static int write_run(SegmentWriter *w, const Batch *batch, const uint32_t *order, size_t count, size_t place,
                     McadError *error) {
    size_t dim = w->frame->dim, words = w->frame->scan_bits / 64, whole = whole_size(dim);
    size_t size = record_size(dim, w->frame->scan_bits), head = dim + 8 * words;
    uint8_t *columns = w->scratch + count * size;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *record = batch->records + order[i] * whole;
        memcpy(w->scratch + i * size, record, dim);
        memcpy(w->scratch + i * size + dim, record + head, whole - head);
        for (size_t word = 0; word < words; word++) memcpy(columns + 8 * (word * count + i), record + dim + 8 * word, 8);
    }
    int code = write_at(w->file, w->scratch, count * size, w->offsets[RECORDS] + place * (uint64_t)size, error);
    for (size_t word = 0; !code && word < words; word++)
        code = write_at(w->file, columns + 8 * word * count, 8 * count,
                        w->offsets[COLUMNS] + 8 * (word * (uint64_t)w->photos + place), error);
    return code;
}

static int write_places(SegmentWriter *w, const Batch *batch, McadError *error) {
    if (!w->frame->cells) {
        for (size_t i = 0; i < batch->count; i++) w->order[i] = (uint32_t)i;
        return write_run(w, batch, w->order, batch->count, w->row, error);
    }
    uint32_t *sizes = malloc((w->frame->cells + 1) * sizeof *sizes);
    int code = sizes ? MCAD_DONE : no_memory(error);
    if (sizes) sort_by_cell(w, batch, sizes);
    for (size_t at = 0, end; !code && at < batch->count; at = end) {
        size_t cell = batch->cells[w->order[at]], place = w->next[cell];
        for (end = at; end < batch->count && batch->cells[w->order[end]] == cell; end++)
            w->rows[w->next[cell]++] = (uint32_t)(w->row + w->order[end]);
        code = write_run(w, batch, w->order + at, end - at, place, error);
    }
    free(sizes);
    return code;
}

/* Pack paths: each without the prefix that it shares with the one before it in its block. */
static int pack_paths(SegmentWriter *w, const Batch *batch, McadError *error) {
    w->packed.size = 0;
    for (size_t i = 0; i < batch->count; i++) {
        Span path = string_at(&batch->paths, i), before = {w->last.data, w->last.size};
        size_t shared = 0, most = before.size < path.size ? before.size : path.size;
        if (!path.size || path.size > MOST_PATH || (w->row + i && compare(before, path) >= 0))
            return fail(error, MCAD_ORDER, (int64_t)(w->row + i), 0, 0);
        if ((w->row + i) % PATHS_A_BLOCK) {
            if (most > MOST_SHARED) most = MOST_SHARED;
            while (shared < most && path.at[shared] == before.at[shared]) shared++;
        } else {
            uint64_t start = w->written[PATHS] + w->packed.size;
            append(&w->blocks, &start, sizeof start);
        }
        uint8_t byte = (uint8_t)shared;
        uint16_t length = (uint16_t)(path.size - shared);
        append(&w->packed, &byte, 1);
        append(&w->packed, &length, sizeof length);
        append(&w->packed, path.at + shared, path.size - shared);
        w->last.size = 0;
        append(&w->last, path.at, path.size);
    }
    if (w->packed.failed || w->last.failed || w->blocks.failed) return no_memory(error);
    return append_part(w, PATHS, w->packed.data, w->packed.size, error);
}

int segment_add(SegmentWriter *w, const Batch *batch, McadError *error) {
    int code = write_places(w, batch, error);
    if (!code) code = append_part(w, TIMES, batch->times, 4 * batch->count, error);
    if (!code) code = append_part(w, STAMPS, batch->stamps, 8 * batch->count, error);
    if (!code) code = pack_paths(w, batch, error);
    w->row += batch->count;
    return code;
}

static int write_header(SegmentWriter *w, uint32_t *crc32, McadError *error) {
    const Frame *f = w->frame;
    uint8_t header[HEADER] = SEGMENT_MAGIC;
    const uint32_t sizes[] = {(uint32_t)f->dim, PARTS}, last[] = {(uint32_t)f->scan_bits, (uint32_t)f->cells};
    const uint64_t counts[] = {w->photos, f->axis_photos};
    memcpy(header + 8, sizes, sizeof sizes);
    memcpy(header + 16, counts, sizeof counts);
    memcpy(header + 32, last, sizeof last);
    for (int part = 0; part < PARTS; part++) {
        uint8_t *entry = header + PARTS_AT + part * PART_SIZE;
        memcpy(entry, w->offsets + part, 8);
        memcpy(entry + 8, w->written + part, 8);
        memcpy(entry + 16, w->crcs + part, 4);
    }
    *crc32 = crc_32(0, header, CRC_AT);
    memcpy(header + CRC_AT, crc32, sizeof *crc32);
    return write_at(w->file, header, sizeof header, 0, error);
}

int segment_end(SegmentWriter *w, uint32_t *header_crc32, McadError *error) {
    const Frame *f = w->frame;
    int code = w->row == w->photos ? MCAD_DONE : fail(error, MCAD_ORDER, (int64_t)w->row, 0, 0);
    if (!code) code = append_part(w, PATH_BLOCKS, w->blocks.data, w->blocks.size, error);
    if (!code && f->cells) code = append_part(w, CENTROIDS, f->centroids, f->cells * f->dim * sizeof *f->centroids, error);
    if (!code && f->cells) code = append_part(w, STARTS, w->starts, (f->cells + 1) * sizeof *w->starts, error);
    if (!code && f->cells) code = append_part(w, ROWS, w->rows, w->photos * sizeof *w->rows, error);
    /* Checksums go from front to back, so these parts are read again. */
    w->written[COLUMNS] = w->photos * (uint64_t)(f->scan_bits / 8);
    w->written[RECORDS] = w->photos * (uint64_t)record_size(f->dim, f->scan_bits);
    for (int part = COLUMNS; !code && part <= RECORDS; part++)
        code = crc_of(w->file, w->offsets[part], w->written[part], w->crcs + part, NULL, error);
    if (!code) code = write_header(w, header_crc32, error);
    if (!code) code = flush(w->file, error);
    segment_abandon(w);
    return code;
}

void segment_abandon(SegmentWriter *w) {
    free(w->starts);
    free(w->next);
    free(w->rows);
    free(w->order);
    free(w->scratch);
    free(w->blocks.data);
    free(w->last.data);
    free(w->packed.data);
    *w = (SegmentWriter){0};
}
