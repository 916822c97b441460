/*
 * storage_commands: see also tracker/table.h, where a server's states are. A handler answers on its connection's loop; a
 * JOIN that waits for the database is a small allocated question that frees itself with the reply.
 */
#include "tracker/storage_commands.h"
#include "tracker/reach.h"
#include "tracker/rooms.h"
#include "common/base/log.h"
#include <stdlib.h>
#include <string.h>

struct join_wait {
    struct packet_request *request;
    struct proto_join join;
    struct groups_question question;
};

/* Of a connection's user pointer only one thing matters: whether a storage server joined over it. */
static char joined_mark;

/* False: the request was refused. */
static bool admit_storage(struct packet_request *request)
{
    static struct log_gate gate;
    uint64_t suppressed = 0;
    struct admission *storages = tracker_of(request)->storages;
    const char *peer = packet_connection_peer(request->connection)->host;
    if (admission_is_open(storages) || admission_names(storages, peer))
        return true;
    if (log_gate_open(&gate, 10000, &suppressed))
        log_warning(
            "storages",
            "%s is refused as a storage server: it is not in tracker.storage_addresses (and %llu more)", peer,
            (unsigned long long)suppressed);
    packet_reply_error(request, ERROR_REFUSED,
                       "storage servers from %s are not accepted (tracker.storage_addresses)", peer);
    return false;
}

static void finish_join(struct packet_request *request, const struct proto_join *join)
{
    struct tracker *tracker = tracker_of(request);
    struct packet_connection *connection = request->connection;
    struct error error;
    if (!table_join(tracker->table, packet_connection_id(connection),
                    packet_connection_peer(connection)->host, join, table_now(), &error)) {
        packet_reply_failure(request, &error);
        return;
    }
    packet_connection_set_user(connection, &joined_mark);
    packet_reply(request, NULL, 0);
}

static void join_group_known(struct groups_question *question)
{
    struct join_wait *wait = CONTAINER_OF(question, struct join_wait, question);
    if (question->known)
        finish_join(wait->request, &wait->join);
    else
        packet_reply_failure(wait->request, &question->error);
    free(wait);
}

void storage_commands_join(struct packet_request *request)
{
    struct tracker *tracker = tracker_of(request);
    struct proto_join join;
    struct error error;
    if (!admit_storage(request))
        return;
    if (!proto_join_unpack(request->head, request->head_size, &join, &error)) {
        packet_reply_failure(request, &error);
        return;
    }
    if (table_group_known(tracker->table, join.group)) {
        finish_join(request, &join);
        return;
    }
    struct join_wait *wait = calloc(1, sizeof(*wait));
    if (!wait) {
        packet_reply_error(request, ERROR_UNAVAILABLE, "out of memory");
        return;
    }
    wait->request = request;
    wait->join = join;
    memcpy(wait->question.group, join.group, sizeof(wait->question.group));
    wait->question.loop = request->loop;
    wait->question.done = join_group_known;
    groups_ask(tracker->groups, &wait->question);
}

/* A heartbeat was taken. It came over the connection that joined, as a rule; then so will others, and nothing else that is urgent. */
static void reply_to_heartbeat(struct packet_request *request)
{
    if (packet_connection_user(request->connection) == &joined_mark)
        packet_connection_set_patient(request->connection);
    packet_reply(request, NULL, 0);
}

void storage_commands_beat(struct packet_request *request)
{
    struct packet_connection *connection = request->connection;
    struct proto_beat beat;
    struct error error;
    if (!admit_storage(request))
        return;
    if (!proto_beat_unpack(request->head, request->head_size, &beat, &error) ||
        !table_beat(tracker_of(request)->table, packet_connection_id(connection),
                    packet_connection_peer(connection)->host, &beat, table_now(), &error))
        packet_reply_failure(request, &error);
    else
        reply_to_heartbeat(request);
}

void storage_commands_load(struct packet_request *request)
{
    struct packet_connection *connection = request->connection;
    struct proto_load load;
    struct error error;
    if (!admit_storage(request))
        return;
    if (!proto_load_unpack(request->head, request->head_size, &load, &error) ||
        !table_load(tracker_of(request)->table, packet_connection_id(connection),
                    packet_connection_peer(connection)->host, &load, table_now(), &error))
        packet_reply_failure(request, &error);
    else
        reply_to_heartbeat(request);
}

/* What a server says of itself is believed where the configuration names it, or where it lies next to its peer. */
static bool check_advertised(struct packet_request *request, const char *text, struct address *address,
                             struct error *error)
{
    const char *peer = packet_connection_peer(request->connection)->host;
    struct socket_address socket_address;
    if (!address_parse(text, 0, address, error))
        return false;
    if (address->tls && address->port != 0 && strcmp(address->host, "*") == 0)
        return true; /* where the tracker sees it, at another port */
    if (address->port == 0 || strcmp(address->host, "*") == 0 || !address_to_socket(address, &socket_address))
        return error_set(error, ERROR_REFUSED, "%s is not a numeric address with a port (storage.advertise)",
                         text);
    if ((reach_is_loopback(address->host) || reach_is_link_local(address->host)) && !reach_is_loopback(peer))
        return error_set(error, ERROR_REFUSED,
                         "%s means a different machine to every client (storage.advertise)", text);
    if (!reach_is_loopback(peer) && !reach_same_network(address->host, peer) &&
        !admission_names(tracker_of(request)->storages, peer))
        return error_set(error, ERROR_REFUSED,
                         "%s is in another network than %s, which tracker.storage_addresses does not name",
                         text, peer);
    return true;
}

void storage_commands_advertise(struct packet_request *request)
{
    struct packet_connection *connection = request->connection;
    struct proto_advertise advertise;
    struct address address;
    struct error error;
    if (!admit_storage(request))
        return;
    if (!proto_advertise_unpack(request->head, request->head_size, &advertise, &error) ||
        !check_advertised(request, advertise.address, &address, &error) ||
        !table_advertise(tracker_of(request)->table, packet_connection_id(connection),
                         packet_connection_peer(connection)->host, &advertise, &address, &error))
        packet_reply_failure(request, &error);
    else
        packet_reply(request, NULL, 0);
}

void storage_commands_connection_closed(struct packet_connection *connection)
{
    if (packet_connection_user(connection) != &joined_mark)
        return;
    struct tracker *tracker = packet_server_argument(packet_connection_server(connection));
    if (atomic_load(&tracker->stopping))
        return;
    table_connection_closed(tracker->table, packet_connection_id(connection), table_now());
}
