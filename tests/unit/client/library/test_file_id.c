/*
 * File IDs: their form, and that no two are the same, in whatever thread or process.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "client/library/file_id.h"
#include "common/proto/proto.h"

#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PER_THREAD 5000
#define THREADS    4

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void assert_all_different(char (*ids)[FILE_ID_SIZE], size_t count)
{
    qsort(ids, count, FILE_ID_SIZE, compare);
    for (size_t i = 1; i < count; i++)
        assert_string_not_equal(ids[i - 1], ids[i]);
}

static void an_id_has_the_form_that_the_protocol_gives(void **state)
{
    char id[FILE_ID_SIZE], seconds[9] = "", microseconds[7] = "";
    time_t before = time(NULL), at;
    struct timespec after;
    struct error error;

    (void)state;
    assert_true(file_id_make("user1", id, &error));
    assert_int_equal(strlen(id), 36);
    for (int i = 0; i < 30; i++)
        assert_true(isdigit((unsigned char)id[i]) || (id[i] >= 'a' && id[i] <= 'f'));
    for (int i = 30; i < 36; i++)
        assert_true(isdigit((unsigned char)id[i]));
    memcpy(seconds, id, 8);
    memcpy(microseconds, id + 8, 6);
    at = (time_t)strtoll(seconds, NULL, 16);
    assert_int_equal(clock_gettime(CLOCK_REALTIME, &after), 0); /* time() may be behind by a tick */
    assert_true(at >= before && at <= after.tv_sec);
    assert_true(strtol(microseconds, NULL, 16) < 1000000);
}

static void the_counter_goes_up_by_one(void **state)
{
    char first[FILE_ID_SIZE], second[FILE_ID_SIZE];
    struct error error;

    (void)state;
    assert_true(file_id_make("user1", first, &error));
    assert_true(file_id_make("user1", second, &error));
    first[34] = second[34] = '\0';
    assert_int_equal((atoi(first + 30) + 1) % 10000, atoi(second + 30));
}

static void the_counter_starts_again_after_9999(void **state)
{
    char id[FILE_ID_SIZE];
    struct error error;

    (void)state;
    for (int i = 0; i < 10001; i++) {
        assert_true(file_id_make("user1", id, &error));
        assert_int_equal(strlen(id), 36);
    }
}

/* The digits of the digest, behind those of the time: no two are made of the same random numbers. */
static void each_id_has_a_digest_of_its_own(void **state)
{
    static char digests[1000][FILE_ID_SIZE];
    struct error error;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        char id[FILE_ID_SIZE];

        assert_true(file_id_make("user1", id, &error));
        memcpy(digests[i], id + 14, 16);
    }
    assert_all_different(digests, 1000);
}

static void the_digest_is_of_the_user_too_and_of_no_longer_name(void **state)
{
    char user[PROTO_USER_SIZE + 2], id[FILE_ID_SIZE];
    struct error error;

    (void)state;
    memset(user, 'u', sizeof(user));
    user[PROTO_USER_SIZE] = '\0';
    assert_true(file_id_make(user, id, &error));
    assert_int_equal(strlen(id), 36);
    user[PROTO_USER_SIZE] = 'u';
    user[PROTO_USER_SIZE + 1] = '\0';
    assert_false(file_id_make(user, id, &error));
}

static char thread_ids[THREADS * PER_THREAD][FILE_ID_SIZE];

static void *make_many(void *argument)
{
    char(*ids)[FILE_ID_SIZE] = argument;

    for (int i = 0; i < PER_THREAD; i++)
        if (!file_id_make("same user", ids[i], NULL))
            abort();
    return NULL;
}

static void threads_never_make_the_same_id(void **state)
{
    pthread_t threads[THREADS];

    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, make_many, &thread_ids[i * PER_THREAD]), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_all_different(thread_ids, THREADS * PER_THREAD);
}

/* Forked from one process with the same counter, at the same time. */
static void processes_never_make_the_same_id(void **state)
{
    char ids[8][FILE_ID_SIZE];
    int pipes[2];

    (void)state;
    assert_int_equal(pipe(pipes), 0);
    for (int i = 0; i < 8; i++) {
        pid_t child = fork();

        assert_true(child >= 0);
        if (child == 0) {
            char id[FILE_ID_SIZE];
            bool fine =
                file_id_make("user1", id, NULL) && write(pipes[1], id, sizeof(id)) == (ssize_t)sizeof(id);

            _exit(fine ? 0 : 1);
        }
    }
    for (int i = 0; i < 8; i++) {
        int status;

        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
        assert_int_equal(read(pipes[0], ids[i], FILE_ID_SIZE), FILE_ID_SIZE);
    }
    close(pipes[0]);
    close(pipes[1]);
    assert_all_different(ids, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_has_the_form_that_the_protocol_gives),
        cmocka_unit_test(the_counter_goes_up_by_one),
        cmocka_unit_test(the_counter_starts_again_after_9999),
        cmocka_unit_test(each_id_has_a_digest_of_its_own),
        cmocka_unit_test(the_digest_is_of_the_user_too_and_of_no_longer_name),
        cmocka_unit_test(threads_never_make_the_same_id),
        cmocka_unit_test(processes_never_make_the_same_id),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
