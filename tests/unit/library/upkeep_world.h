/*
 * upkeep_world: what the upkeep works on, for its unit tests: a store path in a temporary directory, file rows in SQLite, clocks
 * that stand still until the test moves them, members of the group as keepers on the test's own thread, and hooks in
 * the system calls that move, remove and sync files. A program that uses it has its own renameat(2), unlinkat(2), fsync(2),
 * fstatat(2), read(2) and, for openat2(2), syscall(2), which call the kernel's. Included by tests only.
 */
#ifndef REEL_TESTS_UPKEEP_WORLD_H
#define REEL_TESTS_UPKEEP_WORLD_H

#include "storage/upkeep/keeper.h"
#include "tests/unit/library/fake_clock.h"
#include "tests/unit/library/storage_fixture.h"

#include <sqlite3.h>

#define UPKEEP_OLD "5F9E3FA7" /* a second of the year 2020, for names */

struct upkeep_world {
    struct fixture fixture;
    struct fake_clock clock;
    struct loop *loop; /* its timers do not run */
    struct storage storage;
    sqlite3 *beside; /* somebody else's connection */
};

/* What happens before or after a system call on a file of the store path: each is called with the name below that path; an
 * errno other than 0 is what the call fails with. NULL: nothing. */
struct upkeep_hooks {
    struct upkeep_world *world;
    int (*rename_before)(struct upkeep_world *world, const char *from, const char *to);
    void (*rename_after)(struct upkeep_world *world, const char *from, const char *to);
    int (*unlink_before)(struct upkeep_world *world, const char *name);
    int (*open_before)(struct upkeep_world *world, const char *name);
    int (*read_before)(struct upkeep_world *world);
    void (*look_before)(struct upkeep_world *world, const char *name); /* fstatat(2) */
    void (*synced)(struct upkeep_world *world, const char *path);      /* before the fsync(2) */
    int sync_failure;     /* errno of the next fsync(2), set by `synced` */
    int64_t age;          /* seconds that every file is older than it is */
    int renames, unlinks; /* how often */
};
extern struct upkeep_hooks upkeep_hooks;

/* OPTIONS: "section.name=value;...", or NULL. */
void upkeep_world_start(struct upkeep_world *world, const char *options);
void upkeep_world_end(struct upkeep_world *world);

/* A member with these CHORES; its metrics are registered. */
void upkeep_member_start(struct upkeep_world *world, struct keeper *keeper, const struct chore *chores,
                         size_t count);
void upkeep_member_end(struct keeper *keeper);
/* It holds the lease from here on. */
void upkeep_member_leads(struct keeper *keeper);

/* A file of SIZE bytes 'x' under number VALUE (its last directory is VALUE / 512), named with an old second. Its place
 * below the store path is written to PLACE. */
void upkeep_file(struct upkeep_world *world, int64_t value, size_t size, char place[PATH_TEXT_SIZE]);
/* Its row in t_file_02, of user alice; CHANGES, e.g. "status = 1", are set afterwards. */
void upkeep_row(struct upkeep_world *world, const char *id, int64_t value, int64_t size, const char *changes);
/* Both. */
void upkeep_stored(struct upkeep_world *world, const char *id, int64_t value, size_t size,
                   const char *changes);

bool upkeep_there(const struct upkeep_world *world, int64_t value);
/* Files in the quarantine. */
int upkeep_quarantined(const struct upkeep_world *world);

void upkeep_sql(struct upkeep_world *world, const char *format, ...) PRINTF_LIKE(2, 3);
/* The one number that FORMAT selects; -1 where it selects nothing. */
int64_t upkeep_number(struct upkeep_world *world, const char *format, ...) PRINTF_LIKE(2, 3);
/* Its status; -1: no row. */
int64_t upkeep_status_of(struct upkeep_world *world, const char *id);

/* Runs STATEMENT, a job function over the test's own struct, on a database thread. */
enum db_result upkeep_job(struct upkeep_world *world,
                          enum db_result (*run)(void *argument, struct db_connection *connection,
                                                struct error *error),
                          void *argument);

#endif
