/*
 * ebml_walk: which bytes of a Matroska or WebM file must be read to know its tracks and key frames: what comes before the first
 * cluster, the first frames, and its Cues; where it has no Cues, all of it. For media_walk. Pure; any thread.
 */
#ifndef REEL_HTTPD_EBML_WALK_H
#define REEL_HTTPD_EBML_WALK_H

#include "httpd/media/media_film.h"
#include "httpd/media/media_walk.h"

struct ebml_walk;

/* NULL without memory. */
MUST_CHECK struct ebml_walk *ebml_walk_create(const struct media_walk_options *options);
void ebml_walk_destroy(struct ebml_walk *walk); /* NULL is ignored */

/* BYTES lie at BASE. WALK_READ: *OFFSET and *SIZE are wanted, at least a byte within the file. */
enum walk_step ebml_walk_feed(struct ebml_walk *walk, struct media_view bytes, int64_t base, int64_t *offset,
                              int64_t *size, struct media_film **film, struct error *error);

/* True: BYTES, the first of a file, are those of EBML. */
bool ebml_walk_looks_so(struct media_view bytes);

#endif
