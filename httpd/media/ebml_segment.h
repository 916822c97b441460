/*
 * ebml_segment: one segment of a Matroska or WebM film, put together as fragmented MP4: a machine that asks for ranges of the file,
 * picks the frames of some tracks out of its clusters and puts styp, moof and mdat before them. A segment begins and ends at the
 * blocks of two key frames of the track that was cut; sound goes with the segment that it lies in. Pure; on a worker, since it
 * copies what it is given.
 */
#ifndef REEL_HTTPD_EBML_SEGMENT_H
#define REEL_HTTPD_EBML_SEGMENT_H

#include "httpd/media/media_film.h"
#include "httpd/media/media_walk.h"
#include "httpd/media/mp4_fragment.h"

struct ebml_segment;

struct ebml_segment_options {
    const struct media_film *film; /* of FILM_MATROSKA; outlives the segment */
    uint32_t number;
    size_t count; /* of tracks */
    size_t tracks[MP4_PARTS_MAX];
    bool key_only;     /* nothing but the key frame at its beginning */
    int64_t bytes_max; /* of the frames */
};

/* NULL without memory. */
MUST_CHECK struct ebml_segment *ebml_segment_create(const struct ebml_segment_options *options);
void ebml_segment_destroy(struct ebml_segment *segment); /* NULL is ignored */

/* The next range that is wanted; the first one at the beginning. */
void ebml_segment_wanted(const struct ebml_segment *segment, int64_t *offset, int64_t *size);

/* BYTES are the range that was wanted. WALK_DONE: OUT has the segment. */
enum walk_step ebml_segment_feed(struct ebml_segment *segment, struct media_view bytes,
                                 struct media_buffer *out, struct error *error);

#endif
