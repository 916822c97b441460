/*
 * metrics: see metrics.h. Families hang in a list that only grows: registration takes a mutex, publishing is
 * an atomic store, and a reader walks the list without any lock. A metric's value is one atomic; a
 * histogram's are one for each bucket and one for the sum, each metric on cache lines of its own. Stands
 * below the log, so that the log can count its lines here: what fails here goes straight to stderr.
 */
#include "common/base/metrics.h"

#include "common/base/clock.h"
#include <dirent.h>
#include <event2/buffer.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#ifndef REEL_VERSION
#define REEL_VERSION "unknown"
#endif

#define CACHE_LINE 64

enum family_type { FAMILY_COUNTER, FAMILY_GAUGE, FAMILY_HISTOGRAM };

/* Upper bounds of the histogram's buckets, and how they are written. */
static const struct {
    int64_t us;
    const char *seconds;
} buckets[] = {
    {100, "0.0001"}, {250, "0.00025"}, {500, "0.0005"}, {1000, "0.001"},  {2500, "0.0025"}, {5000, "0.005"},
    {10000, "0.01"}, {25000, "0.025"}, {50000, "0.05"}, {100000, "0.1"},  {250000, "0.25"}, {500000, "0.5"},
    {1000000, "1"},  {2500000, "2.5"}, {5000000, "5"},  {10000000, "10"}, {30000000, "30"}, {60000000, "60"},
};

struct metric {
    _Atomic int64_t value; /* a counter's or gauge's value; a histogram's sum in microseconds */
    _Atomic uint64_t
        counts[ARRAY_SIZE(buckets) + 1]; /* a histogram's, not cumulative; the last is above all bounds */
    enum family_type type;
    char *labels;                   /* checked and escaped; "" without */
    double (*read)(void *argument); /* under read_mutex; NULL for a stored value */
    void *argument;
    bool is_read; /* the value is asked for, never stored */
    struct metric *_Atomic next;
};

struct family {
    const char *name, *help;
    enum family_type type;
    struct metric *_Atomic metrics;
    struct family *_Atomic next;
};

static struct family *_Atomic families;
static pthread_mutex_t registry_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t read_mutex = PTHREAD_MUTEX_INITIALIZER;

static _Noreturn void metrics_fail(const char *name, const char *why)
{
    (void)fprintf(stderr, "metrics: %s: %s\n", name, why);
    exit(EXIT_FAILURE);
}

static bool is_name_start(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* The character after the label name that TEXT begins with; TEXT itself where there is none. */
static const char *skip_label_name(const char *text)
{
    if (!is_name_start(*text))
        return text;
    while (is_name_start(*text) || (*text >= '0' && *text <= '9'))
        text++;
    return text;
}

/* A quote ends the value only where the next label or the end follows, so that one inside a value is no harm.
 */
static bool ends_value(const char *quote)
{
    if (quote[1] == '\0')
        return true;
    if (quote[1] != ',')
        return false;
    const char *name = quote + 2, *after = skip_label_name(name);
    return after != name && after[0] == '=' && after[1] == '"';
}

/* A checked copy of LABELS with backslashes, quotes and line ends inside the values escaped; NULL where they
 * do not have the form a="...",b="...". */
static char *copy_labels(const char *labels)
{
    char *copy = malloc(2 * strlen(labels) + 1);
    char *out = copy;

    if (!copy)
        metrics_fail(labels, "out of memory");
    for (const char *from = labels; *from != '\0';) {
        const char *after = skip_label_name(from);
        if (after == from || after[0] != '=' || after[1] != '"')
            goto malformed;
        memcpy(out, from, (size_t)(after + 2 - from));
        out += after + 2 - from;
        for (from = after + 2; !(*from == '"' && ends_value(from)); from++) {
            if (*from == '\0')
                goto malformed;
            bool escaped = *from == '\\' && from[1] != '\0' && strchr("\\\"n", from[1]);
            if (escaped && !(from[1] == '"' && from[2] == '\0')) { /* the last quote always closes */
                *out++ = *from++;
                *out++ = *from;
            } else if (*from == '\\' || *from == '"') {
                *out++ = '\\';
                *out++ = *from;
            } else if (*from == '\n') {
                *out++ = '\\';
                *out++ = 'n';
            } else {
                *out++ = *from;
            }
        }
        *out++ = *from++;
        if (*from == ',')
            *out++ = *from++;
    }
    *out = '\0';
    return copy;
malformed:
    free(copy);
    return NULL;
}

static struct family *find_family(const char *name, const char *help, enum family_type type)
{
    struct family *_Atomic *end = &families;
    struct family *family;

    for (; (family = atomic_load_explicit(end, memory_order_acquire)) != NULL; end = &family->next) {
        if (strcmp(family->name, name) == 0) {
            if (family->type != type)
                metrics_fail(name, "registered with two types");
            return family;
        }
    }
    family = calloc(1, sizeof(*family));
    if (!family)
        metrics_fail(name, "out of memory");
    family->name = name;
    family->help = help;
    family->type = type;
    atomic_store_explicit(end, family, memory_order_release);
    return family;
}

/* The metric of NAME and LABELS; made where there is none. READS as in struct metric. */
static struct metric *find_metric(const char *name, const char *help, enum family_type type,
                                  const char *labels, bool is_read)
{
    char *copy = copy_labels(!labels ? "" : labels);
    struct metric *metric;
    void *memory;

    if (!copy)
        metrics_fail(name, "labels are not of the form name=\"value\",...");
    (void)pthread_mutex_lock(&registry_mutex);
    struct metric *_Atomic *end = &find_family(name, help, type)->metrics;
    for (; (metric = atomic_load_explicit(end, memory_order_acquire)) != NULL; end = &metric->next) {
        if (strcmp(metric->labels, copy) == 0) {
            free(copy);
            goto done;
        }
    }
    /* In whole cache lines, so that two metrics never share one. */
    if (posix_memalign(&memory, CACHE_LINE, (sizeof(*metric) + CACHE_LINE - 1) & ~(size_t)(CACHE_LINE - 1)))
        metrics_fail(name, "out of memory");
    metric = memory;
    memset(metric, 0, sizeof(*metric));
    metric->type = type;
    metric->labels = copy;
    metric->is_read = is_read;
    atomic_store_explicit(end, metric, memory_order_release);
done:
    if (metric->is_read != is_read)
        metrics_fail(name, "registered as a stored and as a read gauge");
    (void)pthread_mutex_unlock(&registry_mutex);
    return metric;
}

struct metric *metrics_counter(const char *name, const char *help, const char *labels)
{
    return find_metric(name, help, FAMILY_COUNTER, labels, false);
}

struct metric *metrics_gauge(const char *name, const char *help, const char *labels)
{
    return find_metric(name, help, FAMILY_GAUGE, labels, false);
}

struct metric *metrics_histogram(const char *name, const char *help, const char *labels)
{
    return find_metric(name, help, FAMILY_HISTOGRAM, labels, false);
}

void metrics_gauge_read(const char *name, const char *help, const char *labels,
                        double (*read)(void *argument), void *argument)
{
    struct metric *metric = find_metric(name, help, FAMILY_GAUGE, labels, true);

    (void)pthread_mutex_lock(&read_mutex);
    metric->read = read;
    metric->argument = argument;
    (void)pthread_mutex_unlock(&read_mutex);
}

void metric_add(struct metric *metric, int64_t amount)
{
    (void)atomic_fetch_add_explicit(&metric->value, amount, memory_order_relaxed);
}

void metric_set(struct metric *metric, int64_t value)
{
    atomic_store_explicit(&metric->value, value, memory_order_relaxed);
}

void metric_observe_us(struct metric *metric, int64_t duration_us)
{
    size_t i = 0;

    while (i < ARRAY_SIZE(buckets) && duration_us > buckets[i].us)
        i++;
    (void)atomic_fetch_add_explicit(&metric->counts[i], 1, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&metric->value, max_i64(duration_us, 0), memory_order_relaxed);
}

int64_t metric_value(const struct metric *metric)
{
    uint64_t count = 0;

    if (metric->type != FAMILY_HISTOGRAM)
        return atomic_load_explicit(&metric->value, memory_order_relaxed);
    for (size_t i = 0; i < ARRAY_SIZE(metric->counts); i++)
        count += atomic_load_explicit(&metric->counts[i], memory_order_relaxed);
    return (int64_t)count;
}

static void metrics_write_number(struct evbuffer *out, double value)
{
    if (isnan(value))
        (void)evbuffer_add_printf(out, " NaN\n");
    else if (isinf(value))
        (void)evbuffer_add_printf(out, value > 0 ? " +Inf\n" : " -Inf\n");
    else
        (void)evbuffer_add_printf(out, " %.17g\n", value);
}

static void write_name(struct evbuffer *out, const char *name, const char *suffix, const char *labels)
{
    if (labels[0] == '\0')
        (void)evbuffer_add_printf(out, "%s%s", name, suffix);
    else
        (void)evbuffer_add_printf(out, "%s%s{%s}", name, suffix, labels);
}

static void write_histogram(struct evbuffer *out, const char *name, const struct metric *metric)
{
    const char *comma = metric->labels[0] == '\0' ? "" : ",";
    uint64_t total = 0;

    for (size_t i = 0; i < ARRAY_SIZE(metric->counts); i++) {
        total += atomic_load_explicit(&metric->counts[i], memory_order_relaxed);
        (void)evbuffer_add_printf(out, "%s_bucket{%s%sle=\"%s\"} %" PRIu64 "\n", name, metric->labels, comma,
                                  i < ARRAY_SIZE(buckets) ? buckets[i].seconds : "+Inf", total);
    }
    int64_t sum = atomic_load_explicit(&metric->value, memory_order_relaxed);
    write_name(out, name, "_sum", metric->labels);
    (void)evbuffer_add_printf(out, " %" PRId64 ".%06" PRId64 "\n", sum / 1000000, sum % 1000000);
    write_name(out, name, "_count", metric->labels);
    (void)evbuffer_add_printf(out, " %" PRIu64 "\n", total);
}

static void write_metric(struct evbuffer *out, const struct family *family, const struct metric *metric)
{
    if (family->type == FAMILY_HISTOGRAM) {
        write_histogram(out, family->name, metric);
    } else if (metric->is_read) {
        (void)pthread_mutex_lock(&read_mutex);
        if (metric->read) {
            double value = metric->read(metric->argument);
            write_name(out, family->name, "", metric->labels);
            metrics_write_number(out, value);
        }
        (void)pthread_mutex_unlock(&read_mutex);
    } else {
        write_name(out, family->name, "", metric->labels);
        (void)evbuffer_add_printf(out, " %" PRId64 "\n", metric_value(metric));
    }
}

static void metrics_write_head(struct evbuffer *out, const char *name, const char *help, const char *type)
{
    (void)evbuffer_add_printf(out, "# HELP %s ", name);
    for (; *help != '\0'; help++) {
        if (*help == '\n' || *help == '\\')
            (void)evbuffer_add_printf(out, "\\%c", *help == '\n' ? 'n' : '\\');
        else
            (void)evbuffer_add(out, help, 1);
    }
    (void)evbuffer_add_printf(out, "\n# TYPE %s %s\n", name, type);
}

/* ---- the process itself, under the names that Prometheus' own client libraries give ---- */

static bool metrics_read_file(const char *path, char *buffer, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t length = read(fd, buffer, size - 1);
    (void)close(fd);
    if (length <= 0)
        return false;
    buffer[length] = '\0';
    return true;
}

static void write_value(struct evbuffer *out, const char *name, const char *help, const char *type,
                        double value)
{
    metrics_write_head(out, name, help, type);
    write_name(out, name, "", "");
    metrics_write_number(out, value);
}

/* Field NUMBER (from 1) of /proc/self/stat; the second is a name in parentheses that may hold anything. */
static bool stat_field(const char *text, int number, unsigned long long *value)
{
    const char *at = strrchr(text, ')');
    char *end;

    for (int i = 2; at && i < number; i++)
        at = strchr(at + 1, ' ');
    if (!at)
        return false;
    *value = strtoull(at, &end, 10);
    return end != at;
}

static void write_start_time(struct evbuffer *out, const char *stat_text)
{
    static _Atomic int64_t boot_us; /* the wall clock may step: the first answer stays */
    unsigned long long ticks;

    if (!stat_field(stat_text, 22, &ticks))
        return;
    if (atomic_load(&boot_us) == 0)
        atomic_store(&boot_us, clock_wall_us() - clock_boot_ms() * 1000);
    write_value(out, "process_start_time_seconds", "Start of the process, seconds since the Unix epoch.",
                "gauge", (double)atomic_load(&boot_us) / 1e6 + (double)ticks / (double)sysconf(_SC_CLK_TCK));
}

static void write_open_fds(struct evbuffer *out)
{
    DIR *directory = opendir("/proc/self/fd");
    struct rlimit limit;
    int count = 0;

    if (directory) {
        for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
            count += entry->d_name[0] != '.';
        (void)closedir(directory);
        write_value(out, "process_open_fds", "Open file descriptors.", "gauge",
                    count - 1); /* not the directory */
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        write_value(out, "process_max_fds", "Limit of open file descriptors.", "gauge",
                    limit.rlim_cur == RLIM_INFINITY ? INFINITY : (double)limit.rlim_cur);
}

static void write_process(struct evbuffer *out)
{
    char text[1024];
    unsigned long long pages, user_ticks, system_ticks;
    long page_size = sysconf(_SC_PAGESIZE);

    metrics_write_head(out, "reel_build_info", "The version, as a label; always 1.", "gauge");
    (void)evbuffer_add_printf(out, "reel_build_info{version=\"%s\"} 1\n", REEL_VERSION);
    write_open_fds(out);
    if (!metrics_read_file("/proc/self/stat", text, sizeof(text)))
        return;
    write_start_time(out, text);
    if (stat_field(text, 24, &pages))
        write_value(out, "process_resident_memory_bytes", "Resident memory.", "gauge",
                    (double)pages * (double)page_size);
    if (stat_field(text, 14, &user_ticks) && stat_field(text, 15, &system_ticks))
        write_value(out, "process_cpu_seconds_total", "CPU time, user and system.", "counter",
                    (double)(user_ticks + system_ticks) / (double)sysconf(_SC_CLK_TCK));
}

void metrics_write(struct evbuffer *out)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};

    for (struct family *family = atomic_load_explicit(&families, memory_order_acquire); family != NULL;
         family = atomic_load_explicit(&family->next, memory_order_acquire)) {
        metrics_write_head(out, family->name, family->help, types[family->type]);
        for (struct metric *metric = atomic_load_explicit(&family->metrics, memory_order_acquire);
             metric != NULL; metric = atomic_load_explicit(&metric->next, memory_order_acquire))
            write_metric(out, family, metric);
    }
    write_process(out);
}
