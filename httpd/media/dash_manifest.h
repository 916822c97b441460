/*
 * dash_manifest: the manifest of MPEG-DASH (ISO/IEC 23009-1) for a set: picture and sound as streams of their own, by
 * SegmentTemplate with SegmentTimeline, all URIs relative. Pure; any thread.
 */
#ifndef REEL_HTTPD_DASH_MANIFEST_H
#define REEL_HTTPD_DASH_MANIFEST_H

#include "httpd/media/media_set.h"

/* False: the first film of the set is none that segments are made of (a stored fragmented MP4, a transport stream).
 * OUT->failed without memory. */
MUST_CHECK bool dash_manifest(const struct media_set *set, unsigned left_out, struct media_buffer *out);

#endif
