/*
 * options: the table of reel-storage's options and the checks that a table cannot express. Pure; the common
 * options ([daemon], [log], [admin]) are in common/daemon/daemon_options.c.
 */
#include "storage/options.h"

#include "common/config/config_value.h"
#include "common/proto/proto_idserver.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define MEMBER(name) offsetof(struct storage_config, name)
#define KILO         INT64_C(1024)
#define MEGA         (1024 * KILO)
#define GIGA         (1024 * MEGA)
#define SECOND       INT64_C(1000)
#define DAY          (86400 * SECOND)

/* Of files kept open, where the configuration does not say how many. */
#define OPEN_FILES_SHARE    4     /* of the limit: one part */
#define OPEN_FILES_MAX      65536 /* more of them pin inodes of the kernel and handles of bricks for little */
#define OPEN_FILES_AT_LEAST 16

const struct config_option storage_options[] = {
    PACKET_DAEMON_LISTEN(
        "storage", "*:23000", 23000,
        "Addresses that clients connect to. The port of the first one is reported to the trackers."),
    PACKET_DAEMON_LISTEN_TLS("storage", 23443),
    {"storage", "host_name", CONFIG_STRING, MEMBER(host_name), "", 0, 0, NULL, false,
     "Name of this server in JOIN and in failure replies, at most 128 bytes. Empty: the machine's host "
     "name."},
    {"storage", "group", CONFIG_STRING, MEMBER(group), NULL, 0, 0, NULL, false,
     "Group that this server belongs to: letters and digits, at most 16. All members of a group hold the "
     "same files."},
    {"storage", "applications", CONFIG_STRINGS, MEMBER(applications), "tnvideo", 0, 0, NULL, true,
     "Application IDs whose requests are accepted: letters and digits, at most 15 each."},
    {"storage", "expires", CONFIG_STRINGS, MEMBER(expires), "", 0, 0, NULL, true,
     "When files of an application are deleted if their uploader did not say: APPLICATION=TIME after the "
     "upload, as in thumbs=30d. Applies to uploads from then on; the same on all members of the group."},
    PACKET_DAEMON_CONNECTIONS_MAX("storage"),
    PACKET_DAEMON_CONNECTIONS_PER_ADDRESS("storage", "5000",
                                          " A reel-httpd uses one for each transfer that it is relaying."),
    PACKET_DAEMON_UNSENT_TOTAL("storage"),
    PACKET_DAEMON_HEAD_TIME("storage"),
    PACKET_DAEMON_REQUESTS_PER_SECOND("storage"),
    PACKET_DAEMON_IDLE_TIMEOUT("storage", "10m", ""),
    PACKET_DAEMON_PROGRESS_TIMEOUT("storage", "60s"),
    PACKET_DAEMON_REFUSED_BODY_TIMEOUT("storage", "drain_timeout", "30s"),

    {"storage", "paths", CONFIG_STRINGS, MEMBER(paths), NULL, 0, 0, NULL, false,
     "Store paths, KEY=DIR or just DIR (an absolute directory). KEY (at most 64 bytes; DIR itself if left "
     "out) is part of the file rows and names the sequence of the ID server, so it must never change; DIR is "
     "where it lies "
     "here."},
    {"storage", "mount_check", CONFIG_CHOICE, MEMBER(mount_check), "none", 0, 0, "none|marker|mount", false,
     "How a store path is distinguished from the empty directory beneath a volume that is not mounted: "
     "marker: it "
     "holds the file .reelstore, made by --init-db; mount: it is a mount point; none: .reelstore is made "
     "where it is missing, unless the directory is empty and there are rows of files in it."},
    {"storage", "file_mode", CONFIG_STRING, MEMBER(file_mode), "0640", 0, 0, NULL, false,
     "Mode of new files, in octal. The owner must be able to read and write; give others what a program of "
     "another user "
     "(the predecessor, a web server) needs."},
    {"storage", "directory_mode", CONFIG_STRING, MEMBER(directory_mode), "0750", 0, 0, NULL, false,
     "Mode of new directories below a store path, in octal. 2770 makes what is in them belong to their "
     "group."},
    {"storage", "file_group", CONFIG_STRING, MEMBER(file_group), "", 0, 0, NULL, false,
     "Group (name or number) of new files and directories; the daemon's user must be a member. Empty: the "
     "system's default."},
    {"storage", "workers", CONFIG_INTEGER, MEMBER(workers_per_path), "32", 1, 256, NULL, false,
     "Threads that make the file system calls of one store path; each path has its own, so that one that "
     "hangs does not stop the others. As many files as there are threads can share one commit of the file "
     "system's journal."},
    {"storage", "workers_queue", CONFIG_INTEGER, MEMBER(workers_queue), "8192", 16, 1000000, NULL, false,
     "File system calls of one store path that may wait for a thread; beyond it requests are refused."},
    {"storage", "probe_interval", CONFIG_DURATION, MEMBER(probe_interval_ms), "3s", 100, 3600 * SECOND, NULL,
     false, "How often the free space and the health of each store path are checked."},
    {"storage", "hang_timeout", CONFIG_DURATION, MEMBER(hang_timeout_ms), "5s", 100, 3600 * SECOND, NULL,
     false,
     "A store path that does not answer a probe for this time counts as hanging: requests to it are refused "
     "at once."},
    {"storage", "reserve_space", CONFIG_SIZE, MEMBER(reserve_space), "1G", 0, INT64_MAX, NULL, true,
     "Floor of free bytes: no upload goes to a store path that it would bring below this."},
    {"storage", "reserve_inodes", CONFIG_INTEGER, MEMBER(reserve_inodes), "1000", 0, INT64_MAX, NULL, true,
     "Floor of free inodes: no upload goes to a store path below this."},

    PACKET_DAEMON_DATABASE_URL("sqlite:/var/lib/reelstore/storage.db", "Where the file rows are:"),
    PACKET_DAEMON_DATABASE_URL_FILE,
    PACKET_DAEMON_DATABASE_THREADS("8"),
    PACKET_DAEMON_DATABASE_QUEUE("16384", "Database jobs that may wait; beyond it requests are refused."),
    PACKET_DAEMON_DATABASE_TIMEOUT(
        "5s", "A request fails when the database could not do its job within this time."),
    {"storage", "cache_entries", CONFIG_INTEGER, MEMBER(cache_entries), "100000", 1, 100000000, NULL, false,
     "File rows kept in memory, some 500 bytes each."},
    {"storage", "cache_age", CONFIG_DURATION, MEMBER(cache_age_ms), "5s", 1, DAY, NULL, true,
     "How long a file row is served from memory, and so how long a file can still be read here after another "
     "server deleted it."},
    {"storage", "open_files", CONFIG_INTEGER, MEMBER(open_files), "0", 0, 1000000, NULL, false,
     "Files kept open for further downloads. 0: a quarter of the limit of open files that daemon.open_files "
     "got from the system, at most 65536; the rest is for connections, uploads and files being sent."},
    {"storage", "open_age", CONFIG_DURATION, MEMBER(open_age_ms), "5s", 1, DAY, NULL, false,
     "How long an open file is used before it is opened again."},

    {"storage", "durability", CONFIG_CHOICE, MEMBER(durability), "durable", 0, 0, "durable|relaxed", false,
     "durable: a success reply to an upload means that file and directory were fsynced and the row "
     "committed. relaxed: no fsync, not even of rows in SQLite; a power cut may lose what was uploaded in "
     "the last half minute."},
    {"storage", "directory_sync", CONFIG_CHOICE, MEMBER(directory_sync), "auto", 0, 0, "auto|always", false,
     "When the directory of a new file is fsynced too, where durability is durable. auto: not on ext4, XFS "
     "and btrfs, where the sync of a file keeps its name too; always: on these as well."},
    {"storage", "journal", CONFIG_CHOICE, MEMBER(journal), "auto", 0, 0, "auto|on|off", false,
     "Whether an upload of up to 64 KiB is promised by the upload journal, one synced append for all that "
     "came together, instead of syncs of its own; where durability is durable. auto: with SQLite, for store "
     "paths on ext4, XFS and btrfs; on: with SQLite, for every "
     "store "
     "path, and the server does not start where one is on a network file system; off: never. The journal "
     "lies "
     "beside the database's file, as NAME-uploads."},
    {"storage", "journal_size", CONFIG_SIZE, MEMBER(journal_size), "64M", MEGA, 16 * GIGA, NULL, false,
     "Space of the upload journal, which is written once when it is first needed."},
    {"storage", "sha256", CONFIG_CHOICE, MEMBER(sha256), "auto", 0, 0, "auto|always|never", false,
     "When the SHA-256 of the content is stored beside its digest, so that lost bytes are replaced only by "
     "the very same bytes, even if someone forges others with the same XXH3-128. auto: with the upload "
     "if the processor has instructions for it, else when the scrub reads the file; always: with the "
     "upload, at about 4 s of CPU time per GB without such instructions; never: not at all."},
    {"storage", "chunk_size", CONFIG_SIZE, MEMBER(chunk_size), "128K", 16 * KILO, 16 * MEGA, NULL, false,
     "Bytes of an upload that are received before they are written; an upload holds at most two such "
     "buffers."},
    {"storage", "buffer_memory", CONFIG_SIZE, MEMBER(buffer_memory), "48M", MEGA, 64 * GIGA, NULL, false,
     "Memory for upload buffers; when it is used up further uploads make do with one buffer of 16 KiB each."},
    {"storage", "uploads_max", CONFIG_INTEGER, MEMBER(uploads_max), "1000", 1, 1000000, NULL, true,
     "Uploads under way at once; further ones wait."},
    {"storage", "uploads_waiting", CONFIG_INTEGER, MEMBER(uploads_waiting), "4000", 0, 1000000, NULL, true,
     "Uploads that may wait for their turn; beyond it they are refused."},
    {"storage", "uploads_wait", CONFIG_DURATION, MEMBER(uploads_wait_ms), "30s", 1, 3600 * SECOND, NULL, true,
     "How long an upload waits for its turn before it is refused."},

    {"storage", "upload_rate_min", CONFIG_SIZE, MEMBER(upload_rate_min), "1K", 0, GIGA, NULL, false,
     "Bytes per second at which the content of an upload must at least arrive, measured over "
     "progress_timeout; a "
     "slower "
     "upload is cut. 0: no limit."},
    {"storage", "partial_keep", CONFIG_DURATION, MEMBER(partial_keep_ms), "7d", 60 * SECOND, 365 * DAY, NULL,
     false,
     "How long a partial upload (BEGIN) is kept after its last change, unless its uploader asked for less; "
     "then "
     "it is "
     "removed. Never less than leftover_age."},
    {"storage", "partials_max", CONFIG_INTEGER, MEMBER(partials_max), "10000", 1, 10000000, NULL, false,
     "Partial uploads of the group that are under way at once; further ones are refused."},
    {"storage", "partials_per_user", CONFIG_INTEGER, MEMBER(partials_per_user), "1000", 1, 10000000, NULL,
     false, "The same for one user, in whatever group."},

    {"storage", "quota_bytes", CONFIG_SIZE, MEMBER(quota_bytes), "0", 0, INT64_MAX, NULL, true,
     "Bytes that a user may have in an application, deleted files that are not purged yet included; 0: no "
     "limit. `reel admin "
     "quota` sets another limit for one user. The same value on all storage servers of a database."},
    {"storage", "quota_files", CONFIG_INTEGER, MEMBER(quota_files), "0", 0, INT64_MAX, NULL, true,
     "The same for the number of files."},

    {"storage", "trash_keep", CONFIG_DURATION, MEMBER(trash_keep_ms), "7d", 0, 3650 * DAY, NULL, true,
     "How long a deleted file is kept and can be restored; then it is purged. 0: at once."},
    {"storage", "purge_interval", CONFIG_DURATION, MEMBER(purge_interval_ms), "1m", 100, DAY, NULL, false,
     "How often deleted files that are old enough are looked for, and the space of the others is measured "
     "(less often where that takes more than a fiftieth of the time)."},
    {"storage", "lease", CONFIG_DURATION, MEMBER(lease_ms), "30s", SECOND, 3600 * SECOND, NULL, false,
     "One member of the group does the upkeep (purge, clean-up, scrub); another one takes over when it has "
     "not "
     "renewed its lease for this time. The same value on all members."},
    {"storage", "leftover_age", CONFIG_DURATION, MEMBER(leftover_age_ms), "1h", SECOND, 30 * DAY, NULL, false,
     "A file without a row (of an upload that a crash ended) is cleaned up when nobody has written to it for "
     "this time, "
     "which must be longer than progress_timeout and twice database.timeout together. An upload whose file "
     "has waited "
     "for half of it is refused."},
    {"storage", "sweep_interval", CONFIG_DURATION, MEMBER(sweep_interval_ms), "1d", SECOND, 365 * DAY, NULL,
     false, "How often files without rows are looked for, in addition to the end of every scrub."},
    {"storage", "leftovers_max", CONFIG_INTEGER, MEMBER(leftovers_max), "1000", 1, 1000000, NULL, false,
     "A clean-up that finds more files without rows than this stops and moves nothing more, since the "
     "database may be the "
     "wrong one, until `reel fsck --confirm-leftovers`."},
    {"storage", "leftovers_share", CONFIG_INTEGER, MEMBER(leftovers_share), "10", 1, 100, NULL, false,
     "The same if more than 16 files, and more than this percentage of those looked at, have no row."},
    {"storage", "quarantine_keep", CONFIG_DURATION, MEMBER(quarantine_keep_ms), "30d", 0, 3650 * DAY, NULL,
     false,
     "How long files without rows and damaged ones lie in .quarantine of their store path before they are "
     "removed."},
    {"storage", "scrub_interval", CONFIG_DURATION, MEMBER(scrub_interval_ms), "30d", 0, 3650 * DAY, NULL,
     false,
     "Pause between two scrubs, which read back every file and compare it with its row. 0: only when reel "
     "fsck asks."},
    {"storage", "scrub_rate", CONFIG_SIZE, MEMBER(scrub_rate), "20M", 0, INT64_MAX, NULL, true,
     "Bytes per second that scrub and clean-up read at most; 0: no limit."},

    {"storage", "trackers", CONFIG_ADDRESSES, MEMBER(trackers), "127.0.0.1:21000", 21000, 0, NULL, false,
     "Trackers, every one of which is joined; without a port: 21000."},
    {"storage", "check_users", CONFIG_BOOL, MEMBER(check_users), "yes", 0, 0, NULL, false,
     "Whether a tracker is asked which group a user belongs to before a file is stored for a user whose "
     "group is not known yet, and before a file is reported as unknown: files of another group's user are "
     "refused. While no tracker answers, files are stored unchecked."},
    {"storage", "advertise", CONFIG_STRING, MEMBER(advertise), "", 0, 0, NULL, false,
     "Numeric address and port that trackers give clients instead of the address that they see, as in "
     "192.0.2.11:23000: "
     "for a server behind address translation or in a container. A tracker takes one of another network only "
     "from those "
     "that its storage_addresses names."},
    {"storage", "advertise_tls", CONFIG_STRING, MEMBER(advertise_tls), "", 0, 0, NULL, false,
     "The same for clients that speak TLS. Empty: the address as without TLS, with the port of listen_tls."},
    {"storage", "heartbeat_interval", CONFIG_DURATION, MEMBER(heartbeat_interval_ms), "1s", 100, 600 * SECOND,
     NULL, true, "Time between two heartbeats to a tracker."},
    {"storage", "idservers", CONFIG_ADDRESSES, MEMBER(idservers), "127.0.0.1:22000", 22000, 0, NULL, false,
     "ID servers; the next one is asked if one fails. Without a port: 22000."},
    {"storage", "id_range", CONFIG_INTEGER, MEMBER(id_range), "1000", 1, PROTO_RANGE_COUNT_MAX, NULL, false,
     "Numbers fetched ahead in one request to an ID server; what is left of them at a stop is never used."},
    {"storage", "id_timeout", CONFIG_DURATION, MEMBER(id_timeout_ms), "5s", 100, 600 * SECOND, NULL, false,
     "How long an upload waits for a number while no ID server answers."},
    {"storage", "id_waiting", CONFIG_INTEGER, MEMBER(id_waiting), "10000", 1, 1000000, NULL, false,
     "Uploads that may wait for a number; beyond it they are refused."},
    {"storage", "connect_timeout", CONFIG_DURATION, MEMBER(connect_timeout_ms), "1s", 10, 600 * SECOND, NULL,
     false, "Time to connect to a tracker or an ID server."},
    {"storage", "call_timeout", CONFIG_DURATION, MEMBER(call_timeout_ms), "3s", 10, 600 * SECOND, NULL, false,
     "Time that a tracker or the ID servers have for an answer."},
    {"storage", "hedge_time", CONFIG_DURATION, MEMBER(hedge_ms), "300ms", 0, 600 * SECOND, NULL, false,
     "How long an ID server may take to answer before the next one is asked too; the first answer counts, "
     "the numbers of the other one are skipped. 0: never."},
};
const size_t storage_option_count = ARRAY_SIZE(storage_options);

bool storage_options_split_path(const char *text, char key[PROTO_KEY_SIZE], const char **directory,
                                struct error *error)
{
    const char *equals = strchr(text, '=');
    size_t size = equals ? (size_t)(equals - text) : strlen(text);
    *directory = equals ? equals + 1 : text;
    if (size >= PROTO_KEY_SIZE)
        return error_set(error, ERROR_GENERAL,
                         "storage.paths: the key of \"%s\" has %zu bytes; it must have 1 to %d, e.g. KEY=DIR",
                         text, size, PROTO_KEY_SIZE - 1);
    /* A key written with a slash at its end would give "KEY//AAA" in the rows. */
    while (size > 1 && text[size - 1] == '/')
        size--;
    if (size == 0 || size >= PROTO_KEY_SIZE)
        return error_set(error, ERROR_GENERAL,
                         "storage.paths: the key of \"%s\" has %zu bytes; it must have 1 to %d, e.g. KEY=DIR",
                         text, size, PROTO_KEY_SIZE - 1);
    if ((*directory)[0] != '/')
        return error_set(
            error, ERROR_GENERAL,
            "storage.paths: the directory of \"%s\" must be absolute, e.g. ../data=/srv/reelstore/data",
            text);
    memcpy(key, text, size);
    key[size] = '\0';
    return true;
}

bool storage_options_split_expiry(const char *text, char name[PROTO_APPLICATION_SIZE], int64_t *seconds,
                                  struct error *error)
{
    static const struct config_option duration = {
        "storage", "expires", CONFIG_DURATION, 0, NULL, 1000, 3650 * INT64_C(86400000), NULL, true, NULL};
    const char *equals = strchr(text, '=');
    size_t size = equals ? (size_t)(equals - text) : 0;
    int64_t ms = 0;
    struct error why = {0};
    if (!equals || size >= PROTO_APPLICATION_SIZE)
        return error_set(error, ERROR_GENERAL,
                         "storage.expires: \"%s\" must be APPLICATION=TIME, e.g. thumbs=30d", text);
    memset(name, 0, PROTO_APPLICATION_SIZE);
    memcpy(name, text, size);
    if (!proto_name_valid(name, PROTO_APPLICATION_SIZE))
        return error_set(
            error, ERROR_GENERAL,
            "storage.expires: \"%s\" must begin with an application ID: 1 to %d letters and digits", text,
            PROTO_APPLICATION_SIZE - 1);
    if (!config_value_parse(&duration, equals + 1, &ms, &why))
        return error_set(error, ERROR_GENERAL, "storage.expires: \"%s\": %s", text, why.text);
    *seconds = (ms + 999) / 1000;
    return true;
}

bool storage_options_mode(const char *text, mode_t *mode)
{
    char *end;
    unsigned long value = strtoul(text, &end, 8);
    *mode = (mode_t)value;
    return text[0] >= '0' && text[0] <= '7' && *end == '\0' && value <= 02777;
}

void storage_options_sequence(const char *text, char sequence[PROTO_KEY_SIZE])
{
    const char *equals = strchr(text, '=');
    size_t size = equals ? (size_t)(equals - text) : strlen(text);
    memcpy(sequence, text, size);
    sequence[size] = '\0';
}

static bool check_modes(const struct storage_config *config, struct error *error)
{
    mode_t file, directory;
    if (!storage_options_mode(config->file_mode, &file) || (file & 0600) != 0600 || (file & 07000) != 0)
        return error_set(
            error, ERROR_GENERAL,
            "storage.file_mode \"%s\" must be an octal mode with which the owner can read and write, "
            "e.g. 0640",
            config->file_mode);
    if (!storage_options_mode(config->directory_mode, &directory) || (directory & 0700) != 0700)
        return error_set(
            error, ERROR_GENERAL,
            "storage.directory_mode \"%s\" must be an octal mode with which the owner can do everything, "
            "e.g. 0750",
            config->directory_mode);
    return true;
}

static bool check_paths(const struct storage_config *config, struct error *error)
{
    if (config->paths.count == 0)
        return error_set(error, ERROR_GENERAL, "storage.paths is empty; name at least one directory");
    if (config->paths.count > 256)
        return error_set(error, ERROR_GENERAL, "storage.paths has %zu entries; at most 256 are possible",
                         config->paths.count);
    for (size_t i = 0; i < config->paths.count; i++) {
        char key[PROTO_KEY_SIZE], other_key[PROTO_KEY_SIZE];
        const char *directory, *other_directory;
        if (!storage_options_split_path(config->paths.items[i], key, &directory, error))
            return false;
        for (size_t j = 0; j < i; j++) {
            if (!storage_options_split_path(config->paths.items[j], other_key, &other_directory, error))
                return false;
            if (strcmp(key, other_key) == 0)
                return error_set(error, ERROR_GENERAL, "storage.paths: the key \"%s\" appears twice", key);
            if (strcmp(directory, other_directory) == 0)
                return error_set(error, ERROR_GENERAL, "storage.paths: the directory \"%s\" appears twice",
                                 directory);
        }
    }
    return true;
}

size_t storage_options_open_files(const struct storage_config *config)
{
    struct rlimit limit;
    if (config->open_files != 0)
        return (size_t)config->open_files;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return OPEN_FILES_AT_LEAST;
    return max_size(OPEN_FILES_AT_LEAST, min_size(OPEN_FILES_MAX, limit.rlim_cur / OPEN_FILES_SHARE));
}

static bool check_advertise(const char *option, const char *text, struct error *error)
{
    struct address address;
    struct socket_address socket_address;
    if (text[0] == '\0')
        return true;
    if (!address_parse(text, 0, &address, error) || address.port == 0 || strcmp(address.host, "*") == 0 ||
        !address_to_socket(&address, &socket_address) || address.tls ||
        strlen(text) + sizeof("tls://") > PROTO_HOST_SIZE)
        return error_set(error, ERROR_GENERAL,
                         "storage.%s \"%s\" must be a numeric address and a port, e.g. 192.0.2.11:23000",
                         option, text);
    return true;
}

static bool check_journal(const struct storage_config *config, struct error *error)
{
    char path[PATH_MAX];
    if (config->journal != OPTIONS_JOURNAL_ON)
        return true;
    if (!packet_daemon_database_file(&config->base, path, sizeof(path), error))
        return false;
    return path[0] != '\0' || error_set(error, ERROR_GENERAL,
                                        "storage.journal = on needs an SQLite database: a MySQL server syncs "
                                        "each commit by itself, and its rows are "
                                        "not in the journal's order; use auto or off");
}

bool storage_options_check(const void *opaque, struct error *error)
{
    const struct storage_config *config = opaque;
    if (!proto_name_valid(config->group, PROTO_GROUP_SIZE))
        return error_set(error, ERROR_GENERAL,
                         "storage.group \"%s\" must be 1 to %d letters and digits, e.g. group001",
                         config->group, PROTO_GROUP_SIZE - 1);
    if (strlen(config->host_name) >= PROTO_HOST_SIZE)
        return error_set(error, ERROR_GENERAL, "storage.host_name has more than %d bytes",
                         PROTO_HOST_SIZE - 1);
    if (!check_advertise("advertise", config->advertise, error) ||
        !check_advertise("advertise_tls", config->advertise_tls, error))
        return false;
    if (!packet_daemon_check(&config->base, "storage", error) ||
        !packet_daemon_check_applications(&config->applications, "storage", error))
        return false;
    for (size_t i = 0; i < config->expires.count; i++) {
        char name[PROTO_APPLICATION_SIZE];
        int64_t seconds;
        if (!storage_options_split_expiry(config->expires.items[i], name, &seconds, error))
            return false;
    }
    /* What an upload may wait since it last wrote to its file: for the next piece of the content, or for a turn at the
     * database and then its answer. */
    int64_t waits = config->base.progress_timeout_ms + 2 * config->base.database_timeout_ms;
    if (config->leftover_age_ms <= waits)
        return error_set(
            error, ERROR_GENERAL,
            "storage.leftover_age (%lld ms) must be longer than storage.progress_timeout and twice "
            "database.timeout together (%lld ms), or an upload that is still under way would be taken for "
            "a leftover",
            (long long)config->leftover_age_ms, (long long)waits);
    return check_modes(config, error) && check_paths(config, error) && check_journal(config, error);
}
