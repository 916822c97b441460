/*
 * proto: the packet protocol (docs/protocol.md): what all daemons have in common: headers, commands, failures, keys of
 * files. The bodies of each daemon's commands, checked, are in the headers beside this one. Pure: no I/O, no allocation,
 * any thread. The only place that knows an offset.
 *
 * pack:   writes the whole body into BUFFER, which has at least the size named beside it; strings are NUL-padded to
 *         their field; fails (ERROR_MALFORMED) where a string does not fit or breaks its rule.
 * unpack: takes exactly the bytes of one body; fails with ERROR_MALFORMED and a text that names the field, what was
 *         wrong and what would be right. What follows a string's NUL is ignored and comes out as zeros.
 */
#ifndef REEL_COMMON_PROTO_H
#define REEL_COMMON_PROTO_H

#include "common/base/base.h"
#include "common/base/error.h"

/* Header, 10 bytes: body length 8, command 1, status 1; big-endian. */
#define PROTO_HEADER_SIZE    10
#define PROTO_STATUS_OK      0
#define PROTO_STATUS_FAILURE 0xFD

/* String fields, terminating NUL included. */
#define PROTO_VERSION_SIZE      7
#define PROTO_GROUP_SIZE        17
#define PROTO_HOST_SIZE         129
#define PROTO_APPLICATION_SIZE  16
#define PROTO_USER_SIZE         256
#define PROTO_FILE_SIZE         128
#define PROTO_KEY_SIZE          65
#define PROTO_NAME_SIZE         256 /* original file name, UTF-8; additive */
#define PROTO_CONTENT_TYPE_SIZE 128 /* media type, RFC 9110 section 8.3.1; additive */
#define PROTO_PLACE_SIZE        128 /* "AAA/BBB/CCC/SSSSSSSS_DDD" below a store path; additive */
#define PROTO_DIGEST_SIZE       16  /* XXH3-128, canonical (big-endian) form; additive */

/* A failure reply: number 2, then text up to 1024 bytes with its NUL (may be absent), then, additive, a group's name with its
 * NUL: its servers have what was asked for. */
#define PROTO_ERROR_TEXT_SIZE 1024
#define PROTO_ERROR_BODY_MAX  (2 + PROTO_ERROR_TEXT_SIZE + PROTO_GROUP_SIZE)

/* Who answers. */
enum proto_reply_command { PROTO_REPLY_TRACKER = 100, PROTO_REPLY_IDSERVER = 101, PROTO_REPLY_STORAGE = 102 };

enum proto_command {
    PROTO_SESSION_HELLO = 1, /* additive: sessions, on every port */
    PROTO_SESSION_PROVE = 2,
    PROTO_SESSION_TOKEN = 3,
    PROTO_SESSION_WHOAMI = 4,
    PROTO_TRACKER_JOIN = 10,
    PROTO_TRACKER_BEAT = 11,
    PROTO_TRACKER_SADDRS = 12,
    PROTO_TRACKER_GROUPS = 13,
    PROTO_TRACKER_LOAD = 14,      /* additive: a heartbeat that carries load */
    PROTO_TRACKER_STATUS = 15,    /* additive: the whole table as JSON */
    PROTO_TRACKER_LOCATE = 16,    /* additive: SADDRS that never gives a new user a group */
    PROTO_TRACKER_GROUP = 17,     /* additive: adds a group, or changes its state or weight */
    PROTO_TRACKER_ADVERTISE = 18, /* additive: the address that clients are to use */
    PROTO_TRACKER_USERS = 24,     /* additive: the users of a group */
    PROTO_TRACKER_REROUTE = 25,   /* additive: a user of one group becomes one of another */
    PROTO_TRACKER_SERVERS = 26,   /* additive: the storage servers of a group */
    PROTO_IDSERVER_GET = 40,
    PROTO_IDSERVER_RANGE = 41, /* additive: a run of numbers */
    PROTO_STORAGE_UPLOAD = 70,
    PROTO_STORAGE_FILESIZE = 71,
    PROTO_STORAGE_DOWNLOAD = 72,
    PROTO_STORAGE_DELETE = 73,
    PROTO_STORAGE_STAT = 74,        /* additive */
    PROTO_STORAGE_RESTORE = 75,     /* additive */
    PROTO_STORAGE_LIST = 76,        /* additive */
    PROTO_STORAGE_PUT = 77,         /* additive: UPLOAD with name, content type and expected digest */
    PROTO_STORAGE_WHERE = 78,       /* additive: STAT and the place in the store */
    PROTO_STORAGE_PUT_TRAILER = 79, /* additive: PUT whose digest follows the content */
    PROTO_STORAGE_FSCK = 80,        /* additive: the scrub of the group */
    PROTO_STORAGE_READ = 81,        /* additive: DOWNLOAD of the content with a digest */
    PROTO_STORAGE_BEGIN = 82,       /* additive: partial uploads: one begins */
    PROTO_STORAGE_APPEND = 83,      /* additive: its next bytes */
    PROTO_STORAGE_OFFSET = 84,      /* additive: how far it is */
    PROTO_STORAGE_FINISH = 85,      /* additive: it becomes the file */
    PROTO_STORAGE_ABORT = 86,       /* additive: it is given up */
    PROTO_STORAGE_JOIN_PARTS = 87,  /* additive: several of them become the file */
    PROTO_STORAGE_RENAME = 90,      /* additive: another original file name */
    PROTO_STORAGE_MOVE = 91,        /* additive: PUT_TRAILER of a file that another group has, and gives up */
    PROTO_STORAGE_FETCH = 92,       /* additive: DOWNLOAD of a deleted file too */
    PROTO_STORAGE_LEFT = 93,        /* additive: the users who have rows of this group */
    PROTO_STORAGE_EXPIRE = 94,      /* additive: when a file is to be deleted, asked or changed */
    PROTO_STORAGE_STORE =
        95, /* additive: PUT with a reply before the content, and one that says what became of it */
    PROTO_STORAGE_QUOTA = 96,     /* additive: what a user has, and may have */
    PROTO_STORAGE_SET_QUOTA = 97, /* additive: what a user may have from now on */
    PROTO_STORAGE_QUOTAS = 98,    /* additive: the users whose files are counted */
};

/* Body sizes of more than one daemon. */
#define PROTO_FILE_KEY_SIZE                                                                                  \
    400 /* application, user, file: SADDRS, LOCATE, FILESIZE, DELETE, STAT, RESTORE, WHERE */
#define PROTO_VALUE_SIZE 8 /* GET's value, FILESIZE's size */

struct proto_header {
    int64_t length; /* of the body; >= 0 after unpack */
    uint8_t command;
    uint8_t status;
};

void proto_header_pack(uint8_t buffer[PROTO_HEADER_SIZE], int64_t length, uint8_t command, uint8_t status);
/* Fails on a negative length, and on what HTTP and SSH servers answer with; then HEADER still holds what was read. */
MUST_CHECK bool proto_header_unpack(const uint8_t buffer[PROTO_HEADER_SIZE], struct proto_header *header,
                                    struct error *error);

/* "[HOST] TEXT" with CODE, cut to fit; then GROUP, where it is not "". BUFFER of PROTO_ERROR_BODY_MAX. Returns the body's size. */
size_t proto_error_pack(uint8_t buffer[PROTO_ERROR_BODY_MAX], int code, const char *host, const char *text,
                        const char *group);
/* Any failure body, also a legacy one, empty, cut or not terminated: ERROR gets its number (0 becomes ERROR_GENERAL;
 * a body under 2 bytes gives ERROR_GENERAL), its text ("" where absent), control characters replaced, and its group ("" where
 * it is absent or no name). */
void proto_error_unpack(const uint8_t *body, size_t size, struct error *error);

/* ---- keys of files: SADDRS, LOCATE, FILESIZE, DELETE, STAT, RESTORE, and the head of others ---- */

struct proto_file_key {
    char application[PROTO_APPLICATION_SIZE]; /* letters and digits, not empty */
    char user[PROTO_USER_SIZE];               /* not empty; bytes */
    char file[PROTO_FILE_SIZE];               /* not empty; bytes. LOCATE, LIST: may be empty */
};
MUST_CHECK bool proto_file_key_pack(uint8_t buffer[PROTO_FILE_KEY_SIZE], const struct proto_file_key *key,
                                    struct error *error);
MUST_CHECK bool proto_file_key_unpack(const uint8_t *body, size_t size, struct proto_file_key *key,
                                      struct error *error);
/* The same with an empty file ID allowed: LOCATE asks for a user's servers. */
MUST_CHECK bool proto_user_key_pack(uint8_t buffer[PROTO_FILE_KEY_SIZE], const struct proto_file_key *key,
                                    struct error *error);
MUST_CHECK bool proto_user_key_unpack(const uint8_t *body, size_t size, struct proto_file_key *key,
                                      struct error *error);

/* Letters and digits only, not empty, at most SIZE - 1 bytes. */
bool proto_name_valid(const char *text, size_t size);

/* An 8-byte value: GET's number, FILESIZE's size. Unpack refuses a negative one. */
void proto_value_pack(uint8_t buffer[PROTO_VALUE_SIZE], int64_t value);
MUST_CHECK bool proto_value_unpack(const uint8_t *body, size_t size, int64_t *value, struct error *error);

#endif
