/*
 * source_pieces: the source that has a long range relayed in pieces, each a download of its own: as large as
 * the client takes in a quarter of a second. So a slow client holds no connection to a storage server, and
 * none of the kernel's memory on both of its ends, while it takes its time; a fast one asks seldom. Where no
 * server gives the next piece at once, it is asked for again for storage_timeout.
 */
#ifndef REEL_HTTPD_SOURCE_PIECES_H
#define REEL_HTTPD_SOURCE_PIECES_H

#include "httpd/source/source.h"

#define SOURCE_PIECES_FIRST ((int64_t)128 * 1024) /* bytes of the first piece; shorter ranges are one */

/* Begins the download of the first piece. NULL only without memory. */
MUST_CHECK struct source *source_pieces_open(const struct source_options *options);

#endif
