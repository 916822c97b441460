/*
 * reel_internal: what the files of the blocking face share: the handle, how a calling thread waits for its
 * loop, and small helpers. Private to reel*.c.
 */
#ifndef REEL_CLIENT_REEL_INTERNAL_H
#define REEL_CLIENT_REEL_INTERNAL_H

#include "client/core/client.h"
#include "client/reel.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>
#include <sys/types.h>

#define REEL_CHUNK_SIZE (256 * 1024) /* of file input and output */
#define REEL_BEAT_MS    250          /* progress is reported at least so often, also where nothing moves */

struct reel {
    struct loop *loop;
    struct workers *resolver;
    struct client *client;  /* on the loop */
    struct tls_client *tls; /* NULL: no tracker is at tls:// */
    struct auth *auth;
    char application[REEL_APPLICATION_SIZE];
    char user[REEL_USER_SIZE]; /* "" where none was given */
    int64_t progress_timeout_ms;
    bool takes_deleted; /* downloads give deleted files too */
    bool moves;         /* uploads are MOVEs */
    int tries;
    pid_t process; /* that opened it */
    struct request_id request;
    char request_text[REQUEST_ID_TEXT_SIZE];
    reel_remark remark;
    void *remark_argument;
    atomic_llong
        digest_first_until_ms; /* until then uploads do not try PUT_TRAILER, which a server did not know */

    pthread_mutex_t mutex;
    LIST_HEAD(reel_wait_list, reel_wait) waits; /* under mutex */
    bool cancelled;                             /* under mutex */
    int cancel_fd;                              /* an eventfd: readable once it is cancelled, for who polls */

    /* reel_async.c; all under mutex */
    struct workers *async; /* NULL: nothing was started yet */
    size_t async_threads;
    int async_fd; /* an eventfd: readable while `async_ended` has some; -1: none yet */
    STAILQ_HEAD(reel_async_list, reel_async_call) async_ended;
};

/* Cancels the handle, waits for what runs on its threads, and gives the ends out. */
void reel_async_close(struct reel *reel);

/* Something that a calling thread has the loop do, and waits for. Lives on the caller's stack. */
struct reel_wait {
    struct task task, cancel;
    struct reel *reel;
    LIST_ENTRY(reel_wait) link;
    void (*start)(struct reel_wait *wait); /* on the loop */
    struct client_operation *operation;    /* on the loop, while it is under way */
    pthread_mutex_t mutex;
    pthread_cond_t changed;

    /* all under mutex */
    bool done;
    bool cancelled;     /* reel_cancel() was called */
    bool giving_up;     /* the loop was asked to end the operation */
    bool cancel_posted; /* ... and has not been there yet: the wait must stay */
    bool remarked;      /* `remark` has something that nobody has read out */
    char remark[REEL_ERROR_TEXT_SIZE];
    struct error error; /* until done; ERROR_NONE on success */
};

void reel_wait_init(struct reel_wait *wait, struct reel *reel, void (*start)(struct reel_wait *wait));
void reel_wait_clear(struct reel_wait *wait);
void reel_wait_begin(struct reel_wait *wait);
/* Waits until done. False: wait->error says why. */
bool reel_wait_end(struct reel_wait *wait);
/* BEGIN, END and CLEAR. False: ERROR. */
MUST_CHECK bool reel_wait_run(struct reel_wait *wait, struct error *error);
/* With the mutex held: one turn of the waiting thread's wait, of at most TIMEOUT_MS (< 0: for ever), which reads out
 * remarks (without the mutex) and gives the operation up when the handle is cancelled. False: timed out. */
bool reel_wait_turn(struct reel_wait *wait, int64_t timeout_ms);
/* With the mutex held: whether the loop still uses the wait. */
bool reel_wait_busy(const struct reel_wait *wait);
/* With the mutex held: has the loop end the operation with ERROR_CANCELLED, unless it is done. */
void reel_wait_give_up(struct reel_wait *wait);
/* On the loop: the end. ERROR NULL is success. WAIT must not be touched afterwards. */
void reel_wait_finish(struct reel_wait *wait, const struct error *error);
/* On the loop, in start(): NULL is reported to the waiting thread. */
void reel_wait_started(struct reel_wait *wait, struct client_operation *operation);

/* False in a child after fork(): the handle is the parent's. */
bool reel_is_ours(const struct reel *reel);
/* Whether calls on the handle can be made: not in a child after fork(), not once it is cancelled. */
bool reel_usable(struct reel *reel, struct error *error);

/* Says something to whoever watches the handle, in the calling thread: through its relay, where a thread of ours works for a
 * caller. */
void reel_say(const struct reel *reel, const char *format, ...) PRINTF_LIKE(2, 3);

/* From here on what the calling thread says goes to another one, which says it. NULL: it is a caller's, and
 * says it itself. */
struct reel_relay {
    void (*say)(void *argument, const char *text);
    void *argument;
};
void reel_relay_use(const struct reel_relay *relay);

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
/* EXPIRE; EXPIRES 0: it is only asked for. TIME may be NULL. */
bool reel_expire_key(struct reel *reel, const struct proto_file_key *key, int64_t expires, int64_t *time,
                     struct error *error);
bool reel_stat_key(struct reel *reel, const struct proto_file_key *key, struct proto_stat *stat,
                   struct error *error);

/* write(2), all of it; waits where FD is non-blocking. */
bool reel_write_all(int fd, const void *bytes, size_t size, struct error *error);

#endif
