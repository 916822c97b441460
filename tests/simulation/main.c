/*
 * reel-simulation: runs the stories of seeds, each in a process of its own, and says which of them broke the promise.
 *   reel-simulation [-v] [--without kill,pause,...] [--clients N] [--files N] [--operations N] [--one-storage]
 *                   [--journal] [--move] [--shrink] [--first] FIRST [LAST]
 * --journal: with the upload journal in every story, not in one of five.
 * --move: with two groups and files that move in every story that has no journal, not in one of five.
 * --first: ends with the first seed that broke it.
 * Exit code 0: every seed kept the promise; 1: one did not.
 */
#include "tests/simulation/base_handle.h"
#include "tests/simulation/story.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <getopt.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EXIT_VIOLATION 1
#define HANG_S         600 /* of real time: the simulator itself hangs */
#define WATCHDOG_S     120 /* of processor time, for one seed */
#define STORY_MEMORY   ((size_t)6 << 20)
#define HUGE_PAGE      ((uintptr_t)2 << 20)

static bool quiet; /* the story of a seed that is being shortened */

void violation(const char *format, ...)
{
    va_list arguments;
    if (quiet)
        _exit(EXIT_VIOLATION);
    printf("VIOLATION at %.6f s: ", (double)now_us() / 1e6);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    fflush(stdout);
    _exit(EXIT_VIOLATION);
}

static int remove_entry(const char *path, const struct stat *status, int flag, struct FTW *where)
{
    (void)status;
    (void)flag;
    (void)where;
    return remove(path);
}

/* Most stories take a few MiB: in large pages, where the kernel has them, that costs a fraction of a fault for each small one. */
static void take_large_pages(void)
{
    void *memory = malloc(STORY_MEMORY);
    uintptr_t from = ((uintptr_t)memory + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1),
              to = ((uintptr_t)memory + STORY_MEMORY) & ~(HUGE_PAGE - 1);
    if (memory)
        (void)madvise((void *)from, to - from, MADV_HUGEPAGE);
    free(memory); /* malloc(3) keeps it */
}

/* In a child. */
static void run_here(uint64_t seed, const struct story_limits *limits, const char *directory, int out,
                     int learn)
{
    struct rlimit limit = {.rlim_cur = WATCHDOG_S, .rlim_max = WATCHDOG_S};
    struct story_result result = {0};
    (void)setrlimit(RLIMIT_CPU, &limit);
    (void)alarm(HANG_S);
    take_large_pages();
    /* What the daemons log is a part of the story, whether anybody reads it or not. */
    if (!verbose && !freopen("/dev/null", "w", stderr))
        _exit(EXIT_VIOLATION);
    story_run(seed, limits, directory, &result);
    if (learn >= 0)
        base_handle_list(learn);
    if (write(out, &result, sizeof(result)) != sizeof(result))
        _exit(EXIT_VIOLATION);
    fflush(stdout);
    _exit(0);
}

/* ---- the tables, made once: they cost as much as a third of a short story ---- */

static char tables[] = "/dev/shm/reel-simulation-XXXXXX";

static void make_tables(void)
{
    int status = 0;
    if (!mkdtemp(tables)) {
        fprintf(stderr, "reel-simulation: cannot make a directory in /dev/shm: %s\n", strerror(errno));
        exit(2);
    }
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stdout))
            _exit(2);
        story_make_tables(tables);
        _exit(0);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (status != 0) {
        fprintf(stderr, "reel-simulation: the tables cannot be made\n");
        exit(2);
    }
}

/* The exit status of the seed's process; RESULT where it is 0. What it prepared goes to LEARN, but for -1. */
static int run_seed_and_list(uint64_t seed, const struct story_limits *limits, struct story_result *result,
                             int learn)
{
    char directory[] = "/dev/shm/reel-simulation-XXXXXX";
    int pipe_fds[2], status = 0;
    if (!mkdtemp(directory) || pipe(pipe_fds) != 0) {
        fprintf(stderr, "reel-simulation: cannot make a directory in /dev/shm: %s\n", strerror(errno));
        exit(2);
    }
    /* A path of one length and content: names are the same for every run of a seed. */
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        (void)close(pipe_fds[0]);
        if (chdir(directory) != 0)
            _exit(2);
        run_here(seed, limits, directory, pipe_fds[1], learn);
    }
    (void)close(pipe_fds[1]);
    *result = (struct story_result){0};
    (void)!read(pipe_fds[0], result, sizeof(*result));
    (void)close(pipe_fds[0]);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    (void)nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    return status;
}

static int run_seed(uint64_t seed, const struct story_limits *limits, struct story_result *result)
{
    return run_seed_and_list(seed, limits, result, -1);
}

/* What is prepared in one story is prepared before all others. */
static void rehearse(void)
{
    static const struct story_limits none;
    struct story_result result;
    FILE *kept = tmpfile(); /* a pipe could be full */
    int from = kept ? dup(fileno(kept)) : -1;
    if (from < 0)
        return;
    bool was_verbose = verbose;
    verbose = false;
    quiet = true;
    (void)run_seed_and_list(0, &none, &result, fileno(kept));
    quiet = false;
    verbose = was_verbose;
    (void)lseek(from, 0, SEEK_SET);
    base_handle_learn(from);
    (void)fclose(kept);
}

static bool fails(uint64_t seed, const struct story_limits *limits)
{
    struct story_result result;
    return run_seed(seed, limits, &result) != 0;
}

static void print_limits(uint64_t seed, const struct story_limits *limits)
{
    printf("reel-simulation");
    const char *separator = " --without ";
    for (int i = 0; i < TROUBLE_NAMES; i++) {
        if (limits->without >> i & 1) {
            printf("%s%s", separator, trouble_names[i]);
            separator = ",";
        }
    }
    if (limits->clients)
        printf(" --clients %d", limits->clients);
    if (limits->files)
        printf(" --files %d", limits->files);
    if (limits->operations)
        printf(" --operations %d", limits->operations);
    if (limits->one_storage)
        printf(" --one-storage");
    if (limits->journal)
        printf(" --journal");
    if (limits->move)
        printf(" --move");
    printf(" -v %" PRIu64 "\n", seed);
}

/* Leaves out what the failure does not need. A story that is changed is another story: so other seeds are tried too. */
static void shrink(uint64_t seed, struct story_limits limits)
{
    static const int sizes[] = {2, 3, 4, 6, 9, 13, 18};
    quiet = true;
    uint64_t found = seed;
    bool shorter = true;
    while (shorter) {
        shorter = false;
        struct story_limits tries[TROUBLE_NAMES + 12];
        size_t count = 0;
        for (int i = 0; i < TROUBLE_NAMES; i++) {
            if (limits.without >> i & 1)
                continue;
            tries[count] = limits;
            tries[count++].without |= 1u << i;
        }
        if (!limits.one_storage) {
            tries[count] = limits;
            tries[count++].one_storage = true;
        }
        if (limits.files != 1) {
            tries[count] = limits;
            tries[count++].files = 1;
        }
        if (limits.clients != 2) {
            tries[count] = limits;
            tries[count++].clients = 2;
        }
        for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
            if (limits.operations == 0 || sizes[i] < limits.operations) {
                tries[count] = limits;
                tries[count++].operations = sizes[i];
            }
        }
        for (size_t i = 0; i < count && !shorter; i++) {
            for (uint64_t j = 0; j < 40 && !shorter; j++) {
                uint64_t other = j == 0 ? found : seed * 1000 + j;
                if (fails(other, &tries[i])) {
                    limits = tries[i];
                    found = other;
                    shorter = true;
                }
            }
        }
    }
    quiet = false;
    printf("shortened: ");
    print_limits(found, &limits);
    struct story_result result;
    verbose = true;
    (void)run_seed(found, &limits, &result);
}

static unsigned read_troubles(char *text)
{
    unsigned troubles = 0;
    for (char *name = strtok_r(text, ",", &text); name; name = strtok_r(NULL, ",", &text)) {
        int i = 0;
        while (i < TROUBLE_NAMES && strcmp(trouble_names[i], name) != 0)
            i++;
        if (i == TROUBLE_NAMES) {
            fprintf(stderr, "reel-simulation: no trouble is called %s; there are:", name);
            for (i = 0; i < TROUBLE_NAMES; i++)
                fprintf(stderr, " %s", trouble_names[i]);
            fprintf(stderr, "\n");
            exit(2);
        }
        troubles |= 1u << i;
    }
    return troubles;
}

static double cpu_seconds(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_CHILDREN, &usage);
    return (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static int run_all(uint64_t first, uint64_t last, const struct story_limits *limits, bool shrinks,
                   bool one_will_do)
{
    int64_t simulated_us = 0, operations = 0, undecided = 0, hollow = 0;
    uint64_t count = 0, failed = 0, turns = 0;
    for (uint64_t seed = first; seed <= last; seed++) {
        struct story_result result;
        int status = run_seed(seed, limits, &result);
        count++;
        simulated_us += result.simulated_us;
        operations += result.operations;
        undecided += result.undecided;
        hollow += result.hollow;
        turns += result.switches;
        if (count % 1000 == 0 && seed < last) {
            printf("%" PRIu64 " seeds up to %" PRIu64 ", %" PRIu64 " failed so far\n", count, seed,
                   failed + (status != 0));
            fflush(stdout);
        }
        if (status == 0)
            continue;
        failed++;
        if (WIFSIGNALED(status))
            printf("seed %" PRIu64 " ended by signal %s\n", seed, sigabbrev_np(WTERMSIG(status)));
        else
            printf("seed %" PRIu64 " failed\n", seed);
        if (shrinks)
            shrink(seed, *limits);
        if (shrinks || one_will_do)
            break;
    }
    double cpu = cpu_seconds();
    if (hollow > 0)
        printf("%" PRId64 " rows without a file, of uploads that were never answered with success\n", hollow);
    printf("%" PRIu64 " seeds, %" PRIu64 " failed; %" PRId64 " operations (%" PRId64
           " histories undecided), %.1f simulated hours, %" PRIu64
           " turns; %.1f s of processor time: %.1f seeds and "
           "%.1f simulated hours per second\n",
           count, failed, operations, undecided, (double)simulated_us / 3.6e9, turns, cpu,
           (double)count / cpu, (double)simulated_us / 3.6e9 / cpu);
    return failed == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"without", required_argument, NULL, 'w'}, {"clients", required_argument, NULL, 'c'},
        {"files", required_argument, NULL, 'f'},   {"operations", required_argument, NULL, 'o'},
        {"one-storage", no_argument, NULL, '1'},   {"shrink", no_argument, NULL, 's'},
        {"first", no_argument, NULL, 'F'},         {"journal", no_argument, NULL, 'j'},
        {"move", no_argument, NULL, 'm'},          {NULL, 0, NULL, 0}};
    struct story_limits limits = {0};
    bool shrinks = false, one_will_do = false;
    int option;
    /* Addresses must be those of every other run. */
    if (!(personality(0xffffffff) & ADDR_NO_RANDOMIZE) && personality(ADDR_NO_RANDOMIZE) != -1)
        (void)execv("/proc/self/exe", argv);
    while ((option = getopt_long(argc, argv, "v", options, NULL)) != -1) {
        switch (option) {
        case 'v':
            verbose = true;
            break;
        case 'w':
            limits.without = read_troubles(optarg);
            break;
        case 'c':
            limits.clients = atoi(optarg);
            break;
        case 'f':
            limits.files = atoi(optarg);
            break;
        case 'o':
            limits.operations = atoi(optarg);
            break;
        case '1':
            limits.one_storage = true;
            break;
        case 's':
            shrinks = true;
            break;
        case 'j':
            limits.journal = true;
            break;
        case 'm':
            limits.move = true;
            break;
        case 'F':
            one_will_do = true;
            break;
        default:
            return 2;
        }
    }
    if (optind >= argc) {
        fprintf(stderr,
                "usage: reel-simulation [-v] [--without TROUBLES] [--clients N] [--files N] [--operations N] "
                "[--one-storage] [--journal] [--move] [--shrink] [--first] FIRST [LAST]\n");
        return 2;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    /* What a round of upkeep frees is taken by the next one: the kernel need not clear it anew each time. */
    (void)mallopt(M_TRIM_THRESHOLD, 1 << 30);
    (void)mallopt(M_TOP_PAD, 4 << 20);
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 26);
    uint64_t first = strtoull(argv[optind], NULL, 10);
    uint64_t last = optind + 1 < argc ? strtoull(argv[optind + 1], NULL, 10) : first;
    /* One thread: fibers do not change inside of SQLite. */
    (void)sqlite3_config(SQLITE_CONFIG_SINGLETHREAD);
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    (void)sqlite3_config(SQLITE_CONFIG_PAGECACHE, NULL, 0,
                         0); /* no pages in advance: most handles read few */
    story_prepare();
    make_tables();
    base_handle_begin(tables);
    rehearse();
    int code = run_all(first, last, &limits, shrinks, one_will_do);
    (void)nftw(tables, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    return code;
}
