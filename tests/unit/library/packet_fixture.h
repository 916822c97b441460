/*
 * packet_fixture: what the tests of the packet server share: a server with two loops and a table of small
 * commands in this process, and a blocking client that sends what peers send.
 */
#ifndef REEL_TESTS_PACKET_FIXTURE_H
#define REEL_TESTS_PACKET_FIXTURE_H

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/serve/packet_server.h"
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#define MIB         (1024 * 1024)
#define PIECE       (256 * 1024)
#define STREAM_MAX  (1LL << 50)
#define FILE_SIZE   (100LL * MIB)
#define SHARED_SIZE (4 * MIB)

enum {
    ECHO = 1,       /* the whole body comes back */
    COUNT = 2,      /* streamed: the number of content bytes and their sum come back */
    REFUSE = 3,     /* streamed: refused at once */
    REFUSE_MID = 4, /* streamed: refused after a piece */
    SEND_FILE = 5,  /* offset 8, length 8: that range of the test's file */
    LATER = 6,      /* like ECHO, after a worker had it */
    ABORT = 7,
    HOLD = 8,    /* streamed: nothing is read or answered before the test says so; then like COUNT */
    TAKE = 9,    /* size 8: so many bytes of the pattern from memory */
    IGNORE = 10, /* streamed: success, nothing read */
    CHANGE = 11, /* streamed: refused while a read is under way */
    SMALL = 12,  /* streamed: like COUNT, in pieces of 7 bytes */
    SHARED = 13, /* SHARED_SIZE bytes of the pattern from memory, the same ones for everybody */
};

/* Everything that a test and the handlers share. */
struct fixture {
    struct loop_group loops;
    struct workers *workers;
    struct packet_server *server;
    char path[64];
    int file;
    atomic_int opened, closed, stopped, failed_reads, files_sent, files_failed, held, changed_reads;
    atomic_bool release;
    struct packet_shared *shared;
};

extern struct fixture fixture;

/* The byte at OFFSET of every content that the tests send or store. */
uint8_t pattern(int64_t offset);

/* ---- the server's side ---- */

/* Eight bytes, the highest first. */
void pack_u64(uint8_t *to, uint64_t value);

void on_stopped(void *argument);

/* Options of a server on a free port of 127.0.0.1; *ADDRESS must live as long as they do. */
struct packet_server_options default_options(struct address *address);

/* Starts the server with so many loops, and two workers. */
void start_on(const struct packet_server_options *options, size_t loops);

/* The same with two loops. */
void start_with(const struct packet_server_options *options);

/* start_with() the default options. */
void start(void);

/* Fails the test when the counter is not VALUE within 20 seconds. */
void wait_until(atomic_int *counter, int value);

/* Stops the server; whatever was opened must have been closed. */
void finish(void);

/* The file that SEND_FILE sends: SIZE bytes of the pattern. */
void make_file(int64_t size);

/* ---- the client's side ---- */

/* A blocking connection to the server, with 30 seconds of patience. */
int dial(void);
/* One that takes little before it reads, whatever this machine gives a socket by itself. */
int dial_narrow(void);

/* Writes all of it. */
void put_bytes(int fd, const void *bytes, size_t size);

/* The header of a request alone. */
void put_header(int fd, uint8_t command, int64_t length);

/* A whole request. */
void put_request(int fd, uint8_t command, const void *body, size_t size);
/* The same in one call, up to 1,000 bytes: however long this machine holds the test up, the server never sees a part of it. */
void put_request_in_one(int fd, uint8_t command, const void *body, size_t size);

/* SIZE bytes of the pattern. */
void put_pattern(int fd, int64_t size);

/* Reads exactly SIZE bytes; an earlier end fails the test. */
void get_bytes(int fd, void *bytes, size_t size);

/* The header of a reply. */
struct proto_header get_header(int fd);

/* A reply with success and this body. */
void get_success(int fd, const void *body, size_t size);

/* A reply with a failure of this number and text. */
void get_failure(int fd, int code, const char *text);

/* What COUNT answers to SIZE bytes of the pattern. */
void get_count(int fd, int64_t size);

/* SIZE bytes of the pattern from OFFSET on. */
void get_pattern(int fd, int64_t offset, int64_t size);

/* The orderly end of the stream. */
void get_end(int fd);

/* Cut, in whatever manner. */
void get_cut(int fd);

/* The connection still answers, and to what was asked last. */
void check_in_step(int fd);

/* True when something can be read within MS milliseconds. */
bool readable_within(int fd, int ms);

/* Asks for LENGTH bytes of the file from OFFSET on. */
void put_file_request(int fd, int64_t offset, int64_t length);

#endif
