/*
 * crash_point: the counters behind CRASH_POINT(). Empty where the option is off.
 */
#include "common/base/crash_point.h"

#ifdef REEL_CRASH_POINTS

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Does VARIABLE name this point, for the time that REACHED counts? */
static bool is_due(const char *variable, const char *name, _Atomic long *reached)
{
    const char *wanted = getenv(variable);
    if (!wanted)
        return false;
    size_t size = strcspn(wanted, ":");
    if (strlen(name) != size || memcmp(name, wanted, size) != 0)
        return false;
    long nth = wanted[size] == ':' ? strtol(wanted + size + 1, NULL, 10) : 1;
    return atomic_fetch_add(reached, 1) + 1 == nth;
}

void crash_point_reach(const char *name)
{
    static _Atomic long killed, stopped;
    if (is_due("REEL_STOP_POINT", name, &stopped))
        (void)raise(SIGSTOP); /* this thread at once, the others with it */
    if (is_due("REEL_CRASH_POINT", name, &killed)) {
        (void)kill(getpid(), SIGKILL);
        for (;;) /* nothing may happen after the point, not even while the signal is on its way */
            (void)pause();
    }
}

#else

/* A file without a declaration is not C. */
typedef int crash_point_is_off;

#endif
