/*
 * options: the configuration of reel-storage: the struct, its table of options, and what must fit each other.
 * Called by main.c and, for the struct, by every room of this daemon.
 */
#ifndef REEL_STORAGE_OPTIONS_H
#define REEL_STORAGE_OPTIONS_H

#include "common/daemon/packet_daemon.h"
#include "common/proto/proto.h"

#include <sys/types.h>

enum options_durability { OPTIONS_DURABLE = 0, OPTIONS_RELAXED = 1 };
enum options_sha256 { OPTIONS_SHA256_AUTO = 0, OPTIONS_SHA256_ALWAYS = 1, OPTIONS_SHA256_NEVER = 2 };
enum options_directory_sync { OPTIONS_DIRECTORY_SYNC_AUTO = 0, OPTIONS_DIRECTORY_SYNC_ALWAYS = 1 };
enum options_journal { OPTIONS_JOURNAL_AUTO = 0, OPTIONS_JOURNAL_ON = 1, OPTIONS_JOURNAL_OFF = 2 };
enum options_mount_check { OPTIONS_MOUNT_NONE = 0, OPTIONS_MOUNT_MARKER = 1, OPTIONS_MOUNT_POINT = 2 };

struct storage_config {
    struct packet_daemon_config base; /* must be the first member */

    char *host_name; /* "": this machine's */
    char *group;
    struct config_strings applications;
    struct config_strings expires; /* APPLICATION=TIME, see storage_options_split_expiry() */

    struct config_strings paths; /* KEY=DIR or DIR; see storage_options_split_path() */
    int mount_check;             /* enum options_mount_check */
    char *file_mode;             /* octal, see storage_options_mode() */
    char *directory_mode;
    char *file_group; /* name or number; "": as the system gives it */
    int64_t workers_per_path;
    int64_t workers_queue;
    int64_t probe_interval_ms;
    int64_t hang_timeout_ms;
    int64_t reserve_space; /* bytes */
    int64_t reserve_inodes;

    int64_t cache_entries;
    int64_t cache_age_ms;
    int64_t open_files; /* 0: see storage_options_open_files() */
    int64_t open_age_ms;

    int durability;        /* enum options_durability */
    int directory_sync;    /* enum options_directory_sync */
    int journal;           /* enum options_journal */
    int64_t journal_size;  /* bytes */
    int sha256;            /* enum options_sha256 */
    int64_t chunk_size;    /* bytes */
    int64_t buffer_memory; /* bytes */
    int64_t uploads_max;
    int64_t uploads_waiting;
    int64_t uploads_wait_ms;
    int64_t upload_rate_min; /* bytes per second; 0: any */
    int64_t partial_keep_ms;
    int64_t partials_max, partials_per_user;

    int64_t quota_bytes, quota_files; /* of a user in an application; 0: no limit */

    int64_t trash_keep_ms; /* 0: purged at once */
    int64_t purge_interval_ms;
    int64_t lease_ms;
    int64_t leftover_age_ms;
    int64_t sweep_interval_ms;
    int64_t quarantine_keep_ms;
    int64_t leftovers_max;     /* files of one sweep */
    int64_t leftovers_share;   /* per cent of the files that it looked at */
    int64_t scrub_interval_ms; /* 0: only when asked */
    int64_t scrub_rate;        /* bytes per second; 0: no limit */

    struct address_list trackers;
    bool check_users;
    char *advertise;     /* "": none */
    char *advertise_tls; /* "": as advertise, at the port of listen_tls */
    int64_t heartbeat_interval_ms;
    struct address_list idservers;
    int64_t id_range;
    int64_t id_timeout_ms;
    int64_t id_waiting;
    int64_t connect_timeout_ms;
    int64_t call_timeout_ms;
    int64_t hedge_ms;
};

extern const struct config_option storage_options[];
extern const size_t storage_option_count;

/* Checks beyond the table: group, applications, store paths, database URL. Pure. */
MUST_CHECK bool storage_options_check(const void *config, struct error *error);

/* Files to keep open for further downloads: open_files, or what the process's limit of open files gives where
 * that is 0. After the limit was set, at the start. */
size_t storage_options_open_files(const struct storage_config *config);

/* "0640" -> 0640; false for what is no octal number up to 02777. Pure. */
MUST_CHECK bool storage_options_mode(const char *text, mode_t *mode);

/* One item of `paths`. KEY is what stands in file_path, without a slash at its end; *DIRECTORY points into TEXT and may
 * end in slashes, which mean nothing. False with what would be right. */
MUST_CHECK bool storage_options_split_path(const char *text, char key[PROTO_KEY_SIZE], const char **directory,
                                           struct error *error);

/* One item of `expires`, "APPLICATION=TIME". False with what would be right. Pure. */
MUST_CHECK bool storage_options_split_expiry(const char *text, char name[PROTO_APPLICATION_SIZE],
                                             int64_t *seconds, struct error *error);

/* What the ID server counts under: the key as it is written in `paths`, a slash at its end included. For the predecessor,
 * which asks that way, "../data" and "../data/" are two sequences. TEXT has passed storage_options_split_path(). */
void storage_options_sequence(const char *text, char sequence[PROTO_KEY_SIZE]);

#endif
