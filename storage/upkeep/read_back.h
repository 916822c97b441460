/*
 * read_back: a file's bytes read from the disk, within the upkeep's rate, and their digests. Called by
 * storage/upkeep/scrub.c and storage/upkeep/quarantine.c, on the upkeep's thread; BLOCKS.
 */
#ifndef REEL_STORAGE_READ_BACK_H
#define REEL_STORAGE_READ_BACK_H

#include "storage/rows/meta_sql.h"
#include "storage/upkeep/keeper.h"

struct read_back {
    int64_t bytes; /* that were read, also where it failed */
    uint8_t digest[PROTO_DIGEST_SIZE], sha256[DIGEST_SHA256_SIZE];
    bool has_sha256; /* false where neither the row has one nor storage.sha256 asks for it */
};

/* FD from where it stands to its end; ROW: what it is compared with. False with ERROR; ERROR_CANCELLED when the upkeep is to pause. */
MUST_CHECK bool read_back_file(struct keeper *keeper, int fd, const struct meta_row *row,
                               struct read_back *back, struct error *error);

/* NULL, or in which way the bytes are not those that ROW speaks of, as words for a report. */
const char *read_back_wrong(const struct read_back *back, const struct meta_row *row);

#endif
