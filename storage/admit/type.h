/*
 * type: the content type of files whose uploader named none and that the table of media types
 * (common/media/media_type.h) does not know: libmagic's business, which takes up to milliseconds and therefore comes
 * after the upload's reply. A bounded queue of such files is worked off by one thread that runs when the machine has
 * nothing better to do, and writes the types into their rows, many at a time. A file that finds no place there keeps
 * an empty type until somebody asks for its STAT (storage/request/type_look.h).
 */
#ifndef REEL_STORAGE_TYPE_H
#define REEL_STORAGE_TYPE_H

#include "common/media/media_signature.h"
#include "storage/rows/meta.h"

#define TYPES_QUEUE_MAX 256 /* files, each with up to MEDIA_SIGNATURE_BYTES of its content */

struct types;
struct type_note; /* what must be kept of an upload until its type can be found out */

/* META must outlive types_end(). Starts the thread; libmagic's database is loaded when first needed. */
MUST_CHECK struct types *types_create(struct meta *meta, struct error *error);
/* Ends the thread, waiting at most TIMEOUT_MS; what still waits is dropped. Before meta_end(). BLOCKS. */
void types_end(struct types *types, int64_t timeout_ms);
/* After types_end(). NULL is ignored. */
void types_destroy(struct types *types);

/* The type of a file that begins with SIZE BYTES and is called NAME ("" for unknown), by the table, else by
 * libmagic; MEDIA_TYPE_UNKNOWN where neither knows. BLOCKS (reads libmagic's database once): workers only. */
void types_find(struct types *types, const void *bytes, size_t size, const char *name,
                char type[PROTO_CONTENT_TYPE_SIZE]);

/* Any thread: keeps a copy of the beginning of an upload that the table does not know. NULL where too many wait
 * or memory is short: then the row stays without a type for now. */
struct type_note *types_note(struct types *types, const struct proto_file_key *key, const char *name,
                             const void *bytes, size_t size);
/* The row of NOTE's file was committed with FILE_PATH: its type may be found out now. Takes NOTE. */
void types_queue(struct types *types, struct type_note *note, const char *file_path);
/* There is no such row. Takes NOTE; NULL is ignored. */
void types_drop(struct types *types, struct type_note *note);

/* Any thread: TYPE was found out; it is written into KEY's row, if that still is the one with FILE_PATH and has
 * no type. */
void types_settle(struct types *types, const struct proto_file_key *key, const char *file_path,
                  const char *type);

#endif
