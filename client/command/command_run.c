/*
 * command_run: how a verb runs over its arguments: several at a time where that was asked for, until a signal or
 * --max-time ends it; and the arguments that come from a list.
 */
#include "client/command/command_internal.h"

#include "common/base/clock.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define GRACE_MS 2000 /* after a signal, until the process ends whatever hangs */

/* ---- signals and --max-time ---- */

/* One watch for a process: the signals are the process's, too. */
static struct {
    pthread_t thread;
    bool running;
    int signals, stop; /* descriptors */
    sigset_t before;
    int64_t end_ms; /* of --max-time; 0: none */
} watch;

static void watch_summary(struct command *command)
{
    int wanted = atomic_load(&command->wanted), done = atomic_load(&command->done);
    int by = atomic_load(&command->ended_by);
    const char *why = by == COMMAND_MAX_TIME ? "--max-time is over" : "interrupted";

    if (wanted > 0)
        fprintf(stderr, "reel: %s: %d of %d files done\n", why, done, wanted);
    else
        fprintf(stderr, "reel: %s\n", why);
}

/* Waits for a signal, the end of the command (stop), or until END_MS. The signal's number, 0 for the end,
 * COMMAND_MAX_TIME. */
static int watch_wait(int64_t end_ms)
{
    struct pollfd watched[2] = {{.fd = watch.signals, .events = POLLIN},
                                {.fd = watch.stop, .events = POLLIN}};
    struct signalfd_siginfo info;

    for (;;) {
        int64_t left = end_ms > 0 ? max_i64(end_ms - clock_monotonic_ms(), 0) : -1;
        int ready = poll(watched, 2, (int)min_i64(left, 1000000));

        if (ready > 0 && watched[1].revents != 0)
            return 0;
        if (ready > 0 && read(watch.signals, &info, sizeof(info)) == (ssize_t)sizeof(info))
            return (int)info.ssi_signo;
        if (ready == 0 && end_ms > 0 && clock_monotonic_ms() >= end_ms)
            return COMMAND_MAX_TIME;
    }
}

static void *watch_run(void *argument)
{
    struct command *command = argument;
    int by = watch_wait(watch.end_ms);

    if (by == 0)
        return NULL;
    atomic_store(&command->ended_by, by);
    reel_cancel(command->reel);
    /* A thread that blocks in a read from a pipe, or in a write to one, does not see that. */
    if (watch_wait(clock_monotonic_ms() + GRACE_MS) != 0) {
        watch_summary(command);
        if (atomic_load(&command->resumable) > 0)
            fprintf(stderr, "reel: the same command with -c continues where the uploads stopped\n");
        _exit(by == COMMAND_MAX_TIME ? COMMAND_UNAVAILABLE : 128 + by);
    }
    return NULL;
}

static void watch_close(void)
{
    if (watch.signals >= 0)
        (void)close(watch.signals);
    if (watch.stop >= 0)
        (void)close(watch.stop);
    (void)pthread_sigmask(SIG_SETMASK, &watch.before, NULL);
}

bool command_watch_begin(struct command *command, struct error *error)
{
    static const int watched_signals[] = {SIGINT, SIGTERM, SIGHUP};
    int64_t max_ms = 0;
    struct sigaction now;
    sigset_t signals;

    if (command->options.max_time && !command_parse_duration(command->options.max_time, &max_ms))
        max_ms = 0; /* it was looked at before */
    watch.end_ms = max_ms > 0 ? clock_monotonic_ms() + max_ms : 0;
    (void)sigemptyset(&signals);
    for (size_t i = 0; i < ARRAY_SIZE(watched_signals); i++) {
        /* What nohup(1) has the process ignore, or a shell in the background, stays ignored. */
        if (sigaction(watched_signals[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN)
            (void)sigaddset(&signals, watched_signals[i]);
    }
    (void)pthread_sigmask(SIG_BLOCK, &signals, &watch.before);
    watch.signals = signalfd(-1, &signals, SFD_CLOEXEC);
    watch.stop = eventfd(0, EFD_CLOEXEC);
    if (watch.signals < 0 || watch.stop < 0) {
        (void)error_set_errno(error, errno, "a descriptor for signals");
        watch_close();
        return false;
    }
    if (pthread_create(&watch.thread, NULL, watch_run, command) != 0) {
        watch_close();
        return error_set(error, ERROR_UNAVAILABLE, "no thread for signals");
    }
    watch.running = true;
    return true;
}

void command_watch_end(struct command *command)
{
    const uint64_t one = 1;
    int by;

    if (!watch.running)
        return;
    watch.running = false;
    if (write(watch.stop, &one, sizeof(one)) < 0)
        return; /* cannot be: it is a counter at 0 */
    (void)pthread_join(watch.thread, NULL);
    watch_close();
    by = atomic_load(&command->ended_by);
    if (by == 0)
        return;
    watch_summary(command);
    if (by > 0) { /* so that a shell sees what ended it */
        (void)signal(by, SIG_DFL);
        (void)raise(by);
    }
}

/* ---- several at a time ---- */

struct each {
    struct command *command;
    int (*work)(struct command *command, void *items, int number);
    void *items;
    int count;
    atomic_int next;
    pthread_mutex_t mutex;
    int failed; /* the first number that failed, or COUNT; under mutex */
    int result; /* its exit code; under mutex */
};

static void *each_run(void *argument)
{
    struct each *each = argument;

    for (;;) {
        int number = atomic_fetch_add(&each->next, 1), result;

        if (number >= each->count || atomic_load(&each->command->ended_by) != 0)
            return NULL;
        result = each->work(each->command, each->items, number);
        if (result == COMMAND_OK)
            atomic_fetch_add(&each->command->done, 1);
        pthread_mutex_lock(&each->mutex);
        if (result != COMMAND_OK && number < each->failed) {
            each->failed = number;
            each->result = result;
        }
        pthread_mutex_unlock(&each->mutex);
    }
}

int command_each(struct command *command, int count,
                 int (*work)(struct command *command, void *items, int number), void *items)
{
    struct each each = {.command = command,
                        .work = work,
                        .items = items,
                        .count = count,
                        .mutex = PTHREAD_MUTEX_INITIALIZER,
                        .failed = count};
    int threads = (int)min_i64(min_i64(command->options.parallel, COMMAND_PARALLEL_MAX), count);
    pthread_t started[COMMAND_PARALLEL_MAX];
    int more = 0;

    atomic_store(&command->wanted, count);
    while (more + 1 < threads && pthread_create(&started[more], NULL, each_run, &each) == 0)
        more++;
    (void)each_run(&each);
    for (int i = 0; i < more; i++)
        (void)pthread_join(started[i], NULL);
    pthread_mutex_destroy(&each.mutex);
    if (each.result == COMMAND_OK && atomic_load(&command->ended_by) != 0)
        return atomic_load(&command->ended_by) == COMMAND_MAX_TIME ? COMMAND_UNAVAILABLE : COMMAND_FAILED;
    return each.result;
}

struct arguments {
    int (*one)(struct command *command, const char *argument);
};

static int one_argument(struct command *command, void *items, int number)
{
    return ((struct arguments *)items)->one(command, command->arguments[number]);
}

int command_each_argument(struct command *command, int (*one)(struct command *command, const char *argument))
{
    struct arguments arguments = {one};

    return command_each(command, command->count, one_argument, &arguments);
}

/* ---- --files-from ---- */

static struct {
    char **arguments, **lines;
    int argument_count, line_count;
} list;

static bool list_append(const char *line, size_t length)
{
    char **lines = realloc(list.lines, (size_t)(list.line_count + 1) * sizeof(*lines));
    char *copy = lines ? strndup(line, length) : NULL;

    if (lines)
        list.lines = lines;
    if (!copy)
        return false;
    list.lines[list.line_count++] = copy;
    return true;
}

/* All of FILE, *SIZE bytes. Owned by the caller; NULL: errno. */
static char *list_slurp(FILE *file, size_t *size)
{
    char *text = NULL;
    size_t room = 0, got;

    *size = 0;
    do {
        if (room - *size < 2) {
            size_t larger = room > 0 ? 2 * room : 65536;
            char *more = realloc(text, larger);

            if (!more)
                break;
            text = more;
            room = larger;
        }
        got = fread(text + *size, 1, room - *size - 1, file);
        *size += got;
    } while (got > 0);
    if (text && room - *size >= 1 && !ferror(file) && feof(file)) {
        text[*size] = '\0';
        return text;
    }
    int failure = errno;
    free(text);
    errno = failure;
    return NULL;
}

/* One entry: what stands in a line. IDs may be followed by a tab and a name, as upload and find print them. */
static bool list_take(const char *entry, size_t length, bool paths, bool lines)
{
    const char *tab = paths ? NULL : memchr(entry, '\t', length);

    if (tab)
        length = (size_t)(tab - entry);
    else if (lines && length > 0 && entry[length - 1] == '\r') /* from a system that ends lines this way */
        length--;
    return length == 0 || list_append(entry, length);
}

/* Entries end in LF or CR LF, or, where there is a NUL, in NUL, as `find -print0` writes them. */
static bool list_read(const struct command *command, FILE *file)
{
    size_t size;
    char *text = list_slurp(file, &size);
    bool fine = true;

    if (!text)
        return false;
    char *at = text, *end = text + size;
    bool lines = !memchr(text, '\0', size);
    if (lines && size >= 3 &&
        memcmp(text, "\xEF\xBB\xBF", 3) == 0) /* a mark that some editors begin a text with */
        at += 3;
    while (fine && at < end) {
        char *stop = memchr(at, lines ? '\n' : '\0', (size_t)(end - at));
        char *next = stop ? stop : end;

        fine = list_take(at, (size_t)(next - at), command->verb->paths, lines);
        at = next + 1;
    }
    if (!fine)
        errno = ENOMEM;
    free(text);
    return fine;
}

bool command_read_list(struct command *command, int *result)
{
    const char *path = command->options.files_from;
    struct reel_error error = {.code = REEL_E_IO};
    FILE *file;
    bool fine;

    if (!path)
        return true;
    file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    fine = file && list_read(command, file);
    if (!fine) {
        error.errnum = errno;
        (void)snprintf(error.text, sizeof(error.text), "%s: %s", path, strerror(errno));
    }
    if (file && file != stdin)
        (void)fclose(file);
    if (!fine) {
        *result = command_failed(command, path, &error);
        command_free_list(command);
        return false;
    }
    list.arguments = calloc((size_t)command->count + (size_t)list.line_count + 1, sizeof(*list.arguments));
    if (!list.arguments) {
        *result = COMMAND_FAILED;
        command_free_list(command);
        return false;
    }
    memcpy(list.arguments, command->arguments, (size_t)command->count * sizeof(*list.arguments));
    if (list.line_count > 0)
        memcpy(list.arguments + command->count, list.lines,
               (size_t)list.line_count * sizeof(*list.arguments));
    command->arguments = list.arguments;
    command->count += list.line_count;
    return true;
}

void command_free_list(struct command *command)
{
    if (command->arguments == list.arguments)
        command->count = 0;
    for (int i = 0; i < list.line_count; i++)
        free(list.lines[i]);
    free(list.lines);
    free(list.arguments);
    memset(&list, 0, sizeof(list));
}
