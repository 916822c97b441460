/*
 * tls_door: guests over pairs of sockets, on a loop that runs: which pass, which get the answer that TLS is spoken here,
 * how many are under way at once, and what becomes of those who stand still.
 */
#include "common/base/clock.h"
#include "common/transport/tls_door.h"
#include "common/transport/tls_internal.h"
#include "tests/unit/library/certificates.h"
#include "tests/unit/library/storage_loop.h"
#include <errno.h>
#include <stdatomic.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#define ANSWER "this is TLS"

struct world {
    char *directory;
    struct loop *loop;
    struct tls_server *server;
    struct tls_client *client;
    struct tls_door *door;
    struct transport taken;
    atomic_size_t takes, leaves; /* those and `taken` are the loop's */
    size_t shown;                /* the last answer of the door */
    int entering;
    bool prefaced; /* something comes before TLS: "for", the last figure of an address, and a dot */
    char figure;   /* of the one that was taken: that figure */
    struct transport guests[20];
    size_t count;
};

static bool door_take(void *argument, struct transport at, const struct socket_address *peer,
                      const struct listen_place *place, bool refused)
{
    struct world *world = argument;

    (void)place;
    (void)refused;
    memcpy(&world->figure, (const char *)&peer->storage + offsetof(struct sockaddr_in, sin_zero), 1);
    if (atomic_load(&world->takes) > 0)
        transport_close(&world->taken);
    world->taken = at;
    atomic_fetch_add(&world->takes, 1);
    return true;
}

static enum tls_door_preface door_preface(void *argument, const void *bytes, size_t size, size_t *used,
                                          struct socket_address *peer)
{
    const char *text = bytes;

    (void)argument;
    if (memcmp(text, "for", min_size(size, 3)) != 0)
        return TLS_DOOR_PREFACE_BROKEN;
    if (size < 5)
        return TLS_DOOR_PREFACE_MORE;
    memcpy((char *)&peer->storage + offsetof(struct sockaddr_in, sin_zero), &text[3], 1);
    *used = 5;
    return text[4] == '.' ? TLS_DOOR_PREFACE_DONE : TLS_DOOR_PREFACE_BROKEN;
}

static void door_leave(void *argument, const struct listen_place *place)
{
    struct world *world = argument;

    (void)place;
    atomic_fetch_add(&world->leaves, 1);
}

/* ---- on the loop's thread ---- */

static void on_loop_close(void *argument)
{
    tls_door_close(((struct world *)argument)->door);
}

static void on_loop_room(void *argument)
{
    struct world *world = argument;

    world->shown = tls_door_has_room(world->door);
}

static void on_loop_make_room(void *argument)
{
    struct world *world = argument;

    world->shown = tls_door_make_room(world->door);
}

static void on_loop_enter(void *argument)
{
    const struct socket_address peer = {.storage = {.ss_family = AF_INET},
                                        .length = sizeof(struct sockaddr_in)};
    const struct listen_place place = {0};
    struct world *world = argument;

    world->shown = tls_door_enter(world->door, world->entering, &peer, &place, false, world->prefaced);
}

/* What the door says. */
static size_t ask(struct world *world, void (*question)(void *argument))
{
    loop_do(world->loop, question, world);
    return world->shown;
}

/* Those that are inside. */
static size_t count_guests(const struct world *world)
{
    return world->count - world->takes - world->leaves;
}

static int setup(void **state)
{
    static struct config_strings no_files;
    static char *names[2];
    struct world *world = calloc(1, sizeof(*world));
    struct error error;
    const struct certificate_spec own = {.name = "localhost"};

    assert_non_null(world);
    world->directory = certificates_directory();
    certificate_make(world->directory, "own", &own);
    free(names[0]);
    free(names[1]);
    names[0] = strdup(certificate_path(world->directory, "own", "pem"));
    names[1] = strdup(certificate_path(world->directory, "own", "key"));
    struct config_strings certificates = {&names[0], 1}, keys = {&names[1], 1};
    struct tls_options options = {
        .profile = TLS_FOR_HTTP, .certificates = &certificates, .keys = &keys, .ca = names[0]};
    world->server = tls_server_create(&options, &error);
    options.certificates = options.keys = &no_files;
    world->client = tls_client_create(&options, &error);
    world->loop = loop_fresh();
    assert_true(world->server && world->client && world->loop);
    *state = world;
    return 0;
}

static void make_door(struct world *world, size_t handshakes_max, int64_t time_ms)
{
    const struct tls_door_options options = {
        .loop = world->loop,
        .server = world->server,
        .handshakes_max = handshakes_max,
        .time_ms = time_ms,
        .plain_answer = ANSWER,
        .plain_answer_size = sizeof(ANSWER) - 1,
        .argument = world,
        .preface = door_preface,
        .take = door_take,
        .leave = door_leave,
    };
    struct error error;

    world->door = tls_door_create(&options, &error);
    assert_non_null(world->door);
}

static int teardown(void **state)
{
    struct world *world = *state;

    loop_do(world->loop, on_loop_close, world);
    if (world->takes > 0)
        transport_close(&world->taken);
    for (size_t i = 0; i < world->count; i++)
        transport_close(&world->guests[i]);
    loop_destroy(world->loop);
    tls_door_destroy(world->door);
    tls_client_destroy(world->client);
    tls_server_destroy(world->server);
    certificates_remove(world->directory);
    free(world);
    return 0;
}

/* A guest who has said nothing yet. */
static struct transport *enter(struct world *world)
{
    struct transport *guest = &world->guests[world->count++];
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    *guest = (struct transport){pair[1], tls_client_session(world->client, pair[1], "localhost")};
    assert_non_null(guest->tls);
    world->entering = pair[0];
    assert_int_equal(ask(world, on_loop_enter), 1);
    return guest;
}

/* Gives the loop time. */
static void turn(struct world *world)
{
    (void)ask(world, on_loop_room);
    (void)usleep(1000);
}

/* Turns until GUEST is through, or for SECONDS. */
static bool shake(struct world *world, struct transport *guest, int64_t seconds)
{
    int64_t end_ms = clock_monotonic_ms() + seconds * 1000;
    enum tls_progress progress = TLS_WANTS_READ;
    struct error error;

    while (progress != TLS_READY && progress != TLS_FAILED && clock_monotonic_ms() < end_ms) {
        progress = tls_handshake(guest->tls, &error);
        turn(world);
    }
    return progress == TLS_READY;
}

static void whoever_shakes_hands_passes_with_what_was_said_already(void **state)
{
    struct world *world = *state;
    struct transport *guest;
    char got[8];

    make_door(world, 64, 10000);
    guest = enter(world);
    turn(world);
    assert_int_equal(count_guests(world), 1);
    assert_true(shake(world, guest, 60));
    assert_int_equal(transport_send(*guest, "hello", 5, 0), 5);
    for (int i = 0; i < 1000 && world->takes == 0; i++)
        turn(world);
    assert_int_equal(world->takes, 1);
    assert_int_equal(world->leaves, 0);
    assert_int_equal(count_guests(world), 0);
    assert_int_equal(transport_recv(world->taken, got, sizeof(got), 0), 5);
}

static void what_comes_before_tls_is_taken_first(void **state)
{
    struct world *world = *state;
    struct transport *guest;

    world->prefaced = true;
    make_door(world, 64, 10000);
    guest = enter(world);
    for (int i = 0; i < 5; i++) { /* however it trickles */
        assert_int_equal(send(guest->fd, &"for7."[i], 1, 0), 1);
        turn(world);
        assert_int_equal(count_guests(world), 1);
    }
    assert_true(shake(world, guest, 60));
    for (int i = 0; i < 1000 && world->takes == 0; i++)
        turn(world);
    assert_int_equal(world->takes, 1);
    assert_int_equal(world->figure, '7');
}

static void without_what_must_come_before_tls_nobody_passes(void **state)
{
    struct world *world = *state;
    static const char *const wrong[] = {"for77", "fox", "\x16\x03\x01"};
    struct transport *guest;
    struct error error;
    char got[8];

    world->prefaced = true;
    make_door(world, 64, 10000);
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        guest = enter(world);
        assert_int_equal(send(guest->fd, wrong[i], strlen(wrong[i]), 0), (ssize_t)strlen(wrong[i]));
        for (int j = 0; j < 1000 && world->leaves == i; j++)
            turn(world);
        assert_int_equal(world->leaves, i + 1);
    }
    guest = enter(world); /* one that ends in the middle of it */
    assert_int_equal(send(guest->fd, "for", 3, 0), 3);
    turn(world);
    assert_int_equal(count_guests(world), 1);
    assert_int_equal(shutdown(guest->fd, SHUT_WR), 0);
    for (int j = 0; j < 1000 && world->leaves == ARRAY_SIZE(wrong); j++)
        turn(world);
    assert_int_equal(world->leaves, ARRAY_SIZE(wrong) + 1);
    guest = enter(world); /* one that speaks TLS at once */
    (void)tls_handshake(guest->tls, &error);
    for (int j = 0; j < 1000 && world->leaves == ARRAY_SIZE(wrong) + 1; j++)
        turn(world);
    assert_int_equal(world->takes, 0);
    assert_true(recv(guest->fd, got, sizeof(got), 0) <=
                0); /* no answer; a reset where bytes were left unread */
}

static void whoever_speaks_no_tls_gets_an_answer_that_says_so(void **state)
{
    struct world *world = *state;
    struct transport *guest;
    char got[64];

    make_door(world, 64, 10000);
    guest = enter(world);
    assert_int_equal(send(guest->fd, "GET / HTTP/1.1\r\n\r\n", 18, 0), 18);
    for (int i = 0; i < 1000 && world->leaves == 0; i++)
        turn(world);
    assert_int_equal(world->leaves, 1);
    assert_int_equal(recv(guest->fd, got, sizeof(got), 0), sizeof(ANSWER) - 1);
    assert_memory_equal(got, ANSWER, sizeof(ANSWER) - 1);
    assert_int_equal(recv(guest->fd, got, sizeof(got), 0), 0);
}

/* The first words of a client, as bytes. */
static size_t make_hello(struct world *world, uint8_t *hello, size_t size)
{
    struct error error;
    struct tls *tls;
    ssize_t got;
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    tls = tls_client_session(world->client, pair[0], "localhost");
    assert_non_null(tls);
    assert_int_equal(tls_handshake(tls, &error), TLS_WANTS_READ);
    got = recv(pair[1], hello, size, 0);
    assert_true(got > 0);
    tls_free(tls);
    close(pair[0]);
    close(pair[1]);
    return (size_t)got;
}

/* Begins and says no second word. */
static struct transport *enter_stuck(struct world *world)
{
    struct transport *guest = enter(world);
    uint8_t hello[2048];
    size_t size = make_hello(world, hello, sizeof(hello));

    assert_int_equal(send(guest->fd, hello, size, 0), size);
    for (int i = 0; i < 20; i++)
        turn(world);
    return guest;
}

static bool was_answered(const struct transport *guest)
{
    char byte;

    return recv(guest->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

static void so_many_are_under_way_and_the_slow_give_way(void **state)
{
    struct world *world = *state;
    struct transport *stuck[4], *guest;
    int64_t begun_ms = clock_monotonic_ms();

    make_door(world, 2, 60000);
    for (int i = 0; i < 4; i++)
        stuck[i] = enter_stuck(world);
    for (int i = 0; i < 20000 && !(was_answered(stuck[0]) && was_answered(stuck[1])); i++)
        turn(world);
    assert_true(was_answered(stuck[0]) && was_answered(stuck[1]));
    bool more = was_answered(stuck[2]) || was_answered(stuck[3]);
    assert_false(more && clock_monotonic_ms() - begun_ms < 500);
    guest = enter(world);
    assert_true(shake(world, guest, 60));
    assert_true(clock_monotonic_ms() - begun_ms >= 500); /* nobody is dropped before */
    assert_int_equal(world->leaves, 3); /* two for those who waited, one of these for the guest */
    assert_true(count_guests(world) <= 2);
}

static void whoever_stands_still_alone_stays_until_the_time_is_over(void **state)
{
    struct world *world = *state;
    int64_t begun_ms = clock_monotonic_ms();

    make_door(world, 2, 1200);
    (void)enter(world); /* says nothing */
    (void)enter_stuck(world);
    while (clock_monotonic_ms() - begun_ms < 900)
        turn(world);
    size_t there = count_guests(world);
    if (clock_monotonic_ms() - begun_ms < 1200)
        assert_int_equal(there, 2);
    while (count_guests(world) > 0 && clock_monotonic_ms() - begun_ms < 60000)
        turn(world);
    assert_int_equal(world->leaves, 2);
    assert_true(clock_monotonic_ms() - begun_ms >= 1200);
}

static void room_is_made_of_those_who_say_nothing(void **state)
{
    struct world *world = *state;
    int64_t begun_ms = clock_monotonic_ms();

    make_door(world, 64, 60000);
    (void)enter(world);
    assert_false(ask(world, on_loop_room) && clock_monotonic_ms() - begun_ms < 500);
    for (int i = 0; i < 20000 && !ask(world, on_loop_room); i++)
        turn(world);
    assert_true(ask(world, on_loop_room));
    assert_true(clock_monotonic_ms() - begun_ms >= 500);
    assert_true(ask(world, on_loop_make_room));
    assert_int_equal(world->leaves, 1);
    assert_false(ask(world, on_loop_make_room));
}

static void the_end_ends_all(void **state)
{
    struct world *world = *state;
    char byte;

    make_door(world, 1, 60000);
    (void)enter(world);
    (void)enter_stuck(world);
    (void)enter_stuck(world);
    loop_do(world->loop, on_loop_close, world);
    assert_int_equal(world->leaves, 3);
    assert_int_equal(recv(world->guests[0].fd, &byte, 1, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(whoever_shakes_hands_passes_with_what_was_said_already, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_comes_before_tls_is_taken_first, setup, teardown),
        cmocka_unit_test_setup_teardown(without_what_must_come_before_tls_nobody_passes, setup, teardown),
        cmocka_unit_test_setup_teardown(whoever_speaks_no_tls_gets_an_answer_that_says_so, setup, teardown),
        cmocka_unit_test_setup_teardown(so_many_are_under_way_and_the_slow_give_way, setup, teardown),
        cmocka_unit_test_setup_teardown(whoever_stands_still_alone_stays_until_the_time_is_over, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(room_is_made_of_those_who_say_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(the_end_ends_all, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
