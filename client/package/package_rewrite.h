/*
 * package_rewrite: what the readers of playlists share: whom they ask about a URI, and the text that results
 * from replacing some of them. Pure; any thread.
 */
#ifndef REEL_CLIENT_PACKAGE_REWRITE_H
#define REEL_CLIENT_PACKAGE_REWRITE_H

#include "common/base/base.h"
#include "common/base/error.h"

#include <stdio.h>

/* What a URI names. */
enum package_use {
    PACKAGE_SEGMENT, /* anything that is stored as it is */
    PACKAGE_NEXT,    /* a playlist */
};

/* What a playlist is read for. */
struct package_reader {
    /* The link that stands for URI, owned by the caller; NULL: ERROR. */
    char *(*link)(void *argument, const char *uri, enum package_use use, struct error *error);
    void *argument;
};

/* A text in which places are replaced, in their order. */
struct package_edit {
    const char *text;
    size_t size, done; /* DONE: how much of it is written */
    FILE *to;
    char *result;
    size_t result_size;
};

MUST_CHECK bool package_edit_begin(struct package_edit *edit, const char *text, size_t size,
                                   struct error *error);
/* REPLACEMENT for the SIZE bytes at OFFSET, which lie behind everything that was replaced before. */
void package_edit_replace(struct package_edit *edit, size_t offset, size_t size, const char *replacement);
/* The new text, owned by the caller, with a NUL behind its SIZE bytes. NULL: without memory, or not GOOD. */
char *package_edit_end(struct package_edit *edit, bool good, size_t *size, struct error *error);

/* The line of TEXT that OFFSET lies in, from 1. */
int package_line(const char *text, size_t offset);

#endif
