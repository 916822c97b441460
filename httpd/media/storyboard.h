/*
 * storyboard: which key frames of a film a sheet of small pictures shows, and the WebVTT that says which of them belongs to which
 * time; and how large a film's pictures are as they are shown. Pure; any thread.
 */
#ifndef REEL_HTTPD_STORYBOARD_H
#define REEL_HTTPD_STORYBOARD_H

#include "httpd/media/media_film.h"

#define STORYBOARD_TILES   100
#define STORYBOARD_COLUMNS 10
#define STORYBOARD_WIDTH   160
#define STORYBOARD_BYTES   ((int64_t)32 * 1024 * 1024) /* of key frames, where their sizes are known */

struct storyboard {
    uint32_t tiles;
    uint32_t step; /* segments from one to the next: tile I shows the key frame of segment I * STEP */
    uint32_t width, height;
};

/* False: the film has no pictures, or its segments are ranges of a stored file. */
MUST_CHECK bool storyboard_plan(const struct media_film *film, struct storyboard *board);
/* SHEET: the relative URI of the picture with all tiles. */
void storyboard_vtt(const struct media_film *film, const struct storyboard *board, const char *sheet,
                    struct media_buffer *out);

/* The segment in which the film is MILLISECONDS long. */
uint32_t storyboard_segment(const struct media_film *film, int64_t milliseconds);

#endif
