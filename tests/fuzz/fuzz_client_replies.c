/*
 * Fuzzes libreel with servers that answer anything: each reply of the tracker and of the storage server is a piece of the
 * input: a byte that says how it is made, a length of two bytes, bytes. The first byte of the input chooses the call.
 */
#include "client/reel.h"
#include "common/base/log.h"
#include "common/proto/proto.h"
#include "common/proto/proto_storage.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PIECE_MAX 70000
#define INPUT_MAX 20000

/* How a piece becomes a reply; beyond MADE_SUCCESS it goes out as it is, beyond KEPT_OPEN the connection ends after it. */
#define MADE_WHOLE   100 /* a success, filled up to the size that the reply must have */
#define MADE_ADDRESS 140 /* a success; where the client asks for servers, our address */
#define MADE_SUCCESS 160 /* a success of as many bytes */
#define KEPT_OPEN    200

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int listener;
static uint16_t port;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the input that is left */
static const uint8_t *at;
static size_t left;

static bool receive(int fd, uint8_t *to, size_t size)
{
    while (size > 0) {
        ssize_t got = recv(fd, to, size, 0);
        if (got <= 0)
            return false;
        to += got;
        size -= (size_t)got;
    }
    return true;
}

static size_t fixed_size(uint8_t command)
{
    switch (command) {
    case PROTO_STORAGE_STAT:
        return PROTO_STAT_REPLY_SIZE;
    case PROTO_STORAGE_FILESIZE:
        return 8;
    default:
        return 0;
    }
}

/* A reply that says success, with SIZE bytes of the input or what its command wants. */
static size_t make_success(uint8_t *out, uint8_t command, uint8_t mode, size_t size)
{
    size_t fixed = mode < MADE_WHOLE ? fixed_size(command) : 0, total = size;
    uint8_t *body = out + PROTO_HEADER_SIZE;
    memset(out, 0, PROTO_HEADER_SIZE);
    if ((command == PROTO_TRACKER_SADDRS || command == PROTO_TRACKER_LOCATE) && mode < MADE_ADDRESS) {
        memset(body, 0, PROTO_GROUP_SIZE);
        memcpy(body, "g1", 2);
        total =
            PROTO_GROUP_SIZE + (size_t)sprintf((char *)body + PROTO_GROUP_SIZE, "127.0.0.1:%u;", port) + 1;
        size = 0;
    } else if (fixed > 0) {
        size = min_size(size, fixed);
        total = fixed;
        memset(body, 0, total);
    }
    if (size > 0)
        memcpy(body, at, size);
    for (int i = 0; i < 8; i++)
        out[i] = (uint8_t)((uint64_t)total >> (56 - 8 * i));
    out[8] = command >= 70 ? PROTO_REPLY_STORAGE : PROTO_REPLY_TRACKER;
    at += size;
    left -= size;
    return PROTO_HEADER_SIZE + total;
}

/* The next piece as a reply to COMMAND. Returns its size; MODE 255: there is none. */
static size_t next_reply(uint8_t *out, uint8_t command, uint8_t *mode)
{
    size_t size = 0;
    pthread_mutex_lock(&lock);
    *mode = 255;
    if (left >= 3) {
        *mode = at[0];
        size = min_size((size_t)at[1] << 8 | at[2], left - 3);
        at += 3;
        left -= 3;
        if (*mode < MADE_SUCCESS) {
            size = make_success(out, command, *mode, size);
        } else {
            memcpy(out, at, size);
            at += size;
            left -= size;
        }
    }
    pthread_mutex_unlock(&lock);
    return size;
}

static void *serve_connection(void *argument)
{
    int fd = (int)(intptr_t)argument;
    static _Thread_local uint8_t body[PIECE_MAX], out[PIECE_MAX];
    uint8_t head[PROTO_HEADER_SIZE], mode = 0;
    while (mode < KEPT_OPEN && receive(fd, head, sizeof(head))) {
        uint64_t size = 0;
        for (int i = 0; i < 8; i++)
            size = size << 8 | head[i];
        if (size > sizeof(body) || !receive(fd, body, size))
            break;
        size_t reply = next_reply(out, head[8], &mode);
        if (reply > 0 && send(fd, out, reply, MSG_NOSIGNAL) < 0)
            break;
    }
    close(fd);
    return NULL;
}

static void *accept_connections(void *argument)
{
    const struct timeval patience = {2, 0};
    pthread_attr_t attributes;
    pthread_t thread;
    (void)argument;
    if (pthread_attr_init(&attributes) != 0 ||
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED) != 0)
        abort();
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            continue;
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        if (pthread_create(&thread, &attributes, serve_connection, (void *)(intptr_t)fd) != 0)
            close(fd);
    }
    return NULL;
}

static void start_server(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    pthread_t thread;
    signal(SIGPIPE, SIG_IGN);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(listener, 128) != 0 || getsockname(listener, (struct sockaddr *)&address, &length) != 0 ||
        pthread_create(&thread, NULL, accept_connections, NULL) != 0)
        abort();
    port = ntohs(address.sin_port);
}

/* What libreel hands on is text that fits, and a name that is a name. */
static bool check_file(void *argument, const struct reel_file *file)
{
    int *count = argument;
    if (!memchr(file->file, 0, sizeof(file->file)) || !memchr(file->name, 0, sizeof(file->name)) ||
        !memchr(file->content_type, 0, sizeof(file->content_type)) || file->size < 0)
        abort();
    for (const char *c = file->name; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == '/' || *c == 0x7f)
            abort();
    }
    return ++*count < 150;
}

/* Reads every byte, so that the sanitizer does. */
static bool swallow(void *argument, const void *bytes, size_t size)
{
    size_t *total = argument;
    volatile uint8_t sum = 0;
    for (size_t i = 0; i < size; i++)
        sum = (uint8_t)(sum ^ ((const uint8_t *)bytes)[i]);
    *total += size;
    return *total < 1000000;
}

static void call(struct reel *reel, uint8_t what, const uint8_t *data, size_t size)
{
    const struct reel_key key = {.file = "f"};
    bool other = (what & 16) != 0;
    struct reel_error error;
    struct reel_file file;
    char id[REEL_FILE_SIZE], *text = NULL;
    size_t got = 0;
    int64_t length;
    int count = 0;
    switch (what % 7) {
    case 0:
        if (reel_stat(reel, &key, &file, &error))
            check_file(&count, &file);
        break;
    case 1:
        (void)!reel_list(reel, &key, (what & 8) != 0, check_file, &count, &error);
        break;
    case 2:
        text = reel_groups(reel, &error);
        break;
    case 3:
        text = reel_status(reel, &error);
        break;
    case 4:
        (void)!reel_download_callback(reel, &(struct reel_download){.key = key, .verify = other}, swallow,
                                      &got, &error);
        break;
    case 5:
        (void)!reel_upload_memory(reel, &(struct reel_upload){.file = "f", .name = other ? "n" : ""}, data,
                                  size, id, &error);
        break;
    case 6:
        if (other)
            (void)!reel_delete(reel, &key, &error);
        else
            (void)!reel_size(reel, &key, &length, &error);
        text = reel_fsck(reel, &key, REEL_FSCK_STATUS, &error);
        break;
    }
    reel_free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reel_error error;
    char trackers[64];
    if (size < 2 || size > INPUT_MAX)
        return 0;
    if (port == 0)
        start_server();
    snprintf(trackers, sizeof(trackers), "127.0.0.1:%u", port);
    pthread_mutex_lock(&lock);
    at = data + 1;
    left = size - 1;
    pthread_mutex_unlock(&lock);
    struct reel *reel = reel_open(&(struct reel_options){.trackers = trackers,
                                                         .user = "u",
                                                         .connect_timeout_ms = 200,
                                                         .call_timeout_ms = 60,
                                                         .progress_timeout_ms = 60,
                                                         .tries = 2,
                                                         .hedge_ms = -1},
                                  &error);
    if (!reel)
        abort();
    log_set_level(LOG_LEVEL_ERROR);
    call(reel, data[0], data, size);
    reel_close(reel);
    /* A server's thread may still be about to answer: it finds nothing. */
    pthread_mutex_lock(&lock);
    left = 0;
    pthread_mutex_unlock(&lock);
    return 0;
}
