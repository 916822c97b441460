/*
 * mp4_clip: a stretch of a stored MP4 or QuickTime file as an MP4 file of its own: ftyp, a moov that is made, and one range of the
 * stored file as its mdat. It begins and ends at key frames of the picture; an edit list has the sound begin with it. Pure; takes
 * milliseconds for a long film: on a worker.
 */
#ifndef REEL_HTTPD_MP4_CLIP_H
#define REEL_HTTPD_MP4_CLIP_H

#include "httpd/media/mp4_index.h"

#define MP4_CLIP_SAMPLES_MAX (UINT32_C(1) << 22)

struct mp4_clip {
    struct media_buffer head;
    int64_t offset, length; /* the range of the stored file behind it */
};

/* From the last key frame that is shown at START_MS or before, up to the first one at END_MS or behind (INT64_MAX: the end).
 * INDEX: with samples. False: ERROR says why: ERROR_NOT_FOUND where the film is over by then, ERROR_UNKNOWN_COMMAND where sound
 * and picture lie too far apart. CLIP is empty then. */
MUST_CHECK bool mp4_clip_make(const struct mp4_index *index, int64_t start_ms, int64_t end_ms,
                              struct mp4_clip *clip, struct error *error);
void mp4_clip_clear(struct mp4_clip *clip);

#endif
