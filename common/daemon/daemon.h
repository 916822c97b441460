/*
 * daemon: the life of a daemon from main() to exit: options, configuration, log, pid file, privilege drop, loops,
 * admin port, signals, readiness and watchdog notices to systemd, clean stop.
 *
 * Command line, the same for every daemon:
 *   reel-NAME [-c FILE] [-o SECTION.NAME=VALUE]... [-d]
 *   -c, --config FILE   -o, --option S.N=V   -d, --daemonize (default: foreground)
 *   --check-config  --print-config  --init-db  --backup FILE  --checkpoint  --help  --help-markdown  --help-json
 *   --version
 * Exit codes: 0 fine; 1 could not start or failed; 2 wrong command line or configuration.
 *
 * Signals: SIGTERM/SIGINT drain (a second one ends at once); SIGHUP reloads what can be reloaded, says what cannot,
 * and reopens the log; SIGUSR1 reopens the logs only.
 */
#ifndef REEL_COMMON_DAEMON_H
#define REEL_COMMON_DAEMON_H

#include "common/auth/auth.h"
#include "common/config/config.h"
#include "common/daemon/sandbox.h"
#include "common/loop/loop.h"
#include <jansson.h>
#include <stdio.h>

/* Options of [tls]; their rows are in daemon_options.c. */
struct daemon_tls_config {
    struct config_strings certificates, keys;
    char *ca;                  /* "": the system's */
    int verify;                /* enum daemon_tls_verify */
    int64_t expiry_warning_ms; /* before the end of a certificate */
};
enum daemon_tls_verify { DAEMON_TLS_VERIFY_NONE, DAEMON_TLS_VERIFY_PEER };

/* Whether the daemon may open only the files that it needs (common/daemon/sandbox.h): where the kernel can, never, or always. */
enum daemon_sandbox { DAEMON_SANDBOX_AUTO, DAEMON_SANDBOX_OFF, DAEMON_SANDBOX_REQUIRED };

/* First member of every daemon's configuration struct; its options ([daemon], [log], [admin]) are in daemon.c. */
struct daemon_config {
    char *pid_file;          /* "": none */
    char *user;              /* "": stay who we are */
    int64_t loops;           /* 0: one per core */
    int64_t stop_timeout_ms; /* how long a drain may take */
    int64_t open_files;      /* RLIMIT_NOFILE to ask for; 0: as it is */
    char *log_file;
    int log_level;                    /* enum log_level */
    int sandbox;                      /* enum daemon_sandbox */
    struct address_list admin_listen; /* empty: no admin port */
    struct config_strings admin_hosts;
    struct daemon_tls_config tls;
    int auth_mode;   /* enum auth_mode */
    char *auth_keys; /* keys file; "": none */
    char *auth_identity;
    struct config_strings auth_legacy; /* of daemons that answer packets; so is the next */
    int64_t auth_session_ms;
    char *audit_file;
    bool audit_required;
};

struct daemon_tls;

struct daemon {
    const struct daemon_spec *spec;
    const void *config;       /* as it was at the start (reload() brings what is new; of the common options
                                 stop_timeout is kept up to date); starts with a struct daemon_config */
    struct loop *main_loop;   /* signals, timers, admin port; the main thread */
    struct auth *auth;        /* always there from start() on */
    struct audit *audit;      /* NULL: none is written */
    struct loop_group *loops; /* for the work; they run after start() returned true */
    void *state;              /* the daemon's own; set by start() */
    struct daemon_tls *tls;   /* see daemon_tls.h */
};

struct admin_question;

struct daemon_spec {
    const char *name;    /* "tracker": program reel-tracker, default file /etc/reelstore/tracker.conf */
    const char *summary; /* one line for --help */
    enum key_role role;  /* in which it proves itself and answers; KEY_ROLE_GATEWAY: it answers no packets */
    uint16_t admin_port; /* default of admin.listen: 127.0.0.1:PORT */
    const struct config_option *options; /* the daemon's own */
    size_t option_count;
    size_t config_size;

    /* Checks beyond the table (options that must fit each other). May be NULL. Blocks nothing. */
    bool (*check)(const void *config, struct error *error);
    /* Allows what the daemon needs beyond its logs, the files that its options name and those of the system: databases, volumes. Main
     * thread, before start(). May be NULL: nothing. */
    bool (*confine)(const void *config, struct sandbox *sandbox, struct error *error);
    /* --check-config: lines to OUT about what is allowed but unwise on this machine. May block. NULL: there is none. */
    void (*advise)(const void *config, FILE *out);
    /* --init-db: creates what is missing in the database, reports on stdout what it did. May block. */
    bool (*init_db)(const void *config, struct error *error);
    /* --backup: copies the database to PATH, reports on stdout. May block. NULL: there is none. */
    bool (*backup)(const void *config, const char *path, struct error *error);
    /* --checkpoint: replays and empties what a crash has left, reports on stdout. May block. NULL: there is none. */
    bool (*checkpoint)(const void *config, struct error *error);
    /* Builds the daemon: listeners on daemon->loops, timers on daemon->main_loop. Main thread, before the loops run.
     * Must not need a peer (tracker, database) to be there. On false everything it made is undone. */
    bool (*start)(struct daemon *daemon, struct error *error);
    /* Drain: accept nothing new, finish what is in progress, then call daemon_stopped(). Main thread. */
    void (*stop)(struct daemon *daemon);
    /* The drain is over, or its time is; the loops still run: end what runs on threads of its own and completes on a
     * loop (workers_destroy(), db_close()), so that the last completions find their loops. Main thread, may block for
     * seconds. May be NULL. */
    void (*end_workers)(struct daemon *daemon);
    /* The threads of the loops have ended, what was posted to them has run, and their bases still exist: free
     * everything. The main loop exists too. Main thread. */
    void (*destroy)(struct daemon *daemon);
    /* SIGHUP: take over the reloadable options from NEW_CONFIG (freed after the call; copy), or nothing of it. Keys and certificates
     * of it hold after the call. Main thread. May be NULL. */
    bool (*reload)(struct daemon *daemon, const void *new_config, struct error *error);
    /* /healthz: false and a REASON when the daemon runs but cannot do its work; true and a REASON, else "", when it works but
     * something is not as it should be. REASON comes as "". Main thread. */
    bool (*health)(struct daemon *daemon, char *reason, size_t reason_size);
    /* /status: a new reference; main thread. Where it would hold the main loop up, NULL and ask_status() instead, which has the text
     * made on another thread for admin_answer() (common/daemon/admin.h); main thread, must not block. */
    json_t *(*status)(struct daemon *daemon);
    void (*ask_status)(struct daemon *daemon, struct admin_question *question);
    /* SIGUSR1/SIGHUP: reopen logs of its own (access log). May be NULL. */
    void (*reopen_logs)(struct daemon *daemon);
};

/* The whole life; main() returns its result. */
int daemon_run(const struct daemon_spec *spec, int argc, char **argv);

/* Any thread: the drain that stop() began is finished. */
void daemon_stopped(struct daemon *daemon);

#endif
