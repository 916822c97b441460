/*
 * poster_flights: which pictures are being made, so that two requests for one picture, of any loop, make it once: the first one
 * makes it, the others wait and get a copy. Any thread; a mutex is held for the list alone.
 */
#ifndef REEL_HTTPD_POSTER_FLIGHTS_H
#define REEL_HTTPD_POSTER_FLIGHTS_H

#include "common/loop/loop.h"
#include "httpd/files/disk_cache.h"
#include <pthread.h>

/* One that waits. Embed it; TASK's run() is set by its owner and comes on LOOP once the picture is there or is given up. */
struct poster_waiter {
    struct task task;
    struct loop *loop;
    uint8_t *jpeg; /* the owner's, malloc'd; NULL: ERROR says why there is none */
    size_t size;
    struct error error;         /* code 0: whoever was making it left; it is to be tried again */
    struct poster_waiter *next; /* private */
};

struct poster_flight; /* private */

struct poster_flights {
    pthread_mutex_t mutex;
    struct poster_flight *first;
};

enum poster_join {
    POSTER_LEADS, /* the caller makes it, and says poster_flights_end() in any case */
    POSTER_WAITS,
    POSTER_NO_MEMORY,
};

void poster_flights_init(struct poster_flights *flights);
void poster_flights_clear(struct poster_flights *flights); /* nothing is under way any more */

MUST_CHECK enum poster_join poster_flights_join(struct poster_flights *flights,
                                                const char key[DISK_CACHE_KEY_SIZE],
                                                struct poster_waiter *waiter);
/* JPEG (copied) or ERROR goes to all that wait; both NULL: it was given up, and the first of them to return makes it. */
void poster_flights_end(struct poster_flights *flights, const char key[DISK_CACHE_KEY_SIZE],
                        const uint8_t *jpeg, size_t size, const struct error *error);
/* True: WAITER's task will not come. False: it is posted already. */
MUST_CHECK bool poster_flights_leave(struct poster_flights *flights, const char key[DISK_CACHE_KEY_SIZE],
                                     struct poster_waiter *waiter);

#endif
