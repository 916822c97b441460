/*
 * slow_flush: a preload library (LD_PRELOAD) that gives the process a disk whose flush takes long, and counts what it asks for.
 *
 * SLOW_FLUSH_MS=N: fsync(2), fdatasync(2) and syncfs(2) take N milliseconds more, each by itself.
 * SLOW_FLUSH_SHARED=1: as one disk has it, to which the kernel sends one flush at a time: whoever comes while one is under way waits
 * for its end, and shares the next one with all who came meanwhile.
 * SLOW_FLUSH_COUNT=FILE: eight bytes, a number in the machine's byte order: the calls so far, those of SQLite included.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_syncfs)(int);
static _Atomic int64_t nowhere;
static _Atomic int64_t *calls = &nowhere;
static long wait_ms;
static int shared;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t over = PTHREAD_COND_INITIALIZER;
static int64_t begun, ended; /* flushes; one at a time */

static void *find(const char *name)
{
    void *function = dlsym(RTLD_NEXT, name);
    if (!function)
        abort();
    return function;
}

__attribute__((constructor)) static void begin(void)
{
    const char *ms = getenv("SLOW_FLUSH_MS"), *share = getenv("SLOW_FLUSH_SHARED");
    const char *path = getenv("SLOW_FLUSH_COUNT");
    real_fsync = (int (*)(int))find("fsync");
    real_fdatasync = (int (*)(int))find("fdatasync");
    real_syncfs = (int (*)(int))find("syncfs");
    wait_ms = ms ? strtol(ms, NULL, 10) : 0;
    shared = share && *share == '1';
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *mapped = mmap(NULL, sizeof(*calls), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped != MAP_FAILED)
        calls = mapped;
    close(fd);
}

static void pause_ms(void)
{
    const struct timespec time = {.tv_sec = wait_ms / 1000, .tv_nsec = wait_ms % 1000 * 1000000L};
    nanosleep(&time, NULL);
}

/* A flush that begins from here on. */
static void share_flush(void)
{
    pthread_mutex_lock(&mutex);
    int64_t mine = begun + 1;
    while (ended < mine) {
        if (begun > ended) { /* one is under way; it may have begun before this call */
            pthread_cond_wait(&over, &mutex);
            continue;
        }
        begun++;
        pthread_mutex_unlock(&mutex);
        pause_ms();
        pthread_mutex_lock(&mutex);
        ended++;
        pthread_cond_broadcast(&over);
    }
    pthread_mutex_unlock(&mutex);
}

static int flush(int (*sync)(int), int fd)
{
    atomic_fetch_add(calls, 1);
    int result = sync(fd), saved = errno;
    if (wait_ms > 0 && shared)
        share_flush();
    else if (wait_ms > 0)
        pause_ms();
    errno = saved;
    return result;
}

int fsync(int fd)
{
    return flush(real_fsync, fd);
}

int fdatasync(int fd)
{
    return flush(real_fdatasync, fd);
}

int syncfs(int fd)
{
    return flush(real_syncfs, fd);
}
