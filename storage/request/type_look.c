/*
 * type_look: see type_look.h. The file is opened beside the cache of open files: once in a row's life.
 */
#include "storage/request/type_look.h"

#include "storage/store/store_file.h"

#include <stdlib.h>
#include <unistd.h>

struct type_look {
    struct job job;
    struct packet_request *request;
    struct proto_file_key key;
    struct meta_row row;
    type_look_done done;
    bool found;
};

static void type_look_run(struct job *job)
{
    struct type_look *look = CONTAINER_OF(job, struct type_look, job);
    struct storage *storage = storage_of(look->request);
    uint8_t bytes[MEDIA_SIGNATURE_BYTES];
    struct error ignored = {0};
    int64_t size = 0;
    int fd = -1;
    if (!store_file_open(look->row.path, &look->row.place, &fd, &size, &ignored))
        return;
    ssize_t got = pread(fd, bytes, sizeof(bytes), 0);
    (void)close(fd); /* opened for reading: nothing can be lost */
    look->found = got > 0;
    if (look->found)
        types_find(storage->types, bytes, (size_t)got, look->row.stat.name, look->row.stat.content_type);
}

static void type_look_end(struct job *job)
{
    struct type_look *look = CONTAINER_OF(job, struct type_look, job);
    if (look->found)
        types_settle(storage_of(look->request)->types, &look->key, look->row.file_path,
                     look->row.stat.content_type);
    look->done(look->request, &look->row);
    free(look);
}

bool type_look_start(struct packet_request *request, const struct proto_file_key *key,
                     const struct meta_row *row, type_look_done done)
{
    struct error ignored = {0};
    if (row->stat.content_type[0] != '\0' || row->stat.size <= 0 || !row->has_texts || !row->path ||
        row->state != META_STATE_NORMAL || !store_path_readable(row->path, &ignored))
        return false;
    struct type_look *look = calloc(1, sizeof(*look));
    if (!look)
        return false;
    look->request = request;
    look->key = *key;
    look->row = *row;
    look->done = done;
    look->job = (struct job){.run = type_look_run, .done = type_look_end, .loop = request->loop};
    if (store_path_submit(look->row.path, &look->job, &ignored))
        return true;
    free(look);
    return false;
}
