/*
 * file_send: real files to real TCP sockets; the transfer runs on a loop's thread, the test is the peer.
 */
#include "common/file/file_send.h"
#include "common/file/file_window.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#define MIB      (1024 * 1024)
#define PATIENCE 20000 /* ms */
#define BLOCK    (128 * 1024)

/* One transfer and what became of it. */
struct transfer {
    struct task task; /* starts or cancels it on the loop */
    struct file_send_options options;
    struct file_send *send;
    bool ended_inside; /* done() ran inside file_send_start() */
    bool cancel_at_once;
    atomic_int started, done, cancelled, cancel_returned;
    bool too_late; /* to cancel it: it was done */
    int64_t sent;
    int code; /* 0: all sent */
    char text[ERROR_TEXT_SIZE];
};

static struct loop *loop;
static struct workers *workers;
static struct metric *jobs;
static int peer, ours, file;
static char path[64];
static struct transfer transfer;

static uint8_t pattern(int64_t offset)
{
    return (uint8_t)((uint64_t)offset * 2654435761u >> 13);
}

static void wait_for(atomic_int *counter, int value)
{
    for (int i = 0; atomic_load(counter) != value; i++) {
        if (i > PATIENCE)
            fail_msg("the counter is %d, not %d", atomic_load(counter), value);
        usleep(1000);
    }
}

/* ---- the transfer ---- */

static void on_done(void *argument, int64_t sent, const struct error *error)
{
    struct transfer *it = argument;

    it->sent = sent;
    it->code = error ? error->code : 0;
    snprintf(it->text, sizeof(it->text), "%s", error ? error->text : "");
    it->ended_inside = !atomic_load(&it->started);
    atomic_fetch_add(&it->done, 1);
}

static void on_cancelled(void *argument)
{
    struct transfer *it = argument;

    atomic_fetch_add(&it->cancelled, 1);
}

static void cancel_here(struct transfer *it)
{
    file_send_cancel(it->send, on_cancelled, it);
    atomic_store(&it->cancel_returned, 1 + atomic_load(&it->cancelled));
}

static void start_task(struct task *task)
{
    struct transfer *it = CONTAINER_OF(task, struct transfer, task);
    struct error error;

    it->send = file_send_start(&it->options, &error);
    ASSERT(it->send);
    if (it->cancel_at_once && atomic_load(&it->done) == 0)
        cancel_here(it);
    atomic_store(&it->started, 1);
}

static void cancel_task(struct task *task)
{
    struct transfer *it = CONTAINER_OF(task, struct transfer, task);

    it->too_late = atomic_load(&it->done) > 0;
    if (it->too_late)
        atomic_store(&it->cancel_returned, 1);
    else
        cancel_here(it);
}

static void prepare(int64_t offset, int64_t length)
{
    memset(&transfer, 0, sizeof(transfer));
    transfer.task.run = start_task;
    transfer.options = (struct file_send_options){
        .loop = loop,
        .workers = workers,
        .to = {ours, NULL},
        .fd = file,
        .offset = offset,
        .length = length,
        .progress_ms = 20000,
        .done = on_done,
        .argument = &transfer,
    };
}

static void start(int64_t offset, int64_t length)
{
    prepare(offset, length);
    loop_post(loop, &transfer.task);
}

static void cancel(void)
{
    wait_for(&transfer.started, 1);
    transfer.task.run = cancel_task;
    loop_post(loop, &transfer.task);
}

/* ---- the surroundings ---- */

static void make_file(int64_t size)
{
    uint8_t *block = malloc(MIB);

    assert_non_null(block);
    snprintf(path, sizeof(path), "/tmp/test_file_send.XXXXXX");
    file = mkstemp(path);
    assert_true(file >= 0);
    for (int64_t offset = 0; offset < size; offset += MIB) {
        size_t part = (size_t)min_i64(MIB, size - offset);

        for (size_t i = 0; i < part; i++)
            block[i] = pattern(offset + (int64_t)i);
        assert_int_equal(pwrite(file, block, part, offset), part);
    }
    free(block);
}

/* Whether any page of the file is in the page cache. (A read with RWF_NOWAIT would start to read it in.) */
static bool is_cached(void)
{
    static unsigned char pages[64 * MIB / 4096];
    off_t size = lseek(file, 0, SEEK_END);
    void *map = mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, file, 0);
    bool cached = false;

    assert_true(map != MAP_FAILED && size <= (off_t)sizeof(pages) * sysconf(_SC_PAGESIZE));
    assert_int_equal(mincore(map, (size_t)size, pages), 0);
    for (off_t i = 0; i < size / sysconf(_SC_PAGESIZE); i++)
        cached = cached || (pages[i] & 1) != 0;
    assert_int_equal(munmap(map, (size_t)size), 0);
    return cached;
}

/* What the kernel says to a byte that is wanted at once: below 0, nothing of the file at hand, and reading it in has begun. */
static ssize_t ask_for_byte(int64_t offset)
{
    uint8_t byte;
    struct iovec vector = {.iov_base = &byte, .iov_len = 1};

    return preadv2(file, &vector, 1, offset, RWF_NOWAIT);
}

static bool file_system_can_tell(void)
{
    return ask_for_byte(0) >= 0;
}

/* Takes the file out of the page cache. The kernel may be busy with a page and keep it: then once more, but not for long where
 * that was in vain before: a tmpfs has nothing behind the cache. */
static bool make_cold(void)
{
    static int tries = 100;

    assert_int_equal(fsync(file), 0);
    for (int i = 0; i < tries; i++) {
        assert_int_equal(posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED), 0);
        if (!is_cached())
            return true;
        usleep(10000);
    }
    tries = 3;
    return false;
}

/* However much this machine's sockets take by themselves: 64 MiB are more than both hold. */
static void bound_buffers(void)
{
    int bytes = MIB;

    assert_int_equal(setsockopt(ours, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)), 0);
    assert_int_equal(setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)), 0);
}

static void make_sockets(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = PATIENCE / 1000};
    socklen_t length = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(listener >= 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &length), 0);
    peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    assert_int_equal(connect(peer, (struct sockaddr *)&address, sizeof(address)), 0);
    ours = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(ours >= 0);
    close(listener);
}

static int set_up(void **state)
{
    struct error error;

    (void)state;
    loop = loop_create("test", &error);
    workers = workers_create("send-test", 1, 1, &error);
    jobs = metrics_histogram("reel_workers_job_seconds", "", "pool=\"send-test\"");
    assert_non_null(loop);
    assert_non_null(workers);
    assert_true(loop_start(loop, &error));
    make_sockets();
    file = -1;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_true(workers_destroy(workers, PATIENCE));
    loop_destroy(loop);
    if (peer >= 0)
        close(peer);
    close(ours);
    if (file >= 0) {
        close(file);
        unlink(path);
    }
    return 0;
}

static void get_pattern(int64_t offset, int64_t size)
{
    static uint8_t block[BLOCK];

    while (size > 0) {
        ssize_t got = recv(peer, block, (size_t)min_i64(BLOCK, size), 0);

        if (got <= 0)
            fail_msg("recv: %s", got == 0 ? "end of stream" : strerror(errno));
        for (ssize_t i = 0; i < got; i++) {
            if (block[i] != pattern(offset + i))
                fail_msg("byte %lld is wrong", (long long)offset + (long long)i);
        }
        offset += got;
        size -= got;
    }
}

static void expect_all_sent(int64_t size)
{
    wait_for(&transfer.done, 1);
    wait_for(&transfer.started, 1);
    if (transfer.code != 0)
        fail_msg("%s", transfer.text);
    assert_int_equal(transfer.sent, size);
}

/* A job that keeps the only worker busy while `gate` is closed. */
struct blocker {
    struct job job;
    atomic_int running, gate;
};

static void run_blocker(struct job *job)
{
    struct blocker *blocker = CONTAINER_OF(job, struct blocker, job);

    atomic_store(&blocker->running, 1);
    while (atomic_load(&blocker->gate) == 0)
        usleep(500);
    atomic_store(&blocker->running, 2);
}

/* ---- tests ---- */

static void ranges_arrive_byte_for_byte(void **state)
{
    static const struct {
        int64_t offset, length;
    } ranges[] = {
        {0, 1},
        {0, 0},
        {4095, 2},
        {1, 10 * MIB - 1},
        {0, 10 * MIB},
        {10 * MIB, 0},
        {FILE_WINDOW_SIZE - 1, FILE_WINDOW_SIZE},
        {0, FILE_WINDOW_SIZE + 1},
        {10 * MIB - 1, 1},
    };

    (void)state;
    make_file(10 * MIB);
    for (int cold = 0; cold < 2; cold++) {
        for (size_t i = 0; i < ARRAY_SIZE(ranges); i++) {
            if (cold)
                (void)make_cold();
            start(ranges[i].offset, ranges[i].length);
            get_pattern(ranges[i].offset, ranges[i].length);
            expect_all_sent(ranges[i].length);
            assert_int_equal(transfer.ended_inside || ranges[i].length > 0, true);
        }
    }
}

static void the_loop_sends_what_is_cached_and_a_worker_what_is_not(void **state)
{
    int64_t before = metric_value(jobs);

    bool quick = false;

    (void)state;
    make_file(8 * MIB);
    if (!file_system_can_tell())
        skip(); /* then a worker does all, as the other tests have seen */
    start(0, 8 * MIB);
    get_pattern(0, 8 * MIB);
    expect_all_sent(8 * MIB);
    assert_int_equal(metric_value(jobs), before);
    /* The look begins to read the file in, and the disk may be quicker than the next look: the kernel is asked beside it
     * whether this is such a disk. */
    for (int i = 0; i < 20 && metric_value(jobs) == before; i++) {
        if (!make_cold())
            skip();
        quick = ask_for_byte(0) == 1 || quick;
        if (!make_cold())
            skip();
        start(0, 8 * MIB);
        get_pattern(0, 8 * MIB);
        expect_all_sent(8 * MIB);
        for (int j = 0; j < 100 && metric_value(jobs) == before; j++)
            usleep(1000); /* a worker counts a job when it has left it */
    }
    if (metric_value(jobs) == before && quick) {
        print_message("skipped: this disk reads a page before the kernel can say that it must be read\n");
        skip();
    }
    assert_true(metric_value(jobs) > before);
}

static void a_file_shorter_than_announced_is_an_io_error_that_names_the_offset(void **state)
{
    (void)state;
    make_file(100000);
    start(0, 100001);
    get_pattern(0, 100000);
    wait_for(&transfer.done, 1);
    assert_int_equal(transfer.code, ERROR_IO);
    assert_int_equal(transfer.sent, 100000);
    wait_for(&transfer.started, 1);
    assert_string_equal(transfer.text, "the file ends at offset 100000, 1 bytes short of what was requested");
    start(200000, 5);
    wait_for(&transfer.done, 1);
    assert_int_equal(transfer.code, ERROR_IO);
    assert_int_equal(transfer.sent, 0);
}

static void a_file_that_cannot_be_read_is_an_io_error(void **state)
{
    (void)state;
    make_file(1000);
    close(file);
    file = open(path, O_WRONLY | O_CLOEXEC);
    start(0, 1000);
    wait_for(&transfer.done, 1);
    assert_int_equal(transfer.code, ERROR_IO);
    assert_int_equal(transfer.sent, 0);
}

static void a_peer_that_goes_is_a_connection_error(void **state)
{
    (void)state;
    make_file(64 * MIB);
    bound_buffers();
    start(0, 64 * MIB);
    get_pattern(0, MIB);
    close(peer);
    peer = -1;
    wait_for(&transfer.done, 1);
    assert_int_equal(transfer.code, ERROR_CONNECTION);
    assert_in_range(transfer.sent, MIB, 64 * MIB - 1);
}

static void a_peer_that_takes_nothing_is_a_timeout(void **state)
{
    (void)state;
    make_file(64 * MIB);
    bound_buffers();
    prepare(0, 64 * MIB);
    transfer.options.progress_ms = 100;
    loop_post(loop, &transfer.task);
    wait_for(&transfer.done, 1);
    assert_int_equal(transfer.code, ERROR_TIMEOUT);
    assert_true(transfer.sent < 64 * MIB);
}

/* Reads 16 MiB under `progress_ms`, at first `pieces` pieces of `size` bytes every `pause_us`: much longer than the
 * limit, and the socket stays full for most of it. A peer that the machine itself held up for so long that it missed
 * the limit says nothing about the transfer: then once more. */
static void read_slowly(int64_t progress_ms, int pieces, int64_t size, useconds_t pause_us)
{
    bool held_up = true;

    make_file(16 * MIB);
    for (int attempt = 0; held_up && attempt < 20; attempt++) {
        int64_t got = 0;

        held_up = false;
        prepare(0, 16 * MIB);
        transfer.options.progress_ms = progress_ms;
        loop_post(loop, &transfer.task);
        for (int i = 0; i < pieces && !held_up; i++, got += size) {
            int64_t begin = clock_monotonic_ms();

            usleep(pause_us);
            held_up = clock_monotonic_ms() - begin > progress_ms / 3;
            if (!held_up)
                get_pattern(got, size);
        }
        if (!held_up) {
            get_pattern(got, 16 * MIB - got);
            expect_all_sent(16 * MIB);
            return;
        }
        close(peer);
        wait_for(&transfer.done, 1);
        close(ours);
        make_sockets();
    }
    fail_msg("this machine held the peer up in each attempt");
}

static void a_slow_peer_is_waited_for(void **state)
{
    (void)state;
    read_slowly(1000, 30, BLOCK, 60000);
}

static void a_rate_limit_is_kept(void **state)
{
    int64_t begin = clock_monotonic_ms();

    (void)state;
    make_file(MIB);
    prepare(0, MIB);
    transfer.options.bytes_per_second = 4 * MIB;
    loop_post(loop, &transfer.task);
    get_pattern(0, MIB);
    expect_all_sent(MIB);
    /* A quarter of a second, but for what the bucket holds at first. */
    assert_true(clock_monotonic_ms() - begin >= 200);
    prepare(0, 10);
    transfer.options.bytes_per_second = 100; /* less than a byte in a hundredth of a second */
    loop_post(loop, &transfer.task);
    get_pattern(0, 10);
    expect_all_sent(10);
}

/* The kernel calls a socket writable when a third of its buffer is free: that takes this peer longer than the limit. */
static void a_peer_that_reads_drop_by_drop_is_not_cut(void **state)
{
    (void)state;
    read_slowly(1500, 100, 16384, 50000);
}

static void a_rate_limit_does_not_make_up_for_a_pause(void **state)
{
    int small = 64 * 1024, unread = 0;

    (void)state;
    /* Small buffers and a low rate: what is measured is the limit, not how fast this machine reads. */
    assert_int_equal(setsockopt(ours, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    assert_int_equal(setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
    make_file(4 * MIB);
    prepare(0, 4 * MIB);
    transfer.options.bytes_per_second = MIB;
    loop_post(loop, &transfer.task);
    usleep(2000000); /* the buffers are full; a bucket without a bottom would fill with 1 MiB */
    int64_t begin = clock_monotonic_ms();
    assert_int_equal(ioctl(peer, FIONREAD, &unread), 0);
    int64_t under_way = unread + file_send_unsent(ours);
    assert_true(under_way < MIB);
    get_pattern(0, under_way + MIB / 2);
    assert_true(clock_monotonic_ms() - begin >= 300); /* half a second, but for what the bucket holds */
    cancel();
    wait_for(&transfer.cancelled, 1);
}

static void a_busy_pool_is_tried_again(void **state)
{
    static struct blocker blockers[2] = {{.job.run = run_blocker}, {.job.run = run_blocker}};

    (void)state;
    make_file(MIB);
    if (!make_cold())
        skip();
    assert_true(workers_submit(workers, &blockers[0].job));
    wait_for(&blockers[0].running, 1);
    assert_true(workers_submit(workers, &blockers[1].job)); /* the queue is full */
    start(0, MIB);
    wait_for(&transfer.started, 1);
    usleep(50000);
    atomic_store(&blockers[0].gate, 1);
    atomic_store(&blockers[1].gate, 1);
    get_pattern(0, MIB);
    expect_all_sent(MIB);
    wait_for(&blockers[1].running, 2);
}

static void a_transfer_that_waits_for_its_peer_is_cancelled_at_once(void **state)
{
    (void)state;
    make_file(64 * MIB);
    /* Until the socket is full something may still be in the file: how long that takes is this machine's affair. */
    for (useconds_t pause_us = 20000;; pause_us *= 2) {
        bound_buffers();
        start(0, 64 * MIB);
        get_pattern(0, MIB);
        usleep(pause_us);
        cancel();
        wait_for(&transfer.cancelled, 1);
        while (atomic_load(&transfer.cancel_returned) == 0)
            usleep(1000);
        assert_int_equal(atomic_load(&transfer.done), 0);
        if (atomic_load(&transfer.cancel_returned) == 2) /* it ran before the call returned */
            return;
        assert_true(pause_us < 10000000);
        close(peer);
        close(ours);
        make_sockets();
    }
}

/* Cancels a transfer whose worker has not come to it yet. False: the disk was quicker, and the loop has sent it all. */
static bool cancel_behind(struct blocker *blocker)
{
    blocker->job.run = run_blocker;
    assert_true(workers_submit(workers, &blocker->job));
    wait_for(&blocker->running, 1);
    start(0, MIB);
    cancel();
    wait_for(&transfer.cancel_returned, 1);
    bool inside = !transfer.too_late;
    if (inside)
        assert_int_equal(atomic_load(&transfer.cancelled), 0);
    atomic_store(&blocker->gate, 1);
    if (inside)
        wait_for(&transfer.cancelled, 1);
    wait_for(&blocker->running, 2);
    return inside;
}

static void a_cancelled_transfer_says_when_its_worker_is_out_of_the_file(void **state)
{
    static struct blocker blockers[20];
    size_t attempts = 0;

    (void)state;
    make_file(MIB);
    do {
        if (attempts == ARRAY_SIZE(blockers) || !make_cold())
            skip();
        close(peer);
        close(ours);
        make_sockets();
    } while (!cancel_behind(&blockers[attempts++]));
    assert_int_equal(atomic_load(&transfer.done), 0);
}

static void a_transfer_may_be_cancelled_at_any_moment(void **state)
{
    (void)state;
    make_file(4 * MIB);
    for (int i = 0; i < 300; i++) {
        if (i % 3 == 0)
            (void)make_cold();
        prepare(i % 2 ? 0 : i * 1000, i % 5 ? 2 * MIB : 1000);
        transfer.options.bytes_per_second = i % 7 == 0 ? 10 * MIB : 0;
        transfer.cancel_at_once = i % 2 == 0;
        loop_post(loop, &transfer.task);
        wait_for(&transfer.started, 1);
        if (!transfer.cancel_at_once && transfer.options.length > 1000) {
            usleep((useconds_t)(i % 10) * 50);
            close(peer);
            peer = -1;
        }
        for (int waited = 0; atomic_load(&transfer.done) + atomic_load(&transfer.cancelled) == 0; waited++) {
            assert_true(waited < PATIENCE);
            usleep(1000);
        }
        assert_int_equal(atomic_load(&transfer.done) + atomic_load(&transfer.cancelled), 1);
        if (peer >= 0)
            close(peer);
        close(ours);
        make_sockets();
    }
}

/* Several transfers at once: each goes on, none is forgotten. */
static void transfers_share_a_loop(void **state)
{
    enum { COUNT = 8 };
    struct transfer *all = calloc(COUNT, sizeof(*all));
    int peers[COUNT], sockets[COUNT];

    (void)state;
    assert_non_null(all);
    make_file(4 * MIB);
    for (int i = 0; i < COUNT; i++) {
        peers[i] = peer;
        sockets[i] = ours;
        prepare(0, 4 * MIB);
        memcpy(&all[i].options, &transfer.options, sizeof(transfer.options));
        all[i].options.argument = &all[i];
        all[i].task.run = start_task;
        make_sockets();
    }
    for (int i = 0; i < COUNT; i++)
        loop_post(loop, &all[i].task);
    for (int64_t offset = 0; offset < 4 * MIB; offset += MIB) {
        for (int i = 0; i < COUNT; i++) {
            int kept = peer;

            peer = peers[i];
            get_pattern(offset, MIB);
            peer = kept;
        }
    }
    for (int i = 0; i < COUNT; i++) {
        wait_for(&all[i].done, 1);
        assert_int_equal(all[i].code, 0);
        close(peers[i]);
        close(sockets[i]);
    }
    free(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ranges_arrive_byte_for_byte, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_loop_sends_what_is_cached_and_a_worker_what_is_not, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_file_shorter_than_announced_is_an_io_error_that_names_the_offset,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_cannot_be_read_is_an_io_error, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_peer_that_goes_is_a_connection_error, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_peer_that_takes_nothing_is_a_timeout, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_slow_peer_is_waited_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_peer_that_reads_drop_by_drop_is_not_cut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_rate_limit_does_not_make_up_for_a_pause, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_rate_limit_is_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_busy_pool_is_tried_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_transfer_that_waits_for_its_peer_is_cancelled_at_once, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_cancelled_transfer_says_when_its_worker_is_out_of_the_file, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_transfer_may_be_cancelled_at_any_moment, set_up, tear_down),
        cmocka_unit_test_setup_teardown(transfers_share_a_loop, set_up, tear_down),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
