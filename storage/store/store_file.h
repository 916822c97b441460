/*
 * store_file: every file system call on stored files: create, write, sync, close, open, remove. Always
 * relative to the store path's directory, never through a symbolic link, and only at places of
 * common/proto/path.h.
 *
 * Everything here BLOCKS and runs on the path's workers only. Failures are reported to store_path_report().
 */
#ifndef REEL_STORAGE_STORE_FILE_H
#define REEL_STORAGE_STORE_FILE_H

#include "storage/store/store_path.h"

/* A file that is being stored. Everything that is done to it goes through the directory in which it was made,
 * whatever lies at the store path by then. */
struct store_file {
    struct store_path *path;
    struct path place;
    int fd;                  /* open for writing; -1: not */
    struct store_root *root; /* held from create to let_go or discard; NULL: there is no file of ours */
    int64_t touched_ms;      /* clock_boot_ms() before the last call that wrote to it, and */
    int64_t touched_wall_us; /* clock_wall_us() then */
    int64_t pause_ms;        /* the longest time between two such calls, by either clock */
    bool name_lasts;         /* since it was synced: its directory need not be */
};

/* Creates FILE (path and place are set), which must not exist (else ERROR_EXISTS, and nothing was touched), with
 * the directories above it. Where the path is durable new directories are synced into their parents. */
MUST_CHECK bool store_file_create(struct store_file *file, struct error *error);

/* Opens FILE (path and place are set), which was made before, to be read and written; *SIZE: how large it is. One that is not there
 * is ERROR_IO. */
MUST_CHECK bool store_file_reopen(struct store_file *file, int64_t *size, struct error *error);

/* Opens FILE again, which was made, written and closed, in the directory in which it was made. */
MUST_CHECK bool store_file_open_again(struct store_file *file, struct error *error);

/* BYTES become the whole content of the file at PLACE, which is made where it is missing, with its directories. Nothing is synced.
 * EXISTING: one that is missing is left so, and one that is there is synced. False, too, where another directory lies at the store path by then: the
 * bytes are in the former one. */
MUST_CHECK bool store_file_put_back(struct store_path *path, const struct path *place, const void *bytes,
                                    size_t size, bool existing, struct error *error);

/* What is behind SIZE goes. */
MUST_CHECK bool store_file_cut(struct store_file *file, int64_t size, struct error *error);

/* All SIZE bytes at OFFSET. */
MUST_CHECK bool store_file_write(struct store_file *file, const void *bytes, size_t size, int64_t offset,
                                 struct error *error);

/* fsync of the file. A failed one means that bytes are lost: it is never tried again. */
MUST_CHECK bool store_file_sync(struct store_file *file, struct error *error);

/* fdatasync of the file, whose name lasts already: its bytes and its size. As above, never tried again. */
MUST_CHECK bool store_file_sync_data(struct store_file *file, struct error *error);

/* fsync of the directory that holds it, unless its own made its name last: see storage.directory_sync. */
MUST_CHECK bool store_file_sync_directory(struct store_file *file, struct error *error);

/* close(2), checked: some file systems report a lost write only here. The fd is gone in any case. */
MUST_CHECK bool store_file_close(struct store_file *file, struct error *error);

/* False where another directory lies at the store path now than the one that the file was made in: nobody
 * would find it. */
MUST_CHECK bool store_file_in_place(const struct store_file *file, struct error *error);

/* It stays. Never blocks. */
void store_file_let_go(struct store_file *file);

/* Closes and removes it; true also when it was gone. False: it is there still, and may be discarded again. */
MUST_CHECK bool store_file_discard(struct store_file *file, struct error *error);

/* Removes the file at PLACE; true also when it was not there. */
MUST_CHECK bool store_file_remove(struct store_path *path, const struct path *place, struct error *error);

/* Opens for reading. *SIZE gets the file's size. Anything but a regular file is ERROR_IO, one that is not there
 * too (a row says that it is). */
MUST_CHECK bool store_file_open(struct store_path *path, const struct path *place, int *fd, int64_t *size,
                                struct error *error);

/* The same for callers that expect it: true with *FD -1 where nothing is there. */
MUST_CHECK bool store_file_look(struct store_path *path, const struct path *place, int *fd, int64_t *size,
                                struct error *error);
/* And of a file that has another NAME below the store path: one in quarantine. */
MUST_CHECK bool store_file_look_name(struct store_path *path, const char *name, int *fd, int64_t *size,
                                     struct error *error);

#endif
