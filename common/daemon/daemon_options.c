/*
 * daemon_options: the common rows of every daemon's table of options, getopt_long(3), and what --help prints.
 */
#include "common/daemon/daemon_options.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct config_option common_options[] = {
    {"daemon", "pid_file", CONFIG_STRING, offsetof(struct daemon_config, pid_file), "", 0, 0, NULL, false,
     "File that holds the process id while the daemon runs, locked so that a second one cannot start; empty "
     "for none."},
    {"daemon", "user", CONFIG_STRING, offsetof(struct daemon_config, user), "", 0, 0, NULL, false,
     "User to become once the ports are bound, when started as root; empty to keep the user that started "
     "it."},
    {"daemon", "loops", CONFIG_INTEGER, offsetof(struct daemon_config, loops), "0", 0, 256, NULL, false,
     "Event-loop threads; 0 for one per processor core."},
    {"daemon", "stop_timeout", CONFIG_DURATION, offsetof(struct daemon_config, stop_timeout_ms), "30s", 0,
     3600000, NULL, true, "How long transfers in progress may continue after SIGTERM."},
    {"daemon", "open_files", CONFIG_INTEGER, offsetof(struct daemon_config, open_files), "65536", 0, 1 << 30,
     NULL, false, "Limit of open files to ask the system for (RLIMIT_NOFILE); 0 to leave it as it is."},
    {"daemon", "sandbox", CONFIG_CHOICE, offsetof(struct daemon_config, sandbox), REEL_SANDBOX, 0, 0,
     "auto|off|required", false,
     "Whether the daemon gives up the right to open files that it has no use for (Landlock). auto: where the "
     "kernel can, with a warning where it cannot; required: no start without."},
    {"log", "file", CONFIG_STRING, offsetof(struct daemon_config, log_file), "", 0, 0, NULL, false,
     "Log file, reopened on SIGHUP and SIGUSR1; empty for stderr (the journal, under systemd)."},
    {"log", "level", CONFIG_CHOICE, offsetof(struct daemon_config, log_level), "info", 0, 0,
     "debug|info|warning|error", true, "The least severe lines that are written."},
    {"admin", "listen", CONFIG_ADDRESSES, offsetof(struct daemon_config, admin_listen), "", 0, 0, NULL, false,
     "Addresses of the HTTP port for operators (/metrics, /healthz, /status); private ones only, because it "
     "does not authenticate. Empty for none."},
    {"admin", "hosts", CONFIG_STRINGS, offsetof(struct daemon_config, admin_hosts), "", 0, 0, NULL, false,
     "Host names by which requests may call that port, besides addresses and localhost; * for any. Empty: "
     "any "
     "where listen has an address that others reach, none where all are loopback addresses. Others are "
     "answered "
     "421, so that a web page that gives this host a name of its own (DNS rebinding) reads nothing."},
    {"tls", "cert", CONFIG_STRINGS, offsetof(struct daemon_config, tls.certificates), "", 0, 0, NULL, true,
     "Files with this server's certificate in PEM, followed by those that vouch for it. Several for several "
     "names: a client gets the first one that has the name it asks for, else the first. SIGHUP reads them "
     "again."},
    {"tls", "key", CONFIG_STRINGS, offsetof(struct daemon_config, tls.keys), "", 0, 0, NULL, true,
     "Files with their private keys, in the same order; empty where the keys are in the files of cert."},
    {"tls", "ca", CONFIG_STRING, offsetof(struct daemon_config, tls.ca), "", 0, 0, NULL, true,
     "File or directory of the certificates that vouch for others: for servers that this one calls at tls:// "
     "addresses, and with verify = peer for clients that connect. Empty for those of the system."},
    {"tls", "verify", CONFIG_CHOICE, offsetof(struct daemon_config, tls.verify), "none", 0, 0, "none|peer",
     true, "peer: clients of listen_tls must present a certificate that ca vouches for."},
    {"tls", "expiry_warning", CONFIG_DURATION, offsetof(struct daemon_config, tls.expiry_warning_ms), "14d",
     0, INT64_C(3650) * 86400000, NULL, true,
     "/healthz reports degraded when a certificate of cert expires within this time."},
    {"audit", "file", CONFIG_STRING, offsetof(struct daemon_config, audit_file), "", 0, 0, NULL, false,
     "File that records who did what: one JSON object per line, mode 0600, linked by a chain that `reel auth "
     "audit-verify` checks (docs/security.md); reopened on SIGHUP and SIGUSR1. Empty for none."},
    {"audit", "required", CONFIG_BOOL, offsetof(struct daemon_config, audit_required), "no", 0, 0, NULL,
     false,
     "Whether requests that must be audited are refused as unavailable while the audit file cannot be "
     "written; otherwise lost events are counted."},
    {"auth", "mode", CONFIG_CHOICE, offsetof(struct daemon_config, auth_mode), "prefer", 0, 0, AUTH_MODES,
     true,
     "Who may ask for what: required admits nobody, and uses no server, without a proof of identity; prefer "
     "proves identities where the other end can, and refuses nobody; off ignores identities. See "
     "docs/security.md."},
    {"auth", "keys", CONFIG_STRING, offsetof(struct daemon_config, auth_keys), "", 0, 0, NULL, false,
     "Keys file (mode 0600), read again on SIGHUP; `reel auth new-key` makes keys. A name without a slash is "
     "a systemd credential (LoadCredential=). Empty: no identities, which required does not allow."},
    {"auth", "identity", CONFIG_STRING, offsetof(struct daemon_config, auth_identity), "", 0, 0, NULL, true,
     "ID of this daemon's own key in that file; empty: the only one there with this daemon's role."},
    {"auth", "legacy_addresses", CONFIG_STRINGS, offsetof(struct daemon_config, auth_legacy), "", 0, 0, NULL,
     true,
     "Addresses and networks (192.0.2.7, 10.0.0.0/8) that may use the commands of the base set without a "
     "proof: older "
     "programs that do not support sessions. Only for networks whose hosts are all trusted."},
    {"auth", "session_time", CONFIG_DURATION, offsetof(struct daemon_config, auth_session_ms), "1h", 1000,
     30 * 86400000LL, NULL, true, "How long a proof is valid on its connection; after that it is renewed."},
};

#define ANSWERING_OPTIONS 2 /* the last rows */

_Static_assert(ARRAY_SIZE(common_options) == DAEMON_OPTION_COUNT, "the table has grown");

static void build_tables(struct daemon_options *options)
{
    const struct daemon_spec *spec = options->spec;

    (void)snprintf(options->default_file, sizeof(options->default_file), "/etc/reelstore/%s.conf",
                   spec->name);
    options->config_file = options->default_file;
    memcpy(options->common, common_options, sizeof(common_options));
    if (spec->admin_port != 0)
        (void)snprintf(options->default_admin, sizeof(options->default_admin), "127.0.0.1:%u",
                       spec->admin_port);
    for (size_t i = 0; i < ARRAY_SIZE(options->common); i++) {
        if (options->common[i].type != CONFIG_ADDRESSES)
            continue;
        options->common[i].default_value = options->default_admin;
        options->common[i].minimum = spec->admin_port;
    }
    options->tables[0] = (struct config_table){spec->options, spec->option_count};
    options->tables[1] = (struct config_table){options->common, ARRAY_SIZE(options->common)};
    if (spec->role == KEY_ROLE_GATEWAY) /* it asks for no proof */
        options->tables[1].count -= ANSWERING_OPTIONS;
}

/* The command line. VALUE is what long_options() gives back: the letter, or 256 and the mode. */
static const struct command_option {
    const char *name;
    char letter;
    int value;
    const char *argument, *help;
} command_options[] = {
    {"config", 'c', 'c', "FILE", "configuration file"},
    {"option", 'o', 'o', "S.N=V", "one option (SECTION.NAME=VALUE), overriding the file; may be repeated"},
    {"daemonize", 'd', 'd', NULL, "go into the background once ready (needs [log] file)"},
    {"check-config", 0, 256 + DAEMON_CHECK_CONFIG, NULL, "check the configuration and exit"},
    {"print-config", 0, 256 + DAEMON_PRINT_CONFIG, NULL,
     "print the configuration with every default and exit"},
    {"init-db", 0, 256 + DAEMON_INIT_DB, NULL, "create what is missing in the database and exit"},
    {"backup", 0, 256 + DAEMON_BACKUP, "FILE", "copy the SQLite database, even while it is in use, and exit"},
    {"checkpoint", 0, 256 + DAEMON_CHECKPOINT, NULL,
     "reel-storage: replay what a crash left in the upload journal, empty it, and exit"},
    {"help", 'h', 'h', NULL, "this text"},
    {"help-markdown", 0, 256 + DAEMON_HELP_MARKDOWN, NULL, "the options of the file as Markdown tables"},
    {"help-json", 0, 256 + DAEMON_HELP_JSON, NULL, "all options as JSON"},
    {"version", 0, 256 + DAEMON_VERSION, NULL, "the version"},
};

static void print_command_options(const struct daemon_options *options, FILE *out)
{
    for (size_t i = 0; i < ARRAY_SIZE(command_options); i++) {
        const struct command_option *option = &command_options[i];
        char text[40], letter[8] = "    ";

        if (option->letter)
            (void)snprintf(letter, sizeof(letter), "-%c, ", option->letter);
        (void)snprintf(text, sizeof(text), "%s--%s %s", letter, option->name,
                       option->argument ? option->argument : "");
        (void)fprintf(out, "  %-22s %s", text, option->help);
        if (option->letter == 'c')
            (void)fprintf(out, " (default %s)", options->default_file);
        (void)fputc('\n', out);
    }
}

static void daemon_print_help(const struct daemon_options *options, FILE *out)
{
    const char *name = options->spec->name;

    (void)fprintf(out, "reel-%s: %s\n\nUsage: reel-%s [-c FILE] [-o SECTION.NAME=VALUE]... [-d]\n\n", name,
                  options->spec->summary, name);
    print_command_options(options, out);
    (void)fprintf(
        out, "\nSignals: SIGTERM, SIGINT finish what is under way and end (a second one ends at once);\n"
             "SIGHUP reloads the configuration and reopens the log files; SIGUSR1 only the latter.\n"
             "Exit codes: 0 fine, 1 could not start or failed, 2 wrong command line or configuration.\n\n"
             "Options of the configuration file:\n\n");
    config_help(options->tables, out);
}

static void daemon_print_json(const struct daemon_options *options, FILE *out)
{
    json_t *rows = json_array(), *all;

    for (size_t i = 0; i < ARRAY_SIZE(command_options); i++) {
        const struct command_option *option = &command_options[i];
        const char letter[] = {option->letter, '\0'};

        (void)json_array_append_new(rows,
                                    json_pack("{s:s, s:s, s:s?, s:s}", "name", option->name, "letter", letter,
                                              "argument", option->argument, "help", option->help));
    }
    all = json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}", "name", options->spec->name, "summary",
                    options->spec->summary, "version", REEL_VERSION, "file", options->default_file,
                    "command_line", rows, "options", config_help_json(options->tables));
    (void)json_dumpf(all, out, JSON_INDENT(1));
    (void)fputc('\n', out);
    json_decref(all);
}

void daemon_options_print(const struct daemon_options *options, FILE *out)
{
    if (options->mode == DAEMON_HELP)
        daemon_print_help(options, out);
    else if (options->mode == DAEMON_HELP_MARKDOWN)
        config_help_markdown(options->tables, out);
    else if (options->mode == DAEMON_HELP_JSON)
        daemon_print_json(options, out);
    else
        (void)fprintf(out, "reel-%s %s\n", options->spec->name, REEL_VERSION);
}

/* A database's URL may have a password, which `ps` would show to everybody for as long as the daemon runs. */
static bool take_override(struct daemon_options *options, char *argument)
{
    static const char secret[] = "database.url=";
    char *copy = strdup(argument);

    if (!copy)
        return false;
    options->overrides[options->override_count++] = copy;
    if (strncmp(argument, secret, strlen(secret)) == 0 && strchr(argument, '@'))
        memset(argument + strlen(secret), '*', strlen(argument) - strlen(secret));
    return true;
}

static bool parse_command_line(struct daemon_options *options, int argc, char **argv, struct error *error)
{
    struct option long_options[ARRAY_SIZE(command_options) + 1] = {0};
    int letter;

    for (size_t i = 0; i < ARRAY_SIZE(command_options); i++)
        long_options[i] = (struct option){command_options[i].name,
                                          command_options[i].argument ? required_argument : no_argument, NULL,
                                          command_options[i].value};
    optind = 0; /* from the beginning, also the second time in one process */
    opterr = 0;
    while ((letter = getopt_long(argc, argv, ":c:o:dh", long_options, NULL)) != -1) {
        const char *word = optind >= 1 && optind <= argc ? argv[optind - 1] : "";
        switch (letter) {
        case 'c':
            options->config_file = optarg;
            options->config_file_given = true;
            break;
        case 'o':
            if (!take_override(options, optarg))
                return error_set(error, ERROR_UNAVAILABLE, "out of memory");
            break;
        case 'd':
            options->daemonize = true;
            break;
        case 'h':
            options->mode = DAEMON_HELP;
            break;
        case ':':
            return error_set(error, ERROR_MALFORMED, "%s needs a value; see --help", word);
        case '?':
            return error_set(error, ERROR_MALFORMED, "unknown option %s; see --help", word);
        default:
            options->mode = (enum daemon_mode)(letter - 256);
            if (options->mode == DAEMON_BACKUP)
                options->backup_file = optarg;
        }
    }
    if (optind < argc)
        return error_set(error, ERROR_MALFORMED, "\"%s\" is not an option; see --help", argv[optind]);
    return true;
}

bool daemon_options_parse(struct daemon_options *options, const struct daemon_spec *spec, int argc,
                          char **argv, struct error *error)
{
    memset(options, 0, sizeof(*options));
    options->spec = spec;
    build_tables(options);
    options->overrides = calloc((size_t)argc + 1, sizeof(*options->overrides));
    if (!options->overrides)
        return error_set(error, ERROR_UNAVAILABLE, "out of memory");
    return parse_command_line(options, argc, argv, error);
}

void daemon_options_clear(struct daemon_options *options)
{
    for (size_t i = 0; i < options->override_count; i++)
        free(options->overrides[i]);
    free(options->overrides);
    options->overrides = NULL;
    options->override_count = 0;
}

void *daemon_options_load_config(const struct daemon_options *options, struct error *error)
{
    void *config = calloc(1, options->spec->config_size);

    if (!config) {
        error_set(error, ERROR_UNAVAILABLE, "out of memory");
        return NULL;
    }
    if (!config_load(options->tables, options->config_file, (const char *const *)options->overrides,
                     options->override_count, config, error)) {
        if (!options->config_file_given && access(options->config_file, F_OK) != 0)
            error_set(error, error->code, "%s; -c FILE names another", error->text);
        goto fail;
    }
    if (options->spec->check && !options->spec->check(config, error)) {
        error_set(error, error->code, "%s: %s", options->config_file, error->text);
        config_clear(options->tables, config);
        goto fail;
    }
    return config;
fail:
    free(config);
    return NULL;
}

void daemon_options_free_config(const struct daemon_options *options, void *config)
{
    if (!config)
        return;
    config_clear(options->tables, config);
    free(config);
}
