/*
 * bare: the least that a file server can do, as the limit that tests/bench/run compares reel-storage with. A thread per
 * connection; UPLOAD is recv, O_EXCL create and write (with --sync: fsync of the file and of its directory), DOWNLOAD is
 * open, fstat and sendfile. It speaks the packets of reel-storage, so that reel-bench is the client of both; there is no
 * database, no digest, no look at who asks, and a fault of the client ends its connection.
 */
#include "common/proto/proto.h"
#include "common/proto/proto_put.h"
#include "common/proto/proto_storage.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIRECTORIES 256 /* so that threads do not wait for one directory's lock */
#define PIECE       (1 << 20)

static int directories[DIRECTORIES];
static bool sync_files;

struct client {
    int fd;
    uint8_t *piece; /* PIECE bytes */
};

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "bare: %s: %s\n", what, strerror(errno));
    exit(1);
}

static bool receive_all(int fd, void *bytes, size_t size)
{
    return recv(fd, bytes, size, MSG_WAITALL) == (ssize_t)size;
}

static bool send_all(int fd, const void *bytes, size_t size, int flags)
{
    return send(fd, bytes, size, MSG_NOSIGNAL | flags) == (ssize_t)size;
}

static bool reply(int fd, uint8_t status, int64_t length, int flags)
{
    uint8_t header[PROTO_HEADER_SIZE];

    proto_header_pack(header, length, PROTO_REPLY_STORAGE, status);
    return send_all(fd, header, sizeof(header), flags);
}

/* A file lies under its file ID; its bytes decide in which directory. */
static int directory_of(const char *file)
{
    uint32_t hash = 2166136261u;

    for (const char *at = file; *at; at++)
        hash = (hash ^ (uint8_t)*at) * 16777619u;
    return directories[hash % DIRECTORIES];
}

static bool write_all(int fd, const uint8_t *bytes, size_t size)
{
    while (size > 0) {
        ssize_t written = write(fd, bytes, size);

        if (written <= 0)
            return false;
        bytes += written;
        size -= (size_t)written;
    }
    return true;
}

static bool store(struct client *client, int file, int64_t size)
{
    while (size > 0) {
        size_t part = (size_t)min_i64(size, PIECE);
        ssize_t got = recv(client->fd, client->piece, part, size <= PIECE ? MSG_WAITALL : 0);

        if (got <= 0 || !write_all(file, client->piece, (size_t)got))
            return false;
        size -= got;
    }
    return true;
}

static bool serve_upload(struct client *client)
{
    uint8_t body[PROTO_UPLOAD_SIZE];
    struct proto_upload upload;
    struct error error;

    if (!receive_all(client->fd, body, sizeof(body)) ||
        !proto_upload_unpack(body, sizeof(body), &upload, &error))
        return false;
    int directory = directory_of(upload.key.file);
    int file = openat(directory, upload.key.file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (file < 0)
        die(upload.key.file);
    bool fine = store(client, file, upload.size);
    if (sync_files && fsync(file) != 0)
        die("fsync of a file");
    if (close(file) != 0 || (sync_files && fsync(directory) != 0))
        die("fsync of a directory");
    return fine && reply(client->fd, PROTO_STATUS_OK, 0, 0);
}

static bool serve_download(struct client *client)
{
    uint8_t body[PROTO_DOWNLOAD_SIZE];
    struct proto_download download;
    struct error error;
    struct stat status;

    if (!receive_all(client->fd, body, sizeof(body)) ||
        !proto_download_unpack(body, sizeof(body), &download, &error))
        return false;
    int file = openat(directory_of(download.key.file), download.key.file, O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &status) != 0)
        die(download.key.file);
    bool fine = reply(client->fd, PROTO_STATUS_OK, status.st_size, MSG_MORE);
    off_t offset = 0;
    while (fine && offset < status.st_size)
        fine = sendfile(client->fd, file, &offset, (size_t)(status.st_size - offset)) > 0;
    close(file);
    return fine;
}

static void *client_main(void *argument)
{
    struct client *client = argument;
    uint8_t header_bytes[PROTO_HEADER_SIZE];
    struct proto_header header;
    struct error error;
    bool fine = true;

    while (fine && receive_all(client->fd, header_bytes, sizeof(header_bytes)) &&
           proto_header_unpack(header_bytes, &header, &error)) {
        if (header.command == PROTO_STORAGE_UPLOAD)
            fine = serve_upload(client);
        else if (header.command == PROTO_STORAGE_DOWNLOAD)
            fine = serve_download(client);
        else
            fine = false;
    }
    close(client->fd);
    free(client->piece);
    free(client);
    return NULL;
}

static void start_client(int fd)
{
    struct client *client = malloc(sizeof(*client));
    pthread_attr_t attributes;
    pthread_t thread;
    int one = 1;

    if (!client || !(client->piece = malloc(PIECE)))
        die("memory");
    client->fd = fd;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0)
        die("TCP_NODELAY");
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, 256 * 1024);
    errno = pthread_create(&thread, &attributes, client_main, client);
    if (errno != 0)
        die("a thread");
    pthread_attr_destroy(&attributes);
}

static void make_directories(const char *top)
{
    char name[4096];

    for (int i = 0; i < DIRECTORIES; i++) {
        snprintf(name, sizeof(name), "%s/%03d", top, i);
        if (mkdir(name, 0750) != 0 && errno != EEXIST)
            die(name);
        directories[i] = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (directories[i] < 0)
            die(name);
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;

    sync_files = argc > 1 && strcmp(argv[1], "--sync") == 0;
    if (argc - sync_files != 3) {
        fprintf(stderr,
                "Usage: bare [--sync] PORT DIRECTORY    (on 127.0.0.1, until it is ended by a signal)\n");
        return 2;
    }
    address.sin_port = htons((uint16_t)atoi(argv[argc - 2]));
    make_directories(argv[argc - 1]);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
        bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(listener, 1024) != 0)
        die("cannot listen");
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

        if (fd >= 0)
            start_client(fd);
        else if (errno != EINTR && errno != ECONNABORTED)
            die("accept");
    }
}
