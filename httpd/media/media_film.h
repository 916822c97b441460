/*
 * media_film: what is known about one stored file that can be streamed, whatever its container: an index of samples and its cut,
 * or ranges of the file that are segments as they are. Immutable once made; shared by reference, also between threads.
 */
#ifndef REEL_HTTPD_MEDIA_FILM_H
#define REEL_HTTPD_MEDIA_FILM_H

#include "httpd/media/ebml_film.h"
#include "httpd/media/media_cover.h"
#include "httpd/media/mp4_cut.h"

enum film_kind {
    FILM_MP4,        /* segments are made of samples: INDEX and CUT */
    FILM_FRAGMENTED, /* a stored fragmented MP4: INDEX without samples, RANGES of moof and mdat */
    FILM_TS,         /* MPEG-2 transport stream: RANGES */
    FILM_MATROSKA,   /* Matroska or WebM: INDEX without samples, CUT, and EBML says where segments are read */
    FILM_SUBTITLE,   /* a file of WebVTT or SubRip */
};

#define MEDIA_VERSION_SIZE 9 /* the first digits of the file's digest, with NUL */

struct film_range {
    int64_t offset, size;
    int64_t duration; /* in the timescale of the ranges */
};

struct film_ranges {
    uint32_t timescale;
    bool independent;  /* each begins with a key frame */
    int64_t start;     /* of the first one, in the timescale */
    int64_t init_size; /* bytes before the first moof; 0: none are needed */
    size_t count, capacity;
    struct film_range *items;
    char codecs[2 * CODEC_STRING_SIZE + 2];
    uint16_t width, height;
    char language[4];
};

struct media_film {
    int references; /* atomic */
    enum film_kind kind;
    struct mp4_index *index; /* FILM_MP4, FILM_FRAGMENTED, FILM_MATROSKA */
    struct mp4_cut *cut;     /* FILM_MP4, FILM_MATROSKA: what is made of segments has one */
    struct ebml_film *ebml;  /* FILM_MATROSKA */
    struct film_ranges ranges;
    struct media_cover cover; /* that the file brings along */
    int64_t size;             /* of the file */
    size_t memory;
    char version[MEDIA_VERSION_SIZE]; /* of the file's bytes, for links in playlists; "": these have none */
};

/* With one reference; NULL without memory. */
MUST_CHECK struct media_film *media_film_create(enum film_kind kind, int64_t size);
struct media_film *media_film_take(struct media_film *film);
void media_film_release(struct media_film *film); /* NULL is ignored */

/* Another range behind the last one; false without memory, or past a million. */
MUST_CHECK bool film_ranges_add(struct film_ranges *ranges, int64_t offset, int64_t size, int64_t duration);

/* The memory that it takes now, noted in it. */
void media_film_measure(struct media_film *film);

/* Seconds from beginning to end. */
double media_film_seconds(const struct media_film *film);

/* Pictures per second on average; 0: it has none, or nothing is known. */
double media_film_frame_rate(const struct media_film *film);

#endif
