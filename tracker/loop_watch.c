/*
 * loop_watch: one task for each loop, on its way or back. A task that is on its way is not posted again.
 */
#include "tracker/loop_watch.h"
#include <stdatomic.h>
#include <stdlib.h>

struct watched {
    struct loop *loop;
    struct task task;
    atomic_bool back;
    int64_t sent_ms; /* monotonic */
};

struct loop_watch {
    size_t count;
    struct watched loops[];
};

static void watched_ran(struct task *task)
{
    atomic_store(&CONTAINER_OF(task, struct watched, task)->back, true);
}

struct loop_watch *loop_watch_create(struct loop *const *loops, size_t count)
{
    struct loop_watch *watch = calloc(1, sizeof(*watch) + count * sizeof(watch->loops[0]));
    if (!watch)
        return NULL;
    watch->count = count;
    for (size_t i = 0; i < count; i++) {
        watch->loops[i].loop = loops[i];
        watch->loops[i].task.run = watched_ran;
        atomic_init(&watch->loops[i].back, true);
    }
    return watch;
}

void loop_watch_destroy(struct loop_watch *watch)
{
    free(watch);
}

bool loop_watch_stuck(struct loop_watch *watch, int64_t now_ms, int64_t limit_ms)
{
    bool stuck = false;
    for (size_t i = 0; i < watch->count; i++) {
        struct watched *watched = &watch->loops[i];
        if (!atomic_load(&watched->back)) {
            stuck = stuck || now_ms - watched->sent_ms >= limit_ms;
            continue;
        }
        atomic_store(&watched->back, false);
        watched->sent_ms = now_ms;
        loop_post(watched->loop, &watched->task);
    }
    return stuck;
}
