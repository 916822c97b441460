/*
 * daemon_identity: keys and audit file of a daemon, from its options.
 */
#include "common/daemon/daemon_identity.h"

#include "common/auth/audit.h"
#include "common/base/log.h"

static struct auth_options identity_options(const struct daemon_spec *spec,
                                            const struct daemon_config *config)
{
    return (struct auth_options){
        .mode = (enum auth_mode)config->auth_mode,
        .keys_file = config->auth_keys,
        .identity = config->auth_identity,
        .role = spec->role,
        .legacy_addresses = &config->auth_legacy,
        .session_ms = config->auth_session_ms,
    };
}

/* At every start and reload: an operator who never chose should learn it. */
static void identity_warn_of_mode(const struct daemon_spec *spec, const struct daemon_config *config)
{
    if (config->auth_mode == AUTH_PREFER && spec->role != KEY_ROLE_GATEWAY)
        log_warning("auth",
                    "auth.mode is prefer%s: whoever reaches this port may do everything; see "
                    "docs/security.md for the "
                    "way to required",
                    config->auth_keys[0] == '\0' ? " and auth.keys is empty" : "");
}

void daemon_identity_audit(struct daemon *daemon, const char *event, bool good, const char *text)
{
    const struct audit_event own = {
        .event = event, .outcome = good ? ERROR_NONE : ERROR_REFUSED, .bytes = -1, .text = text};

    if (daemon->audit)
        (void)audit_write(daemon->audit, &own);
}

static bool identity_start_audit(struct daemon *daemon, const struct daemon_config *config,
                                 struct error *error)
{
    struct auth_identity own;
    struct audit_options options = {.file = config->audit_file, .daemon = daemon->spec->name};

    if (!options.file || options.file[0] == '\0') /* reel-httpd has no such option */
        return true;
    auth_identity(daemon->auth, &own);
    options.key = own.key;
    if (!own.key)
        log_warning("audit", "auth.identity names no key of this daemon: the lines of %s are not chained",
                    options.file);
    daemon->audit = audit_create(&options, error);
    auth_identity_clear(&own);
    daemon_identity_audit(daemon, "start", true, "version " REEL_VERSION);
    return daemon->audit != NULL;
}

bool daemon_identity_start(struct daemon *daemon, const struct daemon_config *config, struct error *error)
{
    const struct auth_options options = identity_options(daemon->spec, config);
    struct error cause;

    daemon->auth = auth_create(&options, &cause);
    if (!daemon->auth)
        return error_set(error, cause.code, "auth: %s", cause.text);
    identity_warn_of_mode(daemon->spec, config);
    return identity_start_audit(daemon, config, error);
}

struct auth_fresh *daemon_identity_read(struct daemon *daemon, const struct daemon_config *config,
                                        struct error *error)
{
    const struct auth_options options = identity_options(daemon->spec, config);
    struct error cause;
    struct auth_fresh *fresh = auth_read(daemon->auth, &options, &cause);

    if (!fresh)
        error_set(error, cause.code, "auth: %s", cause.text);
    return fresh;
}

void daemon_identity_use(struct daemon *daemon, const struct daemon_config *config, struct auth_fresh *fresh)
{
    auth_fresh_use(daemon->auth, fresh);
    identity_warn_of_mode(daemon->spec, config);
    if (daemon->audit) {
        struct auth_identity own;

        auth_identity(daemon->auth, &own);
        audit_set_key(daemon->audit, own.key);
        auth_identity_clear(&own);
    }
}

void daemon_identity_destroy(struct daemon *daemon)
{
    audit_destroy(daemon->audit);
    auth_destroy(daemon->auth);
    daemon->audit = NULL;
    daemon->auth = NULL;
}
