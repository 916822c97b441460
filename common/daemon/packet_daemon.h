/*
 * packet_daemon: what the daemons that answer packets and keep records in a database have in common: rows of
 * their tables of options, the database, the packet server, a timer, the end. Stands on daemon, db and
 * packet_server, and is called by the tracker, the ID server and the storage server, on the main thread.
 */
#ifndef REEL_COMMON_PACKET_DAEMON_H
#define REEL_COMMON_PACKET_DAEMON_H

#include "common/daemon/daemon.h"
#include "common/db/db.h"
#include "common/db/schema.h"
#include "common/serve/packet_server.h"

/* First member of such a daemon's configuration struct; filled from the rows below. */
struct packet_daemon_config {
    struct daemon_config daemon; /* must be the first member */
    struct address_list listen;
    struct address_list listen_tls; /* empty: none */
    int64_t connections_max;
    int64_t connections_per_address; /* 0: no limit */
    int64_t unsent_total;            /* bytes */
    int64_t head_time_ms;
    int64_t requests_per_second; /* 0: no limit */
    int64_t idle_timeout_ms;     /* 0: never */
    int64_t progress_timeout_ms;
    int64_t refused_body_timeout_ms;
    char *database_url;
    char *database_url_file;
    int64_t database_threads;
    int64_t database_queue;
    int64_t database_timeout_ms;
};

/* ---- rows for the daemon's table: each takes what differs from daemon to daemon ---- */

#define PACKET_DAEMON_AT(member) .offset = offsetof(struct packet_daemon_config, member)
#define PACKET_DAEMON_SECOND     INT64_C(1000)
#define PACKET_DAEMON_DAY        (86400 * PACKET_DAEMON_SECOND)

#define PACKET_DAEMON_LISTEN(section_, default_, port_, help_)                                               \
    {                                                                                                        \
        .section = (section_), .name = "listen", .type = CONFIG_ADDRESSES, PACKET_DAEMON_AT(listen),         \
        .default_value = (default_), .minimum = (port_), .help = help_                                       \
    }

#define PACKET_DAEMON_LISTEN_TLS(section_, port_)                                                            \
    {                                                                                                        \
        .section = (section_), .name = "listen_tls", .type = CONFIG_ADDRESSES, PACKET_DAEMON_AT(listen_tls), \
        .default_value = "", .minimum = (port_),                                                             \
        .help =                                                                                              \
            "Addresses and ports where the same is spoken under TLS 1.3, with the certificate of [tls]; "    \
            "others "                                                                                        \
            "call them as tls://HOST:PORT. Empty: none."                                                     \
    }

#define PACKET_DAEMON_CONNECTIONS_MAX(section_)                                                              \
    {                                                                                                        \
        .section = (section_), .name = "connections_max", .type = CONFIG_INTEGER,                            \
        PACKET_DAEMON_AT(connections_max), .default_value = "10000", .minimum = 1, .maximum = 1000000,       \
        .help =                                                                                              \
            "Connections open at once, as far as open_files allows. Beyond that, idle ones and incomplete "  \
            "requests make room; if there are none, a new one waits in the kernel's backlog."                \
    }

/* MORE_: as below. */
#define PACKET_DAEMON_CONNECTIONS_PER_ADDRESS(section_, default_, more_)                                     \
    {                                                                                                        \
        .section = (section_), .name = "connections_per_address", .type = CONFIG_INTEGER,                    \
        PACKET_DAEMON_AT(connections_per_address), .default_value = (default_), .maximum = 1000000,          \
        .help = "Connections of one client address (of one /64, for IPv6); further ones are closed at "      \
                "once. 0: no "                                                                               \
                "limit." more_                                                                               \
    }

#define PACKET_DAEMON_UNSENT_TOTAL(section_)                                                                 \
    {                                                                                                        \
        .section = (section_), .name = "unsent_total", .type = CONFIG_SIZE, PACKET_DAEMON_AT(unsent_total),  \
        .default_value = "64M", .minimum = 1024 * 1024, .maximum = INT64_C(1) << 40,                         \
        .help =                                                                                              \
            "Bytes of replies that wait in memory for clients to read them. Beyond that, the clients that "  \
            "have kept theirs waiting longest are disconnected."                                             \
    }

#define PACKET_DAEMON_HEAD_TIME(section_)                                                                    \
    {                                                                                                        \
        .section = (section_), .name = "head_time", .type = CONFIG_DURATION, PACKET_DAEMON_AT(head_time_ms), \
        .default_value = "10s", .minimum = 100, .maximum = PACKET_DAEMON_DAY,                                \
        .help = "How long a request (of an upload: its head) may take to arrive, however its bytes trickle." \
    }

#define PACKET_DAEMON_REQUESTS_PER_SECOND(section_)                                                          \
    {                                                                                                        \
        .section = (section_), .name = "requests_per_second", .type = CONFIG_INTEGER,                        \
        PACKET_DAEMON_AT(requests_per_second), .default_value = "0", .maximum = 1000000, .reloadable = true, \
        .help =                                                                                              \
            "Requests per second, on average over ten seconds, of one key, or of one client address (of "    \
            "one /64, for IPv6) where no key was proved; further ones are answered \"throttled\" (-20). "    \
            "Proved storage servers, "                                                                       \
            "HTTP "                                                                                          \
            "servers and operators are not counted. 0: no limit."                                            \
    }

/* MORE_: what else this daemon's help says, starting with a blank; or "". */
#define PACKET_DAEMON_IDLE_TIMEOUT(section_, default_, more_)                                                \
    {                                                                                                        \
        .section = (section_), .name = "idle_timeout", .type = CONFIG_DURATION,                              \
        PACKET_DAEMON_AT(idle_timeout_ms), .default_value = (default_), .maximum = 30 * PACKET_DAEMON_DAY,   \
        .reloadable = true,                                                                                  \
        .help = "A connection without a request for this long is closed; 0: never." more_                    \
    }

#define PACKET_DAEMON_PROGRESS_TIMEOUT(section_, default_)                                                   \
    {                                                                                                        \
        .section = (section_), .name = "progress_timeout", .type = CONFIG_DURATION,                          \
        PACKET_DAEMON_AT(progress_timeout_ms), .default_value = (default_), .minimum = 100,                  \
        .maximum = PACKET_DAEMON_DAY, .reloadable = true,                                                    \
        .help = "A peer that moves no byte for this long inside a request or reply is disconnected."         \
    }

#define PACKET_DAEMON_REFUSED_BODY_TIMEOUT(section_, name_, default_)                                        \
    {                                                                                                        \
        .section = (section_), .name = (name_), .type = CONFIG_DURATION,                                     \
        PACKET_DAEMON_AT(refused_body_timeout_ms), .default_value = (default_), .minimum = 100,              \
        .maximum = PACKET_DAEMON_DAY,                                                                        \
        .help =                                                                                              \
            "How long the rest of a refused request is read and discarded, so that its sender can read the " \
            "reply."                                                                                         \
    }

/* HOLDS_: "Where TABLES are:"; the forms of a URL follow. */
#define PACKET_DAEMON_DATABASE_URL(default_, holds_)                                                         \
    {                                                                                                        \
        .section = "database", .name = "url", .type = CONFIG_STRING, PACKET_DAEMON_AT(database_url),         \
        .default_value = (default_),                                                                         \
        .help =                                                                                              \
            holds_ " sqlite:/path/to/file or mysql://user:password@host1:3306,host2/database. On another "   \
                   "host TLS is required unless the URL ends in ?tls=prefer or ?tls=off; ?ca=FILE verifies " \
                   "the server. --init-db creates what is missing there."                                    \
    }

#define PACKET_DAEMON_DATABASE_URL_FILE                                                                      \
    {                                                                                                        \
        .section = "database", .name = "url_file", .type = CONFIG_STRING,                                    \
        PACKET_DAEMON_AT(database_url_file), .default_value = "",                                            \
        .help = "File whose one line is the URL, in place of `url`, so that no configuration contains the "  \
                "password. "                                                                                 \
                "A name without a slash is a systemd credential (LoadCredential=)."                          \
    }

#define PACKET_DAEMON_DATABASE_THREADS(default_)                                                             \
    {                                                                                                        \
        .section = "database", .name = "threads", .type = CONFIG_INTEGER,                                    \
        PACKET_DAEMON_AT(database_threads), .default_value = (default_), .minimum = 1, .maximum = 256,       \
        .help = "Connections to the database, one thread each."                                              \
    }

#define PACKET_DAEMON_DATABASE_QUEUE(default_, help_)                                                        \
    {                                                                                                        \
        .section = "database", .name = "queue_max", .type = CONFIG_INTEGER,                                  \
        PACKET_DAEMON_AT(database_queue), .default_value = (default_), .minimum = 1, .maximum = 1000000,     \
        .help = help_                                                                                        \
    }

#define PACKET_DAEMON_DATABASE_TIMEOUT(default_, help_)                                                      \
    {                                                                                                        \
        .section = "database", .name = "timeout", .type = CONFIG_DURATION,                                   \
        PACKET_DAEMON_AT(database_timeout_ms), .default_value = (default_), .minimum = 10,                   \
        .maximum = 600 * PACKET_DAEMON_SECOND, .help = help_                                                 \
    }

/* What these rows cannot express: an address to listen on, a database URL that can be read, applications (in
 * SECTION) that are names. Reads the url_file, if there is one. */
MUST_CHECK bool packet_daemon_check(const struct packet_daemon_config *config, const char *section,
                                    struct error *error);
MUST_CHECK bool packet_daemon_check_applications(const struct config_strings *applications,
                                                 const char *section, struct error *error);

/* ---- the life ---- */

/* The parts of a daemon's state that all of them have; embedded, zeroed with the rest of it. */
struct packet_daemon {
    struct daemon *daemon;
    const struct packet_daemon_config *config; /* as it was at the start */
    int64_t start_time;                        /* seconds since the epoch */
    struct db *db;
    struct packet_server *server;
    /* private */
    struct event *tick;
    void (*on_tick)(struct packet_daemon *base);
    void (*drained)(struct packet_daemon *base);
    struct task drained_task;
};

/* What the packet server of this daemon answers. The strings and the table must outlive it. */
struct packet_daemon_face {
    const char *host_name; /* in "[host] text" */
    uint8_t reply_command;
    const struct packet_command *commands;
    size_t command_count;
    int64_t descriptors; /* that the daemon may need for other things than these connections */
    int64_t unsent_max;  /* see packet_server_options */
    void *argument;      /* packet_server_argument() */
    void (*closed)(struct packet_connection *connection);
};

/* The first thing that start() does with BASE; after it packet_daemon_destroy() is right at any point. */
void packet_daemon_begin(struct packet_daemon *base, struct daemon *daemon);

/* The file of the SQLite database of CONFIG into PATH; "" where it is another one, or longer. May read a file. */
MUST_CHECK bool packet_daemon_database_file(const struct packet_daemon_config *config, char *path,
                                            size_t size, struct error *error);

/* What --init-db and --backup do with the database of CONFIG; see schema_apply(), db_backup(). BLOCK. */
MUST_CHECK bool packet_daemon_init_db(const struct packet_daemon_config *config,
                                      const struct schema_scripts *scripts, struct error *error);
MUST_CHECK bool packet_daemon_backup(const void *config, const char *path, struct error *error);

/* daemon_spec.confine of a daemon that needs its database and no other files. Reads the url_file, if there is one. */
MUST_CHECK bool packet_daemon_confine(const void *config, struct sandbox *sandbox, struct error *error);

/* The database that CONFIG names; see db_open(). RELAXED: as in db_options. */
MUST_CHECK struct db *packet_daemon_open_database(const struct packet_daemon_config *config, bool relaxed,
                                                  struct error *error);

/* base->server; see packet_server_create(). ERROR names the option. */
MUST_CHECK bool packet_daemon_listen(struct packet_daemon *base, const struct packet_daemon_face *face,
                                     struct error *error);

/* Calls ON_TICK every INTERVAL_MS on the main loop, until packet_daemon_end_workers(). */
MUST_CHECK bool packet_daemon_start_tick(struct packet_daemon *base, int64_t interval_ms,
                                         void (*on_tick)(struct packet_daemon *base), struct error *error);

/* Accepts nothing new, lets requests in progress finish for daemon.stop_timeout at most; then DRAINED is called
 * on the main loop, which ends in daemon_stopped(). */
void packet_daemon_stop(struct packet_daemon *base, void (*drained)(struct packet_daemon *base));

/* The last part of end_workers(): the tick and the database end. Blocks as db_close() does. */
void packet_daemon_end_workers(struct packet_daemon *base);

/* The first part of destroy(), and of a start that failed: packet server, then what
 * packet_daemon_end_workers() has not ended yet. */
void packet_daemon_destroy(struct packet_daemon *base);

/* Takes over the time-outs that a reload may change. */
void packet_daemon_reload(struct packet_daemon *base, const struct packet_daemon_config *new_config);

/* The members that every STATUS begins with: NAME (this machine), version, start_time, connections, requests.
 * A new reference; NULL without memory. */
json_t *packet_daemon_status(const struct packet_daemon *base, const char *name);

#endif
