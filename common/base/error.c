/*
 * error: fills struct error; knows the words of the codes and which code an errno belongs to. Touches nothing
 * but its arguments. Everybody calls it, on any thread.
 */
#include "common/base/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

bool error_set_va(struct error *error, int code, const char *format, va_list arguments)
{
    if (!error)
        return false;

    int saved_errno = errno;
    /* Formatted aside first, so that ERROR's own text may be among the arguments when a cause is put in front
     * of it. */
    char text[ERROR_TEXT_SIZE];
    if (vsnprintf(text, sizeof(text), format, arguments) < 0)
        text[0] = '\0';
    memcpy(error->text, text, sizeof(text));
    error->code = code;
    error->errnum = 0;
    error->group[0] = '\0';
    errno = saved_errno;
    return false;
}

bool error_set(struct error *error, int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)error_set_va(error, code, format, arguments);
    va_end(arguments);
    return false;
}

bool error_set_errno(struct error *error, int errnum, const char *format, ...)
{
    if (!error)
        return false;

    int saved_errno = errno;
    char text[ERROR_TEXT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    if (vsnprintf(text, sizeof(text), format, arguments) < 0)
        text[0] = '\0';
    va_end(arguments);
    /* strerrordesc_np() is safe on any thread and in any locale, unlike strerror(). */
    const char *description = strerrordesc_np(errnum);
    if (description)
        (void)error_set(error, error_code_of_errno(errnum), "%s: %s", text, description);
    else
        (void)error_set(error, error_code_of_errno(errnum), "%s: errno %d", text, errnum);
    error->errnum = errnum;
    errno = saved_errno;
    return false;
}

bool error_of_argument(struct error *error)
{
    if (error)
        error->errnum = EINVAL;
    return false;
}

bool error_set_group(struct error *error, const char *group, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)error_set_va(error, ERROR_OTHER_GROUP, format, arguments);
    va_end(arguments);
    if (error)
        (void)snprintf(error->group, sizeof(error->group), "%s", group);
    return false;
}

int error_code_of_errno(int errnum)
{
    switch (errnum) {
    case ENOSPC:
    case EDQUOT:
        return ERROR_NO_SPACE;
    case ENOENT:
        return ERROR_NOT_FOUND;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOTCONN: /* a GlusterFS mount whose process has gone */
    case EROFS:
        return ERROR_UNAVAILABLE;
    case ECONNREFUSED:
    case ECONNRESET:
    case ECONNABORTED:
    case EPIPE:
    case EHOSTUNREACH:
    case EHOSTDOWN:
    case ENETUNREACH:
    case ENETDOWN:
    case ENETRESET:
    case EADDRNOTAVAIL:
        return ERROR_CONNECTION;
    case ETIMEDOUT:
        return ERROR_TIMEOUT;
    default:
        return ERROR_IO;
    }
}

const char *error_code_name(int code)
{
    switch (code) {
    case ERROR_NONE:
        return "none";
    case ERROR_MALFORMED:
        return "malformed";
    case ERROR_UNKNOWN_COMMAND:
        return "unknown-command";
    case ERROR_NOT_FOUND:
        return "not-found";
    case ERROR_EXISTS:
        return "exists";
    case ERROR_DELETED:
        return "deleted";
    case ERROR_RANGE:
        return "range";
    case ERROR_NO_SPACE:
        return "no-space";
    case ERROR_UNAVAILABLE:
        return "unavailable";
    case ERROR_NO_SERVER:
        return "no-server";
    case ERROR_DIGEST:
        return "digest";
    case ERROR_REFUSED:
        return "refused";
    case ERROR_IO:
        return "io";
    case ERROR_TIMEOUT:
        return "timeout";
    case ERROR_CONNECTION:
        return "connection";
    case ERROR_EXHAUSTED:
        return "exhausted";
    case ERROR_CANCELLED:
        return "cancelled";
    case ERROR_UNAUTHENTICATED:
        return "unauthenticated";
    case ERROR_FORBIDDEN:
        return "forbidden";
    case ERROR_THROTTLED:
        return "throttled";
    case ERROR_OTHER_GROUP:
        return "other-group";
    case ERROR_QUOTA:
        return "quota";
    default:
        return "general";
    }
}
