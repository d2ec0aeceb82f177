/* A file of words (docs/index-format.md) as both words.c, which reads it, and words_write.c see it. */
#include "kernel.h"
#include <stdlib.h>

#define WORDS_MAGIC "MCADWRD1"
#define WORDS_HEAD 40         /* bytes: magic, CRC-32 of what follows it, the segment's, photos, five sizes */
#define MOST_TERM 255         /* bytes */
#define MOST_PHOTO (1u << 20) /* bytes of a photo's texts */
#define MOST_LINES 65535u     /* of a photo, and as many places */
#define MOST_TOKEN 32         /* bytes */
#define MOST_CODE 24          /* bits */
#define MOST_TOKENS 65535u
#define BLOCK 64              /* entries of the dictionary */
#define GROUP 16              /* photos */
#define LINE_NUMBERS 8        /* x and y of four corners, in ten-thousandths */
#define LINE_FIELDS 6         /* x and y of the first corner, of the way down to the last, and along to the second */
#define PARAMETERS (2 + 2 * LINE_FIELDS + 3)
#define BOX_STEP 50
#define MOST_QUERIES 4        /* at once: a byte has room for no more */

/* Strings in the order of their canonical Huffman codes. */
typedef struct {
    uint16_t of_length[MOST_CODE + 1];
    uint32_t count;
    uint32_t *starts; /* [count + 1] in `bytes` */
    uint8_t *bytes;
} Tokens;

/* The `count` tokens from `first` on in the model's `next` have codes of their own after another token. */
typedef struct {
    uint16_t of_length[MOST_CODE + 1];
    uint32_t first, count;
} Context;

typedef struct {
    size_t photos, entries_size, block_count, postings_size, model_size, texts_size;
    const uint8_t *read, *blocks, *entries, *postings, *model, *ends, *texts;
} WordsView;

typedef struct {
    const uint8_t *at, *end;
    size_t postings, postings_end; /* where its rows are */
    size_t shared, size;           /* bytes that it shares with the entry before; of its term */
    unsigned source, parameter;
    uint8_t term[MOST_TERM + 8]; /* eight bytes are copied at once */
} Entry;

/* Bits, least significant first; after the last one come zeros. */
typedef struct {
    const uint8_t *data;
    size_t size, at; /* bytes; bits */
} Bits;

BODY uint64_t peek_bits(const Bits *b) {
    size_t byte = b->at / 8;
    uint64_t word = 0;
    if (byte + 8 <= b->size) memcpy(&word, b->data + byte, 8);
    else if (byte < b->size) memcpy(&word, b->data + byte, b->size - byte);
    return word >> b->at % 8;
}

BODY int has_ended(const Bits *b) {
    return b->at > 8 * b->size;
}

/* Read a Rice code: how often 2^parameter fits, in ones that a zero ends, then the rest. */
BODY uint64_t read_rice(Bits *b, unsigned parameter) {
    uint64_t quotient = 0, bits = peek_bits(b);
    unsigned few = (unsigned)__builtin_ctzll(~bits | 1 << 24);
    if (few < 24) { /* the whole code is within the 57 bits that were read at least */
        b->at += few + 1 + parameter;
        return (uint64_t)few << parameter | (bits >> (few + 1) & ((1ull << parameter) - 1));
    }
    for (;;) {
        unsigned ones = (unsigned)__builtin_ctzll(~peek_bits(b) | 1ull << 32);
        quotient += ones;
        b->at += ones;
        if (ones < 32) break;
        if (has_ended(b)) return 0;
    }
    b->at++;
    uint64_t rest = peek_bits(b) & ((1ull << parameter) - 1);
    b->at += parameter;
    return quotient << parameter | rest;
}

typedef struct {
    uint8_t *data;
    size_t size, room;
    int failed; /* there was no memory */
} Buffer;

BODY void append(Buffer *b, const void *from, size_t size) {
    if (!b->failed && (!b->data || size > b->room - b->size)) {
        size_t room = 2 * (b->size + size) + 64;
        uint8_t *data = realloc(b->data, room);
        b->failed = !data;
        if (data) b->data = data, b->room = room;
    }
    if (b->failed || !size) return;
    memcpy(b->data + b->size, from, size);
    b->size += size;
}

/* What codes texts and boxes. */
typedef struct {
    uint8_t parameters[PARAMETERS]; /* of lines, places, a photo's first line, its others, contexts */
    Tokens tokens, letters;         /* the empty token says that a word follows in letters */
    uint32_t empty;                 /* token */
    Buffer contexts, next;          /* Context; uint16, tokens.count for a token that has no code here */
    uint16_t *context_of;           /* [tokens.count + 1]: of each token, the number of its context from 1 on, or 0 */
} Model;

/* A line's box, in steps, and the bytes of its text and a newline; 0 before the first line. */
typedef struct {
    int64_t at[2], down[2], along[2], size;
} Box;

/* Return where the line after `last` is expected, as high as that. */
BODY Box expected_box(const Box *last) {
    if (!last->size) return (Box){.down = {0, 8}};
    return (Box){.at = {last->at[0] + last->down[0] * 3 / 2, last->at[1] + last->down[1] * 3 / 2},
                 .down = {last->down[0], last->down[1]}};
}

/* Set how far a line is expected to go along: as letters of `last`, whose width is half their height in the first. */
BODY void expect_along(Box *box, const Box *last) {
    for (size_t i = 0; i < 2; i++)
        if (last->size) box->along[i] = last->along[i] * box->size / last->size;
        else box->along[i] = (i ? -box->down[0] : box->down[1]) * box->size / 2;
}

/* The fields of a box in the order in which they are written. */
BODY int64_t *field_of(Box *box, size_t i) {
    return i < 2 ? &box->at[i] : i < 4 ? &box->down[i - 2] : &box->along[i - 4];
}

/* Say whether a field is left out in a photo whose lines all stand upright. */
BODY int is_tilt(size_t field) {
    return field == 2 || field == 5;
}

/* A photo's record, also in memory: these numbers, int16 [lines][LINE_NUMBERS], texts that each end in a newline, and
 * terms, each its source, size and bytes. */
typedef struct {
    uint32_t is_read, lines, places, text_size, terms_size;
} PhotoHead;

int words_view(const uint8_t *data, size_t size, WordsView *);
int words_entry(const WordsView *, size_t block, Entry *);
int words_next(const WordsView *, Entry *);
int words_model(const WordsView *, Model *);
void words_free_model(Model *);
int words_records(const WordsView *, const Model *, size_t group, uint32_t wanted, Buffer *);
