/* Uploads in trouble: what fails leaves nothing, and of many at once the right ones win. */
#include "tests/unit/library/storage_server.h"

#include <sys/resource.h>

static bool no_files(void *argument)
{
    struct world *world = argument;
    return fixture_files(&world->fixture, "one") == 0 && gate_active(world->storage.gate) == 0;
}

static void an_uploader_that_goes_away_leaves_nothing(void **state)
{
    static const int64_t sizes[] = {1000, 1000000, 1000000, INT64_C(1) << 40};
    static const size_t sent[] = {500, 0, 700000, 300000};
    struct world world;
    uint8_t *content = random_bytes(1000000);
    (void)state;
    start_world(&world, NULL);
    store_set_floors(world.storage.store, -(INT64_C(1) << 50), 0); /* any size fits */
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct proto_put head = {.key = key_of("file"), .size = sizes[i]};
        int fd = connect_client(&world);
        send_put_head(fd, &head);
        peer_put(fd, content, sent[i]);
        usleep(20000);
        close(fd);
    }
    usleep(50000);
    assert_true(loop_wait_until(no_files, &world));
    int fd = connect_client(&world);
    assert_int_equal(upload(fd, "file", content, 1000000), ERROR_NONE);
    close(fd);
    free(content);
    end_world(&world);
}

static void a_number_that_comes_twice_is_skipped(void **state)
{
    struct world world;
    uint8_t *content = random_bytes(400000);
    char path[160], file[32];
    int64_t now = clock_wall_seconds();
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    assert_int_equal(upload(fd, "first", "1", 1), ERROR_NONE); /* makes the directory */
    /* Strangers lie at the next numbers, whatever second it will be. */
    long long next = atomic_load(&world.next_number);
    for (int64_t second = now - 1; second < now + 30; second++) {
        for (long long number = next - 4; number < next + 4; number++) {
            snprintf(path, sizeof(path), "%s/one/000/000/000/%08llX_%03llX", world.fixture.directory,
                     (unsigned long long)second, (unsigned long long)(number < 0 ? 0 : number));
            int stranger = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
            if (stranger >= 0) {
                assert_int_equal(write(stranger, "stranger", 8), 8);
                close(stranger);
            }
        }
    }
    for (int i = 0; i < 4; i++) {
        snprintf(file, sizeof(file), "file%d", i);
        size_t size = i % 2 ? 400000 : 4000; /* stored in one go, and as it comes */
        assert_int_equal(upload(fd, file, content, size), ERROR_NONE);
        assert_int_equal(code_of_download(fd, file, 0, 0, content, size), ERROR_NONE);
    }
    assert_true(metric_value(world.storage.metrics.collisions) > 0);
    close(fd);
    free(content);
    end_world(&world);
}

static void a_file_that_cannot_be_written_is_refused_and_leaves_nothing(void **state)
{
    struct world world;
    uint8_t *content = random_bytes(400000);
    struct rlimit before, small;
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    start_world(&world, NULL);
    int fd = connect_client(&world);
    assert_int_equal(upload(fd, "first", "1", 1), ERROR_NONE); /* the database has what it needs */
    assert_int_equal(change(fd, PROTO_STORAGE_FILESIZE, "first"), ERROR_NONE);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 60000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int large = upload(fd, "large", content, 400000);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(large, ERROR_IO);
    assert_int_equal(fixture_files(&world.fixture, "one"), 1);
    /* The path is out of the choice until the next look has tried it. */
    while (upload(fd, "large", content, 400000) != ERROR_NONE)
        usleep(20000);
    assert_int_equal(code_of_download(fd, "large", 0, 0, content, 400000), ERROR_NONE);
    close(fd);
    free(content);
    end_world(&world);
}

static void without_a_row_there_is_no_file(void **state)
{
    struct world world;
    uint8_t *content = random_bytes(400000);
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    beside(&world, "CREATE TRIGGER refuse BEFORE INSERT ON t_file_02 BEGIN SELECT RAISE(ABORT, 'no'); END");
    assert_true(upload(fd, "small", content, 4000) != ERROR_NONE);
    assert_true(upload(fd, "large", content, 400000) != ERROR_NONE);
    assert_int_equal(fixture_files(&world.fixture, "one"), 0);
    beside(&world, "DROP TRIGGER refuse");
    assert_int_equal(upload(fd, "large", content, 400000), ERROR_NONE);
    close(fd);
    free(content);
    end_world(&world);
}

static void below_the_floor_uploads_are_refused_at_once(void **state)
{
    struct world world;
    uint8_t *content = random_bytes(400000);
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    store_set_floors(world.storage.store, INT64_MAX, 0);
    assert_int_equal(upload(fd, "file", content, 400000), ERROR_NO_SPACE);
    assert_int_equal(upload(fd, "file", content, 1), ERROR_NO_SPACE);
    store_set_floors(world.storage.store, 0, 0);
    assert_int_equal(upload(fd, "file", content, 400000), ERROR_NONE);
    close(fd);
    free(content);
    end_world(&world);
}

static void requests_that_break_a_rule_leave_the_connection_in_step(void **state)
{
    struct world world;
    struct proto_upload head = {.key = key_of("file"), .size = 10};
    uint8_t body[PROTO_UPLOAD_SIZE];
    struct error error = {0};
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    /* More content than stated. */
    assert_true(proto_upload_pack(body, &head, &error));
    send_header(fd, PROTO_STORAGE_UPLOAD, PROTO_UPLOAD_SIZE + 11);
    peer_put(fd, body, sizeof(body));
    peer_put(fd, "hello world", 11);
    assert_int_equal(read_code(fd), ERROR_MALFORMED);
    /* An application that is not served. */
    snprintf(head.key.application, sizeof(head.key.application), "other");
    assert_true(proto_upload_pack(body, &head, &error));
    send_header(fd, PROTO_STORAGE_UPLOAD, PROTO_UPLOAD_SIZE + 10);
    peer_put(fd, body, sizeof(body));
    peer_put(fd, "hello worl", 10);
    assert_int_equal(read_code(fd), ERROR_REFUSED);
    assert_int_equal(upload(fd, "file", "hello", 5), ERROR_NONE);
    close(fd);
    end_world(&world);
}

static void uploads_beyond_the_limit_wait_for_their_turn(void **state)
{
    struct world world;
    struct proto_put head = {.key = key_of("slow"), .size = 10};
    (void)state;
    start_world(&world, "storage.uploads_max=1");
    int slow = connect_client(&world), next = connect_client(&world);
    send_put_head(slow, &head);
    while (gate_active(world.storage.gate) < 1)
        usleep(1000);
    head.key = key_of("next");
    send_put_head(next, &head);
    peer_put(next, "0123456789", 10);
    while (gate_waiting(world.storage.gate) < 1)
        usleep(1000);
    peer_put(slow, "0123456789", 10);
    assert_int_equal(read_code(slow), ERROR_NONE);
    assert_int_equal(read_code(next), ERROR_NONE);
    close(slow);
    close(next);
    end_world(&world);
}

/* ---- many at once ---- */

#define RIVALS 12

struct rival {
    const struct world *world;
    pthread_t thread;
    uint8_t *content;
    size_t size;
    int code;
};

static void *upload_rival(void *argument)
{
    struct rival *rival = argument;
    int fd = connect_client(rival->world);
    rival->code = upload(fd, "file", rival->content, rival->size);
    close(fd);
    return NULL;
}

static void run_rivals(struct world *world, size_t size, bool same, int winners_wanted)
{
    struct rival rivals[RIVALS];
    uint8_t *shared = random_bytes(size);
    int winners = 0, winner = -1;
    for (int i = 0; i < RIVALS; i++) {
        rivals[i] =
            (struct rival){.world = world, .content = same ? shared : random_bytes(size), .size = size};
        assert_int_equal(pthread_create(&rivals[i].thread, NULL, upload_rival, &rivals[i]), 0);
    }
    for (int i = 0; i < RIVALS; i++) {
        pthread_join(rivals[i].thread, NULL);
        if (rivals[i].code == ERROR_NONE) {
            winners++;
            winner = i;
        } else {
            assert_int_equal(rivals[i].code, ERROR_EXISTS);
        }
    }
    assert_int_equal(winners, winners_wanted);
    assert_int_equal(fixture_files(&world->fixture, "one"), 1);
    int fd = connect_client(world);
    assert_int_equal(code_of_download(fd, "file", 0, 0, rivals[winner].content, size), ERROR_NONE);
    close(fd);
    for (int i = 0; i < RIVALS; i++) {
        if (!same)
            free(rivals[i].content);
    }
    free(shared);
}

static void of_many_uploads_of_one_id_exactly_one_wins(void **state)
{
    static const size_t sizes[] = {3000, 600000};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct world world;
        start_world(&world, NULL);
        run_rivals(&world, sizes[i], false, 1);
        end_world(&world);
    }
}

static void of_many_uploads_of_one_file_all_learn_that_it_is_stored(void **state)
{
    static const size_t sizes[] = {3000, 600000};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        struct world world;
        start_world(&world, NULL);
        run_rivals(&world, sizes[i], true, RIVALS);
        end_world(&world);
    }
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_uploader_that_goes_away_leaves_nothing),
        cmocka_unit_test(a_number_that_comes_twice_is_skipped),
        cmocka_unit_test(a_file_that_cannot_be_written_is_refused_and_leaves_nothing),
        cmocka_unit_test(without_a_row_there_is_no_file),
        cmocka_unit_test(below_the_floor_uploads_are_refused_at_once),
        cmocka_unit_test(requests_that_break_a_rule_leave_the_connection_in_step),
        cmocka_unit_test(uploads_beyond_the_limit_wait_for_their_turn),
        cmocka_unit_test(of_many_uploads_of_one_id_exactly_one_wins),
        cmocka_unit_test(of_many_uploads_of_one_file_all_learn_that_it_is_stored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
