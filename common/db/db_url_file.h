/*
 * db_url_file: a database URL from a file of its own, so that its password stands neither in a configuration that many may
 * read nor on a command line. Reads that file and nothing else; BLOCKS; called at the start and by --init-db, --backup.
 */
#ifndef REEL_COMMON_DB_URL_FILE_H
#define REEL_COMMON_DB_URL_FILE_H

#include "common/base/base.h"
#include "common/base/error.h"

/* The one line of the file NAME: a path, or, without a slash, the name of a credential of the service manager
 * ($CREDENTIALS_DIRECTORY, systemd's LoadCredential=). Freed by db_url_file_forget(). NULL: ERROR names the file and shows
 * nothing of what is in it. */
MUST_CHECK char *db_url_file_read(const char *name, struct error *error);

/* Overwrites and frees. NULL is ignored. */
void db_url_file_forget(char *url);

#endif
