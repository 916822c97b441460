/*
 * link_cache: signed links that were verified a moment ago are not computed again: LINK_CACHE_ENTRIES of a loop, until they expire or
 * the keys change; and as many request-targets that showed one are not even taken apart. On its loop's thread; never blocks.
 */
#ifndef REEL_HTTPD_LINK_CACHE_H
#define REEL_HTTPD_LINK_CACHE_H

#include "common/auth/link_token.h"
#include "httpd/syntax/http_target.h"

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

/* A request-target as it came, borrowed. */
struct link_target {
    const char *bytes;
    size_t size;
    uint64_t hash;                    /* this, and KNOWN, is for link_cache_knows() to fill */
    bool known;                       /* its answer */
    struct http_target_plain plain;   /* learnt with it; filled where KNOWN */
    const struct http_target *parsed; /* to be learnt: it, taken apart as a file; borrowed */
};

/* Whether TARGET was learnt and is good at NOW (seconds since the epoch), for any client and without a look at the link in it. */
bool link_cache_knows(struct link_cache *cache, struct link_target *target, int64_t now);

/* What link_token_verify() says of TOKEN for FILE, shown as VIEW, and a client at the numeric address HOST, at NOW. TARGET: NULL, or one
 * that link_cache_knows() was asked about and did not know and that alone decides which file and view are shown, and that no other link is: where the
 * link is good and not bound to a network, it is learnt. */
enum link_verdict link_cache_verify(struct link_cache *cache, const struct link_token *token,
                                    const struct proto_file_key *file, const struct link_view *view,
                                    const char *host, const struct link_target *target, int64_t now);

/* Targets may stand for other files from now on. */
void link_cache_forget(struct link_cache *cache);

/* How many links and targets are remembered. */
size_t link_cache_count(const struct link_cache *cache);

#endif
