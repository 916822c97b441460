/*
 * partial_care: a partial upload does not expire while a request works on it, however long its file is or its disk takes: its time, and that of
 * the parts that are joined to it, is extended again and again, under the epoch with which they were taken. So one that was taken
 * over is not kept by a request that does not know it yet; and a process that stands still keeps nothing. Part of partial (partial.h).
 */
#include "storage/upload/partial_state.h"

#include "common/base/duration.h"

#include <stdlib.h>

#define CARE_SHARE 4              /* of the time for which it is kept: */
#define CARE_MAX_S INT64_C(86400) /* so much of it counts */

struct partial_care {
    struct event *timer;
    struct partial_keeping keeping;
    struct partial_row *rows; /* as they were taken: the request's own one first */
    bool running, over;
};

static void care_free(struct partial_care *care)
{
    if (care->timer)
        event_free(care->timer);
    free(care->rows);
    free(care);
}

static void care_kept(struct partial_keeping *keeping)
{
    struct partial_care *care = CONTAINER_OF(keeping, struct partial_care, keeping);
    care->running = false;
    if (care->over)
        care_free(care);
}

/* What could not be done now is tried the next time. */
static void on_care_timer(evutil_socket_t fd, short what, void *argument)
{
    struct partial_care *care = argument;
    struct error ignored;
    (void)fd;
    (void)what;
    if (!care->running)
        care->running = partial_rows_keep(&care->keeping, &ignored);
}

/* Without memory or a timer it may expire, as if this server stood still. */
void partial_care_begin(struct partial *partial, const struct partial_parts *parts)
{
    const struct partial_job *rows = &partial->rows;
    size_t count = 1 + (parts ? parts->count : 0);
    partial_care_end(partial);
    struct partial_care *care = calloc(1, sizeof(*care));
    if (care)
        care->rows = calloc(count, sizeof(*care->rows));
    if (!care || !care->rows) {
        free(care);
        return;
    }
    int64_t keep = rows->row.keep;
    care->rows[0] = rows->row;
    for (size_t i = 1; i < count; i++) {
        care->rows[i] = parts->rows[i - 1];
        keep = min_i64(keep, care->rows[i].keep);
    }
    care->keeping = (struct partial_keeping){
        .meta = rows->meta, .loop = rows->loop, .done = care_kept, .rows = care->rows, .count = count};
    const struct timeval pause = duration_timeval(min_i64(max_i64(keep, 1), CARE_MAX_S) * 1000 / CARE_SHARE);
    care->timer = event_new(loop_base(rows->loop), -1, EV_PERSIST, on_care_timer, care);
    if (!care->timer || evtimer_add(care->timer, &pause) != 0) {
        care_free(care);
        return;
    }
    partial->care = care;
}

void partial_care_end(struct partial *partial)
{
    struct partial_care *care = partial->care;
    partial->care = NULL;
    if (!care)
        return;
    (void)evtimer_del(care->timer);
    care->over = true;
    if (!care->running)
        care_free(care);
}
