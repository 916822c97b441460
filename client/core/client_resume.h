/*
 * client_resume: whether and when a transfer that broke off continues at the next byte. The one place that decides it, for
 * libreel's downloads and reel-httpd's relay: what a caller of client_download() does when the servers that this found
 * break off, or when it found none. Pure but for chance; its owner's thread only.
 */
#ifndef REEL_CLIENT_CLIENT_RESUME_H
#define REEL_CLIENT_CLIENT_RESUME_H

#include "common/base/backoff.h"

struct client_resume {
    int tries, tries_max;
    int64_t good_bytes, moved;          /* bytes of good progress; those since the last */
    int64_t patience_ms, nowhere_since; /* monotonic; 0: some server gives bytes */
    struct backoff backoff;
};

/* TRIES_MAX: servers that may break off, or none be there, without GOOD_BYTES (at least 1) of progress in between.
 * PATIENCE_MS: for how long no server need give a byte; 0: that is counted as a try. */
void client_resume_init(struct client_resume *resume, int tries_max, int64_t good_bytes, int64_t patience_ms);

/* BYTES came. */
void client_resume_moved(struct client_resume *resume, int64_t bytes);

/* A server broke off. True: another one is asked at once. */
bool client_resume_at_once(struct client_resume *resume);

/* No server gives the next byte: the pause before it is asked for again, in ms; -1: never. */
int64_t client_resume_pause(struct client_resume *resume, int64_t now_ms);

#endif
