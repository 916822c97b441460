/*
 * subtitles: WebVTT (W3C) out of what is stored: SubRip files, and the samples of a timed text track of an MP4 (tx3g, 3GPP TS
 * 26.245). Pure; any thread.
 */
#ifndef REEL_HTTPD_SUBTITLES_H
#define REEL_HTTPD_SUBTITLES_H

#include "httpd/media/mp4_index.h"

/* TEXT: a whole file, WebVTT or SubRip, in UTF-8 or (where it is none) windows-1252, with any line ends. */
void subtitles_of_file(struct media_view text, struct media_buffer *out);

/* SAMPLES: all of TRACK's, one behind the other. */
void subtitles_of_track(const struct mp4_track *track, struct media_view samples, struct media_buffer *out);

#endif
