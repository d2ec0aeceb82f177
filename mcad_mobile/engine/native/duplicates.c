/* Groups of photos that are nearly the same, over a whole index, without comparing all pairs. */
#include "filters.h"
#include "exact.h"

/* Photos that share a band of 16 bits are compared: two with a cosine of 0.97 differ in 8 % of all bits, so they share one
 * of 16 bands with a probability of 0.99. */
#define BAND_BYTES 2
/* Bits that may differ beyond the expected number, in standard deviations. */
#define SLACK 4
/* Compared in each band, for each photo. Photos beyond are as good as equal, and their groups join through the nearest. */
#define PAIRS_A_PHOTO 64
#define READ_AT_ONCE 256
#define ASKED_EVERY 65536 /* pairs */

/* Photos by position, the code of each around one axis, and the first photo of its group. */
typedef struct {
    const McadIndex *index;
    const McadRow *rows;
    size_t count, bytes; /* of a code */
    uint8_t *codes;
    uint32_t *groups;
    const float *axis;
    float *pair; /* two embeddings */
} Photos;

static uint32_t root_of(uint32_t *groups, uint32_t photo) {
    while (groups[photo] != photo) photo = groups[photo] = groups[groups[photo]];
    return photo;
}

static void join(uint32_t *groups, uint32_t a, uint32_t b) {
    a = root_of(groups, a), b = root_of(groups, b);
    groups[a > b ? a : b] = a > b ? b : a;
}

/* The axis of the segment with the most live photos. */
static const float *common_axis(const McadIndex *index) {
    const Live *largest = index->lives;
    for (size_t i = 1; i < index->count; i++)
        if (live_photos(index->lives + i) > live_photos(largest)) largest = index->lives + i;
    return largest->segment.axis;
}

static int read_codes(Photos *p, const McadStop *stop, McadError *error) {
    size_t dim = p->index->dim, whole = whole_size(dim), places[READ_AT_ONCE];
    uint8_t *records = malloc(READ_AT_ONCE * whole);
    float *rows = malloc(READ_AT_ONCE * dim * sizeof *rows);
    int code = records && rows ? MCAD_DONE : no_memory(error);
    for (size_t at = 0, count; !code && at < p->count; at += count) {
        size_t number = p->rows[at].segment;
        Segment *s = &p->index->lives[number].segment;
        code = is_stopped(stop, error);
        for (count = 0; !code && count < READ_AT_ONCE && at + count < p->count && p->rows[at + count].segment == number; count++)
            code = place_of(s, p->rows[at + count].row, places + count, error);
        if (!code) code = read_records(s, places, count, records, error);
        if (!code && memcmp(s->axis, p->axis, dim * sizeof *s->axis)) {
            mcad_decode(records, count, dim, s->axis, rows);
            if (!mcad_encode(rows, count, dim, p->axis, NULL, records, mcad_level())) code = no_memory(error);
        }
        for (size_t i = 0; !code && i < count; i++) memcpy(p->codes + (at + i) * p->bytes, records + i * whole + dim, p->bytes);
        in_file(code, error, number, 0);
    }
    free(records);
    free(rows);
    return code;
}

/* Positions of photos, sorted by a key of their codes, ties by position. */
typedef struct {
    uint64_t key;
    uint32_t at;
} Keyed;

static int by_key(const void *a, const void *b) {
    const Keyed *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

static uint64_t hash_code(const uint8_t *bytes, size_t size, uint64_t hash) {
    for (size_t i = 0; i < size; i++) hash = (hash ^ bytes[i]) * UINT64_C(0x9e3779b97f4a7c15), hash ^= hash >> 29;
    return hash;
}

static int read_record(Photos *p, uint32_t at, uint8_t *record, McadError *error) {
    const McadRow *row = p->rows + at;
    Segment *s = &p->index->lives[row->segment].segment;
    size_t place;
    int code = place_of(s, row->row, &place, error);
    if (!code) code = read_records(s, &place, 1, record, error);
    return in_file(code, error, row->segment, 0);
}

/* One photo stands for all its copies in a segment, whose records are the same: their pairs would be too many. */
static int join_copies(Photos *p, Keyed *keyed, McadError *error) {
    size_t whole = whole_size(p->index->dim);
    uint8_t *records = malloc(2 * whole);
    int code = records ? MCAD_DONE : no_memory(error);
    for (size_t i = 0; i < p->count; i++)
        keyed[i] = (Keyed){hash_code(p->codes + i * p->bytes, p->bytes, p->rows[i].segment), (uint32_t)i};
    qsort(keyed, p->count, sizeof *keyed, by_key);
    for (size_t i = 1, first = 0; !code && i < p->count; i++) {
        uint32_t a = keyed[first].at, b = keyed[i].at;
        if (keyed[i].key != keyed[first].key || p->rows[a].segment != p->rows[b].segment) {
            first = i;
            continue;
        }
        if (i == first + 1) code = read_record(p, a, records, error);
        if (!code) code = read_record(p, b, records + whole, error);
        if (!code && !memcmp(records, records + whole, whole)) p->groups[b] = a;
    }
    free(records);
    return code;
}

static int cosine_of(Photos *p, uint32_t a, uint32_t b, float *cosine, McadError *error) {
    const uint32_t both[] = {a, b};
    size_t dim = p->index->dim;
    for (size_t i = 0; i < 2; i++) {
        const McadRow *row = p->rows + both[i];
        size_t number = row->row;
        int code = read_embeddings(&p->index->lives[row->segment].segment, &number, 1, p->pair + i * dim, error);
        if (code) return in_file(code, error, row->segment, 0);
    }
    *cosine = (float)(exact_dot(p->pair, p->pair + dim, dim) / (STEPS * STEPS));
    return MCAD_DONE;
}

static size_t differing_bits(const uint8_t *a, const uint8_t *b, size_t bytes) {
    size_t sum = 0;
    uint64_t x, y;
    for (; bytes >= 8; bytes -= 8, a += 8, b += 8) {
        memcpy(&x, a, 8);
        memcpy(&y, b, 8);
        sum += (size_t)__builtin_popcountll(x ^ y);
    }
    for (size_t i = 0; i < bytes; i++) sum += (size_t)__builtin_popcount(a[i] ^ b[i]);
    return sum;
}

/* The most bits in which photos with a cosine of `least`, 0.5 to 1, differ: those expected of their angle, and some. The
 * angle is twice the arcsine of half a chord, by its Taylor series. */
static double most_differing(size_t bits, double least) {
    double half = sqrt((1 - least) / 2), power = half, arcsine = 0;
    for (int n = 0; n < 24; n++, power *= half * half * (2 * n - 1) / (2 * n)) arcsine += power / (2 * n + 1);
    double share = 2 * arcsine / 3.14159265358979323846, expected = (double)bits * share;
    return expected + SLACK * sqrt(expected * (1 - share)) + 1;
}

/* Join photos that share a band, differ in few bits in all, and have the cosine; nearest in the band first. */
static int join_band(Photos *p, size_t band, Keyed *keyed, size_t count, double least, const McadStop *stop,
                     McadError *error) {
    size_t size = p->bytes - band < BAND_BYTES ? p->bytes - band : BAND_BYTES, asked = 0;
    double most = most_differing(8 * p->bytes, least);
    for (size_t i = 0; i < count; i++) {
        keyed[i].key = 0;
        memcpy(&keyed[i].key, p->codes + keyed[i].at * p->bytes + band, size);
    }
    qsort(keyed, count, sizeof *keyed, by_key);
    int code = MCAD_DONE;
    uint64_t left = PAIRS_A_PHOTO * (uint64_t)count, found = 1;
    for (size_t step = 1; !code && left && found && step < count; step++, left = left > found ? left - found : 0) {
        found = 0;
        for (size_t i = 0; !code && i + step < count; i++) {
            if (keyed[i].key != keyed[i + step].key) continue;
            uint32_t a = keyed[i].at, b = keyed[i + step].at;
            float cosine;
            found++;
            if (++asked % ASKED_EVERY == 0) code = is_stopped(stop, error);
            if (code || (double)differing_bits(p->codes + a * p->bytes, p->codes + b * p->bytes, p->bytes) > most) continue;
            if (root_of(p->groups, a) == root_of(p->groups, b)) continue;
            code = cosine_of(p, a, b, &cosine, error);
            if (!code && (double)cosine >= least) join(p->groups, a, b);
        }
    }
    return code;
}

int mcad_duplicates(McadFilter *filter, double least, const McadStop *stop, uint32_t *groups, McadError *error) {
    const McadIndex *index = filter->index;
    Photos p = {.index = index, .bytes = index->dim / 8, .groups = groups};
    for (size_t i = 0; i < index->count; i++) p.count += filter->of[i].count;
    for (size_t i = 0; i < p.count; i++) groups[i] = (uint32_t)i;
    if (p.count < 2) return MCAD_DONE;
    McadRow *rows = malloc(p.count * sizeof *rows);
    Keyed *keyed = malloc(p.count * sizeof *keyed);
    p.codes = malloc(p.count * p.bytes);
    p.pair = malloc(2 * index->dim * sizeof *p.pair);
    p.axis = common_axis(index);
    p.rows = rows;
    int code = rows && keyed && p.codes && p.pair ? check_sizes(index, error) : no_memory(error);
    if (!code) code = mcad_filter_rows(filter, rows, error);
    if (!code) code = read_codes(&p, stop, error);
    if (!code) code = join_copies(&p, keyed, error);
    size_t count = 0;
    for (size_t i = 0; !code && i < p.count; i++)
        if (groups[i] == i) keyed[count++].at = (uint32_t)i;
    for (size_t band = 0; !code && band < p.bytes; band += BAND_BYTES)
        code = join_band(&p, band, keyed, count, least, stop, error);
    for (size_t i = 0; !code && i < p.count; i++) groups[i] = root_of(groups, (uint32_t)i);
    free(rows);
    free(keyed);
    free(p.codes);
    free(p.pair);
    return code;
}
