/* An allocator that fails once, after as many allocations as it is allowed, and counts what is not freed: linked into a
 * library whose calls of malloc, calloc, realloc and free have these names. */
#include <stdint.h>
#include <stdlib.h>

static int allowed = -1, blocks;

static void *counted(void *block) {
    blocks += block != NULL;
    return block;
}

static int may(void) { return allowed < 0 || allowed-- > 0; }

void *probe_malloc(size_t size) { return may() ? counted(malloc(size)) : NULL; }
void *probe_calloc(size_t count, size_t size) { return may() ? counted(calloc(count, size)) : NULL; }
void *probe_realloc(void *block, size_t size) {
    void *moved = may() ? realloc(block, size) : NULL;
    return block ? moved : counted(moved);
}
void probe_free(void *block) {
    blocks -= block != NULL;
    free(block);
}

void Java_io_github_mcadmobile_engine_index_KernelProbe_allow(void *env, void *class, int32_t allocations) {
    (void)env, (void)class;
    allowed = allocations;
}

int32_t Java_io_github_mcadmobile_engine_index_KernelProbe_blocks(void *env, void *class) {
    (void)env, (void)class;
    return blocks;
}
