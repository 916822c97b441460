/*
 * poster_failures: which films could not be pictured a short while ago, so that not every request for one
 * starts a decoder that runs into the same damage, or into its limits. Bounded; the oldest go first. Any
 * thread; a mutex is held for a look.
 */
#ifndef REEL_HTTPD_POSTER_FAILURES_H
#define REEL_HTTPD_POSTER_FAILURES_H

#include "common/base/error.h"
#include "common/base/lru.h"
#include <pthread.h>

#define POSTER_FAILURES_FILMS 1024       /* that are remembered */
#define POSTER_FAILURES_TIMES 4          /* of one film; one with more has no picture at any time */
#define POSTER_SHEET          UINT32_MAX /* a storyboard, among the segments */

struct poster_failures {
    pthread_mutex_t mutex;
    struct lru films;
    uint64_t seed;
};

void poster_failures_init(struct poster_failures *failures);
void poster_failures_clear(struct poster_failures *failures);

/* No picture could be made at SEGMENT of FILM (a text that names the file and its content): ERROR says why,
 * and holds until UNTIL_MS. Without memory it is not remembered. */
void poster_failures_add(struct poster_failures *failures, const char *film, uint32_t segment,
                         const struct error *error, int64_t until_ms);

/* True: it is pointless to try SEGMENT of FILM at NOW_MS; ERROR says why. */
bool poster_failures_find(struct poster_failures *failures, const char *film, uint32_t segment,
                          int64_t now_ms, struct error *error);

#endif
