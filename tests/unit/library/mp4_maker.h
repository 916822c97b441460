/*
 * mp4_maker: small MP4 files made by hand, in which every table is what a test says: for what ffmpeg does not write.
 */
#ifndef REEL_TESTS_MP4_MAKER_H
#define REEL_TESTS_MP4_MAKER_H

#include "httpd/media/mp4_cut.h"

struct mp4_maker_track {
    bool video; /* else AAC */
    uint32_t timescale;
    uint32_t count;     /* samples */
    uint32_t duration;  /* of each */
    uint32_t size;      /* of each */
    uint32_t per_chunk; /* samples of a chunk; all chunks alike */
    uint32_t key_every; /* every so many samples is a key frame; 0: no stss */
    const int64_t
        *offsets; /* of the chunks; NULL: chunk after chunk from FIRST_OFFSET on, CHUNK_STEP apart */
    int64_t first_offset, chunk_step;
    bool wide;             /* co64 */
    bool reorder;          /* ctts: 1, 3, 0, 2 frames in turn, so that pictures are shown in another order */
    int64_t media_time;    /* of an edit list; -2: none */
    uint32_t empty_edit;   /* in the movie's timescale (1000) */
    uint32_t descriptions; /* entries of stsd; chunk i has the one numbered by its half; 0: one */
    bool text;             /* timed text (tx3g) instead */
    struct media_view entry; /* of stsd, a whole box; empty: AVC, AAC or tx3g */
    uint16_t language;       /* as mdhd packs it; 0: eng */
    const char *title;       /* of the handler; NULL: none */
};

/* A moov box with these tracks. */
void mp4_maker_moov(struct media_buffer *out, const struct mp4_maker_track *tracks, size_t count);
/* Twenty seconds of pictures, a key frame every two, whose chunks lie between those of sound from offset 1100 on. */
extern const struct mp4_maker_track mp4_maker_video;
/* The index of a file of LENGTH bytes with these tracks. NULL: refused, ERROR says why. */
struct mp4_index *mp4_maker_index(const struct mp4_maker_track *tracks, size_t count, int64_t length,
                                  struct error *error);
/* The cut of an index by a cutter that has not watched it. */
struct mp4_cut *mp4_maker_cut(const struct mp4_index *index, int64_t segment_ms, struct error *error);

#endif
