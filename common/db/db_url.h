/*
 * db_url: the URL of a database, taken apart and checked. Pure apart from allocation; private to db and
 * schema (others use db_url_check() and db_url_redact() of common/db/db.h, which live here too).
 */
#ifndef REEL_COMMON_DB_URL_H
#define REEL_COMMON_DB_URL_H

#include "common/base/address.h"
#include "common/db/db.h"

#define DB_URL_HOSTS_MAX 16
#define DB_URL_TEXT_SIZE 256 /* of the redacted text; a longer one is cut */

/* Is the connection to a MySQL server encrypted? */
enum db_tls {
    DB_TLS_UNSAID,   /* to this machine: where the account needs it; to another: as required */
    DB_TLS_OFF,      /* never */
    DB_TLS_PREFER,   /* where the server offers it; nothing is verified */
    DB_TLS_REQUIRED, /* or there is no connection; with `ca` the server's certificate and name are verified */
};

struct db_url {
    enum db_backend backend;
    char text[DB_URL_TEXT_SIZE]; /* redacted: for logs and errors */

    /* MySQL */
    char *user, *password, *database; /* owned; decoded; password "" where none was given */
    char *socket;                     /* owned; "": TCP */
    struct address_list hosts;        /* at least one; failover in order */
    int64_t connect_timeout_ms, read_timeout_ms, write_timeout_ms;
    enum db_tls tls;
    char *ca;          /* owned; file of certificates; "": none */
    bool causal_reads; /* Galera: a read waits for what other nodes have committed before it */

    /* SQLite */
    char *path; /* owned; decoded */
    int64_t busy_timeout_ms;
};

/* Fills URL; on failure it is left cleared. No error text ever holds a part of the password, not even where TEXT is
 * misspelt so that the position of the password is unknown. */
MUST_CHECK bool db_url_parse(const char *text, struct db_url *url, struct error *error);

/* Is HOST (an index into hosts) of the URL this machine: by a socket or a loopback address? */
bool db_url_is_local(const struct db_url *url, size_t host);

/* Frees what it owns (the password is overwritten first) and zeroes it. */
void db_url_clear(struct db_url *url);

#endif
