/*
 * media_signature: the kinds of media that are known by their first bytes, in the order of the WHATWG MIME
 * Sniffing standard (sections 6.1 images, 6.2 audio and video), then the kinds that it does not name. Takes
 * some tens of nanoseconds. Pure; used by common/media/media_type.c and reel-httpd.
 */
#ifndef REEL_COMMON_MEDIA_SIGNATURE_H
#define REEL_COMMON_MEDIA_SIGNATURE_H

#include "common/base/base.h"

/* Bytes from the start of a file that can make a difference. */
#define MEDIA_SIGNATURE_BYTES 4096

/* The type by the first SIZE bytes, or NULL. Static text. */
const char *media_signature_find(const void *bytes, size_t size);

/* The bytes hold none of the "binary data bytes" of the WHATWG standard (section 3). */
bool media_signature_is_text(const void *bytes, size_t size);

#endif
