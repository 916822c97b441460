/*
 * ebml_tracks: what the elements Info and Tracks of a Matroska or WebM file (RFC 9559) say: its clock, and which of its tracks can
 * be streamed. Pure; for ebml_walk.
 */
#ifndef REEL_HTTPD_EBML_TRACKS_H
#define REEL_HTTPD_EBML_TRACKS_H

#include "common/base/error.h"
#include "httpd/media/ebml.h"
#include "httpd/media/mp4_index.h"
#include "httpd/media/subtitles.h"

#define EBML_PRIVATE_MAX ((size_t)256 * 1024) /* bytes of a codec's configuration */
#define EBML_STRIP_MAX   16

enum ebml_codec {
    EBML_AVC,
    EBML_HEVC,
    EBML_AV1,
    EBML_VP9,
    EBML_AAC,
    EBML_AC3,
    EBML_EAC3,
    EBML_OPUS,
    EBML_FLAC,
    EBML_MP3,
    EBML_TEXT, /* subtitles: which, says TEXT */
};

struct ebml_track {
    uint64_t number; /* that its blocks have */
    enum media_kind kind;
    enum ebml_codec codec;
    enum subtitle_kind text;
    bool deflated;     /* each frame of text is compressed by zlib */
    uint64_t frame_ns; /* how long a frame is shown; 0: not said */
    uint64_t delay_ns; /* CodecDelay: its time stamps are so much too late */
    uint32_t rate;     /* sound: samples per second */
    uint16_t channels;
    uint16_t width, height;             /* of the stored picture */
    uint32_t shown_width, shown_height; /* its proportions */
    uint8_t colour[3];                  /* primaries, transfer, matrix (ISO/IEC 23091-2); 2: not said */
    bool has_colour, full_range;
    char language[4], title[64];
    uint8_t strip[EBML_STRIP_MAX]; /* what was taken off the beginning of each frame */
    size_t strip_size;
    size_t private_at, private_size; /* the codec's configuration, in the texts of ebml_tracks */
};

struct ebml_tracks {
    uint64_t scale;  /* nanoseconds of a tick */
    double duration; /* in ticks; 0: not said */
    size_t count;
    struct ebml_track items[MP4_TRACKS_MAX];
    struct media_buffer texts;
};

/* BODY: of Info. False: it is damaged. */
MUST_CHECK bool ebml_tracks_info(struct ebml_tracks *tracks, struct media_view body, struct error *error);

/* BODY: of Tracks. False: damaged, or neither picture nor sound can be streamed; ERROR says which codec it is. Sound that cannot be
 * is left out where other sound can; of subtitles those that are text are taken, behind all other tracks. */
MUST_CHECK bool ebml_tracks_read(struct ebml_tracks *tracks, struct media_view body, struct error *error);

struct media_view ebml_tracks_private(const struct ebml_tracks *tracks, const struct ebml_track *track);

void ebml_tracks_clear(struct ebml_tracks *tracks);

#endif
