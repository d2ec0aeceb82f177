/* Runs the search kernels on made inputs, on any processor that an emulator knows: DRIVER INPUTS RESULTS REPEATS. The
 * results begin with the level of this processor; arm.py writes the first, tests/engine/index/test_arm.py reads the second. */
#include "kernel.h"
#include <stdio.h>
#include <stdlib.h>

enum { END, SCAN, RESCORE };

static FILE *in, *out;

static void *take(size_t count, size_t size) {
    void *numbers = calloc(count + 4200, size); /* room that a scan wants behind its rows */
    if (!numbers || fread(numbers, size, count, in) != count) exit(2);
    return numbers;
}

static int64_t whole(void) {
    int64_t *number = take(1, sizeof *number);
    return *number;
}

static double real(void) {
    double *number = take(1, sizeof *number);
    return *number;
}

static void put(const void *numbers, size_t count, size_t size) {
    if (fwrite(numbers, size, count, out) != count) exit(3);
}

static void scan(int level, int repeats) {
    Scan s = {.words = (size_t)whole()};
    s.stride = (size_t)whole();
    s.span_count = (size_t)whole();
    s.wanted = (size_t)whole();
    int filtered = (int)whole();
    s.columns = take(s.words * s.stride, 8);
    s.query = take(3 * s.words, 8);
    s.spans = take(2 * s.span_count, 8);
    if (filtered) s.allowed = take((s.stride + 63) / 64 * 8, 1);
    s.rows = calloc(s.wanted + 4200, 4);
    s.distances = calloc(s.wanted + 4200, 2);
    uint64_t count = 0;
    for (int i = 0; i < repeats; i++) {
        s.histogram = calloc(3 * 64 * s.words + 1, 4);
        count = mcad_scan(&s, level);
        free(s.histogram);
    }
    put(&count, 1, 8);
    put(s.rows, count, 4);
    put(s.distances, count, 2);
}

static void rescore(int level, int repeats) {
    Candidates s = {.dim = (size_t)whole()};
    s.words = (size_t)whole();
    s.stride = (size_t)whole();
    s.count = (size_t)whole();
    Limits limits;
    mcad_limits(&limits);
    limits.at_least = (size_t)whole();
    limits.per_result = 1;
    limits.part = SIZE_MAX;
    size_t k = (size_t)whole();
    int near = (int)whole();
    s.projection_step = real();
    s.step = real();
    limits.missed = limits.missed_of_many = real();
    s.residual = take(s.dim, 8);
    s.columns = take(s.words * s.stride, 8);
    s.rows = take(s.count, 4);
    if (near) s.distances = take(s.count, 2);
    s.size = s.dim + s.dim / 8 - 8 * s.words + 4;
    s.file = fileno(in);
    s.offset = ftell(in);
    if (fseek(in, (long)(s.stride * s.size), SEEK_CUR)) exit(2);
    s.cosines = calloc(s.count + 1, 4);
    int64_t status = 0;
    for (int i = 0; i < repeats; i++) status = mcad_rescore(&s, 1, k, &limits, level);
    put(&status, 1, 8);
    put(s.cosines, s.count, 4);
}

int main(int count, char **arguments) {
    if (count != 4 || !(in = fopen(arguments[1], "rb")) || !(out = fopen(arguments[2], "wb"))) return 1;
    int64_t level = mcad_level();
    put(&level, 1, 8);
    for (int64_t kind = whole(); kind != END; kind = whole()) {
        level = whole();
        if (kind == SCAN) scan((int)level, atoi(arguments[3]));
        else rescore((int)level, atoi(arguments[3]));
    }
    return fclose(out) != 0;
}
