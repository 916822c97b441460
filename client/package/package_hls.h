/*
 * package_hls: a playlist of HTTP Live Streaming (RFC 8216) whose URIs are replaced by links; everything
 * else stays as it is, byte by byte. Pure; any thread.
 */
#ifndef REEL_CLIENT_PACKAGE_HLS_H
#define REEL_CLIENT_PACKAGE_HLS_H

#include "client/package/package_rewrite.h"

/* The SIZE bytes of TEXT (a NUL behind them) with the links that READER gives. Refused are what is no
 * playlist, a stream that is not at its end (no EXT-X-ENDLIST), and variables. Keys (EXT-X-KEY) may have
 * absolute URIs, which stay. Owned by the caller; NULL: ERROR, with the line. */
char *package_hls_rewrite(const char *text, size_t size, const struct package_reader *reader,
                          size_t *new_size, struct error *error);

#endif
