/*
 * db_backup: a copy of an SQLite database while daemons use it, by SQLite's online backup. Reads the database of a URL, writes
 * one file; called by --backup. BLOCKS.
 */
#ifndef REEL_COMMON_DB_BACKUP_H
#define REEL_COMMON_DB_BACKUP_H

#include "common/base/base.h"
#include "common/base/error.h"
#include <stdio.h>

/* Copies the database of URL, as it is at one moment, everything acknowledged until then included, to PATH: written beside it,
 * checked, synced, and put in the place of an older file of that name only when it is whole; mode 0640. Reports to OUT (may be
 * NULL). False: PATH is as it was, and ERROR says why; for MySQL, what to use instead. */
MUST_CHECK bool db_backup(const char *url, const char *path, FILE *out, struct error *error);

#endif
