/*
 * story_meeting: a server asks the database about a file, and the answer takes its time; meanwhile the file is changed at another
 * server, and then it is uploaded, or asked for, at the first one, which must not take the answer that is under way for an answer to that.
 */
#include "tests/simulation/story_state.h"

static struct {
    int file, content;
    struct node *here, *there;
} meeting;
static bool under_way; /* one at a time */

static void *read_main(void *argument)
{
    struct operation operation = {.kind = OPERATION_READ};
    (void)argument;
    (void)!story_do(meeting.file, meeting.here, &operation);
    story_clients_left--;
    return NULL;
}

static enum operation_answer ask(struct node *node, enum operation_kind kind)
{
    struct operation operation = {.kind = kind, .content = meeting.content, .name = (int)chance_below(NAMES)};
    (void)!story_do(meeting.file, node, &operation);
    return operation.answer;
}

/* The file is there, with the content that is uploaded later: else there is little to meet. */
static void prepare(void)
{
    enum operation_answer answer = ask(meeting.there, OPERATION_PUT);
    if (answer == ANSWER_TAKEN)
        meeting.content = CONTENTS - 1 - meeting.content;
    else if (answer == ANSWER_DELETED)
        (void)ask(meeting.there, OPERATION_RESTORE);
}

static void *meeting_main(void *argument)
{
    static const enum operation_kind changes[] = {OPERATION_DELETE, OPERATION_DELETE, OPERATION_DELETE,
                                                  OPERATION_RENAME};
    (void)argument;
    prepare();
    say("what %s asks for of file-%d is under way for a while", meeting.here->name, meeting.file);
    base_held = meeting.here;
    story_clients_left++;
    (void)fiber_start(NULL, "reader", read_main, NULL);
    sleep_us(chance_below(20000));
    (void)ask(meeting.there, changes[chance_below((int64_t)ARRAY_SIZE(changes))]);
    (void)ask(meeting.here, chance(900000) ? OPERATION_PUT : OPERATION_READ);
    base_held = NULL;
    under_way = false;
    story_clients_left--;
    return NULL;
}

void story_meet(void)
{
    if (under_way || story_home_count < 2)
        return;
    int here = (int)chance_below(story_home_count);
    meeting.file = (int)chance_below(story_file_count);
    meeting.content = (int)chance_below(CONTENTS);
    meeting.here = &story_storages[here];
    meeting.there = &story_storages[1 - here];
    under_way = true;
    story_clients_left++;
    (void)fiber_start(NULL, "meeting", meeting_main, NULL);
}
