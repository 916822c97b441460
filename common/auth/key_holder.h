/*
 * key_holder: the keys of a file as they are valid now. A reload reads the file first and then puts the new snapshot in the
 * place of the old one, which lives on for whoever holds it: nobody waits for a file.
 */
#ifndef REEL_COMMON_AUTH_KEY_HOLDER_H
#define REEL_COMMON_AUTH_KEY_HOLDER_H

#include "common/auth/keys.h"

struct key_holder;

/* Reads FILE as keys_load() does. NULL: ERROR says why. Main thread, before loops run. */
struct key_holder *key_holder_create(const char *file, struct error *error);

/* Reads the file again: keys for key_holder_put(), or for keys_release(). NULL: ERROR says why. BLOCKS, but nobody who calls
 * key_holder_get() meanwhile. */
struct keys *key_holder_read(struct key_holder *holder, struct error *error);

/* The result of a key_holder_put(): how many keys are new, gone, or changed. */
struct key_changes {
    size_t added, removed, changed;
};

/* FRESH, whose reference goes to HOLDER, are the present keys. One thread at a time; blocks nobody. CHANGES may be NULL. */
void key_holder_put(struct key_holder *holder, struct keys *fresh, struct key_changes *changes);

/* The present snapshot, held for the caller, who releases it. Any thread; waits for nothing but another such call. */
struct keys *key_holder_get(struct key_holder *holder);

/* Grows with each reload: a session that was proved under another number looks its key up again. Any thread, one atomic read. */
uint64_t key_holder_generation(const struct key_holder *holder);

/* After the last use; snapshots that are held stay valid. NULL is ignored. */
void key_holder_destroy(struct key_holder *holder);

#endif
