/*
 * upload_state: one upload under way, as storage/upload/upload.c (its steps, on the request's loop) and
 * storage/upload/upload_disk.c (its blocking parts, on workers) see it. Private to these two.
 */
#ifndef REEL_STORAGE_UPLOAD_STATE_H
#define REEL_STORAGE_UPLOAD_STATE_H

#include "common/proto/digest.h"
#include "storage/upload/commit.h"
#include "storage/storage.h"

/*
 * What is on disk (F) and in the database (R) when the process dies inside a step; a crash never leaves more
 * than a file without a row, which nobody can find and the clean-up removes.
 */
enum upload_step {
    UPLOAD_ADMIT,     /* waits for its turn                             F none          R none */
    UPLOAD_LOOK_UP,   /* is the file ID taken?                          F none          R none */
    UPLOAD_COMPARE,   /* it is, with this size: bytes are digested only F the stored    R the stored */
    UPLOAD_READ_BACK, /* the stored bytes are digested                  F the stored    R the stored */
    UPLOAD_GATHER,    /* a small content is received whole              F none          R none */
    UPLOAD_NUMBER,    /* waits for a number                             F none          R none */
    UPLOAD_CREATE,    /* directories and the file are made              F none or empty R none */
    UPLOAD_RECEIVE,   /* content to disk as it comes; at its end, sync  F partial       R none */
    UPLOAD_STORE,     /* a small file: create, write, sync in one go    F partial       R none */
    UPLOAD_ROW,       /* the row is added                               F whole, synced R none or whole */
    UPLOAD_UNDO,      /* the file is removed again                      F whole or none R none or another's */
    UPLOAD_REPLY,     /* the end                                        F whole         R whole; or neither */
};

enum upload_slot_state { SLOT_EMPTY, SLOT_FILLING, SLOT_FULL, SLOT_WRITING };

/* A piece of the content on its way to the disk. */
struct upload_slot {
    struct buffer buffer; /* no bytes: not allocated */
    enum upload_slot_state state;
    int64_t offset; /* in the content */
    size_t filled;
};

struct upload {
    struct storage *storage;
    struct packet_request *request;
    struct loop *loop;
    enum upload_step step;
    struct proto_put put;
    struct gate_waiter waiter;
    bool entered; /* counts among the active ones */
    struct meta_find find;
    struct ids_waiter number;
    struct meta_insert insert;

    struct store_path *path; /* chosen */
    struct commit_file file;
    bool file_made; /* there is a file of ours at file.place */
    int collisions; /* numbers that turned out to be used */
    int64_t skipping_since_ms;

    bool digest_follows; /* PUT_TRAILER: the digest into `put` is still to come, behind the content */
    void (*whole)(struct upload *upload); /* what goes on when it has */
    struct digest *digest;
    uint8_t digest_bytes[PROTO_DIGEST_SIZE]; /* of the whole content, when it has come */
    char content_type[PROTO_CONTENT_TYPE_SIZE];
    struct type_note *untyped; /* the content type is to be found out after the reply; else NULL */
    int64_t received;
    struct upload_slot slots[2];
    bool pumping, pump_again;
    bool reading;

    struct meta_row *rival; /* the row that has the file ID already; into find or insert */

    struct job job;
    bool job_running;
    struct upload_slot *job_slot;
    bool job_fine;
    struct error job_error;
    int64_t step_us; /* when the step began */

    bool concluded, fine, peer_gone, keep_file;
    struct error error;
    struct task task;
    struct event *timer;
};

static inline uint64_t upload_connection(const struct upload *upload)
{
    return packet_connection_id(upload->request->connection); /* "cN" in the log */
}

/* ---- storage/upload/upload_end.c: on the loop ---- */

/* The one place that changes the step. */
void upload_enter(struct upload *upload, enum upload_step step);

/* Hands RUN to PATH's workers; upload_job_done() follows on the loop. False: upload->job_error. */
MUST_CHECK bool upload_start_job(struct upload *upload, struct store_path *path,
                                 void (*run)(struct job *job));

/* The result, ERROR NULL for success; only the first one counts. The upload may be gone when this returns. */
void upload_conclude(struct upload *upload, const struct error *error);
void upload_refuse(struct upload *upload, int code, const char *format, ...) PRINTF_LIKE(3, 4);
void upload_lose_peer(struct upload *upload);

/* After upload_conclude(), when no worker is at it any more: removes the file or replies. */
void upload_settle(struct upload *upload);

/* The last step; frees the upload. */
void upload_reply(struct upload *upload);

/* Logs and counts a file that stays without a row. */
void upload_leave_file(struct upload *upload, const char *why);

/* Gives back the memory of the slots that nobody reads into. */
void upload_give_buffers(struct upload *upload);

/* ---- storage/upload/upload_compare.c: on the loop ---- */

/* upload->rival has the file ID: receives the content, if it may be the same, and compares. */
void upload_start_compare(struct upload *upload);

/* The content's digest is in upload->digest_bytes: compares it with upload->rival. */
void upload_compare(struct upload *upload);

/* ---- storage/upload/upload.c ---- */

void upload_job_done(struct job *job);

/* The content has come whole: WHOLE goes on, once the digest that follows it has come too where there is one.
 * Perhaps before this returns. */
void upload_end_content(struct upload *upload, void (*whole)(struct upload *upload));

/* ---- storage/upload/upload_disk.c: on workers; BLOCK. What they do to the struct is told; ERROR says why not. ----
 */

/* Creates upload->file with its directories. ERROR_EXISTS: the number was used before. */
MUST_CHECK bool upload_disk_create(struct upload *upload, struct error *error);

/* Writes and digests SLOT; the first one tells the content type. With the last one: upload_disk_finish(). */
MUST_CHECK bool upload_disk_write(struct upload *upload, const struct upload_slot *slot, struct error *error);

/* Everything of a content that is whole in slot 0 (or empty). On failure the file is removed again. */
MUST_CHECK bool upload_disk_store(struct upload *upload, struct error *error);

/* Closes and removes the file. */
MUST_CHECK bool upload_disk_undo(struct upload *upload, struct error *error);

/* Digests the file of upload->rival into rival->stat. */
MUST_CHECK bool upload_disk_read_back(struct upload *upload, struct error *error);

#endif
