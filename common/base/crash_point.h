/*
 * crash_point: named places where a test build ends itself as kill -9 would, or stops itself as kill -STOP would, so that tests
 * can see what a crash there leaves behind, and what a process that continues late does (docs/durability.md lists them). Compiled in only by the CMake option
 * REEL_CRASH_POINTS; otherwise a place costs nothing. Called wherever a step must survive a crash.
 */
#ifndef REEL_COMMON_CRASH_POINT_H
#define REEL_COMMON_CRASH_POINT_H

#include "common/base/base.h"

#ifdef REEL_CRASH_POINTS
/* Any thread. With REEL_CRASH_POINT=NAME or NAME:NTH in the environment: the NTH time (the first by default)
 * that this is called with NAME, the process kills itself with SIGKILL. REEL_STOP_POINT likewise with SIGSTOP: whoever
 * sends SIGCONT lets it continue from there. */
void crash_point_reach(const char *name);
#define CRASH_POINT(name) crash_point_reach(name)
#else
#define CRASH_POINT(name) ((void)0)
#endif

#endif
