/*
 * poster_flights: a list, which is as short as the budget of memory allows pictures to be made at the same time.
 */
#include "httpd/stream/poster_flights.h"
#include <stdlib.h>
#include <string.h>

struct poster_flight {
    char key[DISK_CACHE_KEY_SIZE];
    struct poster_waiter *waiters;
    struct poster_flight *next;
};

void poster_flights_init(struct poster_flights *flights)
{
    pthread_mutex_init(&flights->mutex, NULL);
    flights->first = NULL;
}

void poster_flights_clear(struct poster_flights *flights)
{
    while (flights->first) {
        struct poster_flight *flight = flights->first;
        flights->first = flight->next;
        free(flight);
    }
    pthread_mutex_destroy(&flights->mutex);
}

/* The link that holds the flight of KEY, or the NULL at the end. With the mutex. */
static struct poster_flight **flight_find(struct poster_flights *flights, const char *key)
{
    struct poster_flight **link = &flights->first;
    while (*link && strcmp((*link)->key, key) != 0)
        link = &(*link)->next;
    return link;
}

enum poster_join poster_flights_join(struct poster_flights *flights, const char key[DISK_CACHE_KEY_SIZE],
                                     struct poster_waiter *waiter)
{
    enum poster_join joined = POSTER_NO_MEMORY;
    pthread_mutex_lock(&flights->mutex);
    struct poster_flight *flight = *flight_find(flights, key);
    if (flight) {
        waiter->jpeg = NULL;
        waiter->size = 0;
        waiter->error = (struct error){.code = 0};
        waiter->next = flight->waiters;
        flight->waiters = waiter;
        joined = POSTER_WAITS;
    } else if ((flight = calloc(1, sizeof(*flight)))) {
        memcpy(flight->key, key, sizeof(flight->key));
        flight->next = flights->first;
        flights->first = flight;
        joined = POSTER_LEADS;
    }
    pthread_mutex_unlock(&flights->mutex);
    return joined;
}

static void flight_tell(struct poster_waiter *waiter, const uint8_t *jpeg, size_t size,
                        const struct error *error)
{
    if (jpeg && (waiter->jpeg = malloc(size))) {
        memcpy(waiter->jpeg, jpeg, size);
        waiter->size = size;
    } else if (jpeg) {
        (void)error_set(&waiter->error, ERROR_EXHAUSTED, "no memory for a picture");
    } else if (error) {
        waiter->error = *error;
    }
    loop_post(waiter->loop, &waiter->task);
}

void poster_flights_end(struct poster_flights *flights, const char key[DISK_CACHE_KEY_SIZE],
                        const uint8_t *jpeg, size_t size, const struct error *error)
{
    pthread_mutex_lock(&flights->mutex);
    struct poster_flight **link = flight_find(flights, key), *flight = *link;
    if (flight) {
        *link = flight->next;
        for (struct poster_waiter *waiter = flight->waiters, *next; waiter; waiter = next) {
            next = waiter->next; /* its owner may free it as soon as it is posted */
            flight_tell(waiter, jpeg, size, error);
        }
        free(flight);
    }
    pthread_mutex_unlock(&flights->mutex);
}

bool poster_flights_leave(struct poster_flights *flights, const char key[DISK_CACHE_KEY_SIZE],
                          struct poster_waiter *waiter)
{
    bool found = false;
    pthread_mutex_lock(&flights->mutex);
    struct poster_flight *flight = *flight_find(flights, key);
    for (struct poster_waiter **link = flight ? &flight->waiters : NULL; link && *link && !found;) {
        found = *link == waiter;
        if (found)
            *link = waiter->next;
        else
            link = &(*link)->next;
    }
    pthread_mutex_unlock(&flights->mutex);
    return found;
}
