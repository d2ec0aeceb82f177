/* Finds the cities that a photo was taken in, by a table of places (engine/words/places.py). A table may hold anything. */
#include "kernel.h"
#include <math.h>

#define HEAD 16 /* bytes */
#define LINES 16 /* for each offset */
#define STEPS 65536
#define PI 3.14159265358979323846
#define KM_A_STEP (PI * 6371.0 / STEPS) /* from south to north */
#define REACH_KM 0.25
#define MOST_REACH_KM 63.75
#define FAR_KM 50.0 /* a photo farther from all cities has no place */

typedef struct {
    size_t cities, starts, text_size;
    const uint8_t *offsets, *latitudes, *longitudes, *regions, *reaches, *text;
} Table;

BODY uint32_t get_32(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, 4);
    return value;
}

/* Return 0 unless the sizes in the head are those of the table. */
static int view(const uint8_t *data, size_t size, Table *t) {
    if (size < HEAD || memcmp(data, "MCADPLC1", 8)) return 0;
    t->cities = get_32(data + 8);
    t->starts = (t->cities + get_32(data + 12) + LINES - 1) / LINES + 1;
    if ((size - HEAD) / 4 < t->starts || (size - HEAD - 4 * t->starts) / 7 < t->cities) return 0;
    t->offsets = data + HEAD;
    t->latitudes = t->offsets + 4 * t->starts;
    t->longitudes = t->latitudes + 2 * t->cities;
    t->regions = t->longitudes + 2 * t->cities;
    t->reaches = t->regions + 2 * t->cities;
    t->text = t->reaches + t->cities;
    t->text_size = (size_t)(data + size - t->text);
    return get_32(t->offsets + 4 * (t->starts - 1)) == t->text_size;
}

BODY size_t get_16(const uint8_t *at) { return at[0] | (size_t)at[1] << 8; }

/* Set `span` to where a line begins in the table, and its bytes. Return 0 if it is missing. */
static int find_line(const uint8_t *data, const Table *t, size_t number, uint32_t *span) {
    size_t block = number / LINES;
    if (block + 1 >= t->starts) return 0;
    size_t start = get_32(t->offsets + 4 * block), end = get_32(t->offsets + 4 * block + 4);
    if (start > end || end > t->text_size) return 0;
    const uint8_t *from = t->text + start, *stop = t->text + end;
    for (size_t i = number % LINES; i; i--) {
        from = memchr(from, '\n', (size_t)(stop - from));
        if (!from) return 0;
        from++;
    }
    const uint8_t *newline = memchr(from, '\n', (size_t)(stop - from));
    span[0] = (uint32_t)(from - data);
    span[1] = (uint32_t)((newline ? newline : stop) - from);
    return 1;
}

int mcad_places_check(const uint8_t *data, size_t size) {
    Table t;
    return view(data, size, &t);
}

/* Set `spans` to the lines, each its start in the table and its bytes, of the city nearest to a coordinate in degrees
 * and its region, then of the largest that reaches as far. Return how many lines, 0, 2 or 4; -1 if the table is damaged.
 * `cosine` is that of the latitude. */
int mcad_places_near(const uint8_t *data, size_t size, double latitude, double longitude, double cosine, uint32_t spans[8]) {
    Table t;
    if (!view(data, size, &t)) return -1;
    double north = (latitude + 90) / 180 * STEPS, east = (longitude + 180) / 360 * STEPS, least = FAR_KM;
    double window = (int)(MOST_REACH_KM / KM_A_STEP) + 1;
    size_t low = 0, high = t.cities, nearest = t.cities, largest = t.cities, reach = 0;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if ((double)get_16(t.latitudes + 2 * middle) < north - window) low = middle + 1;
        else high = middle;
    }
    for (size_t city = low; city < t.cities; city++) {
        double up = (double)get_16(t.latitudes + 2 * city) - north;
        if (up > window) break;
        double along = fabs((double)get_16(t.longitudes + 2 * city) - east);
        double x = (along < STEPS - along ? along : STEPS - along) * 2 * cosine;
        double km = sqrt(x * x + up * up) * KM_A_STEP;
        if (km < least || (km == least && nearest == t.cities)) least = km, nearest = city;
        if (km <= t.reaches[city] * REACH_KM && t.reaches[city] > reach) reach = t.reaches[largest = city];
    }
    if (nearest == t.cities) return 0;
    const size_t found[] = {nearest, largest};
    int lines = largest == t.cities || largest == nearest ? 2 : 4;
    for (int i = 0; i < lines; i += 2) {
        size_t region = t.cities + get_16(t.regions + 2 * found[i / 2]);
        if (!find_line(data, &t, found[i / 2], spans + 2 * i) || !find_line(data, &t, region, spans + 2 * i + 2)) return -1;
    }
    return lines;
}
