/*
 * daemon_sandbox: three lists of paths (the system's, the options', the daemon's own) go into a sandbox, which is entered.
 */
#include "common/daemon/daemon_sandbox.h"

#include "common/base/log.h"
#include "common/daemon/sandbox.h"
#include <stdlib.h>
#include <string.h>

/* What libraries read, some of it only when it is needed: name look-up, time zones, plug-ins of the database's client, libmagic's
 * database, certificates; the kernel's own files. */
static const char *const system_reads[] = {"/usr", "/lib", "/lib64", "/etc", "/proc", "/sys", "/dev", "/run"};

static bool allow_system(struct sandbox *sandbox, struct error *error)
{
    const char *credentials = getenv("CREDENTIALS_DIRECTORY");
    for (size_t i = 0; i < ARRAY_SIZE(system_reads); i++) {
        if (!sandbox_allow(sandbox, system_reads[i], SANDBOX_READ, error))
            return false;
    }
    return sandbox_allow(sandbox, "/dev/null", SANDBOX_WRITE, error) &&
           (!credentials || sandbox_allow(sandbox, credentials, SANDBOX_READ, error));
}

/* Every file that an option names may be read, and replaced by whoever edits it: a reload reads it again. */
static bool allow_options(struct sandbox *sandbox, const struct daemon_options *options, const void *config,
                          struct error *error)
{
    for (const struct config_table *table = options->tables; table->options; table++) {
        for (size_t i = 0; i < table->count; i++) {
            const struct config_option *option = &table->options[i];
            if (option->type != CONFIG_STRING)
                continue;
            const char *value;
            memcpy(&value, (const char *)config + option->offset, sizeof(value));
            if (value[0] == '/' && !sandbox_allow_around(sandbox, value, SANDBOX_READ, error))
                return false;
        }
    }
    return sandbox_allow_around(sandbox, options->config_file, SANDBOX_READ, error);
}

static bool allow_list(struct sandbox *sandbox, const struct config_strings *files, struct error *error)
{
    for (size_t i = 0; i < files->count; i++) {
        if (!sandbox_allow_around(sandbox, files->items[i], SANDBOX_READ, error))
            return false;
    }
    return true;
}

static bool allow_all(struct sandbox *sandbox, const struct daemon_options *options,
                      const struct daemon_config *config, struct error *error)
{
    const char *const writes[] = {config->log_file, config->pid_file, config->audit_file};
    for (size_t i = 0; i < ARRAY_SIZE(writes); i++) {
        if (writes[i] && writes[i][0] != '\0' &&
            !sandbox_allow_around(sandbox, writes[i], SANDBOX_WRITE, error))
            return false;
    }
    return allow_system(sandbox, error) && allow_options(sandbox, options, config, error) &&
           allow_list(sandbox, &config->tls.certificates, error) &&
           allow_list(sandbox, &config->tls.keys, error) &&
           (!options->spec->confine || options->spec->confine(config, sandbox, error));
}

bool daemon_sandbox_enter(const struct daemon_options *options, const struct daemon_config *config,
                          bool *confined, struct error *error)
{
    struct sandbox sandbox;
    struct error cause;
    *confined = false;
    if (config->sandbox == DAEMON_SANDBOX_OFF) {
        log_info("daemon", "not confined to its files: daemon.sandbox is off");
        return true;
    }
    if (sandbox_begin(&sandbox, &cause)) {
        if (allow_all(&sandbox, options, config, &cause) && sandbox_enter(&sandbox, &cause)) {
            *confined = true;
            log_info("daemon", "confined by Landlock, version %d: writes below %s and nowhere else",
                     sandbox.abi, sandbox.writes);
            return true;
        }
        sandbox_abandon(&sandbox);
    }
    if (config->sandbox == DAEMON_SANDBOX_REQUIRED)
        return error_set(error, cause.code,
                         "daemon.sandbox is \"required\", and the daemon cannot be confined: %s", cause.text);
    log_warning("daemon",
                "NOT CONFINED to its files: %s; daemon.sandbox = required refuses to start like this",
                cause.text);
    return true;
}
