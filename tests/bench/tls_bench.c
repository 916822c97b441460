/*
 * tls-bench: load under TLS for HTTP/1.1 servers: requests on kept connections, handshakes (full or resumed), or
 * connections that only stay. One blocking connection a thread; what comes is decrypted and thrown away. Prints one JSON
 * object, and ends by itself; with `idle`, when its standard input ends.
 */
#include "common/base/address.h"
#include "common/base/clock.h"
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define BUFFER_SIZE (256 * 1024)

enum mode { REQUESTS, FULL, RESUMED, IDLE };

struct bench {
    enum mode mode;
    struct socket_address server;
    SSL_CTX *context;
    char **paths;
    size_t path_count;
    int64_t end_us;
};

struct worker {
    struct bench *bench;
    pthread_t thread;
    unsigned seed;
    int64_t requests, bytes, errors, resumed;
};

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "tls-bench: %s: %s\n", what, strerror(errno));
    ERR_print_errors_fp(stderr);
    exit(1);
}

static SSL *bench_connect(const struct bench *bench, SSL_SESSION *session)
{
    int one = 1, fd = socket(bench->server.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    SSL *ssl = SSL_new(bench->context);

    if (fd < 0 || !ssl)
        die("a connection");
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    SSL_set_fd(ssl, fd);
    if (session)
        SSL_set_session(ssl, session);
    if (connect(fd, (const struct sockaddr *)&bench->server.storage, bench->server.length) == 0 &&
        SSL_connect(ssl) == 1)
        return ssl;
    SSL_free(ssl);
    close(fd);
    return NULL;
}

static void bench_close(SSL *ssl)
{
    int fd = SSL_get_fd(ssl);

    SSL_set_quiet_shutdown(ssl, 1);
    SSL_shutdown(ssl);
    SSL_free(ssl);
    close(fd);
}

/* One answer: bytes of its body, or -1. */
static int64_t read_answer(SSL *ssl, char *buffer)
{
    int got = 0, now;
    char *end = NULL, *length;
    int64_t size, left;

    while (!end && got < BUFFER_SIZE - 1) {
        now = SSL_read(ssl, buffer + got, BUFFER_SIZE - 1 - got);
        if (now <= 0)
            return -1;
        got += now;
        buffer[got] = '\0';
        end = strstr(buffer, "\r\n\r\n");
    }
    length = end ? strcasestr(buffer, "\r\ncontent-length:") : NULL;
    if (!length || length > end || strncmp(buffer + 9, "20", 2) != 0)
        return -1;
    size = strtoll(length + 17, NULL, 10);
    left = size - (buffer + got - end - 4);
    while (left > 0) {
        now = SSL_read(ssl, buffer, (int)min_i64(left, BUFFER_SIZE));
        if (now <= 0)
            return -1;
        left -= now;
    }
    return size;
}

static int64_t ask(struct worker *worker, SSL *ssl, char *buffer)
{
    const struct bench *bench = worker->bench;
    char request[1024];
    int size = snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n",
                        bench->paths[(size_t)rand_r(&worker->seed) % bench->path_count]);

    return SSL_write(ssl, request, size) == size ? read_answer(ssl, buffer) : -1;
}

static void *work_requests(void *argument)
{
    struct worker *worker = argument;
    char *buffer = malloc(BUFFER_SIZE);
    SSL *ssl = NULL;

    while (clock_monotonic_us() < worker->bench->end_us) {
        int64_t got = -1;

        if (!ssl)
            ssl = bench_connect(worker->bench, NULL);
        if (ssl)
            got = ask(worker, ssl, buffer);
        if (got >= 0) {
            worker->requests++;
            worker->bytes += got;
            continue;
        }
        worker->errors++;
        if (ssl)
            bench_close(ssl);
        ssl = NULL;
    }
    if (ssl)
        bench_close(ssl);
    free(buffer);
    return NULL;
}

static void *work_handshakes(void *argument)
{
    struct worker *worker = argument;
    char *buffer = malloc(BUFFER_SIZE);
    SSL_SESSION *session = NULL;

    while (clock_monotonic_us() < worker->bench->end_us) {
        SSL *ssl = bench_connect(worker->bench, session);

        if (!ssl) {
            worker->errors++;
            continue;
        }
        worker->requests++;
        worker->resumed += SSL_session_reused(ssl);
        if (worker->bench->mode == RESUMED && !session) {
            if (ask(worker, ssl, buffer) < 0)
                die("the first answer");
            session = SSL_get1_session(ssl);
        }
        bench_close(ssl);
    }
    SSL_SESSION_free(session);
    free(buffer);
    return NULL;
}

static void stay(struct bench *bench, int count)
{
    struct worker worker = {.bench = bench};
    char *buffer = malloc(BUFFER_SIZE);

    for (int i = 0; i < count; i++) {
        SSL *ssl = bench_connect(bench, NULL);

        if (!ssl || ask(&worker, ssl, buffer) < 0)
            die("an idle connection");
    }
    printf("{\"idle\": %d}\n", count);
    fflush(stdout);
    while (getchar() != EOF)
        ;
    free(buffer);
}

static _Noreturn void usage(void)
{
    fprintf(stderr, "Usage: tls-bench requests|full|resumed|idle CONNECTIONS SECONDS HOST:PORT PATH...\n");
    exit(2);
}

static int read_mode(const char *text)
{
    static const char *const modes[] = {"requests", "full", "resumed", "idle"};

    for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
        if (strcmp(text, modes[i]) == 0)
            return (int)i;
    }
    usage();
}

int main(int argc, char **argv)
{
    struct bench bench = {0};
    struct worker *workers, sum = {0};
    struct address address;
    struct error error;
    int count;
    int64_t begun_us;

    if (argc < 6)
        usage();
    (void)signal(SIGPIPE, SIG_IGN);
    bench.mode = (enum mode)read_mode(argv[1]);
    count = atoi(argv[2]);
    if (count < 1 || !address_parse(argv[4], 0, &address, &error) ||
        !address_to_socket(&address, &bench.server))
        usage();
    bench.paths = argv + 5;
    bench.path_count = (size_t)(argc - 5);
    bench.context = SSL_CTX_new(TLS_client_method());
    if (!bench.context || SSL_CTX_set_ciphersuites(bench.context, "TLS_AES_128_GCM_SHA256") != 1)
        die("OpenSSL");
    SSL_CTX_set_read_ahead(bench.context, 1);
    if (bench.mode == IDLE) {
        stay(&bench, count);
        return 0;
    }
    workers = calloc((size_t)count, sizeof(*workers));
    begun_us = clock_monotonic_us();
    bench.end_us = begun_us + atoll(argv[3]) * 1000000;
    for (int i = 0; i < count; i++) {
        workers[i] = (struct worker){.bench = &bench, .seed = (unsigned)i + 1};
        if (pthread_create(&workers[i].thread, NULL, bench.mode == REQUESTS ? work_requests : work_handshakes,
                           &workers[i]) != 0)
            die("a thread");
    }
    for (int i = 0; i < count; i++) {
        pthread_join(workers[i].thread, NULL);
        sum.requests += workers[i].requests;
        sum.bytes += workers[i].bytes;
        sum.errors += workers[i].errors;
        sum.resumed += workers[i].resumed;
    }
    double seconds = (double)(clock_monotonic_us() - begun_us) / 1e6;
    printf("{\"per_second\": %.1f, \"megabytes_per_second\": %.1f, \"count\": %lld, \"bytes\": %lld, "
           "\"errors\": %lld, "
           "\"resumed\": %lld}\n",
           (double)sum.requests / seconds, (double)sum.bytes / seconds / 1e6, (long long)sum.requests,
           (long long)sum.bytes, (long long)sum.errors, (long long)sum.resumed);
    free(workers);
    return 0;
}
