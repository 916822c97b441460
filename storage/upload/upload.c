/*
 * upload: the steps of UPLOAD and PUT (enum upload_step in storage/upload/upload_state.h), on the request's loop.
 *
 *   GATHER -> ADMIT -> LOOK_UP [-> OWNER] -> NUMBER -> STORE -> ROW -> REPLY                small content, whole in one buffer
 *                              -> NUMBER -> CREATE -> RECEIVE -> ROW -> REPLY    any other
 *                              -> COMPARE -> REPLY                               the file ID is taken
 *                              -> COMPARE -> NUMBER -> ...                       it is, and its file is lost or damaged
 *   RECEIVE -> HEAL -> ROW               what the content had in common with damaged bytes is still to be copied
 *   ROW -> RIVAL -> REPLY                another upload of this file ID was quicker
 *   ROW -> RIVAL -> ROW -> ...           it was, and its file is lost
 *   ROW -> UNDO -> COMPARE -> ...        the file ID was thought to be new, and is taken
 *   ROW -> VERIFY [-> WITHDRAW] -> REPLY adding the row took long
 *   OWNER -> ROOM -> NUMBER              somebody has a quota, and the content is large or waits for our word
 *   ROW -> SYNC -> ROW -> ...            the upload journal (storage/upload/recovery.h) could not be written
 *   Any failure: -> UNDO (when a file was made) -> REPLY.
 *
 * An upload takes one of the places (ADMIT) when the first piece of its content is there, so that slow ones hold none;
 * where the memory for that is used up, before. A small content's row is not looked up at all, or, where file IDs were
 * taken lately, while the content comes: whether its file ID is new shows when the row is added, and its file is then
 * quickly removed again.
 *
 *   LOOK_UP -> OWNER -> GATHER -> ADMIT -> ...                                  STORE that asks: its content waits for our word
 *
 * A success reply means: the bytes are synced under their final name, their directory too, and the row is
 * committed; or the upload journal has all of that, synced, and puts it in its place before anybody is answered.
 */
#include "storage/upload/upload.h"
#include "storage/upload/upload_state.h"
#include "storage/store/store_choice.h"

#include "common/base/clock.h"
#include "common/base/crash_point.h"
#include "common/base/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define ROOM            "upload"
#define SKIP_MS         10000 /* for so long an upload looks for a number that nobody has used */
#define SKIP_ONE_BY_ONE 16    /* so many used ones in a row, and all that are in memory are dropped */
#define GUESS_MAX       65536 /* bytes of a content whose file ID is taken to be new */
#define REPEATS_AHEAD   1000  /* uploads that look first, after one whose file ID was taken */

/* ---- number and file ---- */

static void run_create(struct job *job)
{
    struct upload *upload = CONTAINER_OF(job, struct upload, job);
    upload->job_fine = upload_disk_create(upload, &upload->job_error);
}

static void run_store(struct job *job)
{
    struct upload *upload = CONTAINER_OF(job, struct upload, job);
    upload->job_fine = upload_disk_store(upload, &upload->job_error);
}

static void run_heal(struct job *job)
{
    struct upload *upload = CONTAINER_OF(job, struct upload, job);
    upload->job_fine = upload_heal_end(upload, &upload->job_error);
}

/* The last piece is in the file. */
void upload_finish_heal(struct upload *upload)
{
    if (upload_heal_over(upload)) {
        upload_add_row(upload);
        return;
    }
    upload_enter(upload, UPLOAD_HEAL);
    if (!upload_start_job(upload, upload->path, run_heal))
        upload_conclude(upload, &upload->job_error);
}

static void use_number(struct upload *upload, int64_t value)
{
    bool whole = !upload->kind && upload->received == upload->put.size && upload->slots[0].offset == 0;
    CRASH_POINT("upload-number-taken");
    upload->file = (struct store_file){
        .path = upload->path,
        .place = {.value = value, .seconds = upload_is_move(upload) ? upload->seconds : clock_wall_seconds()},
        .fd = -1};
    upload_enter(upload, whole ? UPLOAD_STORE : UPLOAD_CREATE);
    if (!upload_start_job(upload, upload->path, whole ? run_store : run_create))
        upload_conclude(upload, &upload->job_error);
}

static void on_upload_number(struct ids_waiter *waiter, int64_t value, const struct error *error)
{
    struct upload *upload = CONTAINER_OF(waiter, struct upload, number);
    if (error)
        upload_conclude(upload, error);
    else
        use_number(upload, value);
}

void upload_take_number(struct upload *upload)
{
    struct ids *ids = upload->storage->ids;
    size_t index = store_path_index(upload->path);
    struct error error = {0};
    int64_t value;
    upload_enter(upload, UPLOAD_NUMBER);
    if (ids_take(ids, index, &value)) {
        use_number(upload, value);
        return;
    }
    upload->number = (struct ids_waiter){.done = on_upload_number, .loop = upload->loop};
    if (!ids_wait(ids, index, &upload->number, &error))
        upload_conclude(upload, &error);
}

/* The number was used before, which an ID server never lets happen unless its database went back in time; or its
 * directory takes no files. Then many are, one after the other. */
static void skip_number(struct upload *upload)
{
    char name[PACKET_REQUEST_NAME_SIZE];
    static struct log_gate gate;
    uint64_t suppressed;
    int64_t now = clock_monotonic_ms();
    metric_add(upload->storage->metrics.collisions, 1);
    if (upload->collisions++ == 0)
        upload->skipping_since_ms = now;
    if (log_gate_open(&gate, 1000, &suppressed))
        log_error(
            ROOM, "%s: number %lld %s: %s (%" PRIu64 " more since the last line)", upload_name(upload, name),
            (long long)upload->file.place.value,
            upload->job_error.code == ERROR_EXISTS
                ? "was given twice and is skipped (was the ID server's database restored from a backup?)"
                : "is skipped",
            upload->job_error.text, suppressed);
    if (upload->collisions % SKIP_ONE_BY_ONE == 0)
        ids_discard(upload->storage->ids, store_path_index(upload->path));
    if (now - upload->skipping_since_ms > SKIP_MS)
        upload_refuse(upload, ERROR_UNAVAILABLE, "%d numbers in a row could not be used", upload->collisions);
    else
        upload_take_number(upload);
}

static void on_job_failed(struct upload *upload)
{
    char name[PACKET_REQUEST_NAME_SIZE];
    const struct error *error = &upload->job_error;
    bool creating = upload->step == UPLOAD_CREATE || upload->step == UPLOAD_STORE;
    if (creating && upload->number_used) {
        skip_number(upload);
    } else if (upload->step == UPLOAD_UNDO) {
        upload_leave_file(upload, error->text);
        upload_undone(upload);
    } else {
        bool overtaken = upload->kind && error->code == ERROR_UNAVAILABLE;
        if (error->code != ERROR_DIGEST && error->code != ERROR_EXISTS && !overtaken)
            log_error(ROOM, "%s: file %s of user %s is not stored: %s", upload_name(upload, name),
                      upload->put.key.file, upload->put.key.user, error->text);
        upload_conclude(upload, error);
    }
}

void upload_job_done(struct job *job)
{
    struct upload *upload = CONTAINER_OF(job, struct upload, job);
    upload->job_running = false;
    if (upload->concluded && upload->step != UPLOAD_UNDO) {
        upload_settle(upload);
        return;
    }
    if (!upload->job_fine && upload->step == UPLOAD_VERIFY && upload->insert.moves_from) {
        upload_unverified(upload);
        return;
    }
    if (!upload->job_fine) {
        on_job_failed(upload);
        return;
    }
    if (upload->kind && upload->kind->worked && upload->kind->worked(upload))
        return;
    switch (upload->step) {
    case UPLOAD_CREATE:
        upload_enter(upload, UPLOAD_RECEIVE);
        upload_pump(upload);
        break;
    case UPLOAD_RECEIVE:
        upload_written(upload);
        break;
    case UPLOAD_HEAL:
        upload_finish_heal(upload);
        break;
    case UPLOAD_STORE:
        if (!upload->guessed &&
            upload->promised == 0) /* else it may be needed to compare, or for the journal */
            upload_give_buffers(upload);
        upload_add_row(upload);
        break;
    case UPLOAD_SYNC:
        upload_add_row(upload);
        break;
    case UPLOAD_COMPARE:
        upload_compared(upload);
        break;
    case UPLOAD_RIVAL:
        upload_met_rival(upload);
        break;
    case UPLOAD_VERIFY:
        upload_verified(upload);
        break;
    case UPLOAD_UNDO:
        upload_undone(upload);
        break;
    default:
        ASSERT(false); /* a worker worked on it in this step */
    }
}

/* ---- the beginning ---- */

void upload_expect_repeats(struct upload *upload)
{
    atomic_store_explicit(&upload->storage->repeats, REPEATS_AHEAD, memory_order_relaxed);
}

/* Mostly a file ID is new, and then a look-up says nothing that the unique index would not say. */
static bool upload_guesses(struct upload *upload)
{
    atomic_int *repeats = &upload->storage->repeats;
    if (upload_is_move(upload) || upload->put.size > GUESS_MAX ||
        upload->put.size > upload->storage->config->chunk_size)
        return false;
    int left = atomic_load_explicit(repeats, memory_order_relaxed);
    if (left > 0) /* of two that count at once one is lost, which does not matter */
        atomic_store_explicit(repeats, left - 1, memory_order_relaxed);
    return left <= 0;
}

void upload_retracted(struct upload *upload)
{
    upload_enter(upload, UPLOAD_LOOK_UP); /* as if that had said so */
    upload->rival = &upload->find.row;
    upload->rival_looked = false;
    upload_start_compare(upload);
}

static void upload_found(struct meta_find *find)
{
    struct upload *upload = CONTAINER_OF(find, struct upload, find);
    upload->looking = false;
    upload->looked = true;
    if (upload->concluded) {
        upload_settle(upload);
        return;
    }
    if (find->result == META_FAILED) {
        upload_conclude(upload, &find->error);
        return;
    }
    if (upload->kind && upload->kind->found) {
        upload->kind->found(upload);
        return;
    }
    if (upload_is_move(upload) && !upload_move_judge(upload))
        return;
    if (find->result == META_DONE && !upload->replaces) {
        upload_expect_repeats(upload);
        upload->rival = &find->row;
        if (upload_refused_by_rival(upload)) /* what has not come of the content need not */
            return;
    }
    upload_advance(upload);
}

/* False: the upload has been refused and may be gone. */
static bool upload_look_up(struct upload *upload)
{
    struct error error = {0};
    upload->find.key = upload->put.key;
    upload->find.loop = upload->loop;
    upload->find.done = upload_found;
    upload->find.fresh = true; /* success may be said of what it finds */
    upload->looking = meta_find(upload->storage->meta, &upload->find, &error);
    if (upload->looking)
        return true;
    upload_conclude(upload, &error);
    return false;
}

/* It has a place. Where memory was short the content is still to come. */
static void entered(struct upload *upload)
{
    upload->entered = true;
    if (upload->came)
        upload_advance(upload);
    else if (!upload_gather(upload, false))
        upload_refuse(upload, ERROR_UNAVAILABLE, "no memory for an upload");
}

static void on_admitted(struct gate_waiter *waiter, bool admitted)
{
    struct upload *upload = CONTAINER_OF(waiter, struct upload, waiter);
    upload->waiting = false;
    upload->entered = admitted;
    if (upload->concluded)
        upload_settle(upload);
    else if (admitted)
        entered(upload);
    else
        upload_refuse(upload, ERROR_UNAVAILABLE, "too many uploads are under way");
}

void upload_enter_gate(struct upload *upload)
{
    upload_enter(upload, UPLOAD_ADMIT);
    upload->waiter = (struct gate_waiter){.done = on_admitted, .loop = upload->loop};
    switch (gate_enter(upload->storage->gate, &upload->waiter)) {
    case GATE_ENTERED:
        entered(upload);
        break;
    case GATE_WAITS:
        upload->waiting = true;
        break;
    case GATE_FULL:
        upload_refuse(upload, ERROR_UNAVAILABLE, "too many uploads are waiting");
        break;
    }
}

/* ---- whose the user is ---- */

/* False: the upload has been refused and may be gone. */
static bool judge_owner(struct upload *upload)
{
    struct error error = {0};
    upload->owned = upload->owner.answer != OWNERS_OTHERS;
    if (upload->owned)
        return true;
    owners_refuse(&upload->put.key, upload->owner.group, upload->storage->config->group, &error);
    upload_conclude(upload, &error);
    return false;
}

static void owner_answered(struct owners_waiter *owner)
{
    struct upload *upload = CONTAINER_OF(owner, struct upload, owner);
    upload->asking = false;
    if (upload->concluded)
        upload_settle(upload);
    else if (judge_owner(upload))
        upload_advance(upload);
}

/* Nothing is stored for a user whose files are looked for elsewhere. False: it is not known yet, or the upload has been
 * refused and may be gone. */
static bool upload_check_owner(struct upload *upload)
{
    if (upload->owned)
        return true;
    upload_enter(upload, UPLOAD_OWNER);
    upload->owner = (struct owners_waiter){.loop = upload->loop, .done = owner_answered};
    upload->asking = !owners_ask(upload->storage->owners, &upload->put.key, true, &upload->owner);
    return !upload->asking && judge_owner(upload);
}

static void look_up_first(struct upload *upload)
{
    upload_enter(upload, UPLOAD_LOOK_UP);
    if (!upload->looking)
        (void)upload_look_up(upload);
}

/* A place is taken once content is there, so that silent uploaders hold none; where memory is short the content waits for one. */
static void receive_first(struct upload *upload)
{
    if (!upload_gather(upload, true))
        upload_enter_gate(upload);
}

/* All that may stand in the way of the upload is asked before its content, which the uploader keeps until
 * then. */
static void upload_ask(struct upload *upload)
{
    if (!upload->looked) {
        look_up_first(upload);
        return;
    }
    if (!upload->rival && (!upload_check_owner(upload) || !upload_check_room(upload)))
        return;
    upload->asks = false;
    packet_request_continue(upload->request);
    receive_first(upload);
}

void upload_advance(struct upload *upload)
{
    if (upload->concluded || upload->waiting)
        return;
    if (upload->asks) {
        upload_ask(upload);
        return;
    }
    if (!upload->came)
        return;
    if (!upload->entered) {
        upload_enter_gate(upload);
        return;
    }
    if (upload->kind && upload->kind->advance) {
        upload->kind->advance(upload);
        return;
    }
    if (upload->guessed && upload->received < upload->put.size) /* pieces are not kept for a comparison */
        upload->guessed = upload->looked = false;
    if (!upload->looked) {
        look_up_first(upload);
        return;
    }
    if (upload->rival)
        upload_start_compare(upload);
    else if (upload_check_owner(upload) && upload_check_room(upload))
        upload_take_number(upload);
}

static void upload_begin(struct upload *upload)
{
    struct error error = {0};
    upload->path = store_choose(upload->storage->store, upload->put.size, &error);
    upload->digest = !upload->path                                     ? NULL
                     : upload_judge_is_strong(upload->storage->config) ? digest_create_strong()
                                                                       : digest_create();
    if (upload->path && !upload->digest)
        error_set(&error, ERROR_UNAVAILABLE, "no memory for an upload");
    if (!upload->digest) {
        upload_conclude(upload, &error);
        return;
    }
    if (upload->asks) {
        upload_advance(upload);
        return;
    }
    upload->guessed = upload->looked = upload_guesses(upload);
    /* A small content is on its way already: the row is looked up meanwhile. */
    if (!upload->looked && upload->put.size <= upload->storage->config->chunk_size && !upload_look_up(upload))
        return;
    receive_first(upload);
}

bool upload_admits(struct packet_request *request, const struct proto_put *put)
{
    struct storage *storage = storage_of(request);
    struct error error = {0};
    bool fine = applications_check(storage->applications, put->key.application, &error);
    if (fine && put->group[0] != '\0' && strcmp(put->group, storage->config->group) != 0)
        fine = owners_refuse(&put->key, put->group, storage->config->group, &error);
    if (!fine)
        packet_reply_failure(request, &error);
    return fine;
}

struct upload *upload_create(struct packet_request *request, const struct proto_put *put, bool digest_follows)
{
    struct upload *upload = calloc(1, sizeof(*upload));
    if (!upload) {
        packet_reply_error(request, ERROR_UNAVAILABLE, "no memory for an upload");
        return NULL;
    }
    upload->owned = put->group[0] != '\0'; /* a tracker named it to the uploader, and it is ours */
    upload->storage = storage_of(request);
    upload->request = request;
    upload->loop = request->loop;
    upload->put = *put;
    upload->digest_follows = digest_follows;
    upload->file.fd = upload->rival_fd = -1;
    request->user = upload;
    return upload;
}

/* How the content comes, and what is said of it. */
struct upload_form {
    bool digest_follows, asks, reports;
    const char *from; /* "", or the group that has the file, which is to move here */
};

static void upload_start(struct packet_request *request, const struct proto_put *put, struct upload_form form)
{
    int64_t trailer = form.digest_follows ? PROTO_DIGEST_SIZE : 0;
    if (request->body_left - trailer != put->size) {
        packet_reply_error(request, ERROR_MALFORMED, "the content must have %lld bytes, %lld follow the head",
                           (long long)put->size, (long long)(request->body_left - trailer));
        return;
    }
    struct upload *upload =
        upload_admits(request, put) ? upload_create(request, put, form.digest_follows) : NULL;
    if (!upload)
        return;
    upload->asks = form.asks;
    upload->reports = form.reports;
    snprintf(upload->from, sizeof(upload->from), "%s", form.from);
    upload_begin(upload);
}

void upload_handle_upload(struct packet_request *request)
{
    struct proto_upload head;
    struct proto_put put = {0};
    struct error error = {0};
    if (!proto_upload_unpack(request->head, request->head_size, &head, &error)) {
        packet_reply_failure(request, &error);
        return;
    }
    put.key = head.key;
    put.size = head.size;
    upload_start(request, &put, (struct upload_form){.from = ""});
}

void upload_handle_put(struct packet_request *request)
{
    struct proto_put put;
    struct error error = {0};
    if (!proto_put_unpack(request->head, request->head_size, &put, &error))
        packet_reply_failure(request, &error);
    else
        upload_start(request, &put, (struct upload_form){.from = ""});
}

void upload_handle_put_trailer(struct packet_request *request)
{
    struct proto_put put;
    struct error error = {0};
    if (!proto_put_unpack(request->head, request->head_size, &put, &error))
        packet_reply_failure(request, &error);
    else if (put.has_digest)
        packet_reply_error(request, ERROR_MALFORMED,
                           "the digest follows the content, but the head has one too");
    else
        upload_start(request, &put, (struct upload_form){.digest_follows = true, .from = ""});
}

void upload_handle_move(struct packet_request *request)
{
    struct proto_put put;
    struct error error = {0};
    char from[PROTO_GROUP_SIZE];
    if (!proto_put_unpack(request->head, request->head_size, &put, &error) ||
        !upload_move_take(&put, from, &error))
        packet_reply_failure(request, &error);
    else
        upload_start(request, &put, (struct upload_form){.digest_follows = true, .from = from});
}

void upload_handle_store(struct packet_request *request)
{
    struct proto_store store;
    struct error error = {0};
    if (!proto_store_unpack(request->head, request->head_size, &store, &error))
        packet_reply_failure(request, &error);
    else
        upload_start(request, &store.put,
                     (struct upload_form){.asks = store.asks, .reports = true, .from = ""});
}
