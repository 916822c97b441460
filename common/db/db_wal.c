/*
 * db_wal: see db_wal.h. Called by db_sqlite.c from inside of commits.
 */
#include "common/db/db_wal.h"

#include "common/base/condition.h"
#include "common/loop/loop.h"

#include <sqlite3.h>

#define ROOM         "db"
#define LOG_PAUSE_MS 60000

/* With a connection of its own, so that a file that was put in the place of the former one is the one that is opened. Nobody waits for it,
 * nor it for anybody: what somebody is reading, or has not committed yet, is left for the next time. */
static int bring_into_file(const char *path)
{
    sqlite3 *handle = NULL;
    int code = sqlite3_open_v2(path, &handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (code == SQLITE_OK) /* the second one reads, which opens the WAL */
        code = sqlite3_exec(handle, "PRAGMA synchronous = NORMAL; PRAGMA schema_version", NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_wal_checkpoint_v2(handle, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    (void)sqlite3_close(handle);
    return code;
}

static void wal_note(struct db_wal *wal, int code)
{
    int kind = code & 0xff;
    if (kind == SQLITE_OK || kind == SQLITE_BUSY || kind == SQLITE_LOCKED ||
        !log_gate_open(&wal->gate, LOG_PAUSE_MS, NULL))
        return;
    log_warning(ROOM,
                "database %s: what is in its WAL could not be brought into the file and stays there: %s",
                wal->url->text, sqlite3_errstr(code));
}

static void *wal_main(void *argument)
{
    struct db_wal *wal = argument;
    pthread_mutex_lock(&wal->lock);
    while (!wal->stopping) {
        if (!wal->wanted) {
            pthread_cond_wait(&wal->due, &wal->lock);
            continue;
        }
        wal->wanted = false;
        pthread_mutex_unlock(&wal->lock);
        wal_note(wal, bring_into_file(wal->url->path));
        pthread_mutex_lock(&wal->lock);
        wal->runs++;
    }
    pthread_mutex_unlock(&wal->lock);
    return NULL;
}

bool db_wal_init(struct db_wal *wal, struct error *error)
{
    *wal = (struct db_wal){0};
    int failure = pthread_mutex_init(&wal->lock, NULL);
    if (failure != 0)
        return error_set_errno(error, failure, "database: cannot create a mutex");
    if (condition_init(&wal->due, error))
        return true;
    (void)pthread_mutex_destroy(&wal->lock);
    return false;
}

void db_wal_destroy(struct db_wal *wal)
{
    pthread_mutex_lock(&wal->lock);
    wal->stopping = true;
    pthread_cond_signal(&wal->due);
    pthread_mutex_unlock(&wal->lock);
    if (wal->started)
        (void)pthread_join(wal->thread, NULL);
    (void)pthread_cond_destroy(&wal->due);
    (void)pthread_mutex_destroy(&wal->lock);
}

/* Under the lock. False: there is no thread, and none can be started now. */
static bool wal_ask(struct db_wal *wal, const struct db_url *url)
{
    struct error error = {0};
    if (!wal->started)
        wal->url = url; /* which the thread reads without the lock */
    if (!wal->started && !loop_thread_start(&wal->thread, "db-wal", wal_main, wal, &error)) {
        if (log_gate_open(&wal->gate, LOG_PAUSE_MS, NULL))
            log_warning(ROOM, "database %s: uploads wait while its WAL is brought into the file: %s",
                        url->text, error.text);
        return false;
    }
    wal->started = wal->wanted = true;
    pthread_cond_signal(&wal->due);
    return true;
}

bool db_wal_grew(struct db_wal *wal, const struct db_url *url, int pages)
{
    bool asked = true;
    pthread_mutex_lock(&wal->lock);
    if (pages < wal->asked) /* it began anew */
        wal->asked = 0;
    if (pages - wal->asked >= DB_WAL_STEP) {
        wal->asked = pages;
        asked = wal_ask(wal, url);
    }
    pthread_mutex_unlock(&wal->lock);
    return !asked || pages >= DB_WAL_MAX;
}
