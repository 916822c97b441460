/*
 * ebml: elements of EBML documents (RFC 8794), which Matroska and WebM files are made of: their headers and values, read within
 * the bounds of what holds them. Pure; any thread.
 */
#ifndef REEL_HTTPD_EBML_H
#define REEL_HTTPD_EBML_H

#include "httpd/media/media_bytes.h"

#define EBML_HEADER_MAX 12 /* bytes of an identifier and a length */

enum ebml_look {
    EBML_FOUND,
    EBML_SHORT,   /* the bytes end within the header */
    EBML_DAMAGED, /* no header looks like that */
};

struct ebml_element {
    uint32_t id; /* with its marker bits, as documents name it: 0x1a45dfa3 */
    size_t header;
    bool unknown;           /* its length is not said: it goes on up to what cannot be in it */
    uint64_t size;          /* of the body, where known; below 2^56 */
    struct media_view body; /* as much of it as was given */
};

/* The header at the beginning of BYTES. */
enum ebml_look ebml_look(struct media_view bytes, struct ebml_element *element);

/* The next element of a body that is given as a whole; *REST is moved behind it. False at the end, or where one is damaged or
 * longer than what holds it. */
bool ebml_next(struct media_view *rest, struct ebml_element *element);
/* The first element with ID in PARENT. */
bool ebml_find(struct media_view parent, uint32_t id, struct ebml_element *element);

/* A number of 1 to 8 bytes whose first bits say how many, without these bits (section 4). *USED: its bytes. False: cut off. */
bool ebml_vint(struct media_view bytes, uint64_t *value, size_t *used);

/* Values (section 7). An empty body is 0; one that is too long has FALLBACK. */
uint64_t ebml_unsigned(struct media_view body, uint64_t fallback);
double ebml_float(struct media_view body, double fallback);
/* The text without what HLS cannot quote or control characters, cut to SIZE - 1 bytes. */
void ebml_text(struct media_view body, char *text, size_t size);

#endif
