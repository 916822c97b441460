/*
 * ebml_entry: the sample description (ISO/IEC 14496-12 section 8.5.2) of a Matroska track, made of its codec's configuration and,
 * where Matroska has none, of its first frame. Pure; for ebml_walk.
 */
#ifndef REEL_HTTPD_EBML_ENTRY_H
#define REEL_HTTPD_EBML_ENTRY_H

#include "httpd/media/ebml_tracks.h"

/* True: the description cannot be made without the track's first frame. */
bool ebml_entry_needs_frame(const struct ebml_track *track, struct media_view config);

/* Appends the whole box. FRAME: the first frame, empty where none is known. CONFIG: the track's CodecPrivate. False: configuration
 * or frame are damaged or missing. */
MUST_CHECK bool ebml_entry_make(const struct ebml_track *track, struct media_view config,
                                struct media_view frame, struct media_buffer *out, struct error *error);

#endif
