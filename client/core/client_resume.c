/*
 * client_resume: a count of tries, a time, and a backoff.
 */
#include "client/core/client_resume.h"

#define PAUSE_FIRST_MS 250
#define PAUSE_MAX_MS   2000

void client_resume_init(struct client_resume *resume, int tries_max, int64_t good_bytes, int64_t patience_ms)
{
    *resume = (struct client_resume){
        .tries_max = tries_max,
        .good_bytes = good_bytes,
        .patience_ms = patience_ms,
        .backoff = {.first_ms = PAUSE_FIRST_MS, .longest_ms = PAUSE_MAX_MS},
    };
}

void client_resume_moved(struct client_resume *resume, int64_t bytes)
{
    resume->nowhere_since = 0;
    backoff_reset(&resume->backoff);
    resume->moved += bytes;
    if (resume->moved < resume->good_bytes)
        return;
    resume->moved = 0;
    resume->tries = 0;
}

bool client_resume_at_once(struct client_resume *resume)
{
    if (resume->tries >= resume->tries_max)
        return false;
    resume->tries++;
    return true;
}

int64_t client_resume_pause(struct client_resume *resume, int64_t now_ms)
{
    int64_t pause_ms;

    if (resume->patience_ms == 0 && !client_resume_at_once(resume))
        return -1;
    if (resume->nowhere_since == 0)
        resume->nowhere_since = now_ms;
    pause_ms = backoff_next(&resume->backoff);
    if (resume->patience_ms > 0 && now_ms + pause_ms - resume->nowhere_since >= resume->patience_ms)
        return -1;
    return pause_ms;
}
