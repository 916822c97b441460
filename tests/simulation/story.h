/*
 * story: what one seed makes happen, from the start of the daemons to the last look at every file.
 */
#ifndef REEL_TESTS_SIMULATION_STORY_H
#define REEL_TESTS_SIMULATION_STORY_H

#include "tests/simulation/sim.h"

/* Kinds of trouble, each of which can be left out to make a failing story shorter. */
enum trouble {
    TROUBLE_KILL,
    TROUBLE_PAUSE,
    TROUBLE_POWER,
    TROUBLE_CLOCK,
    TROUBLE_NETWORK,
    TROUBLE_DISK_SLOW,
    TROUBLE_DISK_FAIL,
    TROUBLE_DISK_HANG,
    TROUBLE_BASE_SLOW,
    TROUBLE_BASE_FAIL,
    TROUBLE_BASE_LATE,
    TROUBLE_BASE_AWAY,
    TROUBLE_DAMAGE,
    TROUBLE_FSCK,
    TROUBLE_EXCHANGE,
    TROUBLE_LEGACY,
    TROUBLE_SLEEP,
    TROUBLE_STEP,
    TROUBLE_MEETING,
    TROUBLES,                   /* that come by chance */
    TROUBLE_JOURNAL = TROUBLES, /* the upload journal is on, in one story of five */
    TROUBLE_MOVE,               /* there are two groups, between which files move, in one story of five */
    TROUBLE_NAMES
};
extern const char *const trouble_names[TROUBLE_NAMES];

struct story_limits {
    unsigned without;   /* a bit for each trouble */
    int clients, files; /* at most; 0: as the seed says */
    int operations;     /* of each client, at most; 0: as the seed says */
    bool one_storage;
    bool journal, move; /* in any case */
};

struct story_result {
    int64_t simulated_us;
    uint64_t switches;
    int operations, undecided;
    int hollow; /* rows without a file, of uploads that were never answered with success */
};

/* What is the same in every story: before the first one. */
void story_prepare(void);

/* Makes the tables, once for all stories, in files of DIRECTORY. */
void story_make_tables(const char *directory);

/* Ends the process by violation() where the promise was broken. DIRECTORY is private and has nothing but the files of
 * story_make_tables(). */
void story_run(uint64_t seed, const struct story_limits *limits, const char *directory,
               struct story_result *result);

#endif
