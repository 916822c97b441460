/*
 * journal_scan: reading the upload journal back: after a crash, and where a checkpoint has to write files once more. The end is where
 * the next number does not follow; a gap before what was promised is damage, and reported as such.
 */
#include "storage/store/journal_private.h"

#include "common/base/metrics.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct reader {
    struct journal *journal;
    uint8_t *bytes; /* JOURNAL_RECORD_MAX */
    struct journal_record record;
    int64_t position;
    bool wrapped;
};

/* As many as are there of SIZE bytes at POSITION of the region. */
static bool read_at(const struct journal *journal, int64_t position, uint8_t *bytes, size_t size, size_t *got,
                    struct error *error)
{
    size_t wanted = (size_t)min_i64((int64_t)size, journal->head.size - position);
    *got = 0;
    while (*got < wanted) {
        ssize_t part = pread(journal->fd, bytes + *got, wanted - *got,
                             (off_t)(JOURNAL_REGION + position + (int64_t)*got));
        if (part < 0 && errno == EINTR)
            continue;
        if (part < 0)
            return error_set_errno(error, errno, "cannot read %s", journal->path);
        if (part == 0)
            break;
        *got += (size_t)part;
    }
    return true;
}

/* FOUND: record SEQUENCE of this generation is at POSITION, and the reader stands behind it. */
static bool read_record(struct reader *reader, int64_t position, int64_t sequence, bool *found,
                        struct error *error)
{
    const struct journal *journal = reader->journal;
    size_t got, taken = 0;
    if (!read_at(journal, position, reader->bytes, JOURNAL_RECORD_MAX, &got, error))
        return false;
    *found = journal_record_read(reader->bytes, got, &reader->record, &taken) &&
             reader->record.generation == journal->head.generation && reader->record.sequence == sequence;
    if (!*found)
        return true;
    int64_t next = position + (int64_t)taken;
    if (reader->record.last)
        next = (next + JOURNAL_BLOCK - 1) / JOURNAL_BLOCK * JOURNAL_BLOCK;
    reader->position = next < journal->head.size ? next : 0;
    return true;
}

/* The same at the reader's place, or, once, at the beginning of the region. */
static bool read_next(struct reader *reader, int64_t sequence, bool *found, struct error *error)
{
    if (!read_record(reader, reader->position, sequence, found, error))
        return false;
    if (*found || reader->wrapped || reader->position == 0)
        return true;
    reader->wrapped = true;
    return read_record(reader, 0, sequence, found, error);
}

static bool scan(struct journal *journal, int64_t last, journal_function function, void *argument,
                 int64_t *sequence, struct error *error)
{
    struct reader reader = {
        .journal = journal, .bytes = malloc(JOURNAL_RECORD_MAX), .position = journal->head.tail};
    bool found = true;
    bool fine = reader.bytes || error_set(error, ERROR_UNAVAILABLE, "no memory for the upload journal");
    *sequence = journal->head.sequence;
    while (fine && *sequence <= last) {
        fine = read_next(&reader, *sequence, &found, error);
        if (!fine || !found)
            break;
        fine = function(argument, &reader.record, error);
        ++*sequence;
    }
    free(reader.bytes);
    return fine;
}

/* Number SEQUENCE is not there. Anything that was written when it was on the disk for certain shows that it was lost. */
static bool check_end(const struct journal *journal, int64_t sequence, struct error *error)
{
    uint8_t *bytes = malloc(JOURNAL_RECORD_MAX);
    uint8_t begin[JOURNAL_ALIGN];
    bool fine = bytes || error_set(error, ERROR_UNAVAILABLE, "no memory for the upload journal");
    for (int64_t at = 0; fine && at < journal->head.size; at += JOURNAL_ALIGN) {
        struct journal_record record;
        size_t got, taken;
        fine = read_at(journal, at, begin, sizeof(begin), &got, error);
        if (!fine || got < sizeof(begin) || !journal_record_begins(begin, journal->head.generation))
            continue;
        fine = read_at(journal, at, bytes, JOURNAL_RECORD_MAX, &got, error);
        if (fine && journal_record_read(bytes, got, &record, &taken) && record.synced >= sequence)
            fine = error_set(error, ERROR_IO,
                             "%s is damaged: record %lld, of an acknowledged upload, cannot be read, while "
                             "record %lld behind it can; "
                             "restore the file, or move it away to give up what is in it",
                             journal->path, (long long)sequence, (long long)record.sequence);
    }
    free(bytes);
    return fine;
}

bool journal_replay(struct journal *journal, journal_function function, void *argument, struct error *error)
{
    int64_t sequence = 0;
    if (!journal->made)
        return true;
    journal->replayed = journal->head.sequence - 1;
    if (journal->head.clean)
        return true;
    /* What a killed process wrote may be in memory only. A row that is added because of a record outlives a power cut, so the record has to. */
    if (!journal_sync_records(journal, error))
        return false;
    if (!scan(journal, INT64_MAX, function, argument, &sequence, error) ||
        !check_end(journal, sequence, error))
        return false;
    journal->replayed = sequence - 1;
    return true;
}

bool journal_read(struct journal *journal, const struct journal_mark *mark, journal_function function,
                  void *argument, struct error *error)
{
    int64_t sequence = 0;
    if (!scan(journal, mark->sequence, function, argument, &sequence, error))
        return false;
    return sequence > mark->sequence || error_set(error, ERROR_IO, "%s: record %lld cannot be read back",
                                                  journal->path, (long long)sequence);
}

const struct journal_metrics *journal_metrics(void)
{
    static struct journal_metrics metrics;
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&mutex);
    if (!metrics.records) {
        metrics.records = metrics_counter("reel_storage_journal_records_total",
                                          "Uploads that the upload journal promised.", NULL);
        metrics.bytes =
            metrics_counter("reel_storage_journal_bytes_total", "Bytes written to the upload journal.", NULL);
        metrics.syncs =
            metrics_counter("reel_storage_journal_syncs_total",
                            "Syncs of the upload journal, each for all uploads that waited.", NULL);
        metrics.checkpoints = metrics_counter("reel_storage_journal_checkpoints_total",
                                              "Checkpoints of the upload journal.", NULL);
    }
    pthread_mutex_unlock(&mutex);
    return &metrics;
}
