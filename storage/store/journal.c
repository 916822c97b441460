/*
 * journal: the records of the upload journal: room for them, appending, what is settled, and moving the tail. The file and its heads are
 * journal_file.c's, reading is journal_scan.c's.
 */
#include "storage/store/journal.h"

#include "common/base/clock.h"
#include "common/base/condition.h"
#include "common/base/crash_point.h"
#include "common/base/metrics.h"
#include "storage/store/journal_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- appending ---- */

static int64_t round_block(int64_t size)
{
    return (size + JOURNAL_BLOCK - 1) / JOURNAL_BLOCK * JOURNAL_BLOCK;
}

int64_t journal_reserve(struct journal *journal, size_t size)
{
    int64_t wanted = round_block((int64_t)size + JOURNAL_BLOCK), reserved = 0;
    pthread_mutex_lock(&journal->mutex);
    journal->asked++;
    /* A record that does not fit before the end of the region leaves that free. */
    if (journal->made && !journal->failed && !journal->suspended && !journal->stopped &&
        journal->written - journal->freed + journal->reserved + wanted <=
            journal->head.size - JOURNAL_RECORD_MAX - JOURNAL_BLOCK)
        reserved = wanted;
    journal->reserved += reserved;
    bool half = journal->made && journal->written - journal->freed > journal->head.size / 2;
    if (half || journal->asked == JOURNAL_ASKED_MIN)
        pthread_cond_signal(&journal->changed);
    pthread_mutex_unlock(&journal->mutex);
    return reserved;
}

void journal_release(struct journal *journal, int64_t reserved)
{
    pthread_mutex_lock(&journal->mutex);
    journal->reserved -= reserved;
    pthread_mutex_unlock(&journal->mutex);
}

/* Where a group goes: one piece, or two where the end of the region comes between. */
struct layout {
    size_t count;       /* of its first piece */
    int64_t first_size; /* of that, rounded up to a block */
    int64_t second_size;
    int64_t waste; /* bytes left free before the end of the region */
};

static struct layout lay_out(const struct journal *journal, struct journal_record *const *records,
                             size_t count)
{
    struct layout layout = {0};
    int64_t room = journal->head.size - journal->position;
    size_t i = 0;
    for (; i < count; i++) {
        int64_t size = (int64_t)journal_record_size(records[i]);
        if (layout.first_size + size > room)
            break;
        layout.first_size += size;
    }
    layout.count = i;
    layout.first_size = round_block(layout.first_size);
    layout.waste = i < count ? room - layout.first_size : 0;
    for (; i < count; i++)
        layout.second_size += (int64_t)journal_record_size(records[i]);
    layout.second_size = round_block(layout.second_size);
    return layout;
}

/* Packs COUNT records and writes them, with what fills their last block, at POSITION. */
static bool write_piece(struct journal *journal, struct journal_record *const *records, size_t count,
                        int64_t size, int64_t position, struct error *error)
{
    size_t at = 0;
    if (count == 0)
        return true;
    if ((size_t)size > journal->buffer_size) {
        void *larger = aligned_alloc(JOURNAL_BLOCK, (size_t)size); /* SIZE is so many blocks */
        if (!larger)
            return error_set(error, ERROR_UNAVAILABLE, "no memory for the upload journal");
        free(journal->buffer);
        journal->buffer = larger;
        journal->buffer_size = (size_t)size;
    }
    for (size_t i = 0; i < count; i++) {
        journal_record_pack(journal->buffer + at, records[i]);
        at += journal_record_size(records[i]);
    }
    memset(journal->buffer + at, 0, (size_t)size - at);
    return journal_write_records(journal, (size_t)size, position, error);
}

static bool write_group(struct journal *journal, struct journal_record *const *records, size_t count,
                        const struct layout *layout, struct error *error)
{
    int64_t second = layout->count < count ? 0 : -1;
    if (!write_piece(journal, records, layout->count, layout->first_size, journal->position, error) ||
        (second == 0 && !write_piece(journal, records + layout->count, count - layout->count,
                                     layout->second_size, second, error)))
        return false;
    CRASH_POINT("journal-written");
    if (!journal_sync_records(journal, error))
        return false;
    CRASH_POINT("journal-synced");
    return true;
}

bool journal_write(struct journal *journal, struct journal_record *const *records, size_t count,
                   struct error *error)
{
    pthread_mutex_lock(&journal->mutex);
    bool usable = journal->made && !journal->failed && !journal->stopped && count > 0 &&
                  journal->group_count < JOURNAL_GROUPS_MAX;
    struct layout layout = {0};
    if (usable)
        layout = lay_out(journal, records, count);
    int64_t size = layout.first_size + layout.waste + layout.second_size;
    usable = usable && journal->written - journal->freed + size <= journal->head.size;
    for (size_t i = 0; usable && i < count; i++) {
        records[i]->generation = journal->head.generation;
        records[i]->sequence = ++journal->sequence;
        records[i]->synced = journal->synced;
        records[i]->last = i + 1 == count;
    }
    pthread_mutex_unlock(&journal->mutex);
    if (!usable)
        return error_set(error, ERROR_UNAVAILABLE, "%s takes no records now", journal->path);

    bool fine = write_group(journal, records, count, &layout, error);
    pthread_mutex_lock(&journal->mutex);
    journal->position = layout.count < count ? layout.second_size : journal->position + layout.first_size;
    if (journal->position >= journal->head.size)
        journal->position = 0;
    journal->written += size;
    journal->groups[journal->group_count++] = (struct journal_mark){
        .sequence = journal->sequence, .position = journal->position, .written = journal->written};
    if (fine) {
        journal->synced = journal->sequence;
    } else {
        journal->failed = true;
        snprintf(journal->why, sizeof(journal->why), "%s", error->text);
        pthread_cond_signal(&journal->changed);
    }
    pthread_mutex_unlock(&journal->mutex);
    if (fine) {
        metric_add(journal_metrics()->records, (int64_t)count);
        metric_add(journal_metrics()->bytes, size);
    }
    metric_add(journal_metrics()->syncs, 1);
    return fine;
}

void journal_settle(struct journal *journal, int64_t sequence)
{
    size_t passed = 0;
    pthread_mutex_lock(&journal->mutex);
    while (passed < journal->group_count && journal->groups[passed].sequence <= sequence)
        journal->settled = journal->groups[passed++];
    journal->group_count -= passed;
    memmove(journal->groups, journal->groups + passed, journal->group_count * sizeof(journal->groups[0]));
    pthread_mutex_unlock(&journal->mutex);
}

/* ---- checkpoints ---- */

void journal_stop(struct journal *journal)
{
    pthread_mutex_lock(&journal->mutex);
    journal->stopped = journal->woken = true;
    pthread_cond_signal(&journal->changed);
    pthread_mutex_unlock(&journal->mutex);
}

bool journal_mark(struct journal *journal, struct journal_mark *mark)
{
    pthread_mutex_lock(&journal->mutex);
    *mark = journal->settled;
    bool behind = journal->made && mark->sequence >= journal->head.sequence;
    pthread_mutex_unlock(&journal->mutex);
    return behind;
}

bool journal_move_tail(struct journal *journal, const struct journal_mark *mark, struct error *error)
{
    struct journal_head head = journal->head; /* this thread alone changes it */
    head.tail = mark->position;
    head.sequence = mark->sequence + 1;
    bool fine = journal_write_head(journal, &head, error);
    pthread_mutex_lock(&journal->mutex);
    if (fine) {
        journal->freed = mark->written;
        if (journal->failed && mark->sequence == journal->sequence)
            journal->failed = false; /* what was not written is behind the tail */
    } else {
        journal->failed = true;
    }
    if (!fine || (!journal->failed && !journal->suspended))
        snprintf(journal->why, sizeof(journal->why), "%s", fine ? "" : error->text);
    pthread_mutex_unlock(&journal->mutex);
    if (fine)
        metric_add(journal_metrics()->checkpoints, 1);
    return fine;
}

void journal_suspend(struct journal *journal, const char *why)
{
    pthread_mutex_lock(&journal->mutex);
    if (!journal->suspended)
        snprintf(journal->why, sizeof(journal->why), "%s", why);
    journal->suspended = true;
    pthread_mutex_unlock(&journal->mutex);
}

bool journal_is_suspended(struct journal *journal)
{
    pthread_mutex_lock(&journal->mutex);
    bool suspended = journal->suspended;
    pthread_mutex_unlock(&journal->mutex);
    return suspended;
}

void journal_resume(struct journal *journal)
{
    pthread_mutex_lock(&journal->mutex);
    if (journal->suspended && journal->written == journal->freed && journal->reserved == 0) {
        journal->suspended = false;
        journal->why[0] = '\0';
    }
    pthread_mutex_unlock(&journal->mutex);
}

void journal_wait(struct journal *journal, int64_t ms)
{
    int64_t until = clock_monotonic_ms() + ms, left;
    pthread_mutex_lock(&journal->mutex);
    while (!journal->woken && (left = until - clock_monotonic_ms()) > 0 &&
           !(journal->made && journal->written - journal->freed > journal->head.size / 2) &&
           !(!journal->made && journal->why[0] == '\0' && journal->asked >= JOURNAL_ASKED_MIN))
        (void)condition_wait_ms(&journal->changed, &journal->mutex, left);
    journal->woken = false;
    pthread_mutex_unlock(&journal->mutex);
}

void journal_concern(struct journal *journal, char *reason, size_t size)
{
    pthread_mutex_lock(&journal->mutex);
    snprintf(reason, size, "%s", journal->why);
    pthread_mutex_unlock(&journal->mutex);
}

int64_t journal_used(struct journal *journal)
{
    pthread_mutex_lock(&journal->mutex);
    int64_t used = journal->written - journal->freed;
    pthread_mutex_unlock(&journal->mutex);
    return used;
}

bool journal_is_idle(struct journal *journal)
{
    pthread_mutex_lock(&journal->mutex);
    bool idle = journal->written == journal->freed && journal->reserved == 0;
    pthread_mutex_unlock(&journal->mutex);
    return idle;
}
