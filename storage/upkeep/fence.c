/*
 * fence: asks again, looks again, moves, and where a file leaves its place asks once more.
 */
#include "storage/upkeep/fence.h"

#include "common/base/crash_point.h"
#include "common/base/log.h"

#define ROOM "upkeep"

struct fence_question {
    struct db_job job;
    const struct fence_step *step;
    bool holds;
};

static enum db_result fence_ask_run(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct fence_question *question = CONTAINER_OF(job, struct fence_question, job);
    question->holds = false;
    return question->step->holds(question->step->argument, connection, &question->holds, error);
}

static bool fence_ask(const struct fence_step *step, bool *holds, struct error *error)
{
    struct fence_question question = {.job = {.run = fence_ask_run, .idempotent = true}, .step = step};
    bool fine = keeper_run(step->keeper, &question.job, error);
    *holds = fine && question.holds;
    return fine;
}

bool fence_lease(const struct keeper *keeper, struct error *error)
{
    return lease_held(&keeper->lease) ||
           error_set(error, ERROR_CANCELLED, "the term of the lease has passed");
}

static enum fence_outcome fence_undo(const struct fence_step *step, const char *held,
                                     enum fence_outcome outcome, struct error *error)
{
    struct error why = {0};
    if (store_scan_give_back(step->path, held, step->name, &why)) {
        log_warning(ROOM, "%s/%s was moved to %s, and back: it will not be quarantined again",
                    store_path_key(step->path), step->name, held);
        return outcome;
    }
    log_error(ROOM, "%s/%s lies in %s and cannot be moved back: %s; move it by hand",
              store_path_key(step->path), step->name, held, why.text);
    *error = why;
    return FENCE_FAILED;
}

/* Steps 1 to 3, of the file that lies at NAME. FENCE_DONE: it may be moved. */
static enum fence_outcome fence_check(const struct fence_step *step, const char *name, struct error *error)
{
    struct store_scan_look now;
    bool holds = false;
    if (!fence_ask(step, &holds, error) || !store_path_in_place(step->path, error) ||
        !store_scan_look(step->path, name, &now, error))
        return FENCE_FAILED;
    if (!holds || !store_scan_same(step->seen, &now))
        return FENCE_SHUT;
    return fence_lease(step->keeper, error) ? FENCE_DONE : FENCE_FAILED;
}

enum fence_outcome fence_put_aside(const struct fence_step *step, char held[STORE_SCAN_NAME_SIZE],
                                   struct error *error)
{
    struct store_scan_look now;
    bool holds = false;
    held[0] = '\0';
    if (!store_scan_quarantine_ready(step->path, error))
        return FENCE_FAILED;
    enum fence_outcome outcome = fence_check(step, step->name, error);
    if (outcome != FENCE_DONE)
        return outcome;
    if (!store_scan_quarantine(step->path, step->name, held, error))
        return held[0] == '\0' ? FENCE_FAILED : fence_undo(step, held, FENCE_FAILED, error);
    if (held[0] == '\0')
        return FENCE_SHUT; /* somebody else took it away */
    CRASH_POINT("fence-moved");
    /* A file in its place is never wrong: where nobody can say that it is to go, it goes back. */
    if (!fence_ask(step, &holds, error) || !store_scan_look(step->path, held, &now, error))
        return fence_undo(step, held, FENCE_FAILED, error);
    holds = holds && now.inode == step->seen->inode && now.size == step->seen->size;
    return holds ? FENCE_DONE : fence_undo(step, held, FENCE_SHUT, error);
}

enum fence_outcome fence_give_back(const struct fence_step *step, const char *held, struct error *error)
{
    struct error why = {0};
    enum fence_outcome outcome = fence_check(step, held, error);
    if (outcome != FENCE_DONE)
        return outcome;
    bool fine = store_scan_give_back(step->path, held, step->name, &why);
    CRASH_POINT("fence-given-back");
    if (!fine && why.code != ERROR_EXISTS)
        *error = why;
    return fine ? FENCE_DONE : FENCE_SHUT;
}
