/* Changes to an index, and the commit that writes them. */
#ifndef WRITER_H
#define WRITER_H
#include "index.h"
#include "segment_write.h"
#include "table.h"

/* What is new at a path. */
typedef struct {
    int is_pending;         /* a photo to write is there: row `row` of source `source`, a segment or, after them, the spool */
    uint32_t source, row, stamps[2];
    int32_t time;
    int has_words;          /* its record is in the writer's `records` */
    size_t words_at, words_size;
} Change;

struct McadWriter {
    const McadIndex *index;
    int spool;
    McadLimits limits;
    size_t spooled;      /* rows of the spool */
    Table paths;         /* of changes */
    Buffer changes;      /* Change by number of the path */
    Buffer records;
    uint64_t **kept;     /* [segments]: a bit for each row that the commit keeps */
    PathReader *readers; /* [segments] */
    int is_changed;
    /* the plan */
    McadPlan plan;
    uint8_t *fates;
    uint32_t **deleted;
    uint64_t *deleted_counts;
    uint32_t *pending; /* [pending_count]: numbers of pending paths, sorted by these */
    size_t pending_count;
    int is_new_axis;
    uint32_t new_crc32; /* of the new segment's header */
};

BODY Change *change_of(const McadWriter *w, size_t number) { return (Change *)w->changes.data + number; }
/* The change at a path, or NULL. */
Change *find_change(const McadWriter *, Span path);
/* The bytes of a row's path that are its file's: a moment's path is FILE#t=SECONDS.mmm. */
size_t file_part(Span path);

/* Walks the photos of the new segment by ascending path. Zeros to begin with, freed by merge_end. */
typedef struct {
    PathReader reader;
    size_t row;
    Span path;
    uint32_t stamps[2 * 512];
    size_t stamps_at, stamps_count;
} MergeCursor;

typedef struct {
    McadWriter *w;
    MergeCursor *cursors; /* [segments] */
    size_t at;            /* in the pending paths */
    Span path;
    uint32_t source, row, stamps[2];
    int32_t time;
    const Change *change; /* if the photo is pending */
    int last;             /* the segment whose cursor advances next, or -1 */
} Merge;
int merge_begin(Merge *, McadWriter *, McadError *);
/* Return MCAD_DONE; `path.at` is NULL after the last. */
int merge_next(Merge *, McadError *);
void merge_end(Merge *);
#endif
