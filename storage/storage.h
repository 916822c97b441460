/*
 * storage: what the rooms of reel-storage share: the one context of the daemon, made by main.c and passed
 * explicitly.
 */
#ifndef REEL_STORAGE_STORAGE_H
#define REEL_STORAGE_STORAGE_H

#include "common/base/metrics.h"
#include "common/daemon/packet_daemon.h"
#include "storage/admit/applications.h"
#include "storage/admit/buffers.h"
#include "storage/admit/gate.h"
#include "storage/admit/ids.h"
#include "storage/admit/owners.h"
#include "storage/rows/meta.h"
#include "storage/store/open_cache.h"
#include "storage/options.h"
#include "storage/store/store.h"
#include "storage/admit/type.h"

#include <stdatomic.h>

struct heartbeat;
struct partials;
struct recovery;
struct upkeep;

struct storage_metrics {
    struct metric *uploads_stored, *uploads_repeated, *uploads_refused, *uploads_failed;
    struct metric *upload_bytes, *download_bytes;
    struct metric *collisions; /* numbers whose file existed already */
    struct metric *leftovers;  /* files without a row that could not be removed */
    struct metric *sync_time, *row_time;
};

struct storage {
    struct packet_daemon base;
    const struct storage_config *config;   /* as it was at the start */
    char advertise_tls[ADDRESS_TEXT_SIZE]; /* see heartbeat_options */
    const char *host_name;
    atomic_bool stopping; /* the drain has begun */

    struct workers *resolver; /* host names of trackers and ID servers */
    struct store *store;
    struct meta *meta;
    _Atomic(struct meta *) meta_made; /* the same, for the store's threads */
    struct ids *ids;
    struct owners *owners; /* NULL: nobody asks which group a user belongs to */
    const char **keys;     /* of the store paths, for ids */
    struct applications *applications;
    struct types *types;
    struct buffers *buffers;
    struct gate *gate;
    struct partials *partials; /* storage/upload/partials.h */
    struct recovery *recovery; /* of the upload journal; NULL: there is none */
    struct open_cache *open_cache;
    struct heartbeat *heartbeat;
    struct upkeep *upkeep;
    bool upkeep_hangs, recovery_hangs; /* left alone, with what it uses */
    struct storage_metrics metrics;
    atomic_int repeats; /* this many of the next small uploads first check whether their file ID is taken */

    /* The main thread's: requests per second. */
    int64_t rate_since_ms, rate_requests;
    int32_t rate;
};

/* The daemon's context of a request. */
static inline struct storage *storage_of(const struct packet_request *request)
{
    return packet_server_argument(packet_connection_server(request->connection));
}

#endif
