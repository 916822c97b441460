/*
 * ebml_frames: what the first bytes of a frame say that Matroska does not: how many samples a frame of sound has, and the
 * configuration of codecs that have none in the file (AC-3, E-AC-3, VP9). Pure; any thread.
 */
#ifndef REEL_HTTPD_EBML_FRAMES_H
#define REEL_HTTPD_EBML_FRAMES_H

#include "httpd/media/ebml_tracks.h"

/* Samples of FRAME, per channel, at the track's rate; 0: it cannot be said. AAC: those of CONFIG, its AudioSpecificConfig. */
uint32_t ebml_frame_samples(enum ebml_codec codec, struct media_view config, struct media_view frame);

/* The rate of the codec's own configuration, 0 where that says nothing. */
uint32_t ebml_config_rate(enum ebml_codec codec, struct media_view config);

/* Appends the body of dac3 or dec3 (ETSI TS 102 366 annex F). False: FRAME is none of AC-3. */
MUST_CHECK bool ebml_frame_ac3(struct media_view frame, struct media_buffer *out);
MUST_CHECK bool ebml_frame_eac3(struct media_view frame, struct media_buffer *out);

struct ebml_vp9 {
    uint8_t profile, level, depth, chroma; /* as vpcC has them */
    bool full_range;
};
/* FRAME: a key frame. False: it is none of VP9. Level is that of the size, for 30 pictures per second. */
MUST_CHECK bool ebml_frame_vp9(struct media_view frame, uint32_t width, uint32_t height,
                               struct ebml_vp9 *vp9);

#endif
