/*
 * ebml_texts: the subtitles of a track of a Matroska or WebM film as WebVTT: a machine that asks for pieces
 * of the file. Where the Cues say in which blocks they are, only these are asked for; else all of the file,
 * one piece behind the other. Pure; on a worker, since it copies what it is given.
 */
#ifndef REEL_HTTPD_EBML_TEXTS_H
#define REEL_HTTPD_EBML_TEXTS_H

#include "httpd/media/media_film.h"
#include "httpd/media/media_walk.h"
#include "httpd/media/mp4_fragment.h"

#define EBML_TEXTS_ROOM ((size_t)12 * 1024 * 1024) /* bytes that one needs at most, about */

struct ebml_texts;

/* FILM: of FILM_MATROSKA, outlives the machine; TRACK: of its index, of subtitles. NULL without memory. */
MUST_CHECK struct ebml_texts *ebml_texts_create(const struct media_film *film, size_t track);
void ebml_texts_destroy(struct ebml_texts *texts); /* NULL is ignored */

/* The pieces that are wanted next, at least one; the first ones at the beginning. Valid until the next call. */
const struct mp4_piece *ebml_texts_wanted(const struct ebml_texts *texts, size_t *count);

/* BYTES are those of the pieces, one behind the other. WALK_DONE: OUT has the text. */
enum walk_step ebml_texts_feed(struct ebml_texts *texts, struct media_view bytes, struct media_buffer *out,
                               struct error *error);

#endif
