/*
 * local_files: open files of local volumes, kept by one loop over common/file/open_files.h, and opened on the
 * volume's workers within a limit of time. The loop's thread only.
 */
#ifndef REEL_HTTPD_LOCAL_FILES_H
#define REEL_HTTPD_LOCAL_FILES_H

#include "common/file/open_files.h"
#include "httpd/files/local_volume.h"

#define LOCAL_SCRATCH_SIZE ((size_t)64 * 1024)

/* Files up to this size are kept in memory beside their descriptor, together at most so much in each loop:
 * they cost no read at all while they are asked for. */
#define LOCAL_KEPT_SIZE ((size_t)16 * 1024)
#define LOCAL_KEPT_MAX  ((size_t)16 * 1024 * 1024)

struct local_files;
struct local_opening; /* under way; see local_files_open() */

/* FILES_MAX are kept for AGE_MS from their opening. NULL without memory. */
MUST_CHECK struct local_files *local_files_create(struct loop *loop, size_t files_max, int64_t age_ms);
/* Nobody may hold a file any more, nor wait; workers may still be busy with it. NULL is ignored. */
void local_files_close(struct local_files *files);

/* The file if it is open: held for the caller until local_files_release(); else NULL. HINT is of this file and this loop. */
struct open_file *local_files_find(struct local_files *files, const struct local_volume *volume,
                                   const char *place, struct open_hint *hint);

/* Opens it, at most for LOCAL_HANG_MS. The callback comes exactly once, from the loop: FILE held for the
 * callee, or NULL and why. NULL where it cannot be begun (then ERROR says why). */
typedef void (*local_files_callback)(void *argument, struct open_file *file, const struct error *error);
MUST_CHECK struct local_opening *local_files_open(struct local_files *files,
                                                  const struct local_volume *volume, const char *place,
                                                  int64_t size, local_files_callback callback, void *argument,
                                                  struct error *error);
/* The callback will not come. */
void local_files_cancel(struct local_opening *opening);

/* One more holder. */
void local_files_take(struct local_files *files, struct open_file *file);
void local_files_release(struct local_files *files, struct open_file *file);
/* FILE is not found any more, because reading it failed; those who hold it may go on. */
void local_files_forget(struct local_files *files, struct open_file *file);

/* BYTES are all SIZE (at least 1) bytes of FILE: they are copied and kept with it, where there is room. */
void local_files_keep(struct local_files *files, struct open_file *file, const char *bytes, size_t size);

/* Closes what is too old; called a few times per second. */
void local_files_tick(struct local_files *files);

/* LOCAL_SCRATCH_SIZE bytes for use until the caller returns to the loop. */
char *local_files_scratch(struct local_files *files);

#endif
