/*
 * mp4_cut: where an indexed file is cut into segments: at key frames of its video, as the file lies, else at any sample of its
 * audio; and whether sound and picture lie so close together that one range of the file holds both. Pure; any thread.
 */
#ifndef REEL_HTTPD_MP4_CUT_H
#define REEL_HTTPD_MP4_CUT_H

#include "httpd/media/mp4_cutter.h"

struct mp4_rate {
    int64_t peak, average; /* bits per second, of what is sent */
};

struct mp4_cut {
    uint32_t count;                  /* segments, at least 1 */
    uint32_t timescale;              /* of TIMES */
    int reference;                   /* the track that was cut: video, else audio */
    int64_t *times;                  /* COUNT + 1: when each is shown first, and the end */
    uint32_t *first[MP4_TRACKS_MAX]; /* COUNT + 1: each track's first sample of each; NULL for subtitles */
    bool muxed;                      /* one video, one audio, lying together */
    bool unread; /* FIRST says nothing: which samples a segment has is found out when it is read */
    bool open_gop;
    struct mp4_rate rates[MP4_TRACKS_MAX];
    size_t memory;
};

/* CUTTER has watched this index being read, or is new: then the samples are read out of the index. It is used up. NULL: ERROR says why. */
MUST_CHECK struct mp4_cut *mp4_cut_create(const struct mp4_index *index, struct mp4_cutter *cutter,
                                          struct error *error);
void mp4_cut_destroy(struct mp4_cut *cut); /* NULL is ignored */

/* Samples of TRACK in SEGMENT; 1 where that is not known yet. */
uint32_t mp4_cut_samples(const struct mp4_cut *cut, int track, uint32_t segment);
/* Which description they have. */
uint8_t mp4_cut_description(const struct mp4_cut *cut, const struct mp4_index *index, int track,
                            uint32_t segment);

/* When TRACK's first sample of SEGMENT is shown, in the timescale of the track; COUNT: its end. */
int64_t mp4_cut_time(const struct mp4_cut *cut, const struct mp4_index *index, int track, uint32_t segment);

/* True where both have the same segments, within a frame of the coarser one: their renditions can replace each other. */
bool mp4_cut_agrees(const struct mp4_cut *cut, const struct mp4_index *index, const struct mp4_cut *other,
                    const struct mp4_index *other_index);

/* SIZE bytes in a range of SPAN bytes are sent as the range, what lies between unreferenced, rather than picked out. */
bool mp4_cut_is_dense(int64_t size, int64_t span);

#endif
