/*
 * sim: what the rooms of the simulator share. Real storage and ID servers run in one process, every thread of theirs as
 * a fiber, under virtual time and a scheduler that a seed drives; the disk, the database, the network and the clocks
 * below them fail as the seed says. One run is bit for bit the same for one seed.
 *
 *   world.c    fibers, virtual time, the scheduler, nodes (processes) that pause and die
 *   threads.c  fibers in place of threads, mutexes and conditions
 *   chance.c   every decision of a run
 *   net.c      sockets between nodes
 *   disk.c, disk_calls.c  the group's volume: what is not synced is lost in a power cut, calls are slow and fail
 *   journal_disk.c  the file of the upload journal, which loses sectors
 *   base.c     the database server: statements are slow, late, lost or uncertain
 *   base_file.c, base_handle.c  its files, in memory, and handles that stay open
 *   storage_node.c, idserver_node.c   the daemons' own main.c, started on a node
 *   client.c   clients that upload, delete, restore and read
 *   history.c  what they saw, held against what the promise allows
 *   story.c, story_setting.c, story_client.c, story_trouble.c, ...  which of all this a seed makes happen
 */
#ifndef REEL_TESTS_SIM_H
#define REEL_TESTS_SIM_H

#include "common/base/base.h"

#include <stdio.h>

#define SECOND_US INT64_C(1000000)
#define FOREVER   INT64_MAX

/* ---- chance: every decision of a run comes from here ---- */

void chance_seed(uint64_t seed);
uint64_t chance_64(void);
/* 0..BELOW-1; BELOW > 0. */
int64_t chance_below(int64_t below);
static inline int64_t chance_between(int64_t low, int64_t high)
{
    return low + chance_below(high - low + 1);
}
int64_t chance_of(const int64_t *values, size_t count);
#define ONE_OF(...) chance_of((const int64_t[]){__VA_ARGS__}, ARRAY_SIZE(((const int64_t[]){__VA_ARGS__})))
/* True in PER_MILLION of a million cases. */
bool chance(int64_t per_million);

/* ---- nodes and fibers ---- */

struct node {
    const char *name;
    int index;
    uint16_t port;
    bool alive;
    int64_t paused_until; /* virtual time; its fibers do not run before */
    int64_t clock_offset; /* microseconds, of its wall clock */
    int starts;           /* so far */
};

struct fiber;
struct fiber *fiber_start(struct node *node, const char *name, void *(*run)(void *argument), void *argument);
/* The node whose code runs now; NULL for the story itself. */
struct node *node_current(void);
/* The running fiber reads NODE's wall clock from now on; NULL: that of its own node. */
void clock_of(const struct node *node);
/* Everything of it ends at once, as by kill -9. */
void node_kill(struct node *node);
/* The same, of the node whose code runs now. */
_Noreturn void node_die(void);

void world_begin(void);
/* Runs fibers until UNTIL returns true, or LIMIT_US of virtual time passed, or nothing is left to run. */
void world_run(bool (*until)(void));

int64_t now_us(void);
/* Everybody and everything has stood still for so long. */
void world_jump(int64_t us);
void sleep_us(int64_t us);
/* Lets others run, at a random moment. */
void yield(void);
/* Sleeps until READY says so or the time comes; false for the time. READY is asked after anything has happened on a
 * socket. */
bool wait_ready(bool (*ready)(void *argument), void *argument, int64_t until_us);
/* Something happened on a socket or an eventfd: whoever waits for one looks again. */
void note_io(void);
uint64_t switches(void);

/* Says what happens, with the time, when asked to (-v). */
void say(const char *format, ...) PRINTF_LIKE(1, 2);
extern bool verbose;
/* The run has failed. */
_Noreturn void violation(const char *format, ...) PRINTF_LIKE(1, 2);

/* ---- network ---- */

void net_own(int fd);    /* belongs to the current node: closed when that dies */
void net_forget(int fd); /* somebody else closes it */
void net_close_all(const struct node *node);
void net_cut(void); /* a connection, by chance */
/* From a fiber: a connected socket or -1. */
int net_connect(uint16_t port);

/* ---- disk ---- */

enum disk_model {
    DISK_STRICT,  /* POSIX to the letter: a name lasts when its directory was synced */
    DISK_JOURNAL, /* ext4, XFS: names last in the order they were made, with whatever is synced next */
    DISK_GLUSTER, /* the same, and an fsync of a directory does nothing */
};
void disk_begin(const char *directory, enum disk_model model);
/* Once for all stories. */
void disk_read_mounts(void);
void disk_forget(int fd); /* it is closed */
/* No node runs now: what was not synced is lost. */
void disk_power_cut(void);
/* A copy of the volume lies in its place from now on, as after it was moved to another disk; the old one is gone. */
void disk_exchange(void);
/* What happened to this name so far is not lost any more. */
void disk_settle(const char *path);
extern int64_t disk_slow; /* per million: a call takes long */
extern int64_t disk_fail; /* per million: a call fails */
extern int64_t disk_hang; /* per million: a sync takes many seconds */
extern int64_t disk_late; /* per million: what syncfs(2) was to write is not written */

/* ---- the disk of the database (journal_disk.c) ---- */

/* The upload journal is the file PATH, which is not there yet. */
void journal_disk_begin(const char *path);
/* No node runs now: what was not synced is lost, sector by sector. */
void journal_disk_power_cut(void);
/* No node runs now: a server of an earlier version will not look for it. */
void journal_disk_remove(void);

/* ---- database ---- */

void base_begin(const char *directory);
const char *base_url(const char *name);
extern int64_t base_slow, base_fail, base_uncertain, base_late; /* per million */
extern bool base_away;
extern const struct node
    *base_held; /* what it asks for is answered at once, and the answer is under way for up to 1.5 s */
void base_kill(const struct node *node);
/* It lies on the storage servers' machine: what is committed without a sync is lost in a power cut. */
extern bool base_beside;

#endif
