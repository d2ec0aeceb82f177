/* Runs inputs of the target that FUZZ_TARGET names: libFuzzer's, or without it (-DBY_CHANCE) those of files and chance.
 * FUZZ_SEEDS names a folder for files to begin with; FUZZ_COUNTS a file for the number of inputs by their outcome. */
#include "fuzz.h"
#include <sys/mman.h>
#include <unistd.h>

size_t allowed = SIZE_MAX, left;
int ran_out;
const uint8_t *rest;

/* The core is compiled with these in place of the allocator's. */
static int may(void) {
    ran_out |= !allowed;
    return allowed-- > 0;
}
void *fuzz_malloc(size_t size) { return may() ? malloc(size) : NULL; }
void *fuzz_calloc(size_t count, size_t size) { return may() ? calloc(count, size) : NULL; }
void *fuzz_realloc(void *block, size_t size) { return may() ? realloc(block, size) : NULL; }

void take(void *into, size_t size) {
    size_t known = size < left ? size : left;
    memset(into, 0, size);
    memcpy(into, rest, known);
    rest += known;
    left -= known;
}

size_t number(size_t below) {
    uint16_t drawn = 0;
    take(&drawn, below > 256 ? 2 : 1);
    return drawn % below;
}

static const struct {
    const char *name;
    int (*run)(void);
} targets[] = {{"segment", fuzz_segment}, {"words", fuzz_words}, {"places", fuzz_places}, {"calls", fuzz_calls},
               {"kernels", fuzz_kernels}, {"threads", fuzz_threads}};
static size_t target, outcomes[256];

static void write_counts(void) {
    FILE *file = fopen(getenv("FUZZ_COUNTS"), "w");
    MUST(file);
    for (size_t code = 0; code < 256; code++)
        if (outcomes[code]) fprintf(file, "%zu %zu\n", code, outcomes[code]);
    fclose(file);
}

static void copy(const char *name, int file) {
    char path[4096];
    uint8_t data[1 << 18];
    MUST((size_t)snprintf(path, sizeof path, "%s/%s", getenv("FUZZ_SEEDS"), name) < sizeof path);
    ssize_t size = pread(file, data, sizeof data, 0);
    FILE *out = fopen(path, "w");
    MUST(out && size > 0 && fwrite(data, 1, (size_t)size, out) == (size_t)size);
    fclose(out);
}

static void write_seeds(void) {
    Host h[3];
    make_index(h, 8, 40, 0), make_index(h + 1, 64, 300, 1), make_index(h + 2, 64, 20, 0);
    for (size_t i = 0; i < 3; i++) {
        const char *const names[] = {"8.mcs", "cells.mcs", "64.mcs"};
        copy(names[i], h[i].entries[0].file);
        if (!i) copy("8.words", h->entries[0].words);
        host_free(h + i);
    }
    exit(0);
}

int LLVMFuzzerInitialize(int *count, char ***arguments) {
    (void)count, (void)arguments;
    if (getenv("FUZZ_SEEDS")) write_seeds();
    while (strcmp(targets[target].name, getenv("FUZZ_TARGET"))) target++;
    if (getenv("FUZZ_COUNTS")) atexit(write_counts);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static size_t runs;
    int before = dup(2);
    close(before);
    rest = data, left = size;
    allowed = SIZE_MAX, ran_out = 0;
    outcomes[targets[target].run()]++;
    int after = dup(2); /* a file that was left open has the number */
    close(after);
    MUST(after == before || !runs++);
    return 0;
}

#ifdef BY_CHANCE
static uint32_t chance(size_t below) {
    static uint64_t state = 1;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((state >> 33) % below);
}

static size_t change(uint8_t *data, size_t size, size_t room) {
    static const uint32_t odd[] = {0, 1, 127, 128, 255, 32768, 65535, 1u << 31, UINT32_MAX};
    if (size < 16) return size;
    size_t near = chance(2) ? size : size < 400 ? size : 400, at = chance(near - 8), more = 1 + chance(8);
    switch (chance(6)) {
        case 0: data[at] ^= (uint8_t)(1 << chance(8)); break;
        case 1: data[at] = (uint8_t)chance(256); break;
        case 2: memcpy(data + at, odd + chance(9), sizeof *odd); break;
        case 3: memmove(data + at, data + at + more, size - at - more); return size - more;
        case 4:
            if (size + more > room) break;
            memmove(data + at + more, data + at, size - at);
            return size + more;
        default: return chance(4) ? size : at + 8;
    }
    return size;
}

int main(int count, char **names) {
    enum { ROOM = 1 << 18 };
    static uint8_t data[ROOM];
    LLVMFuzzerInitialize(&count, &names);
    for (int run = 0, runs = atoi(names[1]), seeds = count - 2; run < runs; run++) {
        FILE *file = fopen(names[2 + (run < seeds ? (uint32_t)run : chance((size_t)seeds))], "r");
        MUST(file);
        size_t size = fread(data, 1, ROOM, file);
        fclose(file);
        for (uint32_t changes = run < seeds ? 0 : 1 + chance(6); changes; changes--) size = change(data, size, ROOM);
        uint8_t *exact = memcpy(malloc(size + 1), data, size);
        LLVMFuzzerTestOneInput(exact, size);
        free(exact);
    }
}
#endif
