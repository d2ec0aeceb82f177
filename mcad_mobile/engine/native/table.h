/* Strings by number, and by a hash of their bytes. */
#ifndef TABLE_H
#define TABLE_H
#include "files.h"

typedef struct {
    size_t at; /* in `bytes` */
    uint32_t size, number, count, code, length; /* all but the size are the user's */
} Key;

typedef struct {
    Buffer bytes, keys;
    uint32_t *slots;
    size_t count, slot_count;
} Table;

BODY Key *key_of(const Table *t, size_t number) { return (Key *)t->keys.data + number; }
BODY Span key_bytes(const Table *t, size_t number) {
    return (Span){t->bytes.data + key_of(t, number)->at, key_of(t, number)->size};
}

/* Find a string, or add it if `adds`; NULL if it is not there, or without memory, which `keys.failed` says. The next
 * string that is added may move it. */
Key *look_up(Table *, const uint8_t *bytes, size_t size, int adds);
void free_table(Table *);
#endif
