/*
 * heartbeat: one small state machine for each tracker, over a packet pool. Between two messages the
 * connection is held (PACKET_TAKE) and watched, so that a tracker that goes away is noticed, and joined
 * again, at once. On one loop.
 */
#include "storage/heartbeat.h"

#include "common/base/backoff.h"
#include "common/base/clock.h"
#include "common/base/duration.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/call/name_list.h"
#include "common/call/packet_call.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define ROOM           "heartbeat"
#define BACKOFF_MIN_MS 200
#define BACKOFF_MAX_MS 5000
#define LEGACY_MS      600000 /* how long a tracker is taken for one that knows no LOAD */

enum tracker_state {
    TRACKER_PAUSES, /* the timer starts the next message; no connection is held */
    TRACKER_ASKED,  /* a message is under way */
    TRACKER_HOLDS,  /* the timer starts the next message; the connection is held and watched */
};

struct tracker {
    struct heartbeat *heartbeat;
    struct address_list address; /* one */
    char name[ADDRESS_TEXT_SIZE];
    enum tracker_state state;
    struct event *timer;
    struct event *watch; /* of the connection that is held */
    struct packet_call *call;
    uint8_t command; /* of the message under way */
    bool joined;
    bool just_joined; /* no message after the JOIN was answered yet */
    size_t stated;    /* of our addresses, since the JOIN; also those that it does not take */
    bool again;       /* something new is to be reported */
    int64_t legacy_until_ms;
    uint16_t joined_port; /* our end of the connection that joined: BEAT is tied to it */
    struct backoff backoff;
    bool failing; /* reported in the log */
    char failure[ERROR_TEXT_SIZE];
    struct metric *gauge;
};

struct heartbeat {
    struct heartbeat_options options;
    struct packet_pool *pool;
    struct name_list *names;
    struct tracker **trackers; /* one for each address of `names` */
    size_t count;
};

static void tracker_next_message(struct tracker *tracker);

static void tracker_schedule(struct tracker *tracker, int64_t delay_ms)
{
    const struct timeval delay = duration_timeval(delay_ms);
    if (evtimer_add(tracker->timer, &delay) != 0)
        log_error(ROOM, "tracker %s: cannot arm a timer: its heartbeats stop", tracker->name);
}

static bool is_legacy(const struct tracker *tracker)
{
    return tracker->legacy_until_ms > clock_monotonic_ms();
}

/* Up to a fifth less, so that the servers of a group do not beat all at once. */
static int64_t beat_delay(const struct tracker *tracker)
{
    int64_t interval = tracker->heartbeat->options.interval_ms;
    return interval - (int64_t)arc4random_uniform((uint32_t)min_i64(interval / 5 + 1, UINT32_MAX));
}

static void tracker_retry_later(struct tracker *tracker)
{
    /* Never longer than an interval: a tracker that comes back knows of us by then. */
    tracker->backoff.first_ms = BACKOFF_MIN_MS;
    tracker->backoff.longest_ms =
        min_i64(BACKOFF_MAX_MS, max_i64(tracker->heartbeat->options.interval_ms, BACKOFF_MIN_MS));
    tracker->state = TRACKER_PAUSES;
    tracker_schedule(tracker, backoff_next(&tracker->backoff));
}

static void tracker_lose(struct tracker *tracker, const char *why)
{
    snprintf(tracker->failure, sizeof(tracker->failure), "%s", why);
    tracker->joined = false;
    metric_set(tracker->gauge, 0);
    if (!tracker->failing)
        log_warning(ROOM, "tracker %s does not know of this server: %s", tracker->name, why);
    tracker->failing = true;
}

/* ---- the connection that is held ---- */

static void tracker_drop_connection(struct tracker *tracker, bool reusable)
{
    if (tracker->watch)
        event_free(tracker->watch);
    tracker->watch = NULL;
    if (tracker->call)
        packet_call_release(tracker->call, reusable);
    tracker->call = NULL;
}

/* A tracker never speaks first: what can be read is the end of the connection. */
static void tracker_connection_ended(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    struct tracker *tracker = argument;
    tracker_drop_connection(tracker, false);
    tracker_lose(tracker, "the connection ended");
    event_del(tracker->timer);
    tracker_retry_later(tracker);
}

static void tracker_hold(struct tracker *tracker)
{
    tracker->watch =
        event_new(loop_base(tracker->heartbeat->options.loop), packet_call_transport(tracker->call).fd,
                  EV_READ, tracker_connection_ended, tracker);
    if (!tracker->watch || event_add(tracker->watch, NULL) != 0)
        log_error(ROOM,
                  "tracker %s: cannot watch the connection; its end will be noticed at the next heartbeat",
                  tracker->name);
    tracker->state = TRACKER_HOLDS;
    tracker_schedule(tracker, tracker->again ? 0 : beat_delay(tracker));
    tracker->again = false;
}

static uint16_t local_port(int fd)
{
    struct sockaddr_storage storage;
    socklen_t length = sizeof(storage);
    struct address address;
    if (getsockname(fd, (struct sockaddr *)&storage, &length) != 0 ||
        !address_from_socket((struct sockaddr *)&storage, length, &address))
        return 0;
    return address.port;
}

/* ---- answers ---- */

static enum packet_verdict tracker_header(void *argument, int64_t length)
{
    (void)argument;
    (void)length;
    return PACKET_TAKE;
}

/* The next address that the tracker is to give to clients; NULL: it knows all. */
static const char *statement(struct tracker *tracker)
{
    const struct heartbeat_options *options = &tracker->heartbeat->options;
    const char *const all[] = {options->advertise, options->advertise_tls};

    while (tracker->stated < ARRAY_SIZE(all) && all[tracker->stated][0] == '\0')
        tracker->stated++;
    return tracker->stated < ARRAY_SIZE(all) ? all[tracker->stated] : NULL;
}

static void tracker_answered(struct tracker *tracker)
{
    uint16_t port = local_port(packet_call_transport(tracker->call).fd);
    if (tracker->command == PROTO_TRACKER_JOIN) {
        log_info(ROOM, "tracker %s: joined as a member of %s", tracker->name,
                 tracker->heartbeat->options.join.group);
        tracker->joined = tracker->just_joined = true;
        tracker->stated = 0;
        tracker->joined_port = port;
        tracker_drop_connection(tracker, true);
        tracker_next_message(tracker); /* makes the server ACTIVE */
        return;
    }
    tracker->just_joined = false;
    if (tracker->command == PROTO_TRACKER_ADVERTISE) {
        tracker->stated++;
        tracker_drop_connection(tracker, true);
        tracker_next_message(tracker);
        return;
    }
    if (is_legacy(tracker) && port != tracker->joined_port) {
        /* The connection was replaced on the way. BEAT names no port: it may have been taken for another
         * server's. */
        tracker->joined = false;
        tracker_drop_connection(tracker, true);
        tracker_next_message(tracker);
        return;
    }
    if (tracker->failing)
        log_info(ROOM, "tracker %s knows of this server again", tracker->name);
    tracker->failing = false;
    tracker->failure[0] = '\0';
    backoff_reset(&tracker->backoff);
    metric_set(tracker->gauge, 1);
    tracker_hold(tracker);
}

static void tracker_taken(void *argument, struct packet_call *call)
{
    struct tracker *tracker = argument;
    tracker->call = call;
    if (packet_call_length(call) == 0) {
        tracker_answered(tracker);
        return;
    }
    tracker_drop_connection(tracker, false);
    tracker_lose(tracker, "it answered with an unexpected body");
    tracker_retry_later(tracker);
}

static void tracker_failed(void *argument, const uint8_t *body, size_t size, const struct error *error)
{
    (void)body;
    (void)size;
    static const struct error unexpected = {.code = ERROR_MALFORMED, .text = "unexpected reply"};
    struct tracker *tracker = argument;
    const struct error *why = error ? error : &unexpected;
    bool answered = why->code != ERROR_CONNECTION && why->code != ERROR_TIMEOUT;
    tracker->call = NULL;
    if ((tracker->command == PROTO_TRACKER_LOAD || tracker->command == PROTO_TRACKER_ADVERTISE) &&
        (why->code == ERROR_UNKNOWN_COMMAND || (why->code == ERROR_GENERAL && tracker->just_joined))) {
        log_info(ROOM, "tracker %s does not accept load reports (%s): sending plain heartbeats",
                 tracker->name, why->text);
        tracker->legacy_until_ms = clock_monotonic_ms() + LEGACY_MS;
        tracker->joined = false;
        tracker_next_message(tracker);
        return;
    }
    if (tracker->command == PROTO_TRACKER_ADVERTISE && answered) {
        /* It is joined all the same; but clients get the address that the tracker sees. */
        log_warning(ROOM, "tracker %s does not give clients the address %s: %s", tracker->name,
                    statement(tracker), why->text);
        tracker->stated++;
        tracker_next_message(tracker);
        return;
    }
    bool forgotten = tracker->joined && answered && !tracker->just_joined;
    tracker_lose(tracker, why->text);
    if (forgotten) /* a tracker that was restarted learns of us at once */
        tracker_next_message(tracker);
    else
        tracker_retry_later(tracker);
}

/* ---- messages ---- */

static bool heartbeat_pack_join(const struct tracker *tracker, uint8_t *body, struct error *error)
{
    struct proto_join join = tracker->heartbeat->options.join;
    join.join_time = clock_wall_seconds();
    return proto_join_pack(body, &join, error);
}

static bool pack_beat(const struct tracker *tracker, uint8_t *body, struct error *error)
{
    struct proto_beat beat = {0};
    memcpy(beat.group, tracker->heartbeat->options.join.group, sizeof(beat.group));
    memcpy(beat.host, tracker->heartbeat->options.join.host, sizeof(beat.host));
    return proto_beat_pack(body, &beat, error);
}

static bool pack_load(const struct tracker *tracker, uint8_t *body, struct error *error)
{
    const struct heartbeat_options *options = &tracker->heartbeat->options;
    struct proto_load load = {.port = options->join.port};
    memcpy(load.group, options->join.group, sizeof(load.group));
    memcpy(load.host, options->join.host, sizeof(load.host));
    options->load(options->argument, &load);
    return proto_load_pack(body, &load, error);
}

static bool pack_advertise(struct tracker *tracker, uint8_t *body, struct error *error)
{
    const struct heartbeat_options *options = &tracker->heartbeat->options;
    struct proto_advertise advertise = {.port = options->join.port};
    memcpy(advertise.group, options->join.group, sizeof(advertise.group));
    memcpy(advertise.host, options->join.host, sizeof(advertise.host));
    snprintf(advertise.address, sizeof(advertise.address), "%s", statement(tracker));
    return proto_advertise_pack(body, &advertise, error);
}

static void tracker_next_message(struct tracker *tracker)
{
    const struct heartbeat_options *options = &tracker->heartbeat->options;
    uint8_t body[PROTO_ADVERTISE_SIZE];
    struct error error = {0};
    struct packet_call_options call = {
        .addresses = &tracker->address,
        .body = body,
        .timeout_ms = options->call_timeout_ms,
        .progress_ms = options->call_timeout_ms,
        .header = tracker_header,
        .taken = tracker_taken,
        .done = tracker_failed,
        .argument = tracker,
    };
    bool packed;
    tracker_drop_connection(tracker, true);
    if (!tracker->joined) {
        call.command = PROTO_TRACKER_JOIN;
        call.body_size = PROTO_JOIN_SIZE;
        packed = heartbeat_pack_join(tracker, body, &error);
    } else if (is_legacy(tracker)) {
        call.command = PROTO_TRACKER_BEAT;
        call.body_size = PROTO_BEAT_SIZE;
        packed = pack_beat(tracker, body, &error);
    } else if (statement(tracker)) {
        call.command = PROTO_TRACKER_ADVERTISE;
        call.body_size = PROTO_ADVERTISE_SIZE;
        packed = pack_advertise(tracker, body, &error);
    } else {
        call.command = PROTO_TRACKER_LOAD;
        call.body_size = PROTO_LOAD_SIZE;
        packed = pack_load(tracker, body, &error);
    }
    tracker->command = call.command;
    tracker->state = TRACKER_ASKED;
    tracker->call = packed ? packet_call_start(tracker->heartbeat->pool, &call, &error) : NULL;
    if (!tracker->call) {
        tracker_lose(tracker, error.text);
        tracker_retry_later(tracker);
    }
}

static void tracker_timer(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    tracker_next_message(argument);
}

/* ---- making, ending, asking ---- */

static struct tracker *tracker_create(struct heartbeat *heartbeat, const struct address *address)
{
    struct tracker *tracker = calloc(1, sizeof(*tracker));
    char labels[ADDRESS_TEXT_SIZE + 16];
    if (!tracker)
        return NULL;
    tracker->heartbeat = heartbeat;
    address_format(address, tracker->name, sizeof(tracker->name));
    snprintf(labels, sizeof(labels), "tracker=\"%s\"", tracker->name);
    tracker->gauge =
        metrics_gauge("reel_storage_tracker_joined", "1 while a tracker takes the heartbeats.", labels);
    tracker->timer = evtimer_new(loop_base(heartbeat->options.loop), tracker_timer, tracker);
    if (!tracker->timer || !address_list_append(&tracker->address, address)) {
        if (tracker->timer)
            event_free(tracker->timer);
        free(tracker);
        return NULL;
    }
    snprintf(tracker->failure, sizeof(tracker->failure), "not joined yet");
    tracker->state = TRACKER_PAUSES;
    tracker_schedule(tracker, 0);
    return tracker;
}

static void tracker_destroy(struct tracker *tracker)
{
    if (tracker->state == TRACKER_ASKED && tracker->call)
        packet_call_cancel(tracker->call);
    else
        tracker_drop_connection(tracker, false);
    metric_set(tracker->gauge, 0);
    event_free(tracker->timer);
    address_list_clear(&tracker->address);
    free(tracker);
}

/* Takes the tracker at ADDRESS out of the COUNT that there were. NULL: there is none. */
static struct tracker *take_tracker(struct tracker **trackers, size_t count, const struct address *address)
{
    for (size_t i = 0; i < count; i++) {
        struct tracker *tracker = trackers[i];
        if (tracker && address_equal(&tracker->address.items[0], address)) {
            trackers[i] = NULL;
            return tracker;
        }
    }
    return NULL;
}

/* As the names say now: trackers that are new are joined, those that are gone are left. False without memory: those that
 * are there go on. */
static bool follow_names(struct heartbeat *heartbeat)
{
    const struct address_list *wanted = name_list_addresses(heartbeat->names);
    struct tracker **fresh = calloc(wanted->count + 1, sizeof(struct tracker *));
    size_t count = 0;
    bool fine = fresh != NULL;
    if (!fresh)
        return false;
    for (size_t i = 0; i < wanted->count; i++) {
        struct tracker *tracker = take_tracker(heartbeat->trackers, heartbeat->count, &wanted->items[i]);
        if (!tracker)
            tracker = tracker_create(heartbeat, &wanted->items[i]);
        if (tracker)
            fresh[count++] = tracker;
        fine = fine && tracker;
    }
    for (size_t i = 0; i < heartbeat->count; i++) {
        if (!heartbeat->trackers[i])
            continue;
        log_info(ROOM, "tracker %s: dropped, because its name no longer resolves to it",
                 heartbeat->trackers[i]->name);
        tracker_destroy(heartbeat->trackers[i]);
    }
    free(heartbeat->trackers);
    heartbeat->trackers = fresh;
    heartbeat->count = count;
    return fine;
}

static void names_changed(void *argument)
{
    if (!follow_names(argument))
        log_error(ROOM, "no memory for a tracker: it is not joined");
}

struct heartbeat *heartbeat_create(const struct heartbeat_options *options, struct error *error)
{
    struct packet_pool_options pool = {
        .resolver = options->resolver,
        .tls = options->tls,
        .connect_timeout_ms = options->connect_timeout_ms,
        .idle_timeout_ms = 60000,
        .idle_max = 1,
        .auth = options->auth,
    };
    struct heartbeat *heartbeat = calloc(1, sizeof(*heartbeat));
    const struct name_list_options names = {
        .loop = options->loop,
        .resolver = options->resolver,
        .addresses = options->trackers,
        .changed = names_changed,
        .argument = heartbeat,
    };
    if (!heartbeat) {
        error_set(error, ERROR_GENERAL, "no memory for the heartbeat");
        return NULL;
    }
    heartbeat->options = *options;
    if (!heartbeat->options.advertise)
        heartbeat->options.advertise = "";
    if (!heartbeat->options.advertise_tls)
        heartbeat->options.advertise_tls = "";
    heartbeat->pool = packet_pool_create(options->loop, &pool, error);
    heartbeat->names = heartbeat->pool ? name_list_create(&names, error) : NULL;
    if (heartbeat->names && follow_names(heartbeat))
        return heartbeat;
    if (heartbeat->names)
        error_set(error, ERROR_GENERAL, "no memory for a tracker");
    heartbeat_destroy(heartbeat);
    return NULL;
}

void heartbeat_destroy(struct heartbeat *heartbeat)
{
    if (!heartbeat)
        return;
    for (size_t i = 0; i < heartbeat->count; i++)
        tracker_destroy(heartbeat->trackers[i]);
    name_list_destroy(heartbeat->names);
    packet_pool_destroy(heartbeat->pool);
    free(heartbeat->trackers);
    free(heartbeat);
}

void heartbeat_set_interval(struct heartbeat *heartbeat, int64_t interval_ms)
{
    heartbeat->options.interval_ms = interval_ms;
}

void heartbeat_beat_now(struct heartbeat *heartbeat)
{
    for (size_t i = 0; i < heartbeat->count; i++) {
        struct tracker *tracker = heartbeat->trackers[i];
        if (tracker->state == TRACKER_HOLDS)
            tracker_schedule(tracker, 0);
        else
            tracker->again = true;
    }
}

void heartbeat_concern(const struct heartbeat *heartbeat, char *reason, size_t reason_size)
{
    const struct tracker *failing = NULL;
    for (size_t i = 0; i < heartbeat->count; i++) {
        const struct tracker *tracker = heartbeat->trackers[i];
        if (!tracker->failing) /* it knows us, or has not been asked yet */
            return;
        failing = tracker;
    }
    if (failing)
        snprintf(reason, reason_size, "no tracker names this server to clients: tracker %s: %.300s",
                 failing->name, failing->failure);
}

json_t *heartbeat_status(const struct heartbeat *heartbeat)
{
    json_t *list = json_array();
    for (size_t i = 0; i < heartbeat->count; i++) {
        const struct tracker *tracker = heartbeat->trackers[i];
        json_t *one = json_pack("{s:s, s:b, s:b, s:s}", "address", tracker->name, "joined",
                                tracker->joined && !tracker->failing, "legacy", is_legacy(tracker), "failure",
                                tracker->failure);
        if (!one || json_array_append_new(list, one) != 0)
            break;
    }
    return list;
}
