/*
 * mkv_maker: small Matroska files made by hand, element by element, for what ffmpeg does not write.
 */
#ifndef REEL_TESTS_MKV_MAKER_H
#define REEL_TESTS_MKV_MAKER_H

#include "httpd/media/media_bytes.h"

/* An element of ID begins; mkv_end() gets what this returned and fills in its length (of eight bytes). */
size_t mkv_begin(struct media_buffer *out, uint32_t id);
void mkv_end(struct media_buffer *out, size_t begin);
/* The same, of a length that is not said: nothing ends it. */
void mkv_begin_unknown(struct media_buffer *out, uint32_t id);
void mkv_number(struct media_buffer *out, uint32_t id, uint64_t value); /* eight bytes */
void mkv_float(struct media_buffer *out, uint32_t id, double value);
void mkv_bytes(struct media_buffer *out, uint32_t id, const void *bytes, size_t size);
void mkv_text(struct media_buffer *out, uint32_t id, const char *text);

struct mkv_maker {
    bool cues, seeks, unknown; /* unknown: of segment and clusters no length is said */
    bool groups;               /* BlockGroup instead of SimpleBlock */
    bool reorder;              /* pictures are shown in the order 0, 3, 1, 2, ... */
    bool leading;              /* two pictures behind each key frame but the first are shown before it */
    bool key_inside;           /* clusters begin in the middle between key frames */
    bool no_duration;
    bool long_clusters; /* of four seconds, with two key frames each */
    unsigned seconds;   /* of 25 pictures; a key frame and a cluster every two */
    int lacing;         /* of sound: 0 none, 1 Xiph, 2 fixed, 3 EBML; two frames a block */
    const char *video;  /* codec; NULL: H.264 */
    const char *audio;  /* codec; NULL: AAC; "": no sound */
    struct media_view audio_private, audio_frame; /* empty: those of AAC */
    struct media_view video_private, video_frame; /* empty: those of H.264; frames differ by what follows */
    struct media_view encodings;                  /* of the sound: the body of ContentEncodings */
    uint64_t delay_ns;                            /* CodecDelay of the sound */
    const char
        *text; /* codec of subtitles (track 3, French, 1.5 s at the beginning of each cluster); NULL: none */
    struct media_view text_frame, text_encodings;
    bool text_cues; /* they are in the cues; TEXT_SHIFT bytes beside where they are */
    unsigned text_shift;
};

/* Pictures of 1000 bytes and 48 kHz sound of 200 bytes a frame of 1024. */
void mkv_maker_film(struct media_buffer *out, const struct mkv_maker *maker);

#endif
