/*
 * story_partial: uploads in several requests (BEGIN, APPEND, OFFSET, FINISH, ABORT, JOIN_PARTS), by several clients at once, at any server,
 * with pieces that are broken off, spoiled on the way, or sent twice. What was answered of one is held against what docs/durability.md
 * promises: an offset that was answered is never smaller later; what is kept is there for its time; what was finished is a file with the bytes
 * that were sent; what was given up becomes none.
 */
#include "tests/simulation/story_state.h"

#include "common/proto/digest.h"
#include "common/proto/proto.h"
#include "common/proto/proto_partial.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SESSIONS_MAX 24
#define PARTS_MAX    3
#define TRIES        3
#define LAST_TRIES                                                                                           \
    5 /* 10 s apart: a look at a store path that hung reports what lay there before, and the next one comes 30 s later */

struct session {
    int file, content, name;
    uint8_t token[PROTO_PARTIAL_TOKEN_SIZE];
    int64_t size;
    int64_t durable;  /* bytes that were acknowledged */
    int64_t heard_us; /* when the last request that was answered was sent: since then it is kept */
    int64_t begun_us; /* when it was first to be finished; 0: never */
    bool target;      /* of JOIN_PARTS: nothing is appended to it */
    bool stored;      /* an answer said that it is a file; noted */
    bool given_up;    /* ABORT was sent, or it is a part of what is being joined: it may be gone */
    bool aborted;     /* ABORT succeeded */
    bool refused;     /* for good: the file ID has other bytes, or is deleted */
    bool missing;     /* the last answer to a FINISH was that its file is not there */
    bool over;        /* it is gone, or nobody goes on with it */
    int part_count;
    uint8_t parts[PARTS_MAX][PROTO_PARTIAL_TOKEN_SIZE];
};

static struct session sessions[SESSIONS_MAX];
static size_t session_count;

static void fill_partial(struct proto_partial *partial, const struct session *session)
{
    story_fill_key(&partial->key, session->file);
    memcpy(partial->token, session->token, sizeof(partial->token));
}

static int64_t any_timeout(void)
{
    return chance(300000) ? chance_between(1, 4) * SECOND_US : 60 * SECOND_US;
}

static void narrate(const struct session *session, const char *what, const struct node *node,
                    const struct reply *reply)
{
    say("%s %zu (%s, content %d) at %s: %s %d", what, (size_t)(session - sessions),
        story_files[session->file].id, session->content, node->name,
        reply->complete ? "answer"
        : reply->sent   ? "no answer"
                        : "not reached",
        reply->code);
}

/* ---- what an answer says ---- */

static bool is_sound(const struct session *session)
{
    return !story_files[session->file].damaged;
}

/* The file was stored by one of the requests that were to finish it, between the first one and now. */
static void note_stored(struct session *session)
{
    const struct operation operation = {.kind = OPERATION_PUT,
                                        .answer = ANSWER_DONE,
                                        .content = session->content,
                                        .name = session->name,
                                        .from_us = session->begun_us,
                                        .to_us = now_us(),
                                        .who = "partial"};
    if (session->begun_us == 0)
        violation("partial upload %zu of %s is complete though nobody has finished it",
                  (size_t)(session - sessions), story_files[session->file].id);
    if (!session->stored)
        story_note(session->file, &operation);
    session->stored = true;
}

/* It is not there any more: rightly? ASKED_US: when that was asked. */
static void judge_absence(struct session *session)
{
    if (!session->over && !session->given_up && now_us() - session->heard_us < story_partial_keep_us)
        violation("partial upload %zu of %s is gone after %.1f s", (size_t)(session - sessions),
                  story_files[session->file].id, (double)(now_us() - session->heard_us) / 1e6);
    session->over = true;
}

/* REPLY to a request of SINCE_US, when FLOOR bytes had been acknowledged, says how far it is. */
static void judge_state(struct session *session, const struct reply *reply, int64_t since_us, int64_t floor)
{
    struct proto_partial_state state;
    if (!proto_partial_state_unpack(reply->body, reply->size, &state, NULL))
        violation("the state of a partial upload cannot be read");
    if (state.complete) {
        note_stored(session);
        return;
    }
    if (state.offset < floor && !session->target)
        violation("partial upload %zu of %s has %" PRId64 " bytes; %" PRId64 " had been acknowledged before",
                  (size_t)(session - sessions), story_files[session->file].id, state.offset, floor);
    if (state.offset > session->size)
        violation("partial upload %zu of %s has more bytes than were sent", (size_t)(session - sessions),
                  story_files[session->file].id);
    session->durable = max_i64(session->durable, state.offset);
    session->heard_us = max_i64(session->heard_us, since_us);
}

/* ---- steps ---- */

static bool ask_offset(struct session *session, struct node *node)
{
    struct proto_partial partial;
    uint8_t bytes[PROTO_PARTIAL_SIZE];
    struct reply reply;
    int64_t floor = session->durable;
    fill_partial(&partial, session);
    if (!proto_partial_pack(bytes, &partial, NULL))
        violation("an OFFSET cannot be packed");
    client_ask(node->port, PROTO_STORAGE_OFFSET, bytes, sizeof(bytes), NULL, 0, 30 * SECOND_US, &reply);
    narrate(session, "OFFSET", node, &reply);
    bool answered = reply.complete && reply.code == 0;
    if (answered)
        judge_state(session, &reply, 0, floor); /* it extends no time */
    else if (reply.complete && reply.code == ERROR_NOT_FOUND)
        judge_absence(session);
    client_free(&reply);
    return answered;
}

/* A BEGIN; false: it was not answered, and nobody knows its token. */
static bool begin(struct session *session, struct node *node)
{
    struct proto_begin head = {.put = {.size = session->size}, .keep = 0};
    struct proto_begin_reply begun;
    uint8_t bytes[PROTO_BEGIN_SIZE];
    struct reply reply;
    int64_t since_us = now_us();
    story_fill_key(&head.put.key, session->file);
    story_fill_name(head.put.name, session->name);
    memcpy(head.put.content_type, "video/mp4", sizeof("video/mp4"));
    if (chance(300000))
        head.put.size = -1;
    head.put.has_digest = session->part_count == 0 && !session->given_up && chance(500000);
    if (head.put.has_digest)
        memcpy(head.put.digest, story_digests[session->file][session->content], sizeof(head.put.digest));
    if (!proto_begin_pack(bytes, &head, NULL))
        violation("a BEGIN cannot be packed");
    client_ask(node->port, PROTO_STORAGE_BEGIN, bytes, sizeof(bytes), NULL, 0, 60 * SECOND_US, &reply);
    bool fine =
        reply.complete && reply.code == 0 && proto_begin_reply_unpack(reply.body, reply.size, &begun, NULL);
    if (fine)
        memcpy(session->token, begun.token, sizeof(session->token));
    session->heard_us = since_us;
    narrate(session, "BEGIN", node, &reply);
    client_free(&reply);
    return fine;
}

enum spoil { SPOIL_CALM, SPOIL_NOTHING, SPOIL_BYTES, SPOIL_LEAVE }; /* calm: nor is it broken off */

static void digest_of(const uint8_t *bytes, size_t size, uint8_t out[PROTO_DIGEST_SIZE])
{
    struct digest *digest = digest_create();
    if (!digest)
        violation("no memory for a digest");
    digest_update(digest, bytes, size);
    digest_final(digest, out);
    digest_destroy(digest);
}

/* SIZE bytes at AT of BYTES, the whole content. Spoiled ones come with the digest of the right ones, so that none of them counts. */
static void append(struct session *session, struct node *node, const uint8_t *bytes, int64_t at, int64_t size,
                   enum spoil spoil)
{
    struct proto_append head = {
        .offset = at, .total = chance(500000) ? session->size : -1, .size = size, .digest_follows = true};
    uint8_t head_bytes[PROTO_APPEND_SIZE];
    int64_t since_us = now_us(), floor = session->durable;
    uint8_t *piece = malloc((size_t)size + PROTO_DIGEST_SIZE);
    struct reply reply;
    fill_partial(&head.partial, session);
    if (spoil <= SPOIL_NOTHING)
        head.digest_follows = chance(300000);
    memcpy(piece, bytes + at, (size_t)size);
    digest_of(piece, (size_t)size, piece + size);
    for (int64_t i = 0; spoil > SPOIL_NOTHING && i < size; i++)
        piece[i] ^= 0x55;
    if (!proto_append_pack(head_bytes, &head, NULL))
        violation("an APPEND cannot be packed");
    size_t whole = (size_t)size + (head.digest_follows ? PROTO_DIGEST_SIZE : 0);
    if (spoil == SPOIL_LEAVE || (spoil == SPOIL_NOTHING && chance(150000))) {
        client_leave(node->port, PROTO_STORAGE_APPEND, head_bytes, sizeof(head_bytes), piece, whole,
                     (size_t)chance_below((int64_t)whole + 1));
        say("APPEND %zu at %" PRId64 " at %s: broken off", (size_t)(session - sessions), at, node->name);
    } else {
        client_ask(node->port, PROTO_STORAGE_APPEND, head_bytes, sizeof(head_bytes), piece, whole,
                   spoil == SPOIL_CALM ? 60 * SECOND_US : any_timeout(), &reply);
        narrate(session, "APPEND", node, &reply);
        if (reply.complete && reply.code == 0 && spoil > SPOIL_NOTHING && size > 0)
            violation("an APPEND with a wrong digest was taken");
        if (reply.complete && reply.code == 0)
            judge_state(session, &reply, since_us, max_i64(floor, at + size));
        else if (reply.complete && reply.code == ERROR_NOT_FOUND)
            judge_absence(session);
        else if (reply.complete && reply.code == ERROR_DIGEST && spoil <= SPOIL_NOTHING)
            violation("an APPEND with the right digest was refused");
        client_free(&reply);
    }
    free(piece);
}

static void append_some(struct session *session, struct node *node)
{
    size_t size;
    uint8_t *bytes = content_make(session->file, session->content, &size);
    int64_t at = session->durable, left = session->size - at;
    int64_t some = left > 0 && chance(600000) ? chance_between(1, left) : left;
    enum spoil spoil = chance(700000) ? SPOIL_NOTHING : chance(500000) ? SPOIL_BYTES : SPOIL_LEAVE;
    append(session, node, bytes, at, some, spoil);
    free(bytes);
}

/* What FINISH or JOIN_PARTS was answered. One without a definite answer may have made the file, which may have been deleted since: then
 * the next one makes it anew, as another PUT would. */
static void judge_finish(struct session *session, const struct reply *reply, int64_t since_us, bool room)
{
    struct operation operation = {.kind = OPERATION_PUT,
                                  .content = session->content,
                                  .name = session->name,
                                  .from_us = since_us,
                                  .to_us = FOREVER,
                                  .who = "partial"};
    bool elsewhere = story_moves && (reply->code == ERROR_EXISTS || reply->code == ERROR_OTHER_GROUP);
    bool refused = elsewhere || reply->code == ERROR_EXISTS || reply->code == ERROR_DELETED;
    if (room && reply->sent && !(reply->complete && (reply->code == 0 || refused)))
        story_note(session->file, &operation);
    if (!reply->complete)
        return;
    if (reply->code == 0 && session->aborted && !session->stored)
        violation("partial upload %zu of %s was finished after it had been given up",
                  (size_t)(session - sessions), story_files[session->file].id);
    if (reply->code == 0) {
        /* Nothing extends its time since it was stored, perhaps by the first request that asked for it. */
        if (!session->stored)
            session->heard_us = max_i64(session->heard_us, session->begun_us);
        note_stored(session);
    } else if (reply->code == ERROR_NOT_FOUND && !session->target) {
        judge_absence(session);
    } else if (reply->code == ERROR_DIGEST && is_sound(session)) {
        violation("partial upload %zu of %s has other bytes than were sent", (size_t)(session - sessions),
                  story_files[session->file].id);
    } else if (refused) {
        session->refused = true;
        /* Where another group may have the file that says nothing of its bytes. */
        if (!elsewhere && is_sound(session) && room && story_judge_change(&operation, reply))
            story_note(session->file, &operation);
    }
}

static void fill_finish(struct proto_finish *finish, const struct session *session)
{
    *finish = (struct proto_finish){.has_digest = chance(500000)};
    fill_partial(&finish->partial, session);
    if (finish->has_digest)
        memcpy(finish->digest, story_digests[session->file][session->content], sizeof(finish->digest));
}

static void finish(struct session *session, struct node *node, int64_t timeout_us)
{
    struct proto_finish finish;
    uint8_t bytes[PROTO_JOIN_PARTS_MAX];
    struct reply reply;
    int64_t since_us = now_us();
    size_t size = PROTO_FINISH_SIZE;
    /* Of one that is stored nothing new can come. */
    bool stored = session->stored, room = !stored && story_begin(session->file);
    if (!stored && !room)
        return;
    if (session->begun_us == 0)
        session->begun_us = max_i64(since_us, 1);
    fill_finish(&finish, session);
    if (session->target)
        size = proto_join_parts_pack(bytes, sizeof(bytes), &finish, session->parts[0],
                                     (size_t)session->part_count, NULL);
    else if (!proto_finish_pack(bytes, &finish, NULL))
        size = 0;
    if (size == 0)
        violation("a FINISH cannot be packed");
    client_ask(node->port, session->target ? PROTO_STORAGE_JOIN_PARTS : PROTO_STORAGE_FINISH, bytes, size,
               NULL, 0, timeout_us, &reply);
    narrate(session, session->target ? "JOIN_PARTS" : "FINISH", node, &reply);
    session->missing = reply.complete && reply.code == ERROR_IO;
    judge_finish(session, &reply, since_us, room);
    client_free(&reply);
}

static void give_up(struct session *session, struct node *node)
{
    struct proto_partial partial;
    uint8_t bytes[PROTO_PARTIAL_SIZE];
    struct reply reply;
    fill_partial(&partial, session);
    if (!proto_partial_pack(bytes, &partial, NULL))
        violation("an ABORT cannot be packed");
    session->given_up = true;
    bool stored = session->stored;
    client_ask(node->port, PROTO_STORAGE_ABORT, bytes, sizeof(bytes), NULL, 0, 30 * SECOND_US, &reply);
    narrate(session, "ABORT", node, &reply);
    if (reply.complete && reply.code == 0 && stored)
        violation("partial upload %zu of %s was given up after it had become a file",
                  (size_t)(session - sessions), story_files[session->file].id);
    session->aborted = session->aborted || (reply.complete && reply.code == 0);
    client_free(&reply);
}

/* ---- which step ---- */

static struct session *new_session(void)
{
    size_t size;
    if (session_count == SESSIONS_MAX)
        return NULL;
    struct session *session = &sessions[session_count];
    *session = (struct session){.file = (int)chance_below(story_file_count),
                                .content = (int)chance_below(CONTENTS),
                                .name = (int)chance_below(NAMES),
                                .over = true}; /* until its token is known */
    free(content_make(session->file, session->content, &size));
    session->size = (int64_t)size;
    session_count++;
    return session;
}

static struct session *any_session(void)
{
    struct session *chosen = NULL;
    int64_t seen = 0;
    for (size_t i = 0; i < session_count; i++) {
        if (!sessions[i].over && chance_below(++seen) == 0)
            chosen = &sessions[i];
    }
    return chosen;
}

/* A whole content in parts, each of which is begun and appended to by itself; any_session() finds the target then. */
static void begin_parts(void)
{
    struct session *target = new_session(), part;
    size_t size;
    if (!target)
        return;
    uint8_t *bytes = content_make(target->file, target->content, &size);
    target->part_count = (int)chance_between(1, PARTS_MAX);
    target->target = true;
    bool fine = begin(target, story_home_storage());
    int64_t at = 0;
    for (int i = 0; fine && i < target->part_count; i++) {
        part = *target;
        part.target = false;
        part.given_up = true;
        int64_t end = i == target->part_count - 1 ? (int64_t)size : chance_between(at, (int64_t)size);
        part.size = end - at;
        part.durable = 0;
        fine = begin(&part, story_home_storage());
        memcpy(target->parts[i], part.token, sizeof(part.token));
        for (int j = 0; fine && !part.over && part.durable < part.size && j < TRIES; j++) {
            append(&part, story_home_storage(), bytes + at, part.durable, part.size - part.durable,
                   SPOIL_NOTHING);
            (void)ask_offset(&part, story_home_storage());
        }
        fine = fine && part.durable == part.size;
        at = end;
    }
    free(bytes);
    target->given_up = true; /* who knows what becomes of it and its parts while others are at it */
    target->over = !fine;
}

void partial_step(void)
{
    struct session *session = any_session();
    struct node *node = story_home_storage();
    int64_t kind = chance_below(100);
    if (!session || kind < 10) {
        if (chance(250000)) {
            begin_parts();
        } else if ((session = new_session())) {
            session->over = !begin(session, node);
        }
    } else if (session->target) {
        finish(session, node, any_timeout());
    } else if (kind < 13) {
        give_up(session, node);
    } else if (kind < 25) {
        (void)ask_offset(session, node);
    } else if (session->durable < session->size || kind < 30) {
        append_some(session, node);
        if (chance(500000) && !session->over)
            (void)ask_offset(session, node);
    } else {
        finish(session, node, any_timeout());
    }
}

/* ---- the end ---- */

/* Somebody tried to finish it, and then to delete its file. */
static bool was_deleted_since(const struct session *session)
{
    const struct history *history = &story_files[session->file].history;
    for (size_t i = 0; session->begun_us > 0 && i < history->count; i++) {
        const struct operation *one = &history->operations[i];
        if (story_may_delete(one) && max_i64(one->to_us, one->expires_us) > session->begun_us)
            return true;
    }
    return false;
}

/* What is kept can be carried on and finished. */
static void finish_last(struct session *session)
{
    size_t size;
    uint8_t *bytes = content_make(session->file, session->content, &size);
    bool answered = false;
    session->refused = false;
    for (int i = 0; i < LAST_TRIES && !session->stored && !session->over && !session->refused; i++) {
        struct node *node = story_home_storage();
        answered = ask_offset(session, node) || answered;
        if (!session->over && session->durable < session->size)
            append(session, node, bytes, session->durable, session->size - session->durable, SPOIL_CALM);
        if (!session->over && session->durable == session->size)
            finish(session, node, 60 * SECOND_US);
        if (!session->over && !session->stored && !session->refused)
            sleep_us(10 * SECOND_US);
    }
    free(bytes);
    if (session->over || session->stored || session->refused)
        return;
    if (session->missing && was_deleted_since(session))
        return; /* stored by a request that nobody heard the end of, deleted and purged */
    if (!answered || story_begin(session->file)) /* else there is no room for it in the history */
        violation("partial upload %zu of %s cannot be finished although everything works",
                  (size_t)(session - sessions), story_files[session->file].id);
}

void partial_last_look(void)
{
    for (size_t i = 0; i < session_count; i++) {
        struct session *session = &sessions[i];
        if (!session->over && !session->stored && !session->given_up && is_sound(session))
            finish_last(session);
    }
}
