/*
 * sequences: the numbers of every key: what was reserved and is not handed out yet, and the requests that
 * wait for more. Numbers leave memory only after their reservation was committed (reserve.c), so that neither a crash at any moment nor
 * several ID servers on one database make a number appear twice. Thread-safe (one mutex, held briefly). Touches the database; called by
 * service.c.
 *
 * One reservation per key is in progress at a time; it is begun when less than half of what is reserved at once is left, so that hardly
 * anybody waits. How much that is follows demand: at least a step, and so much that it lasts for some seconds.
 */
#ifndef REEL_IDSERVER_SEQUENCES_H
#define REEL_IDSERVER_SEQUENCES_H

#include "common/config/config.h"
#include "common/db/db.h"
#include "common/loop/wait_list.h"
#include "common/proto/proto.h"

struct sequences;

struct sequences_options {
    struct db *db;
    struct loop *loop; /* where reservations end; the main loop */
    int64_t step;      /* 1..RESERVE_MAX: the least that is reserved at once */
    size_t keys_max;   /* keys that may be begun; those that have a row already are served as well */
    size_t waiting_max;
    int64_t timeout_ms; /* for an answer */
};

MUST_CHECK struct sequences *sequences_create(const struct sequences_options *options, struct error *error);
/* On the loop: STOPPED (then on the loop, perhaps before this returns) is called when no reservation is under
 * way any more. Nobody may ask after this. */
void sequences_stop(struct sequences *sequences, void (*stopped)(void *argument), void *argument);
/* Before the database is closed (any thread): nothing is reserved any more; whoever would have to wait gets
 * ERROR_UNAVAILABLE. */
void sequences_close(struct sequences *sequences);
/* After the last reservation has ended. NULL is ignored. */
void sequences_destroy(struct sequences *sequences);

/* At start-up and at a reload (any thread). KEYS: the only keys that may be begun (copied); none: any. On failure the
 * earlier ones stay. */
MUST_CHECK bool sequences_configure(struct sequences *sequences, int64_t step,
                                    const struct config_strings *keys, struct error *error);

/* 1 to 64 bytes without control characters; ERROR_MALFORMED says what is wrong. Pure. */
MUST_CHECK bool sequences_key_check(const char *key, struct error *error);

/* Somebody who wants numbers. Embed it; valid until it is answered. */
struct sequences_request {
    char key[PROTO_KEY_SIZE];
    int64_t count; /* wanted: 1..PROTO_RANGE_COUNT_MAX */
    struct loop *loop;
    void (*done)(struct sequences_request *request); /* on LOOP */
    /* the answer */
    bool ok;
    int64_t first, given; /* GIVEN 1..COUNT; fewer only at the end of the number space */
    struct error error;   /* ERROR_MALFORMED, ERROR_REFUSED (key), ERROR_EXHAUSTED, ERROR_UNAVAILABLE */
    struct wait wait;     /* private */
};

/* On LOOP, never blocks. True: answered already, done() is not called. False: done() will be, within the time limit; what
 * the database still reserves then is kept for the next request. */
MUST_CHECK bool sequences_take(struct sequences *sequences, struct sequences_request *request);

/* Any thread; for metrics and status. */
size_t sequences_count_keys(struct sequences *sequences);
size_t sequences_count_waiting(struct sequences *sequences);

/* Calls SHOW for each key, under the mutex: no blocking in it. LEFT: numbers in memory. */
void sequences_each(struct sequences *sequences,
                    void (*show)(void *argument, const char *key, int64_t next, int64_t left, bool exhausted),
                    void *argument);

#endif
