/*
 * client_stall: a storage server that has stopped while it was asked. Its machine still takes connections and bytes, and nothing
 * else distinguishes it from one that is busy with an fsync; so when it has been silent for a moment it is asked, on another
 * connection, something that every server answers at once, whatever its disk and database do. One that does not answer that
 * either is given up, and another server of the group is asked: an upload has the same file ID there, so that whatever the first
 * one does later makes no second file; changes that could undo a later one are not asked twice. Declared in client_internal.h.
 */
#include "client/core/client_internal.h"

#include "common/base/duration.h"
#include "common/base/log.h"

#define STALL_MS 700  /* of silence before it is asked */
#define PROBE_MS 700  /* that it has for its answer */
#define AGAIN_MS 3000 /* until one that answered is asked anew */

/* No server knows it before it has sessions; then it answers too. A legacy server may just close the connection. */
#define PROBE_COMMAND 4

static void stall_arm(struct client_operation *operation, int64_t wait_ms)
{
    const struct timeval wait = duration_timeval(wait_ms);

    if (event_add(&operation->stall, &wait) != 0)
        log_error("client", "cannot arm the stall timer; a storage server that stops will be waited for");
}

static void stall_probed(void *argument, const uint8_t *body, size_t size, const struct error *error)
{
    struct client_operation *operation = argument;
    char text[ADDRESS_TEXT_SIZE];
    struct address server;
    struct error why;

    (void)body;
    (void)size;
    operation->probe = NULL;
    if (!operation->call)
        return;
    if (!error || error->code != ERROR_TIMEOUT || packet_call_silent_ms(operation->call) < STALL_MS) {
        stall_arm(operation, AGAIN_MS);
        return;
    }
    server = *packet_call_address(operation->call);
    address_format(&server, text, sizeof(text));
    (void)error_set(&why, ERROR_TIMEOUT, "%s: it has stopped: no byte for %lld ms, and no answer to a probe",
                    text, (long long)packet_call_silent_ms(operation->call));
    log_warning("client", "%s; file %s: trying another server", why.text, operation->key.file);
    operation->stalls_left--;
    packet_call_cancel(operation->call);
    operation->call = NULL;
    operation->stalled(operation, &server, &why);
}

static void stall_look(evutil_socket_t fd, short what, void *argument)
{
    struct client_operation *operation = argument;
    struct packet_call_options options = {
        .command = PROBE_COMMAND,
        .reply_max = PROTO_HEADER_SIZE * 8,
        .timeout_ms = PROBE_MS,
        .progress_ms = PROBE_MS,
        .done = stall_probed,
        .argument = operation,
    };
    struct address_list list = {0};
    int64_t silent;
    struct error ignored;

    (void)fd;
    (void)what;
    if (!operation->call)
        return;
    silent = packet_call_silent_ms(operation->call);
    if (silent < STALL_MS) {
        stall_arm(operation, STALL_MS - silent);
        return;
    }
    options.addresses = &list;
    if (address_list_append(&list, packet_call_address(operation->call)))
        operation->probe = packet_call_start(operation->client->pool, &options, &ignored);
    address_list_clear(&list);
    if (!operation->probe)
        stall_arm(operation, AGAIN_MS);
}

void client_stall_watch(struct client_operation *operation,
                        void (*stalled)(struct client_operation *operation, const struct address *server,
                                        const struct error *error))
{
    operation->stalled = stalled;
    client_stall_end(operation);
    if (operation->command->change || operation->stalls_left <= 0)
        return;
    if (!operation->stall_assigned)
        operation->stall_assigned =
            evtimer_assign(&operation->stall, loop_base(operation->client->loop), stall_look, operation) == 0;
    if (operation->stall_assigned)
        stall_arm(operation, STALL_MS);
}

void client_stall_end(struct client_operation *operation)
{
    if (operation->stall_assigned)
        (void)event_del(&operation->stall);
    if (operation->probe)
        packet_call_cancel(operation->probe);
    operation->probe = NULL;
}
