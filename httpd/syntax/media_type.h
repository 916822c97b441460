/*
 * media_type: the Content-Type of a file: what its row says where that is good, else what its name or its
 * first bytes say. Pure.
 */
#ifndef REEL_HTTPD_MEDIA_TYPE_H
#define REEL_HTTPD_MEDIA_TYPE_H

#include "common/base/base.h"

#define MEDIA_TYPE_UNKNOWN "application/octet-stream"

/* Bytes from the start of a file that media_type_sniff() can make use of. */
#define MEDIA_TYPE_SNIFF_SIZE 512

/* The type by the extension of NAME ("clip.MP4"), or NULL. */
const char *media_type_by_name(const char *name);

/* The type by the first bytes, or NULL. */
const char *media_type_sniff(const uint8_t *bytes, size_t size);

/* True for types that only say that nobody knew: "", application/octet-stream, text/plain (of playlists,
 * subtitles), and what breaks the grammar of RFC 9110 section 8.3.1. */
bool media_type_is_vague(const char *type);

/* The best of them: a precise ROW_TYPE, in its registered spelling; else the extension of FILE_NAME (the
 * original one), then of URL_NAME, then SNIFFED (may be NULL), then ROW_TYPE if it is well-formed, then
 * MEDIA_TYPE_UNKNOWN. The result is one of the arguments or static. */
const char *media_type_choose(const char *row_type, const char *file_name, const char *url_name,
                              const char *sniffed);

#endif
