/*
 * reel_content: where the bytes of an upload come from: a part of a file, or memory. A source whose size is not
 * known beforehand is first read into an unlinked temporary file. Everything here blocks, in the calling
 * thread. Private to the blocking face.
 */
#ifndef REEL_CLIENT_REEL_CONTENT_H
#define REEL_CLIENT_REEL_CONTENT_H

#include "client/reel.h"
#include "common/base/base.h"
#include "common/proto/proto.h"

#include <sys/stat.h>

/* SIZE bytes of FD from START, or of MEMORY. */
struct content {
    int fd; /* -1: memory */
    int64_t start;
    const uint8_t *memory;
    int64_t size;
    bool owned;        /* FD is a temporary file of ours */
    bool to_the_end;   /* of a file that others may write to: nothing may follow the last byte */
    struct stat begun; /* of such a file, before the first byte was read */
};

/* SIZE bytes of FD from its position (-1: to its end) as CONTENT, which content_clear() ends. What is no regular
 * file, and a file that says it is empty and is not, is spooled; PREPARING (may be NULL) reports that. */
MUST_CHECK bool content_open(struct content *content, int fd, int64_t size, reel_progress preparing,
                             void *argument, struct error *error);
void content_clear(struct content *content);

/* Reads exactly SIZE bytes at POSITION of the content. With its last byte, looks whether the file is still what it
 * was: one that grew, or was written to meanwhile, is ERROR_IO. */
MUST_CHECK bool content_read(const struct content *content, uint8_t *buffer, size_t size, int64_t position,
                             struct error *error);

/* The file is still what it was, and has not grown: else ERROR_IO. */
MUST_CHECK bool content_unchanged(const struct content *content, struct error *error);

/* The digest of the whole content. */
MUST_CHECK bool content_digest(const struct content *content, reel_progress preparing, void *argument,
                               uint8_t digest[PROTO_DIGEST_SIZE], struct error *error);

#endif
