/*
 * meta_world: file rows on a real SQLite database, and questions to them whose answers a test waits for. Included by
 * tests only.
 */
#ifndef REEL_TESTS_META_WORLD_H
#define REEL_TESTS_META_WORLD_H

#include "storage/rows/meta_change.h"
#include "storage/rows/meta_insert.h"
#include "storage/rows/meta_edit.h"
#include "tests/unit/library/storage_fixture.h"
#include "tests/unit/library/storage_loop.h"

#include <sqlite3.h>
#include <stdatomic.h>

struct meta_world {
    struct fixture fixture;
    struct loop *main_loop; /* timers; does not run */
    struct loop *loop;
    struct store *store;
    struct meta *meta;
    sqlite3 *beside; /* somebody else's connection */
};

/* One question of each kind, and whether it was answered. */
struct asked {
    struct meta_world *world;
    atomic_bool answered;
    bool taken;
    struct error error;
    struct meta_find find;
    struct meta_insert insert;
    struct meta_withdraw withdraw;
    struct meta_change change;
    struct meta_list list;
    struct meta_edit edit;
};

/* MORE: one option more, "section.name=value"; NULL: none. */
void meta_world_start(struct meta_world *world, const char *more);
/* The same with two of them. */
void meta_world_start_with(struct meta_world *world, const char *one, const char *more);
void meta_world_end(struct meta_world *world);
/* SQL through somebody else's connection. */
void meta_world_beside(struct meta_world *world, const char *sql);
struct proto_file_key meta_world_key(const char *user, const char *file);
/* For loop_wait_until(), of an asked. */
bool asked_is_answered(void *argument);
/* Waits for the answer of what was asked. */
void asked_wait(struct asked *asked);
/* Asks, without waiting. */
void asked_find(struct meta_world *world, struct asked *asked, const struct proto_file_key *key,
                bool stale_fine);
/* Each asks and waits; what is returned is valid until the next one. */
enum meta_result rows_find(struct meta_world *world, const struct proto_file_key *key, struct meta_row *row);
enum meta_result rows_find_however_old(struct meta_world *world, const struct proto_file_key *key,
                                       struct meta_row *row);
void rows_fill_insert(struct meta_world *world, struct meta_insert *insert, const struct proto_file_key *key,
                      int64_t value, int64_t size, const char *name);
struct meta_insert *rows_insert(struct meta_world *world, const struct proto_file_key *key, int64_t value,
                                int64_t size, const char *name);
struct meta_change *rows_change(struct meta_world *world, const struct proto_file_key *key,
                                enum proto_file_status status);
struct meta_list *rows_list(struct meta_world *world, const char *user, const char *after, int limit,
                            enum proto_file_status status);
struct meta_edit *rows_expire(struct meta_world *world, const struct proto_file_key *key, int64_t expires);
struct meta_edit *rows_rename(struct meta_world *world, const struct proto_file_key *key, const char *name);
void asked_run_find(void *argument);
void asked_run_insert(void *argument);
void asked_run_withdraw(void *argument);
void asked_run_change(void *argument);
void asked_on_withdraw(struct meta_withdraw *withdraw);
void asked_on_change(struct meta_change *change);
void asked_on_find(struct meta_find *find);

#endif
