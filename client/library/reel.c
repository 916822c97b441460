/*
 * reel: the handle of reel.h: opened, cancelled, closed; and what all calls share: errors, keys, writing to
 * descriptors.
 */
#include "client/library/reel_internal.h"

#include "client/library/file_id.h"
#include "common/proto/digest.h"
#include "common/base/log.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define TRACKER_PORT     21000
#define RESOLVER_THREADS 2
#define RESOLVER_QUEUE   1024
#define CLOSE_TIMEOUT_MS 5000
#define ASYNC_THREADS    4

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
_Static_assert((int)REEL_E_OTHER_GROUP == ERROR_OTHER_GROUP, "error numbers");
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
    if (error) {
        memset(error, 0, sizeof(*error));
        error->code = from->code;
        error->errnum = from->errnum;
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

    if (!application && reel)
        application = reel->application;
    if (!user && reel)
        user = reel->user;
    if (!application || application[0] == '\0')
        return error_set(error, ERROR_MALFORMED, "no application is given");
    if (!user || user[0] == '\0')
        return error_set(error, ERROR_MALFORMED, "no user ID is given");
    if ((!file || file[0] == '\0') && !empty_file)
        return error_set(error, ERROR_MALFORMED, "no file ID is given");
    memset(out, 0, sizeof(*out));
    return reel_copy_text(out->application, sizeof(out->application), "application", application, error) &&
           reel_copy_text(out->user, sizeof(out->user), "user ID", user, error) &&
           reel_copy_text(out->file, sizeof(out->file), "file ID", file ? file : "", error);
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

/* ---- the handle ---- */

static void log_quietly(void)
{
    static const char *const levels[] = {"debug", "info", "warning", "error"};
    const char *level = getenv("REEL_LOG");

    log_set_level(LOG_LEVEL_ERROR);
    for (size_t i = 0; level && i < ARRAY_SIZE(levels); i++)
        if (strcmp(level, levels[i]) == 0)
            log_set_level((enum log_level)i);
}

static bool process_is_ours(const struct reel *reel)
{
    return reel->process == getpid();
}

bool reel_usable(struct reel *reel, struct error *error)
{
    bool cancelled;

    if (!process_is_ours(reel)) /* before the mutex, which another thread of the parent may have held */
        return error_set(error, ERROR_MALFORMED,
                         "the handle was opened before fork(): a child process opens its own");
    pthread_mutex_lock(&reel->mutex);
    cancelled = reel->cancelled;
    pthread_mutex_unlock(&reel->mutex);
    return !cancelled || error_set(error, ERROR_CANCELLED, "cancelled");
}

void reel_say(const struct reel *reel, const char *format, ...)
{
    char text[REEL_ERROR_TEXT_SIZE];
    va_list arguments;

    if (!reel->remark)
        return;
    va_start(arguments, format);
    if (vsnprintf(text, sizeof(text), format, arguments) < 0)
        text[0] = '\0';
    va_end(arguments);
    reel->remark(reel->remark_argument, text);
}

static void reel_free_handle(struct reel *reel)
{
    /* Where a look-up hangs for ever, its loop must stay: two small structures and a sleeping thread are
     * lost. */
    if (workers_destroy(reel->resolver, CLOSE_TIMEOUT_MS))
        loop_destroy(reel->loop);
    if (reel->cancel_fd >= 0)
        (void)close(reel->cancel_fd);
    pthread_mutex_destroy(&reel->mutex);
    free(reel);
}

/* Copies what the handle keeps of the options; the rest goes into CLIENT, whose trackers the caller clears. */
static bool take_options(struct reel *reel, const struct reel_options *options, struct client_options *client,
                         struct error *error)
{
    if (!options->trackers || options->trackers[0] == '\0')
        return error_set(error, ERROR_MALFORMED, "no tracker is given");
    if (!reel_copy_text(reel->application, sizeof(reel->application), "application",
                        options->application ? options->application : "tnvideo", error) ||
        !reel_copy_text(reel->user, sizeof(reel->user), "user ID", options->user ? options->user : "",
                        error) ||
        !address_list_parse(options->trackers, TRACKER_PORT, &client->trackers, error))
        return false;
    reel->tries = options->tries > 0 ? options->tries : 10;
    reel->progress_timeout_ms = options->progress_timeout_ms > 0 ? options->progress_timeout_ms : 30000;
    reel->async_threads = options->async_threads > 0 ? options->async_threads : ASYNC_THREADS;
    reel->remark = options->remark;
    reel->remark_argument = options->remark_argument;
    client->connect_timeout_ms = options->connect_timeout_ms;
    client->call_timeout_ms = options->call_timeout_ms;
    client->progress_timeout_ms = options->progress_timeout_ms;
    client->hedge_ms = options->hedge_ms;
    client->connections_per_server_max = options->connections;
    return true;
}

static bool open_parts(struct reel *reel, struct client_options *client, struct error *error)
{
    reel->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (reel->cancel_fd < 0)
        return error_set_errno(error, errno, "an event descriptor");
    reel->loop = loop_create("reel", error);
    if (!reel->loop)
        return false;
    reel->resolver = workers_create("reel-names", RESOLVER_THREADS, RESOLVER_QUEUE, error);
    if (!reel->resolver)
        return false;
    client->resolver = reel->resolver;
    reel->client = client_create(reel->loop, client, error);
    return reel->client && loop_start(reel->loop, error);
}

struct reel *reel_open(const struct reel_options *options, struct reel_error *error)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct client_options client = {0};
    struct reel *reel = calloc(1, sizeof(*reel));
    struct error why = {0};
    bool fine;

    pthread_once(&once, log_quietly);
    if (!reel) {
        (void)error_set(&why, ERROR_UNAVAILABLE, "no memory for a handle");
        (void)reel_fail(error, &why);
        return NULL;
    }
    reel->process = getpid();
    reel->cancel_fd = reel->async_fd = -1;
    STAILQ_INIT(&reel->async_ended);
    LIST_INIT(&reel->waits);
    ASSERT(pthread_mutex_init(&reel->mutex, NULL) == 0);
    fine = take_options(reel, options, &client, &why) && open_parts(reel, &client, &why);
    address_list_clear(&client.trackers);
    if (fine)
        return reel;
    client_destroy(reel->client); /* its loop does not run */
    reel_free_handle(reel);
    (void)reel_fail(error, &why);
    return NULL;
}

void reel_cancel(struct reel *reel)
{
    const uint64_t one = 1;
    struct reel_wait *wait;

    if (!reel || !process_is_ours(reel))
        return;
    pthread_mutex_lock(&reel->mutex);
    reel->cancelled = true;
    if (write(reel->cancel_fd, &one, sizeof(one)) < 0)
        log_debug("reel", "the event descriptor is full: it is readable already");
    LIST_FOREACH(wait, &reel->waits, link)
    {
        pthread_mutex_lock(&wait->mutex);
        wait->cancelled = true;
        pthread_cond_broadcast(&wait->changed);
        pthread_mutex_unlock(&wait->mutex);
    }
    pthread_mutex_unlock(&reel->mutex);
}

static void close_start(struct reel_wait *wait)
{
    client_destroy(wait->reel->client);
    reel_wait_finish(wait, NULL);
}

void reel_close(struct reel *reel)
{
    struct reel_wait wait;

    /* In a child none of the handle's threads runs; its memory and descriptors are the parent's copies. */
    if (!reel || !process_is_ours(reel))
        return;
    reel_async_close(reel);
    reel_wait_init(&wait, reel, close_start);
    reel_wait_begin(&wait);
    (void)reel_wait_end(&wait); /* cannot fail */
    reel_wait_clear(&wait);
    reel_free_handle(reel);
}
