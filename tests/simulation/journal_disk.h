/*
 * journal_disk: the file of the upload journal, on the disk of the database: overwritten in place, so that a power cut leaves of what
 * was not synced any of its sectors as they were before. Called by disk.c for the descriptors that are its own.
 */
#ifndef REEL_TESTS_SIMULATION_JOURNAL_DISK_H
#define REEL_TESTS_SIMULATION_JOURNAL_DISK_H

#include "tests/simulation/sim.h"

#include <sys/types.h>

/* In disk.c: a call takes its time; false: it fails with errno. And a sync takes longer. */
bool disk_call(bool writes);
void disk_wait_sync(void);

/* A descriptor of NAME was opened, or is closed. */
void journal_disk_opened(const char *name, int fd);
void journal_disk_forget(int fd);
bool journal_disk_has(int fd);
/* Nothing is read past the page cache. */
bool journal_disk_refuses(const char *name, int flags);

ssize_t journal_disk_write(int fd, const void *bytes, size_t size, off_t offset);
ssize_t journal_disk_read(int fd, void *bytes, size_t size, off_t offset);
int journal_disk_sync(int fd);
int journal_disk_cut(int fd, off_t size);
/* A directory outside of the volume was synced: it has the file's name. */
void journal_disk_name_synced(void);

#endif
