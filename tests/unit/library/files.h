/*
 * files: small files of unit tests, written and read whole, and the directory that goes with all that is in it. What cannot
 * be done fails the test.
 */
#ifndef REEL_TESTS_FILES_H
#define REEL_TESTS_FILES_H

#include <stddef.h>

/* A file of mode 0600 with just these bytes. */
void write_file(const char *path, const void *bytes, size_t size);
void write_text(const char *path, const char *text);
/* Up to 8191 bytes, in one buffer of all calls. */
const char *read_text(const char *path);
void assert_file_is(const char *path, const void *bytes, size_t size);
void remove_tree(const char *directory);

#endif
