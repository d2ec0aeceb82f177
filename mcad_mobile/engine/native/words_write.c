/* Writes files of words (docs/index-format.md): from records of photos, and from older files. */
#include "table.h"
#include "words.h"

#define SAMPLE (8u << 20) /* bytes of text that tokens are chosen from */
#define LEAST_WORD 2      /* uses, for a token, and for one that follows another to have a code there */
#define LEAST_PAIR 5
#define OTHER 0xffffu     /* a token that has no code where it is */

typedef struct {
    const uint8_t *bytes;
    uint32_t size, number, count, length;
} Named;

static int by_bytes(const void *a, const void *b) {
    const Named *x = a, *y = b;
    int order = memcmp(x->bytes, y->bytes, x->size < y->size ? x->size : y->size);
    return order ? order : (x->size > y->size) - (x->size < y->size);
}

/* A term's last byte is its source. */
static int by_term(const void *a, const void *b) {
    const Named *x = a, *y = b;
    Named p = {.bytes = x->bytes, .size = x->size - 1}, q = {.bytes = y->bytes, .size = y->size - 1};
    int order = by_bytes(&p, &q);
    return order ? order : (int)x->bytes[p.size] - (int)y->bytes[q.size];
}

static int by_count(const void *a, const void *b) {
    const Named *x = a, *y = b;
    return x->count != y->count ? (x->count > y->count) - (x->count < y->count) : by_bytes(a, b);
}

static int by_length(const void *a, const void *b) {
    const Named *x = a, *y = b;
    return x->length != y->length ? (x->length > y->length) - (x->length < y->length) : by_bytes(a, b);
}

static Named *sorted_keys(const Table *t, size_t *count, int (*order)(const void *, const void *)) {
    Named *all = malloc((t->count + 1) * sizeof *all);
    *count = 0;
    for (size_t i = 0; all && i < t->count; i++) {
        Key *key = key_of(t, i);
        if (key->count) all[(*count)++] = (Named){t->bytes.data + key->at, key->size, (uint32_t)i, key->count, 0};
    }
    if (all && *count) qsort(all, *count, sizeof *all, order);
    return all;
}

typedef struct {
    Buffer out;
    uint64_t word;
    unsigned used;
} BitWriter;

static void put_bits(BitWriter *w, uint64_t value, unsigned count) {
    for (; count; count--, value >>= 1) {
        w->word |= (value & 1) << w->used++;
        if (w->used == 8) {
            uint8_t byte = (uint8_t)w->word;
            append(&w->out, &byte, 1);
            w->word = w->used = 0;
        }
    }
}

/* Fill the last byte with ones, which no reader takes for a number. */
static void end_bits(BitWriter *w) {
    if (w->used) put_bits(w, 255, 8 - w->used);
}

static void put_rice(BitWriter *w, uint64_t value, unsigned parameter) {
    for (uint64_t i = value >> parameter; i; i--) put_bits(w, 1, 1);
    put_bits(w, 0, 1);
    put_bits(w, value, parameter);
}

/* Bits that numbers take, by parameter. */
typedef struct {
    uint64_t bits[21];
} Cost;

static void add_cost(Cost *cost, uint64_t value) {
    for (unsigned i = 0; i < 21; i++) cost->bits[i] += (value >> i) + 1 + i;
}

static uint8_t cheapest(const Cost *cost) {
    uint8_t best = 0;
    for (uint8_t i = 1; i < 21; i++)
        if (cost->bits[i] < cost->bits[best]) best = i;
    return best;
}

static void put_number(Buffer *out, uint32_t value) {
    uint8_t byte;
    for (; value > 127; value >>= 7) {
        byte = (uint8_t)(value | 128);
        append(out, &byte, 1);
    }
    byte = (uint8_t)value;
    append(out, &byte, 1);
}

static void put_size(Buffer *out, uint32_t shared, uint32_t more) {
    uint8_t bytes[3] = {(uint8_t)((shared < 15 ? shared : 15) << 4 | (more < 15 ? more : 15))};
    size_t count = 1;
    if (shared >= 15) bytes[count++] = (uint8_t)(shared - 15);
    if (more >= 15) bytes[count++] = (uint8_t)(more - 15);
    append(out, bytes, count);
}

/* Give keys, sorted by their counts, canonical Huffman codes of at most MOST_CODE bits, in the order in which bits are
 * written; sort them by these. Return 0 without memory. */
static int code_keys(Table *t, Named *keys, size_t count) {
    uint64_t *weights = malloc((2 * count + 1) * sizeof *weights);
    uint32_t *parents = malloc((2 * count + 1) * sizeof *parents);
    int done = weights && parents;
    for (unsigned shift = 0, most = MOST_CODE + 1; done && most > MOST_CODE; shift++) {
        size_t leaf = 0, node = count, end = count;
        for (size_t i = 0; i < count; i++) weights[i] = (keys[i].count >> shift) + 1;
        for (; end + 1 < 2 * count; end++) {
            weights[end] = 0;
            for (int child = 0; child < 2; child++) {
                size_t least = leaf < count && (node == end || weights[leaf] <= weights[node]) ? leaf++ : node++;
                weights[end] += weights[least];
                parents[least] = (uint32_t)end;
            }
        }
        most = 0;
        for (size_t i = end; i-- > 0;) {
            weights[i] = i + 1 == end ? (count == 1) : weights[parents[i]] + 1;
            if (i < count) {
                keys[i].length = (uint32_t)weights[i];
                if (weights[i] > most) most = (unsigned)weights[i];
            }
        }
    }
    free(weights);
    free(parents);
    if (done && count) qsort(keys, count, sizeof *keys, by_length);
    uint32_t code = 0, length = 0;
    for (size_t i = 0; done && i < count; i++, code++) {
        Key *key = key_of(t, keys[i].number);
        for (; length < keys[i].length; length++) code <<= 1;
        key->length = length;
        key->code = 0;
        for (uint32_t bit = 0; bit < length; bit++) key->code |= (code >> bit & 1) << (length - 1 - bit);
    }
    return done;
}

/* Give strings with a count codes, number them by these, and append their table. Return 0 without memory. */
static int write_codes(Table *t, Buffer *out) {
    size_t count;
    Named *keys = sorted_keys(t, &count, by_count);
    int done = keys && code_keys(t, keys, count);
    for (size_t length = 1, i = 0, end; done && length <= MOST_CODE; length++, i = end) {
        for (end = i; end < count && keys[end].length == length;) end++;
        put_number(out, (uint32_t)(end - i));
    }
    for (size_t i = 0; done && i < count; i++) {
        uint32_t shared = 0, most = !i ? 0 : keys[i].size < keys[i - 1].size ? keys[i].size : keys[i - 1].size;
        while (shared < most && keys[i].bytes[shared] == keys[i - 1].bytes[shared]) shared++;
        put_size(out, shared, keys[i].size - shared);
        append(out, keys[i].bytes + shared, keys[i].size - shared);
        key_of(t, keys[i].number)->number = (uint32_t)i;
    }
    free(keys);
    return done && !out->failed;
}

/* A photo: its record, whose numbers are at `at`. */
typedef struct {
    size_t at;
    PhotoHead head;
} Photo;

typedef struct {
    Buffer bodies, pairs; /* of photos: numbers and texts; (term, row) uint32 */
    Table terms, tokens, letters, after; /* the last by the numbers of two tokens */
    Photo *photos;
    size_t count;
} Build;

static size_t word_size(const uint8_t *text, const uint8_t *end) {
    size_t size = 0;
    while (text + size < end && text[size] != ' ' && text[size] != '\n') size++;
    return size + 1;
}

/* Return the token that a text begins with, and set its size; the empty one for a word to spell. */
static Key *next_token(Table *t, const uint8_t *text, const uint8_t *end, size_t *size) {
    *size = word_size(text, end);
    Key *key = *size <= MOST_TOKEN ? look_up(t, text, *size, 0) : NULL;
    return key ? key : look_up(t, text, 0, 0);
}

/* Find what follows a token, by their numbers. */
static Key *look_after(Table *after, uint32_t token, uint32_t next, int adds) {
    const uint8_t pair[] = {(uint8_t)(token >> 8), (uint8_t)token, (uint8_t)(next >> 8), (uint8_t)next};
    return look_up(after, pair, sizeof pair, adds);
}

static const uint8_t *text_of(const Build *b, const Photo *p) {
    return b->bodies.data + p->at + p->head.lines * LINE_NUMBERS * sizeof(int16_t);
}

/* Write a photo's texts, or count the uses of tokens, of letters in other words, and of tokens after each other: then
 * `adds` says whether also of those that are not there yet. */
static void code_texts(Build *b, const Photo *p, BitWriter *w, int adds) {
    const uint8_t *text = text_of(b, p), *end = text + p->head.text_size;
    uint32_t before = look_up(&b->tokens, text, 0, 0)->number;
    for (size_t size; text < end; text += size) {
        Key *key = next_token(&b->tokens, text, end, &size), *next = look_after(&b->after, before, key->number, adds);
        Key *used[] = {next ? next : look_after(&b->after, before, OTHER, 0), next ? NULL : key};
        for (size_t i = 0; i < 2; i++)
            if (used[i] && w) put_bits(w, used[i]->code, used[i]->length);
            else if (used[i]) used[i]->count++;
        for (size_t at = 0; !key->size && !adds && at < size; at++) {
            Key *letter = look_up(&b->letters, text + at, 1, !w);
            if (letter && w) put_bits(w, letter->code, letter->length);
            else if (letter) letter->count++;
        }
        before = key->number;
    }
}

/* Choose words of a sample of the texts as tokens, and which of these have codes of their own after others; count their
 * uses in all texts. Return 0 without memory. */
static int choose_tokens(Build *b) {
    Table words = {0}, after = {0};
    size_t total = 0, fit = MOST_TOKENS;
    for (size_t i = 0; i < b->count; i++) total += b->photos[i].head.text_size;
    size_t step = total / SAMPLE + 1;
    for (size_t i = 0; i < b->count; i += step) {
        const uint8_t *text = text_of(b, b->photos + i), *end = text + b->photos[i].head.text_size;
        for (size_t size; text < end; text += size) {
            size = word_size(text, end);
            Key *key = size <= MOST_TOKEN ? look_up(&words, text, size, 1) : NULL;
            if (key) key->count++;
        }
    }
    look_up(&b->tokens, (const uint8_t *)"", 0, 1);
    for (size_t least = LEAST_WORD; fit >= MOST_TOKENS; least++) {
        fit = 1;
        for (size_t i = 0; i < words.count; i++) fit += key_of(&words, i)->count >= least;
        for (size_t i = 0; fit < MOST_TOKENS && i < words.count; i++)
            if (key_of(&words, i)->count >= least)
                look_up(&b->tokens, words.bytes.data + key_of(&words, i)->at, key_of(&words, i)->size, 1);
    }
    int done = !words.keys.failed && !b->tokens.keys.failed;
    for (size_t i = 0; done && i < b->count; i += step) code_texts(b, b->photos + i, NULL, 1);
    after = b->after;
    memset(&b->after, 0, sizeof b->after);
    for (size_t i = 0; done && i < after.count; i++) {
        const uint8_t *pair = after.bytes.data + key_of(&after, i)->at;
        if (key_of(&after, i)->count < LEAST_PAIR) continue;
        look_up(&b->after, pair, 4, 1);
        look_after(&b->after, (uint32_t)(pair[0] << 8 | pair[1]), OTHER, 1);
    }
    done = done && !after.keys.failed && !b->after.keys.failed;
    free_table(&words);
    free_table(&after);
    for (size_t i = 0; done && i < b->count; i++) code_texts(b, b->photos + i, NULL, 0);
    /* One that always follows others needs a number, too. */
    for (size_t i = 0; i < b->tokens.count; i++) key_of(&b->tokens, i)->count += !key_of(&b->tokens, i)->count;
    return done && !b->letters.keys.failed;
}

/* Give tokens after others codes, by the numbers that tokens have now, append their table, and set its parameters.
 * Return 0 without memory. */
static int write_contexts(Build *b, Buffer *out, uint8_t *parameters) {
    Table after = {0};
    size_t count = 0;
    uint32_t contexts = 0;
    for (size_t i = 0; i < b->after.count; i++) {
        const uint8_t *pair = b->after.bytes.data + key_of(&b->after, i)->at;
        uint32_t next = (uint32_t)(pair[2] << 8 | pair[3]);
        if (!key_of(&b->after, i)->count) continue;
        Key *key = look_after(&after, key_of(&b->tokens, (size_t)(pair[0] << 8 | pair[1]))->number,
                              next == OTHER ? OTHER : key_of(&b->tokens, next)->number, 1);
        if (key) key->count = key_of(&b->after, i)->count;
    }
    free_table(&b->after);
    b->after = after;
    Named *keys = sorted_keys(&b->after, &count, by_bytes);
    int done = keys && !after.keys.failed;
    for (size_t i = 0, end; done && i < count; i = end, contexts++) {
        for (end = i; end < count && !memcmp(keys[end].bytes, keys[i].bytes, 2);) end++;
        qsort(keys + i, end - i, sizeof *keys, by_count);
        done = code_keys(&b->after, keys + i, end - i);
    }
    put_number(out, contexts);
    Cost costs[3] = {0};
    BitWriter w = {0};
    for (int is_written = 0; done && is_written < 2; is_written++) {
        int64_t token = -1;
        for (size_t i = 0, end; i < count; i = end) {
            for (end = i; end < count && !memcmp(keys[end].bytes, keys[i].bytes, 2);) end++;
            uint32_t own = (uint32_t)(keys[i].bytes[0] << 8 | keys[i].bytes[1]), length = 1;
            uint64_t numbers[3] = {(uint64_t)(own - token - 1), end - i - 1};
            for (size_t j = 0; j < 2; j++)
                if (is_written) put_rice(&w, numbers[j], parameters[j]);
                else add_cost(costs + j, numbers[j]);
            token = own;
            for (int64_t last = -1, next; i < end; i++, last = next) {
                if (keys[i].length > length) last = -1;
                next = keys[i].bytes[2] << 8 | keys[i].bytes[3];
                if (next == OTHER) next = (int64_t)b->tokens.count;
                numbers[2] = (uint64_t)(next - last - 1);
                if (is_written) put_rice(&w, keys[i].length - length, 0), put_rice(&w, numbers[2], parameters[2]);
                else add_cost(costs + 2, numbers[2]);
                length = keys[i].length;
            }
        }
        for (size_t i = 0; !is_written && i < 3; i++) parameters[i] = cheapest(costs + i);
    }
    end_bits(&w);
    append(out, w.out.data, w.out.size);
    done = done && !w.out.failed && !out->failed;
    free(w.out.data);
    free(keys);
    return done;
}

/* Read the corners of a photo's line, in steps. */
static void line_steps(const Build *b, const Photo *p, size_t line, int64_t *steps) {
    int16_t n[LINE_NUMBERS];
    memcpy(n, b->bodies.data + p->at + line * sizeof n, sizeof n);
    for (size_t i = 0; i < LINE_NUMBERS; i++) steps[i] = n[i] < 0 ? 0 : (n[i] + BOX_STEP / 2) / BOX_STEP;
}

static int are_upright(const Build *b, const Photo *p) {
    int64_t steps[LINE_NUMBERS];
    for (size_t line = 0; line < p->head.lines; line++) {
        line_steps(b, p, line, steps);
        if (steps[0] != steps[6] || steps[1] != steps[3]) return 0;
    }
    return 1;
}

/* What of a line is written: how its box differs from what is expected, zigzag. */
static void line_changes(const int64_t *steps, size_t size, Box *last, uint64_t *changes) {
    Box box = expected_box(last);
    box.size = (int64_t)size;
    for (size_t i = 0; i < LINE_FIELDS; i++) {
        int64_t *field = field_of(&box, i);
        if (i == 4) expect_along(&box, last);
        int64_t now = i < 2 ? steps[i] : i < 4 ? steps[i + 4] - steps[i - 2] : steps[i - 2] - steps[i - 4], change = now - *field;
        changes[i] = last->size || i > 1 ? ((uint64_t)change << 1) ^ (uint64_t)(change >> 63) : (uint64_t)now;
        *field = now;
    }
    *last = box;
}

/* Append parameters and tokens, then the ends of groups and their bits. */
static int write_texts(Build *b, Buffer *model, Buffer *ends, BitWriter *w) {
    Cost costs[2 + 2 * LINE_FIELDS] = {0};
    uint8_t parameters[PARAMETERS] = {0};
    append(model, parameters, sizeof parameters);
    if (!write_codes(&b->tokens, model) || !write_codes(&b->letters, model) ||
        !write_contexts(b, model, parameters + PARAMETERS - 3))
        return 0;
    for (int is_written = 0; is_written < 2; is_written++) {
        for (size_t row = 0; row < b->count; row++) {
            const Photo *p = b->photos + row;
            const uint32_t counts[] = {p->head.lines, p->head.places};
            for (size_t i = 0; i < 2; i++)
                if (is_written) put_rice(w, counts[i], parameters[i]);
                else add_cost(costs + i, counts[i]);
            if (is_written) code_texts(b, p, w, 0);
            const uint8_t *text = text_of(b, p), *end = text + p->head.text_size;
            Box last = {0};
            int upright = are_upright(b, p);
            if (is_written && p->head.lines) put_rice(w, !upright, 0);
            for (size_t line = 0; line < p->head.lines; line++) {
                int64_t steps[LINE_NUMBERS];
                uint64_t changes[LINE_FIELDS];
                const uint8_t *newline = memchr(text, '\n', (size_t)(end - text));
                size_t first = 2 + (line ? LINE_FIELDS : 0), size = (size_t)(newline + 1 - text);
                line_steps(b, p, line, steps);
                line_changes(steps, size, &last, changes);
                for (size_t i = 0; i < LINE_FIELDS; i++)
                    if (upright && is_tilt(i)) continue;
                    else if (is_written) put_rice(w, changes[i], parameters[first + i]);
                    else add_cost(costs + first + i, changes[i]);
                text += size;
            }
            if (!is_written || (row % GROUP != GROUP - 1 && row + 1 < b->count)) continue;
            end_bits(w);
            uint32_t at = (uint32_t)w->out.size;
            append(ends, &at, sizeof at);
        }
        for (size_t i = 0; !is_written && i < 2 + 2 * LINE_FIELDS; i++) parameters[i] = cheapest(costs + i);
    }
    memcpy(model->data, parameters, sizeof parameters);
    return !w->out.failed && !ends->failed;
}

/* Sort pairs by term, then by row, and append blocks, entries and postings. Return 0 without memory. */
static int write_terms(Build *b, Buffer *blocks, Buffer *entries, BitWriter *w) {
    size_t count, pairs = b->pairs.size / 8;
    const uint32_t *pair = (const uint32_t *)b->pairs.data;
    for (size_t i = 0; i < pairs; i++) key_of(&b->terms, pair[2 * i])->count++;
    Named *terms = sorted_keys(&b->terms, &count, by_term);
    size_t *row_starts = calloc(b->count + 2, sizeof *row_starts), *starts = calloc(b->terms.count + 2, sizeof *starts);
    uint32_t *by_row = malloc((pairs + 1) * sizeof *by_row), *rows = malloc((pairs + 1) * sizeof *rows);
    int done = terms && row_starts && starts && by_row && rows;
    for (size_t i = 0; done && i < pairs; i++) row_starts[pair[2 * i + 1] + 2]++, starts[pair[2 * i] + 2]++;
    for (size_t i = 2; done && i < b->count + 2; i++) row_starts[i] += row_starts[i - 1];
    for (size_t i = 2; done && i < b->terms.count + 2; i++) starts[i] += starts[i - 1];
    for (size_t i = 0; done && i < pairs; i++) by_row[row_starts[pair[2 * i + 1] + 1]++] = pair[2 * i];
    for (size_t row = 0; done && row < b->count; row++)
        for (size_t i = row_starts[row]; i < row_starts[row + 1]; i++) rows[starts[by_row[i] + 1]++] = (uint32_t)row;
    for (size_t i = 0; done && i < count; i++) {
        const uint8_t *term = terms[i].bytes;
        uint32_t size = terms[i].size - 1, shared = 0;
        if (i % BLOCK == 0) {
            uint32_t at[] = {(uint32_t)entries->size, (uint32_t)w->out.size};
            append(blocks, at, sizeof at);
        } else
            while (shared < size && shared < terms[i - 1].size - 1 && term[shared] == terms[i - 1].bytes[shared]) shared++;
        const uint32_t *own = rows + starts[terms[i].number], *end = rows + starts[terms[i].number + 1];
        Cost cost = {0};
        uint8_t info = 0;
        for (int is_written = 0; is_written < 2; is_written++) {
            int64_t last = -1;
            size_t before = w->out.size;
            for (const uint32_t *row = own; row < end; row++) {
                if (*row == last) continue;
                uint64_t gap = (uint64_t)(*row - last - 1);
                if (is_written) put_rice(w, gap, info & 63);
                else add_cost(&cost, gap);
                last = *row;
            }
            if (is_written) {
                end_bits(w);
                put_size(entries, shared, size - shared);
                append(entries, term + shared, size - shared);
                append(entries, &info, 1);
                put_number(entries, (uint32_t)(w->out.size - before));
            } else info = (uint8_t)(term[size] << 6 | cheapest(&cost));
        }
    }
    free(terms);
    free(row_starts);
    free(starts);
    free(by_row);
    free(rows);
    return done && !entries->failed && !blocks->failed && !w->out.failed;
}

static int add_term(Build *b, const uint8_t *term, size_t size, unsigned source, uint32_t row) {
    uint8_t bytes[MOST_TERM + 1];
    memcpy(bytes, term, size);
    bytes[size] = (uint8_t)source;
    Key *key = look_up(&b->terms, bytes, size + 1, 1);
    if (!key) return 0;
    uint32_t pair[] = {(uint32_t)(key - key_of(&b->terms, 0)), row};
    append(&b->pairs, pair, sizeof pair);
    return 1;
}

/* Take a record of a row: its numbers, texts and terms. Return its bytes; 0 if it is none. */
static size_t take_record(Build *b, Span record, uint32_t row) {
    PhotoHead head;
    Span rest = record, bytes, body, terms;
    uint32_t newlines = 0;
    if (!take_bytes(&rest, sizeof head, &bytes)) return 0;
    memcpy(&head, bytes.at, sizeof head);
    if (head.lines > MOST_LINES || head.places > MOST_LINES || head.text_size > MOST_PHOTO
        || !take_bytes(&rest, head.lines * LINE_NUMBERS * sizeof(int16_t) + head.text_size, &body)
        || !take_bytes(&rest, head.terms_size, &terms) || (head.text_size && body.at[body.size - 1] != '\n'))
        return 0;
    for (size_t i = body.size - head.text_size; i < body.size; i++) newlines += body.at[i] == '\n';
    if (newlines != head.lines + head.places) return 0;
    b->photos[row] = (Photo){b->bodies.size, head};
    append(&b->bodies, body.at, body.size);
    while (terms.size) {
        uint8_t source, size;
        Span term;
        if (!take_8(&terms, &source) || !take_8(&terms, &size) || !size || source >= WORD_SOURCES
            || !take_bytes(&terms, size, &term) || !add_term(b, term.at, term.size, source, row))
            return 0;
    }
    return record.size - rest.size;
}

/* Take the terms of a row's name. Return 0 if they are none. */
static int take_name(Build *b, Span terms, uint32_t row) {
    while (terms.size) {
        uint8_t size;
        Span term;
        if (!take_8(&terms, &size) || !size || !take_bytes(&terms, size, &term)
            || !add_term(b, term.at, term.size, NAME_WORD, row))
            return 0;
    }
    return 1;
}

/* Take over the photos of a file. Return 0 if it is damaged; without memory, a buffer has failed. */
static int take_old(Build *b, const OldWords *old, const Model *model) {
    const WordsView *v = &old->words->view;
    Buffer group = {0};
    Entry e;
    int done = 1;
    for (size_t row = 0; done && row < v->photos; row += GROUP, group.size = 0) {
        size_t end = row + GROUP < v->photos ? row + GROUP : v->photos;
        done = words_records(v, model, row / GROUP, 0xffff, &group) && !group.failed;
        b->bodies.failed |= group.failed;
        Span rest = {group.data, group.size}, skipped;
        for (size_t i = row; done && i < end; i++) {
            PhotoHead head;
            memcpy(&head, rest.at, sizeof head);
            size_t size = sizeof head + head.lines * LINE_NUMBERS * sizeof(int16_t) + head.text_size;
            if (old->new_rows[i] != MCAD_NONE) done = take_record(b, rest, old->new_rows[i]) > 0;
            done = done && take_bytes(&rest, size, &skipped);
        }
    }
    free(group.data);
    int more = words_entry(v, 0, &e);
    for (; done && more > 0; more = words_next(v, &e)) {
        Bits bits = {0};
        for (uint64_t row = 0; done; row++) {
            int is_row = words_row(v, &e, &bits, &row);
            done = is_row >= 0;
            if (is_row <= 0) break;
            if (old->new_rows[row] == MCAD_NONE || (old->is_renamed[row] && e.source == NAME_WORD)) continue;
            done = add_term(b, e.term, e.size, e.source, old->new_rows[row]);
        }
    }
    return done && more == 0;
}

static void put_head(const Build *b, Buffer *file, const uint32_t *numbers, size_t count) {
    append(file, WORDS_MAGIC, 8);
    append(file, numbers, count * sizeof *numbers);
    for (size_t row = 0; row < b->count; row += 8) {
        uint8_t byte = 0;
        for (size_t i = row; i < b->count && i < row + 8; i++) byte |= (uint8_t)((b->photos[i].head.is_read & 1) << i % 8);
        append(file, &byte, 1);
    }
}

int words_build(const OldWords *old, size_t old_count, const McadStrings *records, const uint32_t *rows,
                const McadStrings *names, const uint32_t *named, size_t photos, uint32_t segment_crc32, Buffer *file,
                size_t *failed, McadError *error) {
    Build b = {.photos = calloc(photos + 1, sizeof(Photo)), .count = photos};
    Buffer blocks = {0}, entries = {0}, model = {0}, ends = {0};
    BitWriter postings = {0}, texts = {0};
    int done = b.photos != NULL, code = MCAD_DONE;
    append(&b.bodies, "", 0); /* even if there is no photo, texts are somewhere */
    for (size_t i = 0; !code && done && i < old_count; i++) {
        const Model *of_old;
        *failed = i;
        if ((code = words_model(old[i].words, &of_old, error))) break;
        done = take_old(&b, old + i, of_old);
        if (!done && !b.bodies.failed && !b.pairs.failed && !b.terms.keys.failed)
            code = fail(error, MCAD_WORDS_TEXTS, 0, 0, 0);
        words_release(old[i].words);
    }
    for (size_t i = 0; !code && done && i < records->count; i++) done = take_record(&b, string_at(records, i), rows[i]) > 0;
    for (size_t i = 0; !code && done && i < names->count; i++) done = take_name(&b, string_at(names, i), named[i]);
    if (!code && !done && b.photos && !b.bodies.failed && !b.pairs.failed && !b.terms.keys.failed) {
        *failed = old_count; /* the host gave no record */
        code = fail(error, MCAD_WORDS_TEXTS, 0, 0, 0);
    }
    done = !code && done && !b.bodies.failed && !b.pairs.failed && choose_tokens(&b)
        && write_terms(&b, &blocks, &entries, &postings) && write_texts(&b, &model, &ends, &texts);
    if (done) {
        const uint32_t numbers[] = {0, segment_crc32, (uint32_t)photos, (uint32_t)(blocks.size / 8), (uint32_t)entries.size,
                                    (uint32_t)postings.out.size, (uint32_t)model.size, (uint32_t)texts.out.size};
        put_head(&b, file, numbers, 8);
        const Buffer *parts[] = {&blocks, &entries, &postings.out, &model, &ends, &texts.out};
        for (size_t i = 0; i < 6; i++) append(file, parts[i]->data, parts[i]->size);
        if (!file->failed) {
            uint32_t crc = crc_32(0, file->data + CHECKED_FROM, file->size - CHECKED_FROM);
            memcpy(file->data + CHECKED_FROM - sizeof crc, &crc, sizeof crc);
        }
    }
    Buffer *all[] = {&b.bodies, &b.pairs, &blocks, &entries, &model, &ends, &postings.out, &texts.out};
    for (size_t i = 0; i < 8; i++) free(all[i]->data);
    free_table(&b.terms);
    free_table(&b.tokens);
    free_table(&b.letters);
    free_table(&b.after);
    free(b.photos);
    return code ? code : done && !file->failed ? MCAD_DONE : no_memory(error);
}
