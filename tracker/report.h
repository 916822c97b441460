/*
 * report: the table as people and programs read it: the text of GROUPS (docs/protocol.md, command 13) and the
 * JSON of STATUS (command 15) and of the admin port. Pure but for the local time zone. Called by service.c.
 */
#ifndef REEL_TRACKER_REPORT_H
#define REEL_TRACKER_REPORT_H

#include "tracker/table.h"
#include <jansson.h>

/* The GROUPS text, NUL-terminated; to be freed. SIZE gets its length with the NUL. One block per group in
 * order of the names, each followed by one block per storage server in order of their first JOIN, no blank
 * line between, no newline after the last line. A group without storage servers is its three lines alone.
 * Times are local, as ctime(3) prints them; BEAT TIME before the first heartbeat is the time of the JOIN.
 * Bytes of host and version that are not printable ASCII come out as '?'. NULL without memory. */
char *report_groups(const struct table_snapshot *snapshot, size_t *size);

/* {"groups": [{"name", "state": "open"|"draining"|"removed", "weight", "active", "storages": [{"host",
 * "address", "version", "state", "suspect", "start_time", "join_time", "beat_time" (seconds since the epoch),
 * "silent_ms", "load": null | {"state", "capacity", "free", "free_inodes", "connections", "uploads",
 * "requests", "trash", "damaged"}}]}]}. A new reference; NULL without memory. */
json_t *report_status(const struct table_snapshot *snapshot);

#endif
