/*
 * poster_service: the way to reel-poster for all loops: its socket, the workers that wait for it, and the directory in which
 * pictures are kept. Made by http_server.
 */
#ifndef REEL_HTTPD_POSTER_SERVICE_H
#define REEL_HTTPD_POSTER_SERVICE_H

#include "common/loop/workers.h"
#include "common/media/poster_wire.h"
#include "httpd/stream/poster_failures.h"
#include "httpd/stream/poster_flights.h"

struct poster_service {
    char *socket;             /* of reel-poster */
    struct disk_cache *cache; /* NULL: nothing is kept on a disk */
    struct workers *workers;
    struct poster_flights flights;
    struct poster_failures failures;
};

/* SOCKET "": there are no pictures (*SERVICE is NULL). DIRECTORY "": no cache; one that cannot be used is logged, and there is
 * none. */
MUST_CHECK bool poster_service_create(const char *socket, const char *directory, int64_t bytes_max,
                                      struct poster_service **service, struct error *error);
/* True: the workers have ended, and poster_service_destroy() may follow. */
bool poster_service_end_workers(struct poster_service *service, int64_t timeout_ms);
void poster_service_destroy(struct poster_service *service); /* NULL is ignored */

/* On a worker: asks reel-poster, for at most ten seconds per step. *JPEG is the caller's, malloc'd. False: ERROR says why, in words
 * for whoever asked: ERROR_MALFORMED where no picture can be made of it, ERROR_EXHAUSTED where none can be made now. *HOLDS_MS: for how
 * long it is pointless to try that again; 0: it is not the film's fault. */
MUST_CHECK bool poster_service_ask(const struct poster_service *service, const struct poster_request *request,
                                   const uint8_t *film, uint8_t **jpeg, size_t *size, int64_t *holds_ms,
                                   struct error *error);

#endif
