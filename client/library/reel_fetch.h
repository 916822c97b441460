/*
 * reel_fetch: one download, from the first server that answers to the last byte, over as many servers as it
 * takes; where the bytes go is the caller's business. Blocks, in the calling thread. Private to the blocking face.
 */
#ifndef REEL_CLIENT_REEL_FETCH_H
#define REEL_CLIENT_REEL_FETCH_H

#include "client/library/reel_internal.h"
#include "common/proto/digest.h"

struct fetch {
    struct reel_wait wait;
    struct proto_file_key key;
    int64_t offset, size; /* what the next request asks for; size 0: to the end */
    bool has_expected;    /* the file's digest when the download began: no other content is taken */
    uint8_t expected[PROTO_DIGEST_SIZE];
    bool one_piece; /* which content it is of could not be asked: it is not resumed */
    bool has_avoid;
    struct address avoid;
    struct packet_call *call; /* handed over */
    bool reusable;

    int64_t done, total; /* of this download; total -1 until the first reply */
    uint8_t *buffer;
    struct digest *digest; /* NULL: not asked for */
    reel_data data;        /* set by the caller after fetch_init() */
    void *data_argument;
    const struct reel_download *download;
    int64_t before; /* bytes that were there already, for the progress */
};

/* For DOWNLOAD, which stays the caller's; DIGEST: of what passes by. Always ended by fetch_clear(). */
MUST_CHECK bool fetch_init(struct fetch *fetch, struct reel *reel, const struct reel_download *download,
                           bool digest, struct error *error);
void fetch_clear(struct fetch *fetch);

/* STAT, which says what content the download is of: a server that goes on with it later gives that content or none. Where
 * nobody can answer now (the database is away, and a server may still have the file's row and bytes) the download is of
 * one piece. */
MUST_CHECK bool fetch_identify(struct fetch *fetch, struct reel *reel, struct proto_stat *stat,
                               struct error *error);
/* The same of a whole file that is to be compared with its digest. Without one: an error only where the caller insists
 * (download->verify). */
MUST_CHECK bool fetch_expect(struct fetch *fetch, struct reel *reel, struct proto_stat *stat,
                             struct error *error);

/* fetch->size bytes from fetch->offset on (size 0: to the end) to fetch->data, each once and in order. */
MUST_CHECK bool fetch_run(struct fetch *fetch, struct reel *reel, struct error *error);

/* An empty file's only report of progress. */
MUST_CHECK bool fetch_told(const struct fetch *fetch, struct error *error);

/* What passed by is what STAT says, where both have a digest. Else ERROR_DIGEST. */
MUST_CHECK bool fetch_verify(const struct fetch *fetch, const struct proto_stat *stat, struct error *error);

#endif
