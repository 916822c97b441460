/*
 * reel_local: what reel.h offers without asking a server: file IDs and links. Any thread; never blocks.
 */
#include "client/library/reel_internal.h"

#include "client/library/file_id.h"

#include <stdlib.h>
#include <string.h>

bool reel_make_file_id(const char *user, char file_id[REEL_FILE_ID_SIZE], struct reel_error *error)
{
    struct error why;

    return file_id_make(user ? user : "", file_id, &why) || reel_fail(error, &why);
}

/* RFC 3986 section 2.3: unreserved characters stay. */
static char *url_append(char *at, const char *text)
{
    static const char hex[] = "0123456789ABCDEF";

    for (; *text != '\0'; text++) {
        unsigned char byte = (unsigned char)*text;

        if ((byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') ||
            strchr("-._~", byte)) {
            *at++ = (char)byte;
        } else {
            *at++ = '%';
            *at++ = hex[byte >> 4];
            *at++ = hex[byte & 15];
        }
    }
    return at;
}

char *reel_url(const struct reel *reel, const struct reel_key *key, const char *base, const char *name,
               struct reel_error *error)
{
    struct proto_file_key full;
    struct error why;
    size_t base_size;
    char *url, *at;

    if (!base || base[0] == '\0') {
        (void)error_set(&why, ERROR_MALFORMED, "no address of an HTTP server is given");
        (void)reel_fail(error, &why);
        return NULL;
    }
    if (!reel_fill_key(reel, key, false, &full, &why)) {
        (void)reel_fail(error, &why);
        return NULL;
    }
    base_size = strlen(base);
    while (base_size > 0 && base[base_size - 1] == '/')
        base_size--;
    url = malloc(
        base_size + sizeof("/files////") +
        3 * (strlen(full.application) + strlen(full.user) + strlen(full.file) + (name ? strlen(name) : 0)));
    if (!url) {
        (void)error_set(&why, ERROR_UNAVAILABLE, "no memory for a link");
        (void)reel_fail(error, &why);
        return NULL;
    }
    memcpy(url, base, base_size);
    at = url + base_size;
    memcpy(at, "/files/", 7);
    at = url_append(at + 7, full.application);
    *at++ = '/';
    at = url_append(at, full.user);
    *at++ = '/';
    at = url_append(at, full.file);
    if (name && name[0] != '\0') {
        *at++ = '/';
        at = url_append(at, name);
    }
    *at = '\0';
    return url;
}
