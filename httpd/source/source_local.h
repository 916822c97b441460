/*
 * source_local: the source that sends a range of a file of a local volume: a small one in one call together
 * with the answer's head, more by sendfile(2). What is not in the page cache is fetched by the volume's
 * workers, so that a loop never waits for a disk. A file that cannot be opened or read is taken from a
 * storage server instead, at the byte where it failed.
 */
#ifndef REEL_HTTPD_SOURCE_LOCAL_H
#define REEL_HTTPD_SOURCE_LOCAL_H

#include "httpd/source/source.h"

/* OPTIONS->file has a volume. NULL without memory. */
MUST_CHECK struct source *source_local_open(const struct source_options *options);

#endif
