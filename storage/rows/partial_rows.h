/*
 * partial_rows: the jobs over the rows of partial uploads: added, looked at, taken over, recorded, ended. Called by the
 * partial uploads of storage/upload, on a request's loop; each takes a struct that stays valid until its done(), which runs on
 * its loop, never inside the call. False: the database's queue is full or the server is stopping; done() is not called.
 */
#ifndef REEL_STORAGE_PARTIAL_ROWS_H
#define REEL_STORAGE_PARTIAL_ROWS_H

#include "storage/rows/meta.h"
#include "storage/rows/partial_sql.h"

struct partial_job {
    struct meta *meta;
    struct loop *loop;
    void (*done)(struct partial_job *job);
    struct proto_file_key key; /* as the request states it: what has another one is not found */
    struct partial_row row;    /* token is set; in and out */
    /* partial_rows_take(): may it be taken over, as ROW is now? Else ERROR says why not. On a database thread, perhaps
     * several times. */
    bool (*allowed)(struct partial_job *job, struct error *error);
    enum partial_state state; /* that it is to have; of partial_rows_record(): that it has */
    int64_t claim;
    bool release; /* partial_rows_record(): nothing is written to its file any more */
    struct partial_limits limits;
    bool
        weighs; /* the user's quota must have room, at the beginning, each time it is taken, and while it is written, */
    int64_t weight; /* for so many bytes of this one beside all others. ERROR_QUOTA */
    int64_t
        deadline_ms; /* partial_rows_add(), partial_rows_move(): clock_boot_ms() from when on nothing is done */
    /* out */
    bool fine;      /* else ERROR */
    bool refused;   /* ERROR is not the database's: it says what the row does not allow */
    bool uncertain; /* not fine, and it may have been done all the same */
    struct error error;
    /* private */
    struct db_job job;
};

/* A new row. ERROR_THROTTLED: there are too many. */
MUST_CHECK bool partial_rows_add(struct partial_job *job, struct error *error);

/* The row as it is. ERROR_NOT_FOUND, also for one that is being removed; ERROR_OTHER_GROUP. */
MUST_CHECK bool partial_rows_find(struct partial_job *job, struct error *error);

/* The same, and it is ours with its next epoch; a fresh CLAIM is chosen. */
MUST_CHECK bool partial_rows_take(struct partial_job *job, struct error *error);

/* What ROW says of offset, size and state is recorded. ERROR_UNAVAILABLE: another one has taken it over. */
MUST_CHECK bool partial_rows_record(struct partial_job *job, struct error *error);

/* The file that ROW says is its file from now on, see partial_sql_move(). ERROR_UNAVAILABLE as above. */
MUST_CHECK bool partial_rows_move(struct partial_job *job, struct error *error);

/* It is stored, see partial_sql_store(). ERROR_UNAVAILABLE as above. */
MUST_CHECK bool partial_rows_store(struct partial_job *job, struct error *error);

/* Rows that a request works on for long, so that they do not expire meanwhile. */
struct partial_keeping {
    struct meta *meta;
    struct loop *loop;
    void (*done)(struct partial_keeping *keeping); /* whatever came of it */
    struct partial_row *rows;                      /* as they were taken */
    size_t count;
    /* private */
    struct db_job job;
};

/* Each that is still this request's keeps for its time from now. */
MUST_CHECK bool partial_rows_keep(struct partial_keeping *keeping, struct error *error);

/* The row goes; it is being removed. */
MUST_CHECK bool partial_rows_remove(struct partial_job *job, struct error *error);

/* The parts of a file, of the application and user of KEY. */
struct partial_parts {
    struct meta *meta;
    struct loop *loop;
    void (*done)(struct partial_parts *parts);
    struct proto_file_key key;
    struct partial_row *rows; /* tokens are set */
    size_t count;
    int64_t claim; /* whose they are while they are joined */
    /* out */
    int64_t bytes; /* of all */
    bool fine;     /* else ERROR */
    struct error error;
    /* private */
    struct db_job job;
    bool judged;
};

/* Each is whole and is taken over; it stays open. ERROR_NOT_FOUND, ERROR_RANGE, ... */
MUST_CHECK bool partial_rows_take_parts(struct partial_parts *parts, struct error *error);

/* Those that nobody else has taken over since are to be removed. */
MUST_CHECK bool partial_rows_purge_parts(struct partial_parts *parts, struct error *error);

#endif
