#include "httpd/pipes.h"
#include "common/log.h"
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

void pipes_init(struct pipes *pipes, size_t count_max, size_t size)
{
    *pipes = (struct pipes){.count_max = count_max, .size_wanted = size};
}

static void pair_destroy(struct pipes *pipes, struct pipe_pair *pair)
{
    close(pair->read_end);
    close(pair->write_end);
    free(pair);
    pipes->count--;
}

void pipes_clear(struct pipes *pipes)
{
    ASSERT(pipes->lent == 0);
    while (pipes->first != NULL) {
        struct pipe_pair *pair = pipes->first;
        pipes->first = pair->next;
        pair_destroy(pipes, pair);
    }
}

static struct pipe_pair *pair_create(struct pipes *pipes)
{
    int ends[2];
    struct pipe_pair *pair = malloc(sizeof(*pair));
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
    *pair = (struct pipe_pair){
        .read_end = ends[0], .write_end = ends[1], .capacity = size > 0 ? (size_t)size : 4096};
    pipes->count++;
    return pair;
}

struct pipe_pair *pipes_take(struct pipes *pipes)
{
    struct pipe_pair *pair = pipes->first;
    if (pair != NULL)
        pipes->first = pair->next;
    else if (pipes->count < pipes->count_max)
        pair = pair_create(pipes);
    if (pair != NULL)
        pipes->lent++;
    return pair;
}

void pipes_give(struct pipes *pipes, struct pipe_pair *pair, bool empty)
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
