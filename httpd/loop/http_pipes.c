/*
 * http_pipes: pipes are kept for the next stream when they are empty; one with bytes left in it is closed.
 */
#include "httpd/loop/http_pipes.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "httpd/loop/http_buffers.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REFUSAL_MS 5000

void http_pipes_init(struct http_pipes *pipes, size_t count_max, size_t size)
{
    *pipes = (struct http_pipes){.count_max = count_max, .size_wanted = size};
}

static void pair_destroy(struct http_pipes *pipes, struct http_pipe *pair)
{
    close(pair->read_end);
    close(pair->write_end);
    free(pair);
    pipes->count--;
}

void http_pipes_clear(struct http_pipes *pipes)
{
    ASSERT(pipes->lent == 0);
    while (pipes->first) {
        struct http_pipe *pair = pipes->first;
        pipes->first = pair->next;
        pair_destroy(pipes, pair);
    }
}

/* No further pipe is asked for during the next seconds: that costs more than it gains. */
static void note_refusal(struct http_pipes *pipes)
{
    static struct log_gate gate;
    uint64_t suppressed;
    int errnum = errno;
    pipes->refused_until_ms = clock_coarse_ms() + REFUSAL_MS;
    if (log_gate_open(&gate, 60000, &suppressed))
        log_warning(
            "pipes",
            "cannot get another pipe of useful size (%s; fs.pipe-user-pages-soft limits those of a user): "
            "bodies beyond %zu are copied",
            strerror(errnum), pipes->count);
}

static struct http_pipe *pair_create(struct http_pipes *pipes)
{
    int ends[2];
    struct http_pipe *pair = malloc(sizeof(*pair));
    if (!pair)
        return NULL;
    if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) {
        note_refusal(pipes);
        free(pair);
        return NULL;
    }
    /* Refused past the user's allowance (fs.pipe-user-pages-soft): a pipe of ordinary size does as well, only
     * slower. Far past it the kernel gives pipes of two pages, and copying is better. */
    int size = fcntl(ends[1], F_SETPIPE_SZ, (int)pipes->size_wanted);
    if (size < 0)
        size = fcntl(ends[1], F_GETPIPE_SZ);
    if (size < 0 || (size_t)size < min_size(pipes->size_wanted, HTTP_BUFFER_COPY_SIZE)) {
        note_refusal(pipes);
        close(ends[0]);
        close(ends[1]);
        free(pair);
        return NULL;
    }
    *pair = (struct http_pipe){.read_end = ends[0], .write_end = ends[1], .capacity = (size_t)size};
    pipes->count++;
    return pair;
}

struct http_pipe *http_pipes_take(struct http_pipes *pipes)
{
    struct http_pipe *pair = pipes->first;
    if (pair)
        pipes->first = pair->next;
    else if (pipes->count < pipes->count_max &&
             (pipes->refused_until_ms == 0 || clock_coarse_ms() >= pipes->refused_until_ms))
        pair = pair_create(pipes);
    if (pair)
        pipes->lent++;
    return pair;
}

void http_pipes_give(struct http_pipes *pipes, struct http_pipe *pair, bool empty)
{
    if (!pair)
        return;
    ASSERT(pipes->lent > 0);
    pipes->lent--;
    if (!empty) {
        pair_destroy(pipes, pair);
        return;
    }
    pair->next = pipes->first;
    pipes->first = pair;
}
