/*
 * subtitles: WebVTT (W3C) out of what is stored: SubRip files, the samples of a timed text track of an MP4 (tx3g, 3GPP TS
 * 26.245), and the cues of Matroska tracks. Pure; any thread.
 */
#ifndef REEL_HTTPD_SUBTITLES_H
#define REEL_HTTPD_SUBTITLES_H

#include "httpd/media/mp4_index.h"

/* What a cue of a Matroska track is written in. */
enum subtitle_kind {
    SUBTITLE_SUBRIP,
    SUBTITLE_WEBVTT, /* of Matroska: the text of the cue alone */
    SUBTITLE_WEBM,   /* WebVTT of WebM: a line of its identifier and one of its settings before the text */
    SUBTITLE_ASS, /* Advanced SubStation Alpha, and SubStation Alpha: fields separated by commas, the text being the ninth */
};

/* One cue of TEXT from FROM to TO, in milliseconds, in front of it an empty line; nothing where nothing is left of it. Styles and positions of
 * ASS, and its drawings, are left out. */
void subtitles_cue(enum subtitle_kind kind, int64_t from, int64_t to, struct media_view text,
                   struct media_buffer *out);

/* TEXT: a whole file, WebVTT or SubRip, in UTF-8 or (where it is none) windows-1252, with any line ends. */
void subtitles_of_file(struct media_view text, struct media_buffer *out);

/* SAMPLES: all of TRACK's, one behind the other. */
void subtitles_of_track(const struct mp4_track *track, struct media_view samples, struct media_buffer *out);

#endif
