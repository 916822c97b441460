/* Which group a user belongs to: what trackers say decides, is remembered, and keeps nobody waiting where none says it. */
#include "tests/unit/library/storage_server.h"

/* A tracker that knows users by their first letter: o is ours, f another group's, n nobody's until SADDRS is asked, and
 * nothing is said of s. */
struct tracker {
    struct peer peer;
    atomic_bool dead;
};

static void reply_group(int fd, const char *group)
{
    uint8_t body[PROTO_GROUP_SIZE + 32] = {0};
    memcpy(body, group, strlen(group));
    memcpy(body + PROTO_GROUP_SIZE, "192.0.2.1:23000;", 17);
    peer_reply(fd, PROTO_REPLY_TRACKER, body, PROTO_GROUP_SIZE + 17);
}

static void tracker(struct peer *peer, int fd, int connection)
{
    struct tracker *self = peer->argument;
    struct peer_request request;
    (void)connection;
    while (!atomic_load(&self->dead) && peer_read(peer, fd, &request)) {
        char user = (char)request.head[PROTO_APPLICATION_SIZE];
        if (user == 'o')
            reply_group(fd, "group001");
        else if (user == 'f')
            reply_group(fd, "group002");
        else if (user == 'n' && request.command == PROTO_TRACKER_SADDRS)
            reply_group(fd, "group002");
        else if (user == 'n')
            peer_fail(fd, PROTO_REPLY_TRACKER, ERROR_NOT_FOUND, "no such user");
        else
            peer_fail(fd, PROTO_REPLY_TRACKER, ERROR_NO_SERVER, "its group has no server");
    }
}

struct owned_world {
    struct world world;
    struct tracker tracker;
    struct address_list trackers;
};

static void make_owners(void *argument)
{
    struct owned_world *owned = argument;
    struct error error = {0};
    const struct owners_options options = {
        .loop = owned->world.main_loop,
        .trackers = &owned->trackers,
        .group = "group001",
        .connect_timeout_ms = 20000,
        .call_timeout_ms = 20000,
        .entries_max = 1000,
        .age_ms = 60000,
        .questions_max = 3,
    };
    owned->world.storage.owners = owners_create(&options, &error);
    assert_non_null(owned->world.storage.owners);
}

static void destroy_owners(void *argument)
{
    struct owned_world *owned = argument;
    owners_destroy(owned->world.storage.owners);
    owned->world.storage.owners = NULL;
}

static void start_owned(struct owned_world *owned)
{
    struct error error = {0};
    memset(owned, 0, sizeof(*owned));
    peer_start(&owned->tracker.peer, tracker, &owned->tracker);
    assert_true(address_list_parse(owned->tracker.peer.address, 21000, &owned->trackers, &error));
    start_world(&owned->world, NULL);
    loop_do(owned->world.main_loop, make_owners, owned);
}

static void end_owned(struct owned_world *owned)
{
    loop_do(owned->world.main_loop, destroy_owners, owned);
    end_world(&owned->world);
    peer_stop(&owned->tracker.peer);
    address_list_clear(&owned->trackers);
}

static int put_for(int fd, const char *user, const char *file, const char *group)
{
    struct proto_put head = {.key = key_of(file), .size = 5};
    snprintf(head.key.user, sizeof(head.key.user), "%s", user);
    snprintf(head.group, sizeof(head.group), "%s", group);
    return put(fd, &head, "hello");
}

/* A command that takes a key alone; the number of the reply. */
static int ask_for(int fd, uint8_t command, const char *user, const char *file)
{
    struct proto_file_key key = key_of(file);
    uint8_t body[PROTO_FILE_KEY_SIZE];
    struct error error = {0};
    snprintf(key.user, sizeof(key.user), "%s", user);
    assert_true(proto_file_key_pack(body, &key, &error));
    struct answer answer = ask_body(fd, command, body, sizeof(body));
    free(answer.body);
    return answer.fine ? ERROR_NONE : answer.code;
}

static void for_a_user_of_another_group_nothing_is_stored(void **state)
{
    struct owned_world owned;
    (void)state;
    start_owned(&owned);
    int fd = connect_client(&owned.world);
    for (int i = 0; i < 3; i++)
        assert_int_equal(put_for(fd, "frank", "file", ""), ERROR_OTHER_GROUP);
    assert_int_equal(peer_requests(&owned.tracker.peer, PROTO_TRACKER_SADDRS), 1); /* remembered */
    assert_int_equal(fixture_files(&owned.world.fixture, "one"), 0);
    assert_int_equal(put_for(fd, "otto", "file", ""), ERROR_NONE);
    assert_int_equal(put_for(fd, "otto", "file2", ""), ERROR_NONE);
    assert_int_equal(peer_requests(&owned.tracker.peer, PROTO_TRACKER_SADDRS), 2);
    close(fd);
    end_owned(&owned);
}

static void who_states_the_group_that_a_tracker_named_is_not_checked_again(void **state)
{
    struct owned_world owned;
    (void)state;
    start_owned(&owned);
    int fd = connect_client(&owned.world);
    assert_int_equal(put_for(fd, "frank", "file", "group002"), ERROR_OTHER_GROUP);
    assert_int_equal(put_for(fd, "otto", "file", "group002"), ERROR_OTHER_GROUP);
    assert_int_equal(put_for(fd, "otto", "file", "group001"), ERROR_NONE);
    assert_int_equal(peer_requests(&owned.tracker.peer, PROTO_TRACKER_SADDRS), 0);
    assert_int_equal(fixture_files(&owned.world.fixture, "one"), 1);
    close(fd);
    end_owned(&owned);
}

static void a_user_without_a_group_gets_one_for_an_upload_alone(void **state)
{
    struct owned_world owned;
    (void)state;
    start_owned(&owned);
    int fd = connect_client(&owned.world);
    assert_int_equal(ask_for(fd, PROTO_STORAGE_STAT, "nina", "file"), ERROR_NOT_FOUND);
    assert_int_equal(peer_requests(&owned.tracker.peer, PROTO_TRACKER_LOCATE), 1);
    assert_int_equal(peer_requests(&owned.tracker.peer, PROTO_TRACKER_SADDRS), 0);
    assert_int_equal(put_for(fd, "nina", "file", ""), ERROR_OTHER_GROUP);
    assert_int_equal(peer_requests(&owned.tracker.peer, PROTO_TRACKER_SADDRS), 1);
    close(fd);
    end_owned(&owned);
}

static void a_file_of_another_groups_user_is_not_called_unknown(void **state)
{
    static const uint8_t commands[] = {PROTO_STORAGE_STAT, PROTO_STORAGE_FILESIZE, PROTO_STORAGE_WHERE,
                                       PROTO_STORAGE_DELETE, PROTO_STORAGE_RESTORE};
    struct owned_world owned;
    (void)state;
    start_owned(&owned);
    int fd = connect_client(&owned.world);
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        assert_int_equal(ask_for(fd, commands[i], "frank", "file"), ERROR_OTHER_GROUP);
        assert_int_equal(ask_for(fd, commands[i], "otto", "file"), ERROR_NOT_FOUND);
        assert_int_equal(ask_for(fd, commands[i], "susi", "file"), ERROR_NOT_FOUND);
    }
    struct proto_download download = {.key = key_of("file")};
    uint8_t body[PROTO_DOWNLOAD_SIZE];
    struct error error = {0};
    snprintf(download.key.user, sizeof(download.key.user), "frank");
    assert_true(proto_download_pack(body, &download, &error));
    struct answer answer = ask_body(fd, PROTO_STORAGE_DOWNLOAD, body, sizeof(body));
    assert_int_equal(answer.code, ERROR_OTHER_GROUP);
    free(answer.body);
    close(fd);
    end_owned(&owned);
}

static void where_no_tracker_says_it_files_are_stored(void **state)
{
    struct owned_world owned;
    (void)state;
    start_owned(&owned);
    int fd = connect_client(&owned.world);
    assert_int_equal(put_for(fd, "susi", "file", ""), ERROR_NONE); /* no server of its group: no answer */
    /* And none at all: the first one finds that out, the others are not kept waiting. */
    peer_stop(&owned.tracker.peer);
    for (int i = 0; i < 20; i++) {
        char user[24];
        snprintf(user, sizeof(user), "frank%d", i);
        assert_int_equal(put_for(fd, user, "file", ""), ERROR_NONE);
    }
    close(fd);
    loop_do(owned.world.main_loop, destroy_owners, &owned);
    end_world(&owned.world);
    address_list_clear(&owned.trackers);
}

/* ---- many at once, and the end ---- */

struct ask {
    struct owners_waiter waiter;
    struct owners *owners;
    struct proto_file_key key;
    bool asked, immediate;
    atomic_bool answered;
};

static void ask_answered(struct owners_waiter *waiter)
{
    atomic_store(&CONTAINER_OF(waiter, struct ask, waiter)->answered, true);
}

static void run_ask(void *argument)
{
    struct ask *ask = argument;
    ask->waiter = (struct owners_waiter){.loop = ask->waiter.loop, .done = ask_answered};
    ask->immediate = owners_ask(ask->owners, &ask->key, true, &ask->waiter);
}

static void silent(struct peer *peer, int fd, int connection)
{
    struct peer_request request;
    (void)connection;
    while (peer_read(peer, fd, &request))
        ;
}

static bool is_answered(void *argument)
{
    return atomic_load((atomic_bool *)argument);
}

static void one_question_serves_all_and_few_are_under_way(void **state)
{
    struct owned_world owned;
    struct ask asks[8];
    struct peer quiet;
    struct error error = {0};
    (void)state;
    memset(&owned, 0, sizeof(owned));
    memset(asks, 0, sizeof(asks));
    peer_start(&quiet, silent, NULL);
    assert_true(address_list_parse(quiet.address, 21000, &owned.trackers, &error));
    start_world(&owned.world, NULL);
    loop_do(owned.world.main_loop, make_owners, &owned);
    /* Four ask about one user, four about others, of whom only two find a free place for their question. */
    for (size_t i = 0; i < ARRAY_SIZE(asks); i++) {
        asks[i].owners = owned.world.storage.owners;
        asks[i].waiter.loop = owned.world.loops.loops[i % 2];
        asks[i].key = key_of("file");
        snprintf(asks[i].key.user, sizeof(asks[i].key.user), "user%zu", i < 4 ? 0 : i);
        loop_do(asks[i].waiter.loop, run_ask, &asks[i]);
        assert_int_equal(asks[i].immediate, i >= 6);
        assert_int_equal(asks[i].waiter.answer, OWNERS_UNKNOWN);
    }
    while (peer_requests(&quiet, PROTO_TRACKER_SADDRS) < 3)
        usleep(1000);
    assert_int_equal(peer_requests(&quiet, PROTO_TRACKER_SADDRS), 3);
    /* The first ones have to do without an answer in the end, the others when the server ends. */
    loop_do(owned.world.main_loop, destroy_owners, &owned);
    for (size_t i = 0; i < 6; i++)
        assert_true(loop_wait_until(is_answered, &asks[i].answered));
    end_world(&owned.world);
    peer_stop(&quiet);
    address_list_clear(&owned.trackers);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(for_a_user_of_another_group_nothing_is_stored),
        cmocka_unit_test(who_states_the_group_that_a_tracker_named_is_not_checked_again),
        cmocka_unit_test(a_user_without_a_group_gets_one_for_an_upload_alone),
        cmocka_unit_test(a_file_of_another_groups_user_is_not_called_unknown),
        cmocka_unit_test(where_no_tracker_says_it_files_are_stored),
        cmocka_unit_test(one_question_serves_all_and_few_are_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
