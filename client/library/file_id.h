/*
 * file_id: the names that a client gives its files (docs/protocol.md, "File IDs and store paths"). Touches
 * the clock, the kernel's random numbers and a process-wide counter. Any thread; never blocks once the system
 * has booted.
 */
#ifndef REEL_CLIENT_FILE_ID_H
#define REEL_CLIENT_FILE_ID_H

#include "common/base/base.h"
#include "common/base/error.h"

#define FILE_ID_SIZE 37 /* NUL included */

/* A new file ID for USER: seconds 8 and microseconds 6 (hex), 16 hex digits of a digest over user, process,
 * thread and randomness, a counter 4 and a random number 2 (decimal). */
MUST_CHECK bool file_id_make(const char *user, char id[FILE_ID_SIZE], struct error *error);

#endif
