/* Reads files of words (docs/index-format.md). A file may hold anything: every number in it is checked before it is used.
 * A search reads the dictionary and the postings of terms that match; photos' texts are decoded in groups. */
#include "words.h"

/* Return 0 unless the sizes in the head are those of the file. */
int words_view(const uint8_t *data, size_t size, WordsView *v) {
    if (size < WORDS_HEAD || memcmp(data, WORDS_MAGIC, 8)) return 0;
    uint64_t sizes[5];
    for (size_t i = 0; i < 5; i++) sizes[i] = get_32(data + 20 + 4 * i);
    *v = (WordsView){.photos = get_32(data + 16), .block_count = sizes[0], .entries_size = sizes[1],
                     .postings_size = sizes[2], .model_size = sizes[3], .texts_size = sizes[4]};
    size_t groups = (v->photos + GROUP - 1) / GROUP;
    v->read = data + WORDS_HEAD;
    v->blocks = v->read + (v->photos + 7) / 8;
    v->entries = v->blocks + 8 * v->block_count;
    v->postings = v->entries + v->entries_size;
    v->model = v->postings + v->postings_size;
    v->ends = v->model + v->model_size;
    v->texts = v->ends + 4 * groups;
    return v->texts + v->texts_size == data + size;
}

/* A number of 7 bits a byte, least significant first. Return 0 if it does not end in time. */
static int read_number(const uint8_t **at, const uint8_t *end, uint32_t *number) {
    *number = 0;
    for (unsigned shift = 0; shift < 28 && *at < end; shift += 7) {
        *number |= (uint32_t)(**at & 127) << shift;
        if (*(*at)++ < 128) return 1;
    }
    return 0;
}

/* Read how many bytes a string shares with the one before it, and how many follow. */
static size_t read_sizes(const uint8_t **at, const uint8_t *end, size_t *shared) {
    size_t more = **at & 15;
    *shared = *(*at)++ >> 4;
    if (*shared == 15 && *at < end) *shared += *(*at)++;
    if (more == 15 && *at < end) more += *(*at)++;
    return more;
}

/* Read the next entry. Return 1; 0 after the last; -1 if the file is damaged. */
int words_next(const WordsView *v, Entry *e) {
    uint32_t packed;
    e->postings = e->postings_end;
    if (e->at == e->end) return 0;
    size_t more = read_sizes(&e->at, e->end, &e->shared);
    if (e->shared > e->size || e->shared + more > MOST_TERM || !(e->shared + more) || more >= (size_t)(e->end - e->at))
        return -1;
    /* Copying always eight bytes is faster than a call for a few. */
    if (more <= 8 && e->end - e->at >= 8) memcpy(e->term + e->shared, e->at, 8);
    else memcpy(e->term + e->shared, e->at, more);
    e->at += more;
    e->size = e->shared + more;
    e->source = *e->at >> 6;
    e->parameter = *e->at++ & 63;
    if (!read_number(&e->at, e->end, &packed) || !packed || packed > v->postings_size - e->postings ||
        e->source >= WORD_SOURCES || e->parameter > 31)
        return -1;
    e->postings_end = e->postings + packed;
    return 1;
}

/* Read the first entry of a block. */
int words_entry(const WordsView *v, size_t block, Entry *e) {
    *e = (Entry){.at = v->entries, .end = v->entries + v->entries_size};
    if (block >= v->block_count) return 0;
    size_t at = get_32(v->blocks + 8 * block);
    e->postings_end = get_32(v->blocks + 8 * block + 4);
    if (at >= v->entries_size || e->postings_end > v->postings_size) return -1;
    e->at += at;
    return words_next(v, e);
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

/* Say whether a word matches one of `count` queries. */
int mcad_word_likeness(const WordQuery *queries, size_t count, const uint8_t *term, size_t size) {
    for (size_t i = 0; i < count; i++)
        if (likeness(queries + i, term, size, same_bytes(queries + i, term, size, 0))) return 1;
    return 0;
}

/* Say in `alike` which of `number` words, one after another, of so many bytes each, match one of `count` queries. */
void mcad_words_alike(const WordQuery *queries, size_t count, const uint8_t *words, const uint8_t *sizes, size_t number,
                      uint8_t *alike) {
    for (size_t i = 0; i < number; words += sizes[i++])
        alike[i] = (uint8_t)mcad_word_likeness(queries, count, words, sizes[i]);
}

/* Raise to `value` the two bits at `shift` in `best` of the photos of an entry; count those that had none. */
static int raise_photos(const WordsView *v, const Entry *e, uint8_t *best, unsigned shift, unsigned value, size_t *found) {
    Bits bits = {v->postings + e->postings, e->postings_end - e->postings, 0};
    for (uint64_t row = 0;; row++) {
        row += read_rice(&bits, e->parameter);
        if (has_ended(&bits)) return 1; /* at the ones that fill the last byte */
        if (row >= v->photos) return 0;
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

/* Mark how photos match those of the queries that are misread, or those that are not: see mcad_words_find. */
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

/* Mark in `best` [photos], zeros, how photos match at most four queries, in two bits for each, and count them. Return 0;
 * -1 if the file is damaged. */
int mcad_words_find(const uint8_t *data, size_t size, WordQuery *queries, size_t count, uint8_t *best) {
    WordsView v;
    unsigned modes = 0;
    if (!words_view(data, size, &v) || count > MOST_QUERIES) return -1;
    for (size_t i = 0; i < count; i++) {
        queries[i].found = 0;
        queries[i].shift = 2 * (unsigned)i;
        modes |= queries[i].modes;
        if (!(queries[i].modes & WORD_NEAR) && find(&v, queries + i, 1, 0, best) < 0) return -1;
    }
    return modes & WORD_NEAR && find(&v, queries, count, WORD_NEAR, best) < 0 ? -1 : 0;
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
    return !r->allowed || r->allowed[row / 8] >> row % 8 & 1;
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
int64_t mcad_words_rank(const WordRanking *r, size_t k, size_t room, uint32_t *rows, float *found) {
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
static int read_tokens(const uint8_t **at, const uint8_t *end, Tokens *t) {
    uint8_t token[MOST_TOKEN];
    Buffer bytes = {0};
    for (size_t length = 1; length <= MOST_CODE; length++) {
        uint32_t number;
        if (!read_number(at, end, &number) || number > MOST_TOKENS - t->count) return 0;
        t->of_length[length] = (uint16_t)number;
        t->count += number;
    }
    t->starts = malloc((t->count + 1) * sizeof *t->starts);
    if (!t->starts) return -1;
    for (size_t i = 0, size = 0, shared = 0; i < t->count; i++) {
        t->starts[i] = (uint32_t)bytes.size;
        size_t more = *at < end ? read_sizes(at, end, &shared) : 256;
        if (more > (size_t)(end - *at) || shared > size || shared + more > MOST_TOKEN) {
            free(bytes.data);
            return 0;
        }
        memcpy(token + shared, *at, more);
        *at += more;
        size = shared + more;
        append(&bytes, token, size);
    }
    t->starts[t->count] = (uint32_t)bytes.size;
    t->bytes = bytes.data;
    return bytes.failed ? -1 : 1;
}

/* Read which tokens have codes of their own after others. Return 1; 0 if the file is damaged; -1 without memory. */
static int read_contexts(const uint8_t *at, const uint8_t *end, Model *m) {
    uint32_t count;
    const uint8_t *p = m->parameters + PARAMETERS - 3;
    if (!read_number(&at, end, &count)) return 0;
    Bits b = {at, (size_t)(end - at), 0};
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

void words_free_model(Model *m) {
    free(m->tokens.starts);
    free(m->tokens.bytes);
    free(m->letters.starts);
    free(m->letters.bytes);
    free(m->contexts.data);
    free(m->context_of);
    free(m->next.data);
}

/* Return 1; 0 if the file is damaged; -1 without memory. The caller frees the model. */
int words_model(const WordsView *v, Model *m) {
    const uint8_t *at = v->model + PARAMETERS, *end = v->model + v->model_size;
    memset(m, 0, sizeof *m);
    if (v->model_size < PARAMETERS) return 0;
    memcpy(m->parameters, v->model, PARAMETERS);
    for (size_t i = 0; i < PARAMETERS; i++)
        if (m->parameters[i] > 20) return 0;
    int done = read_tokens(&at, end, &m->tokens);
    if (done > 0) done = read_tokens(&at, end, &m->letters);
    if (done > 0) done = read_contexts(at, end, m);
    while (done > 0 && m->empty < m->tokens.count && m->tokens.starts[m->empty] != m->tokens.starts[m->empty + 1])
        m->empty++;
    return m->contexts.failed || m->next.failed ? -1 : done;
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
    uint32_t start = group ? get_32(v->ends + 4 * group - 4) : 0, end = get_32(v->ends + 4 * group);
    if (start > end || end > v->texts_size) return 0;
    Bits b = {v->texts + start, end - start, 0};
    for (size_t row = group * GROUP; row < v->photos && wanted; row++, wanted >>= 1) {
        size_t at = out->size;
        PhotoHead head = {.is_read = v->read[row / 8] >> row % 8 & 1};
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

/* Set `model` to what codes texts, which the caller frees by mcad_words_close. Return 1; 0 if the file is damaged; -1
 * without memory. */
int mcad_words_open(const uint8_t *data, size_t size, void **model) {
    WordsView v;
    if (!words_view(data, size, &v)) return 0;
    Model *m = *model = malloc(sizeof *m);
    return m ? words_model(&v, m) : -1;
}

void mcad_words_close(void *model) {
    if (model) words_free_model(model);
    free(model);
}

/* Set `out` to the records of photos, one after another, which the caller frees by mcad_words_free. Return their bytes;
 * -1 if the file is damaged; -2 without memory. */
int64_t mcad_words_records(const uint8_t *data, size_t size, const void *model, const uint32_t *rows, size_t count,
                           uint8_t **out) {
    WordsView v;
    Buffer buffer = {0};
    *out = NULL;
    int done = words_view(data, size, &v);
    for (size_t i = 0; i < count && done; i++)
        done = rows[i] < v.photos && words_records(&v, model, rows[i] / GROUP, 1u << rows[i] % GROUP, &buffer);
    if (done && !buffer.failed) {
        *out = buffer.data;
        return (int64_t)buffer.size;
    }
    free(buffer.data);
    return done ? -2 : -1;
}

void mcad_words_free(uint8_t *data) {
    free(data);
}
