/*
 * mp4_cutter: which samples of each track belong to which segment, found out while the samples go by: as an index is read, which saves
 * unpacking them (a third of the time), or later by reading them out of it. Pure; for mp4_cut, and for whoever reads an index.
 */
#ifndef REEL_HTTPD_MP4_CUTTER_H
#define REEL_HTTPD_MP4_CUTTER_H

#include "httpd/media/mp4_index.h"

#define MP4_CUT_SECONDS_MAX 60 /* a longer segment is refused: key frames too far apart */

/* What a segment takes of the file. */
struct mp4_extent {
    int64_t bytes, low, high;
};

/* Of one track. */
struct mp4_sighting {
    uint32_t *first; /* sample of each segment, and the track's count behind them; NULL: nothing is known */
    struct mp4_extent *extents; /* of each segment */
    size_t capacity;            /* of both */
};

struct mp4_cutter {
    int64_t segment_ms;
    int reference;      /* the track at whose key frames the film is cut; -1: none has gone by */
    uint32_t timescale; /* of it, and of TIMES */
    int64_t *times;     /* when each segment is shown first */
    size_t count, capacity;
    int64_t end; /* of its last sample */
    struct mp4_sighting sightings[MP4_TRACKS_MAX];
    bool failed; /* ERROR says why; nothing of it may be used */
    struct error error;

    int at;              /* the track that goes by; -1: it is not looked at */
    uint32_t number;     /* of its next sample */
    uint32_t segment;    /* that this belongs to */
    uint8_t description; /* of the sample before it */
    int64_t due;         /* when the next segment begins, in the track's timescale */
    int64_t least;       /* length of a segment, in the reference's */
    struct mp4_extent extent;
};

/* SEGMENT_MS: a segment ends at the first key frame that is about so far (nine tenths) behind its beginning. NULL without memory. */
MUST_CHECK struct mp4_cutter *mp4_cutter_create(int64_t segment_ms);
void mp4_cutter_destroy(struct mp4_cutter *cutter); /* NULL is ignored */

/* The watch() of a MP4_WATCHER. The first video track becomes the reference; tracks before it are not looked at. */
void mp4_cutter_watch(void *cutter, const struct mp4_track *track, int number, uint32_t begin,
                      const struct mp4_sample *samples, size_t count);
/* Reads all of TRACK's samples, NUMBER of its index: as the reference, whose times are found, or by those times. */
void mp4_cutter_read(struct mp4_cutter *cutter, const struct mp4_track *track, int number, bool as_reference);
/* No more samples come. */
void mp4_cutter_settle(struct mp4_cutter *cutter);
/* One more segment begins at TIME, behind the others; what is known of tracks no longer holds. */
void mp4_cutter_add_time(struct mp4_cutter *cutter, int64_t time);

/* A segment from FROM to TO is not too long. */
MUST_CHECK bool mp4_cutter_check_length(int64_t from, int64_t to, uint32_t timescale, struct error *error);

/* Inline: it is called for every sample. */
static inline void mp4_extent_add(struct mp4_extent *extent, const struct mp4_sample *sample)
{
    if (extent->bytes == 0) {
        extent->low = sample->offset;
        extent->high = sample->offset;
    }
    extent->bytes += sample->size;
    extent->low = min_i64(extent->low, sample->offset);
    extent->high = max_i64(extent->high, sample->offset + sample->size);
}

#endif
