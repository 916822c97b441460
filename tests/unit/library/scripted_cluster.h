/*
 * scripted_cluster: a tracker and storage servers made of scripted peers, with faults to order: the base
 * commands and our own, packed and unpacked here by hand, and nothing of common/. Included by tests only.
 */
#ifndef REEL_TESTS_SCRIPTED_CLUSTER_H
#define REEL_TESTS_SCRIPTED_CLUSTER_H

#include "tests/unit/library/scripted_peer.h"

#define FAKE_FILES_MAX   64
#define FAKE_STORAGE_MAX 4
#define FAKE_STAT_SIZE   443

struct fake_file {
    char application[16], user[256], id[128], name[256], type[128];
    uint8_t *bytes;
    size_t size;
    bool deleted, has_digest;
    uint8_t digest[16];
    int64_t created; /* seconds since the epoch; 0: in 2020 */
    char group[17];  /* "": group001 */
};

/* What the servers of a group share, as one replicated volume. */
struct fake_group {
    pthread_mutex_t mutex;
    struct fake_file files[FAKE_FILES_MAX];
    int count;
    const char *fsck; /* what FSCK answers; NULL: "{}" */
};

struct fake_storage {
    struct peer peer;
    struct fake_group *group;
    atomic_bool legacy;   /* knows 70..73 only, fails with -1 and closes */
    atomic_int fail_code; /* not 0: every request of `fail_left` is answered so */
    atomic_int fail_left;
    atomic_int fail_command; /* not 0: only requests with this command are answered so */
    atomic_bool holds_stat; /* STAT and WHERE are answered, as things were when they came, once it is false */
    atomic_int held;        /* how many of them wait */
    atomic_int cut_uploads; /* so many uploads are cut inside the body */
    atomic_int cut_downloads;   /* so many downloads are cut inside the body */
    atomic_int stall_downloads; /* so many downloads stop inside the body, the connection open */
    atomic_int lose_replies;    /* so many uploads are stored and then the connection cut */
    atomic_bool wrong_length;   /* announces one byte more than was asked for */
    atomic_bool no_trailer;     /* knows all but PUT_TRAILER */
    atomic_bool no_where;       /* knows all but WHERE */
    atomic_bool no_read;        /* knows all but READ */
    atomic_bool replaces;       /* every file is another one from its second READ on */
    atomic_int reads;
    atomic_int upload_delay_ms;       /* before an upload is answered; other requests are not kept waiting */
    atomic_bool corrupt;              /* sends the first byte wrong */
    atomic_uint_fast64_t last_offset; /* of the last download that was asked for */
};

struct fake_tracker {
    struct peer peer;
    atomic_bool legacy;
    atomic_int fail_code, fail_left;
    pthread_mutex_t mutex;
    char addresses[256];
    char users[4][2][32]; /* application and user of USERS, of group001 until REROUTE */
    char routes[4][17];   /* their groups; "": group001 */
    int user_count;
    atomic_int changes;     /* how many GROUPs came */
    bool unknown_user;      /* LOCATE knows nobody */
    const char *status;     /* what STATUS answers; NULL: no groups */
    const char *groups;     /* what GROUPS answers; NULL: one group */
    atomic_int status_left; /* 1: STATUS is not answered; more: one less are, none after them */
    bool http;              /* answers everything as an HTTP server would */
};

struct fake_cluster {
    struct fake_tracker tracker;
    struct fake_group group;
    struct fake_storage storages[FAKE_STORAGE_MAX];
    int count;
};

/* What the tracker answers from now on: "host:port;host:port;". */
void fake_tracker_point(struct fake_tracker *tracker, const char *addresses);

/* A tracker that knows no storage server yet. */
void fake_tracker_start(struct fake_tracker *tracker);

/* Cuts its connections and waits for its threads. */
void fake_tracker_stop(struct fake_tracker *tracker);

/* A tracker and one group of STORAGES servers with the same files, none at first. */
void fake_cluster_start(struct fake_cluster *cluster, int storages);

/* Ends all servers and frees the files. */
void fake_cluster_stop(struct fake_cluster *cluster);

/* How many requests with COMMAND all storage servers got; 72: READ counts too. */
int fake_requests(struct fake_cluster *cluster, uint8_t command);

#endif
