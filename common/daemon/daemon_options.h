/*
 * daemon_options: how a daemon was configured: its command line, and the configuration file named there, with
 * the options that every daemon has beside its own. Main thread; only daemon.c calls it.
 */
#ifndef REEL_COMMON_DAEMON_OPTIONS_H
#define REEL_COMMON_DAEMON_OPTIONS_H

#include "common/daemon/daemon.h"

/* The default of daemon.sandbox; a build for coverage, whose programs write beside their object files, has "off". */
#ifndef REEL_SANDBOX
#define REEL_SANDBOX "auto"
#endif

#ifndef REEL_VERSION
#define REEL_VERSION "unknown"
#endif

#define DAEMON_OPTION_COUNT 22

enum daemon_mode {
    DAEMON_RUN,
    DAEMON_CHECK_CONFIG,
    DAEMON_PRINT_CONFIG,
    DAEMON_INIT_DB,
    DAEMON_BACKUP,
    DAEMON_CHECKPOINT,
    DAEMON_HELP,
    DAEMON_HELP_MARKDOWN,
    DAEMON_HELP_JSON,
    DAEMON_VERSION,
};

struct daemon_options {
    const struct daemon_spec *spec;
    enum daemon_mode mode;
    bool daemonize;
    const char *backup_file;
    const char *config_file;
    bool config_file_given;
    char **overrides; /* owned, with their texts */
    size_t override_count;
    struct config_table tables[3];                    /* the daemon's own and the common ones */
    struct config_option common[DAEMON_OPTION_COUNT]; /* with this daemon's admin port as a default */
    char default_file[128], default_admin[64];
};

/* Reads the command line. The struct must not be moved afterwards. Cleared by daemon_options_clear(), on
 * failure too. */
MUST_CHECK bool daemon_options_parse(struct daemon_options *options, const struct daemon_spec *spec, int argc,
                                     char **argv, struct error *error);
void daemon_options_clear(struct daemon_options *options);

/* Prints what --help, --help-markdown, --help-json or --version ask for. */
void daemon_options_print(const struct daemon_options *options, FILE *out);

/* The configuration, checked, freed by daemon_options_free_config(); NULL on failure. Reads the file. */
MUST_CHECK void *daemon_options_load_config(const struct daemon_options *options, struct error *error);
/* NULL is ignored. */
void daemon_options_free_config(const struct daemon_options *options, void *config);

#endif
