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

struct applications *applications_create(const struct config_strings *names, struct error *error)
{
    struct applications *applications = calloc(1, sizeof(*applications));
    if (!applications) {
        error_set(error, ERROR_GENERAL, "no memory for the list of applications");
        return NULL;
    }
    if (!config_strings_copy(&applications->names, names, error)) {
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
    config_strings_clear(&applications->names);
    free(applications);
}

bool applications_replace(struct applications *applications, const struct config_strings *names,
                          struct error *error)
{
    struct config_strings fresh, old;
    if (!config_strings_copy(&fresh, names, error))
        return false;
    pthread_rwlock_wrlock(&applications->lock);
    old = applications->names;
    applications->names = fresh;
    pthread_rwlock_unlock(&applications->lock);
    config_strings_clear(&old);
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
