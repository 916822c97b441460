/*
 * reel.h: libreel, the client of Reelstore as a C library. This header needs only the C library; C99 or later, or
 * C++.
 *
 * Every function blocks until it has succeeded or failed, within the time-outs of the handle, or until
 * reel_cancel(). A handle may be used by any number of threads at the same time; only reel_close() must come
 * after all other calls. Callbacks and all file input and output happen in the calling thread: a slow disk or
 * callback holds up its own call only. A handle belongs to the process that opened it: in a child after fork()
 * every call fails with REEL_E_MALFORMED, and the child opens a handle of its own.
 *
 * A function that can fail returns false (or NULL) and fills ERROR (which may be NULL): a number for
 * programs, and a text for people that names what failed, on which server, and why. Strings are NUL-terminated; a
 * file ID, a user ID and a name are bytes, UTF-8 by custom. Nothing is written to standard output or error,
 * except messages that the environment variable REEL_LOG asks for (debug, info, warning or error; by default:
 * none).
 */
#ifndef REEL_H
#define REEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define REEL_API __attribute__((visibility("default")))
#else
#define REEL_API
#endif

/* Sizes of strings, terminating NUL included. */
#define REEL_APPLICATION_SIZE  16 /* letters and digits only */
#define REEL_USER_SIZE         256
#define REEL_FILE_SIZE         128
#define REEL_NAME_SIZE         256
#define REEL_CONTENT_TYPE_SIZE 128
#define REEL_GROUP_SIZE        17
#define REEL_DIGEST_HEX_SIZE   33 /* XXH3-128, 32 lower-case hex digits */
#define REEL_ERROR_TEXT_SIZE   512
#define REEL_FILE_ID_SIZE      37 /* of the IDs that libreel makes */

/* Numbers of a failure. A number is never reused or renumbered. */
enum reel_error_code {
    REEL_E_NONE = 0,
    REEL_E_GENERAL = -1,         /* no number of its own; every failure of a legacy server */
    REEL_E_MALFORMED = -2,       /* an argument, request or reply breaks a rule; repeating cannot help */
    REEL_E_UNKNOWN_COMMAND = -3, /* the server is too old for this */
    REEL_E_NOT_FOUND = -4,       /* no such file or user */
    REEL_E_EXISTS = -5,          /* the file ID is taken by other bytes */
    REEL_E_DELETED = -6,         /* the file is deleted; reel_restore() brings it back */
    REEL_E_RANGE = -7,           /* offset or size outside of the file */
    REEL_E_NO_SPACE = -8,        /* a disk is full, at the server or here */
    REEL_E_UNAVAILABLE = -9,     /* not now; try again later */
    REEL_E_NO_SERVER = -10,      /* the user's group has no active storage server */
    REEL_E_DIGEST = -11,         /* the bytes do not match their digest */
    REEL_E_REFUSED = -12,        /* not allowed */
    REEL_E_IO = -13,             /* a disk or file system failed, at the server or here */
    REEL_E_TIMEOUT = -14,
    REEL_E_CONNECTION = -15, /* no server could be reached, or all broke the connection */
    REEL_E_EXHAUSTED = -16,  /* a number space is used up */
    REEL_E_CANCELLED = -17,  /* a callback of the caller asked for it, or reel_cancel() */
    REEL_E_UNAUTHENTICATED =
        -18, /* a server requires authentication: a key or a token is missing, wrong or expired */
    REEL_E_FORBIDDEN = -19,   /* the key or token does not allow this */
    REEL_E_THROTTLED = -20,   /* too many requests; try again later */
    REEL_E_OTHER_GROUP = -21, /* the file belongs to another group than the server that was asked */
    REEL_E_QUOTA = -22 /* the user has as much as is allowed; what is deleted counts until it is purged */
};

struct reel_error {
    int code;   /* enum reel_error_code */
    int errnum; /* errno of the system call that failed here, on a file or a connection; EINVAL: an argument breaks a rule, and
                   nobody was asked; 0 otherwise */
    char text[REEL_ERROR_TEXT_SIZE];
    int64_t reserved[2]; /* zero */
};

/* The word of a code, e.g. "not-found". Static storage. Any thread; never blocks. */
REEL_API const char *reel_error_name(int code);

/* The version of the library, e.g. "0.2.0". Static storage. Any thread; never blocks. */
REEL_API const char *reel_version(void);

/* ---- the handle ---- */

struct reel; /* opaque; one thread of its own, and the connections that it keeps */

/* Reports, for people, trouble that a call has overcome so far, in one line without a newline: "media1:23000: no
 * reply within 10000 ms; trying the next server", "waiting for the server to confirm". TEXT is valid during the call. */
typedef void (*reel_remark)(void *argument, const char *text);

/* Everything is copied. Zero or NULL means the default. Zero the whole struct first, so that members that a
 * later version adds have their defaults: struct reel_options options = {0}; */
struct reel_options {
    const char *
        trackers; /* must be given: "host:port,host:port"; without port: 21000. Those at "tls://host:port" are
                                    called under TLS, and so are the storage servers that they name */
    const char *application;     /* of keys that name none; NULL: "tnvideo" */
    const char *user;            /* of keys that name none; NULL: every key must name one */
    int64_t connect_timeout_ms;  /* for one server; 0: 1,000 */
    int64_t call_timeout_ms;     /* until a reply begins; 0: 10,000 */
    int64_t progress_timeout_ms; /* without any byte of content transferred; 0: 30,000 */
    int tries;                   /* of an upload or download, over all servers; 0: 10 */
    size_t connections;          /* to one server at once; further calls wait; 0: 256 */
    int64_t hedge_ms;   /* of silence, after which the next tracker is asked too; 0: 300, < 0: never */
    reel_remark remark; /* called in the thread of the call that it is about; NULL: nothing is reported */
    void *remark_argument;
    size_t async_threads; /* that calls of reel_async() run on; 0: 4 */
    const char *tls_ca; /* file or directory of the authorities for servers at tls://; NULL: the system's, and
                           * servers that know the key of `keys` need no certificate */
    /* Who the program is. "FILE" or "ID@FILE": a keys file (mode 0600) and which key of it (without ID: the only one with
     * the role client, issuer or operator); NULL: the environment's REEL_KEYS, else none. */
    const char *keys;
    /* What an application allows: tokens as `reel auth token` prints them, separated by commas or blanks; NULL: the
     * environment's REEL_TOKEN, else none. Never take either from a command line, which other users can read. */
    const char *token;
    /* enum reel_auth. REEL_AUTH_DEFAULT: the environment's REEL_AUTH (off, prefer, required), else REEL_AUTH_REQUIRED with
     * a key and REEL_AUTH_PREFER without. */
    int64_t auth;
    /* For whoever runs the trackers (their admin_addresses; the role operator). NULL: no effect. Else the name of a group: its
     * servers are asked, whatever group a user has, and deleted files can be downloaded too. */
    const char *group;
    /* With group: uploads on this handle move the file whose ID is given from this group to `group`: the content must be the
     * file's, and nothing of the file but its group changes (see reel_move_user()). */
    const char *moves_from;
    /* The ID of this handle's calls in the logs of the servers: 32 hex digits, or a W3C traceparent, whose flag "sampled"
     * counts as `traced`. NULL: 128 random bits. */
    const char *request;
    int64_t
        traced; /* not 0: the servers also log that they answered, and put this ID into the texts of failures */
    int64_t reserved[4]; /* zero */
};

enum reel_auth {
    REEL_AUTH_DEFAULT = 0,
    REEL_AUTH_OFF = 1,      /* neither side proves who it is, and no token is sent */
    REEL_AUTH_PREFER = 2,   /* with servers that support it; others are used without */
    REEL_AUTH_REQUIRED = 3, /* no request is sent to a server that has not proved that it knows the key */
};

/* A handle, or NULL. Reads the keys file if there is one. Contacts no server yet: an unreachable tracker shows in the first call. The caller closes it with
 * reel_close(). */
REEL_API struct reel *reel_open(const struct reel_options *options, struct reel_error *error);

/* The 32 hex digits that identify the handle's calls in the logs of trackers and storage servers. Valid until reel_close(). */
REEL_API const char *reel_request(const struct reel *reel);

/* Any thread: every call in progress on the handle fails with REEL_E_CANCELLED as soon as it can (one that is
 * reading or writing a local file: after that), and so does every later one except reel_close(). Does not wait. Not for
 * signal handlers: let a thread wait for the signal. */
REEL_API void reel_cancel(struct reel *reel);

/* Closes every connection and frees the handle. No call may be in progress, except those of reel_async(): they are
 * cancelled and waited for, and their DONE is called. May block for a few seconds while a host name is being
 * resolved. In a child after fork() it does nothing. NULL is ignored. */
REEL_API void reel_close(struct reel *reel);

/* ---- files ---- */

/* Which file. NULL for application or user: that of the handle. */
struct reel_key {
    const char *application;
    const char *user;
    const char *file; /* the file ID */
};

/* What is known about a file. */
struct reel_file {
    char file[REEL_FILE_SIZE];
    int64_t size; /* bytes */
    bool deleted;
    int64_t created_time;                      /* seconds since the epoch; 0 where unknown */
    int64_t deleted_time;                      /* seconds since the epoch; 0 while not deleted */
    char digest[REEL_DIGEST_HEX_SIZE];         /* "" where unknown */
    char content_type[REEL_CONTENT_TYPE_SIZE]; /* "" where unknown */
    char name[REEL_NAME_SIZE];                 /* "" where unknown */
    char group[REEL_GROUP_SIZE];               /* of storage servers */
    int64_t expires_time;                      /* seconds since the epoch when it is deleted; 0: never */
    int64_t reserved[7];                       /* zero */
};

/* Called in the calling thread as bytes move, a few times per second while none do, and at least once at the
 * end: DONE of TOTAL bytes (an upload that is retried starts at 0 again). False: give up
 * (REEL_E_CANCELLED). */
typedef bool (*reel_progress)(void *argument, int64_t done, int64_t total);

/* ---- upload ---- */

/* How to upload. NULL and zero mean the default. */
struct reel_upload {
    const char *application; /* NULL: that of the handle */
    const char *user;        /* NULL: that of the handle */
    const char *file; /* NULL: a new file ID is made. Given: uploading the same bytes twice succeeds and
                         stores once; other bytes fail with REEL_E_EXISTS */
    const char *name; /* the original name. NULL: the last part of the path, or none; "": none */
    const char *content_type; /* NULL: the server detects it */
    reel_progress progress;   /* may be NULL */
    void *argument;           /* of progress and preparing */
    /* As progress, while the content is read before the first byte is sent: a pipe into a temporary file (TOTAL is
     * -1 while its end is not known), or any content for its digest if the servers are too old to take that at
     * the end. May be NULL. */
    reel_progress preparing;
    /* For a regular file (ignored otherwise): the upload can be resumed. What that needs is kept in the file STATE from
     * the first byte to success: its directory must exist; it is created with mode 0600 and removed at the end. If STATE belongs to an earlier
     * upload of the same content (user, size, modification time and inode of the file; FILE, if given), that upload is continued under its
     * file ID, over any server of the group; the bytes that were sent before are read here once more, for the digest that the servers
     * compare. Any other STATE is replaced. REEL_E_UNAVAILABLE while another upload uses it; REEL_E_IO if it is a link or not a regular
     * file that belongs to this user alone. If the servers are too old, the upload cannot be resumed. NULL: none. */
    const char *state;
    /* When the servers delete the file (it can be restored for their retention time): seconds since the epoch; a negative number: that many
     * seconds after the upload; REEL_NEVER; 0: as the servers are configured for the application. If they are too old for that, the
     * file is stored, but the upload fails with REEL_E_UNKNOWN_COMMAND. */
    int64_t expires;
    /* Large content is sent in up to this many pieces at the same time (at most 16), each over a connection of its own, to different servers
     * of the group if there are several, which join them; the digest of the whole is compared. While they do, the servers need room for it
     * twice, unless their file systems share blocks. The content is read by threads of the call, and once more by the calling thread, in which
     * all callbacks still run. 0, 1: as a whole. If STATE belongs to an earlier upload, its pieces are continued. */
    short pieces;
    bool
        fresh; /* ignore what STATE says and start over; if STATE cannot be locked or written, upload without it */
    int piece_kib;       /* the least size of a piece, in KiB; 0: 16,384 */
    int64_t reserved[1]; /* zero */
};
#define REEL_NEVER INT64_MAX

/* Upload a regular file, a descriptor, bytes in memory. FILE_ID (may be NULL) gets the file ID, also when the
 * upload fails after the ID was made. The content's digest is sent along if the server can check it, and every
 * retry uses the same file ID, so that success means: stored once, whole,
 * safely on disk. A file whose size or modification time changes while it is read is not stored (REEL_E_IO).
 * UPLOAD may be NULL.
 *
 * By path: a pipe, a socket or a device is read to its end, as by descriptor; so is a file that has bytes although
 * its size is reported as 0 (/proc). */
REEL_API bool reel_upload_path(struct reel *reel, const struct reel_upload *upload, const char *path,
                               char file_id[REEL_FILE_SIZE], struct reel_error *error);

/* By descriptor: a regular file from its position (which does not change) for SIZE bytes, or to its end if SIZE is
 * -1. Anything else is first read into an unlinked temporary file (in $TMPDIR, or /var/tmp), for SIZE bytes
 * or to its end. The descriptor remains the caller's. */
REEL_API bool reel_upload_fd(struct reel *reel, const struct reel_upload *upload, int fd, int64_t size,
                             char file_id[REEL_FILE_SIZE], struct reel_error *error);

REEL_API bool reel_upload_memory(struct reel *reel, const struct reel_upload *upload, const void *bytes,
                                 size_t size, char file_id[REEL_FILE_SIZE], struct reel_error *error);

/* ---- download ---- */

/* How to download. */
struct reel_download {
    struct reel_key key;
    int64_t offset; /* the first byte; at most the file's size */
    int64_t size;   /* how many; 0: to the end. More than the file has: REEL_E_RANGE */
    bool verify; /* compare with the stored digest: whole files only; fails with REEL_E_DIGEST at the end, or
                    with REEL_E_UNAVAILABLE at the beginning where no digest is stored */
    bool resume; /* reel_download_path(): continue where an earlier download stopped */
    reel_progress progress; /* may be NULL */
    void *argument;         /* of progress */
    bool exclusive; /* reel_download_path(): nothing may be at PATH, also not at the end (REEL_E_EXISTS) */
    int64_t reserved[3]; /* zero */
};

/* The bytes go to DATA in order, in the calling thread; BYTES is valid during the call; false: give up
 * (REEL_E_CANCELLED). A server that breaks off is replaced by another of its group, which continues at the next
 * byte, so DATA gets each byte once. */
typedef bool (*reel_data)(void *argument, const void *bytes, size_t size);
REEL_API bool reel_download_callback(struct reel *reel, const struct reel_download *download, reel_data data,
                                     void *argument, struct reel_error *error);

/* The bytes are written to FD at its position; it stays the caller's, and is not synced. */
REEL_API bool reel_download_fd(struct reel *reel, const struct reel_download *download, int fd,
                               struct reel_error *error);

/* The bytes are written to PATH.part (a regular file of this user; a link there is not followed; shortened where
 * the name would be too long), synced, and renamed to PATH (replacing it, also where it is a link) when they are
 * complete: PATH never holds half a file. If PATH exists and is not a regular file (a device, a pipe), it is written to directly. Whole
 * files only. RESUME: an existing PATH.part is continued where it stops (it is compared with the digest at
 * the end, if one is stored), and a PATH that is already complete is left as it is. Without PATH.part the
 * bytes at PATH are taken for the file's beginning; if they are not (REEL_E_DIGEST at the end,
 * REEL_E_RANGE if PATH is longer) or no digest is stored to check them (REEL_E_UNAVAILABLE), PATH stays as it
 * is. After a failure PATH.part stays for the next RESUME, unless its bytes were wrong. */
REEL_API bool reel_download_path(struct reel *reel, const struct reel_download *download, const char *path,
                                 struct reel_error *error);

/* ---- everything else about a file ---- */

/* The size in bytes. */
REEL_API bool reel_size(struct reel *reel, const struct reel_key *key, int64_t *size,
                        struct reel_error *error);

/* Everything that is known (from a legacy server: the size). A deleted file is found, with `deleted` set. */
REEL_API bool reel_stat(struct reel *reel, const struct reel_key *key, struct reel_file *file,
                        struct reel_error *error);

/* The file can no longer be read until reel_restore() brings it back; after the servers' retention time
 * it is purged. A file that is already deleted fails with REEL_E_DELETED. */
REEL_API bool reel_delete(struct reel *reel, const struct reel_key *key, struct reel_error *error);
REEL_API bool reel_restore(struct reel *reel, const struct reel_key *key, struct reel_error *error);

/* Gives the file another original name ("": none), the one under which it is listed and downloaded: UTF-8 without control
 * characters and without '/', at most 255 bytes. A deleted file fails with REEL_E_DELETED. REEL_E_UNKNOWN_COMMAND, or
 * REEL_E_GENERAL of a legacy server: the servers are too old for it. */
REEL_API bool reel_rename(struct reel *reel, const struct reel_key *key, const char *name,
                          struct reel_error *error);

/* When the servers delete the file: EXPIRES as in struct reel_upload, a negative number counting from now; 0: only query it.
 * *TIME (may be NULL): seconds since the epoch, as it is afterwards; 0: never. A deleted file fails with REEL_E_DELETED; restoring an
 * expired one removes its time. REEL_E_UNKNOWN_COMMAND, or REEL_E_GENERAL of a legacy server: the servers are too old. */
REEL_API bool reel_expire(struct reel *reel, const struct reel_key *key, int64_t expires, int64_t *time,
                          struct reel_error *error);

/* What a user has in an application, and may have. */
struct reel_quota {
    int64_t bytes_used,
        files_used; /* including deleted files that are not purged yet; -1: not counted, since no limit applies */
    int64_t bytes, files;      /* limits; -1: none */
    bool own_bytes, own_files; /* set for this user; else as the servers are configured for everybody */
    int64_t reserved[4];       /* zero */
};
#define REEL_QUOTA_NONE    INT64_C(-1) /* no limit */
#define REEL_QUOTA_DEFAULT INT64_C(-2) /* as the servers are configured */
#define REEL_QUOTA_KEEP    INT64_C(-3) /* as it is */

/* The quota of KEY's user and application; its file is ignored and may be NULL. REEL_E_UNKNOWN_COMMAND, or REEL_E_GENERAL of a legacy server: the
 * servers are too old. An upload that a quota has no room for fails with REEL_E_QUOTA. */
REEL_API bool reel_quota(struct reel *reel, const struct reel_key *key, struct reel_quota *quota,
                         struct reel_error *error);

/* For whoever runs the servers (the role operator): BYTES and FILES are the user's limits from now on: 0 or more, or one of the three
 * above. QUOTA (may be NULL): as it is then. A user who already has more keeps it. */
REEL_API bool reel_set_quota(struct reel *reel, const struct reel_key *key, int64_t bytes, int64_t files,
                             struct reel_quota *quota, struct reel_error *error);

/* A user's files in byte order of their IDs, after KEY->file (NULL: from the first), either the deleted ones or the
 * others. EACH is called in the calling thread; FILE is valid during the call; false: stop (the function
 * then succeeds). */
typedef bool (*reel_each)(void *argument, const struct reel_file *file);
REEL_API bool reel_list(struct reel *reel, const struct reel_key *key, bool deleted, reel_each each,
                        void *argument, struct reel_error *error);

/* ---- the servers ---- */

/* The tracker's table of groups and storage servers, for people / as JSON. The caller frees it with
 * reel_free(). */
REEL_API char *reel_groups(struct reel *reel, struct reel_error *error);
REEL_API char *reel_status(struct reel *reel, struct reel_error *error);

/* Whom the first tracker that answers takes this program for, as one JSON object: `role`, `rights` (letters), `ends` (seconds since the
 * epoch, 0: no session) and `key`. The caller frees it with reel_free(). NULL on failure; REEL_E_UNKNOWN_COMMAND: the tracker
 * does not support sessions. Blocks. */
REEL_API char *reel_whoami(struct reel *reel, struct reel_error *error);

/* What reel_fsck() asks for. */
enum reel_fsck_action {
    REEL_FSCK_STATUS = 0, /* how far it is */
    REEL_FSCK_CHECK = 1,  /* a scrub: every file of the group is read back in the background */
    REEL_FSCK_REPAIR = 2, /* as CHECK, and damaged files are taken out of service and into quarantine */
    REEL_FSCK_CONFIRM = 3 /* many files have no row, and they are indeed leftovers: move them to quarantine */
};

/* The scrub of the group that KEY's user belongs to, or of the group that KEY->file names, whose rows must be in the same
 * database (NULL or "": the user's; KEY may be NULL). As JSON: `group`, `wanted`, the number of the last scrub
 * requested, `done`, that of the last one finished, `progress`, and `sweep`, about the last search for files without rows
 * (docs/protocol.md). The caller frees it with reel_free(). */
REEL_API char *reel_fsck(struct reel *reel, const struct reel_key *key, enum reel_fsck_action action,
                         struct reel_error *error);

/* Changes of a group, at the first tracker that answers; all trackers know of it within their groups_refresh.
 * A tracker accepts them only from the addresses in its option admin_addresses (otherwise REEL_E_REFUSED). WEIGHT
 * is used by REEL_GROUP_ADD and REEL_GROUP_WEIGHT: the group's share of new users, 0 to 1,000,000, usually
 * 100. Each may be repeated: adding a group that exists leaves it as it is. */
enum reel_group_change {
    REEL_GROUP_ADD = 1,
    REEL_GROUP_DRAIN = 2, /* gets no new users; those that it has keep it */
    REEL_GROUP_OPEN = 3,
    REEL_GROUP_WEIGHT = 4,
    REEL_GROUP_REMOVE = 5, /* one that is drained and has no users (otherwise REEL_E_EXISTS) */
};
REEL_API bool reel_change_group(struct reel *reel, const char *group, enum reel_group_change change,
                                int weight, struct reel_error *error);

/* A user of a group. EACH is called in the calling thread; the texts are valid during the call; false: stop (the function
 * then succeeds). */
typedef bool (*reel_each_user)(void *argument, const char *application, const char *user);

/* The users of GROUP, according to the first tracker that answers. For whoever runs the trackers, like what follows. */
REEL_API bool reel_group_users(struct reel *reel, const char *group, reel_each_user each, void *argument,
                               struct reel_error *error);

/* The user, whose files have all been moved (reel_options.moves_from), belongs to group TO from now on, unless the user
 * no longer belongs to FROM. The first tracker that answers does it; the others learn of it when their cached entry
 * expires (tracker.route_cache_age), or when they are asked to do the same. GROUP gets the group that the user belongs to afterwards. */
REEL_API bool reel_move_user(struct reel *reel, const char *application, const char *user, const char *from,
                             const char *to, char group[REEL_GROUP_SIZE], struct reel_error *error);

/* What the group of the handle (reel_options.group) still has: the users with files of its own; in *FILES the number of these
 * files, in *FORMER the number of copies of moved files that are not purged yet. A user may be named several times. Reads
 * all of the storage servers' tables, so the time it takes grows with their size. */
REEL_API bool reel_group_left(struct reel *reel, reel_each_user each, void *argument, int64_t *files,
                              int64_t *former, struct reel_error *error);

/* The users of an application whose files the servers of the handle's group (reel_options.group) count, in the order of users: those
 * who were given a quota, and, where the servers are configured to have one, everybody who stored something. HELD: bytes in
 * unfinished uploads, beside QUOTA->bytes_used. EACH returns false to stop. Groups that share a database name the same users. */
typedef bool (*reel_each_quota)(void *argument, const char *application, const char *user,
                                const struct reel_quota *quota, int64_t held);
REEL_API bool reel_group_quotas(struct reel *reel, reel_each_quota each, void *argument,
                                struct reel_error *error);

/* ---- for event loops ---- */

/* Any function above blocks. A program with an event loop of its own (libevent, libuv, poll) has it called on a
 * thread of the handle: WORK runs there, with the handle and ARGUMENT, and may call any of them (its result and error
 * go where ARGUMENT says); when it has returned, DONE is called with ARGUMENT by reel_async_dispatch(), in the thread
 * that calls that. Calls begin in the order in which they were started, reel_options.async_threads at a time.
 * False: nothing is called. Any thread; never blocks. */
typedef void (*reel_async_work)(struct reel *reel, void *argument);
typedef void (*reel_async_done)(void *argument);
REEL_API bool reel_async(struct reel *reel, reel_async_work work, reel_async_done done, void *argument,
                         struct reel_error *error);

/* A descriptor that is readable while a finished call waits for reel_async_dispatch(): only for polling; the same during the life
 * of the handle, which closes it. -1: none is available. */
REEL_API int reel_async_fd(struct reel *reel);

/* Calls DONE of every call that has ended, in order; returns how many (in a child after fork() none). Never blocks. DONE may start further
 * calls; one thread at a time. */
REEL_API int reel_async_dispatch(struct reel *reel);

/* ---- without a server ---- */

/* Frees what a function returned for the caller to free. NULL is ignored. */
REEL_API void reel_free(void *memory);

/* A new file ID for USER. Never the same twice, in whatever process, thread or machine. Never blocks. */
REEL_API bool reel_make_file_id(const char *user, char file_id[REEL_FILE_ID_SIZE], struct reel_error *error);

/* BASE/files/APPLICATION/USER/FILE, and /NAME where NAME is not NULL or "": the link of a file at a
 * reel-httpd whose address is BASE, e.g. "http://media1:8080". Everything that needs it is percent-encoded
 * (RFC 3986 section 2.1). REEL may be NULL where KEY names application and user. Never blocks. The caller
 * frees it with reel_free(). */
REEL_API char *reel_url(const struct reel *reel, const struct reel_key *key, const char *base,
                        const char *name, struct reel_error *error);

/* What a signed link opens: a reel-httpd with `access = signed` gives files to nobody else (docs/http.md). */
enum reel_link_scope {
    REEL_LINK_FILE = 0, /* this file */
    REEL_LINK_PREFIX =
        1,             /* every file of the user whose ID begins like this one's: a film with its segments */
    REEL_LINK_USER = 2 /* every file of the user */
};

/* Zero the whole struct first. */
struct reel_link {
    const char *
        keys; /* "FILE" or "ID@FILE": a keys file (mode 0600) and which key with the role issuer (without ID: the
                          * only one); NULL: the environment's REEL_KEYS */
    int64_t expires; /* seconds since the epoch; must be given */
    int scope;       /* enum reel_link_scope */
    size_t prefix;   /* REEL_LINK_PREFIX: how many bytes of the file ID count */
    const char *
        client; /* numeric address of the only client; its /24 (IPv6: /64) may use the link. NULL: everybody */
    const char *name; /* as in reel_url(); NULL: none */
    bool
        in_path; /* in the path rather than the query, so that relative links inherit it; always so for scopes
                          * of more than one file */
    bool
        exact; /* holds only with `name` behind the file (NULL: with none), and without ?download: for one file, not in the path */
    int64_t reserved[4]; /* zero */
};

/* A link as reel_url() makes it, signed. Reads the keys file; asks no server. REEL may be NULL where KEY names application and
 * user. The caller frees it with reel_free(). Any thread. */
REEL_API char *reel_sign_url(const struct reel *reel, const struct reel_key *key, const char *base,
                             const struct reel_link *link, struct reel_error *error);

#ifdef __cplusplus
}
#endif

#endif
