/*
 * mp4_fragment: the bytes of a segment that the stored file does not have: the initialization segment of some tracks, and for a
 * stretch of samples styp, moof and the header of an mdat whose content is a range of the file, or pieces of it (ISO/IEC 14496-12
 * section 8.8). Pure; any thread.
 */
#ifndef REEL_HTTPD_MP4_FRAGMENT_H
#define REEL_HTTPD_MP4_FRAGMENT_H

#include "httpd/media/mp4_index.h"

#define MP4_FRAGMENT_SAMPLES_MAX 65536
#define MP4_PARTS_MAX            2

/* Samples of one track. */
struct mp4_part {
    const struct mp4_track *track;
    uint32_t first, count;
    uint8_t description; /* for the initialization segment */
};

struct mp4_piece {
    int64_t offset, size;
};

struct mp4_fragment {
    struct media_buffer head;
    int64_t offset,
        length; /* the range of the file that follows, or, with PIECES, how long they are together */
    struct mp4_piece *pieces; /* NULL: one range holds all of it */
    size_t piece_count;
};

/* Parts without samples are left out; at least one has some. False: ERROR says why (too many samples, no memory). */
MUST_CHECK bool mp4_fragment_make(const struct mp4_part *parts, size_t count, uint32_t sequence,
                                  struct mp4_fragment *fragment, struct error *error);
void mp4_fragment_clear(struct mp4_fragment *fragment);

/* Samples that lie in an mdat made for them: their offsets are places in it. */
struct mp4_packed {
    const struct mp4_track *track;
    const struct mp4_sample *samples;
    size_t count;
    int64_t time; /* what the fragment says where there are none */
};

/* The head of a fragment whose mdat has LENGTH bytes. Parts without samples are left out where another has some. False: ERROR says
 * why. */
MUST_CHECK bool mp4_fragment_pack(const struct mp4_packed *parts, size_t count, uint32_t sequence,
                                  int64_t length, struct media_buffer *head, struct error *error);

/* ftyp and moov for the tracks of PARTS. OUT->failed without memory. */
void mp4_fragment_init(const struct mp4_index *index, const struct mp4_part *parts, size_t count,
                       struct media_buffer *out);

#endif
