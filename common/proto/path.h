/*
 * path: where a stored file lies below its store path: "AAA/BBB/CCC/SSSSSSSS_DDD", made of the ID server's
 * value (four base-512 digits, three upper-case hex digits each) and the time of the upload
 * (docs/protocol.md, "File IDs and store paths"). The one place that knows this form. Pure; called by everything that makes or
 * reads a file_path, and by the check of WHERE's reply.
 */
#ifndef REEL_PROTO_PATH_H
#define REEL_PROTO_PATH_H

#include "common/base/base.h"

#define PATH_TEXT_SIZE       25                  /* "AAA/BBB/CCC/SSSSSSSS_DDD" and its NUL */
#define PATH_VALUES          (INT64_C(1) << 36)  /* 512^4 numbers fit in one store path */
#define PATH_SECONDS_MAX     INT64_C(0xFFFFFFFF) /* eight hex digits: until the year 2106 */
#define PATH_DIRECTORY_DEPTH 3                   /* AAA, AAA/BBB, AAA/BBB/CCC */

struct path {
    int64_t value;   /* 0..PATH_VALUES - 1 */
    int64_t seconds; /* since the epoch, 0..PATH_SECONDS_MAX: when the file was uploaded */
};

/* False (and an empty TEXT) when a member is out of its bounds. */
MUST_CHECK bool path_format(const struct path *path, char text[PATH_TEXT_SIZE]);

/* Exactly the form that path_format() writes, nothing before or after it; anything else is refused, since it
 * comes from a row of a database. */
MUST_CHECK bool path_parse(const char *text, struct path *path);

/* How many bytes at the beginning of TEXT (LENGTH bytes, no NUL needed) have that form: all of them and PATH_TEXT_SIZE - 1
 * for a place; else the offset of the first that is wrong or missing. */
size_t path_fits(const char *text, size_t length);

/* The directory of VALUE at DEPTH 1..PATH_DIRECTORY_DEPTH: "AAA", "AAA/BBB" or "AAA/BBB/CCC"; depth 0 gives
 * ".". */
void path_directory(int64_t value, int depth, char text[PATH_TEXT_SIZE]);

/* A number that distinguishes the directory at DEPTH from every other one: for caches. */
int64_t path_directory_number(int64_t value, int depth);

#endif
