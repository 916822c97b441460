/*
 * partial_client: packs, sends, reads the reply.
 */
#include "tests/unit/library/partial_client.h"

static int code_of(struct answer *answer)
{
    free(answer->body);
    return answer->fine ? ERROR_NONE : answer->code;
}

int partial_begin_with(int fd, const struct proto_begin *begin, struct proto_begin_reply *reply)
{
    uint8_t body[PROTO_BEGIN_SIZE];
    struct proto_begin_reply ignored;
    struct error error = {0};
    assert_true(proto_begin_pack(body, begin, &error));
    struct answer answer = ask_body(fd, PROTO_STORAGE_BEGIN, body, sizeof(body));
    if (answer.fine)
        assert_true(
            proto_begin_reply_unpack(answer.body, (size_t)answer.size, reply ? reply : &ignored, &error));
    return code_of(&answer);
}

struct token partial_begin(int fd, const char *file, int64_t size)
{
    struct proto_begin begin = {.put = {.key = key_of(file), .size = size}};
    struct proto_begin_reply reply;
    struct token token = {.partial = {.key = key_of(file)}};
    assert_int_equal(partial_begin_with(fd, &begin, &reply), ERROR_NONE);
    assert_int_equal(reply.state.offset, 0);
    assert_int_equal(reply.state.size, size);
    assert_false(reply.state.complete);
    memcpy(token.partial.token, reply.token, sizeof(reply.token));
    return token;
}

void partial_send_append(int fd, const struct token *token, int64_t offset, int64_t total, int64_t size,
                         bool digest_follows)
{
    uint8_t head[PROTO_APPEND_SIZE];
    struct proto_append append = {.partial = token->partial,
                                  .offset = offset,
                                  .total = total,
                                  .size = size,
                                  .digest_follows = digest_follows};
    struct error error = {0};
    assert_true(proto_append_pack(head, &append, &error));
    send_header(fd, PROTO_STORAGE_APPEND,
                PROTO_APPEND_SIZE + size + (digest_follows ? PROTO_DIGEST_SIZE : 0));
    peer_put(fd, head, sizeof(head));
}

static int state_of(struct answer answer, struct proto_partial_state *state)
{
    struct proto_partial_state ignored;
    struct error error = {0};
    if (answer.fine)
        assert_true(
            proto_partial_state_unpack(answer.body, (size_t)answer.size, state ? state : &ignored, &error));
    return code_of(&answer);
}

int partial_append_reply(int fd, struct proto_partial_state *state)
{
    return state_of(read_answer(fd), state);
}

int partial_append(int fd, const struct token *token, int64_t offset, const void *bytes, size_t size)
{
    struct proto_partial_state state;
    partial_send_append(fd, token, offset, -1, (int64_t)size, false);
    peer_put(fd, bytes, size);
    int code = partial_append_reply(fd, &state);
    if (code == ERROR_NONE)
        assert_int_equal(state.offset, offset + (int64_t)size);
    return code;
}

static struct answer ask_partial(int fd, uint8_t command, const struct token *token)
{
    uint8_t body[PROTO_PARTIAL_SIZE];
    struct error error = {0};
    assert_true(proto_partial_pack(body, &token->partial, &error));
    return ask_body(fd, command, body, sizeof(body));
}

int partial_offset(int fd, const struct token *token, struct proto_partial_state *state)
{
    return state_of(ask_partial(fd, PROTO_STORAGE_OFFSET, token), state);
}

int64_t partial_durable(int fd, const struct token *token)
{
    struct proto_partial_state state;
    assert_int_equal(partial_offset(fd, token, &state), ERROR_NONE);
    return state.offset;
}

int partial_finish(int fd, const struct token *token, const uint8_t *digest)
{
    uint8_t body[PROTO_FINISH_SIZE];
    struct proto_finish finish = {.partial = token->partial, .has_digest = digest != NULL};
    struct error error = {0};
    if (digest)
        memcpy(finish.digest, digest, sizeof(finish.digest));
    assert_true(proto_finish_pack(body, &finish, &error));
    struct answer answer = ask_body(fd, PROTO_STORAGE_FINISH, body, sizeof(body));
    return code_of(&answer);
}

int partial_abort(int fd, const struct token *token)
{
    struct answer answer = ask_partial(fd, PROTO_STORAGE_ABORT, token);
    return code_of(&answer);
}

int partial_join(int fd, const struct token *target, const struct token *parts, size_t count)
{
    uint8_t body[PROTO_JOIN_PARTS_MAX], tokens[PROTO_PARTS_MAX * PROTO_PARTIAL_TOKEN_SIZE];
    struct proto_finish finish = {.partial = target->partial};
    struct error error = {0};
    for (size_t i = 0; i < count; i++)
        memcpy(tokens + i * PROTO_PARTIAL_TOKEN_SIZE, parts[i].partial.token, PROTO_PARTIAL_TOKEN_SIZE);
    size_t size = proto_join_parts_pack(body, sizeof(body), &finish, tokens, count, &error);
    assert_true(size > 0);
    struct answer answer = ask_body(fd, PROTO_STORAGE_JOIN_PARTS, body, size);
    return code_of(&answer);
}
