/*
 * ebml_film: what is kept about a Matroska or WebM file: its tracks, and where in it each segment begins. Which samples a segment
 * has is found out when it is asked for (ebml_segment). Pure; any thread.
 */
#ifndef REEL_HTTPD_EBML_FILM_H
#define REEL_HTTPD_EBML_FILM_H

#include "httpd/media/ebml_tracks.h"
#include "httpd/media/mp4_cut.h"

struct ebml_cut {
    int64_t time;     /* of the key frame, in ticks */
    int64_t position; /* of its cluster in the file */
};

/* A block of subtitles, as the Cues have it. */
struct ebml_cue {
    uint64_t track;   /* its number */
    int64_t cluster;  /* its position in the file */
    int64_t relative; /* of the block, from where the first element of the cluster begins */
};

struct ebml_film {
    struct ebml_tracks tracks;      /* in the order of the index */
    int64_t origin[MP4_TRACKS_MAX]; /* when the first block of each is, in ticks */
    int64_t rate[MP4_TRACKS_MAX];   /* bits per second of sound, about */
    int64_t begin, end;             /* of the clusters: the first one, and the end of the segment */
    bool open_end;                  /* the segment's length is not said */
    bool open_gop;
    size_t reference; /* the track that was cut: video, else the first sound */
    int64_t end_time; /* in ticks */
    size_t cut_count, cut_capacity;
    struct ebml_cut *cuts;
    size_t cue_count, cue_capacity;
    bool too_many_cues;
    struct ebml_cue *cues; /* in the order of the Cues */
};

MUST_CHECK struct ebml_film *ebml_film_create(void); /* NULL without memory */
void ebml_film_destroy(struct ebml_film *film);      /* NULL is ignored */
size_t ebml_film_memory(const struct ebml_film *film);

/* A key frame at TIME in the cluster at POSITION. A segment begins with it where the last one is LEAST ticks long by then. False
 * without memory, or past a million segments. */
MUST_CHECK bool ebml_film_add(struct ebml_film *film, int64_t time, int64_t position, int64_t least);

/* A block of subtitles. Without memory, or past 65,536 of them, the film has none: they are looked for in all of it. */
void ebml_film_add_cue(struct ebml_film *film, const struct ebml_cue *cue);

/* TICKS in units of 1/TIMESCALE s, rounded. */
int64_t ebml_film_time(const struct ebml_film *film, int64_t ticks, uint32_t timescale);
/* MILLISECONDS in ticks. */
int64_t ebml_film_ticks(const struct ebml_film *film, int64_t milliseconds);

/* Index and cut as playlists want them, of a film whose tracks and cuts are known. ENTRIES: the sample description of each track,
 * a whole box. NULL: ERROR says why. */
MUST_CHECK struct mp4_index *ebml_film_index(const struct ebml_film *film, const struct media_buffer *entries,
                                             int64_t file_size, struct error *error);
MUST_CHECK struct mp4_cut *ebml_film_cut(const struct ebml_film *film, const struct mp4_index *index,
                                         struct error *error);

#endif
