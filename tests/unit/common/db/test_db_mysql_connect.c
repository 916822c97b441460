/*
 * How connections to MySQL begin, against a real MariaDB with certificates that openssl makes here: TLS as the URL wants
 * it, who gets the password, character sets that a server insists on, servers that promise what they do not keep.
 */
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/db/db.h"

#include "tests/unit/library/free_port.h"
#include "tests/unit/library/mariadb_server.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

static struct mariadb_server server;
static char tls_options[3][128];

/* Certificates in the server's folder: ca.pem vouches for server.pem (localhost, 127.0.0.1), other.pem for nobody. */
static void make_certificates(void)
{
    static const char script[] = "cd '%s' && exec >openssl.log 2>&1 && set -e;"
                                 "for name in ca other; do openssl req -x509 -newkey ec -pkeyopt "
                                 "ec_paramgen_curve:P-256 -nodes -days 2 "
                                 "-subj /CN=$name -keyout $name.key -out $name.pem; done;"
                                 "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "
                                 "/CN=localhost -keyout server.key "
                                 "-out server.csr; printf 'subjectAltName=DNS:localhost,IP:127.0.0.1' >san;"
                                 "openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial "
                                 "-days 2 -extfile san -out server.pem";
    char command[2048];

    snprintf(command, sizeof(command), script, server.directory);
    assert_int_equal(system(command), 0);
}

static int start_server(void **state)
{
    static const char *const names[][2] = {{"ca", "ca.pem"}, {"cert", "server.pem"}, {"key", "server.key"}};

    (void)state;
    if (!mariadb_server_installed() || system("command -v openssl >/dev/null") != 0)
        return 0;
    mariadb_server_start(&server);
    make_certificates();
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        snprintf(tls_options[i], sizeof(tls_options[i]), "--ssl-%s=%s/%s", names[i][0], server.directory,
                 names[i][1]);
    mariadb_server_execute(
        &server,
        "CREATE DATABASE reel_test CHARACTER SET utf8mb4;"
        "CREATE TABLE reel_test.t (name VARBINARY(255) NOT NULL PRIMARY KEY, number BIGINT) ENGINE = InnoDB;"
        "CREATE USER 'strict'@'127.0.0.1' IDENTIFIED BY 'sesame' REQUIRE SSL;"
        "GRANT ALL ON `reel%`.* TO 'strict'@'127.0.0.1'");
    return 0;
}

static int stop_server(void **state)
{
    (void)state;
    if (server.guardian > 0)
        mariadb_server_destroy(&server);
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    if (server.guardian == 0) {
        print_message("SKIPPED: MariaDB or openssl is not installed\n");
        skip();
    }
    return 0;
}

/* The server anew, with TLS or without, and one option more. */
static void restart(bool tls, const char *option, const char *another)
{
    size_t count = 0;

    mariadb_server_kill(&server);
    memset(server.options, 0, sizeof(server.options));
    for (size_t i = 0; tls && i < ARRAY_SIZE(tls_options); i++)
        server.options[count++] = tls_options[i];
    server.options[count++] = "--bind-address=0.0.0.0";
    if (option)
        server.options[count++] = option;
    if (another)
        server.options[count++] = another;
    mariadb_server_run(&server);
}

struct question {
    struct db_job job;
    const char *sql;
    struct db_value parameter;
    size_t count;
    bool in_transaction;
    int64_t affected;
    size_t rows;
    char text[256];
};

static bool keep_text(void *argument, const struct db_value *columns, size_t count)
{
    struct question *question = argument;

    if (count > 0)
        (void)db_value_text(&columns[0], question->text, sizeof(question->text));
    question->rows++;
    return true;
}

static enum db_result run_question(struct db_job *job, struct db_connection *connection, struct error *error)
{
    struct question *question = CONTAINER_OF(job, struct question, job);
    enum db_result result = question->in_transaction ? db_begin(connection, error) : DB_OK;

    question->text[0] = '\0';
    if (result == DB_OK && strncmp(question->sql, "SELECT", 6) == 0)
        result = db_query(connection, question->sql, &question->parameter, question->count, keep_text,
                          question, error);
    else if (result == DB_OK)
        result = db_execute(connection, question->sql, &question->parameter, question->count,
                            &question->affected, error);
    if (result == DB_OK && question->in_transaction)
        result = db_commit(connection, error);
    return result;
}

static struct db *open_relaxed(const char *login, const char *host, uint16_t port, const char *parameters,
                               bool relaxed)
{
    char url[512];
    struct error error = {0};

    snprintf(url, sizeof(url), "mysql://%s@%s:%u/reel_test?read_timeout=4s%s", login, host, port, parameters);
    const struct db_options options = {
        .url = url, .threads = 1, .queue_max = 8, .job_timeout_ms = 5000, .relaxed = relaxed};
    struct db *db = db_open(&options, &error);
    assert_string_equal(error.text, "");
    assert_non_null(db);
    return db;
}

static struct db *open_pool(const char *login, const char *host, uint16_t port, const char *parameters)
{
    return open_relaxed(login, host, port, parameters, false);
}

static enum db_result ask(struct db *db, struct question *question, const char *sql)
{
    question->job = (struct db_job){.run = run_question};
    question->sql = sql;
    return db_run_wait(db, &question->job);
}

#define CIPHER                                                                                               \
    "SELECT variable_value FROM information_schema.session_status WHERE variable_name = 'SSL_CIPHER'"

/* Connects anew: is it encrypted? */
static bool is_encrypted(const char *login, const char *host, const char *parameters)
{
    struct question question = {0};
    struct db *db = open_pool(login, host, server.port, parameters);

    if (ask(db, &question, CIPHER) != DB_OK)
        fail_msg("%s at %s with %s: %s", login, host, parameters, question.job.error.text);
    db_close(db);
    return question.text[0] != '\0';
}

static void expect_refusal(const char *login, const char *host, const char *parameters, const char *said)
{
    struct question question = {0};
    struct db *db = open_pool(login, host, server.port, parameters);

    assert_int_equal(ask(db, &question, CIPHER), DB_PERMANENT);
    if (!strstr(question.job.error.text, said))
        fail_msg("\"%s\" does not say \"%s\"", question.job.error.text, said);
    assert_null(strstr(question.job.error.text, "sesame"));
    db_close(db);
}

/* This machine under a name that says nothing of it. */
static const char *elsewhere(void)
{
    static char name[256];

    assert_int_equal(gethostname(name, sizeof(name)), 0);
    return name;
}

static void tls_is_as_the_url_says(void **state)
{
    char ca[160], other[160];

    (void)state;
    restart(true, NULL, NULL);
    snprintf(ca, sizeof(ca), "&tls=required&ca=%s/ca.pem", server.directory);
    snprintf(other, sizeof(other), "&ca=%s/other.pem", server.directory);
    assert_true(is_encrypted(MARIADB_SERVER_LOGIN, "127.0.0.1", "&tls=required"));
    assert_true(is_encrypted(MARIADB_SERVER_LOGIN, "127.0.0.1", "&tls=prefer"));
    assert_false(is_encrypted(MARIADB_SERVER_LOGIN, "127.0.0.1", "&tls=off"));
    assert_false(is_encrypted(MARIADB_SERVER_LOGIN, "127.0.0.1", ""));
    assert_true(is_encrypted(MARIADB_SERVER_LOGIN, elsewhere(), ""));
    assert_false(is_encrypted(MARIADB_SERVER_LOGIN, elsewhere(), "&tls=off"));
    assert_true(is_encrypted(MARIADB_SERVER_LOGIN, "127.0.0.1", ca));
    assert_true(is_encrypted(MARIADB_SERVER_LOGIN, "localhost", ca));
    expect_refusal(MARIADB_SERVER_LOGIN, "127.0.0.1", other, "SSL");
    expect_refusal(MARIADB_SERVER_LOGIN, elsewhere(), ca, "SSL");
}

static void a_server_that_requires_tls_gets_it_or_is_reported_as_such(void **state)
{
    (void)state;
    restart(true, NULL, NULL);
    assert_true(is_encrypted("strict:sesame", "127.0.0.1", ""));
    expect_refusal("strict:sesame", "127.0.0.1", "&tls=off", "requires TLS");
    expect_refusal("strict:wrong", "127.0.0.1", "", "Access denied");
    restart(true, "--require-secure-transport=ON", NULL);
    assert_true(is_encrypted(MARIADB_SERVER_LOGIN, "127.0.0.1", ""));
    expect_refusal(MARIADB_SERVER_LOGIN, "127.0.0.1", "&tls=off", "requires TLS");
}

static void a_server_without_tls_serves_those_who_do_not_require_it(void **state)
{
    (void)state;
    restart(false, "--skip-ssl", NULL);
    assert_false(is_encrypted(MARIADB_SERVER_LOGIN, "127.0.0.1", ""));
    assert_false(is_encrypted(MARIADB_SERVER_LOGIN, elsewhere(), "&tls=off"));
    assert_false(is_encrypted(MARIADB_SERVER_LOGIN, elsewhere(), "&tls=prefer"));
    assert_false(is_encrypted(MARIADB_SERVER_LOGIN, "127.0.0.1", "&tls=prefer"));
    expect_refusal(MARIADB_SERVER_LOGIN, "127.0.0.1", "&tls=required", "no TLS, which this URL requires");
}

static void a_server_on_another_host_must_have_tls_unless_the_url_says_otherwise(void **state)
{
    static const char said[] = "which is required on another host: set up TLS there, or add tls=prefer or "
                               "tls=off to the database URL";
    char hosts[600];

    (void)state;
    restart(false, "--skip-ssl", NULL);
    expect_refusal(MARIADB_SERVER_LOGIN, elsewhere(), "", said);
    /* Of several hosts the reasons are cut; what to do is said all the same. */
    snprintf(hosts, sizeof(hosts), "%s:%u,%s", elsewhere(), server.port, elsewhere());
    expect_refusal(MARIADB_SERVER_LOGIN, hosts, "&connect_timeout=3s&write_timeout=3s", said);
    /* A socket of this machine is local whatever the URL's host is called. */
    snprintf(hosts, sizeof(hosts), "&socket=%s/socket", server.directory);
    assert_false(is_encrypted(MARIADB_SERVER_LOGIN, elsewhere(), hosts));
}

static void a_text_that_another_character_set_would_read_as_sql_stays_a_text(void **state)
{
    /* In GBK the first byte takes the escaping backslash along, and the quote ends the literal. */
    static const char evil[] = "\xbf' OR 1=1 -- x";

    (void)state;
    restart(false, "--skip-character-set-client-handshake", "--character-set-server=gbk");
    mariadb_server_execute(&server,
                           "DELETE FROM reel_test.t; INSERT INTO reel_test.t VALUES ('a', 1), ('b', 2)");
    for (int i = 0; i < 2; i++) {
        struct question question = {.parameter = db_text(evil), .count = 1, .in_transaction = i == 1};
        struct db *db = open_pool(MARIADB_SERVER_LOGIN, "127.0.0.1", server.port, "");

        assert_int_equal(ask(db, &question, "UPDATE t SET number = 100 WHERE name = ?"), DB_OK);
        assert_int_equal(question.affected, 0);
        assert_int_equal(ask(db, &question, "INSERT INTO t (name, number) VALUES (?, 3)"), DB_OK);
        assert_int_equal(ask(db, &question, "SELECT HEX(name) FROM t WHERE name = ?"), DB_OK);
        assert_string_equal(question.text, "BF27204F5220313D31202D2D2078");
        question.count = 0;
        assert_int_equal(ask(db, &question, "SELECT @@character_set_client"), DB_OK);
        assert_string_equal(question.text, "utf8mb4");
        db_close(db);
        mariadb_server_execute(&server, "DELETE FROM reel_test.t WHERE number = 3");
    }
    char *rows = mariadb_server_read(&server, "reel_test", "SELECT COUNT(*), SUM(number) FROM t");
    assert_string_equal(rows, "2|3\n");
    free(rows);
}

static void a_server_that_does_not_keep_what_it_says_is_a_concern(void **state)
{
    /* Whoever accepts that a power cut takes the last second is warned of what a crash of the server alone takes. */
    static const struct {
        const char *option, *another, *said, *said_relaxed;
    } cases[] = {
        {"--innodb-flush-log-at-trx-commit=2", NULL, "innodb_flush_log_at_trx_commit = 2", ""},
        {"--innodb-flush-log-at-trx-commit=0", NULL, "innodb_flush_log_at_trx_commit = 0",
         "innodb_flush_log_at_trx_commit = 0"},
        {"--innodb-flush-log-at-trx-commit=1", "--log-bin", "sync_binlog = 0", ""},
        {"--innodb-flush-log-at-trx-commit=1", NULL, "", ""},
        {"--innodb-flush-log-at-trx-commit=3", NULL, "", ""},
    };
    struct question question = {0};
    char reason[ERROR_TEXT_SIZE] = "x";

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        restart(false, cases[i].option, cases[i].another);
        for (int relaxed = 0; relaxed < 2; relaxed++) {
            const char *said = relaxed == 0 ? cases[i].said : cases[i].said_relaxed;
            struct db *db = open_relaxed(MARIADB_SERVER_LOGIN, "127.0.0.1", server.port, "", relaxed == 1);
            assert_int_equal(ask(db, &question, "SELECT 1"), DB_OK);
            assert_true(db_healthy(db, reason, sizeof(reason)));
            if (said[0] == '\0')
                assert_string_equal(reason, "");
            else
                assert_non_null(strstr(reason, said));
            db_close(db);
        }
    }
}

/* The defaults of a server are somebody's choice for other programs. */
static void a_session_does_not_depend_on_the_servers_defaults(void **state)
{
    struct question question = {0};

    (void)state;
    restart(false, NULL, NULL);
    mariadb_server_execute(&server,
                           "DELETE FROM reel_test.t; INSERT INTO reel_test.t VALUES ('a', 1), ('b', 2);"
                           "SET GLOBAL completion_type = 'CHAIN', GLOBAL sql_select_limit = 1,"
                           " GLOBAL sql_safe_updates = 1, GLOBAL sql_big_selects = 0,"
                           " GLOBAL max_join_size = 1, GLOBAL tx_read_only = 1, GLOBAL sql_mode = ''");
    struct db *db = open_pool(MARIADB_SERVER_LOGIN, "127.0.0.1", server.port, "");
    question.in_transaction = true;
    if (ask(db, &question, "UPDATE t SET number = 3 WHERE name = 'b'") != DB_OK)
        fail_msg("%s", question.job.error.text);
    question.in_transaction = false;
    if (ask(db, &question, "UPDATE t SET number = number + 10") != DB_OK)
        fail_msg("%s", question.job.error.text);
    if (ask(db, &question, "SELECT a.name FROM t a JOIN t b ORDER BY a.name DESC, b.name") != DB_OK)
        fail_msg("%s", question.job.error.text);
    mariadb_server_execute(&server, "SET GLOBAL sql_big_selects = 1, GLOBAL max_join_size = 1000000");
    /* Another connection sees what was committed. */
    char *rows = mariadb_server_read(&server, "reel_test", "SELECT SUM(number) FROM t");
    assert_string_equal(rows, "24\n");
    free(rows);
    question.rows = 0;
    assert_int_equal(ask(db, &question, "SELECT name FROM t"), DB_OK);
    assert_int_equal(question.rows, 2);
    db_close(db);
}

/* ---- a server that stands still ---- */

/* An address of this machine that is not the loopback's, in TEXT; false: there is none. */
static bool own_address(char *text, size_t size)
{
    struct ifaddrs *all = NULL, *each;
    bool found = false;

    if (getifaddrs(&all) != 0)
        return false;
    for (each = all; each && !found; each = each->ifa_next) {
        if (!each->ifa_addr || each->ifa_addr->sa_family != AF_INET || (each->ifa_flags & IFF_LOOPBACK) != 0)
            continue;
        struct sockaddr_in in4;
        memcpy(&in4, each->ifa_addr, sizeof(in4));
        found = inet_ntop(AF_INET, &in4.sin_addr, text, (socklen_t)size) != NULL;
    }
    freeifaddrs(all);
    return found;
}

static void expect_silence(struct db *db, const char *said)
{
    struct question question = {0};

    assert_int_equal(ask(db, &question, "SELECT 1"), DB_TRANSIENT);
    if (!strstr(question.job.error.text, said))
        fail_msg("\"%s\" does not say \"%s\"", question.job.error.text, said);
}

/* It counts each connection that is given up, and refuses this machine for good after a few. */
static void a_server_that_stood_still_does_not_shut_this_machine_out(void **state)
{
    struct question question = {0};
    char host[INET_ADDRSTRLEN];

    (void)state;
    if (!own_address(host, sizeof(host))) {
        print_message("SKIPPED: this machine has no address but the loopback's\n");
        skip();
    }
    restart(false, "--skip-name-resolve=0", "--max-connect-errors=3");
    mariadb_server_execute(&server, "CREATE USER IF NOT EXISTS 'still'@'%' IDENTIFIED BY 'sesame';"
                                    "GRANT ALL ON `reel%`.* TO 'still'@'%'");
    assert_int_equal(kill(server.pid, SIGSTOP), 0);
    struct db *db = open_pool("still:sesame", host, server.port, "&tls=off&connect_timeout=1s");
    for (int i = 0; i < 2; i++)
        expect_silence(db, "has not greeted");
    assert_int_equal(kill(server.pid, SIGCONT), 0);
    enum db_result result = DB_TRANSIENT;
    for (int i = 0; i < 10 && result == DB_TRANSIENT && !strstr(question.job.error.text, "blocked"); i++)
        result = ask(db, &question, "SELECT 1");
    if (result != DB_OK)
        fail_msg("%s", question.job.error.text);
    db_close(db);
}

static int listen_mutely(uint16_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 64), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

static void one_connection_waits_for_a_greeting_and_no_more_are_made(void **state)
{
    uint16_t port;
    char byte;
    int listener = listen_mutely(&port), fds[64];
    size_t count = 0, open = 0;

    (void)state;
    struct db *db = open_pool("reel:sesame", "127.0.0.1", port, "&tls=off&connect_timeout=1s");
    for (int i = 0; i < 2; i++)
        expect_silence(db, "takes connections, but has not greeted");
    while (count < ARRAY_SIZE(fds) && (fds[count] = accept(listener, NULL, NULL)) >= 0)
        count++;
    for (size_t i = 0; i < count; i++)
        open += recv(fds[i], &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN ? 1 : 0;
    assert_int_equal(count, 2); /* the first attempt, and the one that is left */
    assert_int_equal(open, 1);
    /* It ends: whoever asks next tries in earnest. */
    for (size_t i = 0; i < count; i++)
        close(fds[i]);
    struct question question = {0};
    assert_int_equal(ask(db, &question, "SELECT 1"), DB_TRANSIENT);
    assert_true(accept(listener, NULL, NULL) >= 0);
    db_close(db);
    close(listener);
}

#define GALERA "/usr/lib/galera/libgalera_smm.so"

static void a_read_on_a_cluster_waits_for_what_was_committed_elsewhere(void **state)
{
    static const struct {
        const char *parameters, *wait;
        bool in_transaction;
    } cases[] = {{"", "1", false}, {"", "0", true}, {"&causal_reads=off", "0", false}};
    char provider[160];

    (void)state;
    if (access(GALERA, R_OK) != 0) {
        print_message("SKIPPED: Galera is not installed\n");
        skip();
    }
    mariadb_server_kill(&server);
    snprintf(provider, sizeof(provider), "--wsrep-provider-options=gmcast.listen_addr=tcp://127.0.0.1:%u",
             free_port());
    const char *const options[] = {"--wsrep-on=ON",
                                   "--wsrep-provider=" GALERA,
                                   "--wsrep-cluster-address=gcomm://",
                                   "--wsrep-new-cluster",
                                   "--binlog-format=ROW",
                                   "--wsrep-node-address=127.0.0.1",
                                   provider};
    memset(server.options, 0, sizeof(server.options));
    memcpy(server.options, options, sizeof(options));
    mariadb_server_run(&server);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct question question = {.in_transaction = cases[i].in_transaction};
        struct db *db = open_pool(MARIADB_SERVER_LOGIN, "127.0.0.1", server.port, cases[i].parameters);
        char reason[ERROR_TEXT_SIZE] = "";

        assert_int_equal(ask(db, &question, "SELECT @@wsrep_sync_wait"), DB_OK);
        assert_string_equal(question.text, cases[i].wait);
        question.parameter = db_text("wsrep");
        question.count = 1;
        assert_int_equal(ask(db, &question, "SELECT ?"), DB_OK);
        assert_string_equal(question.text, "wsrep");
        assert_int_equal(ask(db, &question, "DELETE FROM t WHERE name = ?"), DB_OK);
        /* One node alone: nobody else has what it loses. */
        assert_true(db_healthy(db, reason, sizeof(reason)));
        assert_non_null(strstr(reason, "innodb_flush_log_at_trx_commit = 2"));
        db_close(db);
    }
}

/* ---- somebody else answers at the database's address ---- */

struct impostor {
    int listener;
    uint16_t port;
    pthread_t thread;
    char got[512]; /* the answer to the demand for the password */
    ssize_t got_size;
};

static void *run_impostor(void *argument)
{
    struct impostor *impostor = argument;
    /* Handshake of protocol 10 with a scramble of 20 bytes, then the demand. */
    static const char greeting[] = "\x5d\0\0\0"
                                   "\x0a"
                                   "5.5.5-10.11.0-MariaDB\0"
                                   "\1\0\0\0"
                                   "abcdefgh\0"
                                   "\x0a\xa2"
                                   "\x2d"
                                   "\2\0"
                                   "\x08\0"
                                   "\x15"
                                   "\0\0\0\0\0\0\0\0\0\0"
                                   "ijklmnopqrst\0"
                                   "mysql_native_password\0";
    static const char demand[] = "\x16\0\0\2"
                                 "\xfe"
                                 "mysql_clear_password\0";
    char packet[1024];

    for (;;) {
        int fd = accept(impostor->listener, NULL, NULL);
        if (fd < 0)
            return NULL;
        char head[4] = {(char)(sizeof(greeting) - 1 - 4), 0, 0, 0};
        (void)!write(fd, head, sizeof(head));
        (void)!write(fd, greeting + 4, sizeof(greeting) - 1 - 4);
        if (read(fd, packet, sizeof(packet)) > 0) {
            (void)!write(fd, demand, sizeof(demand) - 1);
            ssize_t size = read(fd, impostor->got, sizeof(impostor->got));
            impostor->got_size = size > 0 ? size : 0;
        }
        close(fd);
    }
}

static void the_password_is_not_given_to_whoever_asks_for_it(void **state)
{
    struct impostor impostor = {0};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    struct question question = {0};

    (void)state;
    impostor.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(impostor.listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(impostor.listener, 8), 0);
    assert_int_equal(getsockname(impostor.listener, (struct sockaddr *)&address, &length), 0);
    assert_int_equal(pthread_create(&impostor.thread, NULL, run_impostor, &impostor), 0);
    struct db *db = open_pool("reel:sesame", "127.0.0.1", ntohs(address.sin_port), "&tls=off");
    assert_int_equal(ask(db, &question, "SELECT 1"), DB_PERMANENT);
    assert_non_null(strstr(question.job.error.text, "restricted_auth"));
    db_close(db);
    assert_int_equal(shutdown(impostor.listener, SHUT_RDWR), 0);
    assert_int_equal(pthread_join(impostor.thread, NULL), 0);
    close(impostor.listener);
    assert_null(memmem(impostor.got, (size_t)impostor.got_size, "sesame", 6));
}

#define WITH_SERVER(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SERVER(tls_is_as_the_url_says),
        WITH_SERVER(a_server_that_requires_tls_gets_it_or_is_reported_as_such),
        WITH_SERVER(a_server_on_another_host_must_have_tls_unless_the_url_says_otherwise),
        WITH_SERVER(a_server_without_tls_serves_those_who_do_not_require_it),
        WITH_SERVER(a_text_that_another_character_set_would_read_as_sql_stays_a_text),
        WITH_SERVER(a_server_that_does_not_keep_what_it_says_is_a_concern),
        WITH_SERVER(a_session_does_not_depend_on_the_servers_defaults),
        WITH_SERVER(a_server_that_stood_still_does_not_shut_this_machine_out),
        cmocka_unit_test(one_connection_waits_for_a_greeting_and_no_more_are_made),
        WITH_SERVER(a_read_on_a_cluster_waits_for_what_was_committed_elsewhere),
        cmocka_unit_test(the_password_is_not_given_to_whoever_asks_for_it),
    };

    log_set_level(LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
