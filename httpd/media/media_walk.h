/*
 * media_walk: which bytes of a file must be read to know how it can be streamed, as a machine that asks for ranges and is given
 * them: it finds out the container, and in an MP4 where the moov box, a segment index (sidx), the table of random access (mfra) or
 * the fragments are; it does no reading itself. Pure; any thread.
 */
#ifndef REEL_HTTPD_MEDIA_WALK_H
#define REEL_HTTPD_MEDIA_WALK_H

#include "common/base/error.h"
#include "httpd/media/media_film.h"

#define MEDIA_WALK_FIRST ((int64_t)64 * 1024) /* bytes of the first range */

enum walk_step {
    WALK_READ, /* OFFSET and SIZE are wanted next; with KEEP all of them at once, else as many as the file has */
    WALK_DONE,    /* FILM is made; the caller's */
    WALK_REFUSED, /* ERROR says why */
    WALK_HEAVY,   /* of media_walk_hop() alone: the same bytes are for media_walk_feed() */
};

struct media_walk;

struct media_walk_options {
    int64_t size; /* of the file, at least 1 */
    int64_t segment_ms;
    int64_t moov_max; /* bytes of a moov box that are read */
};

/* NULL without memory. */
MUST_CHECK struct media_walk *media_walk_create(const struct media_walk_options *options);
void media_walk_destroy(struct media_walk *walk); /* NULL is ignored */

/* The next range that is wanted; the first one at the beginning. */
void media_walk_wanted(const struct media_walk *walk, int64_t *offset, int64_t *size);

/* BYTES are the range that was wanted. Takes milliseconds for a long film: on a worker. */
enum walk_step media_walk_feed(struct media_walk *walk, struct media_view bytes, struct media_film **film,
                               struct error *error);

/* The same as far as it takes microseconds, so that no worker is needed to go from box to box. */
enum walk_step media_walk_hop(struct media_walk *walk, struct media_view bytes, struct error *error);

#endif
