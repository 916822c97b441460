/*
 * STORE: with a question, the content is wanted once nothing speaks against it, and not before; what became of it is
 * said with its digest and time.
 */
#include "tests/unit/library/storage_server.h"

#include "common/proto/digest.h"

#include <time.h>

#define CONTENT_SIZE 1000000

static const size_t sizes[] = {1, 4000, 262145, CONTENT_SIZE};

static void send_store(int fd, const struct proto_put *put, bool asks)
{
    struct proto_store store = {.put = *put, .asks = asks};
    uint8_t bytes[PROTO_STORE_SIZE];
    struct error error = {0};
    assert_true(proto_store_pack(bytes, &store, &error));
    send_header(fd, PROTO_STORAGE_STORE, PROTO_STORE_SIZE + put->size);
    peer_put(fd, bytes, sizeof(bytes));
}

/* The outcome, which must be a success. */
static struct proto_store_reply read_outcome(int fd)
{
    struct proto_store_reply reply = {0};
    struct error error = {0};
    struct answer answer = read_answer(fd);
    assert_true(answer.fine);
    assert_true(proto_store_reply_unpack(answer.body, (size_t)answer.size, &reply, &error));
    free(answer.body);
    return reply;
}

static bool nothing_left(void *argument)
{
    struct world *world = argument;
    return fixture_files(&world->fixture, "one") == 0 && gate_active(world->storage.gate) == 0;
}

static void the_content_is_wanted_once_nothing_speaks_against_it(void **state)
{
    struct world world;
    uint8_t *content = random_bytes(CONTENT_SIZE), digest[PROTO_DIGEST_SIZE];
    char file[32];
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    int64_t before = (int64_t)time(NULL);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct digest *running = digest_create();
        snprintf(file, sizeof(file), "file%zu", i);
        struct proto_put put_head = {.key = key_of(file), .size = (int64_t)sizes[i], .name = "clip.mp4"};
        digest_update(running, content, sizes[i]);
        digest_final(running, digest);
        digest_destroy(running);
        for (int turn = 0; turn < 2; turn++) {
            send_store(fd, &put_head, true);
            assert_int_equal(read_code(fd), ERROR_NONE);          /* not a byte of it was sent */
            assert_int_equal(gate_active(world.storage.gate), 0); /* as long as none is there */
            peer_put(fd, content, sizes[i]);
            struct proto_store_reply reply = read_outcome(fd);
            assert_true(reply.repeated == (turn == 1));
            assert_true(reply.has_digest);
            assert_memory_equal(reply.digest, digest, sizeof(digest));
            assert_in_range(reply.created, before, before + 60);
        }
        assert_int_equal(code_of_download(fd, file, 0, 0, content, sizes[i]), ERROR_NONE);
    }
    close(fd);
    free(content);
    end_world(&world);
}

static void without_a_question_one_reply_comes(void **state)
{
    struct world world;
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    static const size_t lengths[] = {0, 10};
    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
        struct proto_put put_head = {.key = key_of(i == 0 ? "empty" : "file"), .size = (int64_t)lengths[i]};
        for (int turn = 0; turn < 2; turn++) {
            send_store(fd, &put_head, false);
            peer_put(fd, "0123456789", lengths[i]);
            assert_true(read_outcome(fd).repeated == (turn == 1));
        }
    }
    close(fd);
    end_world(&world);
}

static void what_is_refused_is_refused_before_its_content(void **state)
{
    struct world world;
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    assert_int_equal(upload(fd, "taken", "0123456789", 10), ERROR_NONE);
    assert_int_equal(upload(fd, "deleted", "0123456789", 10), ERROR_NONE);
    assert_int_equal(change(fd, PROTO_STORAGE_DELETE, "deleted"), ERROR_NONE);
    close(fd);
    const struct {
        struct proto_file_key key;
        int64_t size;
        int code;
    } refused[] = {
        {key_of("taken"), 11, ERROR_EXISTS},
        {key_of("deleted"), 10, ERROR_DELETED},
        {{.application = "other", .user = "alice", .file = "x"}, 10, ERROR_REFUSED},
        {key_of("large"), INT64_MAX / 2, ERROR_NO_SPACE},
    };
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        struct proto_put put_head = {.key = refused[i].key, .size = refused[i].size};
        fd = connect_client(&world);
        send_store(fd, &put_head, true);
        assert_int_equal(read_code(fd), refused[i].code);
        close(fd);
    }
    /* Of the same size it may be a repetition: that shows in the bytes. */
    fd = connect_client(&world);
    struct proto_put same = {.key = key_of("taken"), .size = 10};
    send_store(fd, &same, true);
    assert_int_equal(read_code(fd), ERROR_NONE);
    peer_put(fd, "012345678x", 10);
    assert_int_equal(read_code(fd), ERROR_EXISTS);
    close(fd);
    end_world(&world);
}

/* Nor does it keep one that somebody else could use. */
static void who_is_told_to_send_and_does_not_holds_up_nobody(void **state)
{
    struct world world;
    struct proto_put put_head = {.key = key_of("slow"), .size = 10};
    (void)state;
    start_world(&world, "storage.uploads_max=1");
    int slow = connect_client(&world), other = connect_client(&world);
    send_store(slow, &put_head, true);
    assert_int_equal(read_code(slow), ERROR_NONE);
    assert_int_equal(upload(other, "other", "0123456789", 10), ERROR_NONE);
    peer_put(slow, "0123456789", 10);
    assert_false(read_outcome(slow).repeated);
    close(slow);
    close(other);
    end_world(&world);
}

static void who_goes_between_question_and_content_leaves_no_place_taken(void **state)
{
    struct world world;
    (void)state;
    start_world(&world, NULL);
    struct proto_put put_head = {.key = key_of("file"), .size = CONTENT_SIZE};
    for (int sent = 0; sent < 3; sent++) {
        int fd = connect_client(&world);
        send_store(fd, &put_head, true);
        assert_int_equal(read_code(fd), ERROR_NONE);
        peer_put(fd, "0123456789", (size_t)sent * 5);
        close(fd);
        assert_true(loop_wait_until(nothing_left, &world));
    }
    end_world(&world);
}

static void an_empty_answer_of_asks_is_no_flag(void **state)
{
    struct world world;
    struct proto_store store = {.put = {.key = key_of("file"), .size = 0}};
    uint8_t bytes[PROTO_STORE_SIZE];
    struct error error = {0};
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    assert_true(proto_store_pack(bytes, &store, &error));
    bytes[PROTO_PUT_SIZE] = 2;
    send_header(fd, PROTO_STORAGE_STORE, sizeof(bytes));
    peer_put(fd, bytes, sizeof(bytes));
    assert_int_equal(read_code(fd), ERROR_MALFORMED);
    close(fd);
    end_world(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_content_is_wanted_once_nothing_speaks_against_it),
        cmocka_unit_test(without_a_question_one_reply_comes),
        cmocka_unit_test(what_is_refused_is_refused_before_its_content),
        cmocka_unit_test(who_is_told_to_send_and_does_not_holds_up_nobody),
        cmocka_unit_test(who_goes_between_question_and_content_leaves_no_place_taken),
        cmocka_unit_test(an_empty_answer_of_asks_is_no_flag),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
