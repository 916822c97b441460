/*
 * ebml_clusters: the clusters of a Matroska file (RFC 9559 section 5.1.3) from block to block: whose it is, when, whether decoding
 * can begin there, and its frames, whichever way they are laced. It is fed pieces of the file and says where it wants the next one
 * to begin. Pure; any thread.
 */
#ifndef REEL_HTTPD_EBML_CLUSTERS_H
#define REEL_HTTPD_EBML_CLUSTERS_H

#include "common/base/error.h"
#include "httpd/media/ebml.h"

#define EBML_FRAMES_MAX 256                         /* of a block */
#define EBML_BLOCK_MAX  ((int64_t)32 * 1024 * 1024) /* bytes of a block with all that is about it */

struct ebml_block {
    int64_t at; /* of its first byte in the file */
    uint64_t track;
    int64_t time; /* in ticks */
    bool key;
    int64_t duration; /* in ticks; -1: not said */
    size_t count;
    struct media_view frames[EBML_FRAMES_MAX]; /* within the piece */
};

struct ebml_clusters {
    int64_t at;          /* of the next element in the file */
    int64_t end;         /* of the segment */
    bool open_end;       /* its length is not said: its recording may have been cut off at END */
    int64_t cluster;     /* of the cluster that AT is in: its first byte */
    int64_t cluster_end; /* INT64_MAX: not said */
    int64_t time;        /* of the cluster, in ticks; -1: not said yet */
    bool inside;
};

enum ebml_step {
    EBML_BLOCK,
    EBML_MORE, /* *WANTED bytes from AT on are wanted */
    EBML_END,
    EBML_BROKEN,
};

/* AT: where a cluster begins. */
void ebml_clusters_open(struct ebml_clusters *clusters, int64_t at, int64_t end, bool open_end);

/* BYTES: what lies at BASE, which is at most AT. */
enum ebml_step ebml_clusters_next(struct ebml_clusters *clusters, struct media_view bytes, int64_t base,
                                  struct ebml_block *block, int64_t *wanted, struct error *error);

#endif
