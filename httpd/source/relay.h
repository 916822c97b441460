/*
 * relay: the source that fetches a range from a storage server and passes it on: from socket to socket by
 * splice(2) over a pipe, or copied where the kernel refuses or the pipes are used up. A server that breaks
 * off is replaced by another one of the group at the next byte.
 */
#ifndef REEL_HTTPD_RELAY_H
#define REEL_HTTPD_RELAY_H

#include "httpd/source/source.h"

/* Begins the download. NULL only without memory. */
MUST_CHECK struct source *relay_open(const struct source_options *options);

#endif
