/*
 * type: the content type of a file whose uploader named none, from its first bytes (libmagic) and, for kinds
 * that are plain text to libmagic, from its name's extension. Called on workers by storage/upload/upload.c.
 */
#ifndef REEL_STORAGE_TYPE_H
#define REEL_STORAGE_TYPE_H

#include "common/proto/proto.h"

#define TYPE_BYTES 4096 /* of the beginning of a file are enough */

struct types; /* libmagic's databases; loaded when first needed */

MUST_CHECK struct types *types_create(void); /* NULL without memory */
void types_destroy(struct types *types);     /* NULL is ignored */

/* The media type of a file that begins with SIZE BYTES and is called NAME ("" for unknown). Never fails:
 * "application/octet-stream" where nothing is known. May BLOCK (reads libmagic's database once): workers
 * only. */
void types_find(struct types *types, const void *bytes, size_t size, const char *name,
                char type[PROTO_CONTENT_TYPE_SIZE]);

/* True for what says nothing: "", "application/octet-stream", "binary/octet-stream". Pure. */
bool type_is_generic(const char *type);

#endif
