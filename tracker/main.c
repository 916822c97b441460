/*
 * reel-tracker: knows every storage server of every group and its state, routes users to groups, names to
 * clients the servers to ask. What it is made of is in service.c, its options in options.c, its life in
 * common/daemon/daemon.c.
 */
#include "tracker/options.h"
#include "tracker/service.h"
#include "common/db/schema.h"
#include "sql/tracker_sql.h"

static bool tracker_init_db(const void *config, struct error *error)
{
    return packet_daemon_init_db(config, &tracker_schema, error);
}

int main(int argc, char **argv)
{
    const struct daemon_spec spec = {
        .name = "tracker",
        .summary = "knows the storage servers of every group and names them to clients",
        .role = KEY_ROLE_TRACKER,
        .admin_port = 21100,
        .options = tracker_options,
        .option_count = tracker_option_count,
        .config_size = sizeof(struct tracker_config),
        .check = tracker_options_check,
        .init_db = tracker_init_db,
        .backup = packet_daemon_backup,
        .confine = packet_daemon_confine,
        .start = tracker_service_start,
        .stop = tracker_service_stop,
        .end_workers = tracker_service_end_workers,
        .destroy = tracker_service_destroy,
        .reload = tracker_service_reload,
        .health = tracker_service_health,
        .ask_status = tracker_service_ask_status,
    };
    return daemon_run(&spec, argc, argv);
}
