/*
 * reel_state: lines of a word and a value, the head of which must be what it would be now. Read with care: whoever can write to the user's
 * files may have been there, and a crash may have cut it anywhere.
 */
#include "client/library/reel_state.h"
#include "common/base/hex.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define STATE_SIZE     8192
#define TOKEN_HEX_SIZE (2 * PROTO_PARTIAL_TOKEN_SIZE + 1)
#define OPENS_MAX      100 /* while others end with it */

/* ---- opening ---- */

static bool state_is_ours(const char *path, const struct stat *status, struct error *error)
{
    if (!S_ISREG(status->st_mode))
        return error_set(error, ERROR_IO, "%s is not a regular file", path);
    if (status->st_uid != geteuid() || status->st_nlink > 1)
        return error_set(error, ERROR_IO, "%s belongs to another user or has more than one name", path);
    return true;
}

static bool state_lock(struct reel_state *state, const char *path, struct error *error)
{
    struct stat status;

    if (fstat(state->fd, &status) != 0)
        return reel_local_error(error, errno, "%s", path);
    if (status.st_nlink > 0 && !state_is_ours(path, &status, error))
        return false;
    if (flock(state->fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) /* a file system without locks */
        return true;
    return error_set(error, ERROR_UNAVAILABLE, "%s: another upload of this file is under way", path);
}

/* Whoever had it before may have removed it before we had the lock. */
static bool state_is_at(const struct reel_state *state, const char *path)
{
    struct stat ours, there;

    return fstat(state->fd, &ours) == 0 && lstat(path, &there) == 0 && ours.st_dev == there.st_dev &&
           ours.st_ino == there.st_ino;
}

bool reel_state_open(struct reel_state *state, const char *path, struct error *error)
{
    *state = (struct reel_state){.path = path, .fd = -1};
    for (int i = 0; i < OPENS_MAX; i++) {
        state->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
        if (state->fd < 0 && errno == ELOOP)
            return error_set(error, ERROR_IO, "%s is a symbolic link, which is not followed", path);
        if (state->fd < 0)
            return reel_local_error(error, errno, "%s", path);
        bool fine = state_lock(state, path, error);

        if (fine && state_is_at(state, path))
            return true;
        reel_state_close(state);
        if (!fine)
            return false;
    }
    return error_set(error, ERROR_UNAVAILABLE, "%s keeps being removed", path);
}

void reel_state_remove(struct reel_state *state)
{
    if (state->fd >= 0)
        (void)unlink(state->path); /* one that stays is of an upload that is over: the servers say so */
}

void reel_state_close(struct reel_state *state)
{
    if (state->fd >= 0)
        (void)close(state->fd); /* it was synced where that matters */
    state->fd = -1;
}

/* ---- texts ---- */

/* Exactly SIZE bytes from the hex digits at *TEXT, up to the end of the line, behind which *TEXT then is. */
static bool state_unhex(const char **text, size_t size, uint8_t *bytes)
{
    if (!hex_parse(*text, bytes, size))
        return false;
    *text += 2 * size + 1;
    return (*text)[-1] == '\n';
}

static bool state_word(const char **text, const char *word)
{
    size_t length = strlen(word);

    if (strncmp(*text, word, length) != 0)
        return false;
    *text += length;
    return true;
}

/* A number and the blank behind it. */
static bool state_number(const char **text, int64_t *number)
{
    char *end;

    if (strspn(*text, "0123456789") == 0)
        return false;
    errno = 0;
    *number = strtoll(*text, &end, 10);
    *text = end + 1;
    return errno == 0 && *end == ' ';
}

/* What a state is of: everything but the file ID and what follows. */
static bool state_head(const struct content *content, const struct proto_file_key *key, char text[STATE_SIZE],
                       struct error *error)
{
    char user[2 * PROTO_USER_SIZE + 1];
    struct stat now;

    if (fstat(content->fd, &now) != 0)
        return reel_local_error(error, errno, "the content");
    (void)hex_format(key->user, strlen(key->user), user);
    (void)snprintf(text, STATE_SIZE,
                   "reel-upload 1\napplication %s\nuser %s\nfrom %" PRId64 "\nsize %" PRId64
                   "\nmodified %lld.%09ld\ninode %llu:%llu\n",
                   key->application, user, content->start, content->size, (long long)now.st_mtim.tv_sec,
                   now.st_mtim.tv_nsec, (unsigned long long)now.st_dev, (unsigned long long)now.st_ino);
    return true;
}

/* ---- reading ---- */

/* Pieces that are the whole content, one behind the other; none is right, too. */
static bool state_read_pieces(struct reel_state *state, const char **text, int64_t size)
{
    int64_t end = 0;

    while (**text != '\0') {
        struct reel_state_piece *piece = &state->pieces[state->count];

        if (state->count == REEL_PIECES_MAX || !state_word(text, "piece ") ||
            !state_number(text, &piece->start) || !state_number(text, &piece->size) ||
            !state_unhex(text, sizeof(piece->token), piece->token) || piece->start != end ||
            piece->size <= 0 || piece->size > size - end)
            return false;
        end += piece->size;
        state->count++;
    }
    return state->count == 0 || end == size;
}

static bool state_parse(struct reel_state *state, const char *text, const char *head, int64_t size)
{
    if (!state_word(&text, head) || !state_word(&text, "file "))
        return false;
    size_t length = strcspn(text, "\n") / 2;

    return length > 0 && length < sizeof(state->file) && state_unhex(&text, length, (uint8_t *)state->file) &&
           strlen(state->file) == length && state_word(&text, "token ") &&
           state_unhex(&text, sizeof(state->token), state->token) && state_read_pieces(state, &text, size);
}

bool reel_state_read(struct reel_state *state, const struct content *content,
                     const struct proto_file_key *key, const char *file, struct error *error)
{
    char head[STATE_SIZE], text[STATE_SIZE];
    ssize_t size;

    if (!state_head(content, key, head, error))
        return false;
    size = pread(state->fd, text, sizeof(text) - 1, 0);
    if (size < 0)
        return reel_local_error(error, errno, "%s", state->path);
    text[size] = '\0';
    state->known = strlen(text) == (size_t)size && state_parse(state, text, head, content->size) &&
                   (!file || strcmp(file, state->file) == 0);
    if (state->known)
        return true;
    *state = (struct reel_state){.path = state->path, .fd = state->fd, .other = size > 0};
    return true;
}

/* ---- writing ---- */

bool reel_state_write(struct reel_state *state, const struct content *content,
                      const struct proto_file_key *key, struct error *error)
{
    char text[STATE_SIZE], file[2 * PROTO_FILE_SIZE + 1], token[TOKEN_HEX_SIZE];
    size_t used;

    if (state->fd < 0)
        return true;
    if (!state_head(content, key, text, error))
        return false;
    used = strlen(text);
    (void)hex_format(state->file, strlen(state->file), file);
    (void)hex_format(state->token, sizeof(state->token), token);
    used += (size_t)snprintf(text + used, sizeof(text) - used, "file %s\ntoken %s\n", file, token);
    for (size_t i = 0; i < state->count; i++) {
        const struct reel_state_piece *piece = &state->pieces[i];

        (void)hex_format(piece->token, sizeof(piece->token), token);
        used += (size_t)snprintf(text + used, sizeof(text) - used, "piece %" PRId64 " %" PRId64 " %s\n",
                                 piece->start, piece->size, token);
    }
    if (ftruncate(state->fd, 0) == 0 && pwrite(state->fd, text, used, 0) == (ssize_t)used &&
        fsync(state->fd) == 0)
        return true;
    return reel_local_error(error, errno, "%s", state->path);
}
