/*
 * table_hash: the predecessor's hash, kept bit by bit, since its rows lie where it put them. Pure.
 */
#include "storage/rows/table_hash.h"

unsigned table_hash_of_user(const char *user)
{
    uint32_t hash = 0;
    for (size_t i = 0; user[i] != '\0'; i++) {
        /* As signed char: bytes of UTF-8 names are sign-extended into the 32 bits. */
        uint32_t byte = (uint32_t)(int32_t)(signed char)user[i];
        if (i & 1)
            hash ^= ~((hash << 11) ^ byte ^ (hash >> 5));
        else
            hash ^= (hash << 7) ^ byte ^ (hash >> 3);
    }
    return (hash & 0x7fffffffU) % TABLE_HASH_TABLES;
}
