/*
 * key_holder: the keys of a file as they are valid now. A reload reads the file beside and then puts the new snapshot in the
 * place of the old one, which lives on for whoever holds it: nobody waits for a file.
 */
#ifndef REEL_COMMON_AUTH_KEY_HOLDER_H
#define REEL_COMMON_AUTH_KEY_HOLDER_H

#include "common/auth/keys.h"

struct key_holder;

/* Reads FILE as keys_load() does. NULL: ERROR says why. Main thread, before loops run. */
struct key_holder *key_holder_create(const char *file, struct error *error);

/* Reads the file again; on failure everything stays as it was. BLOCKS, but nobody who calls key_holder_get() meanwhile. *ADDED,
 * *REMOVED, *CHANGED (each may be NULL) get how many keys were. */
MUST_CHECK bool key_holder_reload(struct key_holder *holder, size_t *added, size_t *removed, size_t *changed,
                                  struct error *error);

/* The snapshot of now, held for the caller, who releases it. Any thread; waits for nothing but another such call. */
struct keys *key_holder_get(struct key_holder *holder);

/* Grows with each reload: a session that was proved under another number looks its key up again. Any thread, one atomic read. */
uint64_t key_holder_generation(const struct key_holder *holder);

/* After the last use; snapshots that are held stay valid. NULL is nothing. */
void key_holder_destroy(struct key_holder *holder);

#endif
