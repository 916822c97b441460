#include "client/library/reel_internal.h"

#include "client/library/file_id.h"
#include "common/base/clock.h"
#include "common/proto/digest.h"
#include "common/base/log.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TRACKER_PORT     21000
#define RESOLVER_THREADS 2
#define RESOLVER_QUEUE   1024
#define CLOSE_TIMEOUT_MS 5000
#define LIST_PAGE_SIZE   PROTO_LIST_LIMIT_MAX

/* reel.h stands alone, so it repeats these. */
_Static_assert((int)REEL_E_GENERAL == ERROR_GENERAL, "error numbers");
_Static_assert((int)REEL_E_MALFORMED == ERROR_MALFORMED, "error numbers");
_Static_assert((int)REEL_E_UNKNOWN_COMMAND == ERROR_UNKNOWN_COMMAND, "error numbers");
_Static_assert((int)REEL_E_NOT_FOUND == ERROR_NOT_FOUND, "error numbers");
_Static_assert((int)REEL_E_EXISTS == ERROR_EXISTS, "error numbers");
_Static_assert((int)REEL_E_DELETED == ERROR_DELETED, "error numbers");
_Static_assert((int)REEL_E_RANGE == ERROR_RANGE, "error numbers");
_Static_assert((int)REEL_E_NO_SPACE == ERROR_NO_SPACE, "error numbers");
_Static_assert((int)REEL_E_UNAVAILABLE == ERROR_UNAVAILABLE, "error numbers");
_Static_assert((int)REEL_E_NO_SERVER == ERROR_NO_SERVER, "error numbers");
_Static_assert((int)REEL_E_DIGEST == ERROR_DIGEST, "error numbers");
_Static_assert((int)REEL_E_REFUSED == ERROR_REFUSED, "error numbers");
_Static_assert((int)REEL_E_IO == ERROR_IO, "error numbers");
_Static_assert((int)REEL_E_TIMEOUT == ERROR_TIMEOUT, "error numbers");
_Static_assert((int)REEL_E_CONNECTION == ERROR_CONNECTION, "error numbers");
_Static_assert((int)REEL_E_EXHAUSTED == ERROR_EXHAUSTED, "error numbers");
_Static_assert((int)REEL_E_CANCELLED == ERROR_CANCELLED, "error numbers");
_Static_assert(REEL_ERROR_TEXT_SIZE == ERROR_TEXT_SIZE, "size of an error's text");
_Static_assert(REEL_APPLICATION_SIZE == PROTO_APPLICATION_SIZE, "sizes of strings");
_Static_assert(REEL_USER_SIZE == PROTO_USER_SIZE, "sizes of strings");
_Static_assert(REEL_FILE_SIZE == PROTO_FILE_SIZE, "sizes of strings");
_Static_assert(REEL_NAME_SIZE == PROTO_NAME_SIZE, "sizes of strings");
_Static_assert(REEL_CONTENT_TYPE_SIZE == PROTO_CONTENT_TYPE_SIZE, "sizes of strings");
_Static_assert(REEL_GROUP_SIZE == PROTO_GROUP_SIZE, "sizes of strings");
_Static_assert(REEL_DIGEST_HEX_SIZE == DIGEST_HEX_SIZE, "sizes of strings");
_Static_assert(REEL_FILE_ID_SIZE == FILE_ID_SIZE, "sizes of strings");

/* ---- errors and texts ---- */

bool reel_fail(struct reel_error *error, const struct error *from)
{
    if (error != NULL) {
        error->code = from->code;
        memcpy(error->text, from->text, sizeof(error->text));
    }
    return false;
}

const char *reel_error_name(int code)
{
    return error_code_name(code);
}

const char *reel_version(void)
{
    return REEL_VERSION;
}

void reel_free(void *memory)
{
    free(memory);
}

bool reel_copy_text(char *field, size_t size, const char *what, const char *text, struct error *error)
{
    size_t length = strlen(text);

    if (length >= size)
        return error_set(error, ERROR_MALFORMED, "the %s is too long: %zu bytes, at most %zu", what, length,
                         size - 1);
    memset(field, 0, size);
    memcpy(field, text, length);
    return true;
}

bool reel_fill_key(const struct reel *reel, const struct reel_key *key, bool empty_file,
                   struct proto_file_key *out, struct error *error)
{
    const char *application = key->application, *user = key->user, *file = key->file;

    if (application == NULL && reel != NULL)
        application = reel->application;
    if (user == NULL && reel != NULL)
        user = reel->user;
    if (application == NULL || application[0] == '\0')
        return error_set(error, ERROR_MALFORMED, "no application is given");
    if (user == NULL || user[0] == '\0')
        return error_set(error, ERROR_MALFORMED, "no user ID is given");
    if ((file == NULL || file[0] == '\0') && !empty_file)
        return error_set(error, ERROR_MALFORMED, "no file ID is given");
    memset(out, 0, sizeof(*out));
    return reel_copy_text(out->application, sizeof(out->application), "application", application, error) &&
           reel_copy_text(out->user, sizeof(out->user), "user ID", user, error) &&
           reel_copy_text(out->file, sizeof(out->file), "file ID", file != NULL ? file : "", error);
}

bool reel_local_error(struct error *error, int errnum, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)error_set_va(error, ERROR_IO, format, arguments);
    va_end(arguments);
    (void)error_set_errno(error, errnum, "%s", error->text);
    if (error->code != ERROR_NO_SPACE)
        error->code = ERROR_IO; /* "not found" would be taken for the stored file */
    return false;
}

bool reel_write_all(int fd, const void *bytes, size_t size, struct error *error)
{
    const char *at = bytes;

    while (size > 0) {
        ssize_t written = write(fd, at, size);

        if (written < 0 && errno == EAGAIN) {
            struct pollfd writable = {.fd = fd, .events = POLLOUT};

            (void)poll(&writable, 1, -1);
            continue;
        }
        if (written < 0 && errno != EINTR)
            return reel_local_error(error, errno, "writing");
        if (written > 0) {
            at += written;
            size -= (size_t)written;
        }
    }
    return true;
}

/* ---- waiting for the loop ---- */

static void wait_run(struct task *task)
{
    struct reel_wait *wait = CONTAINER_OF(task, struct reel_wait, task);

    wait->start(wait);
}

void reel_wait_init(struct reel_wait *wait, struct reel *reel, void (*start)(struct reel_wait *wait))
{
    memset(wait, 0, sizeof(*wait));
    wait->reel = reel;
    wait->start = start;
    wait->task.run = wait_run;
    ASSERT(pthread_mutex_init(&wait->mutex, NULL) == 0);
    ASSERT(pthread_cond_init(&wait->changed, NULL) == 0);
}

void reel_wait_clear(struct reel_wait *wait)
{
    pthread_cond_destroy(&wait->changed);
    pthread_mutex_destroy(&wait->mutex);
}

void reel_wait_begin(struct reel_wait *wait)
{
    loop_post(wait->reel->loop, &wait->task);
}

bool reel_wait_end(struct reel_wait *wait)
{
    pthread_mutex_lock(&wait->mutex);
    while (!wait->done)
        pthread_cond_wait(&wait->changed, &wait->mutex);
    pthread_mutex_unlock(&wait->mutex);
    return wait->error.code == ERROR_NONE;
}

void reel_wait_finish(struct reel_wait *wait, const struct error *error)
{
    wait->operation = NULL;
    /* The waiting thread frees WAIT once it has the mutex: so the signal is given before it can. */
    pthread_mutex_lock(&wait->mutex);
    if (error != NULL)
        wait->error = *error;
    wait->done = true;
    pthread_cond_broadcast(&wait->changed);
    pthread_mutex_unlock(&wait->mutex);
}

void reel_wait_started(struct reel_wait *wait, struct client_operation *operation)
{
    struct error error;

    wait->operation = operation;
    if (operation != NULL)
        return;
    (void)error_set(&error, ERROR_UNAVAILABLE, "no memory");
    reel_wait_finish(wait, &error);
}

/* ---- the handle ---- */

static void log_quietly(void)
{
    static const char *const levels[] = {"debug", "info", "warning", "error"};
    const char *level = getenv("REEL_LOG");

    log_set_level(LOG_LEVEL_ERROR);
    for (size_t i = 0; level != NULL && i < ARRAY_SIZE(levels); i++)
        if (strcmp(level, levels[i]) == 0)
            log_set_level((enum log_level)i);
}

static void reel_free_handle(struct reel *reel)
{
    /* Where a look-up hangs for ever, its loop must stay: two small structures and a sleeping thread are
     * lost. */
    if (workers_destroy(reel->resolver, CLOSE_TIMEOUT_MS))
        loop_destroy(reel->loop);
    free(reel);
}

struct reel *reel_open(const struct reel_options *options, struct reel_error *error)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct client_options client = {0};
    struct reel *reel = calloc(1, sizeof(*reel));
    struct error why = {0};
    bool fine = false;

    pthread_once(&once, log_quietly);
    if (reel == NULL) {
        (void)error_set(&why, ERROR_UNAVAILABLE, "no memory for a handle");
        goto done;
    }
    if (options->trackers == NULL || options->trackers[0] == '\0') {
        (void)error_set(&why, ERROR_MALFORMED, "no tracker is given");
        goto done;
    }
    if (!reel_copy_text(reel->application, sizeof(reel->application), "application",
                        options->application != NULL ? options->application : "tnvideo", &why) ||
        !reel_copy_text(reel->user, sizeof(reel->user), "user ID", options->user != NULL ? options->user : "",
                        &why) ||
        !address_list_parse(options->trackers, TRACKER_PORT, &client.trackers, &why))
        goto done;
    reel->tries = options->tries > 0 ? options->tries : 10;
    reel->progress_timeout_ms = options->progress_timeout_ms > 0 ? options->progress_timeout_ms : 30000;
    reel->loop = loop_create("reel", &why);
    if (reel->loop == NULL)
        goto done;
    reel->resolver = workers_create("reel-names", RESOLVER_THREADS, RESOLVER_QUEUE, &why);
    if (reel->resolver == NULL)
        goto done;
    client.resolver = reel->resolver;
    client.connect_timeout_ms = options->connect_timeout_ms;
    client.call_timeout_ms = options->call_timeout_ms;
    client.progress_timeout_ms = options->progress_timeout_ms;
    client.hedge_ms = options->hedge_ms;
    client.connections_per_server_max = options->connections;
    reel->client = client_create(reel->loop, &client, &why);
    fine = reel->client != NULL && loop_start(reel->loop, &why);
done:
    address_list_clear(&client.trackers);
    if (fine)
        return reel;
    if (reel != NULL) {
        client_destroy(reel->client); /* its loop does not run */
        reel_free_handle(reel);
    }
    (void)reel_fail(error, &why);
    return NULL;
}

static void close_start(struct reel_wait *wait)
{
    client_destroy(wait->reel->client);
    reel_wait_finish(wait, NULL);
}

void reel_close(struct reel *reel)
{
    struct reel_wait wait;

    if (reel == NULL)
        return;
    reel_wait_init(&wait, reel, close_start);
    reel_wait_begin(&wait);
    (void)reel_wait_end(&wait);
    reel_wait_clear(&wait);
    reel_free_handle(reel);
}

/* ---- STAT, DELETE, RESTORE ---- */

struct key_wait {
    struct reel_wait wait;
    struct proto_file_key key;
    struct proto_stat *stat;
};

static void stat_done(void *argument, const struct proto_stat *stat, const struct error *error)
{
    struct key_wait *wait = argument;

    if (stat != NULL)
        *wait->stat = *stat;
    reel_wait_finish(&wait->wait, error);
}

static void key_done(void *argument, const struct error *error)
{
    reel_wait_finish(&((struct key_wait *)argument)->wait, error);
}

static void stat_start(struct reel_wait *wait)
{
    struct key_wait *key = CONTAINER_OF(wait, struct key_wait, wait);

    reel_wait_started(wait, client_stat(wait->reel->client, &key->key, stat_done, key));
}

static void delete_start(struct reel_wait *wait)
{
    struct key_wait *key = CONTAINER_OF(wait, struct key_wait, wait);

    reel_wait_started(wait, client_delete(wait->reel->client, &key->key, key_done, key));
}

static void restore_start(struct reel_wait *wait)
{
    struct key_wait *key = CONTAINER_OF(wait, struct key_wait, wait);

    reel_wait_started(wait, client_restore(wait->reel->client, &key->key, key_done, key));
}

static bool key_call(struct reel *reel, const struct proto_file_key *key, struct proto_stat *stat,
                     void (*start)(struct reel_wait *wait), struct error *error)
{
    struct key_wait wait;
    bool fine;

    reel_wait_init(&wait.wait, reel, start);
    wait.key = *key;
    wait.stat = stat;
    reel_wait_begin(&wait.wait);
    fine = reel_wait_end(&wait.wait);
    if (!fine)
        *error = wait.wait.error;
    reel_wait_clear(&wait.wait);
    return fine;
}

bool reel_stat_key(struct reel *reel, const struct proto_file_key *key, struct proto_stat *stat,
                   struct error *error)
{
    return key_call(reel, key, stat, stat_start, error);
}

static void to_file(const char *id, const struct proto_stat *stat, struct reel_file *file)
{
    memset(file, 0, sizeof(*file));
    memcpy(file->file, id, sizeof(file->file));
    file->size = stat->size;
    file->deleted = stat->status == PROTO_FILE_DELETED;
    file->created_time = stat->created;
    file->deleted_time = stat->deleted;
    if (stat->has_digest)
        digest_to_hex(stat->digest, file->digest);
    memcpy(file->content_type, stat->content_type, sizeof(file->content_type));
    memcpy(file->name, stat->name, sizeof(file->name));
    memcpy(file->group, stat->group, sizeof(file->group));
}

bool reel_stat(struct reel *reel, const struct reel_key *key, struct reel_file *file,
               struct reel_error *error)
{
    struct proto_file_key full;
    struct proto_stat stat;
    struct error why;

    if (!reel_fill_key(reel, key, false, &full, &why) || !reel_stat_key(reel, &full, &stat, &why))
        return reel_fail(error, &why);
    to_file(full.file, &stat, file);
    return true;
}

bool reel_size(struct reel *reel, const struct reel_key *key, int64_t *size, struct reel_error *error)
{
    struct reel_file file;

    if (!reel_stat(reel, key, &file, error))
        return false;
    if (file.deleted) {
        struct error why;

        (void)error_set(&why, ERROR_DELETED, "file %s is deleted", file.file);
        return reel_fail(error, &why);
    }
    *size = file.size;
    return true;
}

bool reel_delete(struct reel *reel, const struct reel_key *key, struct reel_error *error)
{
    struct proto_file_key full;
    struct error why;

    if (!reel_fill_key(reel, key, false, &full, &why) || !key_call(reel, &full, NULL, delete_start, &why))
        return reel_fail(error, &why);
    return true;
}

bool reel_restore(struct reel *reel, const struct reel_key *key, struct reel_error *error)
{
    struct proto_file_key full;
    struct error why;

    if (!reel_fill_key(reel, key, false, &full, &why) || !key_call(reel, &full, NULL, restore_start, &why))
        return reel_fail(error, &why);
    return true;
}

/* ---- LIST ---- */

struct list_wait {
    struct reel_wait wait;
    struct proto_list list;
    struct proto_list_entry *entries; /* room for a page */
    size_t count;
};

static void list_done(void *argument, const struct proto_list_entry *entries, size_t count,
                      const struct error *error)
{
    struct list_wait *list = argument;

    list->count = count;
    if (count > 0)
        memcpy(list->entries, entries, count * sizeof(*entries));
    reel_wait_finish(&list->wait, error);
}

static void list_start(struct reel_wait *wait)
{
    struct list_wait *list = CONTAINER_OF(wait, struct list_wait, wait);

    reel_wait_started(wait, client_list(wait->reel->client, &list->list, list_done, list));
}

/* One page into LIST->entries. */
static bool list_page(struct reel *reel, struct list_wait *list, struct error *error)
{
    bool fine;

    reel_wait_init(&list->wait, reel, list_start);
    reel_wait_begin(&list->wait);
    fine = reel_wait_end(&list->wait);
    if (!fine)
        *error = list->wait.error;
    reel_wait_clear(&list->wait);
    return fine;
}

bool reel_list(struct reel *reel, const struct reel_key *key, bool deleted, reel_each each, void *argument,
               struct reel_error *error)
{
    struct list_wait list = {0};
    struct reel_file file;
    struct error why;
    bool fine = false, more = true;

    list.entries = calloc(LIST_PAGE_SIZE, sizeof(*list.entries));
    if (list.entries == NULL) {
        (void)error_set(&why, ERROR_UNAVAILABLE, "no memory for a list");
        return reel_fail(error, &why);
    }
    if (!reel_fill_key(reel, key, true, &list.list.key, &why))
        goto done;
    list.list.limit = LIST_PAGE_SIZE;
    list.list.status = deleted ? PROTO_FILE_DELETED : PROTO_FILE_NORMAL;
    while (more) {
        if (!list_page(reel, &list, &why))
            goto done;
        for (size_t i = 0; more && i < list.count; i++) {
            to_file(list.entries[i].file, &list.entries[i].stat, &file);
            more = each(argument, &file);
        }
        if (list.count < LIST_PAGE_SIZE)
            break;
        memcpy(list.list.key.file, list.entries[list.count - 1].file, sizeof(list.list.key.file));
    }
    fine = true;
done:
    free(list.entries);
    return fine || reel_fail(error, &why);
}

/* ---- GROUPS, STATUS ---- */

struct text_wait {
    struct reel_wait wait;
    char *text;
};

static void text_done(void *argument, const char *text, size_t size, const struct error *error)
{
    struct text_wait *wait = argument;
    struct error no_memory;

    if (error == NULL) {
        wait->text = malloc(size + 1);
        if (wait->text != NULL) {
            memcpy(wait->text, text, size + 1);
        } else {
            (void)error_set(&no_memory, ERROR_UNAVAILABLE, "no memory for a text of %zu bytes", size);
            error = &no_memory;
        }
    }
    reel_wait_finish(&wait->wait, error);
}

static void groups_start(struct reel_wait *wait)
{
    reel_wait_started(
        wait, client_groups(wait->reel->client, text_done, CONTAINER_OF(wait, struct text_wait, wait)));
}

static void status_start(struct reel_wait *wait)
{
    reel_wait_started(
        wait, client_status(wait->reel->client, text_done, CONTAINER_OF(wait, struct text_wait, wait)));
}

static char *text_call(struct reel *reel, void (*start)(struct reel_wait *wait), struct reel_error *error)
{
    struct text_wait wait = {.text = NULL};

    reel_wait_init(&wait.wait, reel, start);
    reel_wait_begin(&wait.wait);
    if (!reel_wait_end(&wait.wait))
        (void)reel_fail(error, &wait.wait.error);
    reel_wait_clear(&wait.wait);
    return wait.text;
}

struct fsck_wait {
    struct text_wait text;
    struct proto_file_key key;
    enum reel_fsck_action action;
};

static void fsck_start(struct reel_wait *wait)
{
    struct text_wait *text = CONTAINER_OF(wait, struct text_wait, wait);
    struct fsck_wait *fsck = CONTAINER_OF(text, struct fsck_wait, text);

    reel_wait_started(wait, client_fsck(wait->reel->client, &fsck->key, (enum proto_fsck_action)fsck->action,
                                        text_done, text));
}

char *reel_fsck(struct reel *reel, const struct reel_key *key, enum reel_fsck_action action,
                struct reel_error *error)
{
    static const struct reel_key none = {0};
    struct fsck_wait wait = {.action = action};
    struct error why;

    if (!reel_fill_key(reel, key != NULL ? key : &none, true, &wait.key, &why)) {
        (void)reel_fail(error, &why);
        return NULL;
    }
    reel_wait_init(&wait.text.wait, reel, fsck_start);
    reel_wait_begin(&wait.text.wait);
    if (!reel_wait_end(&wait.text.wait))
        (void)reel_fail(error, &wait.text.wait.error);
    reel_wait_clear(&wait.text.wait);
    return wait.text.text;
}

char *reel_groups(struct reel *reel, struct reel_error *error)
{
    return text_call(reel, groups_start, error);
}

char *reel_status(struct reel *reel, struct reel_error *error)
{
    return text_call(reel, status_start, error);
}

/* ---- GROUP ---- */

struct group_wait {
    struct text_wait text;
    struct proto_group change;
};

static void group_start(struct reel_wait *wait)
{
    struct text_wait *text = CONTAINER_OF(wait, struct text_wait, wait);
    struct group_wait *group = CONTAINER_OF(text, struct group_wait, text);

    reel_wait_started(wait, client_group(wait->reel->client, &group->change, text_done, text));
}

bool reel_change_group(struct reel *reel, const char *group, enum reel_group_change change, int weight,
                       struct reel_error *error)
{
    struct group_wait wait = {.change = {.change = (uint8_t)change, .weight = weight}};
    struct error why;
    bool fine;

    if (strlen(group) >= sizeof(wait.change.group)) {
        (void)error_set(&why, ERROR_MALFORMED, "group: \"%s\" is longer than %zu letters and digits", group,
                        sizeof(wait.change.group) - 1);
        return reel_fail(error, &why);
    }
    memcpy(wait.change.group, group, strlen(group));
    reel_wait_init(&wait.text.wait, reel, group_start);
    reel_wait_begin(&wait.text.wait);
    fine = reel_wait_end(&wait.text.wait);
    if (!fine)
        (void)reel_fail(error, &wait.text.wait.error);
    reel_wait_clear(&wait.text.wait);
    free(wait.text.text);
    return fine;
}
