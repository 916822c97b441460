/*
 * selection: which servers of a group a client is given, and which group a new user: reads the rows of members.c, makes
 * candidates of them, and has choice.c choose. Changes no row. Not thread-safe: table.c, the only caller, holds its
 * mutex around every call.
 */
#ifndef REEL_TRACKER_SELECTION_H
#define REEL_TRACKER_SELECTION_H

#include "tracker/choice.h"
#include "tracker/members.h"

/* Room for the candidates of one choice, so that choosing allocates nothing. */
struct selection {
    struct choice_server *server_candidates; /* servers_max long */
    struct member **server_candidate_of;
    struct choice_group *group_candidates; /* groups_max long */
    struct group **group_candidate_of;
};

/* For a table of at most GROUPS_MAX groups and SERVERS_MAX servers. False without memory; selection_clear() in any
 * case. */
MUST_CHECK bool selection_init(struct selection *selection, size_t groups_max, size_t servers_max);
void selection_clear(struct selection *selection);

/* What a reply says of a server; SECURE: to clients that speak TLS. */
struct address selection_address(const struct table_server *shown, bool secure);

/* See table_choose(). */
size_t selection_servers(struct selection *selection, struct members *members, const char *group_name,
                         bool secure, struct address *servers, size_t capacity);

/* What a group must be to get a new user. */
struct selection_rule {
    char (*allowed)[PROTO_GROUP_SIZE]; /* only one of these, where ALLOWED_COUNT is not 0 */
    size_t allowed_count;
    int64_t minimum_free; /* bytes that it has free at least */
};

/* See table_place(). */
MUST_CHECK bool selection_group(struct selection *selection, struct members *members,
                                const struct selection_rule *rule, char group[PROTO_GROUP_SIZE],
                                struct error *error);

#endif
