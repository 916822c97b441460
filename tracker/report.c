/*
 * report: a snapshot of the table as the text of GROUPS and as the JSON of STATUS.
 */
#include "tracker/report.h"
#include "common/base/clock.h"
#include "tracker/selection.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TIME_TEXT_SIZE 32

/* As ctime(3), without its newline; "-" for what it could not print in 24 characters. */
static const char *time_text(int64_t seconds, char buffer[TIME_TEXT_SIZE])
{
    const int64_t last = INT64_C(253402214400); /* 9999-12-31 */
    time_t value = (time_t)seconds;
    struct tm fields;
    if (seconds < 0 || seconds >= last || !localtime_r(&value, &fields) ||
        strftime(buffer, TIME_TEXT_SIZE, "%a %b %e %H:%M:%S %Y", &fields) == 0)
        snprintf(buffer, TIME_TEXT_SIZE, "-");
    return buffer;
}

/* A peer's text with what is not printable ASCII as '?': one line stays one line, and JSON stays UTF-8. */
static const char *clean_text(const char *text, char *buffer, size_t size)
{
    size_t length = 0;
    for (; text[length] != '\0' && length + 1 < size; length++) {
        unsigned char c = (unsigned char)text[length];
        buffer[length] = c >= 0x20 && c < 0x7f ? (char)c : '?';
    }
    buffer[length] = '\0';
    return buffer;
}

static void print_server(FILE *out, const struct table_server *server)
{
    char text[PROTO_HOST_SIZE], address[ADDRESS_TEXT_SIZE], time[TIME_TEXT_SIZE];
    fprintf(out, "\n%24s: %s", "VERSION", clean_text(server->version, text, sizeof(text)));
    fprintf(out, "\n%24s: %s", "HOSTNAME", clean_text(server->host, text, sizeof(text)));
    fprintf(out, "\n%24s: %s", "ADDRESS", address_format(&server->address, address, sizeof(address)));
    fprintf(out, "\n%24s: %s", "STARTUP TIME", time_text(server->start_time, time));
    fprintf(out, "\n%24s: %s", "JOIN TIME", time_text(server->join_time, time));
    fprintf(out, "\n%24s: %s", "BEAT TIME", time_text(server->beat_time, time));
    fprintf(out, "\n%24s: %s", "STATUS", table_state_name(server->state));
}

char *report_groups(const struct table_snapshot *snapshot, size_t *size)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    if (!out)
        return NULL;
    fprintf(out, "%24s: %zu", "COUNT OF GROUPS", snapshot->group_count);
    for (size_t i = 0; i < snapshot->group_count; i++) {
        const struct table_group *group = &snapshot->groups[i];
        fprintf(out, "\n%24s: %s", "GROUPNAME", group->row.name);
        fprintf(out, "\n%24s: %zu", "COUNT OF STORAGES", group->server_count);
        fprintf(out, "\n%24s: %zu", "COUNT OF ACTIVE STORAGES", group->active_count);
        for (size_t j = 0; j < group->server_count; j++)
            print_server(out, &group->servers[j]);
    }
    bool failed = ferror(out) != 0;
    if (fclose(out) != 0 || failed) {
        free(text);
        return NULL;
    }
    *size = length + 1; /* open_memstream() keeps a NUL behind the text */
    return text;
}

static const char *load_state_name(uint8_t state)
{
    switch ((enum proto_load_state)state) {
    case PROTO_LOAD_READY:
        return "ready";
    case PROTO_LOAD_BUSY:
        return "busy";
    case PROTO_LOAD_READ_ONLY:
        return "read-only";
    case PROTO_LOAD_DRAINING:
        return "draining";
    }
    return "unknown";
}

static json_t *load_json(const struct table_server *server)
{
    const struct proto_load *load = &server->load;
    if (!server->has_load)
        return json_null();
    return json_pack("{s:s, s:I, s:I, s:I, s:i, s:i, s:i, s:I, s:i}", "state", load_state_name(load->state),
                     "capacity", (json_int_t)load->capacity, "free", (json_int_t)load->free, "free_inodes",
                     (json_int_t)load->free_inodes, "connections", (int)load->connections, "uploads",
                     (int)load->uploads, "requests", (int)load->requests, "trash", (json_int_t)load->trash,
                     "damaged", (int)load->damaged);
}

/* Its address for TLS; null: none. */
static json_t *tls_json(const struct table_server *server)
{
    char text[ADDRESS_TEXT_SIZE];
    const struct address address = selection_address(server, true);
    return address.tls ? json_string(address_format(&address, text, sizeof(text))) : json_null();
}

static json_t *server_json(const struct table_server *server)
{
    char host[PROTO_HOST_SIZE], version[PROTO_VERSION_SIZE], address[ADDRESS_TEXT_SIZE];
    return json_pack("{s:s, s:s, s:s, s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "host",
                     clean_text(server->host, host, sizeof(host)), "address",
                     address_format(&server->address, address, sizeof(address)), "version",
                     clean_text(server->version, version, sizeof(version)), "state",
                     table_state_name(server->state), "suspect", (int)server->suspect, "start_time",
                     (json_int_t)server->start_time, "join_time", (json_int_t)server->join_time, "beat_time",
                     (json_int_t)server->beat_time, "silent_ms", (json_int_t)server->silent_ms, "clock_s",
                     (json_int_t)server->clock_s, "tls", tls_json(server), "load", load_json(server));
}

static json_t *group_json(const struct table_group *group)
{
    json_t *storages = json_array();
    for (size_t i = 0; i < group->server_count; i++) {
        if (json_array_append_new(storages, server_json(&group->servers[i])) != 0) {
            json_decref(storages);
            return NULL;
        }
    }
    const char *state = !group->known ? "removed" : group->row.draining ? "draining" : "open";
    return json_pack("{s:s, s:s, s:I, s:I, s:o}", "name", group->row.name, "state", state, "weight",
                     (json_int_t)group->row.weight, "active", (json_int_t)group->active_count, "storages",
                     storages);
}

json_t *report_status(const struct table_snapshot *snapshot)
{
    json_t *groups = json_array();
    for (size_t i = 0; i < snapshot->group_count; i++) {
        if (json_array_append_new(groups, group_json(&snapshot->groups[i])) != 0) {
            json_decref(groups);
            return NULL;
        }
    }
    return json_pack("{s:o, s:I, s:s}", "groups", groups, "time", (json_int_t)clock_wall_seconds(), "version",
                     REEL_VERSION);
}
