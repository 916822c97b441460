/*
 * base_file: the files of the database server, in the memory of the process: see base_file.h. A file system of SQLite (VFS)
 * with locks between handles and the shared index of a WAL, so that it behaves as files do, without asking the kernel.
 */
#include "tests/simulation/base_file.h"

#include "tests/simulation/sim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#define FILES_MAX      32
#define SECTOR         4096
#define SECTORS_MAX    4096 /* of a file of which a power cut takes what was not synced */
#define WATCHED        "storage.db"
#define SHARED_MAX     64 /* pieces of 32 KiB of a WAL's index */
#define HANDLES        12 /* of a database, open before a story begins: what two storage servers have at once */
#define SERVED_MAX     64
#define STATEMENTS_MAX 160 /* of a handle, more than the daemons have */

struct data {
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
    struct data *data;
    bool temporary;
    int lock;
    unsigned shared_locks; /* of the index, those held for reading */
};

struct statement {
    sqlite3_stmt *statement;
    bool used;
};

/* A handle that stays open, with all that was prepared on it. */
struct served {
    sqlite3 *handle; /* NULL: free */
    const struct data *data;
    bool used;
    struct statement statements[STATEMENTS_MAX];
    size_t count;
};

static struct data files[FILES_MAX];
static struct served served[SERVED_MAX];
static bool watching;

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static struct data *find(const char *path)
{
    for (size_t i = 0; path && i < FILES_MAX; i++) {
        if (files[i].name[0] && strcmp(files[i].name, base_name(path)) == 0)
            return &files[i];
    }
    return NULL;
}

static struct data *make(const char *name)
{
    for (size_t i = 0; i < FILES_MAX; i++) {
        if (!files[i].name[0]) {
            snprintf(files[i].name, sizeof(files[i].name), "%s", name);
            return &files[i];
        }
    }
    violation("more than %d files of the database", FILES_MAX);
}

static void settle(struct data *data)
{
    for (size_t i = data->old_first; i < data->old_end; i++) {
        free(data->old[i]);
        data->old[i] = NULL;
    }
    data->old_first = data->old_end = 0;
}

/* Before SIZE bytes at OFFSET change. */
static void note_old(struct data *data, size_t offset, size_t size)
{
    if (!watching || strncmp(data->name, WATCHED, strlen(WATCHED)) != 0)
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

static void drop(struct data *data)
{
    settle(data);
    free(data->old);
    free(data->bytes);
    for (size_t i = 0; i < SHARED_MAX; i++)
        free(data->shared[i]);
    *data = (struct data){0};
}

static void grow(struct data *data, size_t size)
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
    const struct data *data = opened(file)->data;
    size_t at = min_size((size_t)offset, data->size), have = min_size((size_t)size, data->size - at);
    if (have > 0)
        memcpy(bytes, data->bytes + at, have);
    memset((uint8_t *)bytes + have, 0, (size_t)size - have);
    return have == (size_t)size ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
}

static int file_write(sqlite3_file *file, const void *bytes, int size, sqlite3_int64 offset)
{
    struct data *data = opened(file)->data;
    note_old(data, (size_t)offset, (size_t)size);
    grow(data, (size_t)offset + (size_t)size);
    memcpy(data->bytes + offset, bytes, (size_t)size);
    return SQLITE_OK;
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct data *data = opened(file)->data;
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
    struct data *data = own->data;
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
    struct data *data = own->data;
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
    struct data *data = opened(file)->data;
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
    struct data *data = own->data;
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
    struct data *data = opened(file)->data;
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
    struct data *data = find(name);
    (void)fs;
    (void)sync;
    if (!data)
        return SQLITE_IOERR_DELETE_NOENT;
    drop(data);
    return SQLITE_OK;
}

static int fs_access(sqlite3_vfs *fs, const char *name, int flags, int *there)
{
    const struct data *data = find(name);
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

/* ---- handles ---- */

static struct served *find_served(const sqlite3 *handle)
{
    for (size_t i = 0; i < SERVED_MAX; i++) {
        if (served[i].handle == handle)
            return &served[i];
    }
    return NULL;
}

int base_file_open(const char *path, sqlite3 **handle, int flags, const char *fs)
{
    const struct data *data = find(path);
    for (size_t i = 0; data && i < SERVED_MAX; i++) {
        if (served[i].handle && !served[i].used && served[i].data == data) {
            served[i].used = true;
            *handle = served[i].handle;
            return SQLITE_OK;
        }
    }
    int code = sqlite3_open_v2(path, handle, flags, fs);
    struct served *one = code == SQLITE_OK && (data = find(path)) ? find_served(NULL) : NULL;
    if (one)
        *one = (struct served){.handle = *handle, .data = data, .used = true};
    return code;
}

int base_file_close(sqlite3 *handle)
{
    struct served *one = handle ? find_served(handle) : NULL;
    if (!one)
        return sqlite3_close(handle);
    for (size_t i = 0; i < one->count; i++)
        base_file_finalize(one->statements[i].statement);
    if (sqlite3_get_autocommit(handle) == 0 &&
        sqlite3_exec(handle, "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK)
        violation("a transaction cannot be rolled back: %s", sqlite3_errmsg(handle));
    (void)sqlite3_busy_handler(handle, NULL, NULL);
    one->used = false;
    return SQLITE_OK;
}

int base_file_prepare(sqlite3 *handle, const char *sql, int size, unsigned flags, sqlite3_stmt **statement,
                      const char **tail)
{
    struct served *one = find_served(handle);
    for (size_t i = 0; one && i < one->count; i++) {
        struct statement *made = &one->statements[i];
        if (made->used || strcmp(sqlite3_sql(made->statement), sql) != 0)
            continue;
        made->used = true;
        *statement = made->statement;
        *tail = sql + strlen(sql);
        return SQLITE_OK;
    }
    int code = sqlite3_prepare_v3(handle, sql, size, flags, statement, tail);
    if (one && code == SQLITE_OK && *statement && **tail == '\0' && one->count < STATEMENTS_MAX)
        one->statements[one->count++] = (struct statement){.statement = *statement, .used = true};
    return code;
}

int base_file_finalize(sqlite3_stmt *statement)
{
    struct served *one = statement ? find_served(sqlite3_db_handle(statement)) : NULL;
    for (size_t i = 0; one && i < one->count; i++) {
        if (one->statements[i].statement == statement) {
            one->statements[i].used = false;
            (void)sqlite3_reset(statement);
            return sqlite3_clear_bindings(statement);
        }
    }
    return sqlite3_finalize(statement);
}

/* ---- a power cut ---- */

void base_file_watch(void)
{
    watching = true;
}

static void close_served(struct served *one)
{
    if (one->used)
        violation("somebody uses the database in a power cut");
    for (size_t i = 0; i < one->count; i++)
        (void)sqlite3_finalize(one->statements[i].statement);
    if (sqlite3_close(one->handle) != SQLITE_OK)
        violation("a handle of the database cannot be closed: %s", sqlite3_errmsg(one->handle));
    *one = (struct served){0};
}

/* What lies on the disk of NAME, in DATA. */
static void take_image(const char *name, struct data *image)
{
    const struct data *data = find(name);
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

/* Handles that end in order write all they like: it is overwritten by what was on the disk. */
void base_file_power_cut(void)
{
    static const char *const names[] = {WATCHED, WATCHED "-wal"};
    struct data images[ARRAY_SIZE(names)] = {0};
    struct data *base = find(WATCHED);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        take_image(names[i], &images[i]);
    for (size_t i = 0; i < SERVED_MAX; i++) {
        if (served[i].handle && served[i].data == base)
            close_served(&served[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        struct data *data = find(names[i]);
        if (data)
            drop(data);
        if (images[i].name[0]) {
            data = make(names[i]);
            data->bytes = images[i].bytes;
            data->size = images[i].size;
            data->room = images[i].room;
        }
    }
}

void base_file_tell(int to)
{
    for (size_t i = 0; i < SERVED_MAX; i++) {
        for (size_t j = 0; served[i].handle && j < served[i].count; j++) {
            const char *sql = sqlite3_sql(served[i].statements[j].statement);
            if (dprintf(to, "%s%c%s%c", served[i].data->name, 0, sql, 0) < 0)
                return;
        }
    }
}

/* SQL is prepared on every handle of the file NAME. */
static void learn_one(const char *name, const char *sql)
{
    sqlite3_stmt *statement;
    const char *tail;
    for (size_t i = 0; i < SERVED_MAX; i++) {
        if (!served[i].handle || strcmp(served[i].data->name, name) != 0)
            continue;
        if (base_file_prepare(served[i].handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, &tail) !=
            SQLITE_OK)
            violation("cannot prepare %s: %s", sql, sqlite3_errmsg(served[i].handle));
        (void)base_file_finalize(statement);
    }
}

void base_file_learn(int from)
{
    FILE *file = fdopen(from, "r");
    char *name = NULL, *sql = NULL;
    size_t name_room = 0, sql_room = 0;
    if (!file)
        violation("cannot read the statements: %s", strerror(errno));
    while (getdelim(&name, &name_room, 0, file) > 0 && getdelim(&sql, &sql_room, 0, file) > 0)
        learn_one(name, sql);
    (void)fclose(file);
    free(name);
    free(sql);
}

int base_file_stat(const char *path, struct stat *status)
{
    const struct data *data = find(path);
    if (!data)
        return stat(path, status);
    *status = (struct stat){.st_dev = 1,
                            .st_ino = (ino_t)(data - files) + 1,
                            .st_mode = S_IFREG | 0640,
                            .st_size = (off_t)data->size};
    return 0;
}

static void load(const char *directory, const char *name)
{
    char path[300];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    FILE *file = fopen(path, "re");
    struct stat status;
    if (!file || fstat(fileno(file), &status) != 0)
        violation("cannot read %s: %s", path, strerror(errno));
    struct data *data = make(name);
    grow(data, (size_t)status.st_size);
    if (fread(data->bytes, 1, data->size, file) != data->size)
        violation("cannot read %s", path);
    (void)fclose(file);
    /* What every handle reads first, its tables, costs more than anything that it does later. */
    sqlite3 *handles[HANDLES];
    for (size_t i = 0; i < HANDLES; i++) {
        /* db_sqlite.c sets these two, and what is prepared counts no more once one of them changes. */
        if (base_file_open(name, &handles[i], SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) !=
                SQLITE_OK ||
            sqlite3_db_config(handles[i], SQLITE_DBCONFIG_DEFENSIVE, 1, (int *)NULL) != SQLITE_OK ||
            sqlite3_db_config(handles[i], SQLITE_DBCONFIG_DQS_DML, 0, (int *)NULL) != SQLITE_OK ||
            sqlite3_exec(handles[i], "SELECT count(*) FROM sqlite_schema", NULL, NULL, NULL) != SQLITE_OK)
            violation("cannot open %s: %s", name, sqlite3_errmsg(handles[i]));
    }
    for (size_t i = 0; i < HANDLES; i++)
        (void)base_file_close(handles[i]);
}

void base_file_begin(const char *directory)
{
    if (sqlite3_vfs_register(&file_system, 1) != SQLITE_OK)
        violation("SQLite takes no file system");
    load(directory, "storage.db");
    load(directory, "ids.db");
}
