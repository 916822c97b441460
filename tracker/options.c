/*
 * options: the tracker's table of options, and the checks that a table cannot express.
 */
#include "tracker/options.h"
#include "common/config/networks.h"
#include "tracker/pins.h"

#define SECOND INT64_C(1000)
#define DAY    (86400 * SECOND)

#define OPTION(member) .offset = offsetof(struct tracker_config, member)

const struct config_option tracker_options[] = {
    PACKET_DAEMON_LISTEN(
        "tracker", "*:21000", 21000,
        "Addresses that clients and storage servers connect to; * is every address of this machine."),
    PACKET_DAEMON_LISTEN_TLS("tracker", 21443),
    PACKET_DAEMON_CONNECTIONS_MAX("tracker"),
    PACKET_DAEMON_CONNECTIONS_PER_ADDRESS("tracker", "256", ""),
    PACKET_DAEMON_UNSENT_TOTAL("tracker"),
    PACKET_DAEMON_HEAD_TIME("tracker"),
    PACKET_DAEMON_REQUESTS_PER_SECOND("tracker"),
    PACKET_DAEMON_IDLE_TIMEOUT("tracker", "2m",
                               " Longer than heartbeat_timeout, since a storage server whose connection "
                               "closes becomes suspect."),
    PACKET_DAEMON_PROGRESS_TIMEOUT("tracker", "30s"),
    PACKET_DAEMON_REFUSED_BODY_TIMEOUT("tracker", "refused_body_timeout", "5s"),
    {.section = "tracker",
     .name = "heartbeat_timeout",
     .type = CONFIG_DURATION,
     OPTION(heartbeat_timeout_ms),
     .default_value = "40s",
     .minimum = 100,
     .maximum = DAY,
     .reloadable = true,
     .help = "A storage server silent this long is OFFLINE. Should be several times the servers' heartbeat "
             "interval; those of the predecessor send one every 10 s."},
    {.section = "tracker",
     .name = "suspect_grace",
     .type = CONFIG_DURATION,
     OPTION(suspect_grace_ms),
     .default_value = "3s",
     .minimum = 0,
     .maximum = DAY,
     .reloadable = true,
     .help = "A storage server whose connection broke is suspect at once (named only where no other is left) "
             "and OFFLINE after this time, unless it joins or sends a heartbeat again."},
    {.section = "tracker",
     .name = "forget_after",
     .type = CONFIG_DURATION,
     OPTION(forget_after_ms),
     .default_value = "1d",
     .minimum = SECOND,
     .maximum = 3650 * DAY,
     .reloadable = true,
     .help = "A storage server that has been OFFLINE this long disappears from the table."},
    {.section = "tracker",
     .name = "groups_refresh",
     .type = CONFIG_DURATION,
     OPTION(groups_refresh_ms),
     .default_value = "5s",
     .minimum = 100,
     .maximum = DAY,
     .reloadable = true,
     .help =
         "How often t_groups_info is read: new, draining and removed groups are noticed within this time. "
         "A JOIN that names an unknown group has it read at once."},
    {.section = "tracker",
     .name = "groups_max",
     .type = CONFIG_INTEGER,
     OPTION(groups_max),
     .default_value = "1024",
     .minimum = 1,
     .maximum = 100000,
     .help = "Groups kept; further ones, in order of name, are left out with a warning."},
    {.section = "tracker",
     .name = "storages_max",
     .type = CONFIG_INTEGER,
     OPTION(storages_max),
     .default_value = "4096",
     .minimum = 1,
     .maximum = 100000,
     .help = "Storage servers kept, over all groups; about 1 KiB each. When this many are known, the one "
             "that has been OFFLINE longest is dropped; a JOIN is refused when none is OFFLINE."},
    {.section = "tracker",
     .name = "storages_per_address",
     .type = CONFIG_INTEGER,
     OPTION(storages_per_address),
     .default_value = "64",
     .minimum = 0,
     .maximum = 100000,
     .reloadable = true,
     .help = "Of these, storage servers that may join from one address (IPv6: from one /64, which a machine "
             "can have all of, and all machines of a local network share), so that no single machine fills "
             "the table. 0: no limit."},
    {.section = "tracker",
     .name = "storage_addresses",
     .type = CONFIG_STRINGS,
     OPTION(storage_addresses),
     .default_value = "",
     .reloadable = true,
     .help = "Addresses and networks, separated by commas, from which storage servers may join and send "
             "heartbeats. "
             "Empty: from "
             "anywhere, so that anyone who reaches this port can be given users' files; a warning says so at "
             "start."},
    {.section = "tracker",
     .name = "applications",
     .type = CONFIG_STRINGS,
     OPTION(applications),
     .default_value = "tnvideo",
     .reloadable = true,
     .help = "Application IDs that are served, separated by commas: letters and digits, at most 15. Others "
             "are refused."},
    {.section = "tracker",
     .name = "pins",
     .type = CONFIG_STRINGS,
     OPTION(pins),
     .default_value = "",
     .reloadable = true,
     .help = "Which groups new users go to, separated by commas: app:APPLICATION=GROUP|GROUP pins an "
             "application, user:PREFIX=GROUP|GROUP the users whose ID begins with PREFIX. A user's pin takes "
             "precedence over an application's, and the longest prefix wins; pinned users go nowhere else. "
             "Users that already have a group keep it."},
    {.section = "tracker",
     .name = "admin_addresses",
     .type = CONFIG_STRINGS,
     OPTION(admin_addresses),
     .default_value = "127.0.0.0/8, ::1",
     .reloadable = true,
     .help = "Addresses and networks, separated by commas, from which groups may be added and changed (reel "
             "admin "
             "group). Empty: from nowhere. Anyone who can connect from one of them may change groups."},
    {.section = "tracker",
     .name = "minimum_free",
     .type = CONFIG_SIZE,
     OPTION(minimum_free),
     .default_value = "16M",
     .minimum = 0,
     .maximum = INT64_MAX,
     .reloadable = true,
     .help = "A group with fewer bytes free (above its storage servers' own floor) gets no new user."},
    {.section = "tracker",
     .name = "route_cache_entries",
     .type = CONFIG_INTEGER,
     OPTION(route_cache_entries),
     .default_value = "100000",
     .minimum = 1,
     .maximum = 100000000,
     .help = "Users whose group is kept in memory; about 200 bytes each."},
    {.section = "tracker",
     .name = "route_cache_age",
     .type = CONFIG_DURATION,
     OPTION(route_cache_age_ms),
     .default_value = "60s",
     .minimum = 100,
     .maximum = 365 * DAY,
     .reloadable = true,
     .help = "How long a user's group is known before the database is asked again. While the database is "
             "unreachable, an older answer is used."},
    {.section = "tracker",
     .name = "unknown_user_age",
     .type = CONFIG_DURATION,
     OPTION(unknown_user_age_ms),
     .default_value = "1s",
     .minimum = 1,
     .maximum = DAY,
     .reloadable = true,
     .help = "How long LOCATE answers that a user is unknown without asking the database again."},
    PACKET_DAEMON_DATABASE_URL("sqlite:/var/lib/reelstore/tracker.db",
                               "Where t_groups_info and t_router are:"),
    PACKET_DAEMON_DATABASE_URL_FILE,
    PACKET_DAEMON_DATABASE_THREADS("4"),
    PACKET_DAEMON_DATABASE_QUEUE(
        "10000",
        "Look-ups that wait for the database; further ones are answered from the cache or as unavailable."),
    PACKET_DAEMON_DATABASE_TIMEOUT("3s", "A look-up that the database has not answered within this time "
                                         "fails, or is answered from the cache."),
};
const size_t tracker_option_count = ARRAY_SIZE(tracker_options);

bool tracker_options_check(const void *opaque, struct error *error)
{
    const struct tracker_config *config = opaque;
    if (!packet_daemon_check(&config->base, "tracker", error) ||
        !packet_daemon_check_applications(&config->applications, "tracker", error))
        return false;
    if (config->base.idle_timeout_ms != 0 && config->base.idle_timeout_ms <= config->heartbeat_timeout_ms) {
        return error_set(
            error, ERROR_REFUSED,
            "tracker.idle_timeout must be longer than tracker.heartbeat_timeout (or 0): it would cut "
            "storage servers off between two heartbeats");
    }
    struct pins pins = {0};
    if (!pins_parse(&config->pins, &pins, error))
        return false;
    pins_clear(&pins);
    struct error cause;
    struct networks networks;
    if (!networks_parse(&config->admin_addresses, &networks, &cause))
        return error_set(error, ERROR_REFUSED, "tracker.admin_addresses: %s", cause.text);
    networks_clear(&networks);
    if (!networks_parse(&config->storage_addresses, &networks, &cause))
        return error_set(error, ERROR_REFUSED, "tracker.storage_addresses: %s", cause.text);
    networks_clear(&networks);
    return true;
}
