/*
 * config: one table of options per daemon; it parses, checks, documents, dumps, and knows what a reload may change.
 * The file is INI ([section], name = value, # and ; comments); an option may appear once, a list option may be given
 * once with several values. Errors name file and line, and say what would be right.
 * Comments stand on lines of their own; ";" and "#" inside a value belong to it, and a line in which one follows a space
 * is refused unless the value is in double quotes (which are taken off; there are no escapes in them).
 */
#ifndef REEL_COMMON_CONFIG_H
#define REEL_COMMON_CONFIG_H

#include "common/base/address.h"
#include "common/base/base.h"
#include "common/base/error.h"
#include <jansson.h>
#include <stdio.h>

enum config_type {
    CONFIG_BOOL,      /* bool: yes/no, true/false, on/off, 1/0 */
    CONFIG_INTEGER,   /* int64_t, within minimum..maximum */
    CONFIG_SIZE,      /* int64_t bytes: 4096, 64K, 10M, 2G, 1T (powers of 1024) */
    CONFIG_DURATION,  /* int64_t milliseconds: 500ms, 30s, 5m, 2h, 7d; a bare number is seconds */
    CONFIG_STRING,    /* char *, owned */
    CONFIG_CHOICE,    /* int: index into choices ("a|b|c") */
    CONFIG_ADDRESS,   /* struct address */
    CONFIG_ADDRESSES, /* struct address_list */
    CONFIG_STRINGS,   /* struct config_strings: separated by commas; spaces around trimmed */
};

struct config_strings {
    char **items; /* owned, each of its own memory */
    size_t count;
};

/* A copy for those who keep a list longer than the configuration lives. On failure (no memory) TO is empty. */
MUST_CHECK bool config_strings_copy(struct config_strings *to, const struct config_strings *from,
                                    struct error *error);

/* Frees what the list owns and empties it. */
void config_strings_clear(struct config_strings *strings);

/* One row of a table. minimum..maximum bound the types INTEGER, SIZE and DURATION (in the stored unit; both 0: anything
 * that is not negative), and the port default of ADDRESS types is `minimum`. */
struct config_option {
    const char *section;
    const char *name;
    enum config_type type;
    size_t offset; /* offsetof the member in the daemon's configuration struct */
    const char *
        default_value; /* as it would be written in the file; NULL: must be given; "" for an empty string or list */
    int64_t minimum, maximum;
    const char *choices; /* CONFIG_CHOICE: "error|warning|info|debug" */
    bool reloadable;     /* SIGHUP applies a new value */
    const char *help;    /* one or two sentences, with the unit */
};

/* Several tables make one configuration (the daemon's common one and its own). End with a NULL `options`. */
struct config_table {
    const struct config_option *options;
    size_t count;
};

/* Defaults first, then FILE (NULL: defaults only), then OVERRIDES ("section.name=value", from the command line; of two
 * for one option the later counts). Reads a file: start-up and reload, on the main thread only.
 * CONFIG points at a zeroed struct; on failure it is cleared again. Errors name "FILE:LINE: ...". */
MUST_CHECK bool config_load(const struct config_table *tables, const char *file, const char *const *overrides,
                            size_t override_count, void *config, struct error *error);

/* Frees what the struct owns and zeroes it. */
void config_clear(const struct config_table *tables, void *config);

/* The whole configuration as a file that would give the same (values in canonical form). Secrets inside URLs
 * (the password of mysql://user:password@host) are shown as "***", and so are the values of options whose name ends in
 * "password" or "secret". */
void config_print(const struct config_table *tables, const void *config, FILE *out);

/* Every option with type, default, bounds, help: for --help, and as Markdown for docs/configuration.md. */
void config_help(const struct config_table *tables, FILE *out);
void config_help_markdown(const struct config_table *tables, FILE *out);
/* The same for programs: an array of {section, name, type, default (null: must be given), reload, help}; NULL without
 * memory. Owned by the caller. */
json_t *config_help_json(const struct config_table *tables);

/* Calls CHANGED for each option whose value differs between two loaded configurations. Texts are canonical forms. */
void config_compare(const struct config_table *tables, const void *old_config, const void *new_config,
                    void (*changed)(void *argument, const struct config_option *option, const char *old_value,
                                    const char *new_value),
                    void *argument);

#endif
