/*
 * media_read: pieces of a stored file brought into memory, one behind the other: read by a worker of the volume where the file
 * lies on this machine, else (or where that fails) fetched from a storage server, and from another one of its group at the next byte
 * where that breaks off. One loop's thread only; never blocks it.
 */
#ifndef REEL_HTTPD_MEDIA_READ_H
#define REEL_HTTPD_MEDIA_READ_H

#include "httpd/loop/http_loop.h"
#include "httpd/media/mp4_fragment.h"

struct media_read;

/* BYTES: all of the pieces, malloc'd, the callee's; or NULL, and why. Exactly once, from the loop, never inside the starter. */
typedef void (*media_read_callback)(void *argument, uint8_t *bytes, size_t size, const struct error *error);

/* PIECES (at least one, each of at least a byte) are copied. SIZE is what they come to. NULL without memory. */
MUST_CHECK struct media_read *media_read_start(struct http_loop *loop, struct http_lookup_file *file,
                                               const struct mp4_piece *pieces, size_t count,
                                               media_read_callback callback, void *argument);
/* The callback will not come. NULL is ignored. */
void media_read_cancel(struct media_read *read);

#endif
