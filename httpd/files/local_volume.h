/*
 * local_volume: the volumes of storage groups that are mounted on this machine (httpd.local_groups): which
 * there are, and opening a file of one. Each has worker threads of its own, so that a mount that hangs uses
 * up no other's; and further ones for large pieces (indexes, segments that are put together), behind which no other file waits. Made and ended by http_server; read by every loop.
 */
#ifndef REEL_HTTPD_LOCAL_VOLUME_H
#define REEL_HTTPD_LOCAL_VOLUME_H

#include "common/proto/path.h"
#include "common/config/config.h"
#include "common/proto/proto.h"
#include "common/loop/workers.h"

#define LOCAL_VOLUMES_MAX 256
#define LOCAL_PLACE_SIZE  PATH_TEXT_SIZE
#define LOCAL_HANG_MS     2000 /* a call into a file system is waited for this long; then others are asked */

struct local_volume {
    char group[PROTO_GROUP_SIZE];
    char key[PROTO_KEY_SIZE]; /* of the store path, as the storage servers have it */
    char *directory;          /* absolute */
    struct workers *workers;
    struct workers *bulk; /* for reads of many bytes */
};

struct local_volumes;

/* An entry of httpd.local_groups, GROUP:KEY=DIR or GROUP:DIR (then KEY is DIR too, as in storage.paths).
 * *DIRECTORY points into TEXT. Pure. */
MUST_CHECK bool local_volume_split(const char *text, char group[PROTO_GROUP_SIZE], char key[PROTO_KEY_SIZE],
                                   const char **directory, struct error *error);
/* Every entry for itself, and that none stands twice. Pure. */
MUST_CHECK bool local_volumes_check(const struct config_strings *entries, struct error *error);

/* Starts THREADS workers for each, and half as many for large pieces. ENTRIES have passed local_volumes_check(). NULL on failure. */
MUST_CHECK struct local_volumes *local_volumes_create(const struct config_strings *entries, size_t threads,
                                                      struct error *error);
/* Ends the workers, waiting at most TIMEOUT_MS for each volume; what hangs is left alone. BLOCKS. NULL is
 * ignored. */
void local_volumes_end_workers(struct local_volumes *volumes, int64_t timeout_ms);
/* After that. NULL is ignored. */
void local_volumes_destroy(struct local_volumes *volumes);

/* The volume of GROUP's store path KEY; NULL where it is not mounted here. Any thread. */
const struct local_volume *local_volumes_find(const struct local_volumes *volumes, const char *group,
                                              const char *key);

/* Any thread: a file of GROUP lies in its store path KEY, which local_volumes_find() does not know. Where GROUP is local
 * that is a mistake of the configuration: logged once per key, and counted each time. */
void local_volumes_miss(const struct local_volumes *volumes, const char *group, const char *key);

/* True while something in the volume's file system takes suspiciously long. Any thread. */
bool local_volume_hangs(const struct local_volume *volume);

/* Opens PLACE (24 bytes, checked by proto_where_reply_unpack(); no NUL is needed) below the volume's
 * directory for reading, following no symbolic link below it; the file must have SIZE bytes. The directory is
 * opened again each time, so that a volume that was mounted again is the one that is read. -1 on failure.
 * BLOCKS: on a worker. */
MUST_CHECK int local_volume_open(const struct local_volume *volume, const char *place, int64_t size,
                                 struct error *error);

#endif
