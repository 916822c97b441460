/*
 * options: the ID server's table of options, and the checks that a table cannot express.
 */
#include "idserver/options.h"
#include "idserver/reserve.h"
#include "idserver/sequences.h"

#define SECOND INT64_C(1000)
#define DAY    (86400 * SECOND)

#define OPTION(member) .offset = offsetof(struct idserver_config, member)

const struct config_option idserver_options[] = {
    PACKET_DAEMON_LISTEN("idserver", "*:22000", 22000,
                         "Addresses that storage servers connect to; * is every address of this machine."),
    PACKET_DAEMON_LISTEN_TLS("idserver", 22443),
    PACKET_DAEMON_CONNECTIONS_MAX("idserver"),
    PACKET_DAEMON_CONNECTIONS_PER_ADDRESS("idserver", "256", ""),
    PACKET_DAEMON_UNSENT_TOTAL("idserver"),
    PACKET_DAEMON_HEAD_TIME("idserver"),
    PACKET_DAEMON_REQUESTS_PER_SECOND("idserver"),
    PACKET_DAEMON_IDLE_TIMEOUT("idserver", "5m", ""),
    PACKET_DAEMON_PROGRESS_TIMEOUT("idserver", "30s"),
    PACKET_DAEMON_REFUSED_BODY_TIMEOUT("idserver", "refused_body_timeout", "5s"),
    {.section = "idserver",
     .name = "step",
     .type = CONFIG_INTEGER,
     OPTION(step),
     .default_value = "100",
     .minimum = 1,
     .maximum = RESERVE_MAX,
     .reloadable = true,
     .help = "Least numbers of a key reserved in the database at once. Where they are used up within a "
             "second, or "
             "somebody has to wait, twice as many are reserved the next time, up to 1,000,000; where they "
             "last for "
             "four seconds, half as many. A restart skips what is left of them."},
    {.section = "idserver",
     .name = "keys_max",
     .type = CONFIG_INTEGER,
     OPTION(keys_max),
     .default_value = "1024",
     .minimum = 1,
     .maximum = 1000000,
     .help =
         "New keys (store paths) that may be created until the next start; requests for more are refused. "
         "Keys that already have a row in t_id_gen are always served. About 1 KiB each."},
    {.section = "idserver",
     .name = "keys",
     .type = CONFIG_STRINGS,
     OPTION(keys),
     .default_value = "",
     .reloadable = true,
     .help =
         "The only keys that may be created, separated by commas; empty: any key of 1 to 64 bytes without "
         "control characters. Keys that already have a row in t_id_gen are always served."},
    {.section = "idserver",
     .name = "range_rate",
     .type = CONFIG_INTEGER,
     OPTION(range_rate),
     .default_value = "10000",
     .minimum = 0,
     .maximum = 1000000000,
     .reloadable = true,
     .help = "Numbers of one key per second that one address (one /64, for IPv6) is given, on average over "
             "ten seconds or more, "
             "so that no client can use up a key's numbers. Ten times what a storage server fetches at once "
             "(storage.id_range). 0: no limit."},
    {.section = "idserver",
     .name = "waiting_max",
     .type = CONFIG_INTEGER,
     OPTION(waiting_max),
     .default_value = "10000",
     .minimum = 1,
     .maximum = 1000000,
     .help =
         "Requests that wait for a reservation, over all keys; further ones are answered as unavailable."},
    {.section = "idserver",
     .name = "probe_interval",
     .type = CONFIG_DURATION,
     OPTION(probe_interval_ms),
     .default_value = "5s",
     .minimum = 100,
     .maximum = DAY,
     .reloadable = true,
     .help = "How often the database is probed, for /healthz and the log."},
    PACKET_DAEMON_DATABASE_URL("sqlite:/var/lib/reelstore/idserver.db",
                               "Where t_id_gen is, which several ID servers may share:"),
    PACKET_DAEMON_DATABASE_URL_FILE,
    PACKET_DAEMON_DATABASE_THREADS("2"),
    PACKET_DAEMON_DATABASE_QUEUE("2048", "Reservations that wait for the database; one key has at most one."),
    PACKET_DAEMON_DATABASE_TIMEOUT("3s", "A reservation that the database has not made within this time "
                                         "fails, and with it the requests that wait for it."),
};
const size_t idserver_option_count = ARRAY_SIZE(idserver_options);

bool idserver_options_check(const void *opaque, struct error *error)
{
    const struct idserver_config *config = opaque;
    struct error cause;
    for (size_t i = 0; i < config->keys.count; i++) {
        if (!sequences_key_check(config->keys.items[i], &cause))
            return error_set(error, ERROR_REFUSED, "idserver.keys: %s", cause.text);
    }
    return packet_daemon_check(&config->base, "idserver", error);
}
