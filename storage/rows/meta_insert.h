/*
 * meta_insert: new file rows: added, put in the place of a row whose file is lost, and taken back. A row counts once the
 * database has committed it; where the connection broke, it is asked whose row is there. Called by uploads.
 *
 * Each function takes a struct that stays valid until its done(), which runs on its loop, never inside the call. False:
 * the database's queue is full or the server is stopping; done() is not called.
 */
#ifndef REEL_STORAGE_META_INSERT_H
#define REEL_STORAGE_META_INSERT_H

#include "storage/rows/insert_batch.h"
#include "storage/rows/meta.h"

enum meta_insert_outcome {
    META_INSERTED, /* the row is there and is ours, also when the database had to be asked twice */
    META_TAKEN,    /* another row has the key, or REPLACES is not what it was: OTHER */
    META_NOT_DONE, /* surely no row was made: ERROR */
    META_UNKNOWN,  /* the database did not say: ERROR */
    META_UNWRITTEN, /* the upload journal could not be written: nothing was done, it may come again without it */
};
struct meta_insert {
    struct proto_file_key key;
    struct meta_row row; /* stat, file_path, path, place */
    const struct meta_row
        *replaces; /* NULL, or the row of KEY whose file is lost or damaged: ROW takes its place */
    const char *
        moves_from; /* with REPLACES: the group that has had the file, which has lost nothing but moves here; else NULL */
    const uint8_t *
        content; /* NULL, or what the upload journal is to promise: ROW.stat.size bytes; not where a row is replaced */
    int64_t deadline_ms; /* clock_boot_ms() from when on no row is added; 0: none */
    /* NULL, or what must still be so when the row is added or takes another's place: asked in its transaction, which keeps it so. *HOLDS
     * false: nothing is done, with ERROR. On a database thread, perhaps several times. */
    enum db_result (*holds)(struct meta_insert *insert, struct db_connection *connection, bool *holds,
                            struct error *error);
    /* An earlier request may have added a row of this very file, which then was deleted and purged, and the file with it: no row is added
     * unless the file is there. */
    bool shared;
    struct loop *loop;
    void (*done)(struct meta_insert *insert);
    /* out; ROW has its version */
    enum meta_insert_outcome outcome;
    bool anew; /* with REPLACES: that row was purged meanwhile, and ROW is a new one */
    struct meta_row other;
    struct error error;
    /* private */
    struct meta *meta;
    struct insert_item item;
    struct db_job job; /* where a row is replaced */
    uint64_t epoch;    /* of the key when it was asked for */
    int64_t expires;   /* as asked for: a row whose place is taken keeps its own, one that is ANEW has this */
    int refusals;
    bool late, refused; /* refused: with the error, whatever the database would say to it; nothing was done */
    /* ROW's file had a row already, from an earlier statement or another request: it may have been changed since. */
    bool met;
    bool
        purged; /* SHARED, or after a lost answer: the file is not there any more, or its volume does not say */
};
MUST_CHECK bool meta_insert(struct meta *meta, struct meta_insert *insert, struct error *error);

/* Takes back a row that meta_insert() has just added or put in another's place and that was reported to nobody, since its
 * file turned out not to be there. One that was put in the place of another, which was reported once, gets the former
 * place and state again: that file may come back. */
struct meta_withdraw {
    struct proto_file_key key;
    struct meta_row row;             /* as meta_insert() left it */
    const struct meta_row *replaced; /* NULL, or as REPLACES there, unless the row is ANEW */
    const char *moves_from;          /* as there: the row is about the file's former copy again */
    struct loop *loop;
    void (*done)(struct meta_withdraw *withdraw);
    /* out */
    bool fine; /* no row says that the file is there; else ERROR */
    struct error error;
    /* private */
    struct meta *meta;
    struct db_job job;
};
MUST_CHECK bool meta_withdraw(struct meta *meta, struct meta_withdraw *withdraw, struct error *error);

#endif
