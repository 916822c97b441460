/*
 * poster_limits: what a process that decodes foreign bytes gives up before it does so: more memory and time than it needs, and all
 * system calls but those that allocate memory, read and write what is open, and end it (seccomp). Linux only.
 */
#ifndef REEL_POSTER_LIMITS_H
#define REEL_POSTER_LIMITS_H

#include <stdbool.h>

#define POSTER_SECONDS     8 /* of the clock, then it is killed */
#define POSTER_CPU_SECONDS 5

/* False: not all of it could be given up, and nothing may be decoded. */
bool poster_limits_enter(void);

#endif
