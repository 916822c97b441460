/*
 * reel-idserver: hands out numbers that never repeat, one sequence per key (a store path). What it is made of
 * is in service.c, its options in options.c, its life in common/daemon/daemon.c.
 */
#include "idserver/options.h"
#include "idserver/service.h"
#include "idserver/spellings.h"
#include "common/db/schema.h"
#include "sql/idserver_sql.h"

static bool idserver_init_db(const void *config, struct error *error)
{
    return packet_daemon_init_db(config, &idserver_schema, error) && spellings_check_database(config, error);
}

int main(int argc, char **argv)
{
    const struct daemon_spec spec = {
        .name = "idserver",
        .summary = "hands out numbers that never repeat, one sequence per store path",
        .role = KEY_ROLE_IDSERVER,
        .admin_port = 22100,
        .options = idserver_options,
        .option_count = idserver_option_count,
        .config_size = sizeof(struct idserver_config),
        .check = idserver_options_check,
        .init_db = idserver_init_db,
        .backup = packet_daemon_backup,
        .confine = packet_daemon_confine,
        .start = idserver_service_start,
        .stop = idserver_service_stop,
        .end_workers = idserver_service_end_workers,
        .destroy = idserver_service_destroy,
        .reload = idserver_service_reload,
        .health = idserver_service_health,
        .status = idserver_service_status,
    };
    return daemon_run(&spec, argc, argv);
}
