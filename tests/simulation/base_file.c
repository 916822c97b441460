/*
 * base_file: the files of the database server, in the memory of the process: see base_file.h. A file system of SQLite (VFS)
 * with locks between handles and the shared index of a WAL, so that it behaves as files do, without asking the kernel.
 */
#include "tests/simulation/base_file.h"

#include "tests/simulation/sim.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#define FILES_MAX   32
#define SECTOR      4096
#define SECTORS_MAX 4096 /* of a file of which a power cut takes what was not synced */
#define SHARED_MAX  64   /* pieces of 32 KiB of a WAL's index */

struct base_file {
    char name[64]; /* without directories; "": free */
    uint8_t *bytes;
    size_t size, room;
    int readers; /* SQLITE_LOCK_SHARED and more */
    const void *reserved, *pending;
    void *shared[SHARED_MAX];
    int shared_readers[SQLITE_SHM_NLOCK];
    const void *shared_writer[SQLITE_SHM_NLOCK];
    uint8_t **old;             /* of each sector that was not synced what is on the disk */
    size_t old_first, old_end; /* only these may have one */
};

struct open_file {
    sqlite3_file base;
    struct base_file *data;
    bool temporary;
    int lock;
    unsigned shared_locks; /* of the index, those held for reading */
};

static struct base_file files[FILES_MAX];
static bool watching;

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static struct base_file *find(const char *path)
{
    for (size_t i = 0; path && i < FILES_MAX; i++) {
        if (files[i].name[0] && strcmp(files[i].name, base_name(path)) == 0)
            return &files[i];
    }
    return NULL;
}

static struct base_file *make(const char *name)
{
    for (size_t i = 0; i < FILES_MAX; i++) {
        if (!files[i].name[0]) {
            snprintf(files[i].name, sizeof(files[i].name), "%s", name);
            return &files[i];
        }
    }
    violation("more than %d files of the database", FILES_MAX);
}

static void settle(struct base_file *data)
{
    for (size_t i = data->old_first; i < data->old_end; i++) {
        free(data->old[i]);
        data->old[i] = NULL;
    }
    data->old_first = data->old_end = 0;
}

/* Before SIZE bytes at OFFSET change. */
static void note_old(struct base_file *data, size_t offset, size_t size)
{
    if (!watching || strncmp(data->name, BASE_FILE_WATCHED, strlen(BASE_FILE_WATCHED)) != 0)
        return;
    if (!data->old)
        data->old = calloc(SECTORS_MAX, sizeof(*data->old));
    for (size_t i = offset / SECTOR; i * SECTOR < offset + size; i++) {
        if (i >= SECTORS_MAX)
            violation("the database is larger than was expected");
        if (data->old[i])
            continue;
        data->old_first = data->old_end == 0 ? i : min_size(data->old_first, i);
        data->old_end = max_size(data->old_end, i + 1);
        data->old[i] = calloc(1, SECTOR);
        if (i * SECTOR < data->size)
            memcpy(data->old[i], data->bytes + i * SECTOR, min_size(SECTOR, data->size - i * SECTOR));
    }
}

static void drop(struct base_file *data)
{
    settle(data);
    free(data->old);
    free(data->bytes);
    for (size_t i = 0; i < SHARED_MAX; i++)
        free(data->shared[i]);
    *data = (struct base_file){0};
}

static void grow(struct base_file *data, size_t size)
{
    if (size > data->room) {
        data->room = max_size(size + size / 2, 65536);
        data->bytes = realloc(data->bytes, data->room);
        if (!data->bytes)
            violation("no memory for the database");
    }
    if (size > data->size) {
        memset(data->bytes + data->size, 0, size - data->size);
        data->size = size;
    }
}

/* ---- a file ---- */

static struct open_file *opened(sqlite3_file *file)
{
    return (struct open_file *)(void *)file;
}

static int file_close(sqlite3_file *file)
{
    if (opened(file)->temporary)
        drop(opened(file)->data);
    return SQLITE_OK;
}

static int file_read(sqlite3_file *file, void *bytes, int size, sqlite3_int64 offset)
{
    const struct base_file *data = opened(file)->data;
    size_t at = min_size((size_t)offset, data->size), have = min_size((size_t)size, data->size - at);
    if (have > 0)
        memcpy(bytes, data->bytes + at, have);
    memset((uint8_t *)bytes + have, 0, (size_t)size - have);
    return have == (size_t)size ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}

static int file_write(sqlite3_file *file, const void *bytes, int size, sqlite3_int64 offset)
{
    struct base_file *data = opened(file)->data;
    note_old(data, (size_t)offset, (size_t)size);
    grow(data, (size_t)offset + (size_t)size);
    memcpy(data->bytes + offset, bytes, (size_t)size);
    return SQLITE_OK;
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct base_file *data = opened(file)->data;
    data->size = min_size(data->size, (size_t)size);
    return SQLITE_OK;
}

static int file_sync(sqlite3_file *file, int flags)
{
    (void)flags;
    settle(opened(file)->data);
    return SQLITE_OK;
}

static int file_size(sqlite3_file *file, sqlite3_int64 *size)
{
    *size = (sqlite3_int64)opened(file)->data->size;
    return SQLITE_OK;
}

static int file_unlock(sqlite3_file *file, int lock)
{
    struct open_file *own = opened(file);
    struct base_file *data = own->data;
    if (lock < SQLITE_LOCK_RESERVED) {
        data->reserved = data->reserved == own ? NULL : data->reserved;
        data->pending = data->pending == own ? NULL : data->pending;
    }
    if (lock == SQLITE_LOCK_NONE && own->lock > SQLITE_LOCK_NONE)
        data->readers--;
    own->lock = lock;
    return SQLITE_OK;
}

static int file_lock(sqlite3_file *file, int lock)
{
    struct open_file *own = opened(file);
    struct base_file *data = own->data;
    if (own->lock >= lock)
        return SQLITE_OK;
    if (own->lock == SQLITE_LOCK_NONE) {
        if (data->pending)
            return SQLITE_BUSY;
        data->readers++;
        own->lock = SQLITE_LOCK_SHARED;
    }
    if (lock >= SQLITE_LOCK_RESERVED) {
        if ((data->reserved && data->reserved != own) || (data->pending && data->pending != own))
            return SQLITE_BUSY;
        data->reserved = own;
        own->lock = SQLITE_LOCK_RESERVED;
    }
    if (lock == SQLITE_LOCK_EXCLUSIVE) {
        data->pending = own;
        own->lock = SQLITE_LOCK_PENDING;
        if (data->readers > 1)
            return SQLITE_BUSY;
        own->lock = SQLITE_LOCK_EXCLUSIVE;
    }
    return SQLITE_OK;
}

static int file_is_reserved(sqlite3_file *file, int *reserved)
{
    *reserved = opened(file)->data->reserved != NULL;
    return SQLITE_OK;
}

static int file_control(sqlite3_file *file, int what, void *argument)
{
    (void)file;
    (void)what;
    (void)argument;
    return SQLITE_NOTFOUND;
}

static int file_sector(sqlite3_file *file)
{
    (void)file;
    return 4096;
}

static int file_kind(sqlite3_file *file)
{
    (void)file;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

/* ---- the index of a WAL, shared by its handles ---- */

static int shared_map(sqlite3_file *file, int piece, int size, int extend, void volatile **memory)
{
    struct base_file *data = opened(file)->data;
    if (piece >= SHARED_MAX)
        violation("more than %d pieces of a WAL's index", SHARED_MAX);
    if (!data->shared[piece] && extend)
        data->shared[piece] = calloc(1, (size_t)size);
    *memory = data->shared[piece];
    return SQLITE_OK;
}

static int shared_lock(sqlite3_file *file, int first, int count, int flags)
{
    struct open_file *own = opened(file);
    struct base_file *data = own->data;
    for (int i = first; i < first + count; i++) {
        unsigned bit = 1u << i;
        if (flags & SQLITE_SHM_UNLOCK) {
            if (data->shared_writer[i] == own)
                data->shared_writer[i] = NULL;
            else if (own->shared_locks & bit)
                data->shared_readers[i]--;
            own->shared_locks &= ~bit;
        } else if (data->shared_writer[i] && data->shared_writer[i] != own) {
            return SQLITE_BUSY;
        } else if ((flags & SQLITE_SHM_EXCLUSIVE) &&
                   data->shared_readers[i] > ((own->shared_locks & bit) != 0)) {
            return SQLITE_BUSY;
        }
    }
    for (int i = first; i < first + count && (flags & SQLITE_SHM_LOCK); i++) {
        unsigned bit = 1u << i;
        if (flags & SQLITE_SHM_EXCLUSIVE) {
            data->shared_writer[i] = own;
        } else if (!(own->shared_locks & bit)) {
            data->shared_readers[i]++;
            own->shared_locks |= bit;
        }
    }
    return SQLITE_OK;
}

static void shared_barrier(sqlite3_file *file)
{
    (void)file;
}

static int shared_unmap(sqlite3_file *file, int remove)
{
    struct base_file *data = opened(file)->data;
    (void)shared_lock(file, 0, SQLITE_SHM_NLOCK, SQLITE_SHM_UNLOCK | SQLITE_SHM_SHARED);
    for (size_t i = 0; i < SHARED_MAX && remove; i++) {
        free(data->shared[i]);
        data->shared[i] = NULL;
    }
    return SQLITE_OK;
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_is_reserved,
    .xFileControl = file_control,
    .xSectorSize = file_sector,
    .xDeviceCharacteristics = file_kind,
    .xShmMap = shared_map,
    .xShmLock = shared_lock,
    .xShmBarrier = shared_barrier,
    .xShmUnmap = shared_unmap,
};

/* ---- the file system ---- */

static int fs_open(sqlite3_vfs *fs, const char *name, sqlite3_file *file, int flags, int *flags_out)
{
    static int temporaries;
    struct open_file *own = opened(file);
    char text[32];
    (void)fs;
    *own = (struct open_file){.temporary = !name};
    if (!name) {
        snprintf(text, sizeof(text), "temporary-%d", temporaries++);
        own->data = make(text);
    } else if (!(own->data = find(name))) {
        if (!(flags & SQLITE_OPEN_CREATE))
            return SQLITE_CANTOPEN;
        own->data = make(base_name(name));
    }
    own->base.pMethods = &methods;
    if (flags_out)
        *flags_out = flags;
    return SQLITE_OK;
}

static int fs_delete(sqlite3_vfs *fs, const char *name, int sync)
{
    struct base_file *data = find(name);
    (void)fs;
    (void)sync;
    if (!data)
        return SQLITE_IOERR_DELETE_NOENT;
    drop(data);
    return SQLITE_OK;
}

static int fs_access(sqlite3_vfs *fs, const char *name, int flags, int *there)
{
    const struct base_file *data = find(name);
    (void)fs;
    *there = data && (flags != SQLITE_ACCESS_EXISTS || data->size > 0);
    return SQLITE_OK;
}

static int fs_full_path(sqlite3_vfs *fs, const char *name, int size, char *path)
{
    (void)fs;
    snprintf(path, (size_t)size, "%s", name);
    return SQLITE_OK;
}

static int fs_random(sqlite3_vfs *fs, int size, char *bytes)
{
    (void)fs;
    memset(bytes, 7, (size_t)size); /* every run is the same */
    return size;
}

static int fs_sleep(sqlite3_vfs *fs, int us)
{
    (void)fs;
    return us;
}

static int fs_error(sqlite3_vfs *fs, int size, char *text)
{
    (void)fs;
    (void)size;
    (void)text;
    return 0;
}

static int fs_now(sqlite3_vfs *fs, sqlite3_int64 *now)
{
    struct timeval time;
    (void)fs;
    (void)gettimeofday(&time, NULL);
    *now = INT64_C(210866760000000) + time.tv_sec * INT64_C(1000) + time.tv_usec / 1000;
    return SQLITE_OK;
}

static int fs_now_in_days(sqlite3_vfs *fs, double *now)
{
    sqlite3_int64 ms;
    (void)fs_now(fs, &ms);
    *now = (double)ms / 86400000.0;
    return SQLITE_OK;
}

static sqlite3_vfs file_system = {
    .iVersion = 2,
    .szOsFile = sizeof(struct open_file),
    .mxPathname = 512,
    .zName = "base",
    .xOpen = fs_open,
    .xDelete = fs_delete,
    .xAccess = fs_access,
    .xFullPathname = fs_full_path,
    .xRandomness = fs_random,
    .xSleep = fs_sleep,
    .xCurrentTime = fs_now_in_days,
    .xGetLastError = fs_error,
    .xCurrentTimeInt64 = fs_now,
};

/* ---- a power cut ---- */

/* What is on the disk of storage.db while its handles are closed. */
static const char *const image_names[] = {BASE_FILE_WATCHED, BASE_FILE_WATCHED "-wal"};
static struct base_file images[ARRAY_SIZE(image_names)];

void base_file_watch(void)
{
    watching = true;
}

/* What lies on the disk of NAME, in DATA. */
static void take_image(const char *name, struct base_file *image)
{
    const struct base_file *data = find(name);
    int64_t lost = chance(300000) ? 1000000 : chance(500000) ? 500000 : 0;
    int count = 0;
    if (!data)
        return;
    snprintf(image->name, sizeof(image->name), "%s", name);
    grow(image, data->size);
    memcpy(image->bytes, data->bytes, data->size);
    for (size_t i = data->old_first; i < data->old_end && i * SECTOR < data->size; i++) {
        if (data->old[i] && chance(lost)) {
            memcpy(image->bytes + i * SECTOR, data->old[i], min_size(SECTOR, data->size - i * SECTOR));
            count++;
        }
    }
    if (count > 0)
        say("%d sectors of %s that were not synced are lost", count, name);
}

void base_file_take_images(void)
{
    memset(images, 0, sizeof(images));
    for (size_t i = 0; i < ARRAY_SIZE(image_names); i++)
        take_image(image_names[i], &images[i]);
}

void base_file_put_images(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(image_names); i++) {
        struct base_file *data = find(image_names[i]);
        if (data)
            drop(data);
        if (images[i].name[0]) {
            data = make(image_names[i]);
            data->bytes = images[i].bytes;
            data->size = images[i].size;
            data->room = images[i].room;
        }
    }
}

/* ---- for base_handle ---- */

const struct base_file *base_file_find(const char *path)
{
    return find(path);
}

const char *base_file_name(const struct base_file *data)
{
    return data->name;
}

int base_file_stat(const char *path, struct stat *status)
{
    const struct base_file *data = find(path);
    if (!data)
        return stat(path, status);
    *status = (struct stat){.st_dev = 1,
                            .st_ino = (ino_t)(data - files) + 1,
                            .st_mode = S_IFREG | 0640,
                            .st_size = (off_t)data->size};
    return 0;
}

void base_file_load(const char *directory, const char *name)
{
    char path[300];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    FILE *file = fopen(path, "re");
    struct stat status;
    if (!file || fstat(fileno(file), &status) != 0)
        violation("cannot read %s: %s", path, strerror(errno));
    struct base_file *data = make(name);
    grow(data, (size_t)status.st_size);
    if (fread(data->bytes, 1, data->size, file) != data->size)
        violation("cannot read %s", path);
    (void)fclose(file);
}

void base_file_begin(void)
{
    if (sqlite3_vfs_register(&file_system, 1) != SQLITE_OK)
        violation("SQLite takes no file system");
}
