/*
 * real_daemon: one of the daemons as users run it, in a process and a directory of its own, and packets to it over a
 * blocking socket. For the tests of what is only there as a whole: main.c, options.c, service.c. Failures end the test.
 */
#ifndef REEL_TESTS_REAL_DAEMON_H
#define REEL_TESTS_REAL_DAEMON_H

#include "common/proto/proto.h"
#include <sys/types.h>

struct real_daemon {
    char name[16];      /* "tracker" */
    char directory[64]; /* configuration, SQLite file, log; removed at the end */
    uint16_t port, admin_port;
    pid_t pid; /* 0: does not run */
};

/* What came back: `code` is ERROR_NONE for success, and then body (to be freed) has `size` bytes. */
struct real_answer {
    int code;
    char *body; /* with a NUL behind it */
    size_t size;
    char text[ERROR_TEXT_SIZE]; /* of a failure */
};

/* Writes the configuration (address, database, log, admin port, and MORE: lines of INI), makes the tables where HAS_DATABASE,
 * starts bin/reel-NAME beside this program and waits until it listens. */
void real_daemon_start(struct real_daemon *daemon, const char *name, bool has_database, const char *more);

/* Writes another configuration, sends SIGHUP, and waits until the log says that it was taken or refused: there must be a log at
 * level info. */
void real_daemon_reload(struct real_daemon *daemon, bool has_database, const char *more);

/* SIGTERM: it must end with 0. Removes the directory. */
void real_daemon_stop(struct real_daemon *daemon);

/* SIGTERM: it must end with 0; the directory stays. */
void real_daemon_halt(struct real_daemon *daemon);

/* For what tears a test down, also one that failed in its middle: a process that still runs is killed. */
void real_daemon_kill(struct real_daemon *daemon);

/* Starts it again after real_daemon_halt(). KEPT: with a listening socket that the process before has left with systemd. */
void real_daemon_resume(struct real_daemon *daemon, bool kept);

/* Runs SQL on the database of the daemon. */
void real_daemon_sql(const struct real_daemon *daemon, const char *sql);

/* Runs bin/reel-NAME with one option and the configuration; its exit code. */
int real_daemon_run(const struct real_daemon *daemon, const char *option);

/* A connection with 20 seconds of patience. */
int real_daemon_connect(const struct real_daemon *daemon);

/* One request and its reply. */
struct real_answer real_daemon_ask(int fd, uint8_t command, const void *body, size_t size);

/* The two halves of it. */
void real_daemon_send(int fd, uint8_t command, const void *body, size_t size);
struct real_answer real_daemon_receive(int fd);

/* Whether something comes on FD within MS. */
bool real_daemon_speaks(int fd, int ms);

/* The number of the answer alone. */
int real_daemon_code(int fd, uint8_t command, const void *body, size_t size);

/* GET of the admin port: status and body (to be freed) in `code` and `body`. */
struct real_answer real_daemon_admin(const struct real_daemon *daemon, const char *path);

/* True once the body of PATH at the admin port has TEXT; waits up to 20 seconds. */
bool real_daemon_shows(const struct real_daemon *daemon, const char *path, const char *text);

#endif
