/*
 * storage_server: a storage server made of the real rooms, with files, SQLite and sockets (the ID server
 * alone is scripted), and a client with blocking sockets. Included by tests only.
 */
#ifndef REEL_TESTS_STORAGE_SERVER_H
#define REEL_TESTS_STORAGE_SERVER_H

#include "common/proto/digest.h"
#include "common/db/schema.h"
#include "common/proto/proto_put.h"
#include "sql/storage_sql.h"
#include "storage/storage.h"
#include "tests/unit/library/scripted_peer.h"
#include "tests/unit/library/storage_fixture.h"
#include "tests/unit/library/storage_loop.h"

#include <semaphore.h>
#include <signal.h>
#include <sqlite3.h>

struct world {
    struct fixture fixture;
    struct peer idserver;
    atomic_llong next_number;
    struct loop *main_loop;
    struct loop_group loops;
    struct daemon daemon;
    struct storage storage;
    const char *key;
    sqlite3 *beside;
};

/* Starts everything; MORE: one more option, or NULL. */
void start_world(struct world *world, const char *more);

/* Ends everything, and checks that slots and buffers came back and nothing was left over. */
void end_world(struct world *world);

/* Runs SQL on the database beside the server, over a connection of the test. */
void beside(struct world *world, const char *sql);

/* ---- a client with blocking sockets ---- */

/* A blocking connection to the storage server. */
int connect_client(const struct world *world);

struct answer {
    bool fine;
    int code;
    uint8_t *body;
    int64_t size;
};

/* The code of the reply, ERROR_NONE for success with an empty body. */
int read_code(int fd);

/* The key of FILE of alice in tnvideo. */
struct proto_file_key key_of(const char *file);

/* The header of a request alone. */
void send_header(int fd, uint8_t command, int64_t length);

/* The header and the head of a PUT; the content is up to the test. */
void send_put_head(int fd, const struct proto_put *put);

/* A whole PUT; the number of the reply, ERROR_NONE for success. */
int put(int fd, const struct proto_put *head, const void *content);

/* A whole UPLOAD; the number of the reply, ERROR_NONE for success. */
int upload(int fd, const char *file, const void *content, size_t size);

/* The reply to what was sent; its body is to be freed. */
struct answer read_answer(int fd);

/* COMMAND about FILE, which takes a key alone; the body of the answer is to be freed. */
struct answer ask_key(int fd, uint8_t command, const char *file);

/* COMMAND with a BODY of SIZE bytes; the body of the answer is to be freed. */
struct answer ask_body(int fd, uint8_t command, const uint8_t *body, size_t size);

/* DELETE or RESTORE; the number of the reply, ERROR_NONE for success. */
int change(int fd, uint8_t command, const char *file);

/* DOWNLOAD; the number of the reply. Success must bring exactly the expected bytes. */
int code_of_download(int fd, const char *file, int64_t offset, int64_t size, const void *expected,
                     size_t expected_size);

/* STAT, which must succeed. */
struct proto_stat stat_of(int fd, const char *file);

/* SIZE random bytes; to be freed. */
uint8_t *random_bytes(size_t size);

/* The digest as files have it. */
void digest_of(const void *bytes, size_t size, uint8_t out[PROTO_DIGEST_SIZE]);

#endif
