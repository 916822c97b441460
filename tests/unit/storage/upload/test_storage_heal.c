/* Uploads that meet damage: a repetition of the very bytes heals them, whatever the size; nothing else does. */
#include "tests/unit/library/storage_server.h"

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>

#define XXH_INLINE_ALL /* XXH3_kSecret */
#include <xxhash.h>

/* ---- a disk that cannot read one byte, or reads another one from the second time on ---- */

static struct {
    atomic_llong offset; /* -1: it reads all */
    _Atomic ino_t inode; /* of this file */
    atomic_bool turns;   /* the byte is read, and is another one from the second time on */
    atomic_int times;    /* that it was read */
} bad_spot = {.offset = -1};

/* This program's own, which comes before the C library's. */
ssize_t pread(int fd, void *bytes, size_t size, off_t offset)
{
    static ssize_t (*real)(int fd, void *bytes, size_t size, off_t offset);
    struct stat status;
    long long bad = atomic_load(&bad_spot.offset);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "pread");
    if (bad < 0 || offset + (off_t)size <= bad || offset > bad || fstat(fd, &status) != 0 ||
        status.st_ino != atomic_load(&bad_spot.inode))
        return real(fd, bytes, size, offset);
    if (atomic_load(&bad_spot.turns)) {
        ssize_t got = real(fd, bytes, size, offset);
        if (got > bad - offset && atomic_fetch_add(&bad_spot.times, 1) > 0)
            ((uint8_t *)bytes)[bad - offset] ^= 1;
        return got;
    }
    errno = EIO;
    return -1;
}

/* ---- what the tests share ---- */

/* Where the file of FILE's row lies. */
static void path_of_row(struct world *world, const char *file, char path[256])
{
    sqlite3_stmt *statement;
    assert_int_equal(sqlite3_prepare_v2(world->beside, "SELECT file_path FROM t_file_02 WHERE id = ?", -1,
                                        &statement, NULL),
                     SQLITE_OK);
    sqlite3_bind_text(statement, 1, file, -1, SQLITE_STATIC);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    snprintf(path, 256, "%s/one/%s", world->fixture.directory,
             (const char *)sqlite3_column_text(statement, 0) + strlen("../data/"));
    sqlite3_finalize(statement);
}

static void write_at(const char *path, const void *bytes, size_t size, size_t offset)
{
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, size, (off_t)offset), size);
    assert_int_equal(close(fd), 0);
}

/* Turns one bit of the stored file. */
static void damage(const char *path, size_t offset)
{
    uint8_t byte;
    int fd = open(path, O_RDONLY);
    assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
    close(fd);
    byte ^= 1;
    write_at(path, &byte, 1, offset);
}

static int put_of(int fd, const char *file, const void *content, size_t size, bool stated)
{
    struct proto_put head = {.key = key_of(file), .size = (int64_t)size, .has_digest = stated};
    if (stated)
        digest_of(content, size, head.digest);
    return put(fd, &head, content);
}

/* In one buffer, in a few, and in so many that not all of the stored file is read before the content is stored. */
static const size_t sizes[] = {1, 5000, 131072, 131073, 600000, 30000000};
#define LARGEST ((size_t)30000000)

/* ---- tests ---- */

static void wrong_bytes_of_any_size_and_at_any_place_are_stored_anew(void **state)
{
    uint8_t *content = random_bytes(LARGEST), *other = malloc(LARGEST);
    struct world world;
    char path[256], file[32];
    (void)state;
    assert_non_null(other);
    memcpy(content, "\x89PNG\r\n\x1a\n", 8);
    memcpy(other, content, LARGEST);
    start_world(&world, NULL);
    int fd = connect_client(&world);
    for (size_t i = 0; i < 6 * ARRAY_SIZE(sizes); i++) {
        size_t size = sizes[i / 6];
        size_t places[] = {0, size / 2, size - 1};
        size_t place = places[i % 3];
        snprintf(file, sizeof(file), "file%zu", i);
        assert_int_equal(upload(fd, file, content, size), ERROR_NONE);
        path_of_row(&world, file, path);
        damage(path, place);
        /* Others do not take the place of what is damaged, neither before nor behind the difference. */
        for (size_t j = 0; j < ARRAY_SIZE(places) && size > 1; j++) {
            other[places[j]] ^= 2;
            assert_int_equal(upload(fd, file, other, size), ERROR_EXISTS);
            other[places[j]] ^= 2;
        }
        assert_int_equal(put_of(fd, file, content, size, i % 6 >= 3), ERROR_NONE);
        assert_int_equal(code_of_download(fd, file, 0, 0, content, size), ERROR_NONE);
        struct proto_stat stat = stat_of(fd, file);
        if (size > 8)
            assert_string_equal(stat.content_type, "image/png");
        /* And once it is right there is nothing to do. */
        int files = fixture_files(&world.fixture, "one");
        assert_int_equal(upload(fd, file, content, size), ERROR_NONE);
        assert_int_equal(fixture_files(&world.fixture, "one"), files);
        assert_int_equal(files, 2 * (i + 1)); /* the wrong one is a leftover now */
    }
    close(fd);
    free(content);
    free(other);
    end_world(&world);
}

static void bytes_that_the_disk_cannot_read_are_stored_anew(void **state)
{
    static const size_t places[] = {0, 4999, 200000, 599999};
    uint8_t *content = random_bytes(600000);
    struct world world;
    struct stat status;
    char path[256], file[32];
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        size_t size = places[i] < 5000 ? 5000 : 600000;
        snprintf(file, sizeof(file), "file%zu", i);
        assert_int_equal(upload(fd, file, content, size), ERROR_NONE);
        path_of_row(&world, file, path);
        assert_int_equal(stat(path, &status), 0);
        atomic_store(&bad_spot.inode, status.st_ino);
        atomic_store(&bad_spot.offset, (long long)places[i]);
        assert_int_equal(upload(fd, file, content, size), ERROR_NONE);
        assert_int_equal(code_of_download(fd, file, 0, 0, content, size), ERROR_NONE);
        atomic_store(&bad_spot.offset, -1);
        path_of_row(&world, file, path);
        struct stat after;
        assert_int_equal(stat(path, &after), 0);
        assert_true(after.st_ino != status.st_ino);
    }
    close(fd);
    free(content);
    end_world(&world);
}

/* What both have in common is copied from the damaged file, after it was compared. */
static void bytes_that_change_between_comparison_and_copy_are_not_acknowledged(void **state)
{
    uint8_t *content = random_bytes(600000);
    struct world world;
    struct stat status;
    char path[256];
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    assert_int_equal(upload(fd, "file", content, 600000), ERROR_NONE);
    path_of_row(&world, "file", path);
    damage(path, 400000);
    assert_int_equal(stat(path, &status), 0);
    atomic_store(&bad_spot.inode, status.st_ino);
    atomic_store(&bad_spot.turns, true);
    atomic_store(&bad_spot.offset, 1000);
    assert_int_equal(upload(fd, "file", content, 600000), ERROR_UNAVAILABLE);
    assert_int_equal(atomic_load(&bad_spot.times), 2);
    atomic_store(&bad_spot.offset, -1);
    atomic_store(&bad_spot.turns, false);
    assert_int_equal(fixture_files(&world.fixture, "one"), 1);
    assert_int_equal(upload(fd, "file", content, 600000), ERROR_NONE);
    assert_int_equal(code_of_download(fd, "file", 0, 0, content, 600000), ERROR_NONE);
    close(fd);
    free(content);
    end_world(&world);
}

/* Changes the content so that its XXH3-128 stays the same: of a lane whose lower half is the secret's the product is 0,
 * and what one such lane gains, another one of the same block may lose. */
static void collide(uint8_t *content, uint8_t *twin, size_t size, size_t block)
{
    uint8_t *lanes[] = {content + block * 1024, content + block * 1024 + 64};
    for (size_t i = 0; i < ARRAY_SIZE(lanes); i++)
        memcpy(lanes[i], XXH3_kSecret + 8 * i, 4);
    memset(lanes[0] + 4, 1, 4);
    memset(lanes[1] + 4, 3, 4);
    memcpy(twin, content, size);
    twin[block * 1024 + 4] = 2;
    twin[block * 1024 + 64 + 4] = 2;
    uint8_t digests[2][PROTO_DIGEST_SIZE];
    digest_of(content, size, digests[0]);
    digest_of(twin, size, digests[1]);
    assert_memory_equal(digests[0], digests[1], PROTO_DIGEST_SIZE);
    assert_memory_not_equal(content, twin, size);
}

static void two_contents_with_one_digest_are_two(void **state)
{
    static const struct {
        size_t size, block;
    } cases[] = {{5000, 1}, {600000, 0}, {600000, 300}, {30000000, 29000}};
    uint8_t *content = random_bytes(LARGEST), *twin = malloc(LARGEST);
    struct world world;
    char file[32];
    (void)state;
    assert_non_null(twin);
    start_world(&world, NULL);
    int fd = connect_client(&world);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        size_t size = cases[i].size;
        collide(content, twin, size, cases[i].block);
        snprintf(file, sizeof(file), "file%zu", i);
        assert_int_equal(upload(fd, file, content, size), ERROR_NONE);
        assert_int_equal(put_of(fd, file, twin, size, false), ERROR_EXISTS);
        assert_int_equal(put_of(fd, file, twin, size, true), ERROR_EXISTS);
        assert_int_equal(code_of_download(fd, file, 0, 0, content, size), ERROR_NONE);
        assert_int_equal(fixture_files(&world.fixture, "one"), i + 1);
    }
    close(fd);
    free(content);
    free(twin);
    end_world(&world);
}

/* Where the bytes are lost nothing is there to compare with: then the SHA-256 of the row decides. */
static void what_shares_a_digest_with_lost_bytes_does_not_take_their_place(void **state)
{
    static const size_t lost_sizes[] = {5000, 600000};
    uint8_t *content = random_bytes(600000), *twin = malloc(600000);
    struct world world;
    char path[256], file[32];
    (void)state;
    assert_non_null(twin);
    start_world(&world, "storage.sha256=always");
    int fd = connect_client(&world);
    for (size_t i = 0; i < 4 * ARRAY_SIZE(lost_sizes); i++) {
        size_t size = lost_sizes[i / 4];
        collide(content, twin, size, 1);
        snprintf(file, sizeof(file), "file%zu", i);
        world.fixture.config.sha256 = OPTIONS_SHA256_ALWAYS;
        assert_int_equal(upload(fd, file, content, size), ERROR_NONE);
        path_of_row(&world, file, path);
        /* Who stores none himself heeds the row's all the same. */
        if (i % 4 >= 2)
            world.fixture.config.sha256 = OPTIONS_SHA256_NEVER;
        if (i % 2 == 0)
            assert_int_equal(unlink(path), 0);
        else
            damage(path, size - 1);
        assert_int_equal(put_of(fd, file, twin, size, true), ERROR_EXISTS);
        assert_int_equal(put_of(fd, file, twin, size, false), ERROR_EXISTS);
        assert_int_equal(put_of(fd, file, content, size, i % 2 == 0), ERROR_NONE);
        assert_int_equal(code_of_download(fd, file, 0, 0, content, size), ERROR_NONE);
        /* The row that was written anew has it again. */
        path_of_row(&world, file, path);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(put_of(fd, file, twin, size, true), ERROR_EXISTS);
        assert_int_equal(upload(fd, file, content, size), ERROR_NONE);
    }
    close(fd);
    free(content);
    free(twin);
    end_world(&world);
}

/* The stored file is read faster than the content comes. */
static void other_bytes_are_refused_before_all_of_them_came(void **state)
{
    uint8_t *content = random_bytes(LARGEST);
    struct proto_put head = {.key = key_of("file"), .size = (int64_t)LARGEST};
    struct pollfd answered = {.events = POLLIN};
    struct world world;
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    assert_int_equal(upload(fd, "file", content, LARGEST), ERROR_NONE);
    content[300000] ^= 1;
    send_put_head(fd, &head);
    answered.fd = fd;
    peer_put(fd, content, LARGEST / 2);
    assert_int_equal(poll(&answered, 1, 30000), 1);
    peer_put(fd, content + LARGEST / 2, LARGEST - LARGEST / 2);
    assert_int_equal(read_code(fd), ERROR_EXISTS);
    assert_int_equal(fixture_files(&world.fixture, "one"), 1);
    close(fd);
    free(content);
    end_world(&world);
}

/* fsck --repair has marked the row (3) and moved the file away; of a deleted one (4) nothing is stored anew. */
static void a_file_that_the_scrub_took_out_of_service_is_brought_back(void **state)
{
    uint8_t *content = random_bytes(600000);
    struct world world;
    char path[256], file[32];
    (void)state;
    start_world(&world, NULL);
    int fd = connect_client(&world);
    for (size_t i = 0; i < 4; i++) {
        size_t size = i % 2 ? 600000 : 5000;
        snprintf(file, sizeof(file), "file%zu", i);
        assert_int_equal(upload(fd, file, content, size), ERROR_NONE);
        path_of_row(&world, file, path);
        if (i < 2)
            assert_int_equal(unlink(path), 0);
        char sql[128];
        snprintf(sql, sizeof(sql), "UPDATE t_file_02 SET status = 3, deleted_at = -5 WHERE id = '%s'", file);
        beside(&world, sql);
        content[size - 1] ^= 1;
        assert_int_equal(upload(fd, file, content, size), ERROR_EXISTS);
        content[size - 1] ^= 1;
        assert_int_equal(upload(fd, file, content, size), ERROR_NONE);
        assert_int_equal(code_of_download(fd, file, 0, 0, content, size), ERROR_NONE);
        assert_int_equal(change(fd, PROTO_STORAGE_DELETE, file), ERROR_NONE);
        snprintf(sql, sizeof(sql), "UPDATE t_file_02 SET status = 4 WHERE id = '%s'", file);
        beside(&world, sql);
        assert_true(upload(fd, file, content, size) != ERROR_NONE);
    }
    close(fd);
    free(content);
    end_world(&world);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_bytes_of_any_size_and_at_any_place_are_stored_anew),
        cmocka_unit_test(bytes_that_the_disk_cannot_read_are_stored_anew),
        cmocka_unit_test(bytes_that_change_between_comparison_and_copy_are_not_acknowledged),
        cmocka_unit_test(two_contents_with_one_digest_are_two),
        cmocka_unit_test(what_shares_a_digest_with_lost_bytes_does_not_take_their_place),
        cmocka_unit_test(other_bytes_are_refused_before_all_of_them_came),
        cmocka_unit_test(a_file_that_the_scrub_took_out_of_service_is_brought_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
