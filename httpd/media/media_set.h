/*
 * media_set: the files that one address names together, and how the parts of their streams are called in it. The one place that
 * makes such names, for playlists, and takes them apart, for requests. Pure; any thread.
 *
 *   master.m3u8, manifest.mpd    the whole set
 *   [N-]m.m3u8                   picture and sound together; N: which of the files, from 1 on, left out for the first one (0)
 *   [N-]v.m3u8, [N-]a1.m3u8      picture alone; track 1 alone
 *   [N-]i.m3u8                   key frames
 *   [N-]t2.m3u8, [N-]t2.vtt      subtitles of track 2; t.m3u8 and t.vtt of a file of subtitles
 *   [N-]init-m-0.mp4             the initialization segment of m; 0: which of its descriptions
 *   [N-]m-17.m4s                 segment 17 of m
 *   [N-]file.mp4, [N-]file.ts    the file as it is stored, for playlists of its ranges
 */
#ifndef REEL_HTTPD_MEDIA_SET_H
#define REEL_HTTPD_MEDIA_SET_H

#include "httpd/media/media_film.h"
#include "httpd/media/mp4_fragment.h"

#define MEDIA_SET_MAX  8
#define MEDIA_NAME_MAX 48

enum media_resource {
    MEDIA_MASTER,   /* master.m3u8 */
    MEDIA_MANIFEST, /* manifest.mpd */
    MEDIA_PLAYLIST,
    MEDIA_INIT,
    MEDIA_SEGMENT,
    MEDIA_VTT,
    MEDIA_FILE,
    MEDIA_POSTER, /* of /poster and /storyboard: no names of a stream */
    MEDIA_BOARD,
    MEDIA_BOARD_VTT,
};

enum media_stream { STREAM_MUXED, STREAM_VIDEO, STREAM_AUDIO, STREAM_KEYS, STREAM_TEXT };

struct media_name {
    enum media_resource resource;
    unsigned item; /* of the set */
    enum media_stream stream;
    unsigned track;       /* STREAM_AUDIO, STREAM_TEXT: of the index */
    unsigned description; /* MEDIA_INIT */
    uint32_t segment;     /* MEDIA_SEGMENT */
};

struct media_set {
    size_t count;
    struct {
        struct media_film *film; /* NULL: left out */
        char name[64];           /* of a file of subtitles, for people; "" for unknown */
        char language[4];
    } items[MEDIA_SET_MAX];
};

/* False: it names nothing. */
bool media_name_parse(const char *text, size_t size, struct media_name *name);

/* "1-a2": what the names of a stream begin with. Returns BUFFER. */
char *media_stream_id(unsigned item, enum media_stream stream, unsigned track, char buffer[MEDIA_NAME_MAX]);

/* What stands behind the names of the parts of FILM in playlists, so that nobody gets those of another file that has come under
 * the same ID: "?v=1a2b3c4d", or "". Returns BUFFER. */
char *media_version_query(const struct media_film *film, char buffer[MEDIA_NAME_MAX]);

/* The tracks that STREAM of FILM consists of, with the samples of SEGMENT (of all for UINT32_MAX) and their description. 0: the
 * film has no such stream. */
size_t media_stream_parts(const struct media_film *film, enum media_stream stream, unsigned track,
                          uint32_t segment, struct mp4_part *parts);

/* What is left out because its key frames do not agree with those of the first film: bits of items. */
unsigned media_set_disagreeing(const struct media_set *set);

/* "en" for "eng", where there is a short form, else CODE itself. */
const char *media_language(const char *code);

#endif
