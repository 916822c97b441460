/*
 * transport: content through pairs of sockets, plain and under TLS: that what is sent comes, however little the sockets take,
 * that every end is distinguished, and that no error stays in OpenSSL's queue.
 */
#include "common/base/log.h"
#include "common/transport/tls_internal.h"
#include "common/transport/transport.h"
#include "tests/unit/library/certificates.h"
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#define SIZE ((size_t)3 * 1024 * 1024 + 17)

struct world {
    char *directory;
    struct tls_server *server;
    struct tls_client *client;
    struct transport near, far; /* the server's end, the client's */
};

static char *file_names[4];
static struct config_strings no_files;

static struct config_strings files_of(const struct world *world, const char *label, const char *suffix,
                                      int slot)
{
    free(file_names[slot]);
    file_names[slot] = strdup(certificate_path(world->directory, label, suffix));
    return (struct config_strings){&file_names[slot], 1};
}

static uint8_t pattern(size_t offset)
{
    return (uint8_t)((uint64_t)offset * 2654435761u >> 13);
}

static uint8_t *make_content(size_t size)
{
    uint8_t *content = malloc(size);

    assert_non_null(content);
    for (size_t i = 0; i < size; i++)
        content[i] = pattern(i);
    return content;
}

static void make_server(struct world *world, const char *label, enum tls_profile profile)
{
    struct config_strings certificates = files_of(world, label, "pem", 0),
                          keys = files_of(world, label, "key", 1);
    const struct tls_options options = {
        .profile = profile, .certificates = &certificates, .keys = &keys, .ca = ""};
    struct error error;

    world->server = tls_server_create(&options, &error);
    assert_non_null(world->server);
}

static void make_client(struct world *world, enum tls_profile profile)
{
    const char *ca = certificate_path(world->directory, "ca", "pem");
    const struct tls_options options = {
        .profile = profile, .certificates = &no_files, .keys = &no_files, .ca = ca};
    struct error error;

    world->client = tls_client_create(&options, &error);
    assert_non_null(world->client);
}

static int setup(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    const struct certificate_spec authority = {.name = "Test CA", .authority = true};
    const struct certificate_spec good = {.addresses = "IP:127.0.0.1", .issuer = "ca"};

    assert_non_null(world);
    tls_register_metrics();
    world->directory = certificates_directory();
    world->near.fd = world->far.fd = -1;
    certificate_make(world->directory, "ca", &authority);
    certificate_make(world->directory, "good", &good);
    *state = world;
    return 0;
}

static void drop_pair(struct world *world)
{
    if (world->near.fd >= 0)
        transport_close(&world->near);
    if (world->far.fd >= 0)
        transport_close(&world->far);
}

static int teardown(void **state)
{
    struct world *world = *state;

    drop_pair(world);
    tls_server_destroy(world->server);
    tls_client_destroy(world->client);
    certificates_remove(world->directory);
    assert_int_equal(ERR_peek_error(), 0);
    for (size_t i = 0; i < ARRAY_SIZE(file_names); i++) {
        free(file_names[i]);
        file_names[i] = NULL;
    }
    free(world);
    return 0;
}

static void session_pair(struct world *world, const int pair[2], const char *host)
{
    world->near = (struct transport){pair[0], tls_server_session(world->server, pair[0])};
    world->far = (struct transport){pair[1], tls_client_session(world->client, pair[1], host)};
    assert_non_null(world->near.tls);
    assert_non_null(world->far.tls);
}

static void make_pair(struct world *world, const char *host)
{
    int pair[2], small = 1;

    drop_pair(world);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    /* As small as the kernel allows, so that everything comes in pieces. */
    for (int i = 0; i < 2; i++)
        assert_int_equal(setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    session_pair(world, pair, host);
}

/* Both ends until both are through or one has failed. */
static bool shake(struct world *world, struct error *near, struct error *far)
{
    near->text[0] = far->text[0] = '\0';
    for (int i = 0; i < 1000; i++) {
        enum tls_progress here = tls_handshake(world->near.tls, near),
                          there = tls_handshake(world->far.tls, far);

        assert_int_equal(ERR_peek_error(), 0);
        if (here == TLS_READY && there == TLS_READY)
            return true;
        if (here == TLS_FAILED || there == TLS_FAILED) {
            if (here != TLS_FAILED)
                (void)tls_handshake(world->near.tls, near);
            if (there != TLS_FAILED)
                (void)tls_handshake(world->far.tls, far);
            return false;
        }
    }
    fail_msg("the handshake does not end");
    return false;
}

static void connect_pair(struct world *world, enum tls_profile profile)
{
    struct error near, far;

    make_server(world, "good", profile);
    make_client(world, profile);
    make_pair(world, "localhost");
    if (!shake(world, &near, &far))
        fail_msg("%s / %s", near.text, far.text);
}

/* Reads what is there; 0 where nothing is. */
static size_t take(struct transport from, uint8_t *to, size_t size)
{
    ssize_t got = transport_recv(from, to, size, 0);

    if (got < 0)
        assert_int_equal(errno, EAGAIN);
    return (size_t)max_i64(got, 0);
}

/* ---- content ---- */

static void what_is_sent_comes(void **state)
{
    struct world *world = *state;
    uint8_t *content = make_content(SIZE), *got = malloc(SIZE);
    size_t sent = 0, received = 0, blocked = 0;

    assert_non_null(got);
    connect_pair(world, TLS_FOR_HTTP);
    while (received < SIZE) {
        /* Three parts, as heads and bodies leave together. */
        size_t left = SIZE - sent, first = min_size(left, 100), second = min_size(left - first, 70000);
        struct iovec parts[3] = {{content + sent, first},
                                 {content + sent + first, second},
                                 {content + sent + first + second, left - first - second}};
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = 3};
        ssize_t now = left > 0 ? transport_sendmsg(world->near, &message, MSG_NOSIGNAL) : 0;

        if (now < 0)
            assert_int_equal(errno, EAGAIN);
        blocked += now < 0;
        sent += (size_t)max_i64(now, 0);
        received += take(world->far, got + received, min_size(SIZE - received, 9000));
        assert_int_equal(ERR_peek_error(), 0);
    }
    assert_memory_equal(content, got, SIZE);
    assert_int_equal(sent, SIZE);
    assert_true(blocked > 0);
    free(content);
    free(got);
}

static void a_file_comes_whole_and_only_what_left_is_counted(void **state)
{
    struct world *world = *state;
    char path[] = "/tmp/test_transport.XXXXXX";
    int file = mkstemp(path);
    uint8_t *content = make_content(SIZE), *got = malloc(SIZE);
    size_t received = 0;
    off_t offset = 5;

    assert_true(file >= 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(write(file, content, SIZE), SIZE);
    connect_pair(world, TLS_FOR_HTTP);
    while (received < SIZE - 5) {
        off_t before = offset;
        /* One byte at times: less than what was encrypted ahead. */
        size_t offer = received % 3 == 0 ? 1 : SIZE;
        ssize_t now = transport_sendfile(world->near, file, &offset, min_size(offer, SIZE - (size_t)offset));

        if (now < 0)
            assert_int_equal(errno, EAGAIN);
        assert_int_equal(offset - before, max_i64(now, 0));
        received += take(world->far, got + received, SIZE - 5 - received);
        assert_true((size_t)offset <= 5 + received + 300000); /* what was reported is under way */
    }
    assert_memory_equal(content + 5, got, SIZE - 5);
    assert_int_equal(transport_sendfile(world->near, file, &offset, 10), 0); /* the end of the file */
    close(file);
    free(content);
    free(got);
}

static void what_a_full_socket_left_is_sent_with_the_next_call(void **state)
{
    struct world *world = *state;
    uint8_t *content = make_content(SIZE), *got = malloc(SIZE);
    size_t sent = 0, received = 0, now;
    ssize_t result;

    assert_non_null(got);
    connect_pair(world, TLS_FOR_HTTP);
    while ((result = transport_send(world->near, content + sent, SIZE - sent, 0)) > 0)
        sent += (size_t)result;
    assert_int_equal(errno, EAGAIN);
    assert_true(world->near.tls->held != NULL);
    assert_true(world->near.tls->held_size <= TLS_BATCH_SIZE + 4 * 512);
    while ((now = take(world->far, got + received, SIZE - received)) > 0)
        received += now;
    assert_true(received >= sent);
    /* Offered in smaller pieces than what is encrypted already. */
    for (int i = 0; i < 100; i++) {
        while ((result = transport_send(world->near, content + sent, 7, 0)) < 0) {
            assert_int_equal(errno, EAGAIN);
            received += take(world->far, got + received, SIZE - received);
        }
        assert_int_equal(result, 7);
        sent += 7;
    }
    assert_true(world->near.tls->held == NULL);
    while ((now = take(world->far, got + received, SIZE - received)) > 0)
        received += now;
    assert_memory_equal(content, got, received);
    assert_int_equal(received, sent + world->near.tls->ahead);
    free(content);
    free(got);
}

static void what_was_decrypted_and_not_read_is_known(void **state)
{
    struct world *world = *state;
    uint8_t bytes[100], got[100];

    memset(bytes, 'x', sizeof(bytes));
    connect_pair(world, TLS_FOR_HTTP);
    assert_int_equal(transport_send(world->near, bytes, 100, 0), 100);
    assert_int_equal(transport_recv(world->far, got, 10, MSG_PEEK), 10);
    assert_int_equal(transport_recv(world->far, got, 40, 0), 40);
    assert_true(transport_pending(world->far));
    assert_int_equal(transport_recv(world->far, NULL, 50, MSG_TRUNC), 50);
    assert_int_equal(transport_recv(world->far, got, 40, 0), 10);
    assert_false(transport_pending(world->far));
    assert_int_equal(transport_recv(world->far, got, 40, 0), -1);
    assert_int_equal(errno, EAGAIN);
}

/* What is less than there was room for stands for an empty socket, of which its events come. */
static void of_several_records_all_come_that_are_there(void **state)
{
    struct world *world = *state;
    uint8_t *content = make_content(60000), *got = malloc(100000);
    struct error near, far;
    int pair[2], room = 400000;

    assert_non_null(got);
    make_server(world, "good", TLS_FOR_HTTP);
    make_client(world, TLS_FOR_HTTP);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)), 0);
    session_pair(world, pair, "localhost");
    assert_true(shake(world, &near, &far));
    assert_int_equal(transport_send(world->near, content, 60000, 0), 60000);
    assert_int_equal(transport_recv(world->far, got, 100000, 0), 60000);
    assert_memory_equal(got, content, 60000);
    assert_false(transport_pending(world->far));
    free(content);
    free(got);
}

/* ---- handshakes ---- */

static void tickets_leave_together(void **state)
{
    struct world *world = *state;
    struct error near, far;
    uint8_t bytes[4096];
    int pair[2];

    make_server(world, "good", TLS_FOR_HTTP);
    make_client(world, TLS_FOR_HTTP);
    /* Each message is what one call has sent. */
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    session_pair(world, pair, "localhost");
    assert_true(shake(world, &near, &far));
    ssize_t got = recv(pair[1], bytes, sizeof(bytes), 0);
    assert_true(got > 5);
    size_t first = 5 + ((size_t)bytes[3] << 8 | bytes[4]); /* RFC 8446, section 5.1: the length of a record */
    assert_true(first + 5 < (size_t)got);
    assert_int_equal(first + 5 + ((size_t)bytes[first + 3] << 8 | bytes[first + 4]), got);
    assert_int_equal(recv(pair[1], bytes, sizeof(bytes), 0), -1);
    assert_int_equal(errno, EAGAIN);
}

static void who_takes_no_tickets_is_heard(void **state)
{
    struct world *world = *state;
    struct error near, far;
    char got[16];

    make_server(world, "good", TLS_FOR_HTTP);
    make_client(world, TLS_FOR_HTTP);
    make_pair(world, "localhost");
    assert_int_equal(tls_handshake(world->far.tls, &far), TLS_WANTS_READ);
    assert_int_equal(tls_handshake(world->near.tls, &near), TLS_WANTS_READ);
    assert_int_equal(tls_handshake(world->far.tls, &far), TLS_READY);
    assert_int_equal(transport_send(world->far, "ask", 3, 0), 3);
    assert_int_equal(shutdown(world->far.fd, SHUT_RD), 0);
    assert_int_equal(tls_handshake(world->near.tls, &near), TLS_READY);
    assert_true(transport_pending(world->near)); /* it came with the end of the handshake */
    assert_int_equal(transport_recv(world->near, got, sizeof(got), 0), 3);
}

/* PEM files one behind the other. */
static void append_file(FILE *to, const char *path)
{
    FILE *from = fopen(path, "re");
    char bytes[4096];
    size_t size;

    assert_non_null(from);
    while ((size = fread(bytes, 1, sizeof(bytes), from)) > 0)
        assert_int_equal(fwrite(bytes, 1, size, to), size);
    (void)fclose(from);
}

/* DIRECTORY/chain: the certificate of "good" with COUNT others behind it. */
static void make_chain(struct world *world, int count)
{
    FILE *chain = fopen(certificate_path(world->directory, "chain", "pem"), "we");
    FILE *key = fopen(certificate_path(world->directory, "chain", "key"), "we");

    assert_non_null(chain);
    assert_non_null(key);
    append_file(chain, certificate_path(world->directory, "good", "pem"));
    append_file(key, certificate_path(world->directory, "good", "key"));
    (void)fclose(key);
    for (int i = 0; i < count; i++)
        append_file(chain, certificate_path(world->directory, "ca", "pem"));
    (void)fclose(chain);
}

static void a_chain_that_no_socket_takes_at_once_comes(void **state)
{
    struct world *world = *state;
    static const int counts[] = {40, 200}; /* more than the socket takes, and than the buffer of a thread */
    struct error near, far;

    make_client(world, TLS_FOR_HTTP);
    for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
        make_chain(world, counts[i]);
        tls_server_destroy(world->server);
        make_server(world, "chain", TLS_FOR_HTTP);
        make_pair(world, "localhost");
        assert_int_equal(tls_handshake(world->far.tls, &far), TLS_WANTS_READ);
        assert_int_equal(tls_handshake(world->near.tls, &near), TLS_WANTS_WRITE);
        assert_true(tls_wants_write(world->near.tls));
        if (!shake(world, &near, &far))
            fail_msg("%s / %s", near.text, far.text);
        assert_null(world->near.tls->held);
    }
}

static void *make_session(void *argument)
{
    struct world *world = argument;

    world->near.tls = tls_server_session(world->server, world->near.fd);
    return NULL;
}

/* As make_pair(), but that another thread begins the server's end. */
static void make_pair_elsewhere(struct world *world, const char *host)
{
    pthread_t thread;

    make_pair(world, host);
    tls_free(world->near.tls);
    assert_int_equal(pthread_create(&thread, NULL, make_session, world), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_non_null(world->near.tls);
}

/* ---- ends ---- */

static void a_clean_end_is_an_end_and_the_other_half_goes_on(void **state)
{
    struct world *world = *state;
    char got[16];

    connect_pair(world, TLS_FOR_HTTP);
    assert_int_equal(transport_send(world->far, "ask", 3, 0), 3);
    assert_int_equal(transport_shutdown(world->far), 0);
    assert_int_equal(transport_recv(world->near, got, sizeof(got), 0), 3);
    assert_true(transport_pending(world->near)); /* the end, that came with it */
    assert_int_equal(transport_recv(world->near, got, sizeof(got), 0), 0);
    assert_int_equal(transport_recv(world->near, got, sizeof(got), 0), 0);
    assert_int_equal(transport_send(world->near, "answer", 6, 0), 6);
    assert_int_equal(transport_recv(world->far, got, sizeof(got), 0), 6);
    transport_close(&world->near);
    assert_int_equal(transport_recv(world->far, got, sizeof(got), 0), 0);
}

static void a_cut_connection_is_no_end(void **state)
{
    struct world *world = *state;
    char got[16];

    connect_pair(world, TLS_FOR_HTTP);
    assert_int_equal(transport_send(world->far, "ask", 3, 0), 3);
    assert_int_equal(shutdown(world->far.fd, SHUT_RDWR), 0);
    assert_int_equal(transport_recv(world->near, got, sizeof(got), 0), 3);
    assert_int_equal(transport_recv(world->near, got, sizeof(got), 0), -1);
    assert_int_equal(errno, ECONNRESET);
    assert_int_equal(transport_recv(world->near, got, sizeof(got), 0), -1);
    assert_int_equal(errno, ECONNRESET);
    assert_int_equal(transport_send(world->near, "x", 1, 0), -1);
    assert_int_equal(errno, ECONNRESET);
}

static void a_record_that_was_changed_breaks_the_connection(void **state)
{
    struct world *world = *state;
    uint8_t record[200];
    char got[16];
    ssize_t size;

    connect_pair(world, TLS_FOR_HTTP);
    while (take(world->far, (uint8_t *)got, sizeof(got)) > 0) /* tickets */
        ;
    assert_int_equal(transport_send(world->near, "content", 7, 0), 7);
    size = recv(world->far.fd, record, sizeof(record), 0);
    assert_true(size > 20);
    record[size - 20] ^= 1;
    assert_int_equal(send(world->near.fd, record, (size_t)size, 0), size);
    assert_int_equal(transport_recv(world->far, got, sizeof(got), 0), -1);
    assert_int_equal(errno, ECONNRESET);
    assert_int_equal(ERR_peek_error(), 0);
}

static void keys_are_renewed_under_way(void **state)
{
    struct world *world = *state;
    char got[16];

    connect_pair(world, TLS_FOR_HTTP);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(SSL_key_update(world->far.tls->ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        world->near.tls->sent = UINT64_C(1) << 40;
        assert_int_equal(transport_send(world->far, "there", 5, 0), 5);
        assert_int_equal(transport_recv(world->near, got, sizeof(got), 0), 5);
        assert_int_equal(transport_send(world->near, "and back", 8, 0), 8);
        assert_true(world->near.tls->sent < 100);
        assert_int_equal(transport_recv(world->far, got, sizeof(got), 0), 8);
        assert_memory_equal(got, "and back", 8);
    }
}

static void nothing_is_renegotiated(void **state)
{
    struct world *world = *state;
    struct error near, far;
    char got[16];

    make_server(world, "good", TLS_FOR_HTTP);
    make_client(world, TLS_FOR_HTTP);
    make_pair(world, "localhost");
    assert_int_equal(SSL_set_max_proto_version(world->far.tls->ssl, TLS1_2_VERSION), 1);
    (void)SSL_clear_options(world->far.tls->ssl, SSL_OP_NO_RENEGOTIATION);
    assert_true(shake(world, &near, &far));
    assert_string_equal(SSL_get_version(world->near.tls->ssl), "TLSv1.2");
    assert_int_equal(SSL_renegotiate(world->far.tls->ssl), 1);
    (void)SSL_do_handshake(world->far.tls->ssl);
    ERR_clear_error();
    (void)transport_recv(world->near, got, sizeof(got), 0);
    assert_int_equal(SSL_num_renegotiations(world->near.tls->ssl), 0);
    (void)SSL_do_handshake(world->far.tls->ssl);
    assert_int_not_equal(ERR_peek_error(), 0); /* no_renegotiation */
    ERR_clear_error();
    assert_int_equal(SSL_get_current_compression(world->near.tls->ssl) == NULL, 1);
}

/* ---- who it is ---- */

static void both_ends_have_one_binding(void **state)
{
    struct world *world = *state;
    uint8_t here[TLS_BINDING_SIZE], there[TLS_BINDING_SIZE], other[TLS_BINDING_SIZE];
    struct error near, far;

    connect_pair(world, TLS_FOR_PACKETS);
    assert_true(tls_binding(world->near.tls, here) && tls_binding(world->far.tls, there));
    assert_memory_equal(here, there, sizeof(here));
    make_pair(world, "localhost");
    assert_false(tls_binding(world->near.tls, other)); /* not before the handshake */
    assert_true(shake(world, &near, &far));
    assert_true(tls_binding(world->near.tls, other));
    assert_memory_not_equal(here, other, sizeof(here));
}

/* What a client says about the server's certificate LABEL when it calls HOST; "" where it is content. */
static void judge(struct world *world, const char *label, const char *host, struct error *near,
                  struct error *far)
{
    tls_server_destroy(world->server);
    tls_client_destroy(world->client);
    make_server(world, label, TLS_FOR_PACKETS);
    make_client(world, TLS_FOR_PACKETS);
    make_pair(world, host);
    (void)shake(world, near, far);
    drop_pair(world);
}

static void a_bad_certificate_is_refused_with_the_reason(void **state)
{
    struct world *world = *state;
    const struct certificate_spec old = {.issuer = "ca", .from_days = -20, .until_days = -3};
    const struct certificate_spec early = {.issuer = "ca", .from_days = 2, .until_days = 30};
    const struct certificate_spec own = {.name = "localhost"};
    struct error near, far;

    certificate_make(world->directory, "old", &old);
    certificate_make(world->directory, "early", &early);
    certificate_make(world->directory, "own", &own);
    judge(world, "good", "localhost", &near, &far);
    assert_string_equal(far.text, "");
    judge(world, "good", "127.0.0.1", &near, &far);
    assert_string_equal(far.text, "");
    judge(world, "good", "other.example", &near, &far);
    assert_non_null(strstr(far.text, "hostname mismatch"));
    judge(world, "good", "127.0.0.2", &near, &far);
    assert_non_null(strstr(far.text, "IP address mismatch"));
    judge(world, "old", "localhost", &near, &far);
    assert_non_null(strstr(far.text, "certificate has expired"));
    assert_non_null(strstr(near.text, "our certificate has expired"));
    judge(world, "early", "localhost", &near, &far);
    assert_non_null(strstr(far.text, "not yet valid"));
    judge(world, "own", "localhost", &near, &far);
    assert_non_null(strstr(far.text, "self-signed"));
    assert_non_null(strstr(near.text, "does not trust the issuer of our certificate"));
}

static void a_client_shows_its_certificate_where_it_is_asked_for(void **state)
{
    struct world *world = *state;
    const struct certificate_spec spec = {.name = "storage.example", .issuer = "ca"};
    struct config_strings certificates = files_of(world, "good", "pem", 0),
                          keys = files_of(world, "good", "key", 1);
    char *ca = strdup(certificate_path(world->directory, "ca", "pem")), name[TLS_NAME_SIZE];
    struct tls_options options = {.profile = TLS_FOR_PACKETS,
                                  .certificates = &certificates,
                                  .keys = &keys,
                                  .ca = ca,
                                  .verify_peer = true};
    struct error near, far, error;
    char byte;

    certificate_make(world->directory, "member", &spec);
    world->server = tls_server_create(&options, &error);
    assert_non_null(world->server);
    make_client(world, TLS_FOR_PACKETS);
    make_pair(world, "localhost");
    (void)shake(world, &near, &far);
    assert_non_null(strstr(near.text, "presented no certificate"));
    assert_int_equal(transport_recv(world->far, &byte, 1, 0), -1);
    tls_client_destroy(world->client);
    drop_pair(world);

    struct config_strings own = files_of(world, "member", "pem", 2),
                          own_key = files_of(world, "member", "key", 3);
    options.certificates = &own;
    options.keys = &own_key;
    world->client = tls_client_create(&options, &error);
    assert_non_null(world->client);
    make_pair(world, "localhost");
    assert_true(shake(world, &near, &far));
    tls_peer_name(world->near.tls, name);
    assert_string_equal(name, "storage.example");
    tls_peer_name(world->far.tls, name);
    assert_string_equal(name, "localhost");
    free(ca);
}

/* ---- pre-shared keys ---- */

static bool find_key(void *argument, const char *identity, uint8_t key[TLS_KEY_SIZE])
{
    (void)argument;
    memset(key, 7, TLS_KEY_SIZE);
    return strcmp(identity, "reel-1 st-1") == 0;
}

struct own_key {
    const char *identity;
    uint8_t byte;
};

static bool own_key(void *argument, char identity[TLS_IDENTITY_SIZE], uint8_t key[TLS_KEY_SIZE])
{
    const struct own_key *own = argument;

    (void)snprintf(identity, TLS_IDENTITY_SIZE, "%s", own->identity);
    memset(key, own->byte, TLS_KEY_SIZE);
    return true;
}

static void a_shared_key_does_without_certificates(void **state)
{
    struct world *world = *state;
    static struct own_key own;
    const struct tls_keys server_keys = {.find = find_key}, client_keys = {.own = own_key, .argument = &own};
    struct tls_options options = {.profile = TLS_FOR_PACKETS,
                                  .certificates = &no_files,
                                  .keys = &no_files,
                                  .ca = "",
                                  .psk = &server_keys};
    static const struct {
        struct own_key own;
        bool good;
    } cases[] = {{{"reel-1 st-1", 7}, true},
                 {{"reel-1 st-1", 8}, false},
                 {{"reel-1 st-2", 7}, false},
                 {{"", 7}, false}};
    struct error near, far, error;
    uint8_t got[5];

    world->server = tls_server_create(&options, &error);
    assert_non_null(world->server);
    options.psk = &client_keys;
    world->client = tls_client_create(&options, &error);
    assert_non_null(world->client);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        own = cases[i].own;
        /* A name that is asked for (SNI) finds no certificate, and needs none. */
        make_pair(world, i % 2 == 0 ? "localhost" : "127.0.0.1");
        assert_int_equal(shake(world, &near, &far), cases[i].good);
        if (!cases[i].good) {
            assert_string_not_equal(near.text, "");
            continue;
        }
        assert_string_equal(tls_psk_identity(world->near.tls), "reel-1 st-1");
        assert_string_equal(SSL_get_version(world->near.tls->ssl), "TLSv1.3");
        assert_int_equal(transport_send(world->far, "bytes", 5, 0), 5);
        assert_int_equal(transport_recv(world->near, got, 5, 0), 5);
    }
}

/* ---- many certificates, other ones, tickets ---- */

static void common_name_shown(struct world *world, const char *host, const char *expected)
{
    X509 *certificate = SSL_get1_peer_certificate(world->far.tls->ssl);

    assert_non_null(certificate);
    if (X509_check_host(certificate, expected, 0, 0, NULL) != 1)
        fail_msg("for %s another certificate than that of %s", host, expected);
    X509_free(certificate);
}

static void the_name_chooses_the_certificate(void **state)
{
    struct world *world = *state;
    static const struct {
        const char *host, *name;
    } cases[] = {{"localhost", "localhost"},
                 {"a.example", "a.example"},
                 {"x.b.example", "y.b.example"},
                 {"A.EXAMPLE", "a.example"},
                 {"b.example", "localhost"}};
    const struct certificate_spec a = {.name = "a.example", .issuer = "ca"};
    const struct certificate_spec b = {.name = "*.b.example", .issuer = "ca"};
    const char *labels[] = {"good", "a", "b"};
    char *pem[3], *key[3];
    struct config_strings certificates = {pem, 3}, keys = {key, 3};
    const struct tls_options options = {
        .profile = TLS_FOR_HTTP, .certificates = &certificates, .keys = &keys, .ca = ""};
    struct error near, far, error;

    certificate_make(world->directory, "a", &a);
    certificate_make(world->directory, "b", &b);
    for (int i = 0; i < 3; i++) {
        pem[i] = strdup(certificate_path(world->directory, labels[i], "pem"));
        key[i] = strdup(certificate_path(world->directory, labels[i], "key"));
    }
    world->server = tls_server_create(&options, &error);
    assert_non_null(world->server);
    make_client(world, TLS_FOR_HTTP);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        make_pair(world, cases[i].host);
        bool good = shake(world, &near, &far);
        assert_int_equal(good, strcmp(cases[i].host, "b.example") != 0);
        if (good)
            common_name_shown(world, cases[i].host, cases[i].name);
    }
    for (int i = 0; i < 3; i++) {
        free(pem[i]);
        free(key[i]);
    }
}

static bool reload_server(struct world *world, const struct tls_options *options, struct error *error)
{
    struct tls_fresh *fresh = tls_server_read(world->server, options, error);

    tls_fresh_use(fresh);
    return fresh;
}

static void a_reload_takes_good_files_and_refuses_bad_ones(void **state)
{
    struct world *world = *state;
    const struct certificate_spec next = {.issuer = "ca", .until_days = 90, .from_days = -1};
    struct config_strings certificates, keys;
    struct tls_options options = {
        .profile = TLS_FOR_HTTP, .certificates = &certificates, .keys = &keys, .ca = ""};
    struct error near, far, error;
    int64_t expiry;
    uint8_t got[4];

    connect_pair(world, TLS_FOR_HTTP);
    expiry = tls_server_expiry(world->server);
    certificate_make(world->directory, "next", &next);

    certificates = files_of(world, "next", "pem", 2);
    keys = files_of(world, "good", "key", 3);
    assert_false(reload_server(world, &options, &error));
    assert_non_null(strstr(error.text, "good.key: the private key does not match the certificate"));
    keys = files_of(world, "nothing", "key", 3);
    assert_false(reload_server(world, &options, &error));
    assert_non_null(strstr(error.text, "nothing.key: No such file"));
    certificates = files_of(world, "next", "key", 2);
    keys = files_of(world, "next", "key", 3);
    assert_false(reload_server(world, &options, &error));
    assert_non_null(strstr(error.text, "next.key: no PEM certificates"));
    assert_int_equal(tls_server_expiry(world->server), expiry);

    certificates = files_of(world, "next", "pem", 2);
    struct tls_fresh *unused = tls_server_read(world->server, &options, &error);
    assert_non_null(unused);
    tls_fresh_drop(unused);
    assert_int_equal(tls_server_expiry(world->server), expiry);
    assert_true(reload_server(world, &options, &error));
    assert_true(tls_server_expiry(world->server) > expiry + 40 * 86400);
    /* Who was connected before goes on. */
    assert_int_equal(transport_send(world->near, "more", 4, 0), 4);
    assert_int_equal(transport_recv(world->far, got, 4, 0), 4);
    make_pair(world, "localhost");
    assert_true(shake(world, &near, &far));
}

/* One connection with SESSION (NULL: a new one); the session that it gives. */
static SSL_SESSION *visit(struct world *world, SSL_SESSION *session, bool resumes, int version)
{
    struct error near, far;
    uint8_t byte;

    make_pair(world, "localhost");
    assert_int_equal(SSL_set_max_proto_version(world->far.tls->ssl, version), 1);
    if (session)
        assert_int_equal(SSL_set_session(world->far.tls->ssl, session), 1);
    assert_true(shake(world, &near, &far));
    assert_int_equal(SSL_session_reused(world->near.tls->ssl), resumes);
    assert_int_equal(SSL_session_reused(world->far.tls->ssl), resumes);
    SSL_SESSION_free(session);
    (void)transport_recv(world->far, &byte, 1, 0); /* tickets of 1.3 come behind the handshake */
    return SSL_get1_session(world->far.tls->ssl);
}

static void reload(struct world *world)
{
    struct config_strings certificates = files_of(world, "good", "pem", 0),
                          keys = files_of(world, "good", "key", 1);
    const struct tls_options options = {
        .profile = TLS_FOR_HTTP, .certificates = &certificates, .keys = &keys, .ca = ""};
    struct error error;

    assert_true(reload_server(world, &options, &error));
}

static void sessions_are_resumed_until_their_key_is_gone(void **state)
{
    struct world *world = *state;
    const int versions[] = {TLS1_3_VERSION, TLS1_2_VERSION};

    make_server(world, "good", TLS_FOR_HTTP);
    make_client(world, TLS_FOR_HTTP);
    for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
        SSL_SESSION *session = visit(world, NULL, false, versions[i]);

        session = visit(world, session, true, versions[i]);
        session = visit(world, session, true, versions[i]);
        /* Each reload makes a new key, as each hour does; three are kept. */
        for (int keys = 0; keys < 2; keys++)
            reload(world);
        session = visit(world, session, true, versions[i]);
        for (int keys = 0; keys < 3; keys++)
            reload(world);
        session = visit(world, session, false, versions[i]);
        SSL_SESSION_free(session);
    }
}

/* With OpenSSL's tables to themselves threads have the certificates of all names, and open each other's tickets. */
static void threads_serve_alike(void **state)
{
    struct world *world = *state;
    const struct certificate_spec other = {.name = "a.example", .issuer = "ca"};
    const char *labels[] = {"good", "a"};
    char *pem[2], *key[2];
    struct config_strings certificates = {pem, 2}, keys = {key, 2};
    const struct tls_options options = {
        .profile = TLS_FOR_HTTP, .certificates = &certificates, .keys = &keys, .ca = "", .threads = 2};
    struct error near, far, error;
    uint8_t byte;

    certificate_make(world->directory, "a", &other);
    for (int i = 0; i < 2; i++) {
        pem[i] = strdup(certificate_path(world->directory, labels[i], "pem"));
        key[i] = strdup(certificate_path(world->directory, labels[i], "key"));
    }
    world->server = tls_server_create(&options, &error);
    assert_non_null(world->server);
    make_client(world, TLS_FOR_HTTP);
    make_pair(world, "a.example");
    const size_t here = world->near.tls->library;
    assert_true(shake(world, &near, &far));
    common_name_shown(world, "a.example", "a.example");

    make_pair_elsewhere(world, "a.example");
    assert_int_not_equal(world->near.tls->library, here);
    assert_true(shake(world, &near, &far));
    common_name_shown(world, "a.example", "a.example");
    (void)transport_recv(world->far, &byte, 1, 0);
    SSL_SESSION *session = SSL_get1_session(world->far.tls->ssl);
    make_pair(world, "a.example");
    assert_int_equal(world->near.tls->library, here);
    assert_int_equal(SSL_set_session(world->far.tls->ssl, session), 1);
    assert_true(shake(world, &near, &far));
    assert_true(SSL_session_reused(world->near.tls->ssl));
    SSL_SESSION_free(session);
    for (int i = 0; i < 2; i++) {
        free(pem[i]);
        free(key[i]);
    }
}

static void options_that_cannot_work_are_named(void **state)
{
    struct world *world = *state;
    struct config_strings one = files_of(world, "good", "pem", 0), two = {file_names, 2};
    struct error error;
    struct tls_options options = {
        .profile = TLS_FOR_HTTP, .certificates = &no_files, .keys = &no_files, .ca = ""};

    assert_null(tls_server_create(&options, &error));
    assert_non_null(strstr(error.text, "tls.cert is empty"));
    options.certificates = &one;
    options.keys = &two;
    assert_null(tls_server_create(&options, &error));
    assert_non_null(strstr(error.text, "tls.key names 2 files and tls.cert 1"));
    options.keys = &no_files;
    assert_null(tls_server_create(&options, &error)); /* the key is not in the same file */
    assert_non_null(strstr(error.text, "good.pem: no PEM private key"));
    options.verify_peer = true;
    assert_null(tls_server_create(&options, &error));
    assert_non_null(strstr(error.text, "tls.verify = peer needs tls.ca"));
}

static void a_plain_end_is_the_socket_itself(void **state)
{
    struct world *world = *state;
    int pair[2];
    char got[8];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    world->near = (struct transport){pair[0], NULL};
    world->far = (struct transport){pair[1], NULL};
    assert_int_equal(transport_send(world->near, "plain", 5, 0), 5);
    assert_int_equal(recv(pair[1], got, sizeof(got), MSG_PEEK), 5);
    assert_int_equal(transport_recv(world->far, got, sizeof(got), 0), 5);
    assert_false(transport_pending(world->far));
    assert_true(transport_takes_splice(world->far) && transport_gives_splice(world->far));
    assert_int_equal(transport_shutdown(world->near), 0);
    assert_int_equal(transport_recv(world->far, got, sizeof(got), 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_sent_comes, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_comes_whole_and_only_what_left_is_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(what_a_full_socket_left_is_sent_with_the_next_call, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_decrypted_and_not_read_is_known, setup, teardown),
        cmocka_unit_test_setup_teardown(of_several_records_all_come_that_are_there, setup, teardown),
        cmocka_unit_test_setup_teardown(tickets_leave_together, setup, teardown),
        cmocka_unit_test_setup_teardown(who_takes_no_tickets_is_heard, setup, teardown),
        cmocka_unit_test_setup_teardown(a_chain_that_no_socket_takes_at_once_comes, setup, teardown),
        cmocka_unit_test_setup_teardown(a_clean_end_is_an_end_and_the_other_half_goes_on, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cut_connection_is_no_end, setup, teardown),
        cmocka_unit_test_setup_teardown(a_record_that_was_changed_breaks_the_connection, setup, teardown),
        cmocka_unit_test_setup_teardown(keys_are_renewed_under_way, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_is_renegotiated, setup, teardown),
        cmocka_unit_test_setup_teardown(both_ends_have_one_binding, setup, teardown),
        cmocka_unit_test_setup_teardown(a_bad_certificate_is_refused_with_the_reason, setup, teardown),
        cmocka_unit_test_setup_teardown(a_client_shows_its_certificate_where_it_is_asked_for, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_shared_key_does_without_certificates, setup, teardown),
        cmocka_unit_test_setup_teardown(the_name_chooses_the_certificate, setup, teardown),
        cmocka_unit_test_setup_teardown(a_reload_takes_good_files_and_refuses_bad_ones, setup, teardown),
        cmocka_unit_test_setup_teardown(sessions_are_resumed_until_their_key_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(threads_serve_alike, setup, teardown),
        cmocka_unit_test_setup_teardown(options_that_cannot_work_are_named, setup, teardown),
        cmocka_unit_test_setup_teardown(a_plain_end_is_the_socket_itself, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
