/*
 * key_holder: a pointer to the present snapshot under a mutex that is held for as long as it takes to copy the pointer
 * and count one more reference. Reading the file and comparing happens outside of it.
 */
#include "common/auth/key_holder.h"

#include "common/auth/keys_file.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct key_holder {
    char *file;
    pthread_mutex_t mutex; /* of `keys` */
    struct keys *keys;
    _Atomic uint64_t generation;
};

struct key_holder *key_holder_create(const char *file, struct error *error)
{
    struct key_holder *holder = calloc(1, sizeof(*holder));

    if (!holder || !(holder->file = strdup(file))) {
        error_set_errno(error, ENOMEM, "%s", file);
        free(holder);
        return NULL;
    }
    (void)pthread_mutex_init(&holder->mutex, NULL); /* cannot fail without attributes */
    holder->keys = keys_load(file, error);
    if (!holder->keys) {
        key_holder_destroy(holder);
        return NULL;
    }
    holder->keys->generation = 1;
    atomic_store(&holder->generation, 1);
    return holder;
}

/* Keys of FROM that are not in TO; those that are there but differ are counted in *CHANGED. */
static size_t count_missing(const struct keys *from, const struct keys *to, size_t *changed)
{
    size_t missing = 0;

    for (size_t i = 0; i < from->count; i++) {
        const struct key *other = keys_find(to, from->items[i].id);

        if (!other)
            missing++;
        else if (!key_equal(&from->items[i], other))
            ++*changed;
    }
    return missing;
}

struct keys *key_holder_read(struct key_holder *holder, struct error *error)
{
    return keys_load(holder->file, error);
}

void key_holder_put(struct key_holder *holder, struct keys *fresh, struct key_changes *changes)
{
    struct keys *old = holder->keys; /* nobody else changes it */
    size_t differing = 0, twice = 0;

    if (changes) {
        changes->removed = count_missing(old, fresh, &differing);
        changes->added = count_missing(fresh, old, &twice);
        changes->changed = differing;
    }
    fresh->generation = old->generation + 1;
    pthread_mutex_lock(&holder->mutex);
    holder->keys = fresh;
    atomic_store(&holder->generation, fresh->generation);
    pthread_mutex_unlock(&holder->mutex);
    keys_release(old);
}

struct keys *key_holder_get(struct key_holder *holder)
{
    struct keys *keys;

    pthread_mutex_lock(&holder->mutex);
    keys = keys_hold(holder->keys);
    pthread_mutex_unlock(&holder->mutex);
    return keys;
}

uint64_t key_holder_generation(const struct key_holder *holder)
{
    return atomic_load_explicit(&holder->generation, memory_order_acquire);
}

void key_holder_destroy(struct key_holder *holder)
{
    if (!holder)
        return;
    keys_release(holder->keys);
    (void)pthread_mutex_destroy(&holder->mutex);
    free(holder->file);
    free(holder);
}
