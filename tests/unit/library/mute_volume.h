/*
 * mute_volume: a mounted volume that never answers, as one of GlusterFS without its bricks: FUSE whose server does not say a word. In a
 * mount namespace of the calling process, which is to be a child of the test; it answers (with an error) once that has ended.
 */
#ifndef REEL_TESTS_MUTE_VOLUME_H
#define REEL_TESTS_MUTE_VOLUME_H

#include <stdbool.h>

#define MUTE_VOLUME_SKIPPED 77 /* the exit code of a child that cannot mount one */

/* On DIRECTORY. False where this user or this kernel cannot. After it a process that hangs there is ended by alarm(2). */
bool mute_volume_mount(const char *directory);

/* Runs CHECK(ARGUMENT) in a child, for at most 60 s, and expects 0 of it. Skips the test, loudly, where CHECK gives MUTE_VOLUME_SKIPPED. */
void mute_volume_in_a_child(int (*check)(void *argument), void *argument);

#endif
