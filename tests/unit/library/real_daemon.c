/*
 * real_daemon: the daemon is a child that dies with this program; what it is asked goes over 127.0.0.1.
 */
#include "tests/unit/library/files.h"
#include "tests/unit/library/free_port.h"
#include "tests/unit/library/real_daemon.h"
#include "tests/unit/library/scripted_peer.h"

#include "common/base/clock.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void config_path(const struct real_daemon *daemon, char path[128])
{
    snprintf(path, 128, "%s/%s.conf", daemon->directory, daemon->name);
}

static void write_config(const struct real_daemon *daemon, bool has_database, const char *more)
{
    char path[128];
    config_path(daemon, path);
    FILE *out = fopen(path, "w");

    assert_non_null(out);
    if (has_database)
        fprintf(out, "[database]\nurl = sqlite:%s/meta.db\n", daemon->directory);
    fprintf(out,
            "[log]\nfile = %s/log\nlevel = debug\n[admin]\nlisten = 127.0.0.1:%u\n[%s]\nlisten = "
            "127.0.0.1:%u\n%s\n",
            daemon->directory, daemon->admin_port, daemon->name, daemon->port, more ? more : "");
    assert_int_equal(fclose(out), 0);
}

/* In the child: what systemd does with a socket that the process before has left with it. */
static bool inherit(const struct real_daemon *daemon)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(daemon->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    char text[24];

    snprintf(text, sizeof(text), "%d", (int)getpid());
    return fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
           setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0 &&
           bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 16) == 0 &&
           dup2(fd, 3) == 3 && (fd == 3 || close(fd) == 0) && setenv("LISTEN_PID", text, 1) == 0 &&
           setenv("LISTEN_FDS", "1", 1) == 0 && setenv("LISTEN_FDNAMES", "listen-1", 1) == 0;
}

/* bin/reel-NAME beside unit/, where this program is. */
static pid_t spawn(const struct real_daemon *daemon, const char *option, bool kept)
{
    char program[512], path[128], output[128];
    ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 64);

    assert_true(length > 0);
    program[length] = '\0';
    for (int i = 0; i < 2; i++)
        *strrchr(program, '/') = '\0';
    snprintf(program + strlen(program), 64, "/bin/reel-%s", daemon->name);
    config_path(daemon, path);
    snprintf(output, sizeof(output), "%s/output", daemon->directory);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int out = open(output, O_WRONLY | O_CREAT | O_APPEND, 0600);

        if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && dup2(out, 1) >= 0 && dup2(out, 2) >= 0 &&
            (!kept || inherit(daemon)))
            execl(program, program, "-c", path, option, NULL);
        _exit(127);
    }
    return pid;
}

/* What the daemon said, for a test that fails. */
static void show(const struct real_daemon *daemon, const char *file)
{
    char path[128], line[512];
    snprintf(path, sizeof(path), "%s/%s", daemon->directory, file);
    FILE *in = fopen(path, "r");

    while (in && fgets(line, sizeof(line), in))
        print_message("%s: %s", daemon->name, line);
    if (in)
        (void)fclose(in);
}

static int exit_code(pid_t pid)
{
    int status = -1;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static bool listens(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool connected = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;

    close(fd);
    return connected;
}

void real_daemon_start(struct real_daemon *daemon, const char *name, bool has_database, const char *more)
{
    *daemon = (struct real_daemon){.port = free_port(), .admin_port = free_port()};
    snprintf(daemon->name, sizeof(daemon->name), "%s", name);
    snprintf(daemon->directory, sizeof(daemon->directory), "/tmp/reel-%s-test-XXXXXX", name);
    assert_non_null(mkdtemp(daemon->directory));
    write_config(daemon, has_database, more);
    if (has_database && real_daemon_run(daemon, "--init-db") != 0) {
        show(daemon, "output");
        fail_msg("reel-%s --init-db failed", name);
    }
    real_daemon_resume(daemon, false);
}

void real_daemon_resume(struct real_daemon *daemon, bool kept)
{
    daemon->pid = spawn(daemon, NULL, kept);
    /* At an inherited port it seems to listen before it has begun. */
    for (int i = 0; !listens(daemon->admin_port) || !listens(daemon->port); i++) {
        if (i > 6000 || waitpid(daemon->pid, NULL, WNOHANG) == daemon->pid) {
            show(daemon, "output");
            show(daemon, "log");
            fail_msg("reel-%s did not start", daemon->name);
        }
        usleep(10000);
    }
}

/* How many reloads the log has the end of. */
static int reloads(const struct real_daemon *daemon)
{
    static const char *const ends[] = {"configuration reloaded from ", "; the configuration stays as it was",
                                       "cannot apply the new configuration: "};
    char path[128], line[4096];
    int count = 0;
    snprintf(path, sizeof(path), "%s/log", daemon->directory);
    FILE *in = fopen(path, "r");

    assert_non_null(in);
    while (fgets(line, sizeof(line), in)) {
        for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
            count += strstr(line, ends[i]) != NULL;
    }
    (void)fclose(in);
    return count;
}

void real_daemon_reload(struct real_daemon *daemon, bool has_database, const char *more)
{
    int before = reloads(daemon);
    write_config(daemon, has_database, more);
    assert_int_equal(kill(daemon->pid, SIGHUP), 0);
    for (int i = 0; reloads(daemon) == before; i++) {
        if (i > 6000) {
            show(daemon, "log");
            fail_msg("reel-%s did not reload its configuration", daemon->name);
        }
        usleep(10000);
    }
}

void real_daemon_halt(struct real_daemon *daemon)
{
    assert_int_equal(kill(daemon->pid, SIGTERM), 0);
    int code = exit_code(daemon->pid);
    daemon->pid = 0;
    if (code != 0) {
        show(daemon, "output");
        fail_msg("reel-%s ended with %d", daemon->name, code);
    }
}

void real_daemon_kill(struct real_daemon *daemon)
{
    if (daemon->pid > 0)
        (void)kill(daemon->pid, SIGKILL);
    daemon->pid = 0;
}

void real_daemon_stop(struct real_daemon *daemon)
{
    real_daemon_halt(daemon);
    remove_tree(daemon->directory);
}

void real_daemon_sql(const struct real_daemon *daemon, const char *sql)
{
    char path[128], *message = NULL;
    sqlite3 *database = NULL;

    snprintf(path, sizeof(path), "%s/meta.db", daemon->directory);
    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    sqlite3_busy_timeout(database, 20000);
    if (sqlite3_exec(database, sql, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s: %s", sql, message);
    sqlite3_close(database);
}

int real_daemon_run(const struct real_daemon *daemon, const char *option)
{
    return exit_code(spawn(daemon, option, false));
}

static int connect_to(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = 20};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

int real_daemon_connect(const struct real_daemon *daemon)
{
    return connect_to(daemon->port);
}

void real_daemon_send(int fd, uint8_t command, const void *body, size_t size)
{
    peer_header(fd, (int64_t)size, command, 0);
    peer_put(fd, body, size);
}

bool real_daemon_speaks(int fd, int ms)
{
    struct pollfd look = {.fd = fd, .events = POLLIN};

    return poll(&look, 1, ms) == 1;
}

struct real_answer real_daemon_receive(int fd)
{
    uint8_t bytes[PROTO_HEADER_SIZE];
    struct proto_header header;
    struct real_answer answer = {0};
    struct error error = {0};

    assert_true(peer_get(fd, bytes, sizeof(bytes)));
    assert_true(proto_header_unpack(bytes, &header, &error));
    answer.size = (size_t)header.length;
    answer.body = calloc(1, answer.size + 1);
    assert_non_null(answer.body);
    assert_true(peer_get(fd, answer.body, answer.size));
    if (header.status != PROTO_STATUS_OK) {
        proto_error_unpack((const uint8_t *)answer.body, answer.size, &error);
        answer.code = error.code;
        snprintf(answer.text, sizeof(answer.text), "%s", error.text);
        free(answer.body);
        answer.body = NULL;
    }
    return answer;
}

struct real_answer real_daemon_ask(int fd, uint8_t command, const void *body, size_t size)
{
    real_daemon_send(fd, command, body, size);
    return real_daemon_receive(fd);
}

int real_daemon_code(int fd, uint8_t command, const void *body, size_t size)
{
    struct real_answer answer = real_daemon_ask(fd, command, body, size);

    free(answer.body);
    return answer.code;
}

struct real_answer real_daemon_admin(const struct real_daemon *daemon, const char *path)
{
    struct real_answer answer = {0};
    char request[256];
    size_t room = 1 << 20;
    int fd = connect_to(daemon->admin_port);

    snprintf(request, sizeof(request), "GET %s HTTP/1.0\r\n\r\n", path);
    peer_put(fd, request, strlen(request));
    answer.body = calloc(1, room);
    assert_non_null(answer.body);
    for (ssize_t got; (got = recv(fd, answer.body + answer.size, room - 1 - answer.size, 0)) > 0;)
        answer.size += (size_t)got;
    close(fd);
    assert_int_equal(sscanf(answer.body, "HTTP/1.%*d %d", &answer.code), 1);
    return answer;
}

bool real_daemon_shows(const struct real_daemon *daemon, const char *path, const char *text)
{
    int64_t until_ms = clock_monotonic_ms() + 20000;

    for (;;) {
        struct real_answer answer = real_daemon_admin(daemon, path);
        bool there = strstr(answer.body, text) != NULL;

        free(answer.body);
        if (there || clock_monotonic_ms() > until_ms)
            return there;
        usleep(20000);
    }
}
