/*
 * reel_upload: the uploads of reel.h: what is uploaded, under which key, and in which way: with the digest behind the content
 * (PUT_TRAILER), which is taken as it passes by; where the servers are too old for that, ahead of it (PUT), and the content is
 * read once more before. With a state file, or in pieces: as partial uploads (reel_resume.h).
 */
#include "client/library/reel_internal.h"

#include "client/library/file_id.h"
#include "client/library/reel_content.h"
#include "client/library/reel_resume.h"
#include "client/library/reel_send.h"
#include "common/base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DIGEST_FIRST_MS 60000 /* how long it is remembered that a server does not know PUT_TRAILER */

/* With the digest behind the content; ahead of it where a server does not know that, or did not a moment ago. A
 * legacy server has one number for all failures: what the second way says then counts. */
static bool send_checked(struct reel *reel, const struct content *content, const struct reel_upload *upload,
                         struct proto_put *put, struct error *error)
{
    const struct send_options send = {.content = content, .upload = upload, .put = put};
    int64_t now = clock_monotonic_ms();
    bool known_old = !reel->moves && atomic_load(&reel->digest_first_until_ms) > now;

    if (!known_old) {
        if (reel_send(reel, &send, error))
            return true;
        if (reel->moves) /* there is one way only */
            return false;
        if (error->code != ERROR_UNKNOWN_COMMAND && error->code != ERROR_GENERAL)
            return false;
    }
    if (!content_digest(content, upload->preparing, upload->argument, put->digest, error))
        return false;
    put->has_digest = true;
    if (!reel_send(reel, &send, error))
        return false;
    if (!known_old)
        atomic_store(&reel->digest_first_until_ms, now + DIGEST_FIRST_MS);
    return true;
}

/* ---- reel.h ---- */

/* Everything of an upload but its bytes. NAME may be NULL. */
static bool fill_put(struct reel *reel, const struct reel_upload *upload, const char *name,
                     struct proto_put *put, struct error *error)
{
    struct reel_key key = {.application = upload->application, .user = upload->user, .file = upload->file};
    char id[FILE_ID_SIZE];

    memset(put, 0, sizeof(*put));
    if (!reel_fill_key(reel, &key, true, &put->key, error))
        return false;
    if (!upload->file) {
        if (!file_id_make(put->key.user, id, error))
            return false;
        memcpy(put->key.file, id, sizeof(id));
    } else if (upload->file[0] == '\0') {
        (void)error_set(error, ERROR_MALFORMED, "the file ID is empty");
        return error_of_argument(error);
    }
    if (upload->name)
        name = upload->name;
    if (name && !reel_copy_text(put->name, sizeof(put->name), "name", name, error))
        return false;
    put->expires = upload->expires;
    return !upload->content_type || reel_copy_text(put->content_type, sizeof(put->content_type),
                                                   "content type", upload->content_type, error);
}

/* An older server stores the file and does not say that it knows nothing of expiry; one that answers "forbidden" does know of it. The time
 * that a repeated upload found is the one that was asked for first. */
static bool check_expiry(struct reel *reel, const struct proto_put *put, struct error *error)
{
    int64_t time = 0, wanted = put->expires == PROTO_EXPIRES_NEVER ? 0 : put->expires;
    struct error why = {0};

    if (put->expires == 0)
        return true;
    if (reel_expire_key(reel, &put->key, 0, &time, &why)) {
        bool fine = wanted < 0 ? time > 0 : time == wanted;

        if (fine || reel_expire_key(reel, &put->key, put->expires, NULL, &why))
            return true;
    }
    return why.code == ERROR_FORBIDDEN || why.code == ERROR_UNAUTHENTICATED ||
           error_set(error, why.code == ERROR_GENERAL ? ERROR_UNKNOWN_COMMAND : why.code,
                     "file %s is stored, but its expiry could not be confirmed: %s", put->key.file, why.text);
}

/* As a partial upload, where it is to be one and can be; else in one request. */
static bool send_content(struct reel *reel, const struct content *content, const struct reel_upload *upload,
                         struct proto_put *put, char file_id[REEL_FILE_SIZE], struct error *error)
{
    if (!reel->moves && resume_wanted(content, upload)) {
        enum resume_end end = resume_upload(reel, content, upload, put, file_id, error);

        if (end != RESUME_TOO_OLD)
            return end == RESUME_STORED;
        reel_say(reel, "the servers do not know partial uploads: the file is sent as a whole, and the upload "
                       "cannot be resumed");
    }
    return send_checked(reel, content, upload, put, error);
}

static bool reel_upload_content(struct reel *reel, const struct content *content,
                                const struct reel_upload *upload, const char *name,
                                char file_id[REEL_FILE_SIZE], struct error *error)
{
    struct proto_put put;

    if (!reel_usable(reel, error) || !fill_put(reel, upload, name, &put, error))
        return false;
    if (file_id)
        memcpy(file_id, put.key.file, sizeof(put.key.file));
    put.size = content->size;
    return send_content(reel, content, upload, &put, file_id, error) && check_expiry(reel, &put, error);
}

static bool upload_fd(struct reel *reel, const struct reel_upload *upload, int fd, int64_t size,
                      const char *name, char file_id[REEL_FILE_SIZE], struct error *error)
{
    struct content content;
    bool fine;

    if (!content_open(&content, fd, size, upload->preparing, upload->argument, error))
        return false;
    fine = reel_upload_content(reel, &content, upload, name, file_id, error);
    content_clear(&content);
    return fine;
}

static const struct reel_upload defaults;

static void clear_id(char *file_id)
{
    if (file_id)
        file_id[0] = '\0';
}

bool reel_upload_path(struct reel *reel, const struct reel_upload *upload, const char *path,
                      char file_id[REEL_FILE_SIZE], struct reel_error *error)
{
    const char *slash = strrchr(path, '/');
    struct error why;
    bool fine;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    clear_id(file_id);
    if (fd < 0) {
        (void)reel_local_error(&why, errno, "%s", path);
        return reel_fail(error, &why);
    }
    fine = upload_fd(reel, upload ? upload : &defaults, fd, -1, slash ? slash + 1 : path, file_id, &why);
    close(fd);
    return fine || reel_fail(error, &why);
}

bool reel_upload_fd(struct reel *reel, const struct reel_upload *upload, int fd, int64_t size,
                    char file_id[REEL_FILE_SIZE], struct reel_error *error)
{
    struct error why;

    clear_id(file_id);
    return upload_fd(reel, upload ? upload : &defaults, fd, size, NULL, file_id, &why) ||
           reel_fail(error, &why);
}

bool reel_upload_memory(struct reel *reel, const struct reel_upload *upload, const void *bytes, size_t size,
                        char file_id[REEL_FILE_SIZE], struct reel_error *error)
{
    struct content content = {.fd = -1, .memory = bytes, .size = (int64_t)size};
    struct error why;

    clear_id(file_id);
    return reel_upload_content(reel, &content, upload ? upload : &defaults, NULL, file_id, &why) ||
           reel_fail(error, &why);
}
