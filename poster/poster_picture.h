/*
 * poster_picture: the first key frames of a film in memory, decoded by FFmpeg's libraries, scaled and laid side by side as one JPEG
 * picture. Blocks; touches nothing but memory.
 */
#ifndef REEL_POSTER_PICTURE_H
#define REEL_POSTER_PICTURE_H

#include "common/media/poster_wire.h"
#include <stddef.h>

/* REQUEST is checked. BYTES: REQUEST->size of them. POSTER_MADE: *JPEG (*SIZE bytes) is the caller's, of malloc(). */
enum poster_status poster_picture_make(const struct poster_request *request, const uint8_t *bytes,
                                       uint8_t **jpeg, size_t *size);

#endif
