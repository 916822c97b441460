/*
 * journal_private: the upload journal as its three modules share it: journal_file.c (locks, heads, space), journal.c (records, checkpoints)
 * and journal_scan.c (reading). For those only.
 */
#ifndef REEL_STORAGE_JOURNAL_PRIVATE_H
#define REEL_STORAGE_JOURNAL_PRIVATE_H

#include "storage/store/journal.h"

#include <pthread.h>

struct journal {
    char *path;
    /* The kernel reports a failed write once to each descriptor. So the heads, which another thread writes, have
     * one of their own: else the sync of a head would get the failure of the records, whose own sync would then succeed. */
    int fd, head_fd;
    int direct_fd; /* the same file past the page cache, for the thread that writes; -1: there is no such way */
    bool held, alone;
    int64_t wanted_size;
    int64_t replayed; /* number of the last record that was read at the start; 0: none */
    struct journal_head
        head; /* as on the disk; after the start changed by the checkpoint's thread alone, under the mutex where it is read */
    uint8_t *buffer; /* of the thread that writes; begins at a multiple of JOURNAL_BLOCK */
    size_t buffer_size;

    pthread_mutex_t mutex; /* for what follows */
    pthread_cond_t changed;
    bool made;      /* it has its space and its heads */
    bool failed;    /* nothing is written until a checkpoint has passed all that was */
    bool suspended; /* see journal_suspend() */
    bool stopped;   /* nothing is written any more */
    bool woken;
    int64_t asked;            /* reservations; while it has no space */
    int64_t position;         /* of the next group */
    int64_t sequence, synced; /* numbers of the last record that got one, and of the last one on the disk */
    int64_t written, freed;   /* bytes since the start */
    int64_t reserved;
    struct journal_mark
        groups[JOURNAL_GROUPS_MAX]; /* that were written and are not settled, the first one first */
    size_t group_count;
    struct journal_mark settled;
    char why[ERROR_TEXT_SIZE]; /* it cannot be written; else "" */
};

#define JOURNAL_ASKED_MIN                                                                                    \
    64 /* uploads that want it before its space is written: many servers never take so many */

/* SIZE bytes of the journal's buffer at POSITION of the region, past the page cache, where that can be. BLOCKS. */
MUST_CHECK bool journal_write_records(struct journal *journal, size_t size, int64_t position,
                                      struct error *error);
MUST_CHECK bool journal_sync_records(const struct journal *journal, struct error *error);
/* HEAD becomes what the file says, in the place of the older one of both. BLOCKS. */
MUST_CHECK bool journal_write_head(struct journal *journal, struct journal_head *head, struct error *error);

struct journal_metrics {
    struct metric *records, *bytes, *syncs, *checkpoints;
};
const struct journal_metrics *journal_metrics(void);

#endif
