/*
 * admission: networks behind a mutex.
 */
#include "tracker/admission.h"
#include "common/config/networks.h"
#include <pthread.h>
#include <stdlib.h>

struct admission {
    pthread_mutex_t mutex;
    struct networks networks;
};

struct admission *admission_create(const struct config_strings *networks, struct error *error)
{
    struct admission *admission = calloc(1, sizeof(*admission));
    if (!admission) {
        error_set(error, ERROR_UNAVAILABLE, "out of memory");
        return NULL;
    }
    pthread_mutex_init(&admission->mutex, NULL);
    if (admission_configure(admission, networks, error))
        return admission;
    admission_destroy(admission);
    return NULL;
}

void admission_destroy(struct admission *admission)
{
    if (!admission)
        return;
    networks_clear(&admission->networks);
    pthread_mutex_destroy(&admission->mutex);
    free(admission);
}

bool admission_configure(struct admission *admission, const struct config_strings *networks,
                         struct error *error)
{
    struct networks fresh, old;
    if (!networks_parse(networks, &fresh, error))
        return false;
    pthread_mutex_lock(&admission->mutex);
    old = admission->networks;
    admission->networks = fresh;
    pthread_mutex_unlock(&admission->mutex);
    networks_clear(&old);
    return true;
}

bool admission_is_open(struct admission *admission)
{
    pthread_mutex_lock(&admission->mutex);
    bool open = admission->networks.count == 0;
    pthread_mutex_unlock(&admission->mutex);
    return open;
}

bool admission_names(struct admission *admission, const char *host)
{
    pthread_mutex_lock(&admission->mutex);
    bool named = networks_contain(&admission->networks, host);
    pthread_mutex_unlock(&admission->mutex);
    return named;
}
