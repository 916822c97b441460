/*
 * audit_verify: line by line through the file, with the link of the line before.
 */
#include "common/auth/audit_verify.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct audit_reader {
    const char *file;
    const struct keys *keys;
    struct audit_verdict *verdict;
    struct error *error;
    uint8_t link[AUDIT_LINK_SIZE];
    bool begun;       /* a link is known */
    size_t torn_line; /* the last one that has no end, and nothing behind it yet; 0: none */
};

static bool verify_line(struct audit_reader *reader, const char *line, size_t length)
{
    uint8_t link[AUDIT_LINK_SIZE], expected[AUDIT_LINK_SIZE], secret[MAC_SIZE], before[AUDIT_LINK_SIZE];
    size_t number = ++reader->verdict->lines, covered;
    char id[KEY_ID_SIZE];

    if (length == 0 || line[length - 1] != '}') {
        reader->verdict->torn++;
        reader->torn_line = number;
        return true;
    }
    if (!audit_chain_find(line, length, &covered, link)) {
        if (reader->begun)
            return error_set(reader->error, ERROR_DIGEST, "%s:%zu: a line without a link after linked ones",
                             reader->file, number);
        reader->verdict->unlinked++;
        return true;
    }
    const char *follows = memmem(line, covered, AUDIT_FOLLOWS_MARK, strlen(AUDIT_FOLLOWS_MARK));
    if (follows && !audit_chain_parse(follows + strlen(AUDIT_FOLLOWS_MARK), before))
        follows = NULL;
    /* A crash leaves such a line, and whoever starts after it opens the file anew. */
    if (reader->torn_line > 0 && !follows)
        return error_set(reader->error, ERROR_DIGEST,
                         "%s:%zu: a line without its end, and nothing opened the file behind it",
                         reader->file, reader->torn_line);
    reader->torn_line = 0;
    if (!reader->begun) {
        if (!follows)
            return error_set(reader->error, ERROR_DIGEST,
                             "%s:%zu: the beginning is missing: the first line does not open it",
                             reader->file, number);
        memcpy(reader->link, before, AUDIT_LINK_SIZE);
        reader->begun = true;
        audit_chain_format(before, reader->verdict->follows);
    }
    const struct key *key = audit_chain_key(line, covered, reader->keys, id);
    if (!key)
        return error_set(reader->error, ERROR_NOT_FOUND,
                         "%s:%zu: linked with key %s, which is not in the keys file", reader->file, number,
                         id[0] != '\0' ? id : "(none)");
    key_derive(key, "audit", secret);
    audit_chain_compute(secret, reader->link, line, covered, expected);
    bool good = mac_equal(expected, link, AUDIT_LINK_SIZE);
    explicit_bzero(secret, sizeof(secret));
    memcpy(reader->link, link, AUDIT_LINK_SIZE);
    return good ||
           error_set(
               reader->error, ERROR_DIGEST,
               "%s:%zu: the chain breaks: this line was changed, or lines before it were removed, added or "
               "moved",
               reader->file, number);
}

bool audit_verify(const char *file, const struct keys *keys, struct audit_verdict *verdict,
                  struct error *error)
{
    struct audit_reader reader = {.file = file, .keys = keys, .verdict = verdict, .error = error};
    FILE *stream = fopen(file, "re");
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    bool good = true;

    *verdict = (struct audit_verdict){0};
    if (!stream)
        return error_set_errno(error, errno, "%s", file);
    while (good && (length = getline(&line, &room, stream)) > 0) {
        if (line[length - 1] == '\n')
            length--;
        good = verify_line(&reader, line, (size_t)length);
    }
    if (good && ferror(stream))
        good = error_set_errno(error, errno, "%s", file);
    if (reader.begun)
        audit_chain_format(reader.link, verdict->last);
    free(line);
    (void)fclose(stream);
    return good;
}
