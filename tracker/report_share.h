/*
 * report_share: one text of GROUPS or STATUS for everybody who asks within a moment. A text is kept for ten times as long
 * as it took to make, one second at most: so those of a small table are always fresh, and however many ask for that of a
 * large one, making it takes a tenth of a loop's time at most. Called by service.c, on any loop.
 */
#ifndef REEL_TRACKER_REPORT_SHARE_H
#define REEL_TRACKER_REPORT_SHARE_H

#include "common/serve/packet_server.h"
#include <pthread.h>

struct report_share {
    pthread_mutex_t mutex; /* held for moments only: never while a text is made */
    struct packet_shared *text;
    int64_t until_us; /* monotonic: when it is too old */
    bool making;
};

void report_share_init(struct report_share *share);
void report_share_clear(struct report_share *share);

/* A reference to a text: the present one, or what MAKE(ARGUMENT, &size) returns (to be freed; NULL without memory), which
 * others get too. While one loop makes a text the others answer with the last one. NULL without memory. */
MUST_CHECK struct packet_shared *
report_share_take(struct report_share *share, char *(*make)(void *argument, size_t *size), void *argument);

#endif
