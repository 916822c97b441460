/*
 * mp4_boxes: the boxes of a movie that are alike in initialization segments and in clips (ISO/IEC 14496-12 sections 8.2 to 8.5).
 * Pure; for mp4_fragment and mp4_clip.
 */
#ifndef REEL_HTTPD_MP4_BOXES_H
#define REEL_HTTPD_MP4_BOXES_H

#include "httpd/media/mp4_index.h"

void mp4_put_mvhd(struct media_buffer *out, uint32_t timescale, uint64_t duration, uint32_t next_track);
/* DURATION: in the movie's timescale. */
void mp4_put_tkhd(struct media_buffer *out, const struct mp4_track *track, uint32_t id, uint64_t duration);
/* mdhd and hdlr. DURATION: in the track's timescale. */
void mp4_put_mdhd(struct media_buffer *out, const struct mp4_track *track, uint64_t duration);
/* vmhd or smhd, and dinf. */
void mp4_put_dinf(struct media_buffer *out, enum media_kind kind);
/* ENTRY of a sample description, in the form that browsers take. */
void mp4_put_entry(struct media_buffer *out, enum media_kind kind, struct media_view entry);

#endif
