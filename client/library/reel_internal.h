/*
 * reel_internal: what the files of the blocking face share: the handle, and how a calling thread waits for
 * its loop. Private to reel*.c.
 */
#ifndef REEL_CLIENT_REEL_INTERNAL_H
#define REEL_CLIENT_REEL_INTERNAL_H

#include "client/core/client.h"
#include "client/reel.h"

#include <pthread.h>

#define REEL_CHUNK_SIZE (256 * 1024) /* of file input and output */

struct reel {
    struct loop *loop;
    struct workers *resolver;
    struct client *client; /* on the loop */
    char application[REEL_APPLICATION_SIZE];
    char user[REEL_USER_SIZE]; /* "" where none was given */
    int64_t progress_timeout_ms;
    int tries;
};

/* Something that a calling thread has the loop do, and waits for. Lives on the caller's stack. */
struct reel_wait {
    struct task task;
    struct reel *reel;
    void (*start)(struct reel_wait *wait); /* on the loop */
    struct client_operation *operation;    /* on the loop, while it is under way */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool done;          /* under mutex */
    struct error error; /* under mutex until done; ERROR_NONE on success */
};

void reel_wait_init(struct reel_wait *wait, struct reel *reel, void (*start)(struct reel_wait *wait));
void reel_wait_clear(struct reel_wait *wait);
void reel_wait_begin(struct reel_wait *wait);
/* Waits until done. False: wait->error says why. */
bool reel_wait_end(struct reel_wait *wait);
/* On the loop: the end. ERROR NULL is success. WAIT must not be touched afterwards. */
void reel_wait_finish(struct reel_wait *wait, const struct error *error);
/* On the loop, in start(): NULL is told to the waiting thread. */
void reel_wait_started(struct reel_wait *wait, struct client_operation *operation);

/* Copies FROM to the caller's ERROR (may be NULL); returns false. */
bool reel_fail(struct reel_error *error, const struct error *from);

/* Failure ERRNUM of a file here, not of a stored one: ERROR_NO_SPACE or ERROR_IO. Returns false. */
bool reel_local_error(struct error *error, int errnum, const char *format, ...) PRINTF_LIKE(3, 4);

/* KEY with the handle's defaults. EMPTY_FILE: a missing file ID is fine. */
bool reel_fill_key(const struct reel *reel, const struct reel_key *key, bool empty_file,
                   struct proto_file_key *out, struct error *error);

/* TEXT into a field of SIZE bytes; false where it does not fit. */
bool reel_copy_text(char *field, size_t size, const char *what, const char *text, struct error *error);

/* STAT; used by downloads too. */
bool reel_stat_key(struct reel *reel, const struct proto_file_key *key, struct proto_stat *stat,
                   struct error *error);

/* write(2), all of it; waits where FD is non-blocking. */
bool reel_write_all(int fd, const void *bytes, size_t size, struct error *error);

#endif
