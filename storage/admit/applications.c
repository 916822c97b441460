/*
 * applications: two short lists behind a read-write lock.
 */
#include "storage/admit/applications.h"

#include "storage/options.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct expiry {
    char name[PROTO_APPLICATION_SIZE];
    int64_t seconds;
};

struct lists {
    struct config_strings names; /* owned */
    struct expiry *expiries;     /* owned; NULL: none */
    size_t expiry_count;
};

struct applications {
    pthread_rwlock_t lock;
    struct lists lists;
};

static void lists_clear(struct lists *lists)
{
    config_strings_clear(&lists->names);
    free(lists->expiries);
}

/* Copies both. */
static bool lists_make(struct lists *lists, const struct config_strings *names,
                       const struct config_strings *expires, struct error *error)
{
    *lists = (struct lists){.expiry_count = expires->count};
    if (!config_strings_copy(&lists->names, names, error))
        return false;
    lists->expiries = calloc(expires->count + 1, sizeof(*lists->expiries));
    bool fine = lists->expiries || error_set(error, ERROR_GENERAL, "no memory for the list of applications");
    for (size_t i = 0; fine && i < expires->count; i++)
        fine = storage_options_split_expiry(expires->items[i], lists->expiries[i].name,
                                            &lists->expiries[i].seconds, error);
    if (!fine)
        lists_clear(lists);
    return fine;
}

struct applications *applications_create(const struct config_strings *names,
                                         const struct config_strings *expires, struct error *error)
{
    struct applications *applications = calloc(1, sizeof(*applications));
    if (!applications) {
        error_set(error, ERROR_GENERAL, "no memory for the list of applications");
        return NULL;
    }
    if (!lists_make(&applications->lists, names, expires, error)) {
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
    lists_clear(&applications->lists);
    free(applications);
}

bool applications_replace(struct applications *applications, const struct config_strings *names,
                          const struct config_strings *expires, struct error *error)
{
    struct lists fresh, old;
    if (!lists_make(&fresh, names, expires, error))
        return false;
    pthread_rwlock_wrlock(&applications->lock);
    old = applications->lists;
    applications->lists = fresh;
    pthread_rwlock_unlock(&applications->lock);
    lists_clear(&old);
    return true;
}

bool applications_check(struct applications *applications, const char *name, struct error *error)
{
    bool known = false;
    pthread_rwlock_rdlock(&applications->lock);
    const struct config_strings *names = &applications->lists.names;
    for (size_t i = 0; i < names->count && !known; i++)
        known = strcmp(names->items[i], name) == 0;
    pthread_rwlock_unlock(&applications->lock);
    return known || error_set(error, ERROR_REFUSED, "application %s is not served here", name);
}

int64_t applications_expiry(struct applications *applications, const char *name)
{
    int64_t seconds = 0;
    pthread_rwlock_rdlock(&applications->lock);
    for (size_t i = 0; i < applications->lists.expiry_count && seconds == 0; i++) {
        if (strcmp(applications->lists.expiries[i].name, name) == 0)
            seconds = applications->lists.expiries[i].seconds;
    }
    pthread_rwlock_unlock(&applications->lock);
    return -seconds;
}
