/*
 * service: the commands of an ID server, and the probe of its database. A handler runs on its connection's loop, and so
 * does the reply, at once or later.
 */
#include "idserver/service.h"
#include "common/daemon/host_name.h"
#include "common/base/duration.h"
#include "idserver/reserve.h"
#include "idserver/sequences.h"
#include "idserver/spellings.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/rate.h"
#include "common/base/metrics.h"
#include "common/proto/proto_idserver.h"
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define START_WAIT_MS 1000 /* for what the database says about keys before anything is given */

struct service {
    struct packet_daemon base;
    struct sequences *sequences;
    struct rate *rate;

    /* The probe; on the main loop but for its job while that runs. */
    struct event *probe_timer;
    struct db_job probe_job;
    bool probing;
    bool probed;  /* at least once, with success */
    bool spelled; /* t_id_gen has been looked through for keys in two spellings: there are none */
    char twice[SPELLINGS_KEY_SIZE]; /* what the probe found of that */
    struct error spelling_fault;
    atomic_bool refusing; /* there are: nothing is given */
    bool stopping;
    char failure[ERROR_TEXT_SIZE]; /* of the last probe; "" after a success */
};

/* ---- GET, RANGE ---- */

struct pending {
    struct packet_request *request;
    struct sequences_request wanted;
};

static void pending_answer(struct pending *pending)
{
    struct packet_request *request = pending->request;
    const struct sequences_request *wanted = &pending->wanted;
    if (!wanted->ok) {
        packet_reply_failure(request, &wanted->error);
    } else if (request->command == PROTO_IDSERVER_RANGE) {
        uint8_t body[PROTO_RANGE_REPLY_SIZE];
        const struct proto_range_reply reply = {.first = wanted->first, .count = wanted->given};
        proto_range_reply_pack(body, &reply);
        packet_reply(request, body, sizeof(body));
    } else {
        uint8_t body[PROTO_VALUE_SIZE];
        proto_value_pack(body, wanted->first);
        packet_reply(request, body, sizeof(body));
    }
    free(pending);
}

static void numbers_came(struct sequences_request *wanted)
{
    pending_answer(CONTAINER_OF(wanted, struct pending, wanted));
}

/* False: the request was refused. */
static bool idserver_admit(struct service *service, struct packet_request *request, const char *key,
                           int64_t count)
{
    static struct log_gate gate;
    uint64_t suppressed = 0;
    const char *host = packet_connection_peer(request->connection)->host;
    int64_t wait_ms = rate_take(service->rate, key, host, count, clock_monotonic_ms());
    if (wait_ms == 0)
        return true;
    if (log_gate_open(&gate, 10000, &suppressed))
        log_warning("sequences",
                    "%s takes more numbers for key %s than idserver.range_rate allows (and %" PRIu64 " more)",
                    host, key, suppressed);
    packet_reply_error(
        request, ERROR_THROTTLED,
        "too many numbers of key %s for one address (idserver.range_rate): try again in %" PRId64 " ms", key,
        wait_ms);
    return false;
}

static void take_numbers(struct packet_request *request, const char *key, int64_t count)
{
    struct service *service = packet_server_argument(packet_connection_server(request->connection));
    if (atomic_load(&service->refusing)) {
        packet_reply_error(request, ERROR_REFUSED,
                           "t_id_gen has a key with and without a slash at its end, and no numbers are given "
                           "until one of the two is deleted (the log says more)");
        return;
    }
    if (!idserver_admit(service, request, key, count))
        return;
    struct pending *pending = calloc(1, sizeof(*pending));
    if (!pending) {
        packet_reply_error(request, ERROR_UNAVAILABLE, "out of memory");
        return;
    }
    pending->request = request;
    memcpy(pending->wanted.key, key, PROTO_KEY_SIZE);
    pending->wanted.count = count;
    pending->wanted.loop = request->loop;
    pending->wanted.done = numbers_came;
    if (sequences_take(service->sequences, &pending->wanted))
        pending_answer(pending);
}

static void handle_get(struct packet_request *request)
{
    char key[PROTO_KEY_SIZE] = {0};
    struct error error;
    if (proto_get_unpack(request->head, request->head_size, key, &error))
        take_numbers(request, key, 1);
    else
        packet_reply_failure(request, &error);
}

static void handle_range(struct packet_request *request)
{
    struct proto_range range;
    struct error error;
    if (proto_range_unpack(request->head, request->head_size, &range, &error))
        take_numbers(request, range.key, range.count);
    else
        packet_reply_failure(request, &error);
}

static const struct packet_command commands[] = {
    {.command = PROTO_IDSERVER_GET,
     .name = "get",
     .minimum = PROTO_KEY_MIN,
     .maximum = PROTO_KEY_SIZE,
     .handle = handle_get},
    {.command = PROTO_IDSERVER_RANGE,
     .name = "range",
     .minimum = PROTO_RANGE_SIZE,
     .maximum = PROTO_RANGE_SIZE,
     .handle = handle_range},
};

/* ---- the probe ---- */

static void idserver_stopped(void *argument)
{
    daemon_stopped(((struct service *)argument)->base.daemon);
}

static enum db_result run_probe(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct service *service = CONTAINER_OF(job, struct service, probe_job);
    enum db_result result = reserve_probe(connection, error);
    if (result != DB_OK || service->spelled)
        return result;
    return spellings_find(connection, service->twice, error);
}

/* What the first answer of the database says, and all until there is no such pair any more. */
static void note_spellings(struct service *service, struct error *failure)
{
    if (service->spelled)
        return;
    bool fine = spellings_judge(service->twice, failure);
    bool refused = atomic_exchange(&service->refusing, !fine);
    service->spelled = fine;
    if (!fine && !refused)
        log_error("service", "no numbers are given: %s", failure->text);
    else if (fine && refused)
        log_info("service", "every key of t_id_gen has one spelling: numbers are given again");
}

static void note_probe(struct service *service, const struct error *failure)
{
    bool had_failed = service->failure[0] != '\0';
    if (failure && !had_failed) {
        log_warning("service",
                    "cannot read t_id_gen: %s; reserved numbers are still handed out, other requests are "
                    "answered as unavailable",
                    failure->text);
    } else if (!failure && (had_failed || !service->probed)) {
        log_info("service", "t_id_gen can be read again: numbers are handed out");
    }
    if (!failure)
        service->probed = true;
    snprintf(service->failure, sizeof(service->failure), "%s", failure ? failure->text : "");
}

static void probe_done(struct db_job *job)
{
    struct service *service = CONTAINER_OF(job, struct service, probe_job);
    service->probing = false;
    if (job->result == DB_OK)
        note_spellings(service, &service->spelling_fault);
    note_probe(service, job->result == DB_OK ? NULL : &job->error);
    if (service->stopping)
        sequences_stop(service->sequences, idserver_stopped, service);
}

static void probe_due(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    struct service *service = argument;
    struct error error;
    if (service->probing)
        return;
    service->probe_job = (struct db_job){
        .run = run_probe, .done = probe_done, .loop = service->base.daemon->main_loop, .idempotent = true};
    service->probing = db_submit(service->base.db, &service->probe_job);
    if (!service->probing) {
        error_set(&error, ERROR_UNAVAILABLE, "the database's queue is full");
        note_probe(service, &error);
    }
}

static bool set_probe_interval(struct service *service, int64_t interval_ms)
{
    const struct timeval interval = duration_timeval(interval_ms);
    return event_add(service->probe_timer, &interval) == 0;
}

/* ---- life ---- */

static double read_keys(void *argument)
{
    return (double)sequences_count_keys(((struct service *)argument)->sequences);
}

static double service_read_waiting(void *argument)
{
    return (double)sequences_count_waiting(((struct service *)argument)->sequences);
}

static bool start_sequences(struct service *service, const struct idserver_config *config,
                            struct error *error)
{
    service->base.db = packet_daemon_open_database(&config->base, false, error);
    if (!service->base.db)
        return false;
    const struct sequences_options options = {
        .db = service->base.db,
        .loop = service->base.daemon->main_loop,
        .step = config->step,
        .keys_max = (size_t)config->keys_max,
        .waiting_max = (size_t)config->waiting_max,
        .timeout_ms = config->base.database_timeout_ms,
    };
    service->rate = rate_create(config->range_rate, PROTO_RANGE_COUNT_MAX);
    if (!service->rate)
        return error_set(error, ERROR_UNAVAILABLE, "out of memory");
    if (!spellings_check_start(service->base.db, service->base.daemon->main_loop, START_WAIT_MS,
                               &service->spelled, error))
        return false;
    service->sequences = sequences_create(&options, error);
    return service->sequences && sequences_configure(service->sequences, config->step, &config->keys, error);
}

static bool start_probe(struct service *service, const struct idserver_config *config, struct error *error)
{
    service->probe_timer =
        event_new(loop_base(service->base.daemon->main_loop), -1, EV_PERSIST, probe_due, service);
    if (!service->probe_timer || !set_probe_interval(service, config->probe_interval_ms))
        return error_set(error, ERROR_UNAVAILABLE, "cannot arm the timer of the database probe");
    event_active(service->probe_timer, EV_TIMEOUT, 1);
    return true;
}

bool idserver_service_start(struct daemon *daemon, struct error *error)
{
    const struct idserver_config *config = daemon->config;
    struct service *service = calloc(1, sizeof(*service));
    if (!service)
        return error_set(error, ERROR_UNAVAILABLE, "out of memory");
    const struct packet_daemon_face face = {
        .host_name = host_name(),
        .reply_command = PROTO_REPLY_IDSERVER,
        .unsent_max = 128 * 1024,
        .commands = commands,
        .command_count = ARRAY_SIZE(commands),
        .argument = service,
    };
    daemon->state = service;
    packet_daemon_begin(&service->base, daemon);
    if (!start_sequences(service, config, error) || !start_probe(service, config, error) ||
        !packet_daemon_listen(&service->base, &face, error)) {
        idserver_service_destroy(daemon);
        return false;
    }
    metrics_gauge_read("reel_idserver_keys", "Keys with numbers in memory.", NULL, read_keys, service);
    metrics_gauge_read("reel_idserver_waiting", "Requests that wait for a reservation.", NULL,
                       service_read_waiting, service);
    return true;
}

static void idserver_drained(struct packet_daemon *base)
{
    struct service *service = CONTAINER_OF(base, struct service, base);
    service->stopping = true;
    if (!service->probing)
        sequences_stop(service->sequences, idserver_stopped, service);
}

void idserver_service_stop(struct daemon *daemon)
{
    struct service *service = daemon->state;
    event_del(service->probe_timer);
    packet_daemon_stop(&service->base, idserver_drained);
}

void idserver_service_end_workers(struct daemon *daemon)
{
    struct service *service = daemon->state;
    event_del(service->probe_timer);
    sequences_close(service->sequences);
    packet_daemon_end_workers(&service->base);
}

void idserver_service_destroy(struct daemon *daemon)
{
    struct service *service = daemon->state;
    if (!service)
        return;
    packet_daemon_destroy(&service->base);
    if (service->probe_timer)
        event_free(service->probe_timer);
    sequences_destroy(service->sequences);
    rate_destroy(service->rate);
    free(service);
    daemon->state = NULL;
}

bool idserver_service_reload(struct daemon *daemon, const void *new_config, struct error *error)
{
    struct service *service = daemon->state;
    const struct idserver_config *config = new_config;
    if (!sequences_configure(service->sequences, config->step, &config->keys, error))
        return false;
    rate_configure(service->rate, config->range_rate);
    packet_daemon_reload(&service->base, &config->base);
    if (!set_probe_interval(service, config->probe_interval_ms))
        return error_set(error, ERROR_UNAVAILABLE, "cannot arm the timer of the database probe");
    return true;
}

bool idserver_service_health(struct daemon *daemon, char *reason, size_t reason_size)
{
    const struct service *service = daemon->state;
    char cause[ERROR_TEXT_SIZE];
    if (!db_healthy(service->base.db, cause, sizeof(cause)))
        snprintf(reason, reason_size, "no numbers can be reserved: %s", cause);
    else if (service->failure[0] != '\0')
        snprintf(reason, reason_size, "no numbers can be reserved: %s", service->failure);
    else if (atomic_load(&service->refusing))
        snprintf(reason, reason_size, "no numbers are given: %s", service->spelling_fault.text);
    else if (!service->probed)
        snprintf(reason, reason_size, "the database has not answered yet");
    else {
        snprintf(reason, reason_size, "%s", cause);
        return true;
    }
    return false;
}

static void show_key(void *argument, const char *key, int64_t next, int64_t left, bool exhausted)
{
    json_t *keys = argument;
    json_t *name = json_string(key);
    if (!name)
        name = json_string("(not UTF-8)");
    /* Without memory the status has a key less. */
    (void)json_array_append_new(keys, json_pack("{s:o, s:o, s:I, s:b}", "key", name, "next",
                                                next >= 0 ? json_integer((json_int_t)next) : json_null(),
                                                "left", (json_int_t)left, "exhausted", (int)exhausted));
}

json_t *idserver_service_status(struct daemon *daemon)
{
    struct service *service = daemon->state;
    json_t *keys = json_array();
    if (!keys)
        return NULL;
    sequences_each(service->sequences, show_key, keys);
    json_t *status = packet_daemon_status(&service->base, "idserver");
    json_t *more = json_pack("{s:{s:b}, s:I, s:o}", "database", "healthy",
                             (int)(service->probed && service->failure[0] == '\0'), "waiting",
                             (json_int_t)sequences_count_waiting(service->sequences), "keys", keys);
    if (!status || !more || json_object_update(status, more) != 0) {
        json_decref(status);
        status = NULL;
    }
    json_decref(more);
    return status;
}
