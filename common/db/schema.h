/*
 * schema: creates what is missing in a database and brings an older one, the predecessor's too, up to date, from the
 * scripts in sql/ that are compiled in. Every step checks first what is there, so that it may be run at any time.
 */
#ifndef REEL_COMMON_SCHEMA_H
#define REEL_COMMON_SCHEMA_H

#include "common/base/error.h"
#include <stdio.h>

/* A daemon's script for one back end, as sql/ holds it (see sql/README.md for the conditions in its comments). */
struct schema_scripts {
    const char *name;   /* "tracker": for messages */
    const char *sqlite; /* NUL-terminated text: creates what is missing */
    const char *mysql;
    const char
        *sqlite_upgrade; /* run after it: brings older tables up to date; "" or NULL where there is none */
    const char *mysql_upgrade;
};

/* Connects to URL, creates the database itself where it is missing, runs what is needed, reports each step on OUT (may be
 * NULL). BLOCKS; --init-db, tests. */
MUST_CHECK bool schema_apply(const char *url, const struct schema_scripts *scripts, FILE *out,
                             struct error *error);

#endif
