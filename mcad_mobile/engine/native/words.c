/* Reads files of words (docs/index-format.md). A file may hold anything: every number in it is checked before it is used.
 * A search reads the dictionary and the postings of terms that match; photos' texts are decoded in groups. */
#include "words.h"
#include <sys/mman.h>
#include <unistd.h>


/* Return 0 unless the sizes in the head are those of the file. */
static int view(Span file, WordsView *v) {
    Span rest = file, head;
    uint32_t sizes[8] = {0}; /* checksum, segment, photos, blocks, entries, postings, codes, texts */
    if (!take_bytes(&rest, 8, &head) || memcmp(head.at, WORDS_MAGIC, 8)) return 0;
    for (size_t i = 0; i < 8; i++)
        if (!take_32(&rest, sizes + i)) return 0;
    *v = (WordsView){.photos = sizes[2], .block_count = sizes[3]};
    size_t groups = (v->photos + GROUP - 1) / GROUP;
    return take_bytes(&rest, (v->photos + 7) / 8, &v->read) && take_bytes(&rest, 8 * v->block_count, &v->blocks)
        && take_bytes(&rest, sizes[4], &v->entries) && take_bytes(&rest, sizes[5], &v->postings)
        && take_bytes(&rest, sizes[6], &v->model) && take_bytes(&rest, 4 * groups, &v->ends)
        && take_bytes(&rest, sizes[7], &v->texts) && !rest.size;
}

int words_open(Words *w, int file, const Segment *segment, McadError *error) {
    uint64_t size = 0;
    *w = (Words){.file = file, .reading = PTHREAD_MUTEX_INITIALIZER};
    int code = file_size(file, &size, error);
    if (code) return code;
    uint8_t head[WORDS_HEAD];
    if (size < WORDS_HEAD) return fail(error, MCAD_WORDS_SIZE, (int64_t)size, WORDS_HEAD, 0);
    if ((code = read_at(file, head, sizeof head, 0, error))) return code;
    Span at = {head + 8, sizeof head - 8};
    uint32_t crc32 = 0, photos = 0, part = 0;
    (void)(take_32(&at, &w->crc32) && take_32(&at, &crc32) && take_32(&at, &photos));
    if (memcmp(head, WORDS_MAGIC, 8) || crc32 != segment->header_crc32 || photos != segment->photos)
        return fail(error, MCAD_WORDS_SEGMENT, 0, 0, 0);
    uint64_t whole = WORDS_HEAD + (photos + 7) / 8 + 4 * (((uint64_t)photos + GROUP - 1) / GROUP);
    for (size_t i = 0; take_32(&at, &part); i++) whole += i ? part : 8 * (uint64_t)part;
    if (whole != size) return fail(error, MCAD_WORDS_SIZE, (int64_t)size, (int64_t)whole, 0);
    void *map = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, file, 0);
    if (map == MAP_FAILED) return no_memory(error);
    w->map = map;
    w->size = (size_t)size;
    if (!view((Span){w->map, w->size}, &w->view)) return fail(error, MCAD_WORDS_SEGMENT, 0, 0, 0);
    words_release(w);
    return MCAD_DONE;
}

static void free_model(Model *m) {
    free(m->tokens.starts);
    free(m->tokens.bytes);
    free(m->letters.starts);
    free(m->letters.bytes);
    free(m->contexts.data);
    free(m->context_of);
    free(m->next.data);
    free(m);
}

void words_close(Words *w) {
    if (w->model) free_model(w->model);
    if (w->map) munmap(w->map, w->size);
    if (w->file >= 0) close(w->file);
}

int words_check_size(const Words *w, McadError *error) {
    uint64_t size;
    int code = file_size(w->file, &size, error);
    return code ? code : size < w->size ? fail(error, MCAD_CUT_OFF, (int64_t)size, 0, 0) : MCAD_DONE;
}

int words_verify(const Words *w, McadError *error) {
    uint32_t crc;
    int code = words_check_size(w, error);
    if (!code) code = crc_of(w->file, CHECKED_FROM, w->size - CHECKED_FROM, &crc, NULL, error);
    return code ? code : crc == w->crc32 ? MCAD_DONE : fail(error, MCAD_WORDS_CRC, 0, 0, 0);
}

void words_release(const Words *w) { madvise(w->map, w->size, MADV_DONTNEED); }

int words_is_read(const WordsView *v, size_t row) {
    Span byte;
    return span_part(v->read, row / 8, 1, &byte) && *byte.at >> row % 8 & 1;
}

/* A number of 7 bits a byte, least significant first. Return 0 if it does not end in time. */
static int read_number(Span *s, uint32_t *number) {
    uint8_t byte;
    *number = 0;
    for (unsigned shift = 0; shift < 28 && take_8(s, &byte); shift += 7) {
        *number |= (uint32_t)(byte & 127) << shift;
        if (byte < 128) return 1;
    }
    return 0;
}

/* Read how many bytes a string shares with the one before it, and how many follow. Return 0 at the end. */
static int read_sizes(Span *s, size_t *shared, size_t *more) {
    uint8_t both, rest = 0;
    if (!take_8(s, &both)) return 0;
    *shared = both >> 4;
    *more = both & 15;
    if (*shared == 15 && take_8(s, &rest)) *shared += rest;
    if (*more == 15 && take_8(s, &rest)) *more += rest;
    return 1;
}

/* Read the next entry. Return 1; 0 after the last; -1 if the file is damaged. */
int words_next(const WordsView *v, Entry *e) {
    uint32_t packed;
    size_t more;
    uint8_t info;
    e->postings = e->postings_end;
    if (!read_sizes(&e->rest, &e->shared, &more)) return 0;
    if (e->shared > e->size || e->shared + more > MOST_TERM || !(e->shared + more) || more >= e->rest.size) return -1;
    /* Copying always eight bytes is faster than a call for a few. */
    if (more <= 8 && e->rest.size >= 8) memcpy(e->term + e->shared, e->rest.at, 8);
    else memcpy(e->term + e->shared, e->rest.at, more);
    e->size = e->shared + more;
    Span term;
    if (!take_bytes(&e->rest, more, &term) || !take_8(&e->rest, &info)) return -1;
    e->source = info >> 6;
    e->parameter = info & 63;
    if (!read_number(&e->rest, &packed) || !packed || packed > v->postings.size - e->postings
        || e->source >= WORD_SOURCES || e->parameter > 31)
        return -1;
    e->postings_end = e->postings + packed;
    return 1;
}

/* Read the first entry of a block. */
int words_entry(const WordsView *v, size_t block, Entry *e) {
    uint32_t at, postings;
    *e = (Entry){0};
    if (block >= v->block_count) return 0;
    if (!read_32(v->blocks, 2 * block, &at) || !read_32(v->blocks, 2 * block + 1, &postings) || at >= v->entries.size
        || postings > v->postings.size || !span_part(v->entries, at, v->entries.size - at, &e->rest))
        return -1;
    e->postings_end = postings;
    return words_next(v, e);
}

/* The rows of an entry. */
static Bits postings_of(const WordsView *v, const Entry *e) {
    Bits bits = {0};
    (void)span_part(v->postings, e->postings, e->postings_end - e->postings, &bits.bytes);
    return bits;
}

int words_row(const WordsView *v, const Entry *e, Bits *bits, uint64_t *row) {
    if (!bits->bytes.at) *bits = postings_of(v, e);
    *row += read_rice(bits, e->parameter);
    if (has_ended(bits)) return 0; /* at the ones that fill the last byte */
    return *row < v->photos ? 1 : -1;
}

BODY size_t letter_at(const uint8_t *text, size_t size) {
    size_t end = 1;
    while (end < size && (text[end] & 0xc0) == 0x80) end++;
    return end;
}

/* Say whether two words that part at their first letters differ by it: another, one missing, one too many. */
static int differ_by_first(const uint8_t *a, size_t m, const uint8_t *b, size_t n) {
    size_t x = m ? letter_at(a, m) : 0, y = n ? letter_at(b, n) : 0;
    return (m - x == n - y && !memcmp(a + x, b + y, m - x)) || (m - x == n && !memcmp(a + x, b, n)) ||
           (m == n - y && !memcmp(a, b + y, m));
}

/* Return how a word, which begins with `same` bytes of the query's, matches. */
static int likeness(const WordQuery *q, const uint8_t *term, size_t size, size_t same) {
    if (same == q->size) {
        if (same == size) return WORD_WHOLE;
        if (q->modes & WORD_BEGINS) return WORD_BEGUN;
    }
    if (!(q->modes & WORD_NEAR) || size > q->size + 4 || q->size > size + 4) return 0;
    /* A letter has at most 4 bytes: longer rests end alike. */
    if (size > same + 4 && q->size > same + 4 && term[size - 1] != q->term[q->size - 1]) return 0;
    while (same && ((same < size && (term[same] & 0xc0) == 0x80) || (same < q->size && (q->term[same] & 0xc0) == 0x80)))
        same--;
    return differ_by_first(q->term + same, q->size - same, term + same, size - same) ? WORD_MISREAD : 0;
}

BODY size_t same_bytes(const WordQuery *q, const uint8_t *term, size_t size, size_t from) {
    size_t most = size < q->size ? size : q->size;
    while (from < most && term[from] == q->term[from]) from++;
    return from;
}

WordQuery query_of(const McadTerms *terms, size_t i, uint32_t sources) {
    Span word = string_at(&terms->words, i);
    return (WordQuery){.term = word.at, .size = word.size, .modes = terms->modes ? terms->modes[i] : 0, .sources = sources};
}

void mcad_words_alike(const McadTerms *terms, const McadStrings *words, uint8_t *alike) {
    for (size_t i = 0; i < words->count; i++) {
        Span word = string_at(words, i);
        alike[i] = 0;
        for (size_t term = 0; term < terms->words.count && !alike[i]; term++) {
            WordQuery query = query_of(terms, term, 0);
            alike[i] = likeness(&query, word.at, word.size, same_bytes(&query, word.at, word.size, 0)) != 0;
        }
    }
}

/* Raise to `value` the two bits at `shift` in `best` of the photos of an entry; count those that had none. */
static int raise_photos(const WordsView *v, const Entry *e, uint8_t *best, unsigned shift, unsigned value, size_t *found) {
    Bits bits = postings_of(v, e);
    for (uint64_t row = 0;; row++) {
        int more = words_row(v, e, &bits, &row);
        if (more <= 0) return !more;
        unsigned known = best[row] >> shift & 3;
        *found += !known;
        if (known < value) best[row] ^= (uint8_t)((known ^ value) << shift);
    }
}

/* Return the last block that begins before `term`, or 0; -1 if the file is damaged. */
static int64_t block_before(const WordsView *v, const uint8_t *term, size_t size) {
    size_t low = 0, high = v->block_count;
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        Entry e;
        if (words_entry(v, middle, &e) <= 0) return -1;
        int order = memcmp(e.term, term, e.size < size ? e.size : size);
        if (order < 0 || (!order && e.size < size)) low = middle;
        else high = middle;
    }
    return (int64_t)low;
}

/* Mark how photos match those of the queries that are misread, or those that are not. */
static int find(const WordsView *v, WordQuery *queries, size_t count, unsigned is_near, uint8_t *best) {
    /* A word of letters alone is misread from words that begin with one. */
    int64_t block = is_near ? block_before(v, (const uint8_t *)"a", 1) : block_before(v, queries->term, queries->size);
    Entry e;
    int more = block < 0 ? -1 : words_entry(v, (size_t)block, &e);
    for (size_t i = 0; i < count; i++) queries[i].same = 0;
    for (int is_first = 1; more > 0; more = words_next(v, &e), is_first = 0)
        for (size_t i = 0; i < count; i++) {
            WordQuery *q = queries + i;
            if ((q->modes & WORD_NEAR) != is_near) continue;
            if (is_first) e.shared = 0;
            /* A term that shares more than that differs where the one before it did. */
            if (e.shared <= q->same) q->same = same_bytes(q, e.term, e.size, e.shared);
            if (!is_near && q->same < q->size && q->same < e.size && e.term[q->same] > q->term[q->same]) return 0;
            if (!(q->sources >> e.source & 1)) continue;
            int value = likeness(q, e.term, e.size, q->same);
            if (value && !raise_photos(v, &e, best, q->shift, (unsigned)value, &q->found)) return -1;
        }
    return more;
}

int words_find(const WordsView *v, WordQuery *queries, size_t count, uint8_t *best) {
    unsigned modes = 0;
    if (count > MOST_QUERIES) return -1;
    for (size_t i = 0; i < count; i++) {
        queries[i].found = 0;
        queries[i].shift = 2 * (unsigned)i;
        modes |= queries[i].modes;
        if (!(queries[i].modes & WORD_NEAR) && find(v, queries + i, 1, 0, best) < 0) return -1;
    }
    return modes & WORD_NEAR && find(v, queries, count, WORD_NEAR, best) < 0 ? -1 : 0;
}

/* Return the next row from `row` on that has a mark, or the end. */
static size_t next_marked(const WordRanking *r, size_t row) {
    for (; row + 8 <= r->end; row += 8) {
        uint64_t any = 0, marks;
        for (size_t plane = 0; plane < r->planes; plane++) {
            memcpy(&marks, r->best + plane * r->photos + row, 8);
            any |= marks;
        }
        if (any) return row + (size_t)__builtin_ctzll(any) / 8;
    }
    return row < r->end ? row : r->end;
}

/* Return what the words of a row are worth, or with `row` the end, what they may at most be. */
static float row_worth(const WordRanking *r, size_t row) {
    float worth = 0;
    for (size_t plane = 0; plane < r->planes; plane++)
        worth += r->worths[256 * plane + (row < r->end ? r->best[plane * r->photos + row] : 255)];
    return worth;
}

BODY int passes(const WordRanking *r, size_t row) {
    return !r->allowed || r->allowed[row / 64] >> row % 64 & 1;
}

/* Put a number in place of the least of a heap. */
static void replace_least(float *heap, size_t count, float number) {
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        child += child + 1 < count && heap[child + 1] < heap[child];
        if (heap[child] >= number) break;
        heap[at] = heap[child];
    }
    heap[at] = number;
}

/* Set `rows`, with room for `room`, at least k, to the rows of the k largest worths and of as many as fit that tie with
 * the least of these, ascending, and `found` to their worths. Return how many; -1 without memory. */
int64_t words_rank(const WordRanking *r, size_t k, size_t room, uint32_t *rows, float *found) {
    size_t count = 0, above = 0;
    float *heap = calloc(k + 1, sizeof *heap), most = row_worth(r, r->end);
    if (!heap) return -1;
    for (size_t row = r->first; (row = next_marked(r, row)) < r->end && heap[0] < most; row++) {
        float worth = row_worth(r, row);
        if (worth > heap[0] && passes(r, row)) replace_least(heap, k, worth);
    }
    for (size_t i = 0; i < k; i++) above += heap[i] > heap[0];
    for (size_t row = r->first; (row = next_marked(r, row)) < r->end && count < room; row++) {
        float worth = row_worth(r, row);
        if (worth < heap[0] || worth <= 0 || (worth == heap[0] && count + above == room) || !passes(r, row)) continue;
        above -= worth > heap[0];
        rows[count] = (uint32_t)row;
        found[count++] = worth;
    }
    free(heap);
    return (int64_t)count;
}

/* Return 1; 0 if the file is damaged; -1 without memory. */
static int read_tokens(Span *s, Tokens *t) {
    uint8_t token[MOST_TOKEN];
    Buffer bytes = {0};
    for (size_t length = 1; length <= MOST_CODE; length++) {
        uint32_t number;
        if (!read_number(s, &number) || number > MOST_TOKENS - t->count) return 0;
        t->of_length[length] = (uint16_t)number;
        t->count += number;
    }
    t->starts = malloc((t->count + 1) * sizeof *t->starts);
    if (!t->starts) return -1;
    for (size_t i = 0, size = 0, shared, more; i < t->count; i++) {
        Span tail;
        t->starts[i] = (uint32_t)bytes.size;
        if (!read_sizes(s, &shared, &more) || shared > size || shared + more > MOST_TOKEN
            || !take_bytes(s, more, &tail)) {
            free(bytes.data);
            return 0;
        }
        memcpy(token + shared, tail.at, more);
        size = shared + more;
        append(&bytes, token, size);
    }
    t->starts[t->count] = (uint32_t)bytes.size;
    t->bytes = bytes.data;
    return bytes.failed ? -1 : 1;
}

/* Read which tokens have codes of their own after others. Return 1; 0 if the file is damaged; -1 without memory. */
static int read_contexts(Span *s, Model *m) {
    uint32_t count;
    const uint8_t *p = m->parameters + PARAMETERS - 3;
    if (!read_number(s, &count)) return 0;
    Bits b = {*s, 0};
    m->context_of = calloc(m->tokens.count + 1, sizeof *m->context_of);
    if (!m->context_of) return -1;
    for (uint64_t token = 0; count; count--, token++) {
        token += read_rice(&b, p[0]);
        Context c = {.first = (uint32_t)(m->next.size / 2)};
        uint64_t codes = read_rice(&b, p[1]) + 1, next = 0, length = 1;
        if (token >= m->tokens.count || codes > m->tokens.count + 1) return 0;
        for (c.count = (uint32_t)codes; codes; codes--, next++) {
            uint64_t longer = read_rice(&b, 0);
            if (longer) next = 0;
            length += longer;
            next += read_rice(&b, p[2]);
            if (has_ended(&b) || length > MOST_CODE || next > m->tokens.count) return 0;
            uint16_t symbol = (uint16_t)next;
            append(&m->next, &symbol, sizeof symbol);
            c.of_length[length]++;
        }
        append(&m->contexts, &c, sizeof c);
        m->context_of[token] = (uint16_t)(m->contexts.size / sizeof c);
    }
    return 1;
}

/* Return 1; 0 if the file is damaged; -1 without memory. */
static int read_model(const WordsView *v, Model *m) {
    Span rest = v->model, parameters;
    if (!take_bytes(&rest, PARAMETERS, &parameters)) return 0;
    memcpy(m->parameters, parameters.at, PARAMETERS);
    for (size_t i = 0; i < PARAMETERS; i++)
        if (m->parameters[i] > 20) return 0;
    int done = read_tokens(&rest, &m->tokens);
    if (done > 0) done = read_tokens(&rest, &m->letters);
    if (done > 0) done = read_contexts(&rest, m);
    while (done > 0 && m->empty < m->tokens.count && m->tokens.starts[m->empty] != m->tokens.starts[m->empty + 1])
        m->empty++;
    return m->contexts.failed || m->next.failed ? -1 : done;
}

/* What codes the texts; it is read once, by whichever thread needs it first. */
int words_model(Words *w, const Model **model, McadError *error) {
    if ((*model = __atomic_load_n(&w->model, __ATOMIC_ACQUIRE))) return MCAD_DONE;
    pthread_mutex_lock(&w->reading);
    Model *made = w->model ? NULL : calloc(1, sizeof *made);
    int done = w->model ? 1 : made ? read_model(&w->view, made) : -1;
    if (!w->model && done > 0) __atomic_store_n(&w->model, made, __ATOMIC_RELEASE);
    else if (made) free_model(made);
    *model = w->model;
    pthread_mutex_unlock(&w->reading);
    return done > 0 ? MCAD_DONE : done ? no_memory(error) : fail(error, MCAD_WORDS_TEXTS, 0, 0, 0);
}

/* Return the number of the next code, of so many of each length; MOST_TOKENS if there is none. */
static uint32_t read_code(Bits *b, const uint16_t *of_length) {
    uint64_t bits = peek_bits(b);
    uint32_t code = 0, first = 0, index = 0;
    for (unsigned length = 1; length <= MOST_CODE; length++) {
        code |= bits & 1;
        bits >>= 1;
        uint32_t number = of_length[length];
        if (code - first < number) {
            b->at += length;
            return index + (code - first);
        }
        index += number;
        first = (first + number) << 1;
        code <<= 1;
    }
    return MOST_TOKENS;
}

/* Return the token that follows `before`; MOST_TOKENS if there is none. */
static uint32_t read_token(Bits *b, const Model *m, uint32_t before) {
    if (m->context_of[before]) {
        const Context *c = (const Context *)m->contexts.data + m->context_of[before] - 1;
        uint32_t code = read_code(b, c->of_length);
        if (code >= c->count) return MOST_TOKENS;
        uint32_t token = ((const uint16_t *)m->next.data)[c->first + code];
        if (token < m->tokens.count) return token;
    }
    return read_code(b, m->tokens.of_length);
}

/* Append the texts of `lines` lines. Return 0 if the file is damaged. */
static int read_texts(Bits *b, const Model *m, uint32_t lines, Buffer *out) {
    size_t start = out->size;
    uint32_t before = m->empty;
    for (int is_spelled = 0; lines;) {
        const Tokens *t = is_spelled ? &m->letters : &m->tokens;
        uint32_t token = is_spelled ? read_code(b, t->of_length) : read_token(b, m, before);
        if (token >= t->count || has_ended(b)) return 0;
        size_t size = t->starts[token + 1] - t->starts[token];
        const uint8_t *bytes = t->bytes + t->starts[token];
        if (size + (out->size - start) > MOST_PHOTO || (is_spelled && !size)) return 0;
        append(out, bytes, size);
        if (!is_spelled) before = token;
        if (!size) is_spelled = 1;
        else {
            lines -= bytes[size - 1] == '\n';
            is_spelled = is_spelled && bytes[size - 1] != ' ' && bytes[size - 1] != '\n';
        }
    }
    return 1;
}

static int16_t clamped(int64_t value) {
    return (int16_t)(value < 0 ? 0 : value > 10000 ? 10000 : value);
}

static int64_t read_change(Bits *b, unsigned parameter) {
    uint64_t code = read_rice(b, parameter);
    return (int64_t)(code >> 1) ^ -(int64_t)(code & 1);
}

static void read_line(Bits *b, const uint8_t *parameters, int is_upright, size_t size, Box *last, int16_t *numbers) {
    Box box = expected_box(last);
    box.size = (int64_t)size;
    for (size_t i = 0; i < LINE_FIELDS; i++) {
        int64_t *field = field_of(&box, i);
        if (i == 4) expect_along(&box, last);
        if (is_upright && is_tilt(i)) *field = 0;
        else *field += last->size || i > 1 ? read_change(b, parameters[i]) : (int64_t)read_rice(b, parameters[i]);
        *field %= 1 << 12;
    }
    *last = box;
    for (size_t corner = 0; corner < 4; corner++)
        for (size_t i = 0; i < 2; i++) {
            int64_t along = corner % 3 ? box.along[i] : 0, down = corner > 1 ? box.down[i] : 0;
            numbers[2 * corner + i] = clamped((box.at[i] + along + down) * BOX_STEP);
        }
}

/* Append the records of those photos of a group whose bit in `wanted` is set. Return 1; 0 if the file is damaged. */
int words_records(const WordsView *v, const Model *m, size_t group, uint32_t wanted, Buffer *out) {
    uint32_t start = 0, end = 0;
    Bits b = {0};
    if ((group && !read_32(v->ends, group - 1, &start)) || !read_32(v->ends, group, &end) || start > end
        || !span_part(v->texts, start, end - start, &b.bytes))
        return 0;
    for (size_t row = group * GROUP; row < v->photos && wanted; row++, wanted >>= 1) {
        size_t at = out->size;
        PhotoHead head = {.is_read = (uint32_t)words_is_read(v, row)};
        head.lines = (uint32_t)read_rice(&b, m->parameters[0]);
        head.places = (uint32_t)read_rice(&b, m->parameters[1]);
        if (has_ended(&b) || head.lines > MOST_LINES || head.places > MOST_LINES) return 0;
        append(out, &head, sizeof head);
        const int16_t none[LINE_NUMBERS] = {0};
        for (size_t i = 0; i < head.lines; i++) append(out, none, sizeof none);
        size_t text = out->size, line = text;
        if (!read_texts(&b, m, head.lines + head.places, out)) return 0;
        if (out->failed) return 1;
        Box last = {0};
        int is_upright = head.lines && !read_rice(&b, 0);
        for (size_t i = 0; i < head.lines; i++) {
            const uint8_t *from = out->data + line, *end = memchr(from, '\n', out->size - line);
            int16_t numbers[LINE_NUMBERS];
            read_line(&b, m->parameters + 2 + (i ? LINE_FIELDS : 0), is_upright, (size_t)(end + 1 - from), &last,
                      numbers);
            memcpy(out->data + at + sizeof head + i * sizeof numbers, numbers, sizeof numbers);
            line += (size_t)(end + 1 - from);
        }
        if (has_ended(&b)) return 0;
        head.text_size = (uint32_t)(out->size - text);
        memcpy(out->data + at, &head, sizeof head);
        if (!(wanted & 1)) out->size = at;
    }
    return 1;
}

int words_read(Words *w, const size_t *rows, size_t count, Buffer *records, Buffer *ends, McadError *error) {
    const Model *model;
    int code = words_check_size(w, error);
    if (!code) code = words_model(w, &model, error);
    for (size_t i = 0; !code && i < count; i++) {
        if (!words_records(&w->view, model, rows[i] / GROUP, 1u << rows[i] % GROUP, records))
            code = fail(error, MCAD_WORDS_TEXTS, 0, 0, 0);
        uint64_t end = records->size;
        append(ends, &end, sizeof end);
        if (!code && (records->failed || ends->failed)) code = no_memory(error);
    }
    words_release(w);
    return code;
}
