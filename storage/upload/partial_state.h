/*
 * partial_state: one request about a partial upload, as partial_begin.c, partial_append.c, partial_finish.c, partial_join.c,
 * partial_renew.c and partial_care.c see it: what stands beside the struct upload that carries it (storage/upload/upload_state.h). Private to these.
 */
#ifndef REEL_STORAGE_PARTIAL_STATE_H
#define REEL_STORAGE_PARTIAL_STATE_H

#include "storage/rows/partial_rows.h"
#include "storage/upload/partials.h"
#include "storage/upload/upload_state.h"

/* What its own worker or database job was about. */
enum partial_step {
    PARTIAL_NEW,     /* the row is taken, or added */
    PARTIAL_LOOKS,   /* a file of its own: has it been begun? */
    PARTIAL_COPIES,  /* what is recorded is copied into it */
    PARTIAL_MOVES,   /* the row gets it */
    PARTIAL_DROPS,   /* the former one goes */
    PARTIAL_OPENS,   /* the file */
    PARTIAL_WRITES,  /* APPEND: content comes */
    PARTIAL_SYNCS,   /* what was written is made durable */
    PARTIAL_RECORDS, /* and the offset recorded */
    PARTIAL_READS,   /* FINISH: the file is read back, or JOIN_PARTS: copied */
    PARTIAL_ENDS,    /* FINISH: digests, syncs */
    PARTIAL_ADDS,    /* FINISH: as PUT */
    PARTIAL_STORES,  /* FINISH: the row of the partial upload says so */
    PARTIAL_REVERTS, /* FINISH failed: it is open again */
    PARTIAL_CLEARS,  /* files that are not needed any more */
    PARTIAL_CLOSES,  /* the file is closed, and what came before a failure made durable */
    PARTIAL_OVER,
};

struct partial;
struct partial_join;  /* storage/upload/partial_join.c */
struct partial_renew; /* storage/upload/partial_renew.c */
struct partial_care;  /* storage/upload/partial_care.c */

/* What JOIN_PARTS does in its own way, in the places where FINISH calls it. */
struct partial_joining {
    /* The target was taken: its parts are looked at, then it waits for a place. */
    void (*taken)(struct partial *partial);
    /* The file is stored: the parts are to be removed. False: a job is under way, upload_settle() follows. */
    bool (*clear)(struct partial *partial);
    void (*destroy)(struct partial_join *join);
};

struct partial {
    struct upload *upload;
    enum partial_step step;
    struct partial_job rows;
    void (*rows_done)(struct partial *partial);
    struct proto_append append;
    struct proto_finish finish;
    struct partials_hold hold;
    struct digest *digest; /* of the first `digested` bytes; NULL: not known */
    int64_t digested;
    int64_t begun;    /* APPEND: the offset that it began at */
    int64_t written;  /* bytes that are in the file, from the first on */
    bool whole;       /* APPEND: the content has come */
    bool sync_failed; /* nothing more is recorded */
    bool read_back;   /* FINISH: the digest is that of what was read */
    /* The file is not to be used: it may be another request's, which has bytes that are not recorded (FINISH), or it is empty, and a power cut has
     * taken it. */
    bool unfit;
    struct partial_care *care;   /* NULL: its row was not taken */
    struct partial_renew *renew; /* malloc'd; NULL: it goes on with the file that the row had */
    struct partial_join *join;   /* JOIN_PARTS; else NULL, as the next */
    const struct partial_joining *joining;
    int64_t joined; /* bytes of all parts; -1: it joins none */
    int64_t size;   /* FINISH, JOIN_PARTS: of the row as it was taken */
};

/* Carries REQUEST; NULL: it has been answered. PUT: as upload_create() wants it. */
MUST_CHECK struct upload *partial_create(struct packet_request *request, const struct proto_put *put,
                                         bool digest_follows, const struct upload_kind *kind,
                                         const uint8_t *token);

/* Frees upload->own, for upload_kind.end. */
void partial_end(struct upload *upload);

/* Starts one of storage/rows/partial_rows.h over partial->rows; DONE follows on the loop, unless the upload was concluded
 * meanwhile. Where it cannot be started the upload is concluded, and may be gone when this returns. */
void partial_start_rows(struct partial *partial, bool (*start)(struct partial_job *job, struct error *error),
                        enum partial_step step, void (*done)(struct partial *partial));

/* A job on the workers of the file's store path; upload_kind.worked follows. Likewise. */
void partial_start_work(struct partial *partial, enum partial_step step, void (*run)(struct job *job));

/* The row was taken: what it says goes to the upload. */
void partial_adopt(struct partial *partial);

/* Opens the file as it is recorded, what is behind the offset is cut off, or finds that it is not to be used (partial->unfit): then
 * partial_renew() is due. On a worker; BLOCKS. */
MUST_CHECK bool partial_open(struct partial *partial, struct error *error);

/* ---- storage/upload/partial_renew.c ---- */

/* Others may still be at the file that the row has: what is recorded is copied into a file of this upload's own, which the row
 * gets. THEN follows on the loop, unless the upload was concluded meanwhile. */
void partial_renew(struct partial *partial, void (*then)(struct upload *upload));

/* For upload_kind.worked. False: the job was none of its own. */
MUST_CHECK bool partial_renew_worked(struct upload *upload);

/* Up to SIZE bytes at FROM_AT of FROM to AT in FILE, by the kernel unless *BY_HAND, which is set where it does not; *DONE: how many. On a
 * worker; BLOCKS. */
MUST_CHECK bool partial_copy_some(int from, int64_t from_at, struct store_file *file, int64_t at,
                                  int64_t size, bool *by_hand, int64_t *done, struct error *error);

/* ---- storage/upload/partial_care.c ---- */

/* The row was taken: from now on it does not expire, however long the request takes. PARTS: of JOIN_PARTS, which are copied; NULL: none. */
void partial_care_begin(struct partial *partial, const struct partial_parts *parts);

/* The request does nothing more. */
void partial_care_end(struct partial *partial);

/* ---- storage/upload/partial.c ---- */

/* One for the whole content, as the configuration wants it; NULL without memory. */
MUST_CHECK struct digest *partial_digest_create(const struct partial *partial);

/* A file that is gone, or a write that failed, is no fault of the disk where another request has taken the upload over: then that is the
 * error. After the row was recorded at the end. */
void partial_explain(struct partial *partial);

/* Ends the hold; the digest is kept where it is that of what is recorded. */
void partial_let_go(struct partial *partial);

/* Replies with how far it is, for upload_kind.reply. */
void partial_reply_state(struct upload *upload, struct packet_request *request);

/* Of OFFSET and ABORT: which partial upload is asked for. False: the request was refused, because it is malformed or its application is
 * not served here. */
MUST_CHECK bool partial_asked(struct packet_request *request, struct proto_partial *asked);

#endif
