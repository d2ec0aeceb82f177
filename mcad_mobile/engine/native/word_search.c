/* Search by words: the share of a query's terms that each photo has. */
#include "filters.h"
#include "exact.h"

#define MARKS 256
#define MOST_TIED 4096 /* photos to compare with the query's embedding */

/* How well a term matches: not, with a wrong letter, as the start of a word, or as a whole. */
static const double likeness[] = {0, 0.5, 0.7, 1};

typedef struct {
    size_t terms, groups;
    uint8_t **marks; /* [segments] of [groups][photos]: how photos match four terms, in two bits for each */
    size_t *counts;  /* [4 groups]: of how many live photos each term is */
    float *worths;   /* [groups][MARKS] */
    double most;     /* that a photo may be worth */
} Query;

/* A photo that has words of the query. */
typedef struct {
    float worth, nearness;
    uint32_t segment, row;
} Hit;

static int by_worth(const void *a, const void *b) {
    const Hit *x = a, *y = b;
    if (x->worth != y->worth) return x->worth > y->worth ? -1 : 1;
    if (x->nearness != y->nearness) return x->nearness > y->nearness ? -1 : 1;
    if (x->segment != y->segment) return x->segment < y->segment ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

/* Mark how the photos of a segment match, and count the live ones of each term. */
static int mark_photos(const Live *live, const McadTerms *terms, Query *q, uint8_t *marks, McadError *error) {
    size_t photos = live->segment.photos;
    for (size_t group = 0; group < q->groups; group++) {
        WordQuery queries[MOST_QUERIES];
        size_t first = MOST_QUERIES * group, few = q->terms - first < MOST_QUERIES ? q->terms - first : MOST_QUERIES;
        uint8_t *of_group = marks + group * photos;
        for (size_t i = 0; i < few; i++) queries[i] = query_of(terms, first + i, (1 << WORD_SOURCES) - 1);
        if (words_find(&live->words.view, queries, few, of_group)) return fail(error, MCAD_WORDS_DICTIONARY, 0, 0, 0);
        for (size_t i = 0; i < few; i++) {
            q->counts[first + i] += queries[i].found;
            for (size_t d = 0; d < live->deleted_count; d++)
                q->counts[first + i] -= (of_group[live->deleted[d]] >> 2 * i & 3) != 0;
        }
    }
    words_release(&live->words);
    return MCAD_DONE;
}

/* Weigh each term by its inverse document frequency, and as much as it is matched. */
static void weigh(const McadIndex *index, Query *q) {
    double idfs[MOST_QUERIES], rarest = 0;
    for (int is_sum = 0; is_sum < 2; is_sum++)
        for (size_t group = 0; group < q->groups; group++) {
            for (size_t i = 0; i < MOST_QUERIES; i++) {
                size_t term = MOST_QUERIES * group + i;
                double idf = term < q->terms ? natural_log((double)(index->photos + 1) / ((double)q->counts[term] + 0.5)) : 0;
                idfs[i] = idf > 0 ? idf : 0;
                if (!is_sum && q->counts[term] && idfs[i] > rarest) rarest = idfs[i];
                /* A word that no photo has, such as "beach", counts no more than those that some have. */
                if (is_sum) q->most += idfs[i] < rarest ? idfs[i] : rarest;
            }
            for (size_t marks = 0; marks < MARKS; marks++) {
                double worth = 0;
                for (size_t i = 0; i < MOST_QUERIES; i++) worth += idfs[i] * likeness[marks >> 2 * i & 3];
                q->worths[group * MARKS + marks] = (float)worth;
            }
        }
}

/* Append the photos of a segment with the largest worths, and so many that are tied with the last. */
static int rank_segment(const McadFilter *filter, size_t number, const Query *q, size_t k, size_t tied, Buffer *hits,
                        McadError *error) {
    const Passing *p = filter->of + number;
    size_t photos = filter->index->lives[number].segment.photos, best = k < photos ? k : photos;
    size_t room = k + tied < photos ? k + tied : photos;
    WordRanking ranking = {q->marks[number], q->groups, photos, q->worths, p->row_bits, p->first, p->end};
    uint32_t *rows = malloc((room + 1) * sizeof *rows);
    float *worths = malloc((room + 1) * sizeof *worths);
    int64_t count = rows && worths ? best ? words_rank(&ranking, best, room, rows, worths) : 0 : -1;
    for (int64_t i = 0; i < count; i++) {
        Hit hit = {worths[i], 0, (uint32_t)number, rows[i]};
        append(hits, &hit, sizeof hit);
    }
    free(rows);
    free(worths);
    return count < 0 || hits->failed ? no_memory(error) : MCAD_DONE;
}

/* Set the nearness of the hits that tie with the k-th. */
static int compare_tied(const McadIndex *index, Hit *hits, size_t count, size_t k, const float *rotated, McadError *error) {
    if (count <= k) return MCAD_DONE;
    qsort(hits, count, sizeof *hits, by_worth);
    float worth = hits[k - 1].worth;
    int code = MCAD_DONE;
    for (size_t i = 0; !code && i < count; i++)
        if (hits[i].worth == worth) {
            size_t row = hits[i].row;
            code = score_rows(index, hits[i].segment, rotated, &row, 1, &hits[i].nearness, error);
        }
    return code;
}

static void free_query(Query *q, size_t segments) {
    for (size_t i = 0; q->marks && i < segments; i++) free(q->marks[i]);
    free(q->marks);
    free(q->counts);
    free(q->worths);
}

int mcad_words_search(McadFilter *filter, const McadTerms *terms, const float *near, McadRow *rows, float *shares,
                      size_t *count, float *cosines, McadError *error) {
    const McadIndex *index = filter->index;
    size_t k = *count, groups = (terms->words.count + MOST_QUERIES - 1) / MOST_QUERIES, found = 0;
    Query q = {.terms = terms->words.count, .groups = groups, .marks = calloc(index->count + 1, sizeof *q.marks),
               .counts = calloc(MOST_QUERIES * groups + 1, sizeof *q.counts),
               .worths = calloc(MARKS * groups + 1, sizeof *q.worths)};
    float rotated[MOST_DIM];
    Buffer hits = {0};
    int code = q.marks && q.counts && q.worths ? check_sizes(index, error) : no_memory(error);
    if (!code && near) {
        memcpy(rotated, near, index->dim * sizeof *rotated);
        if (!mcad_rotate(rotated, 1, index->dim, 0)) code = no_memory(error);
    }
    for (size_t i = 0; !code && i < index->count; i++) {
        const Live *live = index->lives + i;
        q.marks[i] = calloc(groups * live->segment.photos + 1, 1);
        if (!q.marks[i]) code = no_memory(error);
        else if (live->has_words) code = in_file(mark_photos(live, terms, &q, q.marks[i], error), error, i, 1);
    }
    if (!code) weigh(index, &q);
    size_t tied = near && index->count ? MOST_TIED / index->count : 0;
    for (size_t i = 0; !code && groups && k && i < index->count; i++)
        code = rank_segment(filter, i, &q, k, tied, &hits, error);
    Hit *all = (Hit *)hits.data;
    if (!code) found = hits.size / sizeof *all;
    if (!code && near) code = compare_tied(index, all, found, k, rotated, error);
    if (!code && found) qsort(all, found, sizeof *all, by_worth);
    if (found > k) found = k;
    for (size_t i = 0; !code && i < found; i++) {
        size_t row = all[i].row;
        rows[i] = (McadRow){all[i].segment, all[i].row};
        shares[i] = (float)(all[i].worth / q.most);
        if (cosines) cosines[i] = 0;
        if (cosines && near) code = score_rows(index, all[i].segment, rotated, &row, 1, cosines + i, error);
    }
    *count = code ? 0 : found;
    free(hits.data);
    free_query(&q, index->count);
    return code;
}
