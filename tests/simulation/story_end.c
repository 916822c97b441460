/*
 * story_end: everything works again, and time passes; then what was promised is looked at: every file is read from every member, what is in
 * the trash is restored, and the histories are explained.
 */
#include "tests/simulation/story_state.h"

/* Was an upload of the file that is there now answered with success? What was deleted since, and may have been purged and stored anew by
 * an upload that was never answered with success, is another one. */
static bool was_promised(const struct file *file)
{
    const struct history *history = &file->history;
    int64_t promised_us = -1, gone_us = -1;
    for (size_t i = 0; i < history->count; i++) {
        const struct operation *one = &history->operations[i];
        if (one->answer == ANSWER_DONE && (one->kind == OPERATION_PUT || one->kind == OPERATION_RESTORE))
            promised_us = max_i64(promised_us, one->from_us);
        if (story_may_delete(one))
            gone_us = max_i64(gone_us, one->to_us);
    }
    if (promised_us < 0 || gone_us < promised_us)
        return promised_us >= 0;
    for (size_t i = 0; i < history->count; i++) {
        const struct operation *one = &history->operations[i];
        if (one->kind == OPERATION_PUT && one->answer == ANSWER_UNKNOWN && one->to_us > promised_us)
            return false;
    }
    return true;
}

/* Did anybody delete it, as far as is known, or say when it is to go? */
static bool was_deleted(const struct file *file)
{
    for (size_t i = 0; i < file->history.count; i++) {
        if (story_may_delete(&file->history.operations[i]))
            return true;
    }
    return false;
}

/* A row without its file. Of an upload that was not answered a server that died at the wrong moment may leave one: no promise is
 * broken (docs/durability.md, "A row without its file"). What is promised of it: the same bytes can be stored again. */
static void store_hollow_again(int file, struct node *node)
{
    struct operation look = {.kind = OPERATION_READ};
    struct reply answer = {0};
    bool seen = story_operate(file, node, &look, true, &answer);
    client_free(&answer);
    story_result.hollow++;
    say("%s has a row and no file; no upload of it was answered with success", story_files[file].id);
    for (int i = 0; seen && look.answer == ANSWER_DONE && i < 3; i++) {
        struct operation again = {.kind = OPERATION_PUT, .content = look.content};
        struct reply reply = {0};
        bool begun = story_operate(file, node, &again, false, &reply);
        client_free(&reply);
        if (begun)
            story_note(file, &again);
        if (begun && again.answer == ANSWER_DONE)
            return;
        sleep_us(10 * SECOND_US);
    }
    history_print(&story_files[file].history, stdout);
    violation("%s has a row and no file at %s, and its bytes cannot be stored again", story_files[file].id,
              node->name);
}

/* Everything works: an answer must come. */
static void last_operation(int file, struct node *node, enum operation_kind kind, bool stat)
{
    struct file *one = &story_files[file];
    for (int i = 0; i < 3; i++) {
        struct reply reply = {0};
        struct operation operation = {.kind = kind};
        bool counts = story_operate(file, node, &operation, stat, &reply);
        int code = reply.code;
        client_free(&reply);
        if (counts && operation.answer != ANSWER_UNKNOWN) {
            story_note(file, &operation);
            return;
        }
        if (code == ERROR_IO && !was_promised(one) && was_deleted(one)) {
            story_result.hollow++; /* in the trash, where it stays until it is purged */
            return;
        }
        if (i == 1 && kind == OPERATION_READ && !stat && code == ERROR_IO && !was_promised(one))
            store_hollow_again(file, node); /* then it can be read */
        if (i == 2) {
            history_print(&one->history, stdout);
            violation("%s of %s at %s fails although everything works: %d",
                      kind == OPERATION_READ ? stat ? "STAT" : "DOWNLOAD" : "RESTORE", one->id, node->name,
                      code);
        }
        sleep_us(10 * SECOND_US);
    }
}

static void last_look(void)
{
    for (int i = 0; i < story_file_count; i++) {
        for (int j = 0; j < story_storage_count; j++) {
            if (story_moves && !move_story_belongs(i, &story_storages[j]))
                continue;
            last_operation(i, &story_storages[j], OPERATION_READ, true);
            last_operation(i, &story_storages[j], OPERATION_READ, false);
        }
    }
}

static void check_histories(void)
{
    for (int i = 0; i < story_file_count; i++) {
        bool undecided = false;
        if (!history_explains(&story_files[i].history, &undecided)) {
            history_print(&story_files[i].history, stdout);
            violation("no order of what was done explains what was answered of %s", story_files[i].id);
        }
        story_result.undecided += undecided;
    }
}

/* Everything works, and nobody has anything to do but the upkeep, whose rounds would cost as much as all that came before: of US all
 * but LIVED_US is skipped, in the middle. What is due by then is done at once. */
static void rest(int64_t us, int64_t lived_us)
{
    sleep_us(min_i64(us, lived_us) / 2);
    world_jump(max_i64(us - lived_us, 0));
    sleep_us(min_i64(us, lived_us) / 2);
}

/* Whoever could not start before. */
static void start_for_good(void)
{
    story_start_all();
    rest(60 * SECOND_US, 12 * SECOND_US);
    for (int i = 0; i < story_storage_count; i++) {
        if (!story_storages[i].alive)
            violation("%s does not start although everything works", story_storages[i].name);
    }
}

void story_end(void)
{
    story_heal();
    /* Each is a row of waits, of which a jump ends one: the bytes would be put back after the last repair. */
    while (story_damages_left > 0)
        sleep_us(SECOND_US);
    rest(90 * SECOND_US, 12 * SECOND_US); /* what hangs or is late comes in */
    if (story_journal)
        start_for_good();
    for (int i = 0; i < 3 && story_files[0].damaged; i++) {
        story_fsck(true);
        sleep_us(20 * SECOND_US);
    }
    partial_last_look();
    rest(story_cache_age_ms * 1000 + SLACK_US, 4 * SECOND_US);
    last_look();
    /* What lies in the trash is whole, too. */
    for (int i = 0; i < story_file_count; i++) {
        int at = story_moves && !move_story_belongs(i, &story_storages[0]) ? story_home_count : 0;
        last_operation(i, &story_storages[at], OPERATION_RESTORE, false);
    }
    rest(story_cache_age_ms * 1000 + SLACK_US, 4 * SECOND_US);
    last_look();
    if (story_moves) { /* former copies are purged, and nothing else */
        rest(story_keep_ms * 1000 + 670 * SECOND_US, 12 * SECOND_US);
        last_look();
    }
    check_histories();
    story_check_numbers();
}
