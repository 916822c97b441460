/*
 * mp4_index: what the moov box of an MP4 or QuickTime file says about its tracks (ISO/IEC 14496-12) and, packed (mp4_samples),
 * about every sample of each. Made once on a worker, then immutable. Pure; any thread.
 *
 * Every count is checked against the box that holds it before anything is allocated, every sample against the file's size.
 */
#ifndef REEL_HTTPD_MP4_INDEX_H
#define REEL_HTTPD_MP4_INDEX_H

#include "httpd/media/codec_string.h"
#include "httpd/media/mp4_samples.h"

#define MP4_TRACKS_MAX       16
#define MP4_SAMPLES_MAX      (UINT32_C(1) << 24) /* of one track */
#define MP4_DESCRIPTIONS_MAX 64                  /* entries of one stsd */
#define MP4_CHANGES_MAX      1024                /* from one description to another */

struct mp4_description {
    struct media_view entry; /* the whole box, in the index's own memory */
    struct codec_description codec;
};

struct mp4_track {
    enum media_kind kind;
    uint32_t id;
    uint32_t timescale;
    uint32_t count;   /* samples */
    int64_t duration; /* sum of those of the samples */
    int64_t bytes;    /* sum of the sizes */
    uint64_t start;   /* of an initial empty edit, in the timescale */
    int32_t skipped;  /* media_time of the edit list: what comes before is not shown */
    bool all_sync, has_cts, open_gop, constant;
    uint32_t syncs; /* samples that are */
    uint32_t usual; /* duration of the first sample: of all of them where they are constant */
    char language[4];
    uint16_t language_code;
    char title[64];         /* of its handler, "" where that says nothing */
    struct media_view tkhd; /* the body */
    size_t description_count;
    struct mp4_description *descriptions;
    uint32_t *
        changes; /* pairs: the sample at which another description begins, and which; NULL: all have the first */
    size_t change_count;
    struct mp4_block *blocks;
    struct media_buffer bits;
};

struct mp4_index {
    int64_t file_size;
    uint32_t timescale; /* of the movie */
    int64_t duration;   /* in it */
    bool fragmented;    /* moov with mvex: samples are in moof boxes */
    size_t track_count;
    struct mp4_track tracks[MP4_TRACKS_MAX];
    size_t memory;             /* bytes that it takes, itself included */
    struct media_buffer texts; /* copies of descriptions and track headers */
};

/* Sees the samples of each track in their order, COUNT from number BEGIN on: track after track. */
struct mp4_watcher {
    void (*watch)(void *argument, const struct mp4_track *track, int number, uint32_t begin,
                  const struct mp4_sample *samples, size_t count);
    void *argument;
};

/* MOOV: the whole box. NULL where it is damaged or nothing in it can be streamed: ERROR says why, for the client too
 * (ERROR_MALFORMED, ERROR_UNKNOWN_COMMAND; ERROR_UNAVAILABLE without memory). WATCHER: NULL for none. */
MUST_CHECK struct mp4_index *mp4_index_create(struct media_view moov, int64_t file_size,
                                              const struct mp4_watcher *watcher, struct error *error);
void mp4_index_destroy(struct mp4_index *index); /* NULL is ignored */

/* The first track of KIND, or -1. */
int mp4_index_first(const struct mp4_index *index, enum media_kind kind);

#endif
