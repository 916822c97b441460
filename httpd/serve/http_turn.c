/*
 * http_turn: see http_turn.h. What a turn has begun is counted in struct http_loop.
 */
#include "httpd/serve/http_turn.h"

#include "common/base/clock.h"
#include "httpd/serve/http_connection.h"
#include "httpd/serve/http_input.h"

#define BEGIN_US    150 /* of a turn of the loop in which requests begin, but for the last one of them */
#define BEGIN_CALM  24  /* that begin in a turn where no answer is under way */
#define QUESTION_US 40  /* that it takes to ask about a file */

static bool answers_are_under_way(const struct http_loop *loop)
{
    static const enum http_connection_state states[] = {CONNECTION_LOOKUP, CONNECTION_SEND,  CONNECTION_FEED,
                                                        CONNECTION_OPEN,   CONNECTION_STORE, CONNECTION_BODY,
                                                        CONNECTION_REST};
    for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
        if (!TAILQ_EMPTY(&loop->lists[states[i]]))
            return true;
    }
    return false;
}

bool http_turn_is_used_up(const struct http_loop *loop)
{
    if (loop->begin_turn != loop_turn(loop->loop))
        return false;
    if (!answers_are_under_way(loop))
        return loop->begin_count >= BEGIN_CALM;
    uint64_t asked = http_lookup_questions(loop->lookup) - loop->begin_questions;
    return clock_monotonic_us() - loop->begin_us + (int64_t)asked * QUESTION_US >= BEGIN_US;
}

static void note_turn(struct http_loop *loop)
{
    if (loop->begin_turn != loop_turn(loop->loop)) {
        loop->begin_turn = loop_turn(loop->loop);
        loop->begin_us = clock_monotonic_us();
        loop->begin_questions = http_lookup_questions(loop->lookup);
        loop->begin_count = 0;
    }
    loop->begin_count++;
}

bool http_turn_must_wait(struct http_connection *connection)
{
    struct http_loop *loop = connection->loop;
    bool had_to_wait = loop->may_begin == connection;
    if (!had_to_wait && !connection->readable && http_input_size(connection) == 0)
        return false;
    loop->may_begin = NULL;
    if (!had_to_wait && (!TAILQ_EMPTY(&loop->beginners) || http_turn_is_used_up(loop)))
        return true;
    note_turn(loop);
    return false;
}
