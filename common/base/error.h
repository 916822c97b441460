/*
 * error: how a failure travels to where somebody reads it: a number for programs, a text for people.
 * A function that can fail returns false (or NULL) and fills a struct error; there is no other way.
 */
#ifndef REEL_COMMON_ERROR_H
#define REEL_COMMON_ERROR_H

#include "common/base/base.h"
#include <stdarg.h>

/*
 * Numbers of a failure; they travel in the first two bytes of a failure reply (docs/protocol.md, "Failure replies").
 * Legacy servers only ever send ERROR_GENERAL. A number is never reused or renumbered.
 */
enum error_code {
    ERROR_NONE = 0,
    ERROR_GENERAL = -1,         /* anything that has no number of its own; every failure of a legacy peer */
    ERROR_MALFORMED = -2,       /* the request breaks a rule of the protocol; repeating it cannot help */
    ERROR_UNKNOWN_COMMAND = -3, /* this server has no such command */
    ERROR_NOT_FOUND = -4,       /* no such file, user or group */
    ERROR_EXISTS = -5,          /* the file ID is taken by other bytes */
    ERROR_DELETED = -6,         /* the file is deleted; RESTORE brings it back */
    ERROR_RANGE = -7,           /* offset or size outside of the file */
    ERROR_NO_SPACE = -8,        /* disk full, or below the floor of free space or inodes */
    ERROR_UNAVAILABLE = -9, /* not now: a part that is needed is away or overloaded; try again or elsewhere */
    ERROR_NO_SERVER = -10,  /* the group has no ACTIVE storage server */
    ERROR_DIGEST = -11,     /* the bytes do not match the digest that was stated or stored */
    ERROR_REFUSED = -12,    /* not allowed: application, group or key unknown to the configuration */
    ERROR_IO = -13,         /* the disk or file system failed */
    ERROR_TIMEOUT = -14,    /* the deadline passed */
    ERROR_CONNECTION = -15, /* the peer could not be reached or broke the connection; local only */
    ERROR_EXHAUSTED = -16,  /* a number space is used up */
    ERROR_CANCELLED = -17,  /* the caller gave up; local only */
    ERROR_UNAUTHENTICATED = -18, /* the caller has not proved who it is: HELLO and PROVE, then again */
    ERROR_FORBIDDEN = -19,       /* the caller is known, and is not allowed to do this */
    ERROR_THROTTLED = -20,       /* too many requests: try later */
    ERROR_OTHER_GROUP = -21,     /* the file is another group's; its own servers have it */
    ERROR_QUOTA = -22,           /* the user's quota is used up */
};

#define ERROR_TEXT_SIZE  512 /* bytes, terminating NUL included; longer texts are cut */
#define ERROR_GROUP_SIZE 17  /* likewise; a group's name */

struct error {
    int code; /* enum error_code */
    char text[ERROR_TEXT_SIZE];
    int errnum; /* errno of the system call that failed, as given to error_set_errno(); EINVAL by error_of_argument(); else 0 */
    char group[ERROR_GROUP_SIZE]; /* as given to error_set_group(): whose servers to ask instead; else "" */
};

/* Fills ERROR (may be NULL) and returns false, so that `return error_set(...)` reads well. Keeps errno. */
bool error_set(struct error *error, int code, const char *format, ...) PRINTF_LIKE(3, 4);
bool error_set_va(struct error *error, int code, const char *format, va_list arguments) PRINTF_LIKE(3, 0);

/* The same for a failed system call: the text gets ": " and the description of ERRNUM, the code comes from
 * error_code_of_errno(). Keeps errno. Returns false. */
bool error_set_errno(struct error *error, int errnum, const char *format, ...) PRINTF_LIKE(3, 4);

/* The same with ERROR_OTHER_GROUP: the servers of GROUP have what was asked for. Returns false. */
bool error_set_group(struct error *error, const char *group, const char *format, ...) PRINTF_LIKE(3, 4);

/* ERROR (may be NULL), which is set, is about an argument of the caller's that breaks a rule: no server was asked. Its errnum
 * becomes EINVAL. Returns false. */
bool error_of_argument(struct error *error);

/* ENOSPC, EDQUOT -> ERROR_NO_SPACE; ENOENT -> ERROR_NOT_FOUND; EMFILE, ENFILE, ENOMEM, ENOTCONN, EROFS ->
 * ERROR_UNAVAILABLE; ECONNREFUSED, ECONNRESET, EPIPE, ... -> ERROR_CONNECTION; ETIMEDOUT -> ERROR_TIMEOUT; else ERROR_IO. */
int error_code_of_errno(int errnum);

/* The word of a code for logs and JSON, e.g. "not-found"; "general" for one it does not know. Static storage. */
const char *error_code_name(int code);

#endif
