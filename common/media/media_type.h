/*
 * media_type: which Content-Type a file has, from what its uploader stated, its name, and its first bytes
 * (common/media/media_signature.h). The one table of extensions and of aliases. reel-storage decides with it
 * what to store, reel-httpd what to answer. Pure; any thread.
 */
#ifndef REEL_COMMON_MEDIA_TYPE_H
#define REEL_COMMON_MEDIA_TYPE_H

#include "common/base/base.h"

#define MEDIA_TYPE_UNKNOWN "application/octet-stream"

/* The type by the extension of NAME ("clip.MP4"), or NULL. Static text. */
const char *media_type_by_name(const char *name);

/* The type of a file that begins with SIZE BYTES (all of them if it has fewer than MEDIA_SIGNATURE_BYTES) and is
 * called NAME ("" for unknown): by its signature, for kinds without one by its name, which must not contradict
 * the bytes. NULL: neither says. Static text. */
const char *media_type_of_content(const void *bytes, size_t size, const char *name);

/* True for what says nothing at all: "", application/octet-stream, binary/octet-stream. */
bool media_type_is_generic(const char *type);

/* True for types that mean "unknown": the generic ones, text/plain (of playlists, subtitles), and
 * what breaks the grammar of RFC 9110 section 8.3.1. */
bool media_type_is_vague(const char *type);

/* TYPE's essence (without parameters) is ESSENCE, but for case (RFC 9110 section 8.3.1). */
bool media_type_is(const char *type, const char *essence);

/* The registered spelling of a TYPE that detectors and old uploaders spell otherwise; else TYPE itself. */
const char *media_type_canonical(const char *type);

/* The best of them: a precise ROW_TYPE, in its registered spelling, narrowed by the name where a container
 * holds several kinds; else the extension of FILE_NAME (the original one), then of URL_NAME, then SNIFFED (may
 * be NULL), then ROW_TYPE if it is well-formed, then MEDIA_TYPE_UNKNOWN. The result is one of the arguments
 * or static. */
const char *media_type_choose(const char *row_type, const char *file_name, const char *url_name,
                              const char *sniffed);

#endif
