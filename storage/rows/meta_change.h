/*
 * meta_change: DELETE and RESTORE of a file row: it is changed only as it was read, so that of two changes at once one
 * wins and the other sees it. Called by storage/request.
 */
#ifndef REEL_STORAGE_META_CHANGE_H
#define REEL_STORAGE_META_CHANGE_H

#include "storage/rows/meta.h"

enum meta_change_outcome {
    META_CHANGED,
    META_ALREADY, /* it had that status */
    META_NO_ROW,
    META_FOREIGN,   /* another group's: ERROR */
    META_UNCHANGED, /* the database failed, or did not say whether it was done: ERROR */
};
struct meta_change {
    struct proto_file_key key;
    enum proto_file_status status; /* wanted */
    struct loop *loop;
    void (*done)(struct meta_change *change);
    /* out */
    enum meta_change_outcome outcome;
    struct meta_row row; /* as it is now, for META_CHANGED and META_ALREADY */
    struct error error;
    /* private */
    struct meta *meta;
    struct db_job job;
    int64_t version;   /* of the row, once it is changed */
    int64_t change_id; /* of this change, see struct meta_row */
    int64_t now;       /* seconds since the epoch, when it was first run */
    bool dated;        /* that, and the version, were chosen */
    bool uncertain;    /* the answer to an UPDATE was lost, which named the row TRIED */
    struct meta_row tried;
    int runs;
};
/* CHANGE stays valid until its done(), which runs on its loop, never inside the call. False: the database's queue is full
 * or the server is stopping; done() is not called. */
MUST_CHECK bool meta_change(struct meta *meta, struct meta_change *change, struct error *error);

#endif
