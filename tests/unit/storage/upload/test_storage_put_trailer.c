/*
 * PUT_TRAILER: the digest that follows the content decides, whatever way the content takes: gathered in one
 * buffer, written as it comes, compared with a file that is there.
 */
#include "tests/unit/library/storage_server.h"

#include "common/proto/digest.h"

#define CONTENT_SIZE 1000000

static const size_t sizes[] = {0, 1, 4000, 262144, 262145, CONTENT_SIZE};

static void digest_memory(const void *bytes, size_t size, uint8_t out[PROTO_DIGEST_SIZE])
{
    struct digest *digest = digest_create();
    assert_non_null(digest);
    digest_update(digest, bytes, size);
    digest_final(digest, out);
    digest_destroy(digest);
}

static void send_head(int fd, const struct proto_put *head, int64_t length)
{
    uint8_t bytes[PROTO_PUT_SIZE];
    struct error error = {0};
    assert_true(proto_put_pack(bytes, head, &error));
    send_header(fd, PROTO_STORAGE_PUT_TRAILER, length);
    peer_put(fd, bytes, sizeof(bytes));
}

static int put_trailer(int fd, const char *file, const void *content, size_t size,
                       const uint8_t digest[PROTO_DIGEST_SIZE])
{
    struct proto_put head = {.key = key_of(file), .size = (int64_t)size, .name = "clip.mp4"};
    send_head(fd, &head, PROTO_PUT_SIZE + (int64_t)size + PROTO_DIGEST_SIZE);
    peer_put(fd, content, size);
    peer_put(fd, digest, PROTO_DIGEST_SIZE);
    return read_code(fd);
}

static bool nothing_left(void *argument)
{
    struct world *world = argument;
    return fixture_files(&world->fixture, "one") == 0 && gate_active(world->storage.gate) == 0;
}

static void the_digest_behind_the_content_decides(void **state)
{
    struct world world;
    uint8_t *content = random_bytes(CONTENT_SIZE), digest[PROTO_DIGEST_SIZE];
    char file[32];
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        digest_memory(content, sizes[i], digest);
        digest[15] ^= 1;
        snprintf(file, sizeof(file), "file%zu", i);
        assert_int_equal(put_trailer(fd, file, content, sizes[i], digest), ERROR_DIGEST);
        assert_int_equal(change(fd, PROTO_STORAGE_FILESIZE, file), ERROR_NOT_FOUND);
    }
    assert_true(loop_wait_until(nothing_left, &world));
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        digest_memory(content, sizes[i], digest);
        snprintf(file, sizeof(file), "file%zu", i);
        assert_int_equal(put_trailer(fd, file, content, sizes[i], digest), ERROR_NONE);
        assert_int_equal(code_of_download(fd, file, 0, 0, content, sizes[i]), ERROR_NONE);
    }
    close(fd);
    free(content);
    end_world(&world);
}

static void a_repetition_is_recognised_by_the_digest_behind_it(void **state)
{
    struct world world;
    uint8_t *content = random_bytes(CONTENT_SIZE), digest[PROTO_DIGEST_SIZE], wrong[PROTO_DIGEST_SIZE];
    char file[32];
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        digest_memory(content, sizes[i], digest);
        memcpy(wrong, digest, sizeof(wrong));
        wrong[0] ^= 1;
        snprintf(file, sizeof(file), "file%zu", i);
        assert_int_equal(put_trailer(fd, file, content, sizes[i], digest), ERROR_NONE);
        assert_int_equal(put_trailer(fd, file, content, sizes[i], digest), ERROR_NONE);
        assert_int_equal(put_trailer(fd, file, content, sizes[i], wrong), ERROR_DIGEST);
        if (sizes[i] > 0) {
            content[0] ^= 1;
            digest_memory(content, sizes[i], digest);
            assert_int_equal(put_trailer(fd, file, content, sizes[i], digest), ERROR_EXISTS);
            content[0] ^= 1;
        }
        assert_int_equal(code_of_download(fd, file, 0, 0, content, sizes[i]), ERROR_NONE);
    }
    close(fd);
    free(content);
    end_world(&world);
}

static void an_uploader_that_goes_before_its_digest_leaves_nothing(void **state)
{
    struct world world;
    uint8_t *content = random_bytes(CONTENT_SIZE), digest[PROTO_DIGEST_SIZE] = {0};
    (void)state;
    start_world(&world, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct proto_put head = {.key = key_of("file"), .size = (int64_t)sizes[i]};
        int fd = connect_client(&world);
        send_head(fd, &head, PROTO_PUT_SIZE + head.size + PROTO_DIGEST_SIZE);
        peer_put(fd, content, sizes[i]);
        peer_put(fd, digest, PROTO_DIGEST_SIZE - 1);
        usleep(20000);
        close(fd);
    }
    usleep(50000);
    assert_true(loop_wait_until(nothing_left, &world));
    free(content);
    end_world(&world);
}

static void heads_that_break_a_rule_are_refused(void **state)
{
    struct world world;
    struct proto_put head = {.key = key_of("file"), .size = 10};
    uint8_t rest[64] = {0};
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    for (int off = -1; off < 2; off += 2) {
        send_head(fd, &head, PROTO_PUT_SIZE + 10 + PROTO_DIGEST_SIZE + off);
        peer_put(fd, rest, (size_t)(10 + PROTO_DIGEST_SIZE + off));
        assert_int_equal(read_code(fd), ERROR_MALFORMED);
    }
    head.has_digest = true;
    send_head(fd, &head, PROTO_PUT_SIZE + 10 + PROTO_DIGEST_SIZE);
    peer_put(fd, rest, 10 + PROTO_DIGEST_SIZE);
    assert_int_equal(read_code(fd), ERROR_MALFORMED);
    assert_int_equal(upload(fd, "file", "0123456789", 10), ERROR_NONE);
    close(fd);
    end_world(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_digest_behind_the_content_decides),
        cmocka_unit_test(a_repetition_is_recognised_by_the_digest_behind_it),
        cmocka_unit_test(an_uploader_that_goes_before_its_digest_leaves_nothing),
        cmocka_unit_test(heads_that_break_a_rule_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
