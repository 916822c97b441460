/*
 * partial_client: requests about partial uploads over a blocking socket, for tests of the storage server. Included by tests only.
 */
#ifndef REEL_TESTS_PARTIAL_CLIENT_H
#define REEL_TESTS_PARTIAL_CLIENT_H

#include "tests/unit/library/storage_server.h"
#include "common/proto/proto_partial.h"

struct token {
    struct proto_partial partial; /* key and token */
};

/* BEGIN of FILE with SIZE (-1: not known) bytes; must succeed. */
struct token partial_begin(int fd, const char *file, int64_t size);
/* The same with all that BEGIN can say; the number of the reply. REPLY may be NULL. */
int partial_begin_with(int fd, const struct proto_begin *begin, struct proto_begin_reply *reply);

/* The header and the head of an APPEND; its content is up to the test. */
void partial_send_append(int fd, const struct token *token, int64_t offset, int64_t total, int64_t size,
                         bool digest_follows);
/* The reply to one; STATE may be NULL. */
int partial_append_reply(int fd, struct proto_partial_state *state);
/* A whole APPEND without digest; the number of the reply. */
int partial_append(int fd, const struct token *token, int64_t offset, const void *bytes, size_t size);

/* OFFSET; the number of the reply. STATE is filled where it is a success. */
int partial_offset(int fd, const struct token *token, struct proto_partial_state *state);
/* The durable offset, of one that must be there. */
int64_t partial_durable(int fd, const struct token *token);

/* FINISH with DIGEST, or without (NULL); the number of the reply. */
int partial_finish(int fd, const struct token *token, const uint8_t *digest);
int partial_abort(int fd, const struct token *token);
int partial_join(int fd, const struct token *target, const struct token *parts, size_t count);

#endif
