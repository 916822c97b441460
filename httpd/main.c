/*
 * reel-httpd: what the client library can download, over HTTP. Everything is in the rooms beside this file.
 */
#include "httpd/http_server.h"

int main(int argc, char **argv)
{
    const struct daemon_spec spec = {
        .name = "httpd",
        .summary = "serves the files of a Reelstore over HTTP",
        .admin_port = 8180,
        .options = http_options,
        .option_count = http_option_count,
        .config_size = sizeof(struct httpd_config),
        .check = http_options_check,
        .start = http_server_start,
        .stop = http_server_stop,
        .end_workers = http_server_end_workers,
        .destroy = http_server_destroy,
        .reload = http_server_reload,
        .health = http_server_health,
        .status = http_server_status,
        .reopen_logs = http_server_reopen_logs,
    };
    return daemon_run(&spec, argc, argv);
}
