/*
 * meta_rename: RENAME of a file row: another original file name, written only over the row as it was read, so that of two
 * changes at once one wins and a statement that arrives late changes nothing. Called by storage/request.
 */
#ifndef REEL_STORAGE_META_RENAME_H
#define REEL_STORAGE_META_RENAME_H

#include "storage/rows/meta.h"

struct meta_rename {
    struct proto_file_key key;
    char name[PROTO_NAME_SIZE];
    struct loop *loop;
    void (*done)(struct meta_rename *rename);
    /* out */
    enum meta_result
        result; /* META_FAILED: ERROR, also of a file that is deleted, damaged or another group's */
    struct error error;
    /* private */
    struct meta *meta;
    struct db_job job;
    int64_t change_id; /* of this change, and that of the row when it was tried last */
    int64_t tried_id;
    bool uncertain; /* the answer to a try was lost */
};
/* RENAME stays valid until its done(), which runs on its loop, never inside the call. False: the database's queue is full
 * or the server is stopping; done() is not called. */
MUST_CHECK bool meta_rename(struct meta *meta, struct meta_rename *rename, struct error *error);

#endif
