/*
 * report_share: a shared body of replies behind a mutex, and when it was made.
 */
#include "tracker/report_share.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include <stdlib.h>

#define KEEP_SHARE  10 /* times as long as it took */
#define KEEP_MAX_US 1000000

void report_share_init(struct report_share *share)
{
    *share = (struct report_share){.text = NULL};
    ASSERT(pthread_mutex_init(&share->mutex, NULL) == 0);
}

void report_share_clear(struct report_share *share)
{
    packet_shared_release(share->text);
    share->text = NULL;
    pthread_mutex_destroy(&share->mutex);
}

/* The present text, if it will do; else NULL, and it is the caller's turn to make one. */
static struct packet_shared *take_present(struct report_share *share)
{
    struct packet_shared *text = NULL;

    pthread_mutex_lock(&share->mutex);
    if (share->text && (share->making || clock_monotonic_us() < share->until_us))
        text = packet_shared_take(share->text);
    else
        share->making = true;
    pthread_mutex_unlock(&share->mutex);
    return text;
}

static void replace(struct report_share *share, struct packet_shared *text, int64_t start_us)
{
    struct packet_shared *old = text;
    int64_t now = clock_monotonic_us();

    pthread_mutex_lock(&share->mutex);
    share->making = false;
    if (text) {
        old = share->text;
        share->text = packet_shared_take(text);
        share->until_us = now + min_i64((now - start_us) * KEEP_SHARE, KEEP_MAX_US);
    }
    pthread_mutex_unlock(&share->mutex);
    if (text)
        packet_shared_release(old);
}

struct packet_shared *report_share_take(struct report_share *share,
                                        char *(*make)(void *argument, size_t *size), void *argument)
{
    struct packet_shared *text = take_present(share);
    int64_t start_us;
    size_t size = 0;
    char *made;

    if (text)
        return text;
    start_us = clock_monotonic_us();
    made = make(argument, &size);
    text = made ? packet_shared_create(made, size) : NULL;
    free(made);
    replace(share, text, start_us);
    return text;
}
