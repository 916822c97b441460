/*
 * selection: from the table's rows to the candidates of a choice, and back to an answer. The arithmetic of the choice
 * itself is in choice.c.
 */
#include "tracker/selection.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SELECTION_SERVERS_MAX 16 /* named in one answer */

bool selection_init(struct selection *selection, size_t groups_max, size_t servers_max)
{
    *selection = (struct selection){
        .server_candidates = calloc(servers_max, sizeof(*selection->server_candidates)),
        .server_candidate_of = calloc(servers_max, sizeof(struct member *)),
        .group_candidates = calloc(groups_max, sizeof(*selection->group_candidates)),
        .group_candidate_of = calloc(groups_max, sizeof(struct group *)),
    };
    return selection->server_candidates && selection->server_candidate_of && selection->group_candidates &&
           selection->group_candidate_of;
}

void selection_clear(struct selection *selection)
{
    free(selection->server_candidates);
    free(selection->server_candidate_of);
    free(selection->group_candidates);
    free(selection->group_candidate_of);
    *selection = (struct selection){0};
}

static enum choice_rank server_rank(const struct table_server *server)
{
    if (server->suspect)
        return CHOICE_SUSPECT;
    if (!server->has_load)
        return CHOICE_READY;
    switch ((enum proto_load_state)server->load.state) {
    case PROTO_LOAD_READY:
        return CHOICE_READY;
    case PROTO_LOAD_BUSY:
        return CHOICE_BUSY;
    case PROTO_LOAD_READ_ONLY:
        return CHOICE_READ_ONLY;
    case PROTO_LOAD_DRAINING:
        return CHOICE_DRAINING;
    }
    return CHOICE_BUSY;
}

/* An upload keeps disk and network busy for long, a request for a moment, an open connection hardly. */
static double server_busyness(const struct proto_load *load)
{
    return 4.0 * (double)max_i64(load->uploads, 0) + (double)max_i64(load->requests, 0) +
           0.5 * (double)max_i64(load->connections, 0);
}

/* The servers of GROUP that are in STATE, as candidates. Returns how many. */
static size_t list_candidates(struct selection *selection, const struct group *group, enum table_state state)
{
    size_t count = 0;
    struct member *server;
    TAILQ_FOREACH(server, &group->members, link)
    {
        if (server->shown.state != state)
            continue;
        selection->server_candidate_of[count] = server;
        selection->server_candidates[count++] = (struct choice_server){
            .rank = server_rank(&server->shown),
            .has_load = server->shown.has_load,
            .busyness = server->shown.has_load ? server_busyness(&server->shown.load) : 0,
        };
    }
    return count;
}

struct address selection_address(const struct table_server *shown, bool secure)
{
    struct address address = shown->has_advertised ? shown->advertised : shown->address;
    if (!secure || !shown->has_tls)
        return address;
    if (strcmp(shown->tls.host, "*") != 0)
        return shown->tls;
    address.port = shown->tls.port;
    address.tls = true;
    return address;
}

size_t selection_servers(struct selection *selection, struct members *members, const char *group_name,
                         bool secure, struct address *servers, size_t capacity)
{
    struct group *group = members_find_group(members, group_name);
    if (!group)
        return 0;
    size_t picked[SELECTION_SERVERS_MAX];
    size_t wanted = min_size(capacity, ARRAY_SIZE(picked));
    size_t candidates = list_candidates(selection, group, TABLE_ACTIVE);
    if (candidates == 0)
        candidates = list_candidates(selection, group, TABLE_ONLINE);
    size_t count = choice_servers(selection->server_candidates, candidates, wanted, picked);
    for (size_t i = 0; i < count; i++)
        servers[i] = selection_address(&selection->server_candidate_of[picked[i]]->shown, secure);
    return count;
}

/* What a new user would find in GROUP. The members of a group hold the same files: the fullest one says what
 * there is room for. False without a server in STATE that takes new files. */
static bool group_room(const struct group *group, enum table_state state, struct choice_group *candidate)
{
    bool accepting = false;
    *candidate = (struct choice_group){.weight = group->row.weight};
    struct member *server;
    TAILQ_FOREACH(server, &group->members, link)
    {
        const struct table_server *shown = &server->shown;
        if (shown->state != state || server_rank(shown) > CHOICE_BUSY)
            continue;
        accepting = true;
        if (!shown->has_load)
            continue;
        int64_t free_bytes = shown->load.free_inodes > 0 ? shown->load.free : 0;
        if (!candidate->has_load || free_bytes < candidate->free) {
            candidate->has_load = true;
            candidate->capacity = shown->load.capacity;
            candidate->free = free_bytes;
        }
    }
    return accepting;
}

static bool group_is_allowed(const struct group *group, const struct selection_rule *rule)
{
    for (size_t i = 0; i < rule->allowed_count; i++) {
        if (strcmp(rule->allowed[i], group->row.name) == 0)
            return true;
    }
    return rule->allowed_count == 0;
}

/* How many groups are open to the new user, how many of these have a server that takes new files, and how many of these
 * have room: the last are the candidates. */
struct placing {
    size_t open, accepting, candidates;
};

/* The groups that a server in STATE makes fit for a new user, as candidates. */
static struct placing list_groups(struct selection *selection, struct members *members,
                                  const struct selection_rule *rule, enum table_state state)
{
    struct placing placing = {0};
    struct group *group;
    TAILQ_FOREACH(group, &members->groups, link)
    {
        struct choice_group candidate;
        if (!group->known || group->row.draining || group->row.weight <= 0 || !group_is_allowed(group, rule))
            continue;
        placing.open++;
        if (!group_room(group, state, &candidate))
            continue;
        placing.accepting++;
        if (candidate.has_load && (candidate.free <= 0 || candidate.free < rule->minimum_free))
            continue;
        selection->group_candidate_of[placing.candidates] = group;
        selection->group_candidates[placing.candidates++] = candidate;
    }
    return placing;
}

bool selection_group(struct selection *selection, struct members *members, const struct selection_rule *rule,
                     char group[PROTO_GROUP_SIZE], struct error *error)
{
    const char *which = rule->allowed_count > 0 ? "group that the user is pinned to" : "group";
    struct placing placing = list_groups(selection, members, rule, TABLE_ACTIVE);
    if (placing.accepting == 0)
        placing = list_groups(selection, members, rule, TABLE_ONLINE);
    size_t index = choice_group(selection->group_candidates, placing.candidates);
    if (index < placing.candidates) {
        snprintf(group, PROTO_GROUP_SIZE, "%s", selection->group_candidate_of[index]->row.name);
        return true;
    }
    if (placing.open == 0)
        return error_set(error, ERROR_REFUSED, "no %s is open for new users", which);
    if (placing.accepting == 0)
        return error_set(error, ERROR_NO_SERVER, "no %s has an ACTIVE storage server that takes new files",
                         which);
    return error_set(error, ERROR_NO_SPACE, "no %s has room for new users", which);
}
