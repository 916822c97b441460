/*
 * mariadb_server: a real mariadbd for one test program: in a private folder, on a socket there and a free
 * port of 127.0.0.1; gone with the program, however that ends. For tests only. Failures end the test.
 */
#ifndef REEL_TESTS_MARIADB_SERVER_H
#define REEL_TESTS_MARIADB_SERVER_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <mysql.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MARIADB_SERVER_USER     "reel"
#define MARIADB_SERVER_PASSWORD "p@ss:w/rd?%" /* every character that a URL must encode */
#define MARIADB_SERVER_LOGIN    "reel:p%40ss%3Aw%2Frd%3F%25"

#define MARIADB_SERVER_OPTIONS_MAX 8

struct mariadb_server {
    const char *
        options[MARIADB_SERVER_OPTIONS_MAX]; /* more of them, for the next run; may be changed between runs */
    char directory[64];
    char socket[96];
    uint16_t port;
    pid_t pid;      /* of mariadbd; 0 while it does not run */
    pid_t guardian; /* removes the folder when this program has ended */
    int guardian_pipe;
};

/* False where no mariadbd and no mariadb-install-db can be found. */
bool mariadb_server_installed(void);

/* The folder with all that is in it; tries again for five seconds while files still come. */
void mariadb_server_remove_folder(const char *directory);

/* As root over the socket; NULL where the server does not answer. */
MYSQL *mariadb_server_connect(const struct mariadb_server *server);

/* Starts mariadbd on the folder, on the port that it has, and waits until it answers. */
void mariadb_server_run(struct mariadb_server *server);

/* Runs statements as root. */
void mariadb_server_execute(const struct mariadb_server *server, const char *sql);

/* The rows of one query as root: columns parted by "|", rows by newlines, NULL as "NULL". To be freed. */
char *mariadb_server_read(const struct mariadb_server *server, const char *database, const char *sql);

/* The end as a power cut brings it. */
void mariadb_server_kill(struct mariadb_server *server);

/* Makes the folder, the system tables and the user, and starts the server. */
void mariadb_server_start(struct mariadb_server *server);

/* Ends the server and removes its folder. */
void mariadb_server_destroy(struct mariadb_server *server);

#endif
