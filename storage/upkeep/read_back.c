/*
 * read_back: reads pieces of 256 KiB, and waits after each of them.
 */
#include "storage/upkeep/read_back.h"

#include "common/proto/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_SIZE ((size_t)256 * 1024)

static bool read_pieces(struct keeper *keeper, int fd, struct digest *digest, uint8_t *buffer,
                        struct read_back *back, struct error *error)
{
    for (;;) {
        ssize_t size = read(fd, buffer, READ_SIZE);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0)
            return error_set_errno(error, errno, "cannot read it back");
        if (size == 0)
            return true;
        digest_update(digest, buffer, (size_t)size);
        back->bytes += size;
        metric_add(keeper->metrics.scrub_bytes, size);
        if (!keeper_throttle(keeper, size))
            return error_set(error, ERROR_CANCELLED, "interrupted");
    }
}

bool read_back_file(struct keeper *keeper, int fd, const struct meta_row *row, struct read_back *back,
                    struct error *error)
{
    bool strong = keeper->config->sha256 != OPTIONS_SHA256_NEVER || row->has_sha256;
    struct digest *digest = strong ? digest_create_strong() : digest_create();
    uint8_t *buffer = malloc(READ_SIZE);
    memset(back, 0, sizeof(*back));
    bool fine = (digest && buffer) || error_set(error, ERROR_CANCELLED, "no memory to read a file back");
    if (fine) {
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* from the disk, not from memory */
        fine = read_pieces(keeper, fd, digest, buffer, back, error);
    }
    if (fine) {
        digest_final(digest, back->digest);
        back->has_sha256 = digest_final_sha256(digest, back->sha256);
    }
    free(buffer);
    digest_destroy(digest);
    return fine;
}

const char *read_back_wrong(const struct read_back *back, const struct meta_row *row)
{
    if (row->stat.has_digest && memcmp(row->stat.digest, back->digest, PROTO_DIGEST_SIZE) != 0)
        return "its bytes do not have the digest of the row";
    if (row->has_sha256 && back->has_sha256 && memcmp(row->sha256, back->sha256, sizeof(back->sha256)) != 0)
        return "its bytes do not have the SHA-256 of the row";
    return NULL;
}
