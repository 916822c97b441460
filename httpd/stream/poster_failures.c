/*
 * poster_failures: a map in the order of addition.
 */
#include "httpd/stream/poster_failures.h"
#include <stdlib.h>
#include <string.h>

struct failed_film {
    struct lru_node node;
    uint32_t segments[POSTER_FAILURES_TIMES];
    size_t count;
    int64_t until_ms;
    struct error error; /* the last one */
    char name[];
};

void poster_failures_init(struct poster_failures *failures)
{
    lru_init(&failures->films);
    failures->seed = lru_seed();
    pthread_mutex_init(&failures->mutex, NULL);
}

static void failure_drop(struct poster_failures *failures, struct failed_film *film)
{
    lru_remove(&failures->films, &film->node);
    free(film);
}

void poster_failures_clear(struct poster_failures *failures)
{
    while (failures->films.count > 0)
        failure_drop(failures, CONTAINER_OF(lru_oldest(&failures->films), struct failed_film, node));
    pthread_mutex_destroy(&failures->mutex);
}

/* With the mutex. */
static struct failed_film *failure_of(const struct poster_failures *failures, const char *name)
{
    const struct lru_key key = lru_key_make(failures->seed, name, strlen(name));
    struct lru_node *node = lru_find(&failures->films, &key);
    return node ? CONTAINER_OF(node, struct failed_film, node) : NULL;
}

static struct failed_film *failure_make(struct poster_failures *failures, const char *name)
{
    size_t size = strlen(name);
    if (failures->films.count >= POSTER_FAILURES_FILMS)
        failure_drop(failures, CONTAINER_OF(lru_oldest(&failures->films), struct failed_film, node));
    struct failed_film *film = calloc(1, sizeof(*film) + size + 1);
    if (!film)
        return NULL;
    memcpy(film->name, name, size);
    const struct lru_key own = lru_key_make(failures->seed, film->name, size);
    if (lru_add(&failures->films, &film->node, &own))
        return film;
    free(film);
    return NULL;
}

static bool failure_has(const struct failed_film *film, uint32_t segment)
{
    for (size_t i = 0; i < film->count; i++) {
        if (film->segments[i] == segment)
            return true;
    }
    return false;
}

void poster_failures_add(struct poster_failures *failures, const char *name, uint32_t segment,
                         const struct error *error, int64_t until_ms)
{
    pthread_mutex_lock(&failures->mutex);
    struct failed_film *film = failure_of(failures, name);
    if (!film)
        film = failure_make(failures, name);
    if (film) {
        if (!failure_has(film, segment) && film->count < POSTER_FAILURES_TIMES)
            film->segments[film->count++] = segment;
        film->error = *error;
        film->until_ms = max_i64(film->until_ms, until_ms);
    }
    pthread_mutex_unlock(&failures->mutex);
}

bool poster_failures_find(struct poster_failures *failures, const char *name, uint32_t segment,
                          int64_t now_ms, struct error *error)
{
    pthread_mutex_lock(&failures->mutex);
    struct failed_film *film = failure_of(failures, name);
    if (film && now_ms >= film->until_ms) {
        failure_drop(failures, film);
        film = NULL;
    }
    bool found = film && (film->count == POSTER_FAILURES_TIMES || failure_has(film, segment));
    if (found)
        *error = film->error;
    pthread_mutex_unlock(&failures->mutex);
    return found;
}
