/* options: see options.h. */
#include "idserver/options.h"
#include "idserver/reserve.h"
#include "idserver/sequences.h"
#include "common/db.h"

#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define DAY    (24 * 60 * MINUTE)

#define OPTION(member) .offset = offsetof(struct idserver_config, member)

const struct config_option idserver_options[] = {
    {.section = "idserver",
     .name = "listen",
     .type = CONFIG_ADDRESSES,
     OPTION(listen),
     .default_value = "*:22000",
     .minimum = 22000,
     .help = "Addresses that storage servers connect to; * is every address of this machine."},
    {.section = "idserver",
     .name = "connections_max",
     .type = CONFIG_INTEGER,
     OPTION(connections_max),
     .default_value = "10000",
     .minimum = 1,
     .maximum = 1000000,
     .help = "Connections open at once; further ones wait in the kernel's backlog."},
    {.section = "idserver",
     .name = "idle_timeout",
     .type = CONFIG_DURATION,
     OPTION(idle_timeout_ms),
     .default_value = "5m",
     .minimum = 0,
     .maximum = DAY,
     .reloadable = true,
     .help = "A connection without a request for so long is closed; 0: never."},
    {.section = "idserver",
     .name = "progress_timeout",
     .type = CONFIG_DURATION,
     OPTION(progress_timeout_ms),
     .default_value = "30s",
     .minimum = 100,
     .maximum = DAY,
     .reloadable = true,
     .help = "A peer that moves no byte for so long inside a request or reply is disconnected."},
    {.section = "idserver",
     .name = "refused_body_timeout",
     .type = CONFIG_DURATION,
     OPTION(refused_body_timeout_ms),
     .default_value = "5s",
     .minimum = 100,
     .maximum = 10 * MINUTE,
     .help = "How long the rest of a refused request is read and discarded, so that its sender can read the "
             "reply."},
    {.section = "idserver",
     .name = "step",
     .type = CONFIG_INTEGER,
     OPTION(step),
     .default_value = "100",
     .minimum = 1,
     .maximum = RESERVE_MAX,
     .reloadable = true,
     .help = "Numbers of a key reserved in the database at once. A restart skips what is left of a step; a "
             "larger one "
             "asks the database less often."},
    {.section = "idserver",
     .name = "keys_max",
     .type = CONFIG_INTEGER,
     OPTION(keys_max),
     .default_value = "1024",
     .minimum = 1,
     .maximum = 1000000,
     .help = "Keys (store paths) served; requests for further ones are refused. About 1 KiB each."},
    {.section = "idserver",
     .name = "keys",
     .type = CONFIG_STRINGS,
     OPTION(keys),
     .default_value = "",
     .reloadable = true,
     .help = "The only keys served, separated by commas; empty: any key of 1 to 64 bytes without control "
             "characters."},
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
     .help = "How often the database is asked whether it is there, for /healthz and the log."},
    {.section = "database",
     .name = "url",
     .type = CONFIG_STRING,
     OPTION(database_url),
     .default_value = "sqlite:/var/lib/reelstore/idserver.db",
     .help = "Where t_id_gen is: sqlite:/path/to/file or mysql://user:password@host1:3306,host2/database. "
             "Several ID "
             "servers may share it. --init-db creates what is missing there."},
    {.section = "database",
     .name = "threads",
     .type = CONFIG_INTEGER,
     OPTION(database_threads),
     .default_value = "2",
     .minimum = 1,
     .maximum = 256,
     .help = "Connections to the database, one thread each."},
    {.section = "database",
     .name = "queue_max",
     .type = CONFIG_INTEGER,
     OPTION(database_queue),
     .default_value = "2048",
     .minimum = 1,
     .maximum = 1000000,
     .help = "Reservations that wait for the database; one key has at most one."},
    {.section = "database",
     .name = "timeout",
     .type = CONFIG_DURATION,
     OPTION(database_timeout_ms),
     .default_value = "3s",
     .minimum = 10,
     .maximum = 10 * MINUTE,
     .help = "A reservation that the database has not made within this fails, and with it the requests that "
             "wait for "
             "it."},
};
const size_t idserver_option_count = ARRAY_SIZE(idserver_options);

bool idserver_options_check(const struct idserver_config *config, struct error *error)
{
    struct error cause;
    if (config->listen.count == 0)
        return error_set(error, ERROR_REFUSED,
                         "idserver.listen is empty: give at least one address, e.g. *:22000");
    for (size_t i = 0; i < config->keys.count; i++) {
        if (!sequences_key_check(config->keys.items[i], &cause))
            return error_set(error, ERROR_REFUSED, "idserver.keys: %s", cause.text);
    }
    if (!db_url_check(config->database_url, &cause))
        return error_set(error, ERROR_REFUSED, "database.url: %s", cause.text);
    return true;
}
