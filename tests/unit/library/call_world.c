/*
 * call_world: the loop's side of what a test asks, behind one mutex per call.
 */
#include "tests/unit/library/call_world.h"

#include <string.h>

const struct packet_pool_options call_world_options = {
    .connect_timeout_ms = 20000,
    .idle_timeout_ms = 60000,
    .idle_max = 8,
    .open_max = 8,
    .address_penalty_ms = 60000,
};

void call_world_open(struct call_world *world, const struct packet_pool_options *options)
{
    struct packet_pool_options copy = *options;
    struct error error;

    world->loop = loop_create("calls", &error);
    assert_non_null(world->loop);
    world->resolver = workers_create("names", 1, 16, &error);
    assert_non_null(world->resolver);
    copy.resolver = world->resolver;
    world->pool = packet_pool_create(world->loop, &copy, &error);
    assert_non_null(world->pool);
    assert_true(loop_start(world->loop, &error));
}

void call_world_destroy_pool(void *argument)
{
    struct call_world *world = argument;

    packet_pool_destroy(world->pool);
    world->pool = NULL;
}

void call_world_close(struct call_world *world)
{
    if (world->pool != NULL)
        loop_do(world->loop, call_world_destroy_pool, world);
    assert_true(workers_destroy(world->resolver, 10000));
    loop_destroy(world->loop);
}

/* ---- a call and what came of it ---- */

static void ask_done(void *argument, const uint8_t *body, size_t size, const struct error *error)
{
    struct ask *ask = argument;

    pthread_mutex_lock(&ask->mutex);
    ask->done++;
    if (error != NULL) {
        ask->error = *error;
    } else {
        ask->size = size;
        memcpy(ask->body, body, size < sizeof(ask->body) ? size : sizeof(ask->body));
        address_format(packet_call_address(ask->call), ask->address, sizeof(ask->address));
    }
    pthread_cond_broadcast(&ask->changed);
    pthread_mutex_unlock(&ask->mutex);
}

static void ask_taken(void *argument, struct packet_call *call)
{
    struct ask *ask = argument;

    pthread_mutex_lock(&ask->mutex);
    assert_ptr_equal(call, ask->call);
    ask->taken++;
    pthread_cond_broadcast(&ask->changed);
    pthread_mutex_unlock(&ask->mutex);
}

static void ask_start(void *argument)
{
    struct ask *ask = argument;
    struct address_list list = {0};
    struct error error = {0};

    assert_true(address_list_parse(ask->addresses, 0, &list, &error));
    ask->options.addresses = &list;
    ask->options.argument = ask;
    if (ask->options.done == NULL)
        ask->options.done = ask_done;
    if (ask->options.taken == NULL)
        ask->options.taken = ask_taken;
    if (ask->options.timeout_ms == 0)
        ask->options.timeout_ms = 5000;
    if (ask->options.progress_ms == 0)
        ask->options.progress_ms = 5000;
    if (ask->options.command == 0)
        ask->options.command = 71;
    if (ask->options.reply_max == 0)
        ask->options.reply_max = sizeof(ask->body);
    ask->call = packet_call_start(ask->world->pool, &ask->options, &error);
    assert_non_null(ask->call);
    assert_int_equal(ask->done, 0);
    address_list_clear(&list);
}

void ask_begin(struct ask *ask, struct call_world *world, const char *addresses)
{
    ask->world = world;
    ask->addresses = addresses;
    pthread_mutex_init(&ask->mutex, NULL);
    pthread_cond_init(&ask->changed, NULL);
    loop_do(world->loop, ask_start, ask);
}

/* Waits until done or taken. */
void ask_wait(struct ask *ask)
{
    pthread_mutex_lock(&ask->mutex);
    while (ask->done == 0 && ask->taken == 0)
        pthread_cond_wait(&ask->changed, &ask->mutex);
    pthread_mutex_unlock(&ask->mutex);
}

void call_world_nothing(void *argument)
{
    (void)argument;
}

/* After this, whatever the call's last callback left to do on the loop is done. */
void ask_end(struct ask *ask)
{
    ask_wait(ask);
    loop_do(ask->world->loop, call_world_nothing, NULL);
    assert_int_equal(ask->done, 1);
}

void ask_now(struct ask *ask, struct call_world *world, const char *addresses)
{
    ask_begin(ask, world, addresses);
    ask_end(ask);
}

void ask_cancel(void *argument)
{
    packet_call_cancel(((struct ask *)argument)->call);
}

void ask_release(void *argument)
{
    packet_call_release(((struct ask *)argument)->call, true);
}

void ask_release_broken(void *argument)
{
    packet_call_release(((struct ask *)argument)->call, false);
}

void ask_resume_source(void *argument)
{
    struct ask *ask = argument;

    ask->source_max = ask->options.source_size;
    packet_call_resume_source(ask->call);
}

int64_t ask_source(void *argument, uint8_t *buffer, size_t size)
{
    struct ask *ask = argument;
    int64_t now = (int64_t)size;

    if (ask->cancel_in_callback) {
        packet_call_cancel(ask->call);
        pthread_mutex_lock(&ask->mutex);
        ask->taken = 1; /* lets ask_wait() go on */
        pthread_cond_broadcast(&ask->changed);
        pthread_mutex_unlock(&ask->mutex);
        return 1;
    }
    if (ask->source_gives_up)
        return -1;
    if (ask->source_max > 0)
        now = min_i64(now, ask->source_max - ask->source_given);
    for (int64_t i = 0; i < now; i++)
        buffer[i] = (uint8_t)(ask->source_given + i);
    ask->source_given += now;
    return now;
}

enum packet_verdict ask_header(void *argument, int64_t length)
{
    struct ask *ask = argument;

    assert_true(length >= 0);
    return ask->verdict;
}

bool ask_again(void *argument, const struct error *error)
{
    struct ask *ask = argument;

    assert_int_not_equal(error->code, ERROR_NONE);
    ask->again_calls++;
    return ask->again_answer;
}
