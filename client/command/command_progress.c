/*
 * command_progress: the bars of the `reel` command, drawn on standard error where that is a terminal: a line for
 * each transfer under way, and one for all of them where there are several. The speed is that of the last
 * seconds; what a further try sends again is drawn as "-". Any thread; one mutex.
 */
#include "client/command/command_internal.h"

#include "common/base/clock.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BARS          16
#define BAR_WIDTH     24
#define BAR_LEAST     8
#define BAR_PERIOD_MS 100
#define LABEL_COLUMNS 24
#define LABEL_LEAST   10
#define COLUMNS       80   /* of a terminal that does not say how many it has */
#define WINDOW_MS     1000 /* between the points that the speed is taken from */
#define WINDOW_POINTS ((int)ARRAY_SIZE(((struct command_bar *)0)->window_ms))

struct command_display {
    pthread_mutex_t mutex;
    bool shown;
    struct command_bar bars[BARS];
    int lines; /* on the terminal now */
    int64_t next_ms;
    int files, finished;
    int64_t bytes, finished_bytes; /* of all files: expected, and of those that have ended */
    struct command_bar all;
};

struct command_display *command_display_create(const struct command *command)
{
    struct command_display *display = calloc(1, sizeof(*display));

    if (!display)
        return NULL;
    if (pthread_mutex_init(&display->mutex, NULL) != 0) {
        free(display);
        return NULL;
    }
    display->shown = !command->options.quiet && !command->options.json && isatty(STDERR_FILENO) == 1;
    return display;
}

void command_display_destroy(struct command_display *display)
{
    if (!display)
        return;
    pthread_mutex_destroy(&display->mutex);
    free(display);
}

void command_display_expect(struct command_display *display, int files, int64_t bytes)
{
    pthread_mutex_lock(&display->mutex);
    display->files = files;
    display->bytes = bytes;
    (void)snprintf(display->all.label, sizeof(display->all.label), "all %d files", files);
    pthread_mutex_unlock(&display->mutex);
}

/* ---- one line ---- */

/* Bytes per second over the last seconds; < 0: not known yet. */
static double bar_rate(struct command_bar *bar, int64_t now)
{
    int last = bar->window_count - 1;
    int64_t elapsed;

    if (last >= 0 && bar->done < bar->window_done[last])
        bar->window_count = 0; /* it began again */
    if (bar->window_count == 0 || now - bar->window_ms[bar->window_count - 1] >= WINDOW_MS) {
        if (bar->window_count == WINDOW_POINTS) {
            memmove(bar->window_ms, bar->window_ms + 1, sizeof(bar->window_ms) - sizeof(bar->window_ms[0]));
            memmove(bar->window_done, bar->window_done + 1,
                    sizeof(bar->window_done) - sizeof(bar->window_done[0]));
            bar->window_count--;
        }
        bar->window_ms[bar->window_count] = now;
        bar->window_done[bar->window_count++] = bar->done;
    }
    elapsed = now - bar->window_ms[0];
    return elapsed > 0 ? (double)(bar->done - bar->window_done[0]) * 1000 / (double)elapsed : -1;
}

static int bar_share(int64_t done, int64_t total, int of)
{
    int part = total > 0 ? (int)((double)done * of / (double)total) : of;

    return part < 0 ? 0 : part > of ? of : part;
}

/* As much of a line as there is room for: one that the terminal breaks could not be erased. */
struct bar_form {
    int label, bar; /* columns; 0: none */
    bool size, speed, left, reading;
};

static int bar_columns(const struct bar_form *form)
{
    return form->label + 6 + (form->bar > 0 ? form->bar + 3 : 0) + (form->size ? 11 : 0) +
           (form->speed ? 13 : 0) + (form->left ? 8 : 0) + (form->reading ? 8 : 0);
}

/* *PART gives way, down to LEAST, until the line fits. */
static void bar_shrink(const struct bar_form *form, int *part, int least, int columns)
{
    int excess = bar_columns(form) - columns;

    if (excess > 0)
        *part = *part - excess > least ? *part - excess : least;
}

static struct bar_form bar_fit(bool reading)
{
    struct winsize window = {0};
    struct bar_form form = {LABEL_COLUMNS, BAR_WIDTH, true, true, true, reading};
    bool *const parts[] = {&form.speed, &form.left, &form.reading};
    int columns =
        ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0 ? window.ws_col : COLUMNS;

    columns--; /* some terminals break a line that is full */
    bar_shrink(&form, &form.bar, BAR_LEAST, columns);
    bar_shrink(&form, &form.label, LABEL_LEAST, columns);
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        *parts[i] = *parts[i] && bar_columns(&form) <= columns;
    if (bar_columns(&form) > columns)
        form.bar = 0;
    form.size = bar_columns(&form) <= columns;
    bar_shrink(&form, &form.label, 0, columns);
    return form;
}

static void bar_draw_share(const struct command_bar *bar, int width)
{
    char drawn[BAR_WIDTH + 1];
    int filled = bar_share(bar->done, bar->total, width), before = bar_share(bar->reached, bar->total, width);

    memset(drawn, ' ', (size_t)width);
    memset(drawn, '-', (size_t)before);
    memset(drawn, '=', (size_t)filled);
    drawn[width] = '\0';
    fprintf(stderr, " %3d%%", bar_share(bar->done, bar->total, 100));
    if (width > 0)
        fprintf(stderr, " [%s]", drawn);
}

static void bar_draw(struct command_bar *bar, int64_t now)
{
    char size[32], speed[32] = "-", left[32] = "--:--";
    double rate = bar_rate(bar, now);
    struct bar_form form = bar_fit(bar->preparing);
    size_t fits = command_fit(bar->label, (size_t)form.label);
    int pad = form.label - (int)command_columns(bar->label, fits);

    if (rate >= 0)
        (void)command_human(rate, speed, sizeof(speed));
    if (rate > 0 && bar->total > bar->done) {
        int64_t seconds = (int64_t)((double)(bar->total - bar->done) / rate);

        (void)snprintf(left, sizeof(left), "%2" PRId64 ":%02" PRId64, min_i64(seconds, 359999) / 60,
                       seconds % 60);
    }
    fprintf(stderr, "%.*s%*s", (int)fits, bar->label, pad > 0 ? pad : 0, "");
    if (bar->total >= 0) /* else its end is not known */
        bar_draw_share(bar, form.bar);
    if (form.size)
        fprintf(stderr, " %10s", command_human((double)bar->done, size, sizeof(size)));
    if (form.speed)
        fprintf(stderr, " %10s/s", speed);
    fprintf(stderr, "%s%s%s\033[K\n", form.left ? " " : "", form.left ? left : "",
            form.reading ? " reading" : "");
}

/* ---- all lines ---- */

static void display_erase(struct command_display *display)
{
    if (display->lines > 0)
        fprintf(stderr, "\033[%dA\r\033[J", display->lines);
    display->lines = 0;
}

static void display_draw(struct command_display *display, int64_t now)
{
    int64_t done = display->finished_bytes;

    display_erase(display);
    for (int i = 0; i < BARS; i++) {
        struct command_bar *bar = &display->bars[i];

        if (!bar->used || bar->label[0] == '\0')
            continue;
        bar_draw(bar, now);
        display->lines++;
        done += bar->preparing ? 0 : bar->done;
    }
    if (display->files > 1) {
        display->all.done = done;
        display->all.total = display->bytes > 0 ? max_i64(display->bytes, done) : -1;
        (void)snprintf(display->all.label, sizeof(display->all.label), "%d of %d files", display->finished,
                       display->files);
        bar_draw(&display->all, now);
        display->lines++;
    }
    fflush(stderr);
}

void command_display_clear(struct command_display *display)
{
    if (!display)
        return;
    pthread_mutex_lock(&display->mutex);
    if (display->shown)
        display_erase(display);
    display->next_ms = 0;
    pthread_mutex_unlock(&display->mutex);
}

struct command_bar *command_bar_begin(struct command_display *display, const char *label)
{
    struct command_bar *found = NULL;

    pthread_mutex_lock(&display->mutex);
    for (int i = 0; i < BARS && !found; i++)
        if (!display->bars[i].used)
            found = &display->bars[i];
    if (found) {
        memset(found, 0, sizeof(*found));
        found->display = display;
        found->used = true;
        (void)command_printable(label, found->label, sizeof(found->label));
    }
    pthread_mutex_unlock(&display->mutex);
    return found;
}

static bool bar_step(struct command_bar *bar, int64_t done, int64_t total, bool preparing)
{
    struct command_display *display = bar ? bar->display : NULL;
    int64_t now;

    if (!display || !display->shown)
        return true;
    now = clock_monotonic_ms();
    pthread_mutex_lock(&display->mutex);
    if (bar->preparing && !preparing)
        bar->reached = bar->window_count = 0;
    bar->preparing = preparing;
    bar->done = done;
    bar->total = total;
    bar->reached = max_i64(bar->reached, done);
    if (now >= display->next_ms || done == total) {
        display->next_ms = now + BAR_PERIOD_MS;
        display_draw(display, now);
    }
    pthread_mutex_unlock(&display->mutex);
    return true;
}

bool command_bar_step(void *bar, int64_t done, int64_t total)
{
    return bar_step(bar, done, total, false);
}

bool command_bar_prepare(void *bar, int64_t done, int64_t total)
{
    return bar_step(bar, done, total, true);
}

void command_bar_end(struct command_bar *bar)
{
    struct command_display *display = bar ? bar->display : NULL;

    if (!display)
        return;
    pthread_mutex_lock(&display->mutex);
    display->finished++;
    display->finished_bytes += bar->done;
    if (display->shown && display->files <= 1 && bar->total >= 0 && bar->done > 0) {
        display_draw(display, clock_monotonic_ms());
        display->lines = 0; /* a single bar stays to be read */
    }
    bar->used = false;
    pthread_mutex_unlock(&display->mutex);
}
