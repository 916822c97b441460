/*
 * http_lookup: what is known about files: asked of the storage servers through the client core, remembered
 * for a short while, and asked once however many requests want it at the same moment. Belongs to one loop;
 * its thread only.
 *
 * It is not made of common/cache because a response, and later a stream of hours, holds on to what it found
 * without copying it, and because an entry may be one that is only just being asked for.
 */
#ifndef REEL_HTTPD_HTTP_LOOKUP_H
#define REEL_HTTPD_HTTP_LOOKUP_H

#include "client/core/client.h"
#include "httpd/syntax/http_date.h"
#include "httpd/files/local_files.h"

#define HTTP_LOOKUP_TYPE_SIZE (PROTO_CONTENT_TYPE_SIZE + 16) /* with "; charset=utf-8" */
#define HTTP_LOOKUP_ETAG_SIZE 64 /* 32 hex digits, two quotes, a suffix of what is made of the file, NUL */

/* A file that is there. Immutable but for the marks of the sources; shared by reference. */
struct http_lookup_file {
    struct proto_file_key key;
    struct proto_stat stat;
    int64_t last_modified; /* seconds since the epoch; 0: unknown */
    char last_modified_text[HTTP_DATE_SIZE];
    char etag[HTTP_LOOKUP_ETAG_SIZE]; /* strong, with its quotes */
    const char *sniffed; /* type by the first bytes, where the row says nothing; static, or NULL */
    bool utf8;           /* a text whose first bytes are UTF-8 */
    bool looked_at;      /* its first bytes were read: the two above are true */
    char content_type[HTTP_LOOKUP_TYPE_SIZE]; /* for requests whose target has no name */
    const struct local_volume *volume; /* where it lies on this machine; NULL: only storage servers have it */
    char place[LOCAL_PLACE_SIZE];      /* below the volume */
    struct open_hint hint;             /* of source_local */
    int64_t served_ms;                 /* of relay: when bytes last came, clock_coarse_ms(); 0: never */
    bool derived;                      /* by http_lookup_file_derive(): not stored as such */
    bool gzipped;                      /* it has Content-Encoding: gzip */
    bool varies;  /* with Accept-Encoding: a playlist, manifest, subtitles, JSON or SVG */
    bool passing; /* made without something that was not available at the moment: nobody may keep it */
    size_t references;
};

struct http_lookup;
struct http_lookup_wait; /* somebody who waits; see http_lookup_start() */

struct http_lookup_options {
    struct loop *loop;
    struct client *client;
    const struct local_volumes *volumes; /* NULL: none */
    size_t entries_max;
    int64_t age_ms;          /* 0: remember nothing */
    int64_t negative_age_ms; /* of "not there" */
};

MUST_CHECK struct http_lookup *http_lookup_create(const struct http_lookup_options *options,
                                                  struct error *error);
/* Nobody may wait any more. NULL is ignored. */
void http_lookup_destroy(struct http_lookup *lookup);
void http_lookup_set_ages(struct http_lookup *lookup, int64_t age_ms, int64_t negative_age_ms);

enum http_lookup_result {
    HTTP_LOOKUP_FOUND,   /* *FILE has a reference for the caller */
    HTTP_LOOKUP_ABSENT,  /* remembered to be not there, or deleted */
    HTTP_LOOKUP_WAITING, /* *WAIT is set; the callback will come */
    HTTP_LOOKUP_FAILED,  /* no memory */
};

/* The answer of HTTP_LOOKUP_WAITING, exactly once, from the loop: FILE with a reference for the callee, or
 * NULL and why. */
typedef void (*http_lookup_callback)(void *argument, struct http_lookup_file *file,
                                     const struct error *error);

/* NAME (may be NULL): of the request that asks; where several ask, the first one's goes to the servers. */
MUST_CHECK enum http_lookup_result
http_lookup_start(struct http_lookup *lookup, const struct proto_file_key *key, const struct request_id *name,
                  http_lookup_callback callback, void *argument, struct http_lookup_file **file,
                  struct http_lookup_wait **wait);
/* The callback will not come. */
void http_lookup_cancel(struct http_lookup_wait *wait);

/* Forgets what is known about KEY, because a storage server said otherwise. A question under way goes on. */
void http_lookup_forget(struct http_lookup *lookup, const struct proto_file_key *key);
/* The same because KEY was changed just now: whoever waits for a question under way gets the answer to one that is asked after it, since
 * its own may be of the time before. Only for those who may change files: each call can keep others waiting. */
void http_lookup_changed(struct http_lookup *lookup, const struct proto_file_key *key);

/* Questions that were begun since it was created. */
uint64_t http_lookup_questions(const struct http_lookup *lookup);

struct http_lookup_file *http_lookup_file_take(struct http_lookup_file *file);
void http_lookup_file_release(struct http_lookup_file *file);

/* What is made of FILE, as a file of its own: SIZE bytes of TYPE, its entity tag FILE's with "-SUFFIX" (at most 24 bytes); for
 * those who write heads, not to be read from storage servers. NULL without memory. */
struct http_lookup_file *http_lookup_file_derive(const struct http_lookup_file *file, const char *suffix,
                                                 int64_t size, const char *type);

/* The Content-Type of FILE in an answer to a request whose target has NAME ("" for none), which must be one that may
 * choose (see http_exchange): with the charset of a text in UTF-8, which browsers would otherwise read as
 * windows-1252. Pure. */
void http_lookup_content_type(const struct http_lookup_file *file, const char *name,
                              char type[HTTP_LOOKUP_TYPE_SIZE]);

#endif
