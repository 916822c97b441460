/*
 * upload_state: one upload under way, as the files of this folder see it: upload.c, upload_content.c,
 * upload_compare.c, upload_row.c and upload_end.c (its steps, on the request's loop), upload_disk.c (its blocking
 * parts, on workers). Private to these.
 */
#ifndef REEL_STORAGE_UPLOAD_STATE_H
#define REEL_STORAGE_UPLOAD_STATE_H

#include "common/proto/digest.h"
#include "common/proto/proto_put.h"
#include "storage/upload/commit.h"
#include "storage/storage.h"

/*
 * What is on disk (F) and in the database (R) when the process dies inside a step; a crash never leaves more
 * than a file without a row, which nobody can find and the clean-up removes.
 */
enum upload_step {
    UPLOAD_GATHER,  /* the first piece comes, of a small content all     F none          R none */
    UPLOAD_ADMIT,   /* waits for its turn                                F none          R none */
    UPLOAD_LOOK_UP, /* is the file ID taken?                             F none          R none */
    UPLOAD_COMPARE, /* it is, with this size: bytes are compared         F the stored    R the stored */
    UPLOAD_RIVAL,   /* another one was quicker: the files are compared   F both          R the other's */
    UPLOAD_OWNER,   /* a tracker is asked for the user's group            F none          R none */
    UPLOAD_ROOM,    /* the user's quota is looked at                      F none          R none */
    UPLOAD_NUMBER, /* waits for a number                                F none          R none, or of a lost file */
    UPLOAD_CREATE,  /* directories and the file are made                 F none or empty R the same */
    UPLOAD_RECEIVE, /* content to disk as it comes; at its end, sync     F partial       R the same */
    UPLOAD_STORE,   /* a small file: create, write, sync in one go       F partial       R the same */
    UPLOAD_HEAL, /* the content is there; what it had in common with wrong bytes is copied, then synced; F, R the same */
    UPLOAD_ROW,      /* the row is added                                  F whole, synced R none or whole */
    UPLOAD_SYNC,     /* the upload journal failed: synced after all        F whole         R none */
    UPLOAD_VERIFY,   /* that took long: is the file still there?          F whole or none R whole */
    UPLOAD_WITHDRAW, /* it is not: the row goes again                    F none          R whole or none */
    UPLOAD_UNDO,  /* the file is removed again                         F whole or none R none or another's */
    UPLOAD_REPLY, /* the end                                           F whole         R whole; or neither */
    UPLOAD_OWN,   /* a step of a request about a partial upload: storage/upload/partial_state.h */
};

struct upload;
struct upload_slot;

/* What requests about partial uploads do in their own way. */
struct upload_kind {
    /* What comes next once the first piece and the place are there. NULL: as UPLOAD and PUT. */
    void (*advance)(struct upload *upload);
    /* The row of the file ID was looked up. NULL: as UPLOAD and PUT. */
    void (*found)(struct upload *upload);
    /* A worker has done its job. False: as UPLOAD and PUT. NULL: always so. */
    bool (*worked)(struct upload *upload);
    /* A piece of the content to disk, on a worker; BLOCKS; and then, on the loop. */
    bool (*write)(struct upload *upload, const struct upload_slot *slot, struct error *error);
    void (*written)(struct upload *upload, bool last);
    /* The result is known. False: something is still to be done; then upload_settle() is called again. */
    bool (*settle)(struct upload *upload);
    /* The reply to a success; NULL: an empty body. */
    void (*reply)(struct upload *upload, struct packet_request *request);
    /* Frees upload->own. */
    void (*end)(struct upload *upload);
    bool counted; /* its end is one of an upload in the metrics */
};

/* What comparing with a stored file has shown. */
enum upload_finding {
    UPLOAD_SAME,
    UPLOAD_OTHER, /* it has other bytes */
    UPLOAD_LOST,  /* it is not there, or not what was acknowledged */
    UPLOAD_DOUBT, /* it has other bytes at some point of a large content, and may not be what was acknowledged */
};

/* A large content and the stored file differ at some point, and either may be what the row speaks of. The content
 * is stored anew as it comes, while the stored file is judged: see storage/upload/upload_heal.c. */
struct upload_heal {
    bool begun;
    const struct meta_row *row;               /* of the stored file, which is upload->rival_fd */
    bool judged;                              /* the stored file is wrong */
    bool copied;                              /* what both have in common is in the new file too */
    int64_t common;                           /* bytes before the difference */
    struct digest *stored;                    /* of the stored file, up to */
    int64_t stored_bytes;                     /* here */
    struct digest *copy;                      /* of what was copied, up to */
    int64_t copy_bytes;                       /* here */
    uint8_t common_digest[PROTO_DIGEST_SIZE]; /* of what both have in common, as it was compared */
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
    const struct upload_kind *kind; /* NULL: UPLOAD or PUT */
    struct partial *own;            /* of its kind */
    struct loop *loop;
    enum upload_step step;
    struct proto_put put;
    struct gate_waiter waiter;
    bool waiting, entered; /* for, and among the active ones */
    struct meta_find find;
    bool looking, looked;
    bool guessed;               /* the file ID is assumed to be new; adding the row shows */
    struct owners_waiter owner; /* whether the user is one of this group: */
    bool asking, owned;         /* a tracker is asked; it is, or nobody says that it is not */
    struct upload_room *room;   /* NULL, or of storage/upload/upload_room.c */
    struct ids_waiter number;
    struct meta_insert insert;
    struct meta_withdraw withdraw;

    struct store_path *path; /* chosen */
    struct store_file file;
    bool number_used; /* the last number was, or its directory takes no files */
    int collisions;   /* how many of them */
    int64_t
        promised; /* room in the upload journal, which is to promise the file; 0: the file is synced itself */
    int64_t skipping_since_ms;

    bool asks;            /* STORE: the uploader waits for the word that its content is wanted */
    bool reports;         /* STORE: the reply says what became of the content */
    bool digest_follows;  /* PUT_TRAILER: the digest into `put` is still to come, behind the content */
    bool digest_followed; /* it came: after the content, which it has to match before anything else */
    void (*whole)(struct upload *upload); /* what continues when it has */
    struct digest *digest;
    uint8_t digest_bytes[PROTO_DIGEST_SIZE]; /* of the whole content, when it has come */
    uint8_t sha256[DIGEST_SHA256_SIZE];
    bool has_sha256;
    char content_type[PROTO_CONTENT_TYPE_SIZE];
    struct type_note *untyped; /* the content type is to be found out after the reply; else NULL */
    int64_t received;
    struct upload_slot slots[2]; /* the first piece of the content comes into the first one */
    bool came;                   /* it has */
    bool pumping, pump_again;
    bool row_running; /* a job of the database, of its kind; nothing is written meanwhile */

    bool reading;             /* the content is waited for */
    int64_t reading_since_ms; /* and since when */
    struct event *rate_timer; /* NULL: nothing had to be waited for yet */
    int64_t rate_waited_ms;   /* in this window, by reads that have ended */
    int64_t rate_received;    /* bytes at its beginning */

    struct meta_row *rival; /* the row that has the file ID already; into find or insert */
    int rival_fd;           /* its file, while it is compared; -1: not open */
    bool rival_looked;      /* it was looked for */
    bool rival_unreadable;  /* a piece of it could not be read, which may pass */
    enum upload_finding finding;
    struct upload_heal heal;
    bool replaces; /* the row in find.row has lost its file, or gives it up (`from`), and gets this one */
    char from[PROTO_GROUP_SIZE]; /* MOVE: the group that has the file; else "" */
    int64_t seconds;             /* MOVE: the time of the upload, which stays */
    int rounds;                  /* rivals that were met in adding the row */

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

/* How lines of the log about it begin. Returns NAME. */
static inline char *upload_name(const struct upload *upload, char name[PACKET_REQUEST_NAME_SIZE])
{
    return packet_request_name(upload->request, name);
}

static inline bool upload_is_move(const struct upload *upload)
{
    return upload->from[0] != '\0';
}

/* ---- storage/upload/upload_room.c: on the loop ---- */

/* False: it is not known yet whether the user's quota has room, or the upload has been refused and may be gone. */
bool upload_check_room(struct upload *upload);
bool upload_room_asks(const struct upload *upload);
void upload_room_free(struct upload *upload);

/* ---- storage/upload/upload_move.c: on the loop ---- */

/* MOVE: the group's name out of PUT, where it stands in the place of the file's name. */
MUST_CHECK bool upload_move_take(struct proto_put *put, char from[PROTO_GROUP_SIZE], struct error *error);

/* The row of a MOVE was looked up: is it one that moves here (upload->replaces), or did it already? False: the upload has
 * been refused and may be gone. */
bool upload_move_judge(struct upload *upload);

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

/* After upload_conclude(): removes the file or replies, when nothing of the upload is under way elsewhere. */
void upload_settle(struct upload *upload);

/* The file ID turned out to be taken, by the row in find.row: the file of this upload is removed again, then
 * upload_retracted() follows. */
void upload_retract(struct upload *upload);

/* The file is removed, or left: the reply, or upload_retracted(). */
void upload_undone(struct upload *upload);

/* The journal promises nothing of this upload any more. */
void upload_take_back_promise(struct upload *upload);

/* Logs and counts a file that stays without a row. */
void upload_leave_file(struct upload *upload, const char *why);

/* Gives back the memory of the slots that nobody reads into. */
void upload_give_buffers(struct upload *upload);

/* ---- storage/upload/upload_content.c: on the loop ---- */

/* Reads the first piece of the content into the first slot, a small content all; upload_advance() follows, perhaps
 * before this returns. OPTIONAL: only where the budget of memory allows it; false where it does not. */
MUST_CHECK bool upload_gather(struct upload *upload, bool optional);

/* Reads SIZE bytes of the content into BUFFER: DONE follows as from packet_request_read(). Who is too slow is cut. */
void upload_read(struct upload *upload, void *buffer, size_t size,
                 void (*done)(struct packet_request *request, int64_t bytes));

/* To be called first by each DONE. */
void upload_read_ended(struct upload *upload);

/* Keeps the content coming and going to disk; the file is made. */
void upload_pump(struct upload *upload);
void upload_written(struct upload *upload);

/* The content has come whole: WHOLE goes on, once the digest that follows it has come too where there is one.
 * Perhaps before this returns. */
void upload_end_content(struct upload *upload, void (*whole)(struct upload *upload));

/* ---- storage/upload/upload_compare.c: on the loop ---- */

/* upload->rival has the file ID: its file is compared with the content, whose first piece has come. */
void upload_start_compare(struct upload *upload);
void upload_compared(struct upload *upload);

/* upload->rival was added first, while this upload was stored: the two files are compared. */
void upload_meet_rival(struct upload *upload);
void upload_met_rival(struct upload *upload);

/* True where upload->rival says without any comparison that this upload is refused, which has been done then. */
bool upload_refused_by_rival(struct upload *upload);

/* ---- storage/upload/upload_row.c: on the loop ---- */

/* The file is whole and lasts: its row. */
void upload_add_row(struct upload *upload);
void upload_verified(struct upload *upload);
/* Nobody can say whether the new copy of a file that moves is there: its former group has the row again. */
void upload_unverified(struct upload *upload);

/* ---- storage/upload/upload.c ---- */

/* A new one; NULL: REQUEST has been answered. */
MUST_CHECK struct upload *upload_create(struct packet_request *request, const struct proto_put *put,
                                        bool digest_follows);

/* Its application is one of ours, and so is the group that a tracker named, if one did. False: REQUEST has been answered. */
MUST_CHECK bool upload_admits(struct packet_request *request, const struct proto_put *put);

/* Waits for its turn; upload_advance() follows. */
void upload_enter_gate(struct upload *upload);

/* Goes on with what comes next, once the first piece, the place and the look-up are there. */
void upload_advance(struct upload *upload);

/* Nothing is left of what was stored; the content is still at hand. */
void upload_retracted(struct upload *upload);

/* A file ID was taken: look-ups are worth their while for some time. */
void upload_expect_repeats(struct upload *upload);

/* The content is to be stored, from its first piece on. */
void upload_take_number(struct upload *upload);

/* The content is whole in the file: what is left to do before its row is added. */
void upload_finish_heal(struct upload *upload);

void upload_job_done(struct job *job);

/* ---- storage/upload/upload_disk.c: on workers; BLOCK. What they do to the struct is stated; ERROR says why not. ----
 */

/* Creates upload->file with its directories. ERROR_EXISTS: the number was used before. */
MUST_CHECK bool upload_disk_create(struct upload *upload, struct error *error);

/* Writes and digests SLOT; the first one gives the content type. With the last one: the syncs. */
MUST_CHECK bool upload_disk_write(struct upload *upload, const struct upload_slot *slot, struct error *error);

/* Everything of a content that is whole in slot 0 (or empty). On failure the file is removed again. */
MUST_CHECK bool upload_disk_store(struct upload *upload, struct error *error);

/* Closes and removes the file. */
MUST_CHECK bool upload_disk_undo(struct upload *upload, struct error *error);

/* Compares and digests SLOT with the same piece of upload->rival's file: upload->finding. */
MUST_CHECK bool upload_disk_compare(struct upload *upload, const struct upload_slot *slot,
                                    struct error *error);

/* Compares upload->file, which is whole and closed, with upload->rival's file: upload->finding. */
MUST_CHECK bool upload_disk_compare_files(struct upload *upload, struct error *error);

/* ---- storage/upload/upload_judge.c: likewise ---- */

/* Is SHA-256 taken of every upload? */
bool upload_judge_is_strong(const struct storage_config *config);

/* Before the first byte of the content: the digests begin anew. ROW: NULL, or what the content is to be compared with; where
 * that has a SHA-256 the content's is taken too. */
MUST_CHECK bool upload_judge_begin(struct upload *upload, const struct meta_row *row, struct error *error);

/* The digests of the content, which has come whole. */
void upload_judge_digests(struct upload *upload);

/* Is the content, of which the digests are known, what ROW speaks of? Where ROW has a SHA-256 that decides: contents of one
 * XXH3-128 can be made. */
bool upload_judge_is_of_row(const struct upload *upload, const struct meta_row *row);

/* Finds out the content type from the first SIZE bytes of the content. */
void upload_judge_type(struct upload *upload, const void *bytes, size_t size);

/* ERROR_DIGEST where upload->digest_bytes is not what the uploader stated. */
MUST_CHECK bool upload_judge_digest(const struct upload *upload, struct error *error);

/* The content is whole and written: is it what the uploader meant, and does it last? */
MUST_CHECK bool upload_judge_finish(struct upload *upload, struct error *error);

/* ---- storage/upload/upload_heal.c: likewise ---- */

/* upload->rival's file, all of it: UPLOAD_LOST where it is not what its row says, else false with ERROR_EXISTS. */
MUST_CHECK bool upload_heal_judge(struct upload *upload, struct error *error);

/* SLOT of a large content differs from upload->rival's file, which has the row's size: UPLOAD_DOUBT where it may be stored anew. */
MUST_CHECK bool upload_heal_begin(struct upload *upload, const struct upload_slot *slot, struct error *error);

/* A part of the work, by the way of writing SIZE bytes. ERROR_EXISTS: the stored file is what its row says. */
MUST_CHECK bool upload_heal_step(struct upload *upload, size_t size, struct error *error);

/* Behind the last piece: a part of what is left to do; once nothing is left, upload_disk_finish(). */
MUST_CHECK bool upload_heal_end(struct upload *upload, struct error *error);

/* True where nothing of it is left to do. */
static inline bool upload_heal_over(const struct upload *upload)
{
    return !upload->heal.begun || (upload->heal.judged && upload->heal.copied);
}

void upload_heal_free(struct upload *upload);

/* Up to SIZE bytes of the open file FD at OFFSET; fewer at its end only. WRONG (may be NULL): set where the disk cannot
 * read them, which is no failure then and ends the reading. */
MUST_CHECK bool upload_heal_read(int fd, void *bytes, size_t size, int64_t offset, size_t *got, bool *wrong,
                                 struct error *error);

/* ---- storage/upload/upload_disk.c again ---- */

/* upload->file, which the journal was to promise, is synced itself. */
MUST_CHECK bool upload_disk_sync(struct upload *upload, struct error *error);

/* Is upload->file there, whole? upload->finding. */
MUST_CHECK bool upload_disk_verify(struct upload *upload, struct error *error);

#endif
