/* The index of photos: what hosts call. Python does by ctypes (__init__.py), Java through JNI (jni.c).
 *
 * docs/index-format.md defines the files. A host keeps what is its own: names of files, the manifest, the writer's lock,
 * when to commit, towers, the Unicode tables that fold words, and messages. So C opens no file and prints nothing:
 *
 * - Files are descriptors that the host has opened. An index takes over those that it is given, also if it fails.
 * - A function that can fail returns MCAD_DONE or the code of an error, whose values it writes to `error`.
 * - Texts (paths, terms, records) go both ways as `McadStrings`. What C allocates, the host frees by the function beside.
 * - Rows of photos are numbered by ascending path within a segment; `McadRow` names one in an index.
 * - Calls that may take seconds ask `stop`, about every 10 ms.
 *
 * An open index never changes: any number of threads may use one at a time. Filters and writers belong to one thread at
 * a time, and must be closed before their index. */
#ifndef MCAD_INDEX_H
#define MCAD_INDEX_H
#include <stddef.h>
#include <stdint.h>

/* The version of the functions and structures here; hosts refuse a library with another one. */
#define MCAD_LAYOUT 9
int mcad_layout(void);

typedef struct McadIndex McadIndex;   /* the segments of a commit, and their words */
typedef struct McadFilter McadFilter; /* the photos of an index that a search may find */
typedef struct McadWriter McadWriter; /* changes to an index that are not committed */

/* ---- Errors ---- */

/* Codes, and what the values say. Those from MCAD_MAGIC on mean that the file is damaged. */
enum {
    MCAD_DONE,
    MCAD_NO_MEMORY,
    MCAD_STOPPED,         /* the host asked for it */
    MCAD_NOT_READ,        /* errno */
    MCAD_NOT_WRITTEN,     /* errno */
    MCAD_LENGTH,          /* an embedding is not of length 1: its position, how many are not; number: its length */
    MCAD_ORDER,           /* paths are empty, too long, or not in order: the position */
    MCAD_NEWER,           /* the first eight bytes: of a newer version */
    MCAD_UNTUNED,         /* photos, photos that the tuning was measured on */
    MCAD_MAGIC,           /* the first eight bytes */
    MCAD_SHORT_HEADER,    /* bytes of the file */
    MCAD_HEADER_CRC,      /* CRC-32 of the header */
    MCAD_SHAPE,           /* dimensions, parts, photos */
    MCAD_SCAN_BITS,       /* bits to scan, dimensions */
    MCAD_CELLS,           /* cells */
    MCAD_PART_LENGTH,     /* part, its bytes, what they should be */
    MCAD_PART_PLACE,      /* part, its offset, bytes of the file */
    MCAD_FILE_SIZE,       /* bytes of the file, what they should be */
    MCAD_CUT_OFF,         /* the first byte that is missing, though the file had it when it was opened */
    MCAD_OTHER_SEGMENT,   /* it is not the one that the manifest names */
    MCAD_PRESCAN,         /* bits of the prescan */
    MCAD_CELLS_DIFFER,    /* 1 if the segment has cells, and the manifest none */
    MCAD_CELL_STARTS,     /* cells, photos */
    MCAD_AXIS,            /* number: its length */
    MCAD_BIT_WEIGHT,      /* number: the weight */
    MCAD_PATH_BLOCK,      /* block, where it starts and ends */
    MCAD_PATH,            /* block with a path that cannot be */
    MCAD_PATH_ORDER,      /* row */
    MCAD_PLACE,           /* place, its row */
    MCAD_PLACE_ORDER,     /* place */
    MCAD_NO_PLACE,        /* row */
    MCAD_SCORE,           /* row; number: a cosine that cannot be */
    MCAD_GAP,             /* the part after it */
    MCAD_PART_CRC,        /* part, CRC-32, what it should be */
    MCAD_WORDS_SEGMENT,   /* a file of words is not of its segment, or none */
    MCAD_WORDS_SIZE,      /* bytes of the file, what they should be */
    MCAD_WORDS_CRC,
    MCAD_WORDS_DICTIONARY,
    MCAD_WORDS_TEXTS,
};

enum { MCAD_NEW_FILE = 0x7fffffff };

typedef struct {
    int32_t code;
    int32_t file;      /* 2 i for the segment of entry i, 2 i + 1 for its words; MCAD_NEW_FILE for one that is written */
    int64_t values[3]; /* as the code says */
    double number;
} McadError;

/* Whether to stop: `asked` returns not 0. A host that never stops gives NULL for it. */
typedef struct {
    int (*asked)(void *host);
    void *host;
} McadStop;

/* ---- Texts and rows ---- */

typedef struct {
    const uint8_t *data;
    const uint64_t *ends; /* [count]: where each ends in the data */
    size_t count;
} McadStrings;
void mcad_strings_free(McadStrings *); /* those that C made */

typedef struct {
    uint32_t segment, row; /* MCAD_NONE for a photo that the index lacks */
} McadRow;
#define MCAD_NONE UINT32_MAX

/* ---- An index ---- */

/* Of n photos, factor * n ^ exponent * k ^ growth are candidates for k results. */
typedef struct {
    double factor, exponent, growth;
} McadCount;

/* A segment of a commit, as the manifest has it. */
typedef struct {
    int32_t file, words; /* descriptors; words: -1 without */
    uint32_t header_crc32;
    int32_t has_cells;
    uint64_t photos, deleted_count, prescan_bits; /* the last 0 for none */
    const uint32_t *deleted; /* [deleted_count]: rows, ascending, each below `photos` */
    McadCount candidates, prescan, cells;
} McadEntry;

/* When an index is tuned, and what a search may leave out; `mcad_limits` sets what is usual. */
typedef struct {
    size_t axis_growth;     /* axis and tuning are computed anew when the photos have grown so many times */
    size_t cells_from;      /* the fewest photos of a segment with cells */
    size_t photos_per_cell; /* of the sample, that share a centroid */
    double cells_gain;      /* how many times cheaper cells must make a search (ADR 16) */
    /* Pass 2 scores the nearest `at_least`, `per_result` * k, or one candidate in `part`, whichever is most: these show
     * how large errors are. Then it goes on until at most `missed` photos per result are expected among the rest, or
     * `missed_of_many` if more than one photo in `many` is a candidate. */
    size_t at_least, per_result, part, many;
    double missed, missed_of_many;
    size_t level; /* instructions: see kernel.h */
} McadLimits;
void mcad_limits(McadLimits *);

/* Open a commit of embeddings of `dim` numbers. Files are compared with their lengths, and what is read now with its
 * checksums. Unless `is_tuned`, a tuning that does not fit the photos is accepted. */
int mcad_index_open(const McadEntry *, size_t count, size_t dim, int is_tuned, McadIndex **, McadError *);
void mcad_index_close(McadIndex *);

/* Read all files and compare them with their checksums; check the order of paths and places. */
int mcad_index_verify(const McadIndex *, const McadStop *, McadError *);

typedef struct {
    uint64_t photos; /* without deleted ones */
    uint64_t bytes;  /* of all stored parts, without padding and words */
    int32_t has_words;
} McadSize;
void mcad_index_size(const McadIndex *, McadSize *);

/* Look paths up: `rows` [paths->count]. */
int mcad_index_find(const McadIndex *, const McadStrings *paths, McadRow *rows, McadError *);

/* Read the paths of rows. */
int mcad_index_paths(const McadIndex *, const McadRow *rows, size_t count, McadStrings *paths, McadError *);

/* List photos by ascending path: those whose paths begin with `prefix` and come after `after`, at most `most`. `rows`
 * [most] and `paths`, none at the end. */
int mcad_index_list(const McadIndex *, const McadStrings *prefix_and_after, size_t most, McadRow *rows,
                    McadStrings *paths, McadError *);

/* What an index knows of photos; what is NULL is not read. */
typedef struct {
    uint32_t *stamps;  /* [count][2]: which state of the file was embedded */
    int32_t *times;    /* [count]: minutes since 1970, or INT32_MIN */
    uint8_t *is_read;  /* [count]: whether the photo's text was read */
    float *embeddings; /* [count][dim], of length 1 */
    const float *query; /* [dim], of length 1 */
    float *cosines;     /* [count], with the query */
} McadPhotos;
int mcad_index_photos(const McadIndex *, const McadRow *rows, size_t count, const McadPhotos *, McadError *);

/* ---- Search ---- */

typedef struct {
    McadStrings folders; /* photos below one of these, which end in a slash; all without any */
    int64_t first, end;  /* minutes: photos taken from `first` to before `end`; all, and those of no known time, if the
                          * first is INT64_MIN and the end INT64_MAX */
    McadStrings place;   /* folded terms that a photo's place has */
    const uint64_t *const *rows; /* [segments]: a bit for each row that passes, or NULL for all; NULL for no segment */
} McadChoice;

/* Filter the photos that are not deleted; NULL chooses all of them. `count`: how many pass. */
int mcad_filter_open(const McadIndex *, const McadChoice *, McadFilter **, size_t *count, McadError *);
int mcad_filter_rows(McadFilter *, McadRow *rows, McadError *); /* [count], by segment, ascending */
void mcad_filter_close(McadFilter *);

/* Find the k photos with the largest cosines with a query [dim] of length 1, best first; `is_exact` scores all of them,
 * not only the candidates of a scan. `rows` and `scores` have room for `*count` = k; it becomes how many were found.
 * `scan_ms`: the time of the first pass. `limits` may be NULL. */
int mcad_search(McadFilter *, const float *query, int is_exact, const McadLimits *, McadRow *rows, float *scores,
                size_t *count, double *scan_ms, McadError *);

/* Find photos that are nearly the same: set `groups` [count] of the photos that pass to the position of the first photo
 * of their group. In a group, each has a cosine of `least`, above 0.5, with another. */
int mcad_duplicates(McadFilter *, double least, const McadStop *, uint32_t *groups, McadError *);

/* Terms to find: folded words, and for each whether words that it begins (1) and one wrong letter (2) count, too. */
typedef struct {
    McadStrings words;
    const uint8_t *modes; /* [words.count] */
} McadTerms;

/* Find the k photos whose words match the largest share of terms, best first; of equal ones, those with the largest
 * cosine with `near` [dim] of length 1, if it is not NULL. `rows`, `shares` and `cosines` (may be NULL) have room for
 * `*count` = k; it becomes how many were found. */
int mcad_words_search(McadFilter *, const McadTerms *, const float *near, McadRow *rows, float *shares, size_t *count,
                      float *cosines, McadError *);

/* Read the words of photos: records, which are empty where a segment has no words. A record is five uint32: whether it
 * was read, lines, places, bytes of texts, bytes of terms (0 here); int16 [lines][8], the corners of each line; texts,
 * which end in newlines; terms: of each its source (0 text, 1 name, 2 place), its bytes, and these. */
int mcad_words_read(const McadIndex *, const McadRow *rows, size_t count, McadStrings *records, McadError *);

/* Say which words match one of the terms: `alike` [words->count]. */
void mcad_words_alike(const McadTerms *, const McadStrings *words, uint8_t *alike);

/* ---- Changes ---- */

/* Start to change an index, which stays open meanwhile. New embeddings wait in `spool`, an empty file that the host
 * keeps. `limits` may be NULL. */
int mcad_writer_open(const McadIndex *, int spool, const McadLimits *, McadWriter **, McadError *);
void mcad_writer_close(McadWriter *);

/* Add photos, in place of those at the same paths: `embeddings` [paths->count][dim], `stamps` [][2], `times` []. */
int mcad_writer_add(McadWriter *, const McadStrings *paths, const float *embeddings, const uint32_t *stamps,
                    const int32_t *times, McadError *);

/* Move files, with all rows of their moments, to new paths with new stamps, all at once, in place of those that are
 * there. `found`: how many rows moved. */
int mcad_writer_move(McadWriter *, const McadStrings *from, const McadStrings *to, const uint32_t *stamps, size_t *found,
                     McadError *);

/* Delete files with all rows of their moments. `found`: how many files there were. */
int mcad_writer_delete(McadWriter *, const McadStrings *files, size_t *found, McadError *);

/* Set the times of files that were added or moved. `found`: how many rows they have. */
int mcad_writer_set_times(McadWriter *, const McadStrings *files, const int32_t *times, size_t *found, McadError *);

/* Set the words of photos, in place of those that they had: records with terms of text and place. `found`: of how many
 * photos that there are. */
int mcad_writer_set_words(McadWriter *, const McadStrings *paths, const McadStrings *records, size_t *found, McadError *);

/* What a commit will do. */
enum { MCAD_KEPT, MCAD_NEW_WORDS, MCAD_MERGED }; /* a segment stays; stays with new words; its photos go to the new one */
typedef struct {
    int32_t is_changed, has_words; /* whether there is anything to commit; whether the new segment has words */
    uint64_t photos;               /* of the new segment; 0 for none */
    const uint8_t *fates;          /* [entries] */
    const uint32_t *const *deleted; /* [entries]: the deleted rows of those that stay, ascending */
    const uint64_t *deleted_counts;
} McadPlan;

/* Plan the commit. `merge_all` makes one segment without deleted rows; `retune` computes its axis and tuning anew, too.
 * The plan is valid until the writer is closed, and nothing may change after it. */
int mcad_writer_plan(McadWriter *, int merge_all, int retune, McadPlan *, McadError *);

/* Write the new segment to an empty file, and flush it: sets all of `entry` but its files. */
int mcad_writer_segment(McadWriter *, int file, const McadStop *, McadEntry *entry, McadError *);

/* List the files whose names make words of segment `entry` (the number of entries for the new one). */
int mcad_writer_names(McadWriter *, size_t entry, McadStrings *files, McadError *);

/* Write the words of segment `entry` to an empty file, and flush it. `names`: the terms of each name that was listed,
 * each term its bytes in one byte, then these. After `mcad_writer_segment`. */
int mcad_writer_words(McadWriter *, size_t entry, const McadStrings *names, int file, McadError *);

#endif
