/* A name that means several servers becomes all of them, follows them, and keeps them while nobody resolves names. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/call/name_list.h"
#include "tests/unit/library/storage_loop.h"
#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* ---- the name server: "name" stands for what the test sets ---- */

static pthread_mutex_t zone_lock = PTHREAD_MUTEX_INITIALIZER;
static char zone[256]; /* addresses separated by blanks; empty: it is away */
static atomic_int lookups;

static struct addrinfo *entry(const char *text, int port)
{
    struct addrinfo *made = calloc(1, sizeof(*made) + sizeof(struct sockaddr_in6));
    struct sockaddr_in *four = (struct sockaddr_in *)(made + 1);
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)(made + 1);

    made->ai_addr = (struct sockaddr *)(made + 1);
    if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
        made->ai_family = four->sin_family = AF_INET;
        four->sin_port = htons((uint16_t)port);
        made->ai_addrlen = sizeof(*four);
    } else {
        assert_int_equal(inet_pton(AF_INET6, text, &six->sin6_addr), 1);
        made->ai_family = six->sin6_family = AF_INET6;
        six->sin6_port = htons((uint16_t)port);
        made->ai_addrlen = sizeof(*six);
    }
    return made;
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    struct addrinfo **end = found;
    char copy[256], *state = NULL;

    (void)node;
    (void)hints;
    atomic_fetch_add(&lookups, 1);
    pthread_mutex_lock(&zone_lock);
    memcpy(copy, zone, sizeof(copy));
    pthread_mutex_unlock(&zone_lock);
    *found = NULL;
    for (char *each = strtok_r(copy, " ", &state); each; each = strtok_r(NULL, " ", &state)) {
        *end = entry(each, atoi(service));
        end = &(*end)->ai_next;
    }
    return *found ? 0 : EAI_AGAIN;
}

void freeaddrinfo(struct addrinfo *list)
{
    while (list) {
        struct addrinfo *next = list->ai_next;

        free(list);
        list = next;
    }
}

static void zone_set(const char *text)
{
    pthread_mutex_lock(&zone_lock);
    snprintf(zone, sizeof(zone), "%s", text);
    pthread_mutex_unlock(&zone_lock);
}

/* ---- */

struct world {
    struct loop *loop;
    struct workers *resolver;
    struct name_list *list;
    atomic_int changes;
    const char *configured;
    char text[512]; /* the list as it is */
};

static void note_change(void *argument)
{
    atomic_fetch_add(&((struct world *)argument)->changes, 1);
}

static void make_list(void *argument)
{
    struct world *world = argument;
    struct address_list configured = {0};
    struct error error;
    const struct name_list_options options = {.loop = world->loop,
                                              .resolver = world->resolver,
                                              .addresses = &configured,
                                              .age_ms = 10,
                                              .changed = note_change,
                                              .argument = world};

    assert_true(address_list_parse(world->configured, 21000, &configured, &error));
    world->list = name_list_create(&options, &error);
    assert_non_null(world->list);
    address_list_clear(&configured);
}

static void read_list(void *argument)
{
    struct world *world = argument;
    const struct address_list *list = name_list_addresses(world->list);
    char one[ADDRESS_TEXT_SIZE];

    world->text[0] = '\0';
    for (size_t i = 0; i < list->count; i++) {
        strcat(world->text, i > 0 ? " " : "");
        strcat(world->text, address_format(&list->items[i], one, sizeof(one)));
    }
}

static void end_list(void *argument)
{
    name_list_destroy(((struct world *)argument)->list);
}

static struct world start(const char *configured, const char *addresses)
{
    struct error error;
    struct world world = {.loop = loop_fresh(), .configured = configured};

    zone_set(addresses);
    atomic_store(&lookups, 0);
    world.resolver = workers_create("names", 1, 10, &error);
    assert_non_null(world.resolver);
    return world;
}

static void end(struct world *world)
{
    loop_do(world->loop, end_list, world);
    assert_true(workers_destroy(world->resolver, 10000));
    loop_destroy(world->loop);
}

struct expected {
    struct world *world;
    const char *text;
};

static bool list_is(void *argument)
{
    struct expected *expected = argument;

    loop_do(expected->world->loop, read_list, expected->world);
    return strcmp(expected->world->text, expected->text) == 0;
}

static void expect(struct world *world, const char *text)
{
    if (!loop_wait_until(list_is, &(struct expected){world, text}))
        fail_msg("%s, not %s", world->text, text);
}

static bool five_lookups(void *argument)
{
    (void)argument;
    return atomic_load(&lookups) >= 5;
}

static void a_name_of_several_servers_becomes_them_and_follows_them(void **state)
{
    struct world world = start("192.0.2.9, service:5", "192.0.2.1 192.0.2.2");

    (void)state;
    loop_do(world.loop, make_list, &world);
    expect(&world, "192.0.2.9:21000 192.0.2.1:5 192.0.2.2:5");
    zone_set("192.0.2.2 192.0.2.1"); /* in another order: the same */
    atomic_store(&lookups, 0);
    assert_true(loop_wait_until(five_lookups, NULL));
    assert_int_equal(atomic_load(&world.changes), 1);
    zone_set("192.0.2.2 192.0.2.3 192.0.2.4");
    expect(&world, "192.0.2.9:21000 192.0.2.2:5 192.0.2.3:5 192.0.2.4:5");
    zone_set("");
    atomic_store(&lookups, 0);
    assert_true(loop_wait_until(five_lookups, NULL));
    expect(&world, "192.0.2.9:21000 192.0.2.2:5 192.0.2.3:5 192.0.2.4:5");
    assert_int_equal(atomic_load(&world.changes), 2);
    zone_set("192.0.2.3");
    expect(&world, "192.0.2.9:21000 service:5");
    end(&world);
}

static void one_server_with_two_families_stays_a_name(void **state)
{
    struct world world = start("service:5", "2001:db8::1 192.0.2.1");

    (void)state;
    loop_do(world.loop, make_list, &world);
    assert_true(loop_wait_until(five_lookups, NULL));
    expect(&world, "service:5");
    assert_int_equal(atomic_load(&world.changes), 0);
    zone_set("2001:db8::1 192.0.2.1 2001:db8::2");
    expect(&world, "[2001:db8::1]:5 [2001:db8::2]:5");
    end(&world);
}

static void numbers_are_never_looked_up(void **state)
{
    struct world world = start("192.0.2.9, [2001:db8::9]:7", "192.0.2.1 192.0.2.2");

    (void)state;
    loop_do(world.loop, make_list, &world);
    usleep(30000);
    expect(&world, "192.0.2.9:21000 [2001:db8::9]:7");
    assert_int_equal(atomic_load(&lookups), 0);
    end(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_of_several_servers_becomes_them_and_follows_them),
        cmocka_unit_test(one_server_with_two_families_stays_a_name),
        cmocka_unit_test(numbers_are_never_looked_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
