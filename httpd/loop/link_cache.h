/*
 * link_cache: signed links that were verified a moment ago are not computed again: the last LINK_CACHE_ENTRIES of a loop, until
 * they expire or the keys change. On its loop's thread; never blocks.
 */
#ifndef REEL_HTTPD_LINK_CACHE_H
#define REEL_HTTPD_LINK_CACHE_H

#include "common/auth/link_token.h"

#define LINK_CACHE_ENTRIES 1024

struct link_cache;

/* Where the keys of now are. */
struct link_keys {
    struct keys *(*get)(void *argument);    /* a reference for the caller; NULL: there are none */
    uint64_t (*generation)(void *argument); /* another number as soon as get() gives others */
    void *argument;                         /* outlives the cache */
};

/* NULL without memory. */
struct link_cache *link_cache_create(const struct link_keys *keys);
void link_cache_destroy(struct link_cache *cache); /* NULL is nothing */

/* What link_token_verify() says of TOKEN for FILE, shown as VIEW, and a client at the numeric address HOST, at NOW (seconds since the epoch). */
enum link_verdict link_cache_verify(struct link_cache *cache, const struct link_token *token,
                                    const struct proto_file_key *file, const struct link_view *view,
                                    const char *host, int64_t now);

/* How many are remembered. */
size_t link_cache_count(const struct link_cache *cache);

#endif
