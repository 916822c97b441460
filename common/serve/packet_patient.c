/*
 * packet_patient: connections on which nobody waits for a reply: those of storage servers, which send heartbeats. To be woken up for
 * each one costs more than to read and answer it. So their sockets are in a set of their own (epoll), and the loop watches the set:
 * when something has come it serves all that are ready, and from then on looks every PACKET_PATIENT_MS, until once nothing has come. So
 * a heartbeat that comes alone is answered at once, and of many each wake-up serves some. A second set, watched all the time, is
 * for the peers' ends, which are noticed at once. An end that only TLS says (close_notify without the FIN that all who close send with
 * it) is something to read, and noticed PACKET_PATIENT_MS later at most: a tracker, which allows heartbeats seconds, loses nothing by
 * that. On the lane's loop.
 */
#include "common/base/duration.h"
#include "common/base/log.h"
#include "common/serve/packet_connection.h"
#include <sys/epoll.h>
#include <unistd.h>

/* Serves those of SET that are ready, a batch at most. Returns how many there were. */
static size_t serve(struct packet_patient *patient, int set)
{
    struct epoll_event events[PACKET_PATIENT_BATCH];
    int ready = epoll_wait(set, events, PACKET_PATIENT_BATCH, 0);

    patient->batched = ready > 0 ? (size_t)ready : 0;
    for (size_t i = 0; i < patient->batched; i++)
        patient->batch[i] = events[i].data.ptr;
    for (size_t i = 0; i < patient->batched; i++) {
        struct packet_connection *connection = patient->batch[i];

        patient->batch[i] = NULL;
        if (connection) /* else another one has ended it */
            patient->readable(connection);
    }
    patient->batched = 0;
    return ready > 0 ? (size_t)ready : 0;
}

static void serve_requests(struct packet_lane *lane)
{
    struct packet_patient *patient = &lane->patient;
    size_t served = serve(patient, patient->requests);
    /* The rest of a crowd follows when other connections have had their turn. */
    const struct timeval pause = duration_timeval(served == PACKET_PATIENT_BATCH ? 0 : PACKET_PATIENT_MS);

    if ((served == 0 || event_add(&patient->timer, &pause) != 0) &&
        event_add(&patient->request_event, NULL) != 0 && event_add(&patient->timer, &pause) != 0)
        log_error("packet", "storage servers that have joined are not heard any more until they connect "
                            "again: their connections cannot be watched: %m");
}

static void on_requests(evutil_socket_t fd, short events, void *argument)
{
    (void)fd;
    (void)events;
    serve_requests(argument);
}

static void on_ends(evutil_socket_t fd, short events, void *argument)
{
    struct packet_lane *lane = argument;

    (void)fd;
    (void)events;
    (void)serve(&lane->patient, lane->patient.ends);
}

void packet_patient_init(struct packet_lane *lane, void (*readable)(struct packet_connection *connection))
{
    lane->patient.readable = readable;
    lane->patient.requests = lane->patient.ends = -1;
}

void packet_patient_end(struct packet_lane *lane)
{
    struct packet_patient *patient = &lane->patient;

    if (patient->requests >= 0 && patient->ends >= 0) {
        event_del(&patient->timer);
        event_del(&patient->request_event);
        event_del(&patient->end_event);
    }
    if (patient->requests >= 0)
        (void)close(patient->requests);
    if (patient->ends >= 0)
        (void)close(patient->ends);
    patient->requests = patient->ends = -1;
}

/* The two sets, with the first connection for them. */
static bool patient_begin(struct packet_lane *lane)
{
    struct packet_patient *patient = &lane->patient;
    struct event_base *base = loop_base(lane->loop);

    patient->requests = epoll_create1(EPOLL_CLOEXEC);
    patient->ends = epoll_create1(EPOLL_CLOEXEC);
    if (patient->requests >= 0 && patient->ends >= 0) {
        ASSERT(event_assign(&patient->timer, base, -1, 0, on_requests, lane) == 0);
        ASSERT(event_assign(&patient->request_event, base, patient->requests, EV_READ, on_requests, lane) ==
               0);
        ASSERT(event_assign(&patient->end_event, base, patient->ends, EV_READ | EV_PERSIST, on_ends, lane) ==
               0);
        if (event_add(&patient->end_event, NULL) == 0)
            return true;
    }
    packet_patient_end(lane);
    return false;
}

bool packet_patient_watch(struct packet_lane *lane)
{
    struct packet_patient *patient = &lane->patient;

    return (patient->requests >= 0 || patient_begin(lane)) &&
           (event_pending(&patient->timer, EV_TIMEOUT, NULL) ||
            event_pending(&patient->request_event, EV_READ, NULL) ||
            event_add(&patient->request_event, NULL) == 0);
}

bool packet_patient_add(struct packet_connection *connection)
{
    const struct packet_patient *patient = &connection->lane->patient;
    struct epoll_event request = {.events = EPOLLIN, .data.ptr = connection};
    struct epoll_event end = {.events = EPOLLRDHUP, .data.ptr = connection};

    return epoll_ctl(patient->requests, EPOLL_CTL_ADD, connection->transport.fd, &request) == 0 &&
           epoll_ctl(patient->ends, EPOLL_CTL_ADD, connection->transport.fd, &end) == 0;
}

void packet_patient_remove(struct packet_connection *connection)
{
    struct packet_patient *patient = &connection->lane->patient;

    (void)epoll_ctl(patient->requests, EPOLL_CTL_DEL, connection->transport.fd, NULL);
    (void)epoll_ctl(patient->ends, EPOLL_CTL_DEL, connection->transport.fd, NULL);
    for (size_t i = 0; i < patient->batched; i++) {
        if (patient->batch[i] == connection)
            patient->batch[i] = NULL;
    }
}
