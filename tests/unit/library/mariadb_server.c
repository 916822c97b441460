/*
 * mariadb_server: mariadb-install-db and mariadbd as children that die with the test program, and a guardian
 * process that removes the folder after it.
 */
#include "tests/unit/library/free_port.h"
#include "tests/unit/library/mariadb_server.h"

#define INSTALL_TRIES 3

static const char *mariadb_server_binary(const char *const *places, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (access(places[i], X_OK) == 0)
            return places[i];
    }
    return NULL;
}

static const char *mariadb_server_daemon(void)
{
    static const char *const places[] = {"/usr/sbin/mariadbd", "/usr/local/sbin/mariadbd",
                                         "/usr/bin/mariadbd"};

    return mariadb_server_binary(places, sizeof(places) / sizeof(places[0]));
}

static const char *mariadb_server_installer(void)
{
    static const char *const places[] = {"/usr/bin/mariadb-install-db", "/usr/local/bin/mariadb-install-db"};

    return mariadb_server_binary(places, sizeof(places) / sizeof(places[0]));
}

bool mariadb_server_installed(void)
{
    return mariadb_server_daemon() != NULL && mariadb_server_installer() != NULL;
}

static int mariadb_server_remove_entry(const char *path, const struct stat *status, int type,
                                       struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    return remove(path) == 0 || errno == ENOENT ? 0 : -1;
}

void mariadb_server_remove_folder(const char *directory)
{
    for (int i = 0; i < 50 && access(directory, F_OK) == 0; i++) {
        if (nftw(directory, mariadb_server_remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0)
            usleep(100000);
    }
}

/* Starts PROGRAM with its output in LOG under the folder; it dies with this program. */
static pid_t mariadb_server_spawn(const struct mariadb_server *server, const char *log,
                                  char *const *arguments)
{
    char path[128];
    pid_t pid;

    snprintf(path, sizeof(path), "%s/%s", server->directory, log);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int out = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && out >= 0 && dup2(out, STDOUT_FILENO) >= 0 &&
            dup2(out, STDERR_FILENO) >= 0)
            execv(arguments[0], arguments);
        _exit(127);
    }
    return pid;
}

static void mariadb_server_start_guardian(struct mariadb_server *server)
{
    int ends[2];

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    server->guardian = fork();
    assert_true(server->guardian >= 0);
    if (server->guardian == 0) {
        char byte;
        (void)close(ends[1]);
        (void)setsid(); /* an interrupt from the terminal is not for it */
        while (read(ends[0], &byte, 1) < 0 && errno == EINTR)
            continue;
        mariadb_server_remove_folder(server->directory);
        _exit(0);
    }
    (void)close(ends[0]);
    server->guardian_pipe = ends[1];
}

MYSQL *mariadb_server_connect(const struct mariadb_server *server)
{
    MYSQL *mysql = mysql_init(NULL);

    assert_non_null(mysql);
    if (mysql_real_connect(mysql, NULL, "root", "", NULL, 0, server->socket, CLIENT_MULTI_STATEMENTS) ==
        NULL) {
        mysql_close(mysql);
        return NULL;
    }
    return mysql;
}

/* Ends the test with what LOG under the folder says: the folder will be gone. */
static void mariadb_server_fail(const struct mariadb_server *server, const char *log)
{
    char path[128], line[512];
    FILE *in;

    snprintf(path, sizeof(path), "%s/%s", server->directory, log);
    in = fopen(path, "r");
    while (in != NULL && fgets(line, sizeof(line), in) != NULL)
        print_message("%s: %s", log, line);
    if (in != NULL)
        (void)fclose(in);
    fail_msg("MariaDB did not start");
}

/* The server's own directory of temporary tables: one that starts removes those of every other one it shares it with, which crashes
 * when it uses them next. */
static void mariadb_server_tmpdir(const struct mariadb_server *server, char *option, size_t size)
{
    snprintf(option, size, "--tmpdir=%s/tmp", server->directory);
    assert_true(mkdir(strchr(option, '/'), 0700) == 0 || errno == EEXIST);
}

/* False where mariadbd ended before it answered. */
static bool mariadb_server_try(struct mariadb_server *server)
{
    char datadir[96], tmpdir[96], socket_option[128], port[32], pid_file[128];
    char *arguments[16 + MARIADB_SERVER_OPTIONS_MAX] = {
        (char *)(uintptr_t)mariadb_server_daemon(),
        (char *)(uintptr_t) "--no-defaults",
        datadir,
        tmpdir,
        socket_option,
        port,
        pid_file,
        (char *)(uintptr_t) "--bind-address=127.0.0.1",
        (char *)(uintptr_t) "--skip-name-resolve",
        (char *)(uintptr_t) "--innodb-buffer-pool-size=16M",
        (char *)(uintptr_t) "--innodb-log-file-size=8M",
        (char *)(uintptr_t) "--innodb-flush-log-at-trx-commit=2",
        (char *)(uintptr_t) "--performance-schema=OFF"};
    size_t count = 13;

    if (geteuid() == 0)
        arguments[count++] = (char *)(uintptr_t) "--user=root";
    for (size_t i = 0; i < MARIADB_SERVER_OPTIONS_MAX && server->options[i]; i++)
        arguments[count++] = (char *)(uintptr_t)server->options[i];
    snprintf(datadir, sizeof(datadir), "--datadir=%s/data", server->directory);
    mariadb_server_tmpdir(server, tmpdir, sizeof(tmpdir));
    snprintf(socket_option, sizeof(socket_option), "--socket=%s", server->socket);
    snprintf(port, sizeof(port), "--port=%u", server->port);
    snprintf(pid_file, sizeof(pid_file), "--pid-file=%s/pid", server->directory);
    server->pid = mariadb_server_spawn(server, "server.log", arguments);
    for (int i = 0; i < 600; i++) {
        MYSQL *mysql = mariadb_server_connect(server);
        int status;
        if (mysql != NULL) {
            mysql_close(mysql);
            return true;
        }
        if (waitpid(server->pid, &status, WNOHANG) == server->pid)
            break;
        usleep(100000);
    }
    return false;
}

/* Somebody else may have the port for a moment, for a connection of theirs: the kernel gives such ports out too. */
void mariadb_server_run(struct mariadb_server *server)
{
    for (int i = 0; i < 5; i++) {
        if (mariadb_server_try(server))
            return;
        usleep(300000);
    }
    mariadb_server_fail(server, "server.log");
}

/* The first run: any port will do. */
static void mariadb_server_run_first(struct mariadb_server *server)
{
    for (int i = 0; i < 5; i++) {
        server->port = free_port();
        if (mariadb_server_try(server))
            return;
    }
    mariadb_server_fail(server, "server.log");
}

void mariadb_server_execute(const struct mariadb_server *server, const char *sql)
{
    MYSQL *mysql = mariadb_server_connect(server);
    int more;

    assert_non_null(mysql);
    if (mysql_query(mysql, sql) != 0)
        fail_msg("%s: %s", sql, mysql_error(mysql));
    do {
        MYSQL_RES *result = mysql_store_result(mysql);
        if (result != NULL)
            mysql_free_result(result);
        more = mysql_next_result(mysql);
    } while (more == 0);
    if (more > 0)
        fail_msg("%s: %s", sql, mysql_error(mysql));
    mysql_close(mysql);
}

char *mariadb_server_read(const struct mariadb_server *server, const char *database, const char *sql)
{
    MYSQL *mysql = mariadb_server_connect(server);
    MYSQL_RES *result;
    MYSQL_ROW row;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(mysql);
    assert_non_null(out);
    if (mysql_select_db(mysql, database) != 0 || mysql_query(mysql, sql) != 0)
        fail_msg("%s: %s", sql, mysql_error(mysql));
    result = mysql_store_result(mysql);
    assert_non_null(result);
    while ((row = mysql_fetch_row(result)) != NULL) {
        for (unsigned i = 0; i < mysql_num_fields(result); i++)
            fprintf(out, "%s%s", i > 0 ? "|" : "", row[i] != NULL ? row[i] : "NULL");
        fputc('\n', out);
    }
    mysql_free_result(result);
    mysql_close(mysql);
    assert_int_equal(fclose(out), 0);
    return text;
}

void mariadb_server_kill(struct mariadb_server *server)
{
    if (server->pid > 0) {
        (void)kill(server->pid, SIGKILL);
        (void)waitpid(server->pid, NULL, 0);
    }
    server->pid = 0;
}

void mariadb_server_start(struct mariadb_server *server)
{
    char datadir[96], tmpdir[96];
    char *arguments[] = {(char *)(uintptr_t)mariadb_server_installer(),
                         (char *)(uintptr_t) "--no-defaults",
                         datadir,
                         tmpdir,
                         (char *)(uintptr_t) "--auth-root-authentication-method=normal",
                         (char *)(uintptr_t) "--skip-test-db",
                         (char *)(uintptr_t) "--skip-name-resolve",
                         geteuid() == 0 ? (char *)(uintptr_t) "--user=root" : NULL,
                         NULL};
    int status = -1;
    pid_t pid;

    *server = (struct mariadb_server){.guardian_pipe = -1};
    snprintf(server->directory, sizeof(server->directory), "/tmp/reel-mariadb.XXXXXX");
    assert_non_null(mkdtemp(server->directory));
    mariadb_server_start_guardian(server);
    snprintf(server->socket, sizeof(server->socket), "%s/socket", server->directory);
    snprintf(datadir, sizeof(datadir), "--datadir=%s/data", server->directory);
    mariadb_server_tmpdir(server, tmpdir, sizeof(tmpdir));
    /* On a machine where many tests start servers at once the installation may fail for want of something. */
    for (int i = 0; i < INSTALL_TRIES && status != 0; i++) {
        mariadb_server_remove_folder(strchr(datadir, '/'));
        pid = mariadb_server_spawn(server, "install.log", arguments);
        assert_int_equal(waitpid(pid, &status, 0), pid);
    }
    if (status != 0)
        mariadb_server_fail(server, "install.log");
    mariadb_server_run_first(server);
    mariadb_server_execute(server, "CREATE USER '" MARIADB_SERVER_USER "'@'127.0.0.1' IDENTIFIED BY "
                                   "'" MARIADB_SERVER_PASSWORD "';"
                                   "CREATE USER '" MARIADB_SERVER_USER "'@'localhost' IDENTIFIED BY "
                                   "'" MARIADB_SERVER_PASSWORD "';"
                                   "GRANT ALL ON `reel%`.* TO '" MARIADB_SERVER_USER "'@'127.0.0.1';"
                                   "GRANT ALL ON `reel%`.* TO '" MARIADB_SERVER_USER "'@'localhost';");
}

void mariadb_server_destroy(struct mariadb_server *server)
{
    mariadb_server_kill(server);
    if (server->guardian_pipe >= 0) {
        (void)close(server->guardian_pipe);
        (void)waitpid(server->guardian, NULL, 0);
    }
    server->guardian_pipe = -1;
}
