/*
 * media_info: what /info answers of a stored file, as JSON. Pure; any thread.
 */
#ifndef REEL_HTTPD_MEDIA_INFO_H
#define REEL_HTTPD_MEDIA_INFO_H

#include "httpd/media/media_film.h"

/* FILM NULL: nothing but size and type is known, because of REASON. OUT->failed without memory. */
void media_info(const struct media_film *film, const char *file, int64_t size, const char *type,
                const char *reason, struct media_buffer *out);

#endif
