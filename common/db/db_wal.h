/*
 * db_wal: brings the WAL of a SQLite database into its file beside the relaxed transactions that fill it, on a thread of its
 * own, which is started when it is first needed. SQLite has one of those who commit do it, and that one, and whoever
 * writes behind it, waits for the disk meanwhile. Private to db. Any thread.
 */
#ifndef REEL_COMMON_DB_WAL_H
#define REEL_COMMON_DB_WAL_H

#include "common/base/error.h"
#include "common/base/log.h"
#include "common/db/db_url.h"

#include <pthread.h>

/* In pages of SQLite, mostly 4 KiB. */
#define DB_WAL_STEP 1000 /* so many more in the WAL, and they are brought into the file */
/* SQLite only begins anew at the front of its WAL where nothing is left in it that is not in the file: from here on a commit sees to
 * that itself. */
#define DB_WAL_MAX 16000

struct db_wal {
    pthread_mutex_t lock;
    pthread_cond_t due;
    /* Under the lock. */
    bool started, wanted, stopping;
    int asked; /* pages in the WAL when the thread was last asked */
    int runs;  /* of the thread */
    /* The thread's. */
    pthread_t thread;
    const struct db_url *url;
    struct log_gate gate;
};

/* Fails without a mutex. */
MUST_CHECK bool db_wal_init(struct db_wal *wal, struct error *error);
/* Waits for the thread. */
void db_wal_destroy(struct db_wal *wal);

/* A commit has left PAGES in the WAL of the database at URL, which outlives WAL. True: the caller is to bring them into the
 * file before anybody else writes. Does not wait for the disk. */
MUST_CHECK bool db_wal_grew(struct db_wal *wal, const struct db_url *url, int pages);

#endif
