/*
 * scripted_cluster: how the scripted tracker and storage servers answer each command.
 */
#include "tests/unit/library/scripted_cluster.h"

static int fake_take_one(atomic_int *left)
{
    int now = atomic_load(left);

    while (now > 0 && !atomic_compare_exchange_weak(left, &now, now - 1))
        continue;
    return now > 0;
}

static void fake_put_number(uint8_t *at, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        at[i] = (uint8_t)(value >> (56 - 8 * i));
}

static uint64_t fake_get_number(const uint8_t *at)
{
    uint64_t value = 0;

    for (int i = 0; i < 8; i++)
        value = value << 8 | at[i];
    return value;
}

static struct fake_file *fake_find(struct fake_group *group, const uint8_t *key)
{
    for (int i = 0; i < group->count; i++) {
        struct fake_file *file = &group->files[i];

        if (strcmp(file->application, (const char *)key) == 0 &&
            strcmp(file->user, (const char *)key + 16) == 0 && strcmp(file->id, (const char *)key + 272) == 0)
            return file;
    }
    return NULL;
}

static void fake_stat(const struct fake_file *file, uint8_t stat[FAKE_STAT_SIZE])
{
    memset(stat, 0, FAKE_STAT_SIZE);
    fake_put_number(stat, file->size);
    stat[8] = file->deleted;
    fake_put_number(stat + 9, file->created > 0 ? (uint64_t)file->created : 1604201983);
    fake_put_number(stat + 17, file->deleted ? 1604202000 : 0);
    stat[25] = file->has_digest;
    memcpy(stat + 26, file->digest, 16);
    strcpy((char *)stat + 42, file->type);
    strcpy((char *)stat + 170, file->name);
    strcpy((char *)stat + 426, file->group[0] != '\0' ? file->group : "group001");
}

/* The body of a request, all of it; NULL when it broke off or was to be cut. */
static uint8_t *fake_body(struct fake_storage *storage, int fd, const struct peer_request *request)
{
    size_t size = (size_t)request->length;
    uint8_t *body;

    if ((request->command == 70 || request->command == 77 || request->command == 79) &&
        fake_take_one(&storage->cut_uploads)) {
        uint8_t some[1024];

        if (peer_get(fd, some, size < sizeof(some) ? size : sizeof(some)))
            peer_reset(&storage->peer, fd);
        return NULL;
    }
    body = malloc(size + 1);
    peer_must(body != NULL, "malloc");
    if (!peer_get(fd, body, size)) {
        free(body);
        return NULL;
    }
    return body;
}

/* False: cut the connection. */
static bool fake_upload(struct fake_storage *storage, int fd, uint8_t command, const uint8_t *body,
                        size_t size)
{
    bool put = command != 70;
    size_t head = put ? 809 : 408;
    struct fake_group *group = storage->group;
    struct fake_file *file;
    const char *failure = NULL;

    usleep((useconds_t)atomic_load(&storage->upload_delay_ms) * 1000);
    if (command == 79)
        size -= 16; /* the digest comes last */
    pthread_mutex_lock(&group->mutex);
    file = fake_find(group, body);
    if (fake_get_number(body + 400) != size - head) {
        failure = "sizes differ";
    } else if (file != NULL) {
        if (file->size != size - head || memcmp(file->bytes, body + head, size - head) != 0)
            failure = "exists";
    } else {
        peer_must(group->count < FAKE_FILES_MAX, "too many files");
        file = &group->files[group->count++];
        memset(file, 0, sizeof(*file));
        strcpy(file->application, (const char *)body);
        strcpy(file->user, (const char *)body + 16);
        strcpy(file->id, (const char *)body + 272);
        if (put) {
            strcpy(file->name, (const char *)body + 408);
            strcpy(file->type, (const char *)body + 664);
            file->has_digest = command == 79 || body[792] != 0;
            memcpy(file->digest, command == 79 ? body + size : body + 793, 16);
        }
        file->size = size - head;
        file->bytes = malloc(file->size + 1);
        peer_must(file->bytes != NULL, "malloc");
        memcpy(file->bytes, body + head, file->size);
    }
    pthread_mutex_unlock(&group->mutex);
    if (fake_take_one(&storage->lose_replies))
        return false;
    if (failure != NULL)
        peer_fail(fd, 102, -5, failure);
    else
        peer_reply(fd, 102, "", 0);
    return true;
}

/* MOVE: the file, with these bytes, is of the group that the head names. */
static void fake_move(struct fake_storage *storage, int fd, const uint8_t *body, size_t size)
{
    struct fake_group *group = storage->group;
    int failure = 0;

    pthread_mutex_lock(&group->mutex);
    struct fake_file *file = fake_find(group, body);
    const char *has = file && file->group[0] != '\0' ? file->group : "group001";
    if (file == NULL)
        failure = -4;
    else if (strcmp(has, (const char *)body + 408) != 0)
        failure = -21;
    else if (file->size != size - 809 - 16 || memcmp(file->bytes, body + 809, file->size) != 0 ||
             (file->has_digest && memcmp(file->digest, body + size - 16, 16) != 0))
        failure = -5;
    else
        memcpy(file->group, body + 775, 17);
    pthread_mutex_unlock(&group->mutex);
    if (failure != 0)
        peer_fail(fd, 102, failure, "[fake] not moved");
    else
        peer_reply(fd, 102, "", 0);
}

/* LEFT: all at once, as if of the first table. */
static void fake_left(struct fake_storage *storage, int fd, const uint8_t *body)
{
    struct fake_group *group = storage->group;
    static uint8_t reply[25 + FAKE_FILES_MAX * 272];
    uint64_t rows = 0, moved = 0;

    pthread_mutex_lock(&group->mutex);
    memset(reply, 0, sizeof(reply));
    for (int i = 0; body[0] == 0 && i < group->count; i++) {
        const struct fake_file *file = &group->files[i];

        if (file->group[0] != '\0' && strcmp(file->group, "group001") != 0) {
            moved++;
            continue;
        }
        strcpy((char *)reply + 25 + rows * 272, file->application);
        strcpy((char *)reply + 25 + rows * 272 + 16, file->user);
        rows++;
    }
    reply[0] = (uint8_t)(body[0] + 1);
    fake_put_number(reply + 9, rows);
    fake_put_number(reply + 17, moved);
    pthread_mutex_unlock(&group->mutex);
    peer_reply(fd, 102, reply, 25 + rows * 272);
}

static bool fake_download(struct fake_storage *storage, int fd, uint8_t command, const uint8_t *body)
{
    struct fake_group *group = storage->group;
    uint64_t offset = fake_get_number(body + 400), size = fake_get_number(body + 408);
    struct fake_file *file;
    uint8_t *bytes = NULL;
    bool cut = false;

    atomic_store(&storage->last_offset, offset);
    pthread_mutex_lock(&group->mutex);
    file = fake_find(group, body);
    if (file != NULL && (!file->deleted || command == 92) && offset <= file->size &&
        size <= file->size - offset) {
        if (size == 0)
            size = file->size - offset;
        bytes = malloc(size + 2);
        peer_must(bytes != NULL, "malloc");
        memcpy(bytes, file->bytes + offset, size);
    }
    pthread_mutex_unlock(&group->mutex);
    if (bytes == NULL) {
        peer_fail(fd, 102, file == NULL ? -4 : file->deleted ? -6 : -7, "[fake] no such bytes");
        return true;
    }
    if (atomic_load(&storage->corrupt) && size > 0)
        bytes[0] ^= 1;
    if (size > 1 && fake_take_one(&storage->cut_downloads))
        cut = true;
    peer_header(fd, (int64_t)(size + (atomic_load(&storage->wrong_length) ? 1 : 0)), 102, 0);
    bool stalls = !cut && size > 1 && fake_take_one(&storage->stall_downloads);
    peer_put(fd, bytes, cut || stalls ? size / 2 : size);
    free(bytes);
    if (stalls)
        return peer_get(fd, &(uint8_t){0}, 1); /* until whoever asked goes away */
    return !cut;
}

static void fake_list(struct fake_storage *storage, int fd, const uint8_t *body)
{
    struct fake_group *group = storage->group;
    int limit = body[400] << 24 | body[401] << 16 | body[402] << 8 | body[403];
    char after[128];
    uint8_t *reply = malloc((size_t)limit * (128 + FAKE_STAT_SIZE) + 1);
    size_t size = 0;

    peer_must(reply != NULL, "malloc");
    strcpy(after, (const char *)body + 272);
    pthread_mutex_lock(&group->mutex);
    for (int n = 0; n < limit; n++) {
        struct fake_file *next = NULL;

        for (int i = 0; i < group->count; i++) {
            struct fake_file *file = &group->files[i];

            if (strcmp(file->user, (const char *)body + 16) == 0 && file->deleted == (body[404] == 1) &&
                strcmp(file->id, after) > 0 && (next == NULL || strcmp(file->id, next->id) < 0))
                next = file;
        }
        if (next == NULL)
            break;
        memset(reply + size, 0xEE, 128); /* rubbish after the NUL */
        strcpy((char *)reply + size, next->id);
        fake_stat(next, reply + size + 128);
        size += 128 + FAKE_STAT_SIZE;
        strcpy(after, next->id);
    }
    pthread_mutex_unlock(&group->mutex);
    peer_reply(fd, 102, reply, size);
    free(reply);
}

/* STAT, RESTORE, DELETE, RENAME, FILESIZE. */
static void fake_key_command(struct fake_storage *storage, int fd, uint8_t command, const uint8_t *body)
{
    struct fake_group *group = storage->group;
    struct fake_file *file;
    uint8_t stat[FAKE_STAT_SIZE + 65 + 128] = {0};
    int failure = 0;

    if (command == 78 && atomic_load(&storage->no_where)) {
        peer_fail(fd, 102, -3, "[fake] unknown command");
        return;
    }

    pthread_mutex_lock(&group->mutex);
    file = fake_find(group, body);
    if (file == NULL)
        failure = -4;
    else if (file->deleted && (command == 71 || command == 73 || command == 78))
        failure = -6;
    else if (command == 73)
        file->deleted = true;
    else if (command == 75)
        file->deleted = false;
    else if (command == 90 && file->deleted)
        failure = -6;
    else if (command == 90)
        snprintf(file->name, sizeof(file->name), "%s", (const char *)body + 400);
    if (failure == 0)
        fake_stat(file, stat);
    pthread_mutex_unlock(&group->mutex);
    strcpy((char *)stat + FAKE_STAT_SIZE, "../data");
    strcpy((char *)stat + FAKE_STAT_SIZE + 65, "000/001/1FF/5F9E3FA7_002");
    if (command == 74 || command == 78) {
        atomic_fetch_add(&storage->held, 1);
        while (atomic_load(&storage->holds_stat))
            usleep(1000);
        atomic_fetch_sub(&storage->held, 1);
    }
    if (failure != 0)
        peer_fail(fd, 102, failure, "[fake] not there");
    else if (command == 78)
        peer_reply(fd, 102, stat, sizeof(stat));
    else if (command == 71)
        peer_reply(fd, 102, stat, 8);
    else
        peer_reply(fd, 102, stat, command == 74 ? FAKE_STAT_SIZE : 0);
}

/* Whether the file has the digest that READ asks for. */
static bool fake_digest_is(struct fake_storage *storage, const uint8_t *body)
{
    struct fake_file *file;
    bool same;

    if (atomic_fetch_add(&storage->reads, 1) > 0 && atomic_load(&storage->replaces))
        return false;
    pthread_mutex_lock(&storage->group->mutex);
    file = fake_find(storage->group, body);
    same = file == NULL || memcmp(file->digest, body + 416, 16) == 0;
    pthread_mutex_unlock(&storage->group->mutex);
    return same;
}

static bool fake_is_to_fail(struct fake_storage *storage, uint8_t command)
{
    int only = atomic_load(&storage->fail_command);

    return atomic_load(&storage->fail_code) != 0 && (only == 0 || only == command) &&
           fake_take_one(&storage->fail_left);
}

static void fake_storage_script(struct peer *peer, int fd, int connection)
{
    struct fake_storage *storage = peer->argument;
    struct peer_request request;
    bool go_on = true;

    (void)connection;
    while (go_on && peer_read_header(peer, fd, &request)) {
        uint8_t *body;

        if (atomic_load(&storage->legacy) && request.command > 73) {
            peer_fail(fd, 102, -1, "[old] unknown command");
            return;
        }
        if (atomic_load(&storage->no_trailer) && request.command == 79) {
            peer_fail(fd, 102, -3, "[fake] unknown command");
            return;
        }
        if (request.command == 4 || (request.command >= 82 && request.command <= 87) ||
            (atomic_load(&storage->no_read) && request.command == 81)) {
            peer_fail(fd, 102, -3, "[fake] unknown command");
            if (request.command == 4)
                continue;
            return;
        }
        body = fake_body(storage, fd, &request);
        if (body == NULL)
            return;
        if (fake_is_to_fail(storage, request.command))
            peer_fail(fd, 102, atomic_load(&storage->fail_code), "[fake] as ordered");
        else if (request.command == 70 || request.command == 77 || request.command == 79)
            go_on = fake_upload(storage, fd, request.command, body, (size_t)request.length);
        else if (request.command == 81 && !fake_digest_is(storage, body))
            peer_fail(fd, 102, -11, "[fake] another file");
        else if (request.command == 72 || request.command == 81 || request.command == 92)
            go_on = fake_download(storage, fd, request.command, body);
        else if (request.command == 91)
            fake_move(storage, fd, body, (size_t)request.length);
        else if (request.command == 93)
            fake_left(storage, fd, body);
        else if (request.command == 80)
            peer_reply(fd, 102, storage->group->fsck ? storage->group->fsck : "{}",
                       strlen(storage->group->fsck ? storage->group->fsck : "{}"));
        else if (request.command == 76)
            fake_list(storage, fd, body);
        else
            fake_key_command(storage, fd, request.command, body);
        free(body);
    }
}

/* USERS and REROUTE. */
static void fake_users(struct fake_tracker *tracker, int fd, const struct peer_request *request)
{
    uint8_t reply[4 * 280] = {0};
    size_t size = 0;

    pthread_mutex_lock(&tracker->mutex);
    for (int i = 0; i < tracker->user_count; i++) {
        const char *application = tracker->users[i][0], *user = tracker->users[i][1];
        const char *has = tracker->routes[i][0] != '\0' ? tracker->routes[i] : "group001";

        if (request->command == 24 && strcmp(has, (const char *)request->head) == 0) {
            fake_put_number(reply + size, (uint64_t)i + 1);
            strcpy((char *)reply + size + 8, application);
            strcpy((char *)reply + size + 24, user);
            size += 280;
        }
        if (request->command == 25 && strcmp(application, (const char *)request->head) == 0 &&
            strcmp(user, (const char *)request->head + 16) == 0) {
            if (strcmp(has, (const char *)request->head + 272) == 0)
                memcpy(tracker->routes[i], request->head + 289, 17);
            memset(reply, 0, 17);
            strcpy((char *)reply, tracker->routes[i][0] != '\0' ? tracker->routes[i] : "group001");
            size = 17;
        }
    }
    pthread_mutex_unlock(&tracker->mutex);
    if (request->command == 25 && size == 0)
        peer_fail(fd, 100, -4, "[fake] no such user");
    else
        peer_reply(fd, 100, reply, size);
}

static void fake_tracker_script(struct peer *peer, int fd, int connection)
{
    struct fake_tracker *tracker = peer->argument;
    struct peer_request request;
    uint8_t reply[17 + 256];

    (void)connection;
    while (peer_read(peer, fd, &request)) {
        bool unknown;

        if (tracker->http) {
            peer_put(fd, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
            return;
        }
        if (atomic_load(&tracker->legacy) && request.command > 13) {
            peer_fail(fd, 100, -1, "[old] unknown command");
            return;
        }
        if (atomic_load(&tracker->fail_code) != 0 && fake_take_one(&tracker->fail_left)) {
            peer_fail(fd, 100, atomic_load(&tracker->fail_code), "[fake] as ordered");
            continue;
        }
        if (request.command == 13) {
            const char *text = tracker->groups ? tracker->groups : "             COUNT OF GROUPS: 1";

            peer_reply(fd, 100, text, strlen(text) + 1);
            continue;
        }
        if (request.command == 15) {
            const char *text = tracker->status ? tracker->status : "{\"groups\":[]}";

            if (atomic_load(&tracker->status_left) == 1)
                continue;
            (void)fake_take_one(&tracker->status_left);
            peer_reply(fd, 100, text, strlen(text) + 1);
            continue;
        }
        if (request.command == 17) {
            atomic_fetch_add(&tracker->changes, 1);
            peer_reply(fd, 100, "", 0);
            continue;
        }
        if (request.command == 24 || request.command == 25) {
            fake_users(tracker, fd, &request);
            continue;
        }
        if (request.command == 26) {
            memset(reply, 0, sizeof(reply));
            memcpy(reply, request.head, 17);
            pthread_mutex_lock(&tracker->mutex);
            strcpy((char *)reply + 17, tracker->addresses);
            pthread_mutex_unlock(&tracker->mutex);
            peer_reply(fd, 100, reply, 17 + strlen((char *)reply + 17) + 1);
            continue;
        }
        peer_must(request.command == 12 || request.command == 16, "a command that a client has no use for");
        peer_must(request.length == 400, "a key of another size");
        peer_must(request.command == 16 || request.head[272] != 0, "SADDRS without a file ID");
        memset(reply, 0xEE, sizeof(reply));
        strcpy((char *)reply, "group001");
        pthread_mutex_lock(&tracker->mutex);
        strcpy((char *)reply + 17, tracker->addresses);
        unknown = tracker->unknown_user && request.command == 16;
        pthread_mutex_unlock(&tracker->mutex);
        if (unknown)
            peer_fail(fd, 100, -4, "[fake] no such user");
        else
            peer_reply(fd, 100, reply, 17 + strlen((char *)reply + 17) + 1);
    }
}

void fake_tracker_point(struct fake_tracker *tracker, const char *addresses)
{
    pthread_mutex_lock(&tracker->mutex);
    snprintf(tracker->addresses, sizeof(tracker->addresses), "%s", addresses);
    pthread_mutex_unlock(&tracker->mutex);
}

void fake_tracker_start(struct fake_tracker *tracker)
{
    memset(tracker, 0, sizeof(*tracker));
    pthread_mutex_init(&tracker->mutex, NULL);
    peer_start(&tracker->peer, fake_tracker_script, tracker);
}

void fake_tracker_stop(struct fake_tracker *tracker)
{
    peer_stop(&tracker->peer);
    pthread_mutex_destroy(&tracker->mutex);
}

void fake_cluster_start(struct fake_cluster *cluster, int storages)
{
    char addresses[256] = "";

    memset(cluster, 0, sizeof(*cluster));
    pthread_mutex_init(&cluster->group.mutex, NULL);
    cluster->count = storages;
    for (int i = 0; i < storages; i++) {
        size_t used = strlen(addresses);

        cluster->storages[i].group = &cluster->group;
        peer_start(&cluster->storages[i].peer, fake_storage_script, &cluster->storages[i]);
        snprintf(addresses + used, sizeof(addresses) - used, "%s;", cluster->storages[i].peer.address);
    }
    fake_tracker_start(&cluster->tracker);
    fake_tracker_point(&cluster->tracker, addresses);
}

void fake_cluster_stop(struct fake_cluster *cluster)
{
    fake_tracker_stop(&cluster->tracker);
    for (int i = 0; i < cluster->count; i++)
        peer_stop(&cluster->storages[i].peer);
    for (int i = 0; i < cluster->group.count; i++)
        free(cluster->group.files[i].bytes);
    pthread_mutex_destroy(&cluster->group.mutex);
}

int fake_requests(struct fake_cluster *cluster, uint8_t command)
{
    int count = 0;

    for (int i = 0; i < cluster->count; i++) {
        count += peer_requests(&cluster->storages[i].peer, command);
        if (command == 72) /* READ is a download too */
            count += peer_requests(&cluster->storages[i].peer, 81);
    }
    return count;
}
