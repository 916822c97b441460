/*
 * report_share: a shared body of replies behind a mutex, when it was made, and who waits for the next one. The worker that
 * made a text takes all who wait out of the list under the mutex and posts the text to their loops after it.
 */
#include "tracker/report_share.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include <stdlib.h>

#define KEEP_SHARE  10 /* times as long as it took */
#define KEEP_MAX_US 1000000

static void share_lock(struct report_share *share)
{
    ASSERT(pthread_mutex_lock(&share->mutex) == 0);
}

static void share_unlock(struct report_share *share)
{
    ASSERT(pthread_mutex_unlock(&share->mutex) == 0);
}

static void report_answer(struct wait *wait, enum wait_end end)
{
    struct report_question *question = CONTAINER_OF(wait, struct report_question, wait);

    (void)end; /* the wait has no time limit */
    question->done(question, question->text);
}

/* TEXT (NULL: none could be made) for everybody who waits; takes the reference over. */
static void share_publish(struct report_share *share, struct packet_shared *text, int64_t start_us)
{
    TAILQ_HEAD(, wait) taken = TAILQ_HEAD_INITIALIZER(taken);
    struct packet_shared *old = text;
    int64_t now = clock_monotonic_us();
    struct wait *wait;

    share_lock(share);
    share->making = false;
    while ((wait = wait_list_take(&share->waiting))) {
        CONTAINER_OF(wait, struct report_question, wait)->text = text ? packet_shared_take(text) : NULL;
        TAILQ_INSERT_TAIL(&taken, wait, link);
    }
    if (text) {
        old = share->text;
        share->text = text;
        share->until_us = now + min_i64((now - start_us) * KEEP_SHARE, KEEP_MAX_US);
    }
    share_unlock(share);
    packet_shared_release(old);
    while ((wait = TAILQ_FIRST(&taken))) {
        TAILQ_REMOVE(&taken, wait, link); /* once it is posted it may be gone */
        wait_post(wait);
    }
}

static void share_make(struct job *job)
{
    struct report_share *share = CONTAINER_OF(job, struct report_share, job);
    int64_t start_us = clock_monotonic_us();
    size_t size = 0;
    char *made = share->make(share->argument, &size);
    struct packet_shared *text = made ? packet_shared_create(made, size) : NULL;

    free(made);
    share_publish(share, text, start_us);
}

void report_share_init(struct report_share *share, struct workers *workers,
                       char *(*make)(void *argument, size_t *size), void *argument)
{
    *share = (struct report_share){.workers = workers, .make = make, .argument = argument};
    share->job.run = share_make;
    ASSERT(pthread_mutex_init(&share->mutex, NULL) == 0);
    wait_list_init(&share->waiting, &share->mutex, NULL);
}

void report_share_close(struct report_share *share)
{
    share_lock(share);
    share->workers = NULL;
    share_unlock(share);
}

void report_share_clear(struct report_share *share)
{
    packet_shared_release(share->text);
    share->text = NULL;
    ASSERT(share->waiting.count == 0);
    pthread_mutex_destroy(&share->mutex);
}

struct packet_shared *report_share_present(struct report_share *share)
{
    struct packet_shared *text = NULL;

    share_lock(share);
    if (share->text && clock_monotonic_us() < share->until_us)
        text = packet_shared_take(share->text);
    share_unlock(share);
    return text;
}

bool report_share_ask(struct report_share *share, struct report_question *question)
{
    bool takes;

    question->text = NULL;
    question->wait = (struct wait){.loop = question->loop, .done = report_answer};
    share_lock(share);
    /* With the mutex held, so that the worker does not look who waits before this one does. */
    takes = share->making || (share->workers && workers_submit(share->workers, &share->job));
    share->making = takes;
    if (takes)
        ASSERT(wait_enter(&share->waiting, &question->wait, 0)); /* without a timer it cannot fail */
    share_unlock(share);
    return takes;
}
