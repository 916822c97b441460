/*
 * tls_door: a list for each state, longest in it first: peers that have sent nothing, that wait for a place, whose handshake
 * is under way. One timer for all of them, since all have the same time.
 */
#include "common/transport/tls_door.h"
#include "common/base/clock.h"
#include "common/base/duration.h"
#include "common/base/log.h"
#include "common/transport/tls_internal.h"
#include <errno.h>
#include <event2/event_struct.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECORD_HANDSHAKE 22  /* first byte of a peer that speaks TLS: RFC 8446 section 5.1 */
#define SPARE_MS         500 /* an honest peer's handshake takes less */
#define LATE_LOG_MS      10000

enum guest_state {
    GUEST_SILENT, /* nothing has come */
    GUEST_WAITS,  /* its first byte is there, and no place free */
    GUEST_SHAKES,
    GUEST_STATES
};

struct guest {
    TAILQ_ENTRY(guest) link, order;
    struct tls_door *door;
    enum guest_state state;
    struct transport at; /* tls NULL before GUEST_SHAKES */
    struct event event;
    struct socket_address peer;
    struct listen_place place;
    bool refused;
    bool preface;       /* is to come before TLS */
    int64_t entered_ms; /* clock_monotonic_ms() */
    int64_t since_ms;   /* in its state */
};
TAILQ_HEAD(guest_list, guest);

struct tls_door {
    struct tls_door_options options;
    struct guest_list guests[GUEST_STATES];
    struct guest_list all; /* in the order in which they entered */
    size_t counts[GUEST_STATES];
    struct event timer;
    int64_t armed_ms; /* when it rings; 0: it does not */
    struct task turn; /* lets the next one in */
    bool turn_posted;
    bool destroyed;
};

static struct log_gate late_gate;

static void door_arm(struct tls_door *door);

static const char *guest_name(const struct guest *guest, char *buffer, size_t size)
{
    struct address peer;

    if (address_from_socket((const struct sockaddr *)&guest->peer.storage, guest->peer.length, &peer))
        return address_format(&peer, buffer, size);
    (void)snprintf(buffer, size, "a peer");
    return buffer;
}

/* The one place where a state changes. */
static void guest_enter(struct guest *guest, enum guest_state state)
{
    struct tls_door *door = guest->door;

    TAILQ_REMOVE(&door->guests[guest->state], guest, link);
    door->counts[guest->state]--;
    guest->state = state;
    guest->since_ms = clock_monotonic_ms();
    TAILQ_INSERT_TAIL(&door->guests[state], guest, link);
    door->counts[state]++;
}

static void door_next(struct tls_door *door)
{
    if (door->turn_posted || door->counts[GUEST_WAITS] == 0)
        return;
    door->turn_posted = true;
    loop_post(door->options.loop, &door->turn);
}

/* Takes it out; what is left is its socket. */
static void guest_remove(struct guest *guest)
{
    struct tls_door *door = guest->door;

    (void)event_del(&guest->event);
    TAILQ_REMOVE(&door->all, guest, order);
    TAILQ_REMOVE(&door->guests[guest->state], guest, link);
    door->counts[guest->state]--;
    door_next(door);
}

static void guest_end(struct guest *guest)
{
    struct tls_door *door = guest->door;
    struct listen_place place = guest->place;

    guest_remove(guest);
    transport_close(&guest->at);
    free(guest);
    door->options.leave(door->options.argument, &place);
}

static void guest_passes(struct guest *guest)
{
    struct tls_door *door = guest->door;
    struct guest passed = *guest;
    char who[ADDRESS_TEXT_SIZE], text[128], name[TLS_NAME_SIZE];

    tls_peer_name(guest->at.tls, name);
    log_debug("tls", "%s: %s%s%s%s%s", guest_name(guest, who, sizeof(who)),
              tls_describe(guest->at.tls, text, sizeof(text)), name[0] != '\0' ? ", the certificate of " : "",
              name, tls_psk_identity(guest->at.tls)[0] != '\0' ? ", the key of " : "",
              tls_psk_identity(guest->at.tls));
    guest_remove(guest);
    free(guest);
    if (!door->options.take(door->options.argument, passed.at, &passed.peer, &passed.place, passed.refused))
        door->options.leave(door->options.argument, &passed.place);
}

/* ---- the handshake ---- */

static void guest_watch(struct guest *guest, short what)
{
    if (event_get_events(&guest->event) == (what | EV_PERSIST) && event_pending(&guest->event, what, NULL))
        return;
    (void)event_del(&guest->event);
    (void)event_assign(&guest->event, loop_base(guest->door->options.loop), guest->at.fd, what | EV_PERSIST,
                       event_get_callback(&guest->event), guest);
    if (event_add(&guest->event, NULL) != 0) {
        log_error("tls", "a connection cannot be watched and is closed: %m");
        guest_end(guest);
    }
}

static void guest_shake(struct guest *guest)
{
    struct error error = {0};
    char who[ADDRESS_TEXT_SIZE];

    switch (tls_handshake(guest->at.tls, &error)) {
    case TLS_READY:
        guest_passes(guest);
        return;
    case TLS_WANTS_READ:
        guest_watch(guest, EV_READ);
        return;
    case TLS_WANTS_WRITE:
        guest_watch(guest, EV_WRITE);
        return;
    case TLS_FAILED:
        break;
    }
    tls_note_failure(tls_failure_kind(guest->at.tls), guest_name(guest, who, sizeof(who)), error.text);
    guest_end(guest);
}

/* A peer that does not speak TLS gets that answer, as far as that needs no wait. */
static void guest_is_plain(struct guest *guest)
{
    const struct tls_door_options *options = &guest->door->options;
    char who[ADDRESS_TEXT_SIZE];
    char dropped[4096];

    tls_count_handshake(true, TLS_RESULT_PLAIN);
    tls_note_failure("plain", guest_name(guest, who, sizeof(who)),
                     "it does not speak TLS, which this port requires");
    if (options->plain_answer_size > 0 && send(guest->at.fd, options->plain_answer,
                                               options->plain_answer_size, MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
        (void)shutdown(guest->at.fd, SHUT_WR);
    /* Unread bytes would make the close a reset, which takes the answer with it. */
    while (recv(guest->at.fd, dropped, sizeof(dropped), MSG_DONTWAIT) > 0)
        ;
    guest_end(guest);
}

static void guest_begin(struct guest *guest)
{
    guest->at.tls = tls_server_session(guest->door->options.server, guest->at.fd);
    if (!guest->at.tls) {
        log_error("tls", "no memory for a handshake: a connection is closed");
        guest_end(guest);
        return;
    }
    guest_enter(guest, GUEST_SHAKES);
    guest_shake(guest);
}

/* Of those under way one that has had its time, as long as others wait. */
static struct guest *door_find_spare(const struct tls_door *door)
{
    struct guest *first = TAILQ_FIRST(&door->guests[GUEST_SHAKES]);

    return first && clock_monotonic_ms() - first->since_ms >= SPARE_MS ? first : NULL;
}

static void drop(struct guest *guest)
{
    tls_count_handshake(true, TLS_RESULT_DROPPED);
    guest_end(guest);
}

static bool has_place(struct tls_door *door)
{
    struct guest *spare;

    if (door->counts[GUEST_SHAKES] < door->options.handshakes_max)
        return true;
    spare = door_find_spare(door);
    if (spare)
        drop(spare);
    return spare;
}

static void on_turn(struct task *task)
{
    struct tls_door *door = CONTAINER_OF(task, struct tls_door, turn);

    door->turn_posted = false;
    if (door->destroyed) {
        free(door);
        return;
    }
    while (door->counts[GUEST_WAITS] > 0 && has_place(door))
        guest_begin(TAILQ_FIRST(&door->guests[GUEST_WAITS]));
    door_arm(door);
}

/* The socket is readable from so many bytes on: an event that stands for bytes which are there already would come for ever. */
static void wait_for_bytes(int fd, size_t count)
{
    int bytes = (int)count;

    (void)setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof(bytes));
}

static bool has_ended(int fd)
{
    struct pollfd one = {.fd = fd, .events = POLLRDHUP};

    return poll(&one, 1, 0) != 0;
}

/* True where the preface was there and is out of the way. False: it is waited for, or the guest has gone. */
static bool guest_passes_preface(struct guest *guest)
{
    const struct tls_door_options *options = &guest->door->options;
    char bytes[TLS_DOOR_PREFACE_MAX];
    ssize_t got = recv(guest->at.fd, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);
    enum tls_door_preface found = TLS_DOOR_PREFACE_BROKEN;
    size_t used = 0;

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (got > 0)
        found = options->preface(options->argument, bytes, (size_t)got, &used, &guest->peer);
    if (found == TLS_DOOR_PREFACE_MORE && (size_t)got < sizeof(bytes) && !has_ended(guest->at.fd)) {
        wait_for_bytes(guest->at.fd, (size_t)got + 1);
        return false;
    }
    if (found != TLS_DOOR_PREFACE_DONE || recv(guest->at.fd, bytes, used, MSG_DONTWAIT) != (ssize_t)used) {
        guest_end(guest);
        return false;
    }
    wait_for_bytes(guest->at.fd, 1);
    guest->preface = false;
    return true;
}

/* The first byte has come. */
static void guest_speaks(struct guest *guest)
{
    uint8_t first;
    ssize_t got;

    if (guest->preface && !guest_passes_preface(guest))
        return;
    got = recv(guest->at.fd, &first, 1, MSG_PEEK | MSG_DONTWAIT);

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) { /* it closed without sending anything, as port scanners do */
        guest_end(guest);
    } else if (first != RECORD_HANDSHAKE) {
        guest_is_plain(guest);
    } else if (guest->door->counts[GUEST_WAITS] == 0 && has_place(guest->door)) {
        guest_begin(guest);
    } else {
        (void)event_del(&guest->event);
        guest_enter(guest, GUEST_WAITS);
        door_next(guest->door);
    }
}

static void on_guest(evutil_socket_t fd, short what, void *argument)
{
    struct guest *guest = argument;

    (void)fd;
    (void)what;
    if (guest->state == GUEST_SILENT)
        guest_speaks(guest);
    else if (guest->state == GUEST_SHAKES)
        guest_shake(guest);
}

/* ---- time ---- */

/* When something is due: the end of the oldest one's time; and where others wait, the moment from which one of those under
 * way can be spared. 0: nothing is. */
static int64_t next_due(const struct tls_door *door)
{
    const struct guest *oldest = TAILQ_FIRST(&door->all), *first = TAILQ_FIRST(&door->guests[GUEST_SHAKES]);
    int64_t due = oldest ? oldest->entered_ms + door->options.time_ms : 0;

    if (door->counts[GUEST_WAITS] > 0 && first)
        due = min_i64(due, first->since_ms + SPARE_MS);
    return due;
}

static void door_arm(struct tls_door *door)
{
    int64_t due = next_due(door);
    struct timeval wait;

    if (due == 0 || (door->armed_ms != 0 && door->armed_ms <= due))
        return;
    wait = duration_timeval(max_i64(due - clock_monotonic_ms(), 1));
    door->armed_ms = event_add(&door->timer, &wait) == 0 ? due : 0;
    if (door->armed_ms == 0)
        log_error("tls", "cannot arm a timer: handshakes have no time limit");
}

static void on_door_timer(evutil_socket_t fd, short what, void *argument)
{
    struct tls_door *door = argument;
    struct guest *oldest;
    char who[ADDRESS_TEXT_SIZE];
    uint64_t suppressed;

    (void)fd;
    (void)what;
    door->armed_ms = 0;
    while ((oldest = TAILQ_FIRST(&door->all)) &&
           clock_monotonic_ms() - oldest->entered_ms >= door->options.time_ms) {
        tls_count_handshake(true, TLS_RESULT_TIMEOUT);
        if (log_gate_open(&late_gate, LATE_LOG_MS, &suppressed))
            log_info("tls",
                     "%s: closed: no handshake within %" PRId64 " ms (%" PRIu64 " more like it not shown)",
                     guest_name(oldest, who, sizeof(who)), door->options.time_ms, suppressed);
        guest_end(oldest);
    }
    door_next(door);
    door_arm(door);
}

/* ---- the door ---- */

struct tls_door *tls_door_create(const struct tls_door_options *options, struct error *error)
{
    struct tls_door *door = calloc(1, sizeof(*door));

    if (!door) {
        (void)error_set_errno(error, ENOMEM, "cannot listen");
        return NULL;
    }
    door->options = *options;
    door->turn.run = on_turn;
    for (int state = 0; state < GUEST_STATES; state++)
        TAILQ_INIT(&door->guests[state]);
    TAILQ_INIT(&door->all);
    ASSERT(event_assign(&door->timer, loop_base(options->loop), -1, 0, on_door_timer, door) == 0);
    return door;
}

bool tls_door_enter(struct tls_door *door, int fd, const struct socket_address *peer,
                    const struct listen_place *place, bool refused, bool preface)
{
    struct guest *guest = calloc(1, sizeof(*guest));

    if (!guest)
        goto fail;
    *guest = (struct guest){.door = door,
                            .at = {fd, NULL},
                            .peer = *peer,
                            .place = *place,
                            .refused = refused,
                            .preface = preface,
                            .entered_ms = clock_monotonic_ms()};
    guest->since_ms = guest->entered_ms;
    ASSERT(event_assign(&guest->event, loop_base(door->options.loop), fd, EV_READ | EV_PERSIST, on_guest,
                        guest) == 0);
    if (event_add(&guest->event, NULL) != 0)
        goto fail;
    TAILQ_INSERT_TAIL(&door->all, guest, order);
    TAILQ_INSERT_TAIL(&door->guests[GUEST_SILENT], guest, link);
    door->counts[GUEST_SILENT]++;
    door_arm(door);
    return true;
fail:
    free(guest);
    (void)close(fd);
    return false;
}

/* Which can be spared for a connection: first those that send nothing. */
static struct guest *find_room(const struct tls_door *door)
{
    struct guest *silent = TAILQ_FIRST(&door->guests[GUEST_SILENT]);

    return silent && clock_monotonic_ms() - silent->since_ms >= SPARE_MS ? silent : door_find_spare(door);
}

bool tls_door_has_room(const struct tls_door *door)
{
    return find_room(door);
}

bool tls_door_make_room(struct tls_door *door)
{
    struct guest *spare = find_room(door);

    if (spare)
        drop(spare);
    return spare;
}

void tls_door_close(struct tls_door *door)
{
    if (!door)
        return;
    for (int state = 0; state < GUEST_STATES; state++) {
        while (!TAILQ_EMPTY(&door->guests[state]))
            guest_end(TAILQ_FIRST(&door->guests[state]));
    }
    (void)event_del(&door->timer);
    door->armed_ms = 0;
}

void tls_door_destroy(struct tls_door *door)
{
    if (!door)
        return;
    tls_door_close(door);
    if (door->turn_posted)
        door->destroyed = true;
    else
        free(door);
}
