/*
 * hash: uthash with one policy for a lack of memory, for every hash table of the suite: an element that cannot be
 * added is left out and the table stays as it was; nothing ends the process. The caller checks HASH_ADDED() and goes
 * on without the entry, or refuses the request that wanted it. No other file includes <uthash.h>.
 */
#ifndef REEL_COMMON_HASH_H
#define REEL_COMMON_HASH_H

#ifdef UTHASH_H
#error "include common/base/hash.h instead of uthash.h: its policy must be the only one"
#endif

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

/* After HASH_ADD...(hh, table, ..., element): true where ELEMENT is in the table; false where there was no memory.
 * Says nothing of an element that was never added, or that was deleted since. */
#define HASH_ADDED(hh, element) ((element)->hh.tbl != NULL)

#endif
