/*
 * steady: how long the same piece of arithmetic takes, again and again, by the clocks that turns.c reads: what the machine adds to any
 * measurement while something else is measured (interrupts and time that the host took count as the thread's own, and a cache that
 * others have used is cold). A tenth of a millisecond of work, half of one of sleep, until the standard input ends; then prints, in us,
 * pieces, the median of them in processor time, the longest in processor time and by the clock.
 */
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define PIECES_MAX 1000000
#define PIECE_NS   100000
#define REST_NS    500000

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now = {0, 0};
    (void)clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static volatile uint64_t sink;

static void work(uint64_t steps)
{
    uint64_t value = sink;
    for (uint64_t i = 0; i < steps; i++)
        value = value * UINT64_C(6364136223846793005) + 1;
    sink = value;
}

/* Steps that take PIECE_NS where nobody disturbs: the quickest of many tries says. */
static uint64_t measure_steps(void)
{
    const uint64_t tried = 10000;
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < 100; i++) {
        uint64_t began = clock_ns(CLOCK_THREAD_CPUTIME_ID);
        work(tried);
        uint64_t took = clock_ns(CLOCK_THREAD_CPUTIME_ID) - began;
        least = took < least ? took : least;
    }
    return tried * PIECE_NS / (least > 0 ? least : 1) + 1;
}

static int compare(const void *a, const void *b)
{
    uint64_t first = *(const uint64_t *)a, second = *(const uint64_t *)b;
    return (first > second) - (first < second);
}

int main(void)
{
    uint64_t *pieces = malloc(PIECES_MAX * sizeof(*pieces)), steps = measure_steps(), longest = 0;
    size_t count = 0;
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    if (!pieces)
        return 1;
    while (count < PIECES_MAX && poll(&input, 1, 0) == 0) {
        const struct timespec rest = {0, REST_NS};
        uint64_t wall = clock_ns(CLOCK_MONOTONIC), processor = clock_ns(CLOCK_THREAD_CPUTIME_ID);
        work(steps);
        pieces[count++] = clock_ns(CLOCK_THREAD_CPUTIME_ID) - processor;
        wall = clock_ns(CLOCK_MONOTONIC) - wall;
        longest = wall > longest ? wall : longest;
        (void)nanosleep(&rest, NULL);
    }
    qsort(pieces, count, sizeof(*pieces), compare);
    if (count > 0)
        printf("%zu %.1f %.1f %.1f\n", count, (double)pieces[count / 2] / 1e3,
               (double)pieces[count - 1] / 1e3, (double)longest / 1e3);
    free(pieces);
    return 0;
}
