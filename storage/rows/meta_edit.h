/*
 * meta_edit: RENAME and EXPIRE of a file row: another original file name, another time of expiry; written only over the row as it was
 * read, so that of two changes at once one wins and a statement that arrives late changes nothing. Called by storage/request.
 */
#ifndef REEL_STORAGE_META_EDIT_H
#define REEL_STORAGE_META_EDIT_H

#include "storage/rows/meta.h"

enum meta_edit_kind {
    META_EDIT_NAME,
    META_EDIT_EXPIRES, /* expires: a time of expiry as in struct proto_put; 0: it is only asked for */
};
struct meta_edit {
    struct proto_file_key key;
    enum meta_edit_kind kind;
    char name[PROTO_NAME_SIZE];
    int64_t expires;
    struct loop *loop;
    void (*done)(struct meta_edit *edit);
    /* out */
    enum meta_result
        result;          /* META_FAILED: ERROR, also of a file that is deleted, damaged or another group's */
    struct meta_row row; /* META_DONE: as it was before */
    int64_t wanted;      /* META_DONE: the time of expiry as it is now; 0: never */
    struct error error;
    /* private */
    struct meta *meta;
    struct db_job job;
    int64_t change_id; /* of this change, and that of the row when it was tried last */
    int64_t tried_id;
    bool uncertain; /* the answer to a try was lost */
    bool dated;     /* `wanted` was chosen */
};
/* EDIT stays valid until its done(), which runs on its loop, never inside the call. False: the database's queue is full
 * or the server is stopping; done() is not called. */
MUST_CHECK bool meta_edit(struct meta *meta, struct meta_edit *edit, struct error *error);

#endif
