/*
 * applications: a short list of names behind a read-write lock.
 */
#include "storage/admit/applications.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct applications {
    pthread_rwlock_t lock;
    struct config_strings names; /* owned */
};

static void free_names(struct config_strings *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->items[i]);
    free(names->items);
    *names = (struct config_strings){0};
}

static bool copy_names(const struct config_strings *from, struct config_strings *to, struct error *error)
{
    *to = (struct config_strings){0};
    to->items = calloc(from->count + 1, sizeof(*to->items));
    for (size_t i = 0; to->items && i < from->count; i++) {
        to->items[i] = strdup(from->items[i]);
        if (!to->items[i])
            break;
        to->count++;
    }
    if (to->items && to->count == from->count)
        return true;
    free_names(to);
    return error_set(error, ERROR_GENERAL, "no memory for the list of applications");
}

struct applications *applications_create(const struct config_strings *names, struct error *error)
{
    struct applications *applications = calloc(1, sizeof(*applications));
    if (!applications) {
        error_set(error, ERROR_GENERAL, "no memory for the list of applications");
        return NULL;
    }
    if (!copy_names(names, &applications->names, error)) {
        free(applications);
        return NULL;
    }
    pthread_rwlock_init(&applications->lock, NULL);
    return applications;
}

void applications_destroy(struct applications *applications)
{
    if (!applications)
        return;
    pthread_rwlock_destroy(&applications->lock);
    free_names(&applications->names);
    free(applications);
}

bool applications_replace(struct applications *applications, const struct config_strings *names,
                          struct error *error)
{
    struct config_strings fresh, old;
    if (!copy_names(names, &fresh, error))
        return false;
    pthread_rwlock_wrlock(&applications->lock);
    old = applications->names;
    applications->names = fresh;
    pthread_rwlock_unlock(&applications->lock);
    free_names(&old);
    return true;
}

bool applications_check(struct applications *applications, const char *name, struct error *error)
{
    bool known = false;
    pthread_rwlock_rdlock(&applications->lock);
    for (size_t i = 0; i < applications->names.count && !known; i++)
        known = strcmp(applications->names.items[i], name) == 0;
    pthread_rwlock_unlock(&applications->lock);
    return known || error_set(error, ERROR_REFUSED, "application %s is not served here", name);
}
