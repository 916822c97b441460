/*
 * command_top: `reel top`: the table of `reel status` again and again. On a terminal it is drawn over the last one, and q
 * ends it; elsewhere each table, or JSON object, follows the one before.
 */
#include "client/command/command_internal.h"

#include "common/base/clock.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define INTERVAL_MS 2000
#define LOOK_MS     100 /* between two looks at whether a signal or --max-time has ended it */

/* Keys come at once and are not shown, until keys_end(). */
struct keys {
    bool raw;
    struct termios before;
};

static void keys_begin(struct keys *keys)
{
    struct termios now;

    keys->raw = isatty(STDIN_FILENO) == 1 && tcgetattr(STDIN_FILENO, &keys->before) == 0;
    if (!keys->raw)
        return;
    now = keys->before;
    now.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    now.c_cc[VMIN] = 1;
    now.c_cc[VTIME] = 0;
    keys->raw = tcsetattr(STDIN_FILENO, TCSANOW, &now) == 0;
}

static void keys_end(const struct keys *keys)
{
    if (keys->raw)
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &keys->before);
}

/* Has q been pressed within MS? Any other key asks for the table now. */
static bool keys_quit(const struct keys *keys, int64_t ms, bool *key)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    char pressed = 0;

    *key = false;
    if (poll(&input, keys->raw ? 1 : 0, (int)ms) != 1)
        return false;
    if (read(STDIN_FILENO, &pressed, 1) != 1)
        return true; /* the terminal is gone */
    *key = true;
    return pressed == 'q' || pressed == 'Q';
}

/* Waits for MS. False: it is over. */
static bool top_wait(struct command *command, const struct keys *keys, int64_t ms)
{
    int64_t end_ms = clock_monotonic_ms() + ms;
    bool key = false;

    while (!key && clock_monotonic_ms() < end_ms) {
        if (keys_quit(keys, min_i64(LOOK_MS, end_ms - clock_monotonic_ms()), &key) ||
            atomic_load(&command->ended_by) != 0)
            return false;
    }
    return atomic_load(&command->ended_by) == 0;
}

static void top_draw(const json_t *status, bool screen)
{
    char when[COMMAND_TIME_SIZE];
    const json_t *groups = json_object_get(status, "groups");
    size_t servers = 0, i;
    json_t *group;

    json_array_foreach(groups, i, group) servers += json_array_size(json_object_get(group, "storages"));
    if (screen)
        printf("\033[H\033[2J"); /* to the upper left, and everything cleared */
    printf("%s  groups: %zu  storage servers: %zu%s\n", command_time((int64_t)time(NULL), when),
           json_array_size(groups), servers, screen ? "  (q: quit)" : "");
    command_print_groups(groups);
    if (!screen)
        putchar('\n');
    (void)fflush(stdout);
}

/* One table. On a screen a failure is shown, and the next try may succeed. */
static int top_turn(struct command *command, bool screen)
{
    int result = COMMAND_OK;
    json_t *status = command_get_status(command, &result);

    if (!status)
        return screen && atomic_load(&command->ended_by) == 0 ? COMMAND_OK : result;
    if (command->options.json)
        return command_print_json(command, status);
    pthread_mutex_lock(&command->output);
    top_draw(status, screen);
    pthread_mutex_unlock(&command->output);
    json_decref(status);
    return COMMAND_OK;
}

int command_top(struct command *command)
{
    const struct command_options *options = &command->options;
    bool screen = isatty(STDOUT_FILENO) == 1 && !options->json;
    int64_t interval_ms = INTERVAL_MS, turns = 0;
    struct keys keys = {0};
    bool shown = false;
    int result;

    if (options->interval && !command_parse_duration(options->interval, &interval_ms))
        return command_usage(options, "--interval %s: a time is expected: 500ms, 2s, 1m", options->interval);
    if (screen)
        keys_begin(&keys);
    do {
        result = top_turn(command, screen);
        shown = shown || result == COMMAND_OK;
    } while (result == COMMAND_OK && (options->limit == 0 || ++turns < options->limit) &&
             top_wait(command, &keys, interval_ms));
    keys_end(&keys);
    /* Its end in the middle of a question is that of a wait. */
    return shown && atomic_load(&command->ended_by) != 0 ? COMMAND_OK : result;
}
