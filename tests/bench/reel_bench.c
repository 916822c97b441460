/*
 * reel-bench: a load generator that speaks the packet protocol to one server: uploads, downloads or a mixture to a
 * storage server, GET and RANGE to an ID server, SADDRS to a tracker, over many connections from one thread. Bodies that come back are discarded in the kernel
 * (MSG_TRUNC), so that the client is not what is measured. Ends after a number of seconds by itself; prints
 * operations/s, MB/s and latencies.
 */
#include "common/base/address.h"
#include "common/base/clock.h"
#include "common/proto/proto.h"
#include "common/proto/proto_idserver.h"
#include "common/proto/proto_put.h"
#include "common/proto/proto_storage.h"
#include <errno.h>
#include <getopt.h>
#include <event2/util.h>
#include <jansson.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

enum mode { MODE_UPLOAD, MODE_DOWNLOAD, MODE_MIXED, MODE_GET, MODE_RANGE, MODE_SADDRS };

static const char *const mode_names[] = {"upload", "download", "mixed", "get", "range", "saddrs"};

#define CONTENT_SIZE (1 << 20)
#define SAMPLES_MAX  (8 * 1024 * 1024)

struct bench {
    struct socket_address server;
    const char *application, *user;
    enum mode mode;
    int64_t size;
    int connections;
    double seconds;
    int files; /* uploaded first, for downloads */
    int epoll;
    uint8_t *content;
    char run_id[17];
    uint64_t next_file;
    bool stopping;
    int active;
    /* results */
    uint32_t *samples; /* microseconds */
    size_t sample_count;
    int64_t uploads, downloads, failures, bytes_sent, bytes_received;
    char first_failure[256];
};

struct transfer {
    int fd;
    bool upload;
    uint64_t file;
    uint8_t head[PROTO_HEADER_SIZE + PROTO_DOWNLOAD_SIZE]; /* the longest of all */
    size_t head_size, head_sent;
    int64_t content_sent, content_size;
    uint8_t reply[PROTO_HEADER_SIZE];
    size_t reply_got;
    int64_t body_left;
    uint8_t error_body[PROTO_ERROR_BODY_MAX];
    size_t error_got;
    bool failed;
    int64_t start_us;
    uint32_t events;
};

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "reel-bench: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void transfer_watch(struct bench *bench, struct transfer *transfer, uint32_t events)
{
    if (transfer->events == events)
        return;
    struct epoll_event event = {.events = events, .data.ptr = transfer};
    int operation = transfer->events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (epoll_ctl(bench->epoll, operation, transfer->fd, &event) != 0)
        die("epoll_ctl");
    transfer->events = events;
}

static void transfer_key(const struct bench *bench, const struct transfer *transfer,
                         struct proto_file_key *key)
{
    memset(key, 0, sizeof(*key));
    snprintf(key->application, sizeof(key->application), "%s", bench->application);
    snprintf(key->user, sizeof(key->user), "%s", bench->user);
    snprintf(key->file, sizeof(key->file), "bench-%s-%llu", bench->run_id,
             (unsigned long long)transfer->file);
}

/* The body of a request that brings no content and changes nothing in a store. */
static bool pack_request(struct bench *bench, struct transfer *transfer, uint8_t *command, size_t *size,
                         struct error *error)
{
    uint8_t *body = transfer->head + PROTO_HEADER_SIZE;
    struct proto_download download = {.offset = 0};
    struct proto_range range = {.key = "bench", .count = 1};

    switch (bench->mode) {
    case MODE_GET:
        *command = PROTO_IDSERVER_GET;
        *size = proto_get_pack(body, "bench");
        return true;
    case MODE_RANGE:
        *command = PROTO_IDSERVER_RANGE;
        *size = PROTO_RANGE_SIZE;
        return proto_range_pack(body, &range, error);
    case MODE_SADDRS:
        *command = PROTO_TRACKER_SADDRS;
        *size = PROTO_FILE_KEY_SIZE;
        transfer_key(bench, transfer, &download.key);
        return proto_file_key_pack(body, &download.key, error);
    default:
        *command = PROTO_STORAGE_DOWNLOAD;
        *size = PROTO_DOWNLOAD_SIZE;
        transfer->file = (uint64_t)(random() % bench->files);
        transfer_key(bench, transfer, &download.key);
        return proto_download_pack(body, &download, error);
    }
}

/* Chooses the next operation of a connection and writes its header. */
static void transfer_begin(struct bench *bench, struct transfer *transfer, bool upload)
{
    struct error error;
    bool packed;
    transfer->upload = upload;
    transfer->head_sent = 0;
    transfer->content_sent = 0;
    transfer->reply_got = 0;
    transfer->error_got = 0;
    transfer->failed = false;
    transfer->start_us = clock_monotonic_us();
    if (upload) {
        struct proto_upload body = {.size = bench->size};
        transfer->file = bench->next_file++;
        transfer_key(bench, transfer, &body.key);
        packed = proto_upload_pack(transfer->head + PROTO_HEADER_SIZE, &body, &error);
        transfer->head_size = PROTO_HEADER_SIZE + PROTO_UPLOAD_SIZE;
        transfer->content_size = bench->size;
        proto_header_pack(transfer->head, PROTO_UPLOAD_SIZE + bench->size, PROTO_STORAGE_UPLOAD, 0);
    } else {
        uint8_t command;
        size_t size;
        packed = pack_request(bench, transfer, &command, &size, &error);
        transfer->head_size = PROTO_HEADER_SIZE + size;
        transfer->content_size = 0;
        proto_header_pack(transfer->head, (int64_t)size, command, 0);
    }
    if (!packed) {
        fprintf(stderr, "reel-bench: %s\n", error.text);
        exit(2);
    }
}

/* True when all was sent; false when the socket is full. */
static bool transfer_send(struct bench *bench, struct transfer *transfer)
{
    while (transfer->head_sent < transfer->head_size) {
        ssize_t n = send(transfer->fd, transfer->head + transfer->head_sent,
                         transfer->head_size - transfer->head_sent,
                         MSG_NOSIGNAL | (transfer->content_size > 0 ? MSG_MORE : 0));
        if (n < 0 && errno == EAGAIN)
            return false;
        if (n < 0)
            die("send");
        transfer->head_sent += (size_t)n;
    }
    while (transfer->content_sent < transfer->content_size) {
        size_t at = (size_t)(transfer->content_sent % CONTENT_SIZE);
        size_t size = min_size(CONTENT_SIZE - at, (size_t)(transfer->content_size - transfer->content_sent));
        ssize_t n = send(transfer->fd, bench->content + at, size, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return false;
        if (n < 0)
            die("send");
        transfer->content_sent += n;
        bench->bytes_sent += n;
    }
    return true;
}

static void transfer_end(struct bench *bench, struct transfer *transfer)
{
    int64_t took = clock_monotonic_us() - transfer->start_us;
    if (transfer->failed) {
        struct error error;
        proto_error_unpack(transfer->error_body, transfer->error_got, &error);
        if (bench->failures++ == 0)
            snprintf(bench->first_failure, sizeof(bench->first_failure), "%d %.200s", error.code, error.text);
        return;
    }
    if (transfer->upload)
        bench->uploads++;
    else
        bench->downloads++;
    if (bench->sample_count < SAMPLES_MAX)
        bench->samples[bench->sample_count++] = (uint32_t)min_i64(took, UINT32_MAX);
}

/* True when a whole reply was read; false when there is nothing more to read now. */
static bool transfer_receive(struct bench *bench, struct transfer *transfer)
{
    static uint8_t scratch[1 << 18];
    for (;;) {
        ssize_t n;
        if (transfer->reply_got < PROTO_HEADER_SIZE) {
            n = recv(transfer->fd, transfer->reply + transfer->reply_got,
                     PROTO_HEADER_SIZE - transfer->reply_got, 0);
            if (n > 0 && (transfer->reply_got += (size_t)n) == PROTO_HEADER_SIZE) {
                struct proto_header header;
                struct error error;
                if (!proto_header_unpack(transfer->reply, &header, &error)) {
                    fprintf(stderr, "reel-bench: %s\n", error.text);
                    exit(1);
                }
                transfer->failed = header.status != PROTO_STATUS_OK;
                transfer->body_left = header.length;
                if (header.length == 0)
                    return true;
            }
        } else if (transfer->failed) {
            n = recv(
                transfer->fd, transfer->error_body + transfer->error_got,
                min_size(sizeof(transfer->error_body) - transfer->error_got, (size_t)transfer->body_left), 0);
            if (n > 0) {
                transfer->error_got += (size_t)n;
                if ((transfer->body_left -= n) == 0)
                    return true;
            }
        } else {
            n = recv(transfer->fd, scratch, (size_t)min_i64((int64_t)sizeof(scratch), transfer->body_left),
                     MSG_TRUNC);
            if (n > 0) {
                bench->bytes_received += n;
                if ((transfer->body_left -= n) == 0)
                    return true;
            }
        }
        if (n < 0 && errno == EAGAIN)
            return false;
        if (n == 0) {
            fprintf(stderr, "reel-bench: the server closed the connection\n");
            exit(1);
        }
        if (n < 0)
            die("recv");
    }
}

static void transfer_step(struct bench *bench, struct transfer *transfer, int64_t uploads_wanted)
{
    for (;;) {
        bool sent = transfer_send(bench, transfer);
        if (!transfer_receive(bench, transfer)) {
            transfer_watch(bench, transfer, sent ? EPOLLIN : EPOLLIN | EPOLLOUT);
            return;
        }
        transfer_end(bench, transfer);
        bool over = uploads_wanted > 0 ? (int64_t)bench->next_file >= uploads_wanted : bench->stopping;
        if (over || !sent) {
            bench->active--;
            epoll_ctl(bench->epoll, EPOLL_CTL_DEL, transfer->fd, NULL);
            transfer->events = 0;
            return;
        }
        bool upload = uploads_wanted > 0 || bench->mode == MODE_UPLOAD ||
                      (bench->mode == MODE_MIXED && random() % 2 == 0);
        transfer_begin(bench, transfer, upload);
    }
}

/* Runs until SECONDS have passed (0: until UPLOADS_WANTED files are there) and every request has its reply.
 */
static void run(struct bench *bench, struct transfer *transfers, double seconds, int64_t uploads_wanted)
{
    int64_t end_ms = clock_monotonic_ms() + (int64_t)(seconds * 1000);
    bench->stopping = false;
    for (int i = 0; i < bench->connections; i++) {
        if (uploads_wanted > 0 && (int64_t)bench->next_file >= uploads_wanted)
            break;
        bench->active++;
        transfer_begin(bench, &transfers[i],
                       uploads_wanted > 0 || bench->mode == MODE_UPLOAD ||
                           (bench->mode == MODE_MIXED && i % 2 == 0));
        transfer_watch(bench, &transfers[i], EPOLLIN | EPOLLOUT);
    }
    while (bench->active > 0) {
        struct epoll_event events[256];
        int count = epoll_wait(bench->epoll, events, (int)ARRAY_SIZE(events), 10);
        if (count < 0 && errno != EINTR)
            die("epoll_wait");
        if (uploads_wanted == 0 && clock_monotonic_ms() >= end_ms)
            bench->stopping = true;
        for (int i = 0; i < count; i++)
            transfer_step(bench, events[i].data.ptr, uploads_wanted);
    }
}

static int compare_samples(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static double percentile_ms(const struct bench *bench, double part)
{
    if (bench->sample_count == 0)
        return 0;
    size_t at = (size_t)(part * (double)(bench->sample_count - 1));
    return bench->samples[at] / 1000.0;
}

static void report(struct bench *bench, double took, bool as_json)
{
    double operations = (double)(bench->uploads + bench->downloads) / took;
    double megabytes = (double)(bench->bytes_sent + bench->bytes_received) / took / 1e6;
    qsort(bench->samples, bench->sample_count, sizeof(bench->samples[0]), compare_samples);
    if (as_json) {
        json_t *out =
            json_pack("{s:s, s:I, s:i, s:f, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:s}", "mode",
                      mode_names[bench->mode], "size", (json_int_t)bench->size, "connections",
                      bench->connections, "seconds", took, "uploads", (json_int_t)bench->uploads, "downloads",
                      (json_int_t)bench->downloads, "failures", (json_int_t)bench->failures,
                      "operations_per_second", operations, "megabytes_per_second", megabytes, "p50_ms",
                      percentile_ms(bench, 0.5), "p99_ms", percentile_ms(bench, 0.99), "max_ms",
                      percentile_ms(bench, 1), "first_failure", bench->first_failure);
        if (out == NULL || json_dumpf(out, stdout, JSON_INDENT(2)) != 0)
            die("json");
        json_decref(out);
        printf("\n");
        return;
    }
    printf("%s of %lld bytes over %d connections for %.1f s: %.0f operations/s, %.1f MB/s, p50 %.2f ms, p99 "
           "%.2f ms, "
           "max %.2f ms, %lld failures%s%s\n",
           mode_names[bench->mode], (long long)bench->size, bench->connections, took, operations, megabytes,
           percentile_ms(bench, 0.5), percentile_ms(bench, 0.99), percentile_ms(bench, 1),
           (long long)bench->failures, bench->failures > 0 ? ": " : "", bench->first_failure);
}

static void usage(FILE *out)
{
    fprintf(
        out,
        "Usage: reel-bench [OPTION]... HOST:PORT    (a storage server, ID server or tracker)\n"
        "  --mode MODE                    upload (default), download or mixed; get or range (ID server);\n"
        "                                 saddrs (tracker)\n"
        "  --size BYTES                   of each file (4096)\n"
        "  --connections N                at once (16)\n"
        "  --seconds N                    how long, also 0.5 (10)\n"
        "  --files N                      uploaded first, to download from (100)\n"
        "  --application A, --user U      whose files (tnvideo, bench)\n"
        "  --json                         result as JSON\n");
}

static int64_t number(const char *text, int64_t minimum, const char *name)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || *end != '\0' || end == text || value < minimum) {
        fprintf(stderr, "reel-bench: --%s takes a number of at least %lld, not '%s'\n", name,
                (long long)minimum, text);
        exit(2);
    }
    return value;
}

static _Noreturn void wrong_usage(void)
{
    usage(stderr);
    exit(2);
}

/* Exits where they are wrong. */
static void read_arguments(int argc, char **argv, struct bench *bench, bool *as_json)
{
    static const struct option options[] = {{"mode", required_argument, NULL, 'm'},
                                            {"size", required_argument, NULL, 's'},
                                            {"connections", required_argument, NULL, 'c'},
                                            {"seconds", required_argument, NULL, 't'},
                                            {"files", required_argument, NULL, 'f'},
                                            {"application", required_argument, NULL, 'a'},
                                            {"user", required_argument, NULL, 'u'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'm':
            bench->mode = 0;
            while (bench->mode < ARRAY_SIZE(mode_names) && strcmp(optarg, mode_names[bench->mode]) != 0)
                bench->mode++;
            if (bench->mode == ARRAY_SIZE(mode_names))
                wrong_usage();
            break;
        case 's':
            bench->size = number(optarg, 0, "size");
            break;
        case 'c':
            bench->connections = (int)min_i64(number(optarg, 1, "connections"), 100000);
            break;
        case 't':
            bench->seconds = atof(optarg);
            if (!(bench->seconds > 0 && bench->seconds <= 3600))
                wrong_usage();
            break;
        case 'f':
            bench->files = (int)min_i64(number(optarg, 1, "files"), 10000000);
            break;
        case 'a':
            bench->application = optarg;
            break;
        case 'u':
            bench->user = optarg;
            break;
        case 'j':
            *as_json = true;
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
    if (optind != argc - 1)
        wrong_usage();
    if (!address_parse(argv[optind], 23000, &address, &error) ||
        !address_resolve(&address, &bench->server, 1, &count, &error)) {
        fprintf(stderr, "reel-bench: %s\n", error.text);
        exit(2);
    }
}

/* With a connection for each transfer. */
static struct transfer *begin(struct bench *bench)
{
    uint8_t noise[8];
    bench->content = malloc(CONTENT_SIZE);
    bench->samples = malloc(SAMPLES_MAX * sizeof(bench->samples[0]));
    struct transfer *transfers = calloc((size_t)bench->connections, sizeof(*transfers));
    bench->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (bench->content == NULL || bench->samples == NULL || transfers == NULL || bench->epoll < 0 ||
        getrandom(noise, sizeof(noise), 0) != (ssize_t)sizeof(noise))
        die("start");
    for (size_t i = 0; i < sizeof(noise); i++)
        snprintf(bench->run_id + 2 * i, 3, "%02x", noise[i]);
    for (size_t i = 0; i < CONTENT_SIZE; i++)
        bench->content[i] = (uint8_t)random();
    for (int i = 0; i < bench->connections; i++) {
        int one = 1;
        transfers[i].fd = socket(bench->server.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (transfers[i].fd < 0 ||
            connect(transfers[i].fd, (struct sockaddr *)&bench->server.storage, bench->server.length) != 0)
            die("connect");
        if (setsockopt(transfers[i].fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0 ||
            evutil_make_socket_nonblocking(transfers[i].fd) != 0)
            die("socket options");
    }
    return transfers;
}

int main(int argc, char **argv)
{
    struct bench bench = {.application = "tnvideo",
                          .user = "bench",
                          .size = 4096,
                          .connections = 16,
                          .seconds = 10,
                          .files = 100};
    bool as_json = false;
    read_arguments(argc, argv, &bench, &as_json);
    struct transfer *transfers = begin(&bench);
    if (bench.mode == MODE_DOWNLOAD || bench.mode == MODE_MIXED) {
        run(&bench, transfers, 0, bench.files);
        if (bench.failures > 0) {
            fprintf(stderr, "reel-bench: the files to download could not be uploaded: %s\n",
                    bench.first_failure);
            return 1;
        }
        bench.uploads = bench.bytes_sent = 0;
        bench.sample_count = 0;
    }
    int64_t start_us = clock_monotonic_us();
    run(&bench, transfers, bench.seconds, 0);
    report(&bench, (double)(clock_monotonic_us() - start_us) / 1e6, as_json);
    for (int i = 0; i < bench.connections; i++)
        close(transfers[i].fd);
    close(bench.epoll);
    free(transfers);
    free(bench.samples);
    free(bench.content);
    return bench.failures > 0;
}
