/*
 * ebml_cues: the Cues of a Matroska or WebM file (RFC 9559 section 5.1.5): where the segments of a film begin, and where its
 * subtitles are. For ebml_walk. Pure; any thread.
 */
#ifndef REEL_HTTPD_EBML_CUES_H
#define REEL_HTTPD_EBML_CUES_H

#include "httpd/media/ebml_film.h"

/* Adds cuts, end_time and the blocks of subtitles to FILM, whose tracks, reference, begin and end are known. BODY: all of the Cues'
 * body; positions in it are counted from SEGMENT, where the body of the file's segment begins. A segment of the film is at least
 * LEAST ticks long. False: they say nothing that can be used, or there is no memory; what was added until then cannot be used. */
MUST_CHECK bool ebml_cues_read(struct ebml_film *film, int64_t segment, int64_t least,
                               struct media_view body);

#endif
