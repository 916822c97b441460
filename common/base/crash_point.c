/*
 * crash_point: the counter behind CRASH_POINT(). Empty where the option is off.
 */
#include "common/base/crash_point.h"

#ifdef REEL_CRASH_POINTS

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void crash_point_reach(const char *name)
{
    static _Atomic long reached;
    const char *wanted = getenv("REEL_CRASH_POINT");
    if (!wanted)
        return;
    size_t size = strcspn(wanted, ":");
    if (strlen(name) != size || memcmp(name, wanted, size) != 0)
        return;
    long nth = wanted[size] == ':' ? strtol(wanted + size + 1, NULL, 10) : 1;
    if (atomic_fetch_add(&reached, 1) + 1 == nth) {
        (void)kill(getpid(), SIGKILL);
        for (;;) /* nothing may happen after the point, not even while the signal is on its way */
            (void)pause();
    }
}

#else

/* A file without a declaration is not C. */
typedef int crash_point_is_off;

#endif
