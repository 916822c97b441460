/*
 * store_glance: a job that belongs to both the caller and the worker; the last to leave frees it, so that a caller
 * can go while the worker still hangs in the file system.
 */
#include "storage/store/store_glance.h"

#include "common/base/clock.h"
#include "common/base/condition.h"
#include "storage/store/store_file.h"
#include "storage/store/store_private.h"

#include <stdlib.h>
#include <unistd.h>

struct glance {
    struct job job;
    struct store_path *path;
    struct path place;
    pthread_mutex_t mutex; /* for what follows */
    pthread_cond_t looked;
    bool done, given_up;
    bool fine;
    int64_t size;
    struct error error;
};

static void glance_free(struct glance *glance)
{
    (void)pthread_cond_destroy(&glance->looked);
    (void)pthread_mutex_destroy(&glance->mutex);
    free(glance);
}

static void glance_run(struct job *job)
{
    struct glance *glance = CONTAINER_OF(job, struct glance, job);
    struct error error = {0};
    int64_t size = -1;
    int fd = -1;
    bool fine = store_file_look(glance->path, &glance->place, &fd, &size, &error);
    if (fd >= 0)
        (void)close(fd);
    pthread_mutex_lock(&glance->mutex);
    bool given_up = glance->given_up;
    glance->done = true;
    glance->fine = fine;
    glance->size = size;
    glance->error = error;
    pthread_cond_signal(&glance->looked);
    pthread_mutex_unlock(&glance->mutex);
    if (!given_up)
        return; /* the caller frees it */
    (void)atomic_fetch_sub(&glance->path->lost_glances, 1);
    glance_free(glance);
}

static struct glance *glance_create(struct store_path *path, const struct path *place, struct error *error)
{
    struct glance *glance = calloc(1, sizeof(*glance));
    if (!glance || !condition_init(&glance->looked, error)) {
        free(glance);
        (void)error_set(error, ERROR_UNAVAILABLE, "no memory for a look at a stored file");
        return NULL;
    }
    (void)pthread_mutex_init(&glance->mutex, NULL); /* fails on bad arguments only */
    glance->job.run = glance_run;
    glance->path = path;
    glance->place = *place;
    return glance;
}

/* False: given up; the glance is the worker's. */
static bool glance_wait(struct glance *glance)
{
    int64_t until_ms = clock_monotonic_ms() + STORE_GLANCE_MS;
    pthread_mutex_lock(&glance->mutex);
    while (!glance->done &&
           condition_wait_ms(&glance->looked, &glance->mutex, until_ms - clock_monotonic_ms()))
        ;
    bool done = glance->done;
    glance->given_up = !done;
    if (!done)
        (void)atomic_fetch_add(&glance->path->lost_glances, 1);
    pthread_mutex_unlock(&glance->mutex);
    return done;
}

bool store_glance(struct store_path *path, const struct path *place, int64_t *size, struct error *error)
{
    if (!store_path_readable(path, error))
        return false;
    if (atomic_load(&path->lost_glances) > 0)
        return error_set(error, ERROR_UNAVAILABLE, "store path %s has not answered an earlier probe yet",
                         path->key);
    struct glance *glance = glance_create(path, place, error);
    if (!glance)
        return false;
    if (!store_path_submit(path, &glance->job, error)) {
        glance_free(glance);
        return false;
    }
    if (!glance_wait(glance))
        return error_set(error, ERROR_UNAVAILABLE,
                         "store path %s has not reported within %d ms whether a file exists", path->key,
                         STORE_GLANCE_MS);
    bool fine = glance->fine;
    *size = glance->size;
    if (!fine && error)
        *error = glance->error;
    glance_free(glance);
    return fine;
}
