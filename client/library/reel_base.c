/*
 * reel_base: what every call of reel.h begins and ends with: whether the handle can be used, errors, keys, remarks, and
 * writing to descriptors. Declared in reel_internal.h.
 */
#include "client/library/reel_internal.h"

#include "client/library/file_id.h"
#include "common/proto/digest.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
_Static_assert((int)REEL_E_UNAUTHENTICATED == ERROR_UNAUTHENTICATED, "error numbers");
_Static_assert((int)REEL_E_FORBIDDEN == ERROR_FORBIDDEN, "error numbers");
_Static_assert((int)REEL_E_THROTTLED == ERROR_THROTTLED, "error numbers");
_Static_assert((int)REEL_E_OTHER_GROUP == ERROR_OTHER_GROUP, "error numbers");
_Static_assert((int)REEL_E_QUOTA == ERROR_QUOTA, "error numbers");
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

    if (length >= size) {
        (void)error_set(error, ERROR_MALFORMED, "the %s is too long: %zu bytes, at most %zu", what, length,
                        size - 1);
        return error_of_argument(error);
    }
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
    const char *lacks = !application || application[0] == '\0'      ? "application"
                        : !user || user[0] == '\0'                  ? "user ID"
                        : (!file || file[0] == '\0') && !empty_file ? "file ID"
                                                                    : NULL;
    if (lacks) {
        (void)error_set(error, ERROR_MALFORMED, "no %s is given", lacks);
        return error_of_argument(error);
    }
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

bool reel_is_ours(const struct reel *reel)
{
    return reel->process == getpid();
}

bool reel_usable(struct reel *reel, struct error *error)
{
    bool cancelled;

    if (!reel_is_ours(reel)) /* before the mutex, which another thread of the parent may have held */
        return error_set(error, ERROR_MALFORMED,
                         "the handle was opened before fork(): a child process opens its own");
    pthread_mutex_lock(&reel->mutex);
    cancelled = reel->cancelled;
    pthread_mutex_unlock(&reel->mutex);
    return !cancelled || error_set(error, ERROR_CANCELLED, "cancelled");
}

static _Thread_local const struct reel_relay *thread_relay;

void reel_relay_use(const struct reel_relay *relay)
{
    thread_relay = relay;
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
    if (thread_relay)
        thread_relay->say(thread_relay->argument, text);
    else
        reel->remark(reel->remark_argument, text);
}
