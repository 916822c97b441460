/*
 * reel-storage: stores, serves, deletes and restores the files of one group on the store paths of this
 * machine. This file puts the rooms together: the daemon's specification, start, stop, reload, health and
 * status.
 */
#include "storage/heartbeat.h"
#include "storage/request/commands.h"
#include "storage/rows/quota.h"
#include "storage/storage.h"
#include "storage/store/store_choice.h"
#include "storage/store/store_look.h"
#include "storage/store/store_system.h"
#include "storage/upkeep/upkeep.h"
#include "storage/upload/partials.h"
#include "storage/upload/recovery.h"

#include "common/daemon/host_name.h"
#include "common/daemon/daemon_tls.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "sql/storage_sql.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define ROOM                 "storage"
#define FIRST_LOOK_MS        2000 /* how long the start waits for the first look at the store paths */
#define WORKERS_STOP_MS      2000
#define RESOLVER_THREADS     2
#define RESOLVER_QUEUE       256
#define ARENAS_MAX           4      /* of malloc: more of them only keep memory that was freed */
#define OWNERS_MAX           100000 /* users whose group is remembered, some 200 bytes each */
#define OWNERS_AGE_MS        60000
#define OWNERS_QUESTIONS_MAX 256
#define PARTIALS_KEPT        4096 /* digests of partial uploads, about 1 KiB each */

static void end_workers(struct daemon *daemon);
static void destroy(struct daemon *daemon);

/* ---- what is reported to the trackers ---- */

static bool can_store(struct storage *storage)
{
    char reason[ERROR_TEXT_SIZE];
    if (!meta_healthy(storage->meta, reason, sizeof(reason)))
        return false;
    if (ids_healthy(storage->ids, reason, sizeof(reason)))
        return true;
    for (size_t i = 0; i < store_count(storage->store); i++) {
        if (ids_available(storage->ids, i) > 0)
            return true;
    }
    return false;
}

/* Requests per second since the last answer to this question that is at least a second old. */
static int32_t request_rate(struct storage *storage)
{
    int64_t now = clock_monotonic_ms(), requests = packet_server_requests(storage->base.server);
    int64_t elapsed = now - storage->rate_since_ms;
    if (elapsed >= 1000) {
        storage->rate = (int32_t)min_i64((requests - storage->rate_requests) * 1000 / elapsed, INT32_MAX);
        storage->rate_since_ms = now;
        storage->rate_requests = requests;
    }
    return storage->rate;
}

static void fill_load(void *argument, struct proto_load *load)
{
    struct storage *storage = argument;
    struct store_space space;
    store_space(storage->store, &space);
    load->capacity = space.capacity;
    load->free = space.free;
    load->free_inodes = space.free_inodes;
    load->connections = (int32_t)packet_server_connections(storage->base.server);
    load->uploads = (int32_t)gate_active(storage->gate);
    load->requests = request_rate(storage);
    load->trash = storage->upkeep ? upkeep_trash_bytes(storage->upkeep) : 0;
    load->damaged = storage->upkeep ? upkeep_damaged_files(storage->upkeep) : 0;
    if (atomic_load(&storage->stopping))
        load->state = PROTO_LOAD_DRAINING;
    else if (space.writable == 0 || !can_store(storage))
        load->state = PROTO_LOAD_READ_ONLY;
    else if (gate_waiting(storage->gate) > 0)
        load->state = PROTO_LOAD_BUSY;
    else
        load->state = PROTO_LOAD_READY;
}

/* ---- start ---- */

static double storage_read_active(void *argument)
{
    return (double)gate_active(argument);
}

static double storage_read_waiting(void *argument)
{
    return (double)gate_waiting(argument);
}

static double read_buffers(void *argument)
{
    return (double)buffers_used(argument);
}

static double read_open(void *argument)
{
    return (double)open_cache_count(argument);
}

static double read_rows(void *argument)
{
    return (double)meta_cached_rows(argument);
}

static double storage_read_partials(void *argument)
{
    return (double)partials_count(argument);
}

static void register_gauges(struct storage *storage, bool present)
{
    metrics_gauge_read("reel_storage_uploads_active", "Uploads under way.", NULL,
                       present ? storage_read_active : NULL, storage->gate);
    metrics_gauge_read("reel_storage_uploads_waiting", "Uploads that wait for their turn.", NULL,
                       present ? storage_read_waiting : NULL, storage->gate);
    metrics_gauge_read("reel_storage_buffer_bytes", "Memory of upload buffers in use.", NULL,
                       present ? read_buffers : NULL, storage->buffers);
    metrics_gauge_read("reel_storage_partials_known",
                       "Partial uploads whose digest is in memory or that are written to.", NULL,
                       present ? storage_read_partials : NULL, storage->partials);
    metrics_gauge_read("reel_storage_open_files", "Files that are open for downloads.", NULL,
                       present ? read_open : NULL, storage->open_cache);
    metrics_gauge_read("reel_storage_rows_cached", "File rows in memory.", NULL, present ? read_rows : NULL,
                       storage->meta);
}

static void storage_register_metrics(struct storage_metrics *metrics)
{
    static const char name[] = "reel_storage_uploads_total";
    static const char help[] = "Uploads by how they ended.";
    metrics->uploads_stored = metrics_counter(name, help, "result=\"stored\"");
    metrics->uploads_repeated = metrics_counter(name, help, "result=\"repeated\"");
    metrics->uploads_refused = metrics_counter(name, help, "result=\"refused\"");
    metrics->uploads_failed = metrics_counter(name, help, "result=\"failed\"");
    metrics->upload_bytes =
        metrics_counter("reel_storage_upload_bytes_total", "Bytes of stored files.", NULL);
    metrics->download_bytes =
        metrics_counter("reel_storage_download_bytes_total", "Bytes of files sent.", NULL);
    metrics->collisions = metrics_counter("reel_storage_number_collisions_total",
                                          "Numbers of the ID server whose file existed already.", NULL);
    metrics->leftovers = metrics_counter("reel_storage_leftovers_total",
                                         "Files without a row that could not be removed.", NULL);
    metrics->sync_time = metrics_histogram("reel_storage_sync_seconds", "Syncs of one uploaded file.", NULL);
    metrics->row_time = metrics_histogram("reel_storage_row_seconds", "Adding the row of one upload.", NULL);
}

/* On a probe thread, also before there are rows. */
static bool has_rows(void *argument, const struct store_path *path, bool *known)
{
    struct storage *storage = argument;
    struct meta *meta = atomic_load(&storage->meta_made);
    *known = false;
    return meta && meta_has_rows(meta, store_path_key(path), known);
}

static bool make_rooms(struct storage *storage, struct error *error)
{
    const struct storage_config *config = storage->config;
    struct loop *loop = storage->base.daemon->main_loop;
    storage->resolver = workers_create("resolver", RESOLVER_THREADS, RESOLVER_QUEUE, error);
    storage->store =
        storage->resolver ? store_create(config, loop, FIRST_LOOK_MS, has_rows, storage, error) : NULL;
    struct meta *meta = storage->store ? meta_create(config, storage->store, loop, error) : NULL;
    if (!meta)
        return false;
    atomic_store(&storage->meta_made, meta);
    storage->meta = meta;
    store_look_again(storage->store, FIRST_LOOK_MS);
    storage->applications = applications_create(&config->applications, &config->expires, error);
    if (!storage->applications)
        return false;
    storage->types = types_create(storage->meta, error);
    if (!storage->types)
        return false;
    storage->buffers = buffers_create((size_t)config->chunk_size, config->buffer_memory);
    storage->gate =
        gate_create((size_t)config->uploads_max, (size_t)config->uploads_waiting, config->uploads_wait_ms);
    storage->partials = partials_create(PARTIALS_KEPT);
    storage->open_cache = open_cache_create(storage_options_open_files(config), config->open_age_ms, loop);
    storage->keys = calloc(store_count(storage->store), sizeof(*storage->keys));
    if (!storage->buffers || !storage->gate || !storage->partials || !storage->open_cache || !storage->keys)
        return error_set(error, ERROR_GENERAL, "no memory for the daemon");
    return true;
}

static bool make_owners(struct storage *storage, struct error *error)
{
    const struct storage_config *config = storage->config;
    const struct owners_options options = {
        .loop = storage->base.daemon->main_loop,
        .resolver = storage->resolver,
        .tls = daemon_tls_client(storage->base.daemon),
        .auth = storage->base.daemon->auth,
        .trackers = &config->trackers,
        .group = config->group,
        .connect_timeout_ms = config->connect_timeout_ms,
        .call_timeout_ms = config->call_timeout_ms,
        .hedge_ms = config->hedge_ms,
        .entries_max = OWNERS_MAX,
        .age_ms = OWNERS_AGE_MS,
        .questions_max = OWNERS_QUESTIONS_MAX,
    };
    if (!config->check_users)
        return true;
    storage->owners = owners_create(&options, error);
    return storage->owners != NULL;
}

static bool make_ids(struct storage *storage, struct error *error)
{
    const struct storage_config *config = storage->config;
    for (size_t i = 0; i < store_count(storage->store); i++)
        storage->keys[i] = store_path_sequence(store_at(storage->store, i));
    struct ids_options options = {
        .auth = storage->base.daemon->auth,
        .loop = storage->base.daemon->main_loop,
        .resolver = storage->resolver,
        .tls = daemon_tls_client(storage->base.daemon),
        .servers = &config->idservers,
        .keys = storage->keys,
        .key_count = store_count(storage->store),
        .range = config->id_range,
        .timeout_ms = config->id_timeout_ms,
        .hedge_ms = config->hedge_ms,
        .waiting_max = (size_t)config->id_waiting,
        .connect_timeout_ms = config->connect_timeout_ms,
        .call_timeout_ms = config->call_timeout_ms,
    };
    storage->ids = ids_create(&options, error);
    return storage->ids != NULL;
}

/* What is open beside connections: kept files, and one for each upload, for which connections leave room. */
static int64_t count_descriptors(const struct storage_config *config)
{
    struct rlimit limit;
    int64_t kept = (int64_t)storage_options_open_files(config), uploads = config->uploads_max;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < INT32_MAX)
        uploads = min_i64(uploads, max_i64((int64_t)limit.rlim_cur - kept, 0) / 4);
    return kept + uploads;
}

static bool make_server(struct storage *storage, struct error *error)
{
    const struct packet_daemon_face face = {
        .host_name = storage->host_name,
        .reply_command = PROTO_REPLY_STORAGE,
        .commands = storage_commands,
        .command_count = storage_command_count,
        .descriptors = count_descriptors(storage->config),
        .argument = storage,
    };
    return packet_daemon_listen(&storage->base, &face, error);
}

_Static_assert(sizeof(REEL_VERSION) <= PROTO_VERSION_SIZE, "the version fits into a JOIN");

/* The address that trackers are to give to clients that speak TLS; TEXT is "" where there is none. */
static void describe_tls(const struct storage *storage, char *text, size_t size)
{
    const struct storage_config *config = storage->config;
    struct address address = {.host = "*", .port = packet_server_tls_port(storage->base.server), .tls = true};
    struct error ignored;
    text[0] = '\0';
    if (config->advertise_tls[0] != '\0')
        snprintf(text, size, "tls://%s", config->advertise_tls);
    if (address.port == 0 || text[0] != '\0')
        return;
    /* The options were checked: it is an address with a port. */
    if (config->advertise[0] != '\0' && address_parse(config->advertise, 0, &address, &ignored)) {
        address.port = packet_server_tls_port(storage->base.server);
        address.tls = true;
    }
    (void)address_format(&address, text, size);
}

static bool make_heartbeat(struct storage *storage, struct error *error)
{
    const struct storage_config *config = storage->config;
    struct heartbeat_options options = {
        .auth = storage->base.daemon->auth,
        .loop = storage->base.daemon->main_loop,
        .resolver = storage->resolver,
        .trackers = &config->trackers,
        .interval_ms = config->heartbeat_interval_ms,
        .connect_timeout_ms = config->connect_timeout_ms,
        .call_timeout_ms = config->call_timeout_ms,
        .join = {.version = REEL_VERSION,
                 .port = packet_server_port(storage->base.server),
                 .start_time = storage->base.start_time},
        .advertise = config->advertise,
        .advertise_tls = storage->advertise_tls,
        .tls = daemon_tls_client(storage->base.daemon),
        .load = fill_load,
        .argument = storage,
    };
    describe_tls(storage, storage->advertise_tls, sizeof(storage->advertise_tls));
    memcpy(options.join.group, config->group, strlen(config->group) + 1);
    snprintf(options.join.host, sizeof(options.join.host), "%s", storage->host_name);
    storage->heartbeat = heartbeat_create(&options, error);
    return storage->heartbeat != NULL;
}

static bool storage_start(struct daemon *daemon, struct error *error)
{
    struct storage *storage = calloc(1, sizeof(*storage));
    if (!storage)
        return error_set(error, ERROR_GENERAL, "no memory for the daemon");
    (void)mallopt(M_ARENA_MAX, ARENAS_MAX);
    daemon->state = storage;
    packet_daemon_begin(&storage->base, daemon);
    storage->config = daemon->config;
    storage->host_name = storage->config->host_name[0] ? storage->config->host_name : host_name();
    storage->rate_since_ms = clock_monotonic_ms();
    storage_register_metrics(&storage->metrics);
    if (daemon_tls_call(daemon, &storage->config->trackers, error) &&
        daemon_tls_call(daemon, &storage->config->idservers, error) && make_rooms(storage, error) &&
        recovery_start(storage->config, storage->store, storage->meta, &storage->recovery, error) &&
        make_ids(storage, error) && make_owners(storage, error) && make_server(storage, error) &&
        make_heartbeat(storage, error) &&
        (storage->upkeep = upkeep_create(storage, packet_server_port(storage->base.server), error))) {
        register_gauges(storage, true);
        return true;
    }
    end_workers(daemon);
    destroy(daemon);
    return false;
}

/* ---- the end ---- */

static void storage_drained(struct packet_daemon *base)
{
    daemon_stopped(base->daemon);
}

static void stop(struct daemon *daemon)
{
    struct storage *storage = daemon->state;
    atomic_store(&storage->stopping, true);
    heartbeat_beat_now(storage->heartbeat);
    packet_daemon_stop(&storage->base, storage_drained);
}

/* False: it does not end by itself; what it waits for is logged while it still waits. */
static bool end_upkeep(struct storage *storage, bool *asks)
{
    if (upkeep_end(storage->upkeep, WORKERS_STOP_MS))
        return true;
    *asks = upkeep_asks(storage->upkeep);
    log_error(ROOM, "the upkeep does not end: it %s",
              *asks ? "waits for the database" : "hangs in a file system");
    return false;
}

static void end_workers(struct daemon *daemon)
{
    bool asks = false;
    struct storage *storage = daemon->state;
    heartbeat_destroy(storage->heartbeat);
    storage->heartbeat = NULL;
    if (storage->ids)
        ids_end(storage->ids);
    if (storage->owners)
        owners_end(storage->owners);
    storage->upkeep_hangs = !end_upkeep(storage, &asks);
    storage->recovery_hangs = !recovery_end(storage->recovery, WORKERS_STOP_MS);
    if (storage->store)
        store_end(storage->store, WORKERS_STOP_MS);
    types_end(storage->types, WORKERS_STOP_MS);
    if (storage->meta)
        meta_end(storage->meta);
    if (storage->upkeep_hangs && asks) /* nobody waits for the database any more */
        storage->upkeep_hangs = !upkeep_end(storage->upkeep, WORKERS_STOP_MS);
    (void)workers_destroy(storage->resolver,
                          WORKERS_STOP_MS); /* a hanging look-up is left alone, and logged */
    storage->resolver = NULL;
}

static void destroy(struct daemon *daemon)
{
    struct storage *storage = daemon->state;
    if (storage->base.server)
        register_gauges(storage, false);
    packet_daemon_destroy(&storage->base);
    if (storage->upkeep_hangs || storage->recovery_hangs) {
        log_error(ROOM, "the %s is still blocked and is abandoned",
                  storage->upkeep_hangs ? "upkeep" : "upload journal");
        daemon->state = NULL;
        return;
    }
    upkeep_destroy(storage->upkeep);
    open_cache_destroy(storage->open_cache);
    ids_destroy(storage->ids);
    owners_destroy(storage->owners);
    gate_destroy(storage->gate);
    partials_destroy(storage->partials);
    buffers_destroy(storage->buffers);
    types_destroy(storage->types);
    applications_destroy(storage->applications);
    recovery_destroy(storage->recovery);
    meta_destroy(storage->meta);
    store_destroy(storage->store);
    free(storage->keys);
    free(storage);
    daemon->state = NULL;
}

/* ---- reload, health, status ---- */

static bool reload(struct daemon *daemon, const void *new_config, struct error *error)
{
    struct storage *storage = daemon->state;
    const struct storage_config *config = new_config;
    if (!applications_replace(storage->applications, &config->applications, &config->expires, error))
        return false;
    store_set_floors(storage->store, config->reserve_space, config->reserve_inodes);
    meta_set_age(storage->meta, config->cache_age_ms);
    meta_set_quota(storage->meta, config->quota_bytes, config->quota_files);
    upkeep_reload(storage->upkeep, config);
    gate_set_limits(storage->gate, (size_t)config->uploads_max, (size_t)config->uploads_waiting,
                    config->uploads_wait_ms);
    packet_daemon_reload(&storage->base, &config->base);
    heartbeat_set_interval(storage->heartbeat, config->heartbeat_interval_ms);
    return true;
}

static bool health(struct daemon *daemon, char *reason, size_t reason_size)
{
    struct storage *storage = daemon->state;
    if (atomic_load(&storage->stopping)) {
        snprintf(reason, reason_size, "stopping");
        return false;
    }
    char hindered[ERROR_TEXT_SIZE]; /* uploads are, and reading goes on */
    if (!store_healthy(storage->store, hindered, sizeof(hindered))) {
        snprintf(reason, reason_size, "%s", hindered);
        return false;
    }
    if (!meta_healthy(storage->meta, reason, reason_size))
        return false;
    if (!can_store(storage) && !ids_healthy(storage->ids, reason, reason_size))
        return false;
    if (reason[0] == '\0')
        snprintf(reason, reason_size, "%s", hindered);
    if (reason[0] == '\0')
        upkeep_concern(storage->upkeep, reason, reason_size); /* it works, but an operator should look */
    if (reason[0] == '\0')
        recovery_concern(storage->recovery, reason, reason_size);
    if (reason[0] == '\0' && !ids_healthy(storage->ids, hindered, sizeof(hindered)))
        snprintf(reason, reason_size, "files are stored as long as numbers are at hand: %.*s",
                 (int)sizeof(hindered) / 2, hindered);
    if (reason[0] == '\0' && storage->heartbeat)
        heartbeat_concern(storage->heartbeat, reason, reason_size);
    return true;
}

static json_t *paths_status(const struct storage *storage)
{
    json_t *list = json_array();
    for (size_t i = 0; i < store_count(storage->store); i++) {
        const struct store_path *path = store_at(storage->store, i);
        struct store_path_status now;
        store_path_status(path, &now);
        json_t *one = json_pack(
            "{s:s, s:s, s:b, s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:s}", "key", store_path_key(path),
            "directory", store_path_directory(path), "readable", now.readable, "writable", now.writable,
            "hanging", now.hanging, "capacity", (json_int_t)now.capacity, "free", (json_int_t)now.free,
            "free_inodes", (json_int_t)now.free_inodes, "numbers", (json_int_t)ids_available(storage->ids, i),
            "waiting", (json_int_t)workers_waiting(store_path_workers(path)), "reason", now.reason);
        if (!one || json_array_append_new(list, one) != 0)
            break;
    }
    return list;
}

static json_t *status(struct daemon *daemon)
{
    struct storage *storage = daemon->state;
    char reason[ERROR_TEXT_SIZE] = "";
    bool database = meta_healthy(storage->meta, reason, sizeof(reason));
    return json_pack("{s:s, s:s, s:i, s:I, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:s, s:o, s:o, s:o}",
                     "group", storage->config->group, "host", storage->host_name, "port",
                     (int)packet_server_port(storage->base.server), "started",
                     (json_int_t)storage->base.start_time, "stopping", (int)atomic_load(&storage->stopping),
                     "connections", (json_int_t)packet_server_connections(storage->base.server), "uploads",
                     (json_int_t)gate_active(storage->gate), "uploads_waiting",
                     (json_int_t)gate_waiting(storage->gate), "rows_cached",
                     (json_int_t)meta_cached_rows(storage->meta), "open_files",
                     (json_int_t)open_cache_count(storage->open_cache), "open_files_max",
                     (json_int_t)storage_options_open_files(storage->config), "database", database,
                     "database_failure", reason, "paths", paths_status(storage), "trackers",
                     heartbeat_status(storage->heartbeat), "upkeep", upkeep_status(storage->upkeep));
}

static bool storage_init_db(const void *opaque, struct error *error)
{
    const struct storage_config *config = opaque;
    if (!packet_daemon_init_db(&config->base, &storage_schema, error))
        return false;
    return config->mount_check != OPTIONS_MOUNT_MARKER || store_make_markers(config, stdout, error);
}

/* The database and the store paths. */
static bool storage_confine(const void *opaque, struct sandbox *sandbox, struct error *error)
{
    const struct storage_config *config = opaque;
    bool allowed = packet_daemon_confine(config, sandbox, error);
    for (size_t i = 0; allowed && i < config->paths.count; i++) {
        char key[PROTO_KEY_SIZE];
        const char *directory;
        allowed = storage_options_split_path(config->paths.items[i], key, &directory, error) &&
                  sandbox_allow_volume(sandbox, directory, config->mount_check != OPTIONS_MOUNT_NONE,
                                       SANDBOX_WRITE, error);
    }
    return allowed;
}

static bool storage_checkpoint(const void *config, struct error *error)
{
    return recovery_empty(config, stdout, error);
}

static void advise(const void *config, FILE *out)
{
    (void)store_system_advise(config, "/var/lib/glusterd/vols", out);
}

int main(int argc, char **argv)
{
    const struct daemon_spec spec = {
        .name = "storage",
        .summary = "stores, serves, deletes and restores the files of one group",
        .role = KEY_ROLE_STORAGE,
        .admin_port = 23100,
        .options = storage_options,
        .option_count = storage_option_count,
        .config_size = sizeof(struct storage_config),
        .check = storage_options_check,
        .advise = advise,
        .init_db = storage_init_db,
        .backup = packet_daemon_backup,
        .checkpoint = storage_checkpoint,
        .confine = storage_confine,
        .start = storage_start,
        .stop = stop,
        .end_workers = end_workers,
        .destroy = destroy,
        .reload = reload,
        .health = health,
        .status = status,
    };
    return daemon_run(&spec, argc, argv);
}
