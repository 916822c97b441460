/*
 * report_share: one text of GROUPS or STATUS for everybody who asks within a moment, made on a worker, so that no loop stands
 * still while a large table is turned into text. A text is kept for ten times as long as it took to make, one second at most:
 * those of a small table are always fresh, and however many ask for that of a large one, making it takes a tenth of the
 * worker's time at most. Whoever asks while a text is being made waits for that one. Called by service.c, on any loop.
 */
#ifndef REEL_TRACKER_REPORT_SHARE_H
#define REEL_TRACKER_REPORT_SHARE_H

#include "common/loop/wait_list.h"
#include "common/loop/workers.h"
#include "common/serve/packet_server.h"
#include <pthread.h>

struct report_share {
    char *(*make)(void *argument, size_t *size);
    void *argument;
    struct job job;          /* waits or runs while `making` */
    pthread_mutex_t mutex;   /* what follows; held for moments only: never while a text is made */
    struct workers *workers; /* not owned; NULL: closed */
    struct packet_shared *text;
    int64_t until_us; /* monotonic: when it is too old */
    bool making;
    struct wait_list waiting; /* for the text that is being made */
};

/* One who asks and waits. Embed it; it must stay valid until done(). */
struct report_question {
    struct loop *loop; /* the asking thread's, where done() runs */
    /* Once, later. TEXT: a reference to be released; NULL where no text could be made. */
    void (*done)(struct report_question *question, struct packet_shared *text);
    struct packet_shared *text; /* private */
    struct wait wait;           /* private */
};

/* MAKE(ARGUMENT, &size) runs on WORKERS, one at a time, and returns the text (to be freed; NULL without memory). */
void report_share_init(struct report_share *share, struct workers *workers,
                       char *(*make)(void *argument, size_t *size), void *argument);
/* Before the end of WORKERS: whoever waits is answered by then, and no text is begun any more. Any thread. */
void report_share_close(struct report_share *share);
/* After the end of WORKERS: nobody waits any more. */
void report_share_clear(struct report_share *share);

/* A reference to the present text; NULL: it is too old, or there is none. Any thread. */
MUST_CHECK struct packet_shared *report_share_present(struct report_share *share);

/* QUESTION->done() gets the next text: the one that is being made, or one that is begun for it. On QUESTION->loop. False:
 * no text can be begun, and done() will not come. */
MUST_CHECK bool report_share_ask(struct report_share *share, struct report_question *question);

#endif
