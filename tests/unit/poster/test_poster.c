/*
 * Unit tests of poster/: pictures made of a real film, of damaged ones and of requests that lie; and that a process that has given
 * up its rights really has none.
 */
#include "common/media/poster_wire.h"
#include "poster/poster_answer.h"
#include "poster/poster_limits.h"
#include "poster/poster_picture.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static uint8_t *film;
static size_t film_size;

static int read_film(void **state)
{
    (void)state;
    struct stat status;
    int fd = open(REEL_SOURCE_DIR "/tests/media/clip.mp4", O_RDONLY);
    if (fd < 0 || fstat(fd, &status) != 0)
        return -1;
    film_size = (size_t)status.st_size;
    film = malloc(film_size);
    bool whole = film && read(fd, film, film_size) == (ssize_t)film_size;
    close(fd);
    return whole ? 0 : -1;
}

static int free_film(void **state)
{
    (void)state;
    free(film);
    return 0;
}

static struct poster_request request_for(uint32_t width, uint32_t height, uint32_t tiles, uint32_t columns)
{
    return (struct poster_request){.magic = POSTER_MAGIC,
                                   .container = POSTER_MP4,
                                   .width = width,
                                   .height = height,
                                   .tiles = tiles,
                                   .columns = columns,
                                   .size = (uint32_t)film_size};
}

/* Of a baseline JPEG's SOF0. */
static void shape_of(const uint8_t *jpeg, size_t size, unsigned *width, unsigned *height)
{
    assert_true(size > 100 && jpeg[0] == 0xff && jpeg[1] == 0xd8);
    for (size_t at = 2; at + 9 < size && jpeg[at] == 0xff;) {
        if (jpeg[at + 1] == 0xc0) {
            *height = (unsigned)jpeg[at + 5] << 8 | jpeg[at + 6];
            *width = (unsigned)jpeg[at + 7] << 8 | jpeg[at + 8];
            return;
        }
        at += 2 + ((size_t)jpeg[at + 2] << 8 | jpeg[at + 3]);
    }
    fail_msg("the picture has no frame header");
}

static void a_picture_has_the_width_that_was_asked_for(void **state)
{
    (void)state;
    const struct {
        uint32_t width, height, tiles, columns;
        bool exact;
    } cases[] = {{64, 0, 1, 1, false}, {160, 90, 1, 1, true}, {160, 90, 4, 2, true}, {1920, 0, 1, 1, false}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct poster_request request =
            request_for(cases[i].width, cases[i].height, cases[i].tiles, cases[i].columns);
        uint8_t *jpeg = NULL;
        size_t size = 0;
        unsigned width = 0, height = 0;
        assert_int_equal(poster_picture_make(&request, film, &jpeg, &size), POSTER_MADE);
        shape_of(jpeg, size, &width, &height);
        uint32_t rows = cases[i].tiles / cases[i].columns;
        if (cases[i].exact)
            assert_true(width == 160 * cases[i].columns && height == 90 * rows);
        else
            assert_true(width <= cases[i].width && width % 2 == 0 && height % 2 == 0 && height > 0);
        free(jpeg);
    }
}

static void damaged_films_have_no_picture_and_do_no_harm(void **state)
{
    (void)state;
    struct poster_request request = request_for(160, 0, 1, 1);
    uint8_t *copy = malloc(film_size);
    assert_non_null(copy);
    uint32_t seed = 1;
    for (int round = 0; round < 40; round++) {
        uint8_t *jpeg = NULL;
        size_t size = 0;
        memcpy(copy, film, film_size);
        for (int i = 0; i < 200; i++) {
            seed = seed * 1664525 + 1013904223;
            copy[seed % film_size] = (uint8_t)(seed >> 24);
        }
        request.size = round % 4 == 3 ? (uint32_t)(film_size / (size_t)(round + 1)) : (uint32_t)film_size;
        request.container = round % 5 == 4 ? POSTER_TS : POSTER_MP4;
        enum poster_status status = poster_picture_make(&request, copy, &jpeg, &size);
        assert_int_equal(status == POSTER_MADE, jpeg != NULL);
        free(jpeg);
    }
    uint8_t *jpeg = NULL;
    size_t size = 0;
    memset(copy, 0, film_size);
    request.size = (uint32_t)film_size;
    assert_int_equal(poster_picture_make(&request, copy, &jpeg, &size), POSTER_NO_PICTURE);
    request.size = 1;
    assert_int_equal(poster_picture_make(&request, film, &jpeg, &size), POSTER_NO_PICTURE);
    assert_null(jpeg);
    free(copy);
}

/* ---- requests ---- */

static void *answer_thread(void *argument)
{
    int *fd = argument;
    poster_answer(*fd);
    close(*fd);
    return NULL;
}

/* The answer; its magic is 0 where there was none. SENT: bytes of the film. */
static struct poster_answer ask(const struct poster_request *request, size_t sent, uint8_t **jpeg)
{
    int fds[2];
    pthread_t thread;
    struct poster_answer answer = {0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(pthread_create(&thread, NULL, answer_thread, &fds[1]), 0);
    assert_int_equal(send(fds[0], request, sizeof(*request), MSG_NOSIGNAL), sizeof(*request));
    for (size_t at = 0; at < sent;) {
        ssize_t done = send(fds[0], film + at, sent - at, MSG_NOSIGNAL);
        if (done <= 0)
            break; /* it has refused already */
        at += (size_t)done;
    }
    (void)shutdown(fds[0], SHUT_WR);
    if (recv(fds[0], &answer, sizeof(answer), MSG_WAITALL) != (ssize_t)sizeof(answer))
        answer.magic = 0;
    *jpeg = answer.magic != 0 && answer.size > 0 ? malloc(answer.size) : NULL;
    if (*jpeg)
        assert_int_equal(recv(fds[0], *jpeg, answer.size, MSG_WAITALL), answer.size);
    assert_int_equal(pthread_join(thread, NULL), 0);
    close(fds[0]);
    return answer;
}

static void a_request_is_answered_by_a_picture(void **state)
{
    (void)state;
    struct poster_request request = request_for(160, 0, 1, 1);
    uint8_t *jpeg;
    struct poster_answer answer = ask(&request, film_size, &jpeg);
    assert_int_equal(answer.magic, POSTER_MAGIC);
    assert_int_equal(answer.status, POSTER_MADE);
    assert_true(jpeg && jpeg[0] == 0xff && jpeg[1] == 0xd8);
    free(jpeg);
}

static void requests_that_lie_are_refused_before_memory_is_taken(void **state)
{
    (void)state;
    const struct poster_request good = request_for(160, 0, 1, 1);
    struct poster_request bad[12];
    size_t count = 0;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        bad[i] = good;
    bad[count++].magic = 1;
    bad[count++].container = 2;
    bad[count++].width = 0;
    bad[count++].width = 161;
    bad[count++].width = POSTER_WIDTH_MAX + 2;
    bad[count++].height = 91;
    bad[count++].height = 1u << 31;
    bad[count++].tiles = 0;
    bad[count++].tiles = POSTER_TILES_MAX + 1;
    bad[count++].columns = 0;
    bad[count++].size = 0;
    bad[count++].size = POSTER_SIZE_MAX + 1;
    for (size_t i = 0; i < count; i++) {
        uint8_t *jpeg;
        struct poster_answer answer = ask(&bad[i], 0, &jpeg);
        assert_int_equal(answer.magic, POSTER_MAGIC);
        assert_int_equal(answer.status, POSTER_BAD_REQUEST);
        assert_int_equal(answer.size, 0);
    }
    uint8_t *jpeg;
    struct poster_answer answer = ask(&good, film_size / 2, &jpeg); /* the rest never comes */
    assert_int_equal(answer.status, POSTER_BAD_REQUEST);
}

/* ---- rights ---- */

/* Runs WORK in a process with all limits; how that ended. */
static int confined(int (*work)(void))
{
    int status = 0;
    pid_t child = fork();
    if (child == 0)
        _exit(poster_limits_enter() ? work() : 77);
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    return status;
}

static void expect_exit(int (*work)(void), int code)
{
    int status = confined(work);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != code)
        fail_msg("ended with status %d (%s)", status, WIFSIGNALED(status) ? "signal" : "code");
}

static int refused(long result)
{
    return result == -1 && errno == EPERM ? 0 : 1;
}

static int try_to_open(void)
{
    return refused(open("/etc/passwd", O_RDONLY));
}

static int try_to_connect(void)
{
    return refused(socket(AF_INET, SOCK_STREAM, 0)) + refused(socket(AF_UNIX, SOCK_STREAM, 0));
}

static int try_to_start(void)
{
    char program[] = "/bin/true";
    char *arguments[] = {program, NULL};
    return refused(execve(program, arguments, NULL)) + refused(kill(getppid(), 0)) +
           refused(unlink("/nonexistent")) + refused(fork());
}

static int try_to_run_memory(void)
{
    void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return 3;
    return refused(mprotect(memory, 4096, PROT_READ | PROT_EXEC)) +
           refused((long)mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

static int look_at_limits(void)
{
    struct rlimit core;
    void *memory = malloc(1 << 20); /* what is needed still works */
    if (!memory)
        return 1;
    memset(memory, 1, 1 << 20);
    int sum = ((char *)memory)[1000];
    free(memory);
    /* getrlimit() is among what is refused: the limits can no longer be looked at, or changed. */
    return sum == 1 && getrlimit(RLIMIT_CORE, &core) == -1 && errno == EPERM ? 0 : 1;
}

static int work_for_ever(void)
{
    volatile bool going = true;
    while (going)
        continue;
    return 0;
}

static void a_confined_process_reaches_nothing(void **state)
{
    (void)state;
    expect_exit(try_to_open, 0);
    expect_exit(try_to_connect, 0);
    expect_exit(try_to_start, 0);
    expect_exit(try_to_run_memory, 0);
    expect_exit(look_at_limits, 0);
}

/* Where the kernel refuses the filter. The limit of what may be written to files is passed over: what counts coverage writes its file at the
 * end, and not everybody may raise a limit again. */
static int enter_without_filter(void)
{
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prctl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PR_SET_SECCOMP, 0, 5),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prlimit64, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args) + sizeof(uint64_t)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, RLIMIT_FSIZE, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {sizeof(rules) / sizeof(rules[0]), rules};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) != 0)
        return 3;
    bool entered = poster_limits_enter();
    struct rlimit cores, seconds;
    bool limited = getrlimit(RLIMIT_CPU, &seconds) == 0 && seconds.rlim_max == POSTER_CPU_SECONDS &&
                   getrlimit(RLIMIT_CORE, &cores) == 0 && cores.rlim_max == 0 && alarm(0) > 0;
    return entered ? 1 : limited ? 0 : 2;
}

static void without_the_filter_nothing_may_be_decoded(void **state)
{
    int status = 0;
    (void)state;
    (void)fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        exit(enter_without_filter());
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void one_that_makes_no_end_is_killed(void **state)
{
    (void)state;
    int status = confined(work_for_ever);
    assert_true(WIFSIGNALED(status));
    assert_true(WTERMSIG(status) == SIGXCPU || WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGALRM);
}

/* ---- the program ---- */

/* bin/reel-poster beside this program's folder, with up to three arguments. */
static pid_t run(const char *first, const char *second, const char *third)
{
    char program[512];
    ssize_t size = readlink("/proc/self/exe", program, sizeof(program) - 32);
    assert_true(size > 0);
    program[size] = '\0';
    *strrchr(program, '/') = '\0';
    strcpy(strrchr(program, '/'), "/bin/reel-poster");
    pid_t child = fork();
    if (child == 0) {
        (void)unsetenv("LISTEN_FDS");
        execl(program, "reel-poster", first, second, third, (char *)NULL);
        _exit(98);
    }
    assert_true(child > 0);
    return child;
}

static void expect_code(pid_t child, int code)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != code)
        fail_msg("reel-poster ended with status %d instead of code %d", status, code);
}

static void a_wrong_command_line_is_refused(void **state)
{
    char text[200];
    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    expect_code(run("--help", NULL, NULL), 0);
    expect_code(run("--version", NULL, NULL), 0);
    expect_code(run("--colour", NULL, NULL), 2);
    expect_code(run("--jobs=0", NULL, NULL), 2);
    expect_code(run("--jobs=many", NULL, NULL), 2);
    expect_code(run(NULL, NULL, NULL), 1);
    expect_code(run("--socket", text, NULL), 1);
    expect_code(run("--socket", "/nonexistent/socket", NULL), 1);
}

static void it_serves_until_it_is_told_to_stop(void **state)
{
    char directory[] = "/tmp/reel-poster.XXXXXX";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct poster_request request = request_for(160, 0, 1, 1);
    struct poster_answer answer;
    (void)state;
    assert_non_null(mkdtemp(directory));
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", directory);
    pid_t child = run("--socket", address.sun_path, "--jobs=1");
    for (int i = 0; i < 3; i++) { /* more than it makes at the same time */
        int fd = -1;
        for (int tries = 0; tries < 2000; tries++) {
            fd = socket(AF_UNIX, SOCK_STREAM, 0);
            if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
                break;
            close(fd);
            fd = -1;
            (void)usleep(10000);
        }
        assert_true(fd >= 0);
        assert_int_equal(send(fd, &request, sizeof(request), MSG_NOSIGNAL), sizeof(request));
        for (size_t at = 0; at < film_size;) {
            ssize_t done = send(fd, film + at, film_size - at, MSG_NOSIGNAL);
            assert_true(done > 0);
            at += (size_t)done;
        }
        assert_int_equal(recv(fd, &answer, sizeof(answer), MSG_WAITALL), sizeof(answer));
        assert_int_equal(answer.status, POSTER_MADE);
        close(fd);
    }
    assert_int_equal(kill(child, SIGTERM), 0);
    expect_code(child, 0);
    assert_int_equal(rmdir(directory), 0); /* the socket is gone */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_picture_has_the_width_that_was_asked_for),
        cmocka_unit_test(damaged_films_have_no_picture_and_do_no_harm),
        cmocka_unit_test(a_request_is_answered_by_a_picture),
        cmocka_unit_test(requests_that_lie_are_refused_before_memory_is_taken),
        cmocka_unit_test(a_confined_process_reaches_nothing),
        cmocka_unit_test(without_the_filter_nothing_may_be_decoded),
        cmocka_unit_test(one_that_makes_no_end_is_killed),
        cmocka_unit_test(a_wrong_command_line_is_refused),
        cmocka_unit_test(it_serves_until_it_is_told_to_stop),
    };
    return cmocka_run_group_tests(tests, read_film, free_film);
}
