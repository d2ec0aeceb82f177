/* Boxes of text lines in a detector's map of probabilities, as DBNet (Liao et al., 2020) finds them: components of
 * pixels above a threshold, the smallest rectangle around each, and its expansion, as the map shows only the middle of
 * a line. Time and memory depend on the size of the map alone, whatever it shows. */
#include "kernel.h"
#include <stdlib.h>

/* What PP-OCR's detectors are used with. Sides are in pixels of the map, before the expansion. */
#define THRESHOLD 0.3f
#define LEAST_SCORE 0.5
#define LEAST_SIDE 3
#define EXPANSION 1.6

typedef struct {
    int32_t x, y;
} Point;

typedef struct {
    double x, y, along_x, along_y; /* its middle, and the unit vector of the side that is closer to horizontal */
    double width, height;          /* of that side, and of the other */
} Rectangle;

/* The space of a call: of a component, its pixels, and for each row its first and last. */
typedef struct {
    const float *map;
    int32_t width, height, top, bottom;
    uint8_t *seen;
    uint32_t *pixels;
    int32_t *left, *right;
    Point *hull;
} Space;

/* Visit the pixels that touch `start`, also by a corner; set the rows that they reach. */
static void visit_component(Space *s, uint32_t start) {
    size_t count = 0;
    s->top = s->bottom = (int32_t)(start / (uint32_t)s->width);
    s->left[s->top] = s->width;
    s->right[s->top] = -1;
    s->seen[start] = 1;
    s->pixels[count++] = start;
    for (size_t next = 0; next < count; next++) {
        int32_t x = (int32_t)(s->pixels[next] % (uint32_t)s->width), y = (int32_t)(s->pixels[next] / (uint32_t)s->width);
        if (y > s->bottom) {
            s->left[y] = s->width;
            s->right[y] = -1;
            s->bottom = y;
        }
        if (x < s->left[y]) s->left[y] = x;
        if (x > s->right[y]) s->right[y] = x;
        for (int32_t v = y ? y - 1 : 0; v <= y + 1 && v < s->height; v++)
            for (int32_t u = x ? x - 1 : 0; u <= x + 1 && u < s->width; u++) {
                uint32_t pixel = (uint32_t)v * (uint32_t)s->width + (uint32_t)u;
                if (s->seen[pixel] || !(s->map[pixel] > THRESHOLD)) continue;
                s->seen[pixel] = 1;
                s->pixels[count++] = pixel;
            }
    }
}

static int64_t cross(Point a, Point b, Point c) {
    return (int64_t)(b.x - a.x) * (c.y - a.y) - (int64_t)(b.y - a.y) * (c.x - a.x);
}

/* Where the pixels of the rows above and below the line `y` begin (`side` -1) or end (1). */
static int32_t reach(const Space *s, int32_t y, int side) {
    const int32_t *ends = side < 0 ? s->left : s->right;
    int32_t above = ends[y > s->top ? y - 1 : y], below = ends[y <= s->bottom ? y : y - 1];
    return side < 0 ? (above < below ? above : below) : (above > below ? above : below) + 1;
}

/* Write the convex hull of the component's pixels, which are squares; return its number of corners. */
static size_t convex_hull(const Space *s) {
    size_t count = 0;
    for (int side = 1; side >= -1; side -= 2) { /* down the right side, up the left */
        size_t first = count;
        for (int32_t i = 0, lines = s->bottom - s->top + 2; i < lines; i++) {
            int32_t y = side > 0 ? s->top + i : s->bottom + 1 - i;
            Point point = {reach(s, y, side), y};
            while (count >= first + 2 && cross(s->hull[count - 2], s->hull[count - 1], point) <= 0) count--;
            s->hull[count++] = point;
        }
    }
    return count;
}

/* The rectangle of the least area around a hull: one of its sides lies on a side of the hull. */
static Rectangle smallest_rectangle(const Point *hull, size_t count) {
    Rectangle best = {0};
    double least = 0;
    for (size_t i = 0; i < count; i++) {
        Point from = hull[i], to = hull[(i + 1) % count];
        double x = to.x - from.x, y = to.y - from.y, length = __builtin_sqrt(x * x + y * y);
        x /= length;
        y /= length;
        double low = 0, high = 0, deep = 0; /* the hull lies on one side of this line */
        for (size_t j = 0; j < count; j++) {
            double u = hull[j].x - from.x, v = hull[j].y - from.y, along = u * x + v * y, across = v * x - u * y;
            if (along < low) low = along;
            if (along > high) high = along;
            if (across > deep) deep = across;
        }
        double area = (high - low) * deep;
        if (i && area >= least) continue;
        least = area;
        double middle = (low + high) / 2;
        best = (Rectangle){from.x + middle * x - deep / 2 * y, from.y + middle * y + deep / 2 * x, x, y, high - low, deep};
    }
    Rectangle r = best;
    if (r.along_x * r.along_x < r.along_y * r.along_y)
        r = (Rectangle){best.x, best.y, best.along_y, -best.along_x, best.height, best.width};
    if (r.along_x < 0) r.along_x = -r.along_x, r.along_y = -r.along_y;
    return r;
}

/* Narrow `from` to `until` to where -`half` <= at + step * x <= `half`. */
static void narrow(double at, double step, double half, double *from, double *until) {
    half += 1e-6; /* a pixel on the edge is inside, however the numbers are rounded */
    if (step < 0) at = -at, step = -step;
    if (step > 1e-9) {
        double first = (-half - at) / step, last = (half - at) / step;
        if (first > *from) *from = first;
        if (last < *until) *until = last;
    } else if (at < -half || at > half) *until = *from - 1;
}

/* The mean of the pixels whose middles lie in a rectangle. */
static double mean_in(const Space *s, const Rectangle *r) {
    double sum = 0, slope = r->along_y < 0 ? -r->along_y : r->along_y;
    double reached = (r->width * slope + r->height * r->along_x) / 2, last = r->y + reached;
    size_t count = 0;
    for (int32_t y = r->y > reached ? (int32_t)(r->y - reached) : 0; y < last && y < s->height; y++) {
        double v = y + 0.5 - r->y, from = 0, until = s->width - 1;
        double u = 0.5 - r->x; /* of the row's first pixel */
        narrow(u * r->along_x + v * r->along_y, r->along_x, r->width / 2, &from, &until);
        narrow(v * r->along_x - u * r->along_y, -r->along_y, r->height / 2, &from, &until);
        if (from > until) continue;
        for (int32_t x = (int32_t)from + (from > (int32_t)from); x <= until; x++, count++)
            sum += s->map[(size_t)y * (size_t)s->width + (size_t)x];
    }
    return count ? sum / (double)count : 0;
}

static void write_box(float *box, const Rectangle *r, double score) {
    double more = EXPANSION * r->width * r->height / (2 * (r->width + r->height));
    double w = r->width / 2 + more, h = r->height / 2 + more;
    for (int i = 0; i < 4; i++) {
        double along = i == 1 || i == 2 ? w : -w, across = i >= 2 ? h : -h;
        box[2 * i] = (float)(r->x + along * r->along_x - across * r->along_y);
        box[2 * i + 1] = (float)(r->y + along * r->along_y + across * r->along_x);
    }
    box[8] = (float)score;
}

/* Find boxes in a map [height][width] of at most MOST_MAP_SIDE a side and MOST_MAP_AREA in all. Write at most `most`
 * boxes [9], those with the
 * best scores: x, y of their corners in pixels of the map, which may lie outside it, clockwise from the upper left,
 * and the score, 0 to 1. Return how many; negative without memory, or for other sizes. */
int64_t mcad_boxes(const float *map, size_t width, size_t height, size_t most, float *boxes) {
    if (!width || !height || !most || width > MOST_MAP_SIDE || height > MOST_MAP_SIDE) return -1;
    size_t area = width * height, count = 0;
    if (area > MOST_MAP_AREA) return -1;
    Space s = {.map = map, .width = (int32_t)width, .height = (int32_t)height};
    /* One block: the queue, the ends of the rows, a hull's corners, what was seen. */
    s.pixels = malloc(area * sizeof *s.pixels + 2 * height * sizeof *s.left + 2 * (height + 1) * sizeof *s.hull + area);
    if (!s.pixels) return -1;
    s.left = (int32_t *)(s.pixels + area);
    s.right = s.left + height;
    s.hull = (Point *)(s.right + height);
    s.seen = memset(s.hull + 2 * (height + 1), 0, area);
    for (size_t start = 0; start < area; start++) {
        if (s.seen[start] || !(map[start] > THRESHOLD)) continue;
        visit_component(&s, (uint32_t)start);
        Rectangle r = smallest_rectangle(s.hull, convex_hull(&s));
        if (r.width < LEAST_SIDE || r.height < LEAST_SIDE) continue;
        double score = mean_in(&s, &r);
        if (!(score >= LEAST_SCORE)) continue;
        size_t worst = 0;
        if (count < most) worst = count++;
        else {
            for (size_t i = 1; i < count; i++)
                if (boxes[9 * i + 8] < boxes[9 * worst + 8]) worst = i;
            if (!(score > boxes[9 * worst + 8])) continue;
        }
        write_box(boxes + 9 * worst, &r, score);
    }
    free(s.pixels);
    return (int64_t)count;
}
