/*
 * story_state: what the files story*.c share of a story: its files, its servers, and what is noted of both. Private to these.
 */
#ifndef REEL_TESTS_SIMULATION_STORY_STATE_H
#define REEL_TESTS_SIMULATION_STORY_STATE_H

#include "common/proto/proto_put.h"
#include "tests/simulation/client.h"
#include "tests/simulation/history.h"
#include "tests/simulation/story.h"

#define STORAGES_MAX 3
#define FILES_MAX    6
#define CONTENTS     2
#define NAMES        3
#define SLACK_US     (15 * SECOND_US)
#define DAY_S        INT64_C(86400)

struct file {
    struct history history;
    int begun;    /* operations, those under way too */
    bool damaged; /* its bytes were taken away once: what is refused of it says nothing */
    char id[PROTO_FILE_SIZE];
};

/* ---- story.c ---- */

extern struct file story_files[FILES_MAX];
extern uint8_t story_digests[FILES_MAX][CONTENTS][PROTO_DIGEST_SIZE];
extern int story_clients_left;                   /* whose requests are under way, or to come */
extern struct story_result story_result;         /* what is counted so far */
extern char story_volume[256], story_bases[256]; /* directories: of the store path, of the databases */

/* TROUBLE is not left out. */
bool story_may(enum trouble trouble);

/* ---- story_setting.c ---- */

/* How clients behave. */
struct story_habits {
    int operations;        /* of each */
    int64_t think_us;      /* at most, before each */
    int64_t partial_share; /* per million of all that clients do: steps of uploads in several requests */
    int64_t meeting_share; /* likewise: see story_meet() */
    int64_t move_share;    /* likewise: see story_move() */
};

extern struct story_habits story_habits;
extern struct node story_storages[STORAGES_MAX], story_idservers[];
extern int story_storage_count, story_idserver_count, story_client_count, story_file_count;
extern int
    story_home_count; /* of the servers, the first ones: all of group001; where there are more, they are of group002 */
extern int64_t story_partial_keep_us, story_keep_ms, story_cache_age_ms, story_leftover_ms;

/* Chooses all of it. */
void story_set_up(const struct story_limits *limits);
/* Makes the tables of the databases that are set up. */
void story_init_tables(void);
/* Starts the servers that are not running. */
void story_start_all(void);
/* Of the first storage server. */
const char *const *story_storage_options(void);
/* How all storage servers start from now on. */
void story_set_journal(bool on);

/* ---- story_client.c ---- */

/* A storage server, by chance; and one of group001. */
struct node *story_any_storage(void);
struct node *story_home_storage(void);
void story_fill_key(struct proto_file_key *key, int file);
/* Name number NUMBER. */
void story_fill_name(char name[PROTO_NAME_SIZE], int number);
/* OPERATION becomes a part of the file's history. */
void story_note(int file, const struct operation *operation);
/* Has ONE deleted the file, as far as is known, or said when it is to go? */
bool story_may_delete(const struct operation *one);
/* There is room for one more operation of FILE, which is begun. */
MUST_CHECK bool story_begin(int file);
/* How a change was answered; false: it was certainly not begun. */
MUST_CHECK bool story_judge_change(struct operation *operation, const struct reply *reply);

/* Asks NODE for OPERATION of FILE; a read by STAT or by DOWNLOAD. False: the answer says nothing. REPLY is to be freed. */
bool story_operate(int file, struct node *node, struct operation *operation, bool stat, struct reply *reply);
/* The same, and notes what came of it. False: nobody was reached. */
MUST_CHECK bool story_do(int file, struct node *node, struct operation *operation);
/* A fiber's: one client, to its end. */
void *story_client_main(void *argument);

/* ---- story_numbers.c ---- */

/* Takes a number of an ID server for anybody. */
void story_take_number(void);
/* None came twice. */
void story_check_numbers(void);

/* ---- story_trouble.c ---- */

extern const char *story_armed_step; /* whoever reaches it next stands still; NULL: nobody */
/* What may happen at named steps from the beginning on. */
void story_trouble_begin(void);
/* Makes one trouble of the story's kinds happen, as chance decides; it may last for a while. */
void story_trouble(void);
/* There is none any more. */
void story_heal(void);
/* The database was away at US, or NODE may not know yet what happened while it was. */
bool story_may_be_behind(const struct node *node, int64_t us);
/* A storage server is asked for an fsck. */
void story_fsck(bool repair);
/* The power of all storage servers fails, and comes back. */
void story_power_cut(void);

/* ---- story_end.c ---- */

void story_end(void);

/* ---- story_damage.c ---- */

extern int story_bytes_are_wrong; /* of so many files, for now */
extern int story_damages_left;    /* that are under way: bytes that are still to be put back */
/* The bytes of some file are away, or wrong, for a while from now on. */
void story_damage(void);
/* PUT of FILE was answered with success right now. */
void story_look_at_stored(int file, const struct operation *put);

/* ---- story_journal.c ---- */

extern bool story_journal; /* a story with the upload journal */
/* It is one; DIRECTORY is the database's. */
void journal_story_begin(const char *directory);
/* May the power be cut at steps of the journal, from now on? */
void journal_story_steps(bool may);
/* Of the database's disk, too. ITEMS: the options of a server. False: the servers are to go on without the journal, which is gone. */
MUST_CHECK bool journal_story_power_cut(const char *const *items);
/* NODE is at STEP; true: the power fails there. */
MUST_CHECK bool journal_story_reached(struct node *node, const char *step);

/* ---- story_move.c ---- */

extern bool story_moves; /* a story of two groups */
/* Directories of their store paths, below the volume; it is one. */
void move_story_begin(void);
/* Group 0 or 1: where its store path is. */
const char *move_story_volume(int group);
/* A file moves from one group to the other, as `reel admin group drain --empty` has it done. */
void story_move(void);
/* A server that stands still at STEP, which is armed, does so for longer than the clean-up waits. */
MUST_CHECK bool move_story_outstays(const char *step);
/* Does FILE belong to NODE's group, as its row says? Where it has no row it belongs to any. */
MUST_CHECK bool move_story_belongs(int file, const struct node *node);

/* ---- story_meeting.c ---- */

/* What one server asks of the database about a file, a change of it at another one, and an upload of it at the first meet. */
void story_meet(void);

/* ---- story_partial.c ---- */

/* A client takes a step of an upload in several requests: of one that others are at, too. */
void partial_step(void);
/* Everything works: what was answered of each is so, and it can be finished. */
void partial_last_look(void);

#endif
