/*
 * store_file: every file system call on stored files: create, write, sync, close, open, remove. Always
 * relative to the store path's directory, never through a symbolic link at the end of a name, and only at
 * places of storage/store/path.h.
 *
 * Everything here BLOCKS and runs on the path's workers only. Failures are told to store_path_report().
 */
#ifndef REEL_STORAGE_STORE_FILE_H
#define REEL_STORAGE_STORE_FILE_H

#include "storage/store/store.h"

/* Creates the file at PLACE, which must not exist (else ERROR_EXISTS, and nothing was touched), with the
 * directories above it. Where the path is durable new directories are synced into their parents. *FD: the
 * caller's. */
MUST_CHECK bool store_file_create(struct store_path *path, const struct path *place, int *fd,
                                  struct error *error);

/* All SIZE bytes at OFFSET. */
MUST_CHECK bool store_file_write(struct store_path *path, int fd, const void *bytes, size_t size,
                                 int64_t offset, struct error *error);

/* fsync of the file. A failed one means that bytes are lost: it is never tried again. */
MUST_CHECK bool store_file_sync(struct store_path *path, int fd, struct error *error);

/* fsync of the directory that holds PLACE. */
MUST_CHECK bool store_file_sync_directory(struct store_path *path, const struct path *place,
                                          struct error *error);

/* close(2), checked: some file systems tell of a lost write only here. The fd is gone in any case. */
MUST_CHECK bool store_file_close(struct store_path *path, int fd, struct error *error);

/* Removes the file; true also when it was not there. */
MUST_CHECK bool store_file_remove(struct store_path *path, const struct path *place, struct error *error);

/* Opens for reading. *SIZE gets the file's size. Anything but a regular file is ERROR_IO. */
MUST_CHECK bool store_file_open(struct store_path *path, const struct path *place, int *fd, int64_t *size,
                                struct error *error);

#endif
