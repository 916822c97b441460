/*
 * access: the table of commands, as a switch over all of them without a default, so that the compiler names the one that is
 * missing.
 */
#include "common/auth/access.h"

#define BIT(role) (1u << KEY_ROLE_##role)
#define READERS   (BIT(CLIENT) | BIT(GATEWAY) | BIT(ISSUER) | BIT(OPERATOR))
#define USERS     (BIT(CLIENT) | BIT(ISSUER) | BIT(OPERATOR))
#define WRITERS   (USERS | BIT(GATEWAY)) /* a gateway's key has these rights only where its line names them */

#define ACCESS(...)                                                                                          \
    do {                                                                                                     \
        static const struct access row = {__VA_ARGS__};                                                      \
        return &row;                                                                                         \
    } while (0)

static const struct access *row_of(enum proto_command command)
{
    switch (command) {
    case PROTO_SESSION_HELLO:
        ACCESS("hello", 0, 0, ACCESS_NOTHING, 0, false, false);
    case PROTO_SESSION_PROVE:
        ACCESS("prove", 0, 0, ACCESS_NOTHING, 0, false, false);
    case PROTO_SESSION_TOKEN:
        ACCESS("token", 0, 0, ACCESS_NOTHING, 0, false, false);
    case PROTO_SESSION_WHOAMI:
        ACCESS("whoami", 0, 0, ACCESS_NOTHING, 0, false, false);
    case PROTO_TRACKER_JOIN:
        ACCESS("join", BIT(STORAGE), 0, ACCESS_GROUP, PROTO_VERSION_SIZE, true, true);
    case PROTO_TRACKER_BEAT:
        ACCESS("beat", BIT(STORAGE), 0, ACCESS_GROUP, 0, true, false);
    case PROTO_TRACKER_SADDRS:
        ACCESS("saddrs", WRITERS | BIT(STORAGE), 0, ACCESS_USER, 0, true, false);
    case PROTO_TRACKER_GROUPS:
        ACCESS("groups", BIT(OPERATOR), 0, ACCESS_NOTHING, 0, true, false);
    case PROTO_TRACKER_LOAD:
        ACCESS("load", BIT(STORAGE), 0, ACCESS_GROUP, 0, false, false);
    case PROTO_TRACKER_STATUS:
        ACCESS("status", BIT(OPERATOR) | BIT(GATEWAY), 0, ACCESS_NOTHING, 0, false, false);
    case PROTO_TRACKER_LOCATE:
        ACCESS("locate", READERS | BIT(STORAGE), 0, ACCESS_USER, 0, false, false);
    case PROTO_TRACKER_GROUP:
        ACCESS("group", BIT(OPERATOR), 0, ACCESS_NOTHING, 0, false, true);
    case PROTO_TRACKER_ADVERTISE:
        ACCESS("advertise", BIT(STORAGE), 0, ACCESS_GROUP, 0, false, false);
    case PROTO_TRACKER_USERS:
        ACCESS("users", BIT(OPERATOR), 0, ACCESS_NOTHING, 0, false, false);
    case PROTO_TRACKER_REROUTE:
        ACCESS("reroute", BIT(OPERATOR), 0, ACCESS_NOTHING, 0, false, true);
    case PROTO_TRACKER_SERVERS:
        ACCESS("servers", READERS | BIT(STORAGE), 0, ACCESS_NOTHING, 0, false, false);
    case PROTO_IDSERVER_GET:
        ACCESS("get", BIT(STORAGE) | BIT(OPERATOR), 0, ACCESS_PATH, 0, true, false);
    case PROTO_IDSERVER_RANGE:
        ACCESS("range", BIT(STORAGE) | BIT(OPERATOR), 0, ACCESS_PATH, 0, false, false);
    case PROTO_STORAGE_UPLOAD:
        ACCESS("upload", WRITERS, KEY_RIGHT_WRITE, ACCESS_FILE, 0, true, true);
    case PROTO_STORAGE_FILESIZE:
        ACCESS("filesize", READERS, KEY_RIGHT_READ, ACCESS_FILE, 0, true, false);
    case PROTO_STORAGE_DOWNLOAD:
        ACCESS("download", READERS, KEY_RIGHT_READ, ACCESS_FILE, 0, true, false);
    case PROTO_STORAGE_DELETE:
        ACCESS("delete", WRITERS, KEY_RIGHT_DELETE, ACCESS_FILE, 0, true, true);
    case PROTO_STORAGE_STAT:
        ACCESS("stat", READERS, KEY_RIGHT_READ, ACCESS_FILE, 0, false, false);
    case PROTO_STORAGE_RESTORE:
        ACCESS("restore", WRITERS, KEY_RIGHT_DELETE, ACCESS_FILE, 0, false, true);
    case PROTO_STORAGE_LIST:
        ACCESS("list", WRITERS, KEY_RIGHT_LIST, ACCESS_LIST, 0, false, false);
    case PROTO_STORAGE_PUT:
        ACCESS("put", WRITERS, KEY_RIGHT_WRITE, ACCESS_FILE, 0, false, true);
    case PROTO_STORAGE_WHERE:
        ACCESS("where", BIT(GATEWAY) | BIT(OPERATOR), KEY_RIGHT_READ, ACCESS_FILE, 0, false, false);
    case PROTO_STORAGE_PUT_TRAILER:
        ACCESS("put_trailer", USERS, KEY_RIGHT_WRITE, ACCESS_FILE, 0, false, true);
    case PROTO_STORAGE_STORE:
        ACCESS("store", WRITERS, KEY_RIGHT_WRITE, ACCESS_FILE, 0, false, true);
    case PROTO_STORAGE_FSCK:
        ACCESS("fsck", BIT(OPERATOR), 0, ACCESS_NOTHING, 0, false, true);
    case PROTO_STORAGE_READ:
        ACCESS("read", READERS, KEY_RIGHT_READ, ACCESS_FILE, 0, false, false);
    case PROTO_STORAGE_BEGIN:
        ACCESS("begin", WRITERS, KEY_RIGHT_WRITE, ACCESS_FILE, 0, false, true);
    case PROTO_STORAGE_APPEND:
        ACCESS("append", WRITERS, KEY_RIGHT_WRITE, ACCESS_FILE, 0, false, false);
    case PROTO_STORAGE_OFFSET:
        ACCESS("offset", WRITERS, KEY_RIGHT_WRITE, ACCESS_FILE, 0, false, false);
    case PROTO_STORAGE_FINISH:
        ACCESS("finish", WRITERS, KEY_RIGHT_WRITE, ACCESS_FILE, 0, false, true);
    case PROTO_STORAGE_ABORT:
        ACCESS("abort", WRITERS, KEY_RIGHT_WRITE, ACCESS_FILE, 0, false, true);
    case PROTO_STORAGE_JOIN_PARTS:
        ACCESS("join_parts", WRITERS, KEY_RIGHT_WRITE, ACCESS_FILE, 0, false, true);
    case PROTO_STORAGE_RENAME:
        ACCESS("rename", USERS, KEY_RIGHT_WRITE, ACCESS_FILE, 0, false, true);
    case PROTO_STORAGE_MOVE:
        ACCESS("move", BIT(OPERATOR), 0, ACCESS_NOTHING, 0, false, true);
    case PROTO_STORAGE_FETCH:
        ACCESS("fetch", BIT(OPERATOR), 0, ACCESS_NOTHING, 0, false, true);
    case PROTO_STORAGE_EXPIRE: /* may delete, and may prevent deletion */
        ACCESS("expire", WRITERS, KEY_RIGHT_DELETE, ACCESS_FILE, 0, false, true);
    case PROTO_STORAGE_QUOTA:
        ACCESS("quota", WRITERS, KEY_RIGHT_LIST, ACCESS_LIST, 0, false, false);
    case PROTO_STORAGE_SET_QUOTA:
        ACCESS("set_quota", BIT(OPERATOR), 0, ACCESS_NOTHING, 0, false, true);
    case PROTO_STORAGE_QUOTAS:
        ACCESS("quotas", BIT(OPERATOR), 0, ACCESS_NOTHING, 0, false, false);
    case PROTO_STORAGE_LEFT:
        ACCESS("left", BIT(OPERATOR), 0, ACCESS_NOTHING, 0, false, false);
    }
    return NULL;
}

const struct access *access_of(uint8_t command)
{
    return row_of((enum proto_command)command);
}
