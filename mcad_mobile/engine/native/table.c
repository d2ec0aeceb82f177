#include "table.h"

static uint64_t hash_of(const uint8_t *bytes, size_t size) {
    uint64_t hash = size;
    for (size_t i = 0; i < size; i++) hash = (hash ^ bytes[i]) * 0x9e3779b97f4a7c15ull;
    return hash ^ hash >> 29;
}

void free_table(Table *t) {
    free(t->bytes.data);
    free(t->keys.data);
    free(t->slots);
}

Key *look_up(Table *t, const uint8_t *bytes, size_t size, int adds) {
    if (adds && 2 * t->count >= t->slot_count) {
        size_t slot_count = t->slot_count ? 4 * t->slot_count : 1024;
        uint32_t *slots = calloc(slot_count, sizeof *slots);
        if (!slots) {
            t->keys.failed = 1;
            return NULL;
        }
        for (size_t i = 0; i < t->count; i++) {
            size_t at = hash_of(t->bytes.data + key_of(t, i)->at, key_of(t, i)->size) & (slot_count - 1);
            while (slots[at]) at = (at + 1) & (slot_count - 1);
            slots[at] = (uint32_t)i + 1;
        }
        free(t->slots);
        t->slots = slots;
        t->slot_count = slot_count;
    }
    if (!t->slot_count) return NULL;
    size_t at = hash_of(bytes, size) & (t->slot_count - 1);
    for (; t->slots[at]; at = (at + 1) & (t->slot_count - 1)) {
        Key *key = key_of(t, t->slots[at] - 1);
        if (key->size == size && (!size || !memcmp(t->bytes.data + key->at, bytes, size))) return key;
    }
    if (!adds) return NULL;
    Key key = {.at = t->bytes.size, .size = (uint32_t)size, .number = (uint32_t)t->count};
    append(&t->bytes, bytes, size);
    append(&t->keys, &key, sizeof key);
    if (t->bytes.failed || t->keys.failed) {
        t->keys.failed = 1;
        return NULL;
    }
    t->slots[at] = (uint32_t)++t->count;
    return key_of(t, t->count - 1);
}
