/* A file of words (docs/index-format.md) as both words.c, which reads it, and words_write.c see it. */
#ifndef WORDS_H
#define WORDS_H
#include "segment.h"

#define WORD_SOURCES 3
enum { TEXT_WORD, NAME_WORD, PLACE_WORD };
enum { WORD_MISREAD = 1, WORD_BEGUN, WORD_WHOLE }; /* how a term matches */
enum { WORD_BEGINS = 1, WORD_NEAR = 2 };           /* ways to match beside the whole word */

/* A term of a query. `sources` has a bit for each source; `found` counts photos; `same` and `shift` are of words.c. */
typedef struct {
    const uint8_t *term;
    size_t size, found, same;
    uint32_t modes, sources, shift;
} WordQuery;

#define WORDS_MAGIC "MCADWRD1"
#define WORDS_HEAD 40         /* bytes: magic, CRC-32 of what follows it, the segment's, photos, five sizes */
#define CHECKED_FROM 12       /* the checksum, which comes before it, is of all bytes from here on */
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
    size_t photos, block_count;
    Span read, blocks, entries, postings, model, ends, texts;
} WordsView;

typedef struct {
    Span rest; /* of the entries */
    size_t postings, postings_end; /* where its rows are */
    size_t shared, size;           /* bytes that it shares with the entry before; of its term */
    unsigned source, parameter;
    uint8_t term[MOST_TERM + 8]; /* eight bytes are copied at once */
} Entry;

/* Bits, least significant first; after the last one come zeros. */
typedef struct {
    Span bytes;
    size_t at; /* bits */
} Bits;

BODY uint64_t peek_bits(const Bits *b) {
    size_t byte = b->at / 8;
    uint64_t word = 0;
    if (byte + 8 <= b->bytes.size) memcpy(&word, b->bytes.at + byte, 8);
    else if (byte < b->bytes.size) memcpy(&word, b->bytes.at + byte, b->bytes.size - byte);
    return word >> b->at % 8;
}

BODY int has_ended(const Bits *b) {
    return b->at > 8 * b->bytes.size;
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

/* An open file of words. */
typedef struct {
    int file;
    size_t size;
    uint8_t *map;
    WordsView view;
    uint32_t crc32;
    Model *model; /* NULL until a text is read */
    pthread_mutex_t reading; /* it */
} Words;

int words_open(Words *, int file, const Segment *, McadError *);
void words_close(Words *);
int words_check_size(const Words *, McadError *);
int words_verify(const Words *, McadError *);
/* Count no page that was read as memory of this process. */
void words_release(const Words *);
/* Mark in `best` [photos], zeros, how photos match at most four queries, in two bits for each, and count them. Return 0;
 * -1 if the file is damaged. */
int words_find(const WordsView *, WordQuery *, size_t count, uint8_t *best);
int words_is_read(const WordsView *, size_t row);
/* Append the records of rows, and where each ends. */
int words_read(Words *, const size_t *rows, size_t count, Buffer *records, Buffer *ends, McadError *);
int words_model(Words *, const Model **, McadError *);
int words_entry(const WordsView *, size_t block, Entry *);
int words_next(const WordsView *, Entry *);
/* Read the next row of an entry: `row` is the one before it, + 1, and `bits` zeros at first. Return 1; 0 after the last;
 * -1 if there is no such photo. */
int words_row(const WordsView *, const Entry *, Bits *, uint64_t *row);
int words_records(const WordsView *, const Model *, size_t group, uint32_t wanted, Buffer *);
WordQuery query_of(const McadTerms *, size_t i, uint32_t sources);

/* Words of a file that a new one takes over. */
typedef struct {
    Words *words;
    const uint32_t *new_rows;  /* [photos]: the new row of each photo, or MCAD_NONE */
    const uint8_t *is_renamed; /* [photos]: whether the words of its name are left behind */
} OldWords;

/* Append a file of the words of `photos` photos: records of `rows`, names of `named` rows as mcad_writer_words has them,
 * and what older files have of others. `failed` is the number of the older file that is damaged. */
int words_build(const OldWords *, size_t old_count, const McadStrings *records, const uint32_t *rows,
                const McadStrings *names, const uint32_t *named, size_t photos, uint32_t segment_crc32, Buffer *file,
                size_t *failed, McadError *);

/* How photos match the terms of a query, which passes them, and what that is worth. */
typedef struct {
    const uint8_t *best; /* [planes][photos]: of four terms each, see words_find */
    size_t planes, photos;
    const float *worths;     /* [planes][256], 0 first, the most last */
    const uint64_t *allowed; /* a bit for each row, or NULL if all from `first` to before `end` pass */
    size_t first, end;
} WordRanking;
int64_t words_rank(const WordRanking *, size_t k, size_t room, uint32_t *rows, float *found);
#endif
