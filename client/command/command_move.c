/*
 * command_move: one user after the other, with all files, from one group of storage servers to another, while they go on
 * using them. Each file is fetched from the group that has it and given to the new one by MOVE, which switches its row; when a
 * user has no file left in the old group, the trackers are asked to name the new one (REROUTE). Both groups serve what was
 * moved meanwhile. Interrupted at any point, it is simply run again: what has moved is not listed any more.
 * docs/durability.md, "Moving to another group".
 */
#include "client/command/command_move.h"

#include "common/base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PASSES  10   /* over a user's files: those that come while others are moved */
#define LOOK_MS 1000 /* between two looks after users who were moved */
#define NAP_MS  100

/* A user's files that are still in the old group. */
struct batch {
    struct mover *mover;
    const char *application, *user;
    struct target *target;
    struct reel_file *files;
    size_t count, room;
    bool no_memory;
};

bool move_ended(const struct mover *mover)
{
    return atomic_load(&mover->command->ended_by) != 0;
}

/* ---- the rate ---- */

/* Waits until BYTES more may go. False: the command is over. */
static bool mover_throttle(struct mover *mover, int64_t bytes)
{
    if (mover->rate > 0 && bytes > 0) {
        pthread_mutex_lock(&mover->mutex);
        /* What was not used in the last second is lost, so that a pause is followed by no burst. */
        mover->at_us = max_i64(mover->at_us, clock_monotonic_us() - 1000000) +
                       (int64_t)((double)bytes * 1e6 / (double)mover->rate);
        int64_t at_us = mover->at_us;
        pthread_mutex_unlock(&mover->mutex);
        while (!move_ended(mover) && clock_monotonic_us() < at_us)
            (void)usleep((useconds_t)min_i64(at_us - clock_monotonic_us() + 1, NAP_MS * 1000));
    }
    return !move_ended(mover);
}

/* A file on its way; a reel_progress of its download. */
struct passage {
    struct mover *mover;
    struct command_bar *bar;
    int64_t done;
};

static bool passage_step(void *argument, int64_t done, int64_t total)
{
    struct passage *passage = argument;
    int64_t more = done - passage->done;

    passage->done = done;
    (void)command_bar_prepare(passage->bar, done, total);
    return mover_throttle(passage->mover, more);
}

static bool passage_arrive(void *argument, int64_t done, int64_t total)
{
    struct passage *passage = argument;

    (void)command_bar_step(passage->bar, done, total);
    return !move_ended(passage->mover);
}

/* ---- one file ---- */

static bool move_file_content(struct batch *batch, const struct reel_file *file, int fd,
                              struct reel_error *error)
{
    char label[REEL_NAME_SIZE];
    struct command_display *display = batch->mover->command->display;
    struct passage passage = {
        .mover = batch->mover,
        .bar = command_bar_begin(display, command_printable(file->name[0] != '\0' ? file->name : file->file,
                                                            label, sizeof(label)))};
    const struct reel_download download = {
        .key = {.application = batch->application, .user = batch->user, .file = file->file},
        .progress = passage_step,
        .argument = &passage};
    const struct reel_upload upload = {.application = batch->application,
                                       .user = batch->user,
                                       .file = file->file,
                                       .progress = passage_arrive,
                                       .argument = &passage};
    bool fine = reel_download_fd(batch->mover->source, &download, fd, error);

    if (fine && lseek(fd, 0, SEEK_SET) != 0) {
        *error = (struct reel_error){
            .code = REEL_E_IO, .errnum = errno, .text = "the temporary file cannot be read"};
        fine = false;
    }
    fine = fine && reel_upload_fd(batch->target->sink, &upload, fd, file->size, NULL, error);
    command_bar_end(passage.bar);
    return fine;
}

/* Has it been purged, or moved by somebody else, since it was listed? Then the next look shows what is left to do. */
static bool move_is_void(const struct reel_error *error)
{
    return error->code == REEL_E_NOT_FOUND || error->code == REEL_E_OTHER_GROUP;
}

static int move_file(struct command *command, void *items, int number)
{
    struct batch *batch = items;
    struct mover *mover = batch->mover;
    const struct reel_file *file = &batch->files[number];
    struct reel_error error;
    int fd = command_temporary_file(&error);
    bool fine = fd >= 0 && move_file_content(batch, file, fd, &error), failed = !fine;

    if (fd >= 0)
        (void)close(fd);
    if (failed && move_is_void(&error))
        failed = false;
    pthread_mutex_lock(&mover->mutex);
    mover->files += fine ? 1 : 0;
    mover->bytes += fine ? file->size : 0;
    mover->failures += failed ? 1 : 0;
    pthread_mutex_unlock(&mover->mutex);
    return failed && !move_ended(mover) ? command_failed(command, file->file, &error) : COMMAND_OK;
}

/* ---- one user ---- */

static bool keep_file(void *argument, const struct reel_file *file)
{
    struct batch *batch = argument;

    if (strcmp(file->group, batch->mover->from) != 0)
        return true; /* it has moved already */
    if (batch->count == batch->room) {
        size_t room = batch->room > 0 ? batch->room * 2 : 256;
        struct reel_file *larger = realloc(batch->files, room * sizeof(*larger));

        if (!larger) {
            batch->no_memory = true;
            return false;
        }
        batch->files = larger;
        batch->room = room;
    }
    batch->files[batch->count++] = *file;
    return true;
}

static int move_compare_files(const void *left, const void *right)
{
    const struct reel_file *one = left, *other = right;

    return strcmp(one->file, other->file);
}

/* A file that was deleted between the two lists is in both: it moves once. */
static void drop_repeated(struct batch *batch)
{
    size_t kept = 0;

    if (batch->count > 0)
        qsort(batch->files, batch->count, sizeof(*batch->files), move_compare_files);
    for (size_t i = 0; i < batch->count; i++)
        if (kept == 0 || move_compare_files(&batch->files[kept - 1], &batch->files[i]) != 0)
            batch->files[kept++] = batch->files[i];
    batch->count = kept;
}

/* What the user has in the old group, deleted files too. */
static bool list_batch(struct batch *batch, struct reel_error *error)
{
    const struct reel_key key = {.application = batch->application, .user = batch->user};

    batch->count = 0;
    if (!reel_list(batch->mover->source, &key, false, keep_file, batch, error) ||
        !reel_list(batch->mover->source, &key, true, keep_file, batch, error))
        return false;
    drop_repeated(batch);
    if (batch->no_memory)
        *error = (struct reel_error){.code = REEL_E_UNAVAILABLE, .text = "no memory for a list of files"};
    return !batch->no_memory;
}

/* Until nothing is left there. An exit code. */
static int empty_user(struct batch *batch)
{
    struct mover *mover = batch->mover;
    struct reel_error error;
    int result = COMMAND_OK;

    for (int pass = 0; pass < PASSES && result == COMMAND_OK && !move_ended(mover); pass++) {
        if (!list_batch(batch, &error))
            return command_failed(mover->command, batch->user, &error);
        if (batch->count == 0)
            return COMMAND_OK;
        if (!batch->target->sink)
            batch->target->sink = command_open_at(mover->command, mover->command->settings.trackers,
                                                  batch->target->name, mover->from, &result);
        if (result == COMMAND_OK)
            result = command_each(mover->command, (int)batch->count, move_file, batch);
    }
    if (result == COMMAND_OK && !move_ended(mover))
        command_remark(mover->command, "user %s stores files faster than they can be moved; run it again",
                       batch->user);
    return result != COMMAND_OK ? result : COMMAND_FAILED;
}

/* The trackers name the new group from now on: first one of them writes it down, then each is asked, so that none goes by
 * what it had cached. GROUP: the user's afterwards. */
static bool reroute_user(struct batch *batch, char group[REEL_GROUP_SIZE], struct reel_error *error)
{
    struct mover *mover = batch->mover;
    char again[REEL_GROUP_SIZE];
    struct reel_error why;

    if (!reel_move_user(mover->command->reel, batch->application, batch->user, mover->from,
                        batch->target->name, group, error))
        return false;
    for (size_t i = 0; i < mover->tracker_count; i++)
        if (!reel_move_user(mover->trackers[i], batch->application, batch->user, mover->from,
                            batch->target->name, again, &why) &&
            !move_ended(mover))
            command_remark(mover->command,
                           "a tracker keeps naming group %s for up to its route_cache_age: %s", mover->from,
                           why.text);
    return true;
}

static bool remember_user(struct mover *mover, const struct batch *batch)
{
    struct moved_user *larger = realloc(mover->users, (mover->user_count + 1) * sizeof(*larger));
    struct moved_user *moved;

    if (!larger)
        return false;
    mover->users = larger;
    moved = &larger[mover->user_count];
    *moved = (struct moved_user){.application = strdup(batch->application),
                                 .user = strdup(batch->user),
                                 .target = batch->target,
                                 .at_ms = clock_monotonic_ms()};
    mover->user_count++; /* also without memory for the names, which are freed with it */
    return moved->application && moved->user;
}

static int say_user(const struct mover *mover, const struct batch *batch, int64_t files, int64_t bytes,
                    const char *would)
{
    char user[REEL_NAME_SIZE], size[32];

    if (mover->command->options.json)
        return command_print_json(mover->command, json_pack("{s:o,s:o,s:s,s:s,s:I,s:I}", "user",
                                                            command_json_text(batch->user), "application",
                                                            command_json_text(batch->application), "from",
                                                            mover->from, "to", batch->target->name, "files",
                                                            (json_int_t)files, "bytes", (json_int_t)bytes));
    return command_print(mover->command, "%suser %s of %s: %" PRId64 " files (%s) to %s\n", would,
                         command_printable(batch->user, user, sizeof(user)), batch->application, files,
                         command_human((double)bytes, size, sizeof(size)), batch->target->name);
}

/* The group with the largest share of free bytes, less those that are on their way there. */
static struct target *best_target(struct mover *mover)
{
    struct target *best = NULL;
    double most = -1;

    for (size_t i = 0; i < mover->target_count; i++) {
        struct target *target = &mover->targets[i];
        double share = target->capacity > 0 ? (double)target->free / (double)target->capacity : 0;

        if (share > most) {
            most = share;
            best = target;
        }
    }
    return best;
}

/* What a dry run says instead. */
static int would_move_user(struct batch *batch)
{
    struct reel_error error;
    int64_t bytes = 0;

    if (!list_batch(batch, &error))
        return command_failed(batch->mover->command, batch->user, &error);
    for (size_t i = 0; i < batch->count; i++)
        bytes += batch->files[i].size;
    batch->target->free -= bytes;
    batch->mover->bytes += bytes;
    return say_user(batch->mover, batch, (int64_t)batch->count, bytes,
                    batch->mover->command->options.json ? "" : "would move ");
}

static int move_user(struct mover *mover, const char *application, const char *user)
{
    struct batch batch = {
        .mover = mover, .application = application, .user = user, .target = best_target(mover)};
    int64_t files = mover->files, bytes = mover->bytes;
    char group[REEL_GROUP_SIZE];
    struct reel_error error;
    int result;

    if (mover->command->options.dry_run) {
        result = would_move_user(&batch);
        free(batch.files);
        return result;
    }
    result = empty_user(&batch);
    free(batch.files);
    batch.target->free -= mover->bytes - bytes;
    if (result != COMMAND_OK || move_ended(mover))
        return result;
    if (!reroute_user(&batch, group, &error))
        return command_failed(mover->command, user, &error);
    if (!remember_user(mover, &batch))
        command_remark(mover->command, "no memory to watch user %s; run it again", user);
    return say_user(mover, &batch, mover->files - files, mover->bytes - bytes, "");
}

/* ---- all users ---- */

struct user_list {
    char **names; /* application, user, application, user, ...; owned */
    size_t count, room;
    bool no_memory;
};

static bool keep_user(void *argument, const char *application, const char *user)
{
    struct user_list *list = argument;

    if (list->count + 2 > list->room) {
        size_t room = list->room > 0 ? list->room * 2 : 256;
        char **larger = realloc(list->names, room * sizeof(*larger));

        if (!larger) {
            list->no_memory = true;
            return false;
        }
        list->names = larger;
        list->room = room;
    }
    list->names[list->count] = strdup(application);
    list->names[list->count + 1] = strdup(user);
    list->no_memory = !list->names[list->count] || !list->names[list->count + 1];
    list->count += 2;
    return !list->no_memory;
}

static void free_users(struct user_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->names[i]);
    free(list->names);
}

static int list_failed(struct command *command, const struct user_list *list, const char *group,
                       struct reel_error *error)
{
    if (list->no_memory)
        *error = (struct reel_error){.code = REEL_E_UNAVAILABLE, .text = "no memory for a list of users"};
    return command_failed(command, group, error);
}

int move_routed_users(struct mover *mover)
{
    struct user_list list = {0};
    struct reel_error error = {0};
    int result = COMMAND_OK;

    if (!reel_group_users(mover->command->reel, mover->from, keep_user, &list, &error) || list.no_memory)
        result = list_failed(mover->command, &list, mover->from, &error);
    else
        atomic_store(&mover->command->wanted, 0); /* how many files there are is not known */
    for (size_t i = 0; i < list.count && result == COMMAND_OK && !move_ended(mover) &&
                       (mover->budget < 0 || mover->bytes < mover->budget);
         i += 2) {
        int one = move_user(mover, list.names[i], list.names[i + 1]);

        /* One user's failure does not stop the others. */
        if (one != COMMAND_OK)
            mover->failures++;
    }
    free_users(&list);
    return result;
}

/* What was uploaded to addresses that had been cached: to where each user is by now. */
static void look_after(struct mover *mover)
{
    int64_t now_ms = clock_monotonic_ms();

    for (size_t i = mover->user_count; i-- > 0 && !move_ended(mover);) {
        const struct moved_user *moved = &mover->users[i];
        struct batch batch = {
            .mover = mover, .application = moved->application, .user = moved->user, .target = moved->target};

        if (now_ms - moved->at_ms > mover->settle_ms)
            return; /* those before it were moved earlier */
        if (moved->application && moved->user)
            (void)empty_user(&batch);
        free(batch.files);
    }
}

void move_settle(struct mover *mover)
{
    int64_t end_ms = clock_monotonic_ms() + mover->settle_ms;

    if (mover->user_count == 0 || move_ended(mover))
        return;
    command_remark(mover->command,
                   "watching users who were moved for another %" PRId64 " s, for uploads to old addresses",
                   mover->settle_ms / 1000);
    do {
        for (int64_t slept = 0; slept < LOOK_MS && !move_ended(mover); slept += NAP_MS)
            (void)usleep(NAP_MS * 1000);
        look_after(mover);
    } while (!move_ended(mover) && clock_monotonic_ms() < end_ms);
}

/* Users who still have files there though no tracker names the group for them: of a run that was interrupted. */
int move_left_users(struct mover *mover, int64_t *files, int64_t *former)
{
    struct user_list list = {0};
    struct reel_error error = {0};
    int result = COMMAND_OK;

    if (!reel_group_left(mover->source, keep_user, &list, files, former, &error) || list.no_memory)
        result = list_failed(mover->command, &list, mover->from, &error);
    for (size_t i = 0; i < list.count && result == COMMAND_OK && !move_ended(mover); i += 2) {
        struct batch batch = {.mover = mover,
                              .application = list.names[i],
                              .user = list.names[i + 1],
                              .target = best_target(mover)};
        char group[REEL_GROUP_SIZE];

        if (!reroute_user(&batch, group, &error)) {
            (void)command_failed(mover->command, batch.user, &error);
            mover->failures++;
            continue;
        }
        for (size_t j = 0; j < mover->target_count; j++)
            if (strcmp(mover->targets[j].name, group) == 0)
                batch.target = &mover->targets[j];
        if (empty_user(&batch) != COMMAND_OK)
            mover->failures++;
        free(batch.files);
    }
    free_users(&list);
    return result;
}
