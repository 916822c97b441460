/*
 * mp4_fragments: a stored fragmented MP4 (moof after moof, ISO/IEC 14496-12 section 8.8; or with a sidx, section 8.16.3) as ranges
 * of the file, each of which begins with a key frame. Pure; for media_walk.
 */
#ifndef REEL_HTTPD_MP4_FRAGMENTS_H
#define REEL_HTTPD_MP4_FRAGMENTS_H

#include "httpd/media/media_film.h"

struct mp4_fragments {
    struct film_ranges *ranges;
    int64_t segment;        /* what a range lasts at least, in the timescale of the ranges */
    uint32_t track_id;      /* the reference: video, else the first */
    uint32_t track_default; /* of a sample's duration, from trex */
    uint32_t flags_default;
    int64_t begin; /* of the range under way; -1: none */
    int64_t begin_time, time;
    bool any;
};

/* MOOV: the body of the moov box that INDEX was made of. Fills the ranges' timescale, codecs and size of pictures. */
void mp4_fragments_open(struct mp4_fragments *fragments, struct film_ranges *ranges,
                        const struct mp4_index *index, struct media_view moov, int64_t segment_ms);

/* MOOF: a whole box. BEGIN: where its fragment begins, at the styp or sidx before it. False: damaged, or no memory. */
MUST_CHECK bool mp4_fragments_add(struct mp4_fragments *fragments, struct media_view moof, int64_t begin,
                                  struct error *error);

/* END: where the last fragment ends. False: there is none. */
MUST_CHECK bool mp4_fragments_end(struct mp4_fragments *fragments, int64_t end, struct error *error);

/* SIDX: the body of a box that ends at byte AT. True: it says all ranges of the file, up to SIZE (or a last box of a few KiB),
 * which are added; false: it does not, and nothing is. */
MUST_CHECK bool mp4_fragments_by_sidx(struct mp4_fragments *fragments, struct media_view sidx, int64_t at,
                                      int64_t size);

/* BYTES, which a film has, are to lie DELTA bytes nearer to its beginning: where their fragments say the place of their samples from
 * the beginning of the film (base-data-offset, section 8.8.7), it is lowered. What is cut off or damaged is left as it is. */
void mp4_fragments_move(uint8_t *bytes, size_t size, int64_t delta);

#endif
