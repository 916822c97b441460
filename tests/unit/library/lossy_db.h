/*
 * lossy_db: stands between a room and the real database (linked with --wrap, see tests/CMakeLists.txt) and loses
 * an answer at the moment that a test names: the statement runs or not, something happens meanwhile, and the
 * caller gets what the test wants. Included by tests only.
 */
#ifndef REEL_TESTS_LOSSY_DB_H
#define REEL_TESTS_LOSSY_DB_H

#include "common/db/db.h"

struct lossy_db {
    const char *
        beginning; /* of the statement that is met, once; "BEGIN" and "COMMIT" are db_begin() and db_commit() */
    int skip;      /* so many that begin so pass unharmed before */
    bool runs;     /* the statement reaches the database */
    enum db_result result; /* what the caller hears, where `reports` */
    bool reports;
    void (*meanwhile)(void *argument); /* on the database thread, after the statement; may be NULL */
    void *argument;
    int late; /* > 0: the statement runs after all, when so many further UPDATEs have ended */
};

/* Arms it; NULL disarms. Not while a job is under way. */
void lossy_db_arm(const struct lossy_db *lossy);
/* True when the statement was met. */
bool lossy_db_met(void);
/* Statements of a kind since the last arming: those that begin with BEGINNING. */
int lossy_db_count(const char *beginning);

#endif
