/*
 * local_files: openings with their time limit, and the table of common/file/open_files.c for one loop.
 */
#include "httpd/files/local_files.h"

#include "common/base/duration.h"

#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct local_files {
    struct loop *loop;
    struct open_files *open;
    size_t users; /* holders of files, openings, and the loop */
    char scratch[LOCAL_SCRATCH_SIZE];
};

struct local_opening {
    struct job job;
    struct event timer;
    struct local_files *files;
    const struct local_volume *volume;
    char place[LOCAL_PLACE_SIZE];
    int64_t size;
    local_files_callback callback; /* NULL: nobody waits any more */
    void *argument;
    int fd; /* of the worker */
    struct error error;
};

_Static_assert(sizeof(((struct open_key *)0)->place) == LOCAL_PLACE_SIZE - 1, "a place is a key as it is");

static struct open_key local_file_key(const struct local_volume *volume, const char *place)
{
    struct open_key key = {.owner = volume};
    memcpy(key.place, place, sizeof(key.place));
    return key;
}

static bool local_submit_close(const void *owner, struct job *job)
{
    return workers_submit(((const struct local_volume *)owner)->workers, job);
}

/* ---- opening ---- */

static void opening_run(struct job *job)
{
    struct local_opening *opening = CONTAINER_OF(job, struct local_opening, job);
    opening->fd = local_volume_open(opening->volume, opening->place, opening->size, &opening->error);
}

/* The opened file, held for the caller. NULL without memory: it was closed. */
static struct open_file *add_opened(struct local_opening *opening)
{
    struct local_files *files = opening->files;
    const struct open_key key = local_file_key(opening->volume, opening->place);
    struct open_file *file =
        open_files_add(files->open, &key, opening->fd, opening->size, NULL, loop_now_ms(files->loop));
    if (!file) {
        (void)close(opening->fd);
        (void)error_set(&opening->error, ERROR_UNAVAILABLE, "no memory for an open file");
    }
    return file;
}

static void drop_files_user(struct local_files *files)
{
    if (--files->users > 0)
        return;
    open_files_end(files->open);
    free(files);
}

static void opening_done(struct job *job)
{
    struct local_opening *opening = CONTAINER_OF(job, struct local_opening, job);
    struct local_files *files = opening->files;
    local_files_callback callback = opening->callback;
    if (callback)
        event_del(&opening->timer);
    struct open_file *file = opening->fd >= 0 ? add_opened(opening) : NULL;
    if (callback)
        callback(opening->argument, file, file ? NULL : &opening->error);
    else if (file)
        open_files_release(files->open, file);
    free(opening);
    if (!callback || !file) /* else the callee holds the file, and so this struct */
        drop_files_user(files);
}

static void opening_timeout(evutil_socket_t fd, short what, void *argument)
{
    struct local_opening *opening = argument;
    local_files_callback callback = opening->callback;
    struct error error;
    (void)fd;
    (void)what;
    (void)error_set(&error, ERROR_TIMEOUT, "opening takes more than %d ms", LOCAL_HANG_MS);
    opening->callback = NULL;
    callback(opening->argument, NULL, &error);
}

struct local_opening *local_files_open(struct local_files *files, const struct local_volume *volume,
                                       const char *place, int64_t size, local_files_callback callback,
                                       void *argument, struct error *error)
{
    const struct timeval patience = duration_timeval(LOCAL_HANG_MS);
    struct local_opening *opening = calloc(1, sizeof(*opening));
    if (!opening) {
        (void)error_set(error, ERROR_UNAVAILABLE, "no memory");
        return NULL;
    }
    opening->job = (struct job){.run = opening_run, .done = opening_done, .loop = files->loop};
    opening->files = files;
    opening->volume = volume;
    memcpy(opening->place, place, LOCAL_PLACE_SIZE - 1);
    opening->size = size;
    opening->callback = callback;
    opening->argument = argument;
    opening->fd = -1;
    if (evtimer_assign(&opening->timer, loop_base(files->loop), opening_timeout, opening) != 0 ||
        event_add(&opening->timer, &patience) != 0) {
        (void)error_set(error, ERROR_UNAVAILABLE, "cannot arm a timer");
        free(opening);
        return NULL;
    }
    if (!workers_submit(volume->workers, &opening->job)) {
        event_del(&opening->timer);
        free(opening);
        (void)error_set(error, ERROR_UNAVAILABLE, "too many calls wait for its disk");
        return NULL;
    }
    files->users++;
    return opening;
}

void local_files_cancel(struct local_opening *opening)
{
    event_del(&opening->timer);
    opening->callback = NULL;
}

/* ---- the table ---- */

struct local_files *local_files_create(struct loop *loop, size_t files_max, int64_t age_ms)
{
    struct local_files *files = calloc(1, sizeof(*files));
    if (!files)
        return NULL;
    files->loop = loop;
    files->users = 1;
    files->open = open_files_create(&(struct open_files_options){
        .files_max = files_max, .age_ms = age_ms, .bytes_max = LOCAL_KEPT_MAX, .submit = local_submit_close});
    if (!files->open) {
        free(files);
        return NULL;
    }
    return files;
}

void local_files_close(struct local_files *files)
{
    if (files)
        drop_files_user(files);
}

struct open_file *local_files_find(struct local_files *files, const struct local_volume *volume,
                                   const char *place, struct open_hint *hint)
{
    const struct open_key key = local_file_key(volume, place);
    struct open_file *file = open_files_find(files->open, &key, hint, loop_now_ms(files->loop));
    files->users += file ? 1 : 0;
    return file;
}

void local_files_take(struct local_files *files, struct open_file *file)
{
    files->users++;
    open_files_take(files->open, file);
}

void local_files_release(struct local_files *files, struct open_file *file)
{
    open_files_release(files->open, file);
    drop_files_user(files);
}

void local_files_forget(struct local_files *files, struct open_file *file)
{
    open_files_forget_held(files->open, file);
}

void local_files_keep(struct local_files *files, struct open_file *file, const char *bytes, size_t size)
{
    if (size <= LOCAL_KEPT_SIZE)
        open_files_keep(files->open, file, bytes, size);
}

void local_files_tick(struct local_files *files)
{
    open_files_tick(files->open, loop_now_ms(files->loop));
}

char *local_files_scratch(struct local_files *files)
{
    return files->scratch;
}
