/*
 * config_value: the values of options: text to member, member to canonical text, and the message for a wrong
 * text. Pure but for memory. Called by config.c, and for options whose items hold values of their own.
 */
#ifndef REEL_COMMON_CONFIG_VALUE_H
#define REEL_COMMON_CONFIG_VALUE_H

#include "common/config/config.h"

/* Parses TEXT into OPTION's member of CONFIG; the earlier value is freed. On failure the member stays as it
 * was and ERROR says what would be right, without naming the option. */
MUST_CHECK bool config_value_parse(const struct config_option *option, const char *text, void *config,
                                   struct error *error);

/* Frees what the member owns and zeroes it. */
void config_value_clear(const struct config_option *option, void *config);

/* The canonical text of the member, which config_value_parse() would take; freed by the caller. NULL without
 * memory. */
char *config_value_format(const struct config_option *option, const void *config);

/* Puts "***" in the place of what nobody should read in a log: a password inside a URL, and the whole value
 * of an option whose name ends in "password" or "secret". TEXT comes from config_value_format(); NULL stays
 * NULL. Freed by the caller; NULL without memory. */
char *config_value_mask(const struct config_option *option, const char *text);

/* The type and what it may be, for people: "size, 4K to 1G". Returns BUFFER. */
char *config_value_describe(const struct config_option *option, char *buffer, size_t size);

/* Whether TEXT, as it stands in a file behind the "=", holds what looks like a comment: ";" or "#" at its
 * beginning or behind a blank, and no quotes around the whole of a CONFIG_STRING or CONFIG_STRINGS. */
bool config_value_has_comment(const struct config_option *option, const char *text);

/* How many letters must be put in, taken out or changed to make B of A. */
size_t config_edit_distance(const char *a, const char *b);

/* Whether CANDIDATE is near enough to WORD, and nearer than *BEST (start with SIZE_MAX), to be offered
 * instead of it. */
bool config_is_nearer(const char *word, const char *candidate, size_t *best);

#endif
