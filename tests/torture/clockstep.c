/*
 * clockstep: a preload library (LD_PRELOAD) that sets the wall clock of one process. For tests.
 *
 * CLOCKSTEP_FILE=FILE: eight bytes, a signed number of seconds in the machine's byte order, which is added to every answer
 * about CLOCK_REALTIME; the test changes it while the process runs. The monotonic clock stays as it is.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int64_t none;
static const int64_t *step = &none;
static int (*real_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("CLOCKSTEP_FILE");
    void *symbol = dlsym(RTLD_NEXT, "clock_gettime");
    memcpy(&real_clock_gettime, &symbol, sizeof(symbol));
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *mapped = mmap(NULL, sizeof(*step), PROT_READ, MAP_SHARED, fd, 0);
    if (mapped != MAP_FAILED)
        step = mapped;
    close(fd);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    if (!real_clock_gettime) /* a sanitizer asks before the constructor ran */
        begin();
    int result = real_clock_gettime(clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += __atomic_load_n(step, __ATOMIC_RELAXED);
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec precise;
    (void)zone;
    int result = clock_gettime(CLOCK_REALTIME, &precise);
    if (result == 0)
        *now = (struct timeval){.tv_sec = precise.tv_sec, .tv_usec = precise.tv_nsec / 1000};
    return result;
}

time_t time(time_t *now)
{
    struct timespec precise = {0};
    (void)clock_gettime(CLOCK_REALTIME, &precise);
    if (now)
        *now = precise.tv_sec;
    return precise.tv_sec;
}
