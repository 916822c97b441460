/*
 * command_settings: the settings of the `reel` command: from its file, the environment and the command line, each overriding
 * the one before.
 */
#include "client/command/command_internal.h"

#include "common/config/config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SYSTEM_FILE "/etc/reelstore/reel.conf"
#define SYSTEM_KEYS "/etc/reelstore/reel.keys"

#define OPTION(name_, member_, type_, default_, minimum_, maximum_, help_)                                   \
    {                                                                                                        \
        .section = "client", .name = name_, .type = type_,                                                   \
        .offset = offsetof(struct command_settings, member_), .default_value = default_,                     \
        .minimum = minimum_, .maximum = maximum_, .help = help_                                              \
    }

static const struct config_option settings_options[] = {
    OPTION("trackers", trackers, CONFIG_STRING, "", 0, 0,
           "Trackers, separated by commas: host:port (without port: 21000). -t, REEL_TRACKERS."),
    OPTION("idservers", idservers, CONFIG_STRING, "", 0, 0,
           "ID servers, separated by commas: host:port (without port: 22000); for `doctor` only. "
           "REEL_IDSERVERS."),
    OPTION("application", application, CONFIG_STRING, "tnvideo", 0, 0,
           "Application ID of files: letters and digits. -a, REEL_APPLICATION."),
    OPTION("user", user, CONFIG_STRING, "", 0, 0, "User ID of files. -u, REEL_USER."),
    OPTION("http", http, CONFIG_STRING, "", 0, 0,
           "Address of an HTTP server, e.g. http://media1:8080, for links. --http, REEL_HTTP."),
    OPTION("tls_ca", tls_ca, CONFIG_STRING, "", 0, 0,
           "File or directory of the certificates that vouch for servers at tls://; empty: the system's. "
           "--tls-ca, "
           "REEL_TLS_CA."),
    OPTION("keys", keys, CONFIG_STRING, "", 0, 0,
           "Keys file (mode 0600) of this user, or ID@FILE for one key of it. REEL_KEYS."),
    OPTION("token_file", token_file, CONFIG_STRING, "", 0, 0,
           "File (mode 0600) with the token that an application gave; REEL_TOKEN is the token itself. "
           "REEL_TOKEN_FILE."),
    {.section = "client",
     .name = "auth",
     .type = CONFIG_CHOICE,
     .offset = offsetof(struct command_settings, auth),
     .default_value = "default",
     .choices = "default|off|prefer|required",
     .help = "Whether servers must prove that they know the key: required, which is the default with a key; "
             "prefer goes on "
             "with servers that cannot; off proves nothing. REEL_AUTH."},
    OPTION("connect_timeout", connect_timeout_ms, CONFIG_DURATION, "1s", 1, 3600000,
           "How long connecting to one server may take. --connect-timeout."),
    OPTION("timeout", timeout_ms, CONFIG_DURATION, "10s", 1, 3600000,
           "How long a server may take until its reply begins. --timeout."),
    OPTION("progress_timeout", progress_timeout_ms, CONFIG_DURATION, "30s", 1, 3600000,
           "How long a transfer may stand still. --progress-timeout."),
    OPTION("hedge_time", hedge_ms, CONFIG_DURATION, "300ms", 0, 3600000,
           "How long a tracker may take to answer before the next one is asked too; 0: never. --hedge-time."),
    OPTION("tries", tries, CONFIG_INTEGER, "10", 1, 1000,
           "Tries of an upload or download, over all servers. --tries."),
};

static const struct config_table settings_tables[] = {
    {.options = settings_options, .count = ARRAY_SIZE(settings_options)},
    {.options = NULL, .count = 0},
};

/* The file of settings: the one that is named, else the first that is there. NULL: none. */
static const char *settings_file(const char *named, char *buffer, size_t size)
{
    const char *config_home = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    int length = -1;

    if (!named || named[0] == '\0')
        named = getenv("REEL_CONFIG");
    if (named && named[0] != '\0')
        return named;
    if (config_home && config_home[0] == '/')
        length = snprintf(buffer, size, "%s/reel.conf", config_home);
    else if (home && home[0] == '/')
        length = snprintf(buffer, size, "%s/.config/reel.conf", home);
    if (length > 0 && (size_t)length < size && access(buffer, F_OK) == 0)
        return buffer;
    return access(SYSTEM_FILE, F_OK) == 0 ? SYSTEM_FILE : NULL;
}

static bool take_environment(struct command_line *line)
{
    static const struct {
        const char *variable, *name;
    } variables[] = {
        {"REEL_TRACKERS", "trackers"},
        {"REEL_APPLICATION", "application"},
        {"REEL_USER", "user"},
        {"REEL_IDSERVERS", "idservers"},
        {"REEL_HTTP", "http"},
        {"REEL_TLS_CA", "tls_ca"},
        {"REEL_KEYS", "keys"},
        {"REEL_AUTH", "auth"},
        {"REEL_TOKEN_FILE", "token_file"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(variables); i++) {
        const char *value = getenv(variables[i].variable);

        if (value && value[0] != '\0' && !command_line_default(line, variables[i].name, value))
            return false;
    }
    return true;
}

/* Beside the system's settings lies the key of this machine's administrator, where the installation made one. */
static bool take_system_keys(const char *file, struct command_settings *settings)
{
    const char *token = getenv("REEL_TOKEN");
    char *keys;

    if (!file || strcmp(file, SYSTEM_FILE) != 0 || settings->keys[0] != '\0' ||
        settings->token_file[0] != '\0' || (token && token[0] != '\0') || access(SYSTEM_KEYS, R_OK) != 0)
        return true;
    keys = strdup(SYSTEM_KEYS);
    if (!keys)
        return false;
    free(settings->keys);
    settings->keys = keys;
    return true;
}

int command_load_settings(struct command *command, struct command_line *line)
{
    char path[4096];
    const char *file = settings_file(command->options.config, path, sizeof(path));
    struct error error;

    if (!take_environment(line))
        return command_usage(&command->options, "no memory for the settings");
    if (config_load(settings_tables, file, (const char *const *)line->overrides, line->override_count,
                    &command->settings, &error))
        return take_system_keys(file, &command->settings)
                   ? COMMAND_OK
                   : command_usage(&command->options, "no memory for the settings");
    /* config_load() calls what was not in the file an override, -o: here it was an option or the
     * environment. */
    return strncmp(error.text, "-o ", 3) == 0 ? command_usage(&command->options, "setting %s", error.text + 3)
                                              : command_usage(&command->options, "%s", error.text);
}

void command_print_settings(void)
{
    printf("\nSettings in the file, under [client]:\n");
    config_help(settings_tables, stdout);
}

json_t *command_settings_json(void)
{
    return config_help_json(settings_tables);
}

void command_clear_settings(struct command_settings *settings)
{
    config_clear(settings_tables, settings);
}
