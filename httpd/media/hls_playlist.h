/*
 * hls_playlist: the playlists of HTTP Live Streaming (RFC 8216), version 7, of what is stored: the multivariant playlist of a
 * set, and the media playlist of each of its streams. All URIs are relative, to names of media_set. Pure; any thread.
 */
#ifndef REEL_HTTPD_HLS_PLAYLIST_H
#define REEL_HTTPD_HLS_PLAYLIST_H

#include "httpd/media/media_set.h"

/* OUT->failed without memory. LEFT_OUT: bits of media_set_disagreeing(). */
void hls_master(const struct media_set *set, unsigned left_out, struct media_buffer *out);

/* False: FILM has no such stream. SECONDS: how long the film is that subtitles belong to, for a file of them. */
MUST_CHECK bool hls_media(const struct media_film *film, const struct media_name *name, double seconds,
                          struct media_buffer *out);

#endif
