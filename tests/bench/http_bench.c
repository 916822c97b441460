/*
 * http-bench: a load generator for HTTP/1.1 servers that is not itself what is measured: keep-alive
 * connections driven by epoll from a few threads, heads parsed once, bodies discarded in the kernel
 * (MSG_TRUNC). For whole files at full speed, for small requests, and (--rate) for many slow streams, whose
 * longest stall it reports. Ends by itself.
 */
#include "common/base/address.h"
#include "common/base/clock.h"
#include <errno.h>
#include <event2/util.h>
#include <getopt.h>
#include <jansson.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <unistd.h>

#define HEAD_SIZE    16384
#define REQUEST_SIZE 2048
#define SAMPLES_MAX  (4 * 1024 * 1024) /* a thread */

struct bench {
    struct socket_address server;
    char **requests;
    size_t *request_sizes;
    size_t request_count;
    int connections, threads;
    int64_t seconds, ramp; /* RAMP: seconds over which the connections come */
    int64_t rate;          /* bytes a second each connection reads; 0: as fast as it can */
    int buffer;            /* SO_RCVBUF; 0: the kernel's */
    size_t post;           /* bytes of each request's body; 0: GET */
    atomic_bool stopping;
};

struct stream {
    int fd;
    size_t request; /* index of what is asked */
    size_t sent;
    size_t head_got;
    bool in_body;
    int64_t body_left;
    int64_t start_us, last_byte_us;
    int64_t allowance_us; /* --rate: when the next bytes may be read */
    bool early;           /* --rate: bytes may be there, but their time has not come */
    uint32_t events;
};

struct worker {
    struct bench *bench;
    pthread_t thread;
    int index;
    int epoll;
    struct stream *streams;
    int stream_count;
    char head[HEAD_SIZE]; /* one stream's head at a time is read whole or begun again by MSG_PEEK */
    uint32_t *samples;
    size_t sample_count;
    int64_t requests, bytes, errors, worst_stall_us;
    int64_t ramp_bytes; /* of BYTES, those that came before all connections were there */
    int64_t late_us;    /* the longest round of its own loop: so long it may have been late itself */
    uint64_t random_state;
    char first_error[128];
};

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "http-bench: %s: %s\n", what, strerror(errno));
    exit(1);
}

static size_t random_below(struct worker *worker, size_t count)
{
    worker->random_state = worker->random_state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (size_t)(worker->random_state >> 33) % count;
}

/* --rate: one edge-triggered event for good, since the pace decides and not the socket. */
static void watch(struct worker *worker, struct stream *stream, uint32_t events)
{
    if (worker->bench->rate > 0)
        events = EPOLLIN | EPOLLOUT | EPOLLET;
    if (stream->events == events)
        return;
    struct epoll_event event = {.events = events, .data.ptr = stream};
    if (epoll_ctl(worker->epoll, stream->events == UINT32_MAX ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, stream->fd,
                  &event) != 0)
        die("epoll_ctl");
    stream->events = events;
}

static void stream_connect(struct worker *worker, struct stream *stream)
{
    int one = 1;
    stream->fd = socket(worker->bench->server.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (stream->fd < 0)
        die("socket");
    int buffer = worker->bench->buffer, segment = 8948;
    if (buffer > 0 && setsockopt(stream->fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer)) != 0)
        die("SO_RCVBUF");
    /* Segments as of jumbo frames: one of loopback's fills half of a buffer, and what does not fit is dropped
     * and sent again after a time-out, which would be taken for a stall of the server. */
    if (worker->bench->rate > 0 &&
        setsockopt(stream->fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof(segment)) != 0)
        die("TCP_MAXSEG");
    if (connect(stream->fd, (struct sockaddr *)&worker->bench->server.storage,
                worker->bench->server.length) != 0)
        die("connect");
    if (setsockopt(stream->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0 ||
        evutil_make_socket_nonblocking(stream->fd) != 0)
        die("socket options");
    stream->events = UINT32_MAX;
}

static void stream_begin(struct worker *worker, struct stream *stream)
{
    stream->request = random_below(worker, worker->bench->request_count);
    stream->sent = 0;
    stream->in_body = stream->early = false;
    stream->start_us = stream->last_byte_us = clock_monotonic_us();
    stream->allowance_us = stream->start_us;
}

static void stream_fail(struct worker *worker, struct stream *stream, const char *why)
{
    if (worker->errors++ == 0)
        snprintf(worker->first_error, sizeof(worker->first_error), "%s", why);
    close(stream->fd);
    stream_connect(worker, stream);
    stream_begin(worker, stream);
    watch(worker, stream, EPOLLIN | EPOLLOUT);
}

/* The head is looked at with MSG_PEEK until it is whole, then taken; false: not yet, or failed. */
static bool stream_head(struct worker *worker, struct stream *stream, bool *failed)
{
    ssize_t got = recv(stream->fd, worker->head, HEAD_SIZE - 1, MSG_PEEK);
    *failed = false;
    if (got < 0 && errno == EAGAIN)
        return false;
    if (got <= 0) {
        *failed = true;
        stream_fail(worker, stream, got == 0 ? "connection closed" : strerror(errno));
        return false;
    }
    worker->head[got] = '\0';
    const char *end = strstr(worker->head, "\r\n\r\n");
    if (end == NULL) {
        if (got == HEAD_SIZE - 1) {
            *failed = true;
            stream_fail(worker, stream, "head too large");
        }
        return false;
    }
    const char *length = strcasestr(worker->head, "\r\ncontent-length:");
    if (length == NULL || length > end ||
        (strncmp(worker->head + 9, "200", 3) != 0 && strncmp(worker->head + 9, "201", 3) != 0 &&
         strncmp(worker->head + 9, "206", 3) != 0)) {
        worker->head[60] = '\0';
        worker->head[strcspn(worker->head, "\r\n")] = '\0';
        *failed = true;
        stream_fail(worker, stream, worker->head);
        return false;
    }
    stream->body_left = strtoll(length + 17, NULL, 10);
    if (recv(stream->fd, NULL, (size_t)(end - worker->head) + 4, MSG_TRUNC) < 0)
        die("recv");
    stream->in_body = true;
    return true;
}

static void stream_done(struct worker *worker, struct stream *stream)
{
    worker->requests++;
    if (worker->sample_count < SAMPLES_MAX)
        worker->samples[worker->sample_count++] =
            (uint32_t)min_i64(clock_monotonic_us() - stream->start_us, UINT32_MAX);
    stream_begin(worker, stream);
}

/* What a slow stream reads at once: a quarter of a second's bytes. */
static int64_t piece_of(const struct bench *bench)
{
    return max_i64(bench->rate / 4, 1024);
}

static void stream_step(struct worker *worker, struct stream *stream)
{
    struct bench *bench = worker->bench;
    for (;;) {
        if (stream->sent < bench->request_sizes[stream->request]) {
            ssize_t n = send(stream->fd, bench->requests[stream->request] + stream->sent,
                             bench->request_sizes[stream->request] - stream->sent, MSG_NOSIGNAL);
            if (n < 0 && errno == EAGAIN) {
                watch(worker, stream, EPOLLIN | EPOLLOUT);
                return;
            }
            if (n < 0) {
                stream_fail(worker, stream, strerror(errno));
                return;
            }
            stream->sent += (size_t)n;
            watch(worker, stream, EPOLLIN);
            return;
        }
        bool failed;
        if (!stream->in_body && !stream_head(worker, stream, &failed))
            return;
        while (stream->body_left > 0) {
            int64_t now = clock_monotonic_us();
            size_t want = (size_t)min_i64(stream->body_left, bench->rate > 0 ? piece_of(bench) : 1 << 22);
            stream->early = bench->rate > 0 && now < stream->allowance_us;
            if (stream->early)
                return;
            ssize_t n = recv(stream->fd, NULL, want, MSG_TRUNC);
            if (n < 0 && errno == EAGAIN) {
                watch(worker, stream, EPOLLIN);
                return;
            }
            if (n <= 0) {
                stream_fail(worker, stream, "body cut short");
                return;
            }
            if (bench->rate > 0) {
                /* A stall is time without a byte beyond the time that the stream's own pace asked it to wait.
                 */
                int64_t stall = now - max_i64(stream->allowance_us, stream->last_byte_us);
                worker->worst_stall_us = max_i64(worker->worst_stall_us, stall);
                stream->allowance_us =
                    max_i64(stream->allowance_us, now - 1000000) + n * 1000000 / bench->rate;
                stream->last_byte_us = now;
            }
            stream->body_left -= n;
            worker->bytes += n;
        }
        stream_done(worker, stream);
    }
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct bench *bench = worker->bench;
    struct epoll_event events[512];
    int64_t start_us = clock_monotonic_us();
    int begun = 0;
    int64_t next_scan_us = 0, round_us = clock_monotonic_us();
    while (!atomic_load_explicit(&bench->stopping, memory_order_relaxed)) {
        int count = epoll_wait(worker->epoll, events, (int)ARRAY_SIZE(events),
                               bench->rate > 0 || begun < worker->stream_count ? 2 : 100);
        if (count < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < count; i++)
            stream_step(worker, events[i].data.ptr);
        int64_t now = clock_monotonic_us();
        worker->late_us = max_i64(worker->late_us, now - round_us);
        round_us = now;
        for (; begun < worker->stream_count &&
               now - start_us >= bench->ramp * 1000000 * begun / worker->stream_count;
             begun++) {
            stream_connect(worker, &worker->streams[begun]);
            stream_begin(worker, &worker->streams[begun]);
            watch(worker, &worker->streams[begun], EPOLLIN | EPOLLOUT);
        }
        if (now - start_us < bench->ramp * 1000000)
            worker->ramp_bytes = worker->bytes;
        if (bench->rate > 0 && now >= next_scan_us) {
            next_scan_us = now + 5000;
            for (int i = 0; i < begun; i++) {
                if (worker->streams[i].early && now >= worker->streams[i].allowance_us)
                    stream_step(worker, &worker->streams[i]);
            }
        }
    }
    return NULL;
}

static int compare_samples(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void usage(FILE *out)
{
    fprintf(out, "Usage: http-bench [OPTION]... HOST:PORT PATH...\n"
                 "  --connections N   keep-alive connections at once (16)\n"
                 "  --threads N       (1)\n"
                 "  --seconds N       how long (10)\n"
                 "  --rate BYTES      each connection reads so much a second (no limit)\n"
                 "  --ramp N          the connections come over so many seconds (0: at once)\n"
                 "  --buffer BYTES    of each connection's receive buffer (the kernel's)\n"
                 "  --range FROM-TO   asks for this range of each\n"
                 "  --post BYTES      POST, with so long a body each\n"
                 "  --paths FILE      more paths, a line each\n");
}

static int64_t number(const char *text, int64_t minimum, int64_t maximum, const char *name)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || *end != '\0' || end == text || value < minimum || value > maximum) {
        fprintf(stderr, "http-bench: --%s takes a number from %lld to %lld, not '%s'\n", name,
                (long long)minimum, (long long)maximum, text);
        exit(2);
    }
    return value;
}

static void add_request(struct bench *bench, const char *path, const char *range)
{
    char text[REQUEST_SIZE];
    int size = bench->post > 0
                   ? snprintf(text, sizeof(text),
                              "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n", path,
                              bench->post)
                   : snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: localhost\r\n%s%s%s\r\n", path,
                              range != NULL ? "Range: bytes=" : "", range != NULL ? range : "",
                              range != NULL ? "\r\n" : "");
    char **requests = realloc(bench->requests, (bench->request_count + 1) * sizeof(*requests));
    size_t *sizes = realloc(bench->request_sizes, (bench->request_count + 1) * sizeof(*sizes));
    if (requests == NULL || sizes == NULL || size < 0 || size >= (int)sizeof(text))
        die("path");
    bench->requests = requests;
    bench->request_sizes = sizes;
    char *request = malloc((size_t)size + bench->post);
    if (request == NULL)
        die("path");
    memcpy(request, text, (size_t)size);
    for (size_t i = 0; i < bench->post; i++)
        request[(size_t)size + i] = (char)(i * 167 + 13);
    requests[bench->request_count] = request;
    sizes[bench->request_count++] = (size_t)size + bench->post;
}

static void add_paths_of_file(struct bench *bench, const char *name, const char *range)
{
    char line[REQUEST_SIZE];
    FILE *file = fopen(name, "re");
    if (file == NULL)
        die(name);
    while (fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\r\n")] = '\0';
        if (line[0] != '\0')
            add_request(bench, line, range);
    }
    fclose(file);
}

static double percentile_ms(const uint32_t *samples, size_t count, double part)
{
    return count == 0 ? 0 : samples[(size_t)(part * (double)(count - 1))] / 1000.0;
}

static void report(const struct bench *bench, struct worker *workers, double took)
{
    struct worker sum = {0};
    for (int i = 0; i < bench->threads; i++)
        sum.sample_count += workers[i].sample_count;
    sum.samples = malloc((sum.sample_count + 1) * sizeof(sum.samples[0]));
    if (sum.samples == NULL)
        die("memory");
    size_t at = 0;
    for (int i = 0; i < bench->threads; i++) {
        memcpy(sum.samples + at, workers[i].samples, workers[i].sample_count * sizeof(sum.samples[0]));
        at += workers[i].sample_count;
        sum.requests += workers[i].requests;
        sum.bytes += workers[i].bytes;
        sum.errors += workers[i].errors;
        sum.worst_stall_us = max_i64(sum.worst_stall_us, workers[i].worst_stall_us);
        sum.ramp_bytes += workers[i].ramp_bytes;
        sum.late_us = max_i64(sum.late_us, workers[i].late_us);
        if (workers[i].first_error[0] != '\0')
            snprintf(sum.first_error, sizeof(sum.first_error), "%s", workers[i].first_error);
    }
    qsort(sum.samples, sum.sample_count, sizeof(sum.samples[0]), compare_samples);
    json_t *out =
        json_pack("{s:i, s:f, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:s}", "connections",
                  bench->connections, "seconds", took, "requests", (json_int_t)sum.requests, "bytes",
                  (json_int_t)sum.bytes, "errors", (json_int_t)sum.errors, "requests_per_second",
                  (double)sum.requests / took, "megabytes_per_second",
                  (double)(sum.bytes - sum.ramp_bytes) / (took - (double)bench->ramp) / 1e6, "p50_ms",
                  percentile_ms(sum.samples, sum.sample_count, 0.5), "p99_ms",
                  percentile_ms(sum.samples, sum.sample_count, 0.99), "max_ms",
                  percentile_ms(sum.samples, sum.sample_count, 1), "worst_stall_ms",
                  (double)sum.worst_stall_us / 1000.0, "client_late_ms", (double)sum.late_us / 1000.0,
                  "first_error", sum.first_error);
    if (out == NULL || json_dumpf(out, stdout, JSON_INDENT(2)) != 0)
        die("json");
    printf("\n");
    json_decref(out);
    free(sum.samples);
}

static _Noreturn void wrong_usage(void)
{
    usage(stderr);
    exit(2);
}

/* Exits where they are wrong. */
static void read_arguments(int argc, char **argv, struct bench *bench)
{
    static const struct option options[] = {{"connections", required_argument, NULL, 'c'},
                                            {"threads", required_argument, NULL, 'n'},
                                            {"seconds", required_argument, NULL, 't'},
                                            {"rate", required_argument, NULL, 'r'},
                                            {"buffer", required_argument, NULL, 'b'},
                                            {"ramp", required_argument, NULL, 'm'},
                                            {"range", required_argument, NULL, 'g'},
                                            {"paths", required_argument, NULL, 'p'},
                                            {"post", required_argument, NULL, 'o'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    const char *range = NULL, *paths = NULL;
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            bench->connections = (int)number(optarg, 1, 60000, "connections");
            break;
        case 'n':
            bench->threads = (int)number(optarg, 1, 64, "threads");
            break;
        case 't':
            bench->seconds = number(optarg, 1, 3600, "seconds");
            break;
        case 'r':
            bench->rate = number(optarg, 1, 1LL << 40, "rate");
            break;
        case 'b':
            bench->buffer = (int)number(optarg, 1024, 1 << 30, "buffer");
            break;
        case 'm':
            bench->ramp = number(optarg, 0, 3600, "ramp");
            break;
        case 'g':
            range = optarg;
            break;
        case 'p':
            paths = optarg;
            break;
        case 'o':
            bench->post = (size_t)number(optarg, 1, 1LL << 30, "post");
            break;
        case 'h':
            usage(stdout);
            exit(0);
        default:
            wrong_usage();
        }
    }
    struct address address;
    struct error error;
    size_t count;
    if (optind >= argc)
        wrong_usage();
    if (!address_parse(argv[optind], 8080, &address, &error) ||
        !address_resolve(&address, &bench->server, 1, &count, &error)) {
        fprintf(stderr, "http-bench: %s\n", error.text);
        exit(2);
    }
    for (int i = optind + 1; i < argc; i++)
        add_request(bench, argv[i], range);
    if (paths != NULL)
        add_paths_of_file(bench, paths, range);
    if (bench->request_count == 0)
        wrong_usage();
    if (bench->ramp >= bench->seconds) {
        fprintf(stderr, "http-bench: --ramp must be less than --seconds\n");
        exit(2);
    }
    bench->threads = (int)min_i64(bench->threads, bench->connections);
}

static struct worker *start_workers(struct bench *bench)
{
    struct worker *workers = calloc((size_t)bench->threads, sizeof(*workers));
    if (workers == NULL)
        die("memory");
    for (int i = 0; i < bench->threads; i++) {
        workers[i].bench = bench;
        workers[i].index = i;
        workers[i].random_state = (uint64_t)i + 1;
        workers[i].epoll = epoll_create1(EPOLL_CLOEXEC);
        workers[i].stream_count =
            bench->connections / bench->threads + (i < bench->connections % bench->threads);
        workers[i].streams = calloc((size_t)workers[i].stream_count, sizeof(struct stream));
        workers[i].samples = malloc(SAMPLES_MAX * sizeof(uint32_t));
        if (workers[i].epoll < 0 || workers[i].streams == NULL || workers[i].samples == NULL)
            die("memory");
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            die("thread");
    }
    return workers;
}

/* Frees everything. False: a worker had errors. */
static bool end_workers(struct bench *bench, struct worker *workers)
{
    bool fine = true;
    for (int i = 0; i < bench->threads; i++) {
        fine = fine && workers[i].errors == 0;
        for (int k = 0; k < workers[i].stream_count; k++)
            close(workers[i].streams[k].fd);
        close(workers[i].epoll);
        free(workers[i].streams);
        free(workers[i].samples);
    }
    for (size_t i = 0; i < bench->request_count; i++)
        free(bench->requests[i]);
    free(bench->requests);
    free(bench->request_sizes);
    free(workers);
    return fine;
}

int main(int argc, char **argv)
{
    struct bench bench = {.connections = 16, .threads = 1, .seconds = 10};
    read_arguments(argc, argv, &bench);
    int64_t start_us = clock_monotonic_us();
    struct worker *workers = start_workers(&bench);
    struct timespec pause = {.tv_sec = bench.seconds};
    nanosleep(&pause, NULL);
    atomic_store(&bench.stopping, true);
    for (int i = 0; i < bench.threads; i++)
        pthread_join(workers[i].thread, NULL);
    report(&bench, workers, (double)(clock_monotonic_us() - start_us) / 1e6);
    return !end_workers(&bench, workers);
}
