#include "httpd/http_pipes.h"
#include "common/log.h"
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

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
    while (pipes->first != NULL) {
        struct http_pipe *pair = pipes->first;
        pipes->first = pair->next;
        pair_destroy(pipes, pair);
    }
}

static struct http_pipe *pair_create(struct http_pipes *pipes)
{
    int ends[2];
    struct http_pipe *pair = malloc(sizeof(*pair));
    if (pair == NULL)
        return NULL;
    if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) {
        log_debug("pipes", "no further pipe: %m; bodies are copied instead");
        free(pair);
        return NULL;
    }
    /* Refused past the user's allowance (fs.pipe-user-pages-soft): a smaller pipe does as well, only slower.
     */
    int size = fcntl(ends[1], F_SETPIPE_SZ, (int)pipes->size_wanted);
    if (size < 0)
        size = fcntl(ends[1], F_GETPIPE_SZ);
    *pair = (struct http_pipe){
        .read_end = ends[0], .write_end = ends[1], .capacity = size > 0 ? (size_t)size : 4096};
    pipes->count++;
    return pair;
}

struct http_pipe *http_pipes_take(struct http_pipes *pipes)
{
    struct http_pipe *pair = pipes->first;
    if (pair != NULL)
        pipes->first = pair->next;
    else if (pipes->count < pipes->count_max)
        pair = pair_create(pipes);
    if (pair != NULL)
        pipes->lent++;
    return pair;
}

void http_pipes_give(struct http_pipes *pipes, struct http_pipe *pair, bool empty)
{
    if (pair == NULL)
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
