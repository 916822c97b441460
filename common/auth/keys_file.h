/*
 * keys_file: reads and checks the keys file, strictly: what is not understood is refused with its line.
 *
 *     # id       roles      secret (32 bytes, base64)   from        until       options
 *     st-2026a   storage    m3...=                      -           2027-01-01  groups=group001,group002 addresses=192.0.2.0/24
 *     web-1      gateway    ...                         -           -           applications=tnvideo rights=r
 *
 * Fields are separated by blanks; from, until and options may be left out; a # that begins a word begins a comment.
 */
#ifndef REEL_COMMON_AUTH_KEYS_FILE_H
#define REEL_COMMON_AUTH_KEYS_FILE_H

#include "common/auth/keys.h"

#define KEYS_FILE_MAX (1024 * 1024) /* bytes */

/* Reads FILE and checks all of it. BLOCKS: at the start, or on a worker. FILE without a slash is the name of a credential
 * of the service manager ($CREDENTIALS_DIRECTORY). A file that others than its owner may read or write is refused, and one
 * that is neither root's nor the process's user's. NULL: ERROR says FILE:LINE, what is wrong and what would be right, and
 * never a secret. The caller has one reference. */
struct keys *keys_load(const char *file, struct error *error);

/* The same from text (which is not kept); NAME is for errors. */
struct keys *keys_parse(const char *text, size_t size, const char *name, struct error *error);

/* What a setting "FILE" or "ID@FILE" names: the file, and the key's ID ("" for none) into ID. */
const char *keys_setting_split(const char *setting, char id[KEY_ID_SIZE]);

/* A new line for a keys file: a new secret for ID and what REST says ("storage - 2027-01-01 groups=group001": roles, then
 * from, until and options, without the secret), checked as keys_parse() does. The caller overwrites and frees it. NULL: ERROR. */
char *keys_file_new_line(const char *id, const char *roles, const char *rest, struct error *error);

#endif
