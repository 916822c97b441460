/*
 * db_mute: hosts of a database that accept connections and send no greeting, like a server that is stopped or whose disk hangs: the
 * kernel accepts in its place. Each connection that is given up before the greeting is one that the server counts against
 * this machine once it goes on, and after max_connect_errors of them (100, unless somebody has raised it) it refuses the machine until
 * somebody unblocks it by hand. So one connection per host is left open, and nobody makes another one until it is greeted.
 * Private to db. Any thread.
 */
#ifndef REEL_COMMON_DB_MUTE_H
#define REEL_COMMON_DB_MUTE_H

#include "common/base/address.h"
#include "common/db/db_url.h"

#include <pthread.h>

struct db_mute {
    pthread_mutex_t lock;
    struct db_mute_host {
        int fd;           /* the connection that is left open; -1: none */
        bool connecting;  /* a thread is about to open it */
        int64_t since_ms; /* monotonic: when it was opened */
    } hosts[DB_URL_HOSTS_MAX];
};

/* Fails without a mutex. */
MUST_CHECK bool db_mute_init(struct db_mute *mute, struct error *error);
void db_mute_destroy(struct db_mute *mute);

/* HOST (an index into the URL's hosts, at ADDRESS) has accepted a connection and not greeted it: leaves one open from here on. BLOCKS:
 * looks the name up, and connects for at most TIMEOUT_MS. Where that fails nothing is left open. */
void db_mute_note(struct db_mute *mute, size_t host, const struct address *address, int64_t timeout_ms);

/* Is HOST still silent? *SILENT_MS: for how long. False: it has greeted, ended the connection or gone away since, or none is left open;
 * whoever asks connects. Does not block. */
MUST_CHECK bool db_mute_lasts(struct db_mute *mute, size_t host, int64_t *silent_ms);

#endif
