/*
 * call_world: a pool of connections on a loop of its own, and calls whose outcome a test waits for. Included by tests only.
 */
#ifndef REEL_TESTS_CALL_WORLD_H
#define REEL_TESTS_CALL_WORLD_H

#include "common/call/packet_call.h"
#include "tests/unit/library/storage_loop.h"

#include <pthread.h>

struct call_world {
    struct loop *loop;
    struct workers *resolver;
    struct packet_pool *pool;
};

/* What most tests open their pool with. */
extern const struct packet_pool_options call_world_options;

/* OPTIONS without a resolver: it gets one of one thread. */
void call_world_open(struct call_world *world, const struct packet_pool_options *options);
void call_world_close(struct call_world *world);
/* For loop_do(): of the world, ends its pool before call_world_close(); and nothing, to wait for what was begun before. */
void call_world_destroy_pool(void *argument);
void call_world_nothing(void *argument);

/* A call and what came of it. */
struct ask {
    struct call_world *world;
    const char *addresses;
    struct packet_call_options options;
    struct packet_call *call;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int done, taken;
    struct error error;
    char body[256];
    size_t size;
    int64_t source_given; /* source */
    int64_t source_max;   /* source: gives no more than so many bytes, then "not yet"; 0: all */
    bool source_gives_up;
    bool cancel_in_callback;
    enum packet_verdict verdict;
    int again_calls;
    bool again_answer;
    char address[ADDRESS_TEXT_SIZE];
};

/* Starts the call: what is not set in ask->options is as most tests want it. */
void ask_begin(struct ask *ask, struct call_world *world, const char *addresses);
/* Waits until done or taken. */
void ask_wait(struct ask *ask);
/* Waits until done; after this, whatever the call's last callback left to do on the loop is done too. */
void ask_end(struct ask *ask);
/* Both. */
void ask_now(struct ask *ask, struct call_world *world, const char *addresses);
/* For loop_do(), of an ask: what a caller does with its call. */
void ask_cancel(void *argument);
void ask_release(void *argument);
void ask_release_broken(void *argument);
void ask_resume_source(void *argument);
/* Callbacks for ask->options. */
int64_t ask_source(void *argument, uint8_t *buffer, size_t size);
enum packet_verdict ask_header(void *argument, int64_t length);
bool ask_again(void *argument, const struct error *error);

#endif
