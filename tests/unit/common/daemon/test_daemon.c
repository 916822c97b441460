/*
 * test_daemon: a tiny daemon with options of its own, run by common/daemon/daemon.c in real child processes: command
 * line, start, signals, notices to a service manager whose socket the test holds, end.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/auth/auth.h"
#include "common/daemon/host_name.h"
#include "common/daemon/daemon.h"
#include "common/base/log.h"
#include "tests/unit/library/files.h"
#include "tests/unit/library/free_port.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_ROUNDS 1500 /* of 20 ms: far more than anything here needs */

/* ---- the tiny daemon ---- */

struct tiny_config {
    struct daemon_config daemon;
    char *greeting, *block;
    int stop_mode;
    bool fail_start, hang_at_end;
};

enum stop_mode { STOP_AT_ONCE, STOP_ON_LOOP, STOP_NEVER };

static const struct config_option tiny_options[] = {
    {"tiny", "greeting", CONFIG_STRING, offsetof(struct tiny_config, greeting), "hello", 0, 0, NULL, true,
     "Says."},
    {"tiny", "block", CONFIG_STRING, offsetof(struct tiny_config, block), "", 0, 0, NULL, false,
     "FIFO to wait for."},
    {"tiny", "stop_mode", CONFIG_CHOICE, offsetof(struct tiny_config, stop_mode), "at-once", 0, 0,
     "at-once|on-loop|never", false, "How to stop."},
    {"tiny", "fail_start", CONFIG_BOOL, offsetof(struct tiny_config, fail_start), "no", 0, 0, NULL, false,
     "Fail."},
    {"tiny", "hang_at_end", CONFIG_BOOL, offsetof(struct tiny_config, hang_at_end), "no", 0, 0, NULL, false,
     "Hang."},
};

struct tiny {
    struct daemon *daemon;
    struct event *timer; /* on the first loop's base */
    struct task stop_task, block_task, first_late, second_late;
    int late;
};

static void never(evutil_socket_t fd, short events, void *argument)
{
    (void)fd;
    (void)events;
    (void)argument;
}

/* Waits until somebody opens the FIFO for writing. */
static void wait_for_fifo(const struct tiny *tiny)
{
    const struct tiny_config *config = tiny->daemon->config;
    int fd = open(config->block, O_RDONLY);
    if (fd >= 0)
        (void)close(fd);
}

static void run_block(struct task *task)
{
    wait_for_fifo(CONTAINER_OF(task, struct tiny, block_task));
}

static void run_stop(struct task *task)
{
    daemon_stopped(CONTAINER_OF(task, struct tiny, stop_task)->daemon);
}

static void run_second_late(struct task *task)
{
    CONTAINER_OF(task, struct tiny, second_late)->late++;
}

static void run_first_late(struct task *task)
{
    struct tiny *tiny = CONTAINER_OF(task, struct tiny, first_late);
    tiny->late++;
    loop_post(tiny->daemon->main_loop, &tiny->second_late);
}

static bool tiny_check(const void *config, struct error *error)
{
    const struct tiny_config *tiny = config;
    if (strcmp(tiny->greeting, "rude") == 0)
        return error_set(error, ERROR_MALFORMED, "tiny.greeting must be polite");
    return true;
}

static bool tiny_init_db(const void *config, struct error *error)
{
    const struct tiny_config *tiny = config;
    if (strcmp(tiny->greeting, "no-db") == 0)
        return error_set(error, ERROR_UNAVAILABLE, "no database there");
    (void)printf("created by %u:%u\n", geteuid(), getegid());
    return true;
}

static bool tiny_start(struct daemon *daemon, struct error *error)
{
    const struct tiny_config *config = daemon->config;
    struct tiny *tiny = calloc(1, sizeof(*tiny));
    struct rlimit files = {0, 0};

    if (tiny == NULL || config->fail_start) {
        free(tiny);
        return error_set(error, ERROR_GENERAL, "the start fails as asked");
    }
    tiny->daemon = daemon;
    tiny->timer = event_new(loop_base(daemon->loops->loops[0]), -1, EV_PERSIST, never, NULL);
    if (tiny->timer == NULL || event_add(tiny->timer, &(struct timeval){3600, 0}) != 0) {
        free(tiny);
        return error_set(error, ERROR_GENERAL, "no timer");
    }
    tiny->stop_task.run = run_stop;
    tiny->block_task.run = run_block;
    tiny->first_late.run = run_first_late;
    tiny->second_late.run = run_second_late;
    daemon->state = tiny;
    (void)getrlimit(RLIMIT_NOFILE, &files);
    log_info("tiny", "hook start: %s, %llu files", config->greeting, (unsigned long long)files.rlim_cur);
    log_debug("tiny", "a debug line");
    return true;
}

static void tiny_stop(struct daemon *daemon)
{
    const struct tiny_config *config = daemon->config;
    struct tiny *tiny = daemon->state;

    log_info("tiny", "hook stop");
    if (config->stop_mode == STOP_AT_ONCE) {
        daemon_stopped(daemon);
        daemon_stopped(daemon); /* twice is no harm */
    } else if (config->stop_mode == STOP_ON_LOOP) {
        loop_post(daemon->loops->loops[0], &tiny->stop_task);
    }
}

static void tiny_end_workers(struct daemon *daemon)
{
    const struct tiny_config *config = daemon->config;
    struct tiny *tiny = daemon->state;

    log_info("tiny", "hook end_workers");
    loop_post(daemon->loops->loops[0], &tiny->first_late);
    if (config->hang_at_end)
        wait_for_fifo(tiny);
}

static void tiny_destroy(struct daemon *daemon)
{
    struct tiny *tiny = daemon->state;

    log_info("tiny", "hook destroy: %d late tasks", tiny->late);
    event_free(tiny->timer);
    free(tiny);
}

static bool tiny_reload(struct daemon *daemon, const void *new_config, struct error *error)
{
    const struct tiny_config *config = new_config;

    if (prctl(PR_GET_DUMPABLE) != 0) /* nobody else of this user reads its memory, and no core has it */
        return error_set(error, ERROR_GENERAL, "the memory is not hidden");
    if (strcmp(config->greeting, "refused") == 0)
        return error_set(error, ERROR_REFUSED, "not this greeting");
    struct keys *keys = auth_keys(daemon->auth);
    log_info("tiny", "hook reload beside %zu keys", keys ? keys->count : 0);
    keys_release(keys);
    log_info("tiny", "hook reload: %s", config->greeting);
    log_debug("tiny", "before the new level");
    return true;
}

static bool tiny_health(struct daemon *daemon, char *reason, size_t reason_size)
{
    const struct tiny_config *config = daemon->config;
    if (strcmp(config->greeting, "ill") != 0)
        return true;
    (void)snprintf(reason, reason_size, "a cold");
    return false;
}

static json_t *tiny_status(struct daemon *daemon)
{
    const struct tiny_config *config = daemon->config;
    return json_pack("{s:s}", "greeting", config->greeting);
}

static void tiny_reopen_logs(struct daemon *daemon)
{
    const struct tiny_config *config = daemon->config;
    struct tiny *tiny = daemon->state;

    log_info("tiny", "hook reopen_logs");
    if (config->block[0] != '\0')
        loop_post(daemon->loops->loops[0], &tiny->block_task);
}

static const struct daemon_spec tiny_spec = {
    .name = "tiny",
    .summary = "does next to nothing",
    .admin_port = 0,
    .options = tiny_options,
    .option_count = ARRAY_SIZE(tiny_options),
    .config_size = sizeof(struct tiny_config),
    .check = tiny_check,
    .init_db = tiny_init_db,
    .start = tiny_start,
    .stop = tiny_stop,
    .end_workers = tiny_end_workers,
    .destroy = tiny_destroy,
    .reload = tiny_reload,
    .health = tiny_health,
    .status = tiny_status,
    .reopen_logs = tiny_reopen_logs,
};

/* ---- running it ---- */

static char directory[64];
static char config_path[96], log_path[96], pid_path[96], out_path[96], err_path[96], notify_path[96],
    fifo_path[96];
static int notify_fd = -1;
static pid_t running;

static char *read_all(const char *path)
{
    char *text = calloc(1, 1 << 18);
    int fd = open(path, O_RDONLY);
    size_t length = 0;
    ssize_t got;

    assert_non_null(text);
    while (fd >= 0 && (got = read(fd, text + length, (1 << 18) - 1 - length)) > 0)
        length += (size_t)got;
    if (fd >= 0)
        (void)close(fd);
    return text;
}

static bool contains(const char *path, const char *part)
{
    char *text = read_all(path);
    bool found = strstr(text, part) != NULL;
    free(text);
    return found;
}

static void assert_contains(const char *path, const char *part)
{
    char *text = read_all(path);
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" is missing in %s:\n%s", part, path, text);
    free(text);
}

static void wait_for(const char *path, const char *part)
{
    for (int i = 0; i < WAIT_ROUNDS && !contains(path, part); i++)
        (void)usleep(20000);
    assert_contains(path, part);
}

static void write_config(const char *format, ...) PRINTF_LIKE(1, 2);
static void write_config(const char *format, ...)
{
    FILE *file = fopen(config_path, "w");
    va_list arguments;

    assert_non_null(file);
    va_start(arguments, format);
    assert_true(vfprintf(file, format, arguments) >= 0);
    va_end(arguments);
    assert_int_equal(fclose(file), 0);
}

/* The usual file: pid file, log file, two loops, and what the test adds (first). */
static void write_usual_config(const char *tiny)
{
    write_config("[tiny]\n%s[daemon]\npid_file = %s\nloops = 2\n[log]\nfile = %s\n", tiny, pid_path,
                 log_path);
}

static int make_directory(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct timeval limit = {30, 0};

    (void)state;
    (void)snprintf(directory, sizeof(directory), "/tmp/test_daemon.XXXXXX");
    if (mkdtemp(directory) == NULL || chmod(directory, 0755) != 0)
        return -1;
    (void)snprintf(config_path, sizeof(config_path), "%s/tiny.conf", directory);
    (void)snprintf(log_path, sizeof(log_path), "%s/tiny.log", directory);
    (void)snprintf(pid_path, sizeof(pid_path), "%s/tiny.pid", directory);
    (void)snprintf(out_path, sizeof(out_path), "%s/stdout", directory);
    (void)snprintf(err_path, sizeof(err_path), "%s/stderr", directory);
    (void)snprintf(notify_path, sizeof(notify_path), "%s/notify", directory);
    (void)snprintf(fifo_path, sizeof(fifo_path), "%s/fifo", directory);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", notify_path);
    notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (notify_fd < 0 || bind(notify_fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        chmod(notify_path, 0777) != 0 ||
        setsockopt(notify_fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0)
        return -1;
    running = 0;
    return mkfifo(fifo_path, 0600);
}

static pid_t pid_in_file(void)
{
    char *text = read_all(pid_path);
    pid_t pid = (pid_t)strtol(text, NULL, 10);
    free(text);
    return pid;
}

static int remove_directory(void **state)
{
    (void)state;
    if (running == 0)
        running = pid_in_file();
    if (running > 0) { /* after a failed assertion */
        (void)kill(running, SIGKILL);
        (void)waitpid(running, NULL, 0);
    }
    (void)close(notify_fd);
    remove_tree(directory);
    return 0;
}

static pid_t launch(const struct daemon_spec *spec, const char *watchdog_usec, const char *const *arguments)
{
    char *argv[16] = {(char *)(uintptr_t) "reel-tiny"};
    int argc = 1;
    pid_t child;

    while (arguments[argc - 1] != NULL) {
        argv[argc] = (char *)(uintptr_t)arguments[argc - 1];
        argc++;
    }
    (void)fflush(NULL);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (freopen(out_path, "w", stdout) == NULL || freopen(err_path, "w", stderr) == NULL)
            _exit(99);
        (void)setenv("NOTIFY_SOCKET", notify_path, 1);
        if (watchdog_usec != NULL)
            (void)setenv("WATCHDOG_USEC", watchdog_usec, 1);
        exit(daemon_run(spec, argc, argv));
    }
    return child;
}

static int exit_code_of(pid_t child)
{
    int status;

    assert_int_equal(waitpid(child, &status, 0), child);
    if (child == running)
        running = 0;
    if (!WIFEXITED(status))
        fail_msg("ended by signal %d", WTERMSIG(status));
    return WEXITSTATUS(status);
}

/* Runs to the end and returns the exit code. */
#define RUN(...) exit_code_of(launch(&tiny_spec, NULL, (const char *const[]){__VA_ARGS__, NULL}))

/* The next notice must be (or begin with) TEXT. Sockets that systemd is asked to keep are test_kept_sockets.c's. */
static void assert_notice(const char *text)
{
    char notice[512];

    do {
        ssize_t length = recv(notify_fd, notice, sizeof(notice) - 1, 0);

        if (length < 0)
            fail_msg("no notice \"%s\" came: %s", text, strerror(errno));
        notice[length] = '\0';
    } while (strncmp(notice, "FDSTORE=1", 9) == 0);
    if (strncmp(notice, text, strlen(text)) != 0)
        fail_msg("not \"%s\" but \"%s\"", text, notice);
}

/* Starts with the usual arguments and waits until it is ready. */
static void start_daemon(void)
{
    char ready[64];

    running = launch(&tiny_spec, NULL, (const char *const[]){"-c", config_path, NULL});
    (void)snprintf(ready, sizeof(ready), "READY=1\nMAINPID=%ld", (long)running);
    assert_notice(ready);
}

static int stop_daemon(void)
{
    assert_int_equal(kill(running, SIGTERM), 0);
    return exit_code_of(running);
}

/* The whole answer of the admin port. */
static void get(uint16_t port, const char *path, char *answer, size_t size)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    size_t length = 0;
    char request[128];
    ssize_t got;

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    (void)snprintf(request, sizeof(request), "GET %s HTTP/1.0\r\n\r\n", path);
    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
    while ((got = recv(fd, answer + length, size - 1 - length, 0)) > 0)
        length += (size_t)got;
    answer[length] = '\0';
    assert_int_equal(close(fd), 0);
}

/* ---- command line ---- */

static void check_config_says_ok_or_what_is_wrong_with_exit_code_2(void **state)
{
    char expected[256];
    char *text;

    (void)state;
    write_usual_config("");
    assert_int_equal(RUN("-c", config_path, "--check-config"), 0);
    text = read_all(out_path);
    (void)snprintf(expected, sizeof(expected), "%s: OK\n", config_path);
    assert_string_equal(text, expected);
    free(text);
    write_usual_config("greting = x\n");
    assert_int_equal(RUN("--config", config_path, "--check-config"), 2);
    text = read_all(err_path);
    (void)snprintf(expected, sizeof(expected),
                   "reel-tiny: %s:2: unknown option \"tiny.greting\"; did you mean \"greeting\"?\n",
                   config_path);
    assert_string_equal(text, expected);
    free(text);
    assert_false(contains(out_path, "OK"));
}

static void the_daemons_own_check_is_part_of_the_check(void **state)
{
    (void)state;
    write_usual_config("greeting = rude\n");
    assert_int_equal(RUN("-c", config_path, "--check-config"), 2);
    assert_contains(err_path, "tiny.conf: tiny.greeting must be polite\n");
    assert_int_equal(RUN("-c", config_path), 2);
}

static void print_config_gives_file_defaults_and_overrides(void **state)
{
    (void)state;
    write_config("[tiny]\ngreeting = from file\n");
    assert_int_equal(
        RUN("-c", config_path, "-o", "daemon.loops=3", "--option=log.level=debug", "--print-config"), 0);
    assert_contains(out_path, "[tiny]\ngreeting = from file\n");
    assert_contains(out_path, "loops = 3\nstop_timeout = 30s\n");
    assert_contains(out_path, "level = debug\n");
}

static void the_default_admin_port_is_the_specs_on_the_loopback_address(void **state)
{
    struct daemon_spec spec = tiny_spec;

    (void)state;
    spec.admin_port = 21999;
    write_config("[tiny]\n");
    assert_int_equal(
        exit_code_of(launch(&spec, NULL, (const char *const[]){"-c", config_path, "--print-config", NULL})),
        0);
    assert_contains(out_path, "[admin]\nlisten = 127.0.0.1:21999\n");
    assert_int_equal(
        exit_code_of(launch(
            &spec, NULL,
            (const char *const[]){"-c", config_path, "-o", "admin.listen=10.0.0.1", "--print-config", NULL})),
        0);
    assert_contains(out_path, "listen = 10.0.0.1:21999\n");
}

static void help_version_and_markdown_need_no_configuration(void **state)
{
    (void)state;
    assert_int_equal(RUN("--help"), 0);
    assert_contains(out_path, "reel-tiny: does next to nothing\n");
    assert_contains(out_path, "Usage: reel-tiny [-c FILE]");
    assert_contains(out_path, "(default /etc/reelstore/tiny.conf)");
    assert_contains(out_path, "  greeting: text; default hello; reloadable\n");
    assert_contains(out_path, "  stop_timeout: duration, 0s to 1h; default 30s; reloadable\n");
    assert_int_equal(RUN("--help-markdown"), 0);
    assert_contains(out_path, "### [tiny]\n");
    assert_contains(out_path, "### [admin]\n");
    assert_false(contains(out_path, "Usage"));
    assert_int_equal(RUN("--help-json"), 0);
    json_t *reported = json_load_file(out_path, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(reported, "file")), "/etc/reelstore/tiny.conf");
    assert_true(json_array_size(json_object_get(reported, "command_line")) > 5);
    json_t *first = json_array_get(json_object_get(reported, "options"), 0);
    assert_string_equal(json_string_value(json_object_get(first, "section")), "tiny");
    assert_string_equal(json_string_value(json_object_get(first, "name")), "greeting");
    assert_string_equal(json_string_value(json_object_get(first, "default")), "hello");
    assert_true(json_is_true(json_object_get(first, "reload")));
    json_decref(reported);
    assert_int_equal(RUN("--version"), 0);
    assert_contains(out_path, "reel-tiny ");
}

static void a_wrong_command_line_has_exit_code_2_and_says_what(void **state)
{
    (void)state;
    write_usual_config("");
    assert_int_equal(RUN("--confg", config_path), 2);
    assert_contains(err_path, "reel-tiny: unknown option --confg; see --help\n");
    assert_int_equal(RUN("-c", config_path, "-x"), 2);
    assert_contains(err_path, "reel-tiny: unknown option -x; see --help\n");
    assert_int_equal(RUN("-c"), 2);
    assert_contains(err_path, "reel-tiny: -c needs a value; see --help\n");
    assert_int_equal(RUN("-c", config_path, "start"), 2);
    assert_contains(err_path, "reel-tiny: \"start\" is not an option; see --help\n");
    assert_int_equal(RUN("-c", config_path, "-o", "nonsense"), 2);
    assert_contains(err_path, "reel-tiny: -o nonsense: not of the form SECTION.NAME=VALUE\n");
    assert_int_equal(RUN("-c", "/nonexistent.conf"), 2);
    assert_contains(err_path,
                    "cannot open the configuration file /nonexistent.conf: No such file or directory\n");
    assert_int_equal(RUN("--check-config"), 2);
    assert_contains(err_path, "/etc/reelstore/tiny.conf: No such file or directory; -c FILE names another\n");
}

static void init_db_calls_the_daemon_and_reports_its_failure(void **state)
{
    struct daemon_spec spec = tiny_spec;

    (void)state;
    write_usual_config("");
    assert_int_equal(RUN("-c", config_path, "--init-db"), 0);
    assert_contains(out_path, "created by ");
    assert_int_equal(RUN("-c", config_path, "-o", "tiny.greeting=no-db", "--init-db"), 1);
    assert_contains(err_path, "reel-tiny: no database there\n");
    spec.init_db = NULL;
    assert_int_equal(
        exit_code_of(launch(&spec, NULL, (const char *const[]){"-c", config_path, "--init-db", NULL})), 2);
    assert_contains(err_path, "has no database");
}

static void root_makes_the_database_as_the_user_that_is_configured(void **state)
{
    const struct passwd *nobody = getpwnam("nobody");
    char expected[64];

    (void)state;
    if (geteuid() != 0 || nobody == NULL)
        skip();
    write_usual_config("");
    assert_int_equal(RUN("-c", config_path, "--init-db"), 0);
    assert_contains(out_path, "created by 0:0\n");
    assert_int_equal(RUN("-c", config_path, "-o", "daemon.user=nobody", "--init-db"), 0);
    (void)snprintf(expected, sizeof(expected), "created by %u:%u\n", nobody->pw_uid, nobody->pw_gid);
    assert_contains(out_path, expected);
    assert_int_equal(RUN("-c", config_path, "-o", "daemon.user=nobody-at-all", "--init-db"), 1);
    assert_contains(err_path, "there is no user nobody-at-all\n");
}

/* ---- life ---- */

static void from_start_to_end_every_hook_is_called_in_its_order(void **state)
{
    static const char *const order[] = {"reel-tiny ", "hook start: hello", "ready: 2 loops",
                                        "hook stop",  "hook end_workers",  "hook destroy: 2 late tasks",
                                        "ended\n"};
    char pid_text[32];
    char *text, *at;

    (void)state;
    write_usual_config("stop_mode = on-loop\n");
    start_daemon();
    (void)snprintf(pid_text, sizeof(pid_text), "%ld\n", (long)running);
    text = read_all(pid_path);
    assert_string_equal(text, pid_text);
    free(text);
    assert_int_equal(kill(running, SIGTERM), 0);
    /* 30 s of drain, 2 s for cutting it off, 15 s for what hangs then */
    assert_notice("STOPPING=1\nEXTEND_TIMEOUT_USEC=47000000");
    assert_int_equal(exit_code_of(running), 0);
    assert_int_equal(access(pid_path, F_OK), -1);
    at = text = read_all(log_path);
    for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
        at = strstr(at, order[i]);
        if (at == NULL)
            fail_msg("\"%s\" is missing or out of order in:\n%s", order[i], text);
    }
    assert_non_null(strstr(text, config_path));
    free(text);
    text = read_all(err_path);
    assert_string_equal(text, "");
    free(text);
}

static void an_interrupt_from_the_keyboard_drains_too(void **state)
{
    (void)state;
    write_usual_config("");
    start_daemon();
    assert_int_equal(kill(running, SIGINT), 0);
    assert_int_equal(exit_code_of(running), 0);
    wait_for(log_path, "hook stop");
    wait_for(log_path, "ended\n");
}

static void a_drain_that_does_not_end_is_ended_after_the_time_limit(void **state)
{
    (void)state;
    write_usual_config("stop_mode = never\n");
    running = launch(&tiny_spec, NULL,
                     (const char *const[]){"-c", config_path, "-o", "daemon.stop_timeout=100ms", NULL});
    assert_notice("READY=1");
    assert_int_equal(stop_daemon(), 0);
    wait_for(log_path, "did not finish within 100 ms");
    wait_for(log_path, "hook destroy");
}

static void a_second_sigterm_ends_at_once_with_exit_code_0_and_a_line(void **state)
{
    (void)state;
    write_usual_config("stop_mode = never\n");
    start_daemon();
    assert_int_equal(kill(running, SIGTERM), 0);
    wait_for(log_path, "hook stop");
    assert_int_equal(kill(running, SIGTERM), 0);
    assert_int_equal(exit_code_of(running), 0);
    wait_for(log_path, "a second signal to stop: exiting immediately");
    assert_false(contains(log_path, "hook destroy"));
    assert_int_equal(access(pid_path, F_OK), -1);
}

static void a_second_sigterm_also_ends_what_hangs_after_the_drain(void **state)
{
    char block[160];

    (void)state;
    (void)snprintf(block, sizeof(block), "hang_at_end = yes\nblock = %s\n", fifo_path);
    write_usual_config(block);
    start_daemon();
    assert_int_equal(kill(running, SIGTERM), 0);
    wait_for(log_path, "hook end_workers");
    assert_int_equal(kill(running, SIGTERM), 0);
    assert_int_equal(exit_code_of(running), 0);
    wait_for(log_path, "a second signal to stop: exiting immediately");
    assert_int_equal(access(pid_path, F_OK), -1);
}

static void a_failed_start_has_exit_code_1_and_is_reported_on_stderr_and_in_the_log(void **state)
{
    (void)state;
    write_usual_config("fail_start = yes\n");
    assert_int_equal(RUN("-c", config_path), 1);
    assert_contains(err_path, "reel-tiny: the start fails as asked\n");
    wait_for(log_path, "the start fails as asked\n");
    assert_int_equal(access(pid_path, F_OK), -1);
}

static void a_taken_admin_port_is_a_clear_failure_and_what_was_started_is_undone(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char option[64];

    (void)state;
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    (void)snprintf(option, sizeof(option), "admin.listen=127.0.0.1:%u", ntohs(address.sin_port));
    write_usual_config("");
    assert_int_equal(RUN("-c", config_path, "-o", option), 1);
    assert_contains(err_path, "is in use by another process");
    wait_for(log_path, "hook destroy");
    assert_int_equal(close(fd), 0);
}

static void a_second_instance_is_refused_with_the_firsts_process_id(void **state)
{
    char expected[256];

    (void)state;
    write_usual_config("");
    start_daemon();
    assert_int_equal(RUN("-c", config_path), 1);
    (void)snprintf(expected, sizeof(expected),
                   "reel-tiny: already running as process %ld, which holds the pid file %s\n", (long)running,
                   pid_path);
    assert_contains(err_path, expected);
    /* The first one is none the worse for it. */
    assert_int_equal(access(pid_path, F_OK), 0);
    assert_int_equal(stop_daemon(), 0);
}

static void a_pid_file_left_by_a_crash_is_no_obstacle(void **state)
{
    (void)state;
    write_usual_config("");
    start_daemon();
    assert_int_equal(kill(running, SIGKILL), 0);
    assert_int_equal(waitpid(running, NULL, 0), running);
    assert_int_equal(access(pid_path, F_OK), 0);
    start_daemon();
    assert_int_equal(stop_daemon(), 0);
}

static void a_broken_pipe_does_not_end_it(void **state)
{
    (void)state;
    write_usual_config("");
    start_daemon();
    assert_int_equal(kill(running, SIGPIPE), 0);
    assert_int_equal(kill(running, SIGUSR1), 0);
    wait_for(log_path, "hook reopen_logs");
    assert_int_equal(stop_daemon(), 0);
}

/* logrotate moved the log, and for a while it cannot be opened anew. */
static void a_log_that_cannot_be_reopened_is_tried_again(void **state)
{
    char moved[128];

    (void)state;
    write_usual_config("");
    start_daemon();
    (void)snprintf(moved, sizeof(moved), "%s.1", log_path);
    assert_int_equal(rename(log_path, moved), 0);
    assert_int_equal(mkdir(log_path, 0700), 0);
    assert_int_equal(kill(running, SIGUSR1), 0);
    wait_for(moved, "cannot reopen the log file");
    assert_int_equal(rmdir(log_path), 0);
    wait_for(log_path, "the log file is open again");
    assert_int_equal(stop_daemon(), 0);
}

static bool confine_and_rotate(const void *config, struct sandbox *sandbox, struct error *error)
{
    (void)config;
    (void)sandbox;
    (void)error;
    return raise(SIGUSR1) == 0 && raise(SIGHUP) == 0;
}

/* The log is open by then, and nothing catches signals yet. */
static void a_rotation_during_the_start_does_not_end_it(void **state)
{
    struct daemon_spec spec = tiny_spec;

    (void)state;
    spec.confine = confine_and_rotate;
    write_usual_config("");
    running =
        launch(&spec, NULL, (const char *const[]){"-c", config_path, "-o", "daemon.sandbox=auto", NULL});
    wait_for(log_path, "ready: ");
    if (contains(log_path, "NOT CONFINED")) { /* a kernel without Landlock */
        assert_int_equal(kill(running, SIGTERM), 0);
        assert_int_equal(exit_code_of(running), 0);
        skip();
    }
    wait_for(log_path, "hook reopen_logs");
    wait_for(log_path, "configuration reloaded from");
    assert_int_equal(kill(running, SIGTERM), 0);
    assert_int_equal(exit_code_of(running), 0);
}

static void the_limit_of_open_files_is_set_or_the_shortfall_is_reported(void **state)
{
    (void)state;
    write_usual_config("");
    running = launch(&tiny_spec, NULL,
                     (const char *const[]){"-c", config_path, "-o", "daemon.open_files=234", NULL});
    assert_notice("READY=1");
    wait_for(log_path, "hook start: hello, 234 files\n");
    assert_int_equal(stop_daemon(), 0);
    running = launch(&tiny_spec, NULL,
                     (const char *const[]){"-c", config_path, "-o", "daemon.open_files=1073741824", NULL});
    assert_notice("STOPPING=1");
    assert_notice("READY=1");
    wait_for(log_path, "open_files = 1073741824 is above the hard limit; going on with ");
    assert_int_equal(stop_daemon(), 0);
}

static void it_becomes_the_user_and_can_still_reopen_its_log(void **state)
{
    const struct passwd *nobody = getpwnam("nobody");
    char path[64], expected[64];

    (void)state;
    if (geteuid() != 0 || nobody == NULL)
        skip();
    write_usual_config("");
    assert_int_equal(chmod(directory, 0711), 0); /* root's still: the user may not make the file there */
    assert_int_equal(RUN("-c", config_path, "-o", "daemon.user=nobody"), 1);
    assert_contains(err_path, "Permission denied (as the user nobody)\n");
    int fd = open(log_path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    assert_int_equal(fchown(fd, nobody->pw_uid, nobody->pw_gid), 0);
    assert_int_equal(close(fd), 0);
    running =
        launch(&tiny_spec, NULL, (const char *const[]){"-c", config_path, "-o", "daemon.user=nobody", NULL});
    assert_notice("READY=1");
    (void)snprintf(path, sizeof(path), "/proc/%ld/status", (long)running);
    (void)snprintf(expected, sizeof(expected), "Uid:\t%u\t%u\t%u\t%u\n", nobody->pw_uid, nobody->pw_uid,
                   nobody->pw_uid, nobody->pw_uid);
    assert_contains(path, expected);
    (void)snprintf(expected, sizeof(expected), "Gid:\t%u\t%u\t%u\t%u\n", nobody->pw_gid, nobody->pw_gid,
                   nobody->pw_gid, nobody->pw_gid);
    assert_contains(path, expected);
    assert_int_equal(kill(running, SIGUSR1), 0);
    wait_for(log_path, "hook reopen_logs");
    assert_false(contains(log_path, "cannot reopen"));
    assert_int_equal(stop_daemon(), 0);
    /* The directory is root's: the file cannot be removed, but no longer names a process. */
    char *text = read_all(pid_path);
    assert_string_equal(text, "");
    free(text);
}

static void an_unknown_user_is_refused(void **state)
{
    (void)state;
    write_usual_config("");
    assert_int_equal(RUN("-c", config_path, "-o", "daemon.user=nobody-at-all"), 1);
    assert_contains(err_path, "reel-tiny: there is no user nobody-at-all\n");
}

/* ---- reload ---- */

static void sighup_takes_what_it_can_reports_what_it_cannot_and_notifies(void **state)
{
    (void)state;
    write_usual_config("");
    start_daemon();
    assert_false(contains(log_path, "a debug line"));
    write_config(
        "[tiny]\ngreeting = good day\n[daemon]\npid_file = %s\nloops = 3\nstop_timeout = 5s\n[log]\nfile = "
        "%s\nlevel = debug\n",
        pid_path, log_path);
    assert_int_equal(kill(running, SIGHUP), 0);
    assert_notice("RELOADING=1\nMONOTONIC_USEC=");
    assert_notice("READY=1");
    wait_for(log_path, "info tiny[");
    wait_for(log_path, "option tiny.greeting: hello -> good day\n");
    wait_for(log_path, "option daemon.stop_timeout: 30s -> 5s\n");
    wait_for(log_path, "option log.level: info -> debug\n");
    wait_for(log_path, "option daemon.loops changed; takes effect after a restart\n");
    wait_for(log_path, "hook reload: good day\n");
    wait_for(log_path, "configuration reloaded from ");
    /* The next one compares with what was taken over. */
    write_config(
        "[tiny]\ngreeting = bye\n[daemon]\npid_file = %s\nloops = 2\nstop_timeout = 5s\n[log]\nfile = %s\n"
        "level = debug\n",
        pid_path, log_path);
    assert_int_equal(kill(running, SIGHUP), 0);
    assert_notice("RELOADING=1");
    assert_notice("READY=1");
    wait_for(log_path, "option tiny.greeting: good day -> bye\n");
    wait_for(log_path, "before the new level"); /* which debug lets through by now */
    assert_int_equal(stop_daemon(), 0);
    wait_for(log_path, "finishing requests in progress, for at most 5000 ms\n");
}

static void a_reload_of_a_wrong_file_keeps_the_old_configuration_and_says_so(void **state)
{
    (void)state;
    write_usual_config("");
    start_daemon();
    write_usual_config("greeting = new\nrubbish = 1\n");
    assert_int_equal(kill(running, SIGHUP), 0);
    assert_notice("RELOADING=1");
    assert_notice("READY=1");
    wait_for(log_path,
             "tiny.conf:3: unknown option \"tiny.rubbish\"; --help lists them; the configuration stays as "
             "it was\n");
    assert_false(contains(log_path, "hook reload"));
    write_usual_config("greeting = refused\n");
    assert_int_equal(kill(running, SIGHUP), 0);
    assert_notice("RELOADING=1");
    assert_notice("READY=1");
    wait_for(log_path, "cannot apply the new configuration: not this greeting\n");
    write_usual_config("greeting = fine\n");
    assert_int_equal(kill(running, SIGHUP), 0);
    assert_notice("RELOADING=1");
    assert_notice("READY=1");
    wait_for(log_path, "option tiny.greeting: hello -> fine\n");
    assert_int_equal(stop_daemon(), 0);
}

static void write_keys(const char *file, const char *text)
{
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    assert_int_equal(close(fd), 0);
}

static void reload_greeting(const char *greeting, const char *keys)
{
    char text[512];

    (void)snprintf(text, sizeof(text), "greeting = %s\n[auth]\nkeys = %s\n", greeting, keys);
    write_usual_config(text);
    assert_int_equal(kill(running, SIGHUP), 0);
    assert_notice("RELOADING=1");
    assert_notice("READY=1");
}

static void keys_hold_once_nothing_of_a_reload_is_refused(void **state)
{
    static const char line[] = "a client AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
                               "b client AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=\n";
    char keys[256], text[512];

    (void)state;
    (void)snprintf(keys, sizeof(keys), "%s/keys", directory);
    (void)snprintf(text, sizeof(text), "greeting = hello\n[auth]\nkeys = %s\n", keys);
    write_keys(keys, "# none yet\n");
    write_usual_config(text);
    start_daemon();
    write_keys(keys, line);
    reload_greeting("refused", keys);
    wait_for(log_path, "cannot apply the new configuration: not this greeting\n");
    reload_greeting("fine", keys); /* it is asked before they are taken */
    wait_for(log_path, "hook reload beside 0 keys\n");
    reload_greeting("well", keys);
    wait_for(log_path, "hook reload beside 2 keys\n");
    assert_int_equal(stop_daemon(), 0);
    assert_int_equal(unlink(keys), 0);
}

static void overrides_hold_over_a_reload(void **state)
{
    (void)state;
    write_usual_config("");
    running =
        launch(&tiny_spec, NULL, (const char *const[]){"-c", config_path, "-o", "tiny.greeting=mine", NULL});
    assert_notice("READY=1");
    write_usual_config("greeting = other\n");
    assert_int_equal(kill(running, SIGHUP), 0);
    assert_notice("RELOADING=1");
    assert_notice("READY=1");
    wait_for(log_path, "hook reload: mine\n");
    assert_int_equal(stop_daemon(), 0);
}

static void sighup_and_sigusr1_open_the_log_anew(void **state)
{
    static const int signals[] = {SIGHUP, SIGUSR1};
    char moved[128];

    (void)state;
    write_usual_config("");
    start_daemon();
    (void)snprintf(moved, sizeof(moved), "%s.1", log_path);
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
        assert_int_equal(rename(log_path, moved), 0);
        assert_int_equal(kill(running, signals[i]), 0);
        wait_for(log_path, "hook reopen_logs");
    }
    assert_int_equal(stop_daemon(), 0);
    wait_for(log_path, "ended\n");
}

/* ---- health, status, watchdog ---- */

static void the_admin_port_shows_health_and_status(void **state)
{
    uint16_t port = free_port();
    char option[64], answer[4096];
    json_error_t json_error;
    json_t *json, *daemon;

    (void)state;
    (void)snprintf(option, sizeof(option), "admin.listen=127.0.0.1:%u", port);
    write_usual_config("stop_mode = never\n");
    running = launch(&tiny_spec, NULL, (const char *const[]){"-c", config_path, "-o", option, NULL});
    assert_notice("READY=1");
    get(port, "/healthz", answer, sizeof(answer));
    assert_non_null(strstr(answer, " 200 OK\r\n"));
    get(port, "/metrics", answer, sizeof(answer));
    assert_non_null(strstr(answer, "reel_log_lines_total{level=\"info\"} "));
    get(port, "/status", answer, sizeof(answer));
    json = json_loads(strstr(answer, "\r\n\r\n") + 4, 0, &json_error);
    assert_non_null(json);
    assert_string_equal(json_string_value(json_object_get(json, "greeting")), "hello");
    daemon = json_object_get(json, "daemon");
    assert_string_equal(json_string_value(json_object_get(daemon, "name")), "tiny");
    assert_int_equal(json_integer_value(json_object_get(daemon, "pid")), running);
    assert_int_equal(json_integer_value(json_object_get(daemon, "loops")), 2);
    assert_string_equal(json_string_value(json_object_get(daemon, "host")), host_name());
    json_decref(json);
    /* While it drains, whoever balances load must go elsewhere. */
    assert_int_equal(kill(running, SIGTERM), 0);
    assert_notice("STOPPING=1");
    get(port, "/healthz", answer, sizeof(answer));
    assert_non_null(strstr(answer, " 503 "));
    assert_non_null(strstr(answer, "\r\n\r\nstopping\n"));
    assert_int_equal(stop_daemon(), 0);
}

static void ill_health_is_the_daemons_to_report(void **state)
{
    uint16_t port = free_port();
    char option[64], answer[4096];

    (void)state;
    (void)snprintf(option, sizeof(option), "admin.listen=127.0.0.1:%u", port);
    write_usual_config("greeting = ill\n");
    running = launch(&tiny_spec, NULL, (const char *const[]){"-c", config_path, "-o", option, NULL});
    assert_notice("READY=1");
    get(port, "/healthz", answer, sizeof(answer));
    assert_non_null(strstr(answer, " 503 "));
    assert_non_null(strstr(answer, "\r\n\r\na cold\n"));
    assert_int_equal(stop_daemon(), 0);
}

/* The number of notices that wait. */
static int drain_notices(void)
{
    char notice[512];
    int count = 0;

    while (recv(notify_fd, notice, sizeof(notice), MSG_DONTWAIT) >= 0)
        count++;
    return count;
}

static void a_loop_that_hangs_stops_the_watchdogs_notices_until_it_answers(void **state)
{
    uint16_t port = free_port();
    char option[64], block[160], answer[4096];
    int fifo, looks = 0;

    (void)state;
    (void)snprintf(option, sizeof(option), "admin.listen=127.0.0.1:%u", port);
    (void)snprintf(block, sizeof(block), "block = %s\n", fifo_path);
    write_usual_config(block);
    running = launch(&tiny_spec, "400000", (const char *const[]){"-c", config_path, "-o", option, NULL});
    assert_notice("READY=1");
    assert_notice("WATCHDOG=1");
    assert_notice("WATCHDOG=1");
    assert_int_equal(kill(running, SIGUSR1), 0); /* the first loop waits for the FIFO */
    wait_for(log_path, "loop 1 of 2 has not answered for ");
    (void)drain_notices();
    (void)usleep(500000); /* more than the watchdog's whole time */
    assert_int_equal(drain_notices(), 0);
    do { /* on a busy machine the other loop may be late for once, too */
        get(port, "/healthz", answer, sizeof(answer));
    } while (!strstr(answer, "1 of 2 loops do not answer\n") && looks++ < WAIT_ROUNDS && usleep(20000) == 0);
    assert_non_null(strstr(answer, "1 of 2 loops do not answer\n"));
    fifo = open(fifo_path, O_WRONLY);
    assert_true(fifo >= 0);
    assert_int_equal(close(fifo), 0);
    assert_notice("WATCHDOG=1");
    wait_for(log_path, "loop 1 of 2 answers again\n");
    assert_int_equal(stop_daemon(), 0);
}

/* ---- background ---- */

static void daemonized_the_parent_returns_when_the_child_is_ready(void **state)
{
    char path[64], target[128] = "";

    (void)state;
    write_usual_config("");
    assert_int_equal(RUN("-c", config_path, "-d"), 0);
    /* Whoever reads the pid file now finds a daemon that works. */
    running = pid_in_file();
    assert_true(running > 0);
    wait_for(log_path, "ready: 2 loops\n");
    assert_int_equal(getsid(running), running);
    for (int fd = 0; fd < 3; fd++) {
        (void)snprintf(path, sizeof(path), "/proc/%ld/fd/%d", (long)running, fd);
        assert_true(readlink(path, target, sizeof(target) - 1) > 0);
        assert_string_equal(target, "/dev/null");
    }
    assert_int_equal(stop_daemon(), 0);
    wait_for(log_path, "ended\n");
}

static void daemonized_a_failed_start_is_the_parents_exit_code_and_text(void **state)
{
    (void)state;
    write_usual_config("fail_start = yes\n");
    assert_int_equal(RUN("-c", config_path, "-d"), 1);
    assert_contains(err_path, "reel-tiny: the start fails as asked\n");
    write_config("[tiny]\n");
    assert_int_equal(RUN("-c", config_path, "-d"), 2);
    assert_contains(err_path, "reel-tiny: -d needs a log file");
    assert_int_equal(RUN("-c", "/nonexistent.conf", "--daemonize"), 2);
}

static void the_host_name_fits_the_packets_field(void **state)
{
    char name[256];

    (void)state;
    assert_int_equal(gethostname(name, sizeof(name)), 0);
    name[128] = '\0';
    assert_string_equal(host_name(), name);
    assert_ptr_equal(host_name(), host_name());
}

#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIRECTORY(check_config_says_ok_or_what_is_wrong_with_exit_code_2),
        IN_DIRECTORY(the_daemons_own_check_is_part_of_the_check),
        IN_DIRECTORY(print_config_gives_file_defaults_and_overrides),
        IN_DIRECTORY(the_default_admin_port_is_the_specs_on_the_loopback_address),
        IN_DIRECTORY(help_version_and_markdown_need_no_configuration),
        IN_DIRECTORY(a_wrong_command_line_has_exit_code_2_and_says_what),
        IN_DIRECTORY(init_db_calls_the_daemon_and_reports_its_failure),
        IN_DIRECTORY(root_makes_the_database_as_the_user_that_is_configured),
        IN_DIRECTORY(from_start_to_end_every_hook_is_called_in_its_order),
        IN_DIRECTORY(an_interrupt_from_the_keyboard_drains_too),
        IN_DIRECTORY(a_drain_that_does_not_end_is_ended_after_the_time_limit),
        IN_DIRECTORY(a_second_sigterm_ends_at_once_with_exit_code_0_and_a_line),
        IN_DIRECTORY(a_second_sigterm_also_ends_what_hangs_after_the_drain),
        IN_DIRECTORY(a_failed_start_has_exit_code_1_and_is_reported_on_stderr_and_in_the_log),
        IN_DIRECTORY(a_taken_admin_port_is_a_clear_failure_and_what_was_started_is_undone),
        IN_DIRECTORY(a_second_instance_is_refused_with_the_firsts_process_id),
        IN_DIRECTORY(a_pid_file_left_by_a_crash_is_no_obstacle),
        IN_DIRECTORY(a_broken_pipe_does_not_end_it),
        IN_DIRECTORY(the_limit_of_open_files_is_set_or_the_shortfall_is_reported),
        IN_DIRECTORY(a_log_that_cannot_be_reopened_is_tried_again),
        IN_DIRECTORY(a_rotation_during_the_start_does_not_end_it),
        IN_DIRECTORY(it_becomes_the_user_and_can_still_reopen_its_log),
        IN_DIRECTORY(an_unknown_user_is_refused),
        IN_DIRECTORY(sighup_takes_what_it_can_reports_what_it_cannot_and_notifies),
        IN_DIRECTORY(a_reload_of_a_wrong_file_keeps_the_old_configuration_and_says_so),
        IN_DIRECTORY(keys_hold_once_nothing_of_a_reload_is_refused),
        IN_DIRECTORY(overrides_hold_over_a_reload),
        IN_DIRECTORY(sighup_and_sigusr1_open_the_log_anew),
        IN_DIRECTORY(the_admin_port_shows_health_and_status),
        IN_DIRECTORY(ill_health_is_the_daemons_to_report),
        IN_DIRECTORY(a_loop_that_hangs_stops_the_watchdogs_notices_until_it_answers),
        IN_DIRECTORY(daemonized_the_parent_returns_when_the_child_is_ready),
        IN_DIRECTORY(daemonized_a_failed_start_is_the_parents_exit_code_and_text),
        cmocka_unit_test(the_host_name_fits_the_packets_field),
    };
    /* A daemonized grandchild is ours to wait for. */
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
        return EXIT_FAILURE;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
