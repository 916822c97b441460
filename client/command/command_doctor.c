/*
 * command_doctor: `reel doctor`: asks trackers, storage servers, ID servers and the HTTP server each by itself, looks
 * at what the trackers know, and says what is wrong and what mends it. A check is a line; the worst one is the
 * exit code.
 */
#include "client/command/command_internal.h"

#include "client/command/command_probe.h"
#include "common/base/clock.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TRACKER_PORT  21000
#define IDSERVER_PORT 22000
#define SPACE_PERCENT 5 /* less free space is a warning */
#define INODES_MIN    10000
#define CLOCK_SECONDS 5 /* further apart is a warning */

enum severity { WELL, NOTE, WARNING, CRITICAL };

struct doctor {
    struct command *command;
    json_t *findings; /* for --json */
    enum severity worst;
    json_t *status; /* of the first tracker that told; NULL: none */
};

static const struct {
    const char *word;
    enum command_colour colour;
} severities[] = {
    [WELL] = {"ok", COMMAND_GREEN},
    [NOTE] = {"note", COMMAND_PLAIN},
    [WARNING] = {"WARNING", COMMAND_YELLOW},
    [CRITICAL] = {"CRITICAL", COMMAND_RED},
};

/* One line. REMEDY (may be NULL): the command, or what else to do. */
static void doctor_finding(struct doctor *doctor, enum severity severity, const char *part,
                           const char *remedy, const char *format, ...) PRINTF_LIKE(5, 6);
static void doctor_finding(struct doctor *doctor, enum severity severity, const char *part,
                           const char *remedy, const char *format, ...)
{
    char text[1024], name[300], shown[1024];
    const char *plain = command_colour(stdout, COMMAND_PLAIN);
    va_list list;

    va_start(list, format);
    (void)vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    if (severity > doctor->worst)
        doctor->worst = severity;
    if (doctor->command->options.json) {
        (void)json_array_append_new(
            doctor->findings, json_pack("{s:s,s:o,s:o,s:o}", "severity", severities[severity].word, "part",
                                        command_json_text(part), "text", command_json_text(text), "remedy",
                                        remedy ? command_json_text(remedy) : json_null()));
        return;
    }
    (void)command_print(doctor->command, "%s%-8s%s  %-34s  %s\n",
                        command_colour(stdout, severities[severity].colour), severities[severity].word, plain,
                        command_printable(part, name, sizeof(name)),
                        command_printable(text, shown, sizeof(shown)));
    if (remedy)
        (void)command_print(doctor->command, "          -> %s\n", remedy);
}

static const char *doctor_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "";
}

static int64_t doctor_number(const json_t *object, const char *name)
{
    return (int64_t)json_integer_value(json_object_get(object, name));
}

/* ---- trackers ---- */

static char *ask_tracker(struct doctor *doctor, const char *address, int64_t *took_ms,
                         struct reel_error *error)
{
    const struct command_settings *settings = &doctor->command->settings;
    const struct reel_options options = {.trackers = address,
                                         .application = settings->application,
                                         .tls_ca = settings->tls_ca[0] != '\0' ? settings->tls_ca : NULL,
                                         .connect_timeout_ms = settings->connect_timeout_ms,
                                         .call_timeout_ms = settings->timeout_ms};
    struct reel *reel = reel_open(&options, error);
    int64_t begun = clock_monotonic_ms();
    char *text = reel ? reel_status(reel, error) : NULL;

    *took_ms = clock_monotonic_ms() - begun;
    reel_close(reel);
    return text;
}

static int64_t active_in(const json_t *status)
{
    int64_t active = 0;
    json_t *group;
    size_t i;

    json_array_foreach(json_object_get(status, "groups"), i, group) active += doctor_number(group, "active");
    return active;
}

static void check_tracker(struct doctor *doctor, const char *address)
{
    char part[320];
    struct reel_error error;
    int64_t took_ms;
    char *text = ask_tracker(doctor, address, &took_ms, &error);
    json_t *status;

    (void)snprintf(part, sizeof(part), "tracker %s", address);
    if (!text && (error.code == REEL_E_GENERAL || error.code == REEL_E_UNKNOWN_COMMAND)) {
        doctor_finding(doctor, NOTE, part, NULL, "answers, and is too old to say more");
        return;
    }
    if (!text) {
        doctor_finding(doctor, CRITICAL, part,
                       "on its host: systemctl status reel-tracker; journalctl -u reel-tracker", "%s",
                       error.text);
        return;
    }
    status = json_loads(text, 0, NULL);
    reel_free(text);
    doctor_finding(doctor, WELL, part, NULL, "answers in %" PRId64 " ms", took_ms);
    if (!json_is_array(json_object_get(status, "groups"))) {
        doctor_finding(doctor, WARNING, part, NULL, "its status names no groups");
        json_decref(status);
    } else if (!doctor->status) {
        doctor->status = status;
    } else {
        if (active_in(status) != active_in(doctor->status))
            doctor_finding(doctor, WARNING, part,
                           "compare `trackers` in reel-storage's configuration with the trackers that run",
                           "knows of %" PRId64 " active storage servers, another tracker of %" PRId64,
                           active_in(status), active_in(doctor->status));
        json_decref(status);
    }
}

static bool each_address(const char *text, uint16_t port, struct doctor *doctor,
                         void (*check)(struct doctor *doctor, const char *address), struct error *error)
{
    char address[ADDRESS_TEXT_SIZE];
    struct address_list addresses;

    if (!address_list_parse(text, port, &addresses, error))
        return false;
    for (size_t i = 0; i < addresses.count && atomic_load(&doctor->command->ended_by) == 0; i++)
        check(doctor, address_format(&addresses.items[i], address, sizeof(address)));
    address_list_clear(&addresses);
    return true;
}

/* ---- storage servers ---- */

/* A question that only a server whose database answers can answer: about a file that is not there. */
static void probe_storage(struct doctor *doctor, const char *part, const char *text)
{
    const struct command_settings *settings = &doctor->command->settings;
    struct proto_file_key key = {.user = "reel-doctor", .file = "reel-doctor"};
    uint8_t body[PROTO_FILE_KEY_SIZE];
    struct address address;
    struct error error;
    int code;

    (void)snprintf(key.application, sizeof(key.application), "%s", settings->application);
    if (!address_parse(text, 0, &address, &error) || !proto_file_key_pack(body, &key, &error)) {
        doctor_finding(doctor, WARNING, part, NULL, "%s", error.text);
        return;
    }
    if (!probe_packet(&address, PROTO_STORAGE_STAT, body, sizeof(body), settings->timeout_ms, &code, &error))
        doctor_finding(
            doctor, CRITICAL, part,
            "on its host: systemctl status reel-storage; else look for a firewall between here and there",
            "cannot be asked from here: %s", error.text);
    else if (code == ERROR_UNAUTHENTICATED) /* it asked nobody, and so did not learn how its database is */
        doctor_finding(doctor, WELL, part, NULL, "answers, and wants to know who asks");
    else if (code == ERROR_REFUSED)
        doctor_finding(doctor, WARNING, part, "`applications` in reel-storage's configuration, or -a", "%s",
                       error.text);
    else if (code == ERROR_UNAVAILABLE || code == ERROR_IO)
        doctor_finding(doctor, CRITICAL, part, "look at its database: journalctl -u reel-storage", "%s",
                       error.text);
    else
        doctor_finding(doctor, WELL, part, NULL, "answers, and so does its database");
}

static bool doctor_is_loopback(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strncmp(address, "[::1]", 5) == 0 ||
           strncmp(address, "localhost", 9) == 0;
}

static void check_space(struct doctor *doctor, const char *part, const json_t *load)
{
    int64_t capacity = doctor_number(load, "capacity"), free_bytes = doctor_number(load, "free");
    char size[32];

    if (capacity <= 0)
        return;
    if (free_bytes <= 0)
        doctor_finding(doctor, CRITICAL, part, "add space or a group: reel admin group add GROUP",
                       "is full: uploads are refused");
    else if (free_bytes < capacity / 100 * SPACE_PERCENT)
        doctor_finding(doctor, WARNING, part,
                       "add space, or send new users elsewhere: reel admin group drain GROUP",
                       "only %s free, %d%%", command_human((double)free_bytes, size, sizeof(size)),
                       (int)((double)free_bytes * 100 / (double)capacity));
    if (doctor_number(load, "free_inodes") < INODES_MIN)
        doctor_finding(doctor, WARNING, part, "df -i on its volume", "only %" PRId64 " inodes free",
                       doctor_number(load, "free_inodes"));
}

static void check_member(struct doctor *doctor, const json_t *server, bool remote)
{
    const char *address = doctor_text(server, "address"), *state = doctor_text(server, "state");
    const char *version = doctor_text(server, "version");
    const json_t *load = json_object_get(server, "load");
    char part[320];

    (void)snprintf(part, sizeof(part), "storage %s", address);
    if (strcmp(state, "ACTIVE") != 0)
        doctor_finding(doctor, CRITICAL, part,
                       "on its host: systemctl status reel-storage; journalctl -u reel-storage",
                       "is %s; last heard of %" PRId64 " s ago (host %s)", state,
                       doctor_number(server, "silent_ms") / 1000, doctor_text(server, "host"));
    else if (json_is_true(json_object_get(server, "suspect")))
        doctor_finding(doctor, WARNING, part, "look at the network and the load of its host",
                       "is late with its heartbeats");
    if (strcmp(doctor_text(load, "state"), "read-only") == 0)
        doctor_finding(doctor, WARNING, part, "journalctl -u reel-storage says why", "takes no uploads");
    else if (strcmp(doctor_text(load, "state"), "draining") == 0)
        doctor_finding(doctor, NOTE, part, NULL, "is about to stop");
    if (json_is_object(load) && strcmp(version, reel_version()) != 0 && strcmp(version, "1.0") != 0)
        doctor_finding(doctor, NOTE, part, NULL, "has version %s, this command %s", version, reel_version());
    if (json_is_object(load))
        check_space(doctor, part, load);
    if (remote && doctor_is_loopback(address))
        doctor_finding(doctor, CRITICAL, part,
                       "`trackers` in its configuration: the tracker's name in the network",
                       "is known by an address that means another machine here");
    else if (strcmp(state, "ACTIVE") == 0)
        probe_storage(doctor, part, address);
}

/* The tracker's clock, as far as it shows: when it last heard of a server, and how long ago that was. */
static void check_clock(struct doctor *doctor, const json_t *server)
{
    int64_t beat = doctor_number(server, "beat_time"), apart;

    if (beat <= 0)
        return;
    apart = beat + doctor_number(server, "silent_ms") / 1000 - (int64_t)time(NULL);
    if (apart > CLOCK_SECONDS || apart < -CLOCK_SECONDS)
        doctor_finding(doctor, WARNING, "clocks", "timedatectl, here and on the tracker's host",
                       "the tracker's clock is %" PRId64 " s %s of the one here", apart < 0 ? -apart : apart,
                       apart < 0 ? "behind" : "ahead");
    else
        doctor_finding(doctor, WELL, "clocks", NULL, "the tracker's and the one here agree");
}

static void check_group(struct doctor *doctor, const json_t *group, bool remote)
{
    json_t *members = json_object_get(group, "storages"), *server;
    const char *name = doctor_text(group, "name"), *state = doctor_text(group, "state");
    char part[64], remedy[128];
    size_t i;

    (void)snprintf(part, sizeof(part), "group %s", name);
    if (doctor_number(group, "active") == 0)
        doctor_finding(doctor, CRITICAL, part, "start a reel-storage with `group` set to this name",
                       "has no active storage server: its users' files cannot be read or stored");
    else
        doctor_finding(doctor, WELL, part, NULL, "%" PRId64 " of %zu storage servers are active",
                       doctor_number(group, "active"), json_array_size(members));
    (void)snprintf(remedy, sizeof(remedy), "reel admin group open %s, where new users shall come again",
                   name);
    if (strcmp(state, "draining") == 0)
        doctor_finding(doctor, NOTE, part, remedy, "gets no new users");
    (void)snprintf(remedy, sizeof(remedy), "reel admin group add %s", name);
    if (strcmp(state, "removed") == 0)
        doctor_finding(doctor, WARNING, part, remedy,
                       "is not in the trackers' database, and a server says it belongs to it");
    json_array_foreach(members, i, server) check_member(doctor, server, remote);
}

static void check_groups(struct doctor *doctor)
{
    json_t *groups = json_object_get(doctor->status, "groups"), *group;
    bool remote = !doctor_is_loopback(doctor->command->settings.trackers), clocked = false;
    size_t i;

    if (!doctor->status)
        return;
    if (json_array_size(groups) == 0)
        doctor_finding(doctor, CRITICAL, "groups",
                       "reel admin group add group001, and start a reel-storage of it",
                       "there is none: nothing can be stored");
    json_array_foreach(groups, i, group)
    {
        json_t *server = json_array_get(json_object_get(group, "storages"), 0);

        if (atomic_load(&doctor->command->ended_by) != 0)
            return;
        check_group(doctor, group, remote);
        if (!clocked && strcmp(doctor_text(server, "state"), "ACTIVE") == 0) {
            check_clock(doctor, server);
            clocked = true;
        }
    }
}

/* ---- ID servers, the HTTP server ---- */

/* A key that is refused: an answer that takes no number out of a sequence. */
static void check_idserver(struct doctor *doctor, const char *text)
{
    static const uint8_t no_key[PROTO_KEY_SIZE] = {0};
    char part[320];
    struct address address;
    struct error error;
    int code;

    (void)snprintf(part, sizeof(part), "idserver %s", text);
    if (address_parse(text, 0, &address, &error) &&
        probe_packet(&address, PROTO_IDSERVER_GET, no_key, sizeof(no_key),
                     doctor->command->settings.timeout_ms, &code, &error))
        doctor_finding(doctor, WELL, part, NULL, "answers");
    else
        doctor_finding(doctor, CRITICAL, part,
                       "on its host: systemctl status reel-idserver; journalctl -u reel-idserver", "%s",
                       error.text);
}

static void check_http(struct doctor *doctor, const char *base)
{
    const char *host = strstr(base, "://");
    char text[ADDRESS_TEXT_SIZE], part[ADDRESS_TEXT_SIZE + 16];
    struct address address;
    struct error error;
    int status;

    (void)snprintf(part, sizeof(part), "http %s", base);
    if (strncmp(base, "https:", 6) == 0) {
        doctor_finding(doctor, NOTE, part, NULL, "is not asked: https");
        return;
    }
    host = host ? host + 3 : base;
    (void)snprintf(text, sizeof(text), "%.*s", (int)strcspn(host, "/"), host);
    if (!address_parse(text, 80, &address, &error) ||
        !probe_health(&address, doctor->command->settings.timeout_ms, &status, &error))
        doctor_finding(doctor, CRITICAL, part,
                       "on its host: systemctl status reel-httpd; journalctl -u reel-httpd", "%s",
                       error.text);
    else if (status >= 500)
        doctor_finding(doctor, CRITICAL, part, "journalctl -u reel-httpd; its admin port's /healthz says why",
                       "answers with status %d", status);
    else
        doctor_finding(doctor, WELL, part, NULL, "answers");
}

int command_doctor(struct command *command)
{
    const struct command_settings *settings = &command->settings;
    struct doctor doctor = {.command = command, .findings = json_array()};
    struct error error;
    int result = COMMAND_OK;

    if (!each_address(settings->trackers, TRACKER_PORT, &doctor, check_tracker, &error) ||
        !each_address(settings->idservers, IDSERVER_PORT, &doctor, check_idserver, &error))
        result = command_usage(&command->options, "%s", error.text);
    if (settings->idservers[0] == '\0')
        doctor_finding(&doctor, NOTE, "ID servers", "--idservers LIST, or `idservers` under [client]",
                       "not asked");
    check_groups(&doctor);
    if (settings->http[0] != '\0')
        check_http(&doctor, settings->http);
    json_decref(doctor.status);
    if (command->options.json && result == COMMAND_OK)
        (void)command_print_json(command, json_pack("{s:s,s:O}", "worst", severities[doctor.worst].word,
                                                    "findings", doctor.findings));
    json_decref(doctor.findings);
    if (result == COMMAND_OK)
        result = doctor.worst == CRITICAL  ? COMMAND_UNAVAILABLE
                 : doctor.worst == WARNING ? COMMAND_FAILED
                                           : COMMAND_OK;
    return result;
}
