/*
 * command_doctor: `reel doctor`: asks trackers, storage servers, ID servers and the HTTP server each by itself and all at once, looks
 * at what the trackers know, at certificates, keys, clocks and versions, and says what is wrong and what mends it. A check is a
 * line; the worst one is the exit code.
 */
#include "client/command/command_check.h"

#include "client/command/command_probe.h"
#include "common/auth/keys_file.h"
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
#define DAY           86400
#define DAYS_LEFT     14  /* of a certificate or key; less is a warning */
#define KEY_DAYS      400 /* a key that is older should be followed by another one */
#define CHECKS_MAX    4096

struct doctor {
    struct command *command;
    json_t *findings;
    enum severity worst;
    json_t *status; /* of the first tracker that sent it; NULL: none */
    struct check *checks;
    size_t count;
    int64_t limit_ms;
};

/* Another one; NULL: there are too many. */
static struct check *doctor_add(struct doctor *doctor, void (*run)(struct check *check), const char *address)
{
    struct check *check = &doctor->checks[doctor->count];

    if (doctor->count == CHECKS_MAX)
        return NULL;
    doctor->count++;
    *check = (struct check){.command = doctor->command, .run = run, .limit_ms = doctor->limit_ms};
    (void)snprintf(check->address, sizeof(check->address), "%s", address);
    return check;
}

/* All that were added, at once. Their results stay in doctor->checks until the next one is added. */
static void doctor_run(struct doctor *doctor)
{
    enum severity worst = checks_run(doctor->checks, doctor->count, doctor->findings);

    if (worst > doctor->worst)
        doctor->worst = worst;
    doctor->count = 0;
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

/* ---- what all have: certificates, clocks, versions ---- */

/* Of whoever is asked under TLS. */
static void look_at_certificate(struct check *check, const char *part, const struct address *address)
{
    static const char remedy[] = "put the new one in its place, then on its host: systemctl reload reel-NAME";
    int64_t end = 0, left;
    struct error error;
    char text[COMMAND_TIME_SIZE];

    if (!probe_certificate(address, check->limit_ms, &end, &error)) {
        check_finding(check, WARNING, part, "openssl s_client -connect shows more",
                      "its certificate cannot be seen: %s", error.text);
        return;
    }
    left = end - (int64_t)time(NULL);
    if (end == 0)
        check_finding(check, WELL, part, NULL, "speaks TLS by keys, without a certificate");
    else if (left < 0)
        check_finding(check, CRITICAL, part, remedy, "its certificate ended at %s", command_time(end, text));
    else if (left < DAYS_LEFT * DAY)
        check_finding(check, WARNING, part, remedy, "its certificate ends at %s, in %" PRId64 " days",
                      command_time(end, text), left / DAY);
    else
        check_finding(check, WELL, part, NULL, "its certificate is good for %" PRId64 " days", left / DAY);
}

/* CLOCK: the time there, asked for between two looks at ours. */
static void look_at_clock(struct check *check, const char *part, int64_t clock, int64_t before, int64_t after)
{
    int64_t apart = clock > after ? clock - after : clock < before ? clock - before : 0;

    if (clock > 0 && (apart > CLOCK_SECONDS || apart < -CLOCK_SECONDS))
        check_finding(check, WARNING, part, "timedatectl, here and on its host",
                      "its clock is %" PRId64 " s %s the one here", apart < 0 ? -apart : apart,
                      apart < 0 ? "behind" : "ahead of");
}

static void look_at_version(struct check *check, const char *part, const char *version)
{
    if (version[0] != '\0' && strcmp(version, reel_version()) != 0 && strcmp(version, "1.0") != 0)
        check_finding(check, NOTE, part, NULL, "has version %s, this command %s", version, reel_version());
}

/* ---- trackers ---- */

static char *ask_tracker(const struct check *check, int64_t *took_ms, struct reel_error *error)
{
    const struct command_settings *settings = &check->command->settings;
    const struct reel_options options = {.trackers = check->address,
                                         .application = settings->application,
                                         .tls_ca = settings->tls_ca[0] != '\0' ? settings->tls_ca : NULL,
                                         .keys = settings->keys[0] != '\0' ? settings->keys : NULL,
                                         .auth = settings->auth,
                                         .tries = 1,
                                         .connect_timeout_ms =
                                             min_i64(settings->connect_timeout_ms, check->limit_ms),
                                         .call_timeout_ms = check->limit_ms};
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

static void check_tracker(struct check *check)
{
    char part[320];
    struct reel_error error;
    struct address address;
    struct error ignored;
    int64_t took_ms, before = (int64_t)time(NULL);
    char *text = ask_tracker(check, &took_ms, &error);

    (void)snprintf(part, sizeof(part), "tracker %s", check->address);
    if (address_parse(check->address, TRACKER_PORT, &address, &ignored) && address.tls)
        look_at_certificate(check, part, &address);
    if (!text && (error.code == REEL_E_GENERAL || error.code == REEL_E_UNKNOWN_COMMAND)) {
        check_finding(check, NOTE, part, NULL, "answers, but is too old to report more");
        return;
    }
    if (!text && error.code == REEL_E_UNAUTHENTICATED) {
        check_finding(check, CRITICAL, part,
                      "a key: REEL_KEYS=[ID@]FILE, or `keys` under [client] in the settings", "%s",
                      error.text);
        return;
    }
    if (!text) {
        check_finding(check, CRITICAL, part,
                      "on its host: systemctl status reel-tracker; journalctl -u reel-tracker", "%s",
                      error.text);
        return;
    }
    check->status = json_loads(text, 0, NULL);
    reel_free(text);
    check_finding(check, WELL, part, NULL, "answers in %" PRId64 " ms", took_ms);
    look_at_clock(check, part, doctor_number(check->status, "time"), before, (int64_t)time(NULL));
    look_at_version(check, part, doctor_text(check->status, "version"));
    if (!json_is_array(json_object_get(check->status, "groups"))) {
        check_finding(check, WARNING, part, NULL, "its status names no groups");
        json_decref(check->status);
        check->status = NULL;
    }
}

/* After all trackers were asked: the first one's status is looked at further, the others' are compared with it. */
static void take_statuses(struct doctor *doctor, size_t count)
{
    struct check compared = {.command = doctor->command, .findings = json_array()};

    for (size_t i = 0; i < count; i++) {
        struct check *check = &doctor->checks[i];
        char part[320];

        if (!check->status)
            continue;
        (void)snprintf(part, sizeof(part), "tracker %s", check->address);
        if (!doctor->status) {
            doctor->status = check->status;
            continue;
        }
        if (active_in(check->status) != active_in(doctor->status)) {
            check_finding(&compared, WARNING, part,
                          "compare `trackers` in reel-storage's configuration with the trackers that run",
                          "knows of %" PRId64 " active storage servers, another tracker of %" PRId64,
                          active_in(check->status), active_in(doctor->status));
            if (doctor->worst < WARNING)
                doctor->worst = WARNING;
        }
        json_decref(check->status);
    }
    (void)json_array_extend(doctor->findings, compared.findings);
    json_decref(compared.findings);
}

static bool each_address(const char *text, uint16_t port, struct doctor *doctor,
                         void (*run)(struct check *check), struct error *error)
{
    char address[ADDRESS_TEXT_SIZE];
    struct address_list addresses;

    if (!address_list_parse(text, port, &addresses, error))
        return false;
    for (size_t i = 0; i < addresses.count; i++)
        (void)doctor_add(doctor, run, address_format(&addresses.items[i], address, sizeof(address)));
    address_list_clear(&addresses);
    return true;
}

/* ---- storage servers ---- */

/* A question that only a server whose database answers can answer: about a file that is not there. */
static void probe_storage(struct check *check, const char *part, const char *text)
{
    const struct command_settings *settings = &check->command->settings;
    struct proto_file_key key = {.user = "reel-doctor", .file = "reel-doctor"};
    uint8_t body[PROTO_FILE_KEY_SIZE];
    struct address address;
    struct error error;
    int code;

    (void)snprintf(key.application, sizeof(key.application), "%s", settings->application);
    if (!address_parse(text, 0, &address, &error) || !proto_file_key_pack(body, &key, &error)) {
        check_finding(check, WARNING, part, NULL, "%s", error.text);
        return;
    }
    if (!probe_packet(&address, PROTO_STORAGE_STAT, body, sizeof(body), check->limit_ms, &code, &error))
        check_finding(
            check, CRITICAL, part,
            "on its host: systemctl status reel-storage; else look for a firewall between here and there",
            "cannot be asked from here: %s", error.text);
    else if (code == ERROR_UNAUTHENTICATED) /* it asked nobody, and so did not learn how its database is */
        check_finding(check, WELL, part, NULL, "answers, but requires a proof of identity");
    else if (code == ERROR_REFUSED)
        check_finding(check, WARNING, part, "`applications` in reel-storage's configuration, or -a", "%s",
                      error.text);
    else if (code == ERROR_UNAVAILABLE || code == ERROR_IO)
        check_finding(check, CRITICAL, part, "look at its database: journalctl -u reel-storage", "%s",
                      error.text);
    else
        check_finding(check, WELL, part, NULL, "answers, and so does its database");
}

static bool doctor_is_loopback(const char *address)
{
    if (strncmp(address, "tls://", 6) == 0)
        address += 6;
    return strncmp(address, "127.", 4) == 0 || strncmp(address, "[::1]", 5) == 0 ||
           strncmp(address, "localhost", 9) == 0;
}

static void check_space(struct check *check, const char *part, const json_t *load)
{
    int64_t capacity = doctor_number(load, "capacity"), free_bytes = doctor_number(load, "free");
    char size[32];

    if (capacity <= 0)
        return;
    if (free_bytes <= 0)
        check_finding(check, CRITICAL, part, "add space or a group: reel admin group add GROUP",
                      "is full: uploads are refused");
    else if (free_bytes < capacity / 100 * SPACE_PERCENT)
        check_finding(check, WARNING, part,
                      "add space, or send new users elsewhere: reel admin group drain GROUP",
                      "only %s free, %d%%", command_human((double)free_bytes, size, sizeof(size)),
                      (int)((double)free_bytes * 100 / (double)capacity));
    if (doctor_number(load, "free_inodes") < INODES_MIN)
        check_finding(check, WARNING, part, "df -i on its volume", "only %" PRId64 " inodes free",
                      doctor_number(load, "free_inodes"));
}

/* As the trackers see it, and as it is seen from here. */
static void check_member(struct check *check)
{
    const json_t *server = check->server;
    const char *address = doctor_text(server, "address"), *state = doctor_text(server, "state");
    const char *version = doctor_text(server, "version");
    const json_t *load = json_object_get(server, "load");
    char part[320];

    (void)snprintf(part, sizeof(part), "storage %s", address);
    if (strcmp(state, "ACTIVE") != 0)
        check_finding(check, CRITICAL, part,
                      "on its host: systemctl status reel-storage; journalctl -u reel-storage",
                      "is %s; last heard of %" PRId64 " s ago (host %s)", state,
                      doctor_number(server, "silent_ms") / 1000, doctor_text(server, "host"));
    else if (json_is_true(json_object_get(server, "suspect")))
        check_finding(check, WARNING, part, "look at the network and the load of its host",
                      "is late with its heartbeats");
    if (strcmp(doctor_text(load, "state"), "read-only") == 0)
        check_finding(check, WARNING, part, "journalctl -u reel-storage says why", "takes no uploads");
    else if (strcmp(doctor_text(load, "state"), "draining") == 0)
        check_finding(check, NOTE, part, NULL, "is about to stop");
    if (doctor_number(server, "clock_s") != 0)
        check_finding(check, WARNING, part, "timedatectl on its host, then restart it",
                      "its clock was %lld s %s the tracker's when it joined",
                      llabs((long long)doctor_number(server, "clock_s")),
                      doctor_number(server, "clock_s") > 0 ? "ahead of" : "behind");
    if (json_is_object(load))
        look_at_version(check, part, version);
    if (json_is_object(load))
        check_space(check, part, load);
    if (check->remote && doctor_is_loopback(address))
        check_finding(check, CRITICAL, part,
                      "`trackers` in its configuration: the tracker's name in the network",
                      "is known by an address that means another machine here");
    else if (strcmp(state, "ACTIVE") == 0) {
        const char *tls = doctor_text(server, "tls");
        struct address secure;
        struct error ignored;

        probe_storage(check, part, address);
        if (tls[0] != '\0' && address_parse(tls, 0, &secure, &ignored) && secure.tls)
            look_at_certificate(check, part, &secure);
    }
}

static void check_group(struct check *check)
{
    const json_t *group = check->server;
    const json_t *members = json_object_get(group, "storages");
    const char *name = doctor_text(group, "name"), *state = doctor_text(group, "state");
    char part[64], remedy[128];

    (void)snprintf(part, sizeof(part), "group %s", name);
    if (doctor_number(group, "active") == 0)
        check_finding(check, CRITICAL, part, "start a reel-storage with `group` set to this name",
                      "has no active storage server: its users' files cannot be read or stored");
    else
        check_finding(check, WELL, part, NULL, "%" PRId64 " of %zu storage servers are active",
                      doctor_number(group, "active"), json_array_size(members));
    (void)snprintf(remedy, sizeof(remedy), "reel admin group open %s, where new users shall come again",
                   name);
    if (strcmp(state, "draining") == 0)
        check_finding(check, NOTE, part, remedy, "gets no new users");
    (void)snprintf(remedy, sizeof(remedy), "reel admin group add %s", name);
    if (strcmp(state, "removed") == 0)
        check_finding(check, WARNING, part, remedy,
                      "is not in the trackers' database, but a storage server says it belongs to it");
}

static void check_no_group(struct check *check)
{
    check_finding(check, CRITICAL, "groups", "reel admin group add group001, and start a reel-storage of it",
                  "there is none: nothing can be stored");
}

static void check_no_open_group(struct check *check)
{
    check_finding(check, CRITICAL, "groups", "reel admin group open GROUP, or add another one",
                  "none is open for new users: they are refused");
}

/* The groups as the first tracker knows them, and each of their servers. */
static void add_groups(struct doctor *doctor)
{
    json_t *groups = json_object_get(doctor->status, "groups"), *group, *server;
    bool remote = !doctor_is_loopback(doctor->command->settings.trackers);
    struct check *check;
    bool open = false;
    size_t i, j;

    json_array_foreach(groups, i, group) open = open || command_group_takes_users(group);
    if (doctor->status && json_array_size(groups) == 0)
        (void)doctor_add(doctor, check_no_group, "");
    else if (doctor->status && !open)
        (void)doctor_add(doctor, check_no_open_group, "");
    json_array_foreach(groups, i, group)
    {
        if ((check = doctor_add(doctor, check_group, "")))
            check->server = group;
        json_array_foreach(json_object_get(group, "storages"), j, server)
        {
            if (!(check = doctor_add(doctor, check_member, "")))
                return;
            check->server = server;
            check->remote = remote;
        }
    }
}

/* ---- ID servers, the HTTP server ---- */

/* A key that is refused: an answer that takes no number out of a sequence. */
static void check_idserver(struct check *check)
{
    static const uint8_t no_key[PROTO_KEY_SIZE] = {0};
    char part[320];
    struct address address;
    struct error error;
    int code;

    (void)snprintf(part, sizeof(part), "idserver %s", check->address);
    if (address_parse(check->address, 0, &address, &error) && address.tls) {
        look_at_certificate(check, part, &address);
        return;
    }
    if (address.port != 0 &&
        probe_packet(&address, PROTO_IDSERVER_GET, no_key, sizeof(no_key), check->limit_ms, &code, &error))
        check_finding(check, WELL, part, NULL, "answers");
    else
        check_finding(check, CRITICAL, part,
                      "on its host: systemctl status reel-idserver; journalctl -u reel-idserver", "%s",
                      error.text);
}

static void check_http(struct check *check)
{
    const char *base = check->command->settings.http;
    const char *host = strstr(base, "://");
    char text[ADDRESS_TEXT_SIZE], part[ADDRESS_TEXT_SIZE + 16];
    struct address address;
    struct error error;
    int64_t clock = 0, before = (int64_t)time(NULL);
    bool secure = strncmp(base, "https:", 6) == 0;
    int status;

    (void)snprintf(part, sizeof(part), "http %s", base);
    host = host ? host + 3 : base;
    (void)snprintf(text, sizeof(text), "%.*s", (int)strcspn(host, "/"), host);
    if (address_parse(text, secure ? 443 : 80, &address, &error) && secure) {
        look_at_certificate(check, part, &address);
        return;
    }
    if (!address_parse(text, 80, &address, &error) ||
        !probe_health(&address, check->limit_ms, &status, &clock, &error))
        check_finding(check, CRITICAL, part,
                      "on its host: systemctl status reel-httpd; journalctl -u reel-httpd", "%s", error.text);
    else if (status >= 500)
        check_finding(check, CRITICAL, part, "journalctl -u reel-httpd; its admin port's /healthz says why",
                      "answers with status %d", status);
    else
        check_finding(check, WELL, part, NULL, "answers");
    look_at_clock(check, part, clock, before, (int64_t)time(NULL));
}

/* ---- our own keys ---- */

static void look_at_key(struct check *check, const struct key *key, const char *file)
{
    static const char remedy[] = "reel auth new-key makes another one; docs/security.md, on changing keys";
    int64_t now = (int64_t)time(NULL);
    char part[320];

    (void)snprintf(part, sizeof(part), "key %s of %s", key->id, file);
    if (key->until <= now)
        check_finding(check, WARNING, part, remedy, "ended %" PRId64 " days ago", (now - key->until) / DAY);
    else if (key->until != INT64_MAX && key->until - now < DAYS_LEFT * DAY)
        check_finding(check, WARNING, part, remedy, "ends in %" PRId64 " days", (key->until - now) / DAY);
    else if (key->from != INT64_MIN && now - key->from > KEY_DAYS * (int64_t)DAY)
        check_finding(check, NOTE, part, remedy, "is %" PRId64 " days old", (now - key->from) / DAY);
    else
        check_finding(check, WELL, part, NULL, "is good");
}

static void check_keys(struct check *check)
{
    char id[KEY_ID_SIZE];
    const char *file = keys_setting_split(check->command->settings.keys, id);
    struct error error;
    struct keys *keys = keys_load(file, &error);

    if (!keys) {
        check_finding(check, CRITICAL, "keys", "chmod 600, or REEL_KEYS", "%s", error.text);
        return;
    }
    for (size_t i = 0; i < keys->count; i++) {
        if (id[0] == '\0' || strcmp(keys->items[i].id, id) == 0)
            look_at_key(check, &keys->items[i], file);
    }
    keys_release(keys);
}

static void check_no_idservers(struct check *check)
{
    check_finding(check, NOTE, "ID servers", "--idservers LIST, or `idservers` under [client]", "not asked");
}

/* ---- the command ---- */

/* All questions take twice as long at most: first to those who are configured, then to those whom the trackers
 * name. */
static int64_t limit_of_question(const struct command *command)
{
    int64_t limit_ms = min_i64(command->settings.timeout_ms, CHECK_LIMIT_MS), max_ms = 0;

    if (command->options.max_time && command_parse_duration(command->options.max_time, &max_ms) && max_ms > 0)
        limit_ms = max_i64(min_i64(limit_ms, max_ms * 2 / 5), 1);
    return limit_ms;
}

/* False: an address is wrong, as ERROR says. */
static bool doctor_examine(struct doctor *doctor, struct error *error)
{
    const struct command_settings *settings = &doctor->command->settings;

    if (!each_address(settings->trackers, TRACKER_PORT, doctor, check_tracker, error))
        return false;
    size_t trackers = doctor->count;
    if (!each_address(settings->idservers, IDSERVER_PORT, doctor, check_idserver, error))
        return false;
    if (settings->idservers[0] == '\0')
        (void)doctor_add(doctor, check_no_idservers, "");
    if (settings->keys[0] != '\0')
        (void)doctor_add(doctor, check_keys, "");
    if (settings->http[0] != '\0')
        (void)doctor_add(doctor, check_http, "");
    doctor_run(doctor);
    take_statuses(doctor, trackers);
    if (atomic_load(&doctor->command->ended_by) == 0) {
        add_groups(doctor);
        doctor_run(doctor);
    }
    return true;
}

int command_doctor(struct command *command)
{
    struct doctor doctor = {.command = command,
                            .findings = json_array(),
                            .checks = calloc(CHECKS_MAX, sizeof(*doctor.checks)),
                            .limit_ms = limit_of_question(command)};
    struct error error;
    int result = COMMAND_OK;

    if (!doctor.checks || !doctor.findings)
        result = command_usage(&command->options, "no memory");
    else if (!doctor_examine(&doctor, &error))
        result = command_usage(&command->options, "%s", error.text);
    else if (command->options.json)
        (void)command_print_json(command, json_pack("{s:s,s:O}", "worst", severity_word(doctor.worst),
                                                    "findings", doctor.findings));
    else
        checks_print(command, doctor.findings);
    json_decref(doctor.status);
    json_decref(doctor.findings);
    free(doctor.checks);
    if (result == COMMAND_OK)
        result = doctor.worst == CRITICAL  ? COMMAND_UNAVAILABLE
                 : doctor.worst == WARNING ? COMMAND_FAILED
                                           : COMMAND_OK;
    return result;
}
