/*
 * journal_disk: see journal_disk.h. Each sector that was changed and not synced keeps what is on the disk of it for certain.
 */
#include "tests/simulation/journal_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR      512
#define SECTORS_MAX 2048 /* of a journal of 1 MiB */
#define FDS_MAX     8192

ssize_t __real_pread(int fd, void *bytes, size_t size, off_t offset);
ssize_t __real_pwrite(int fd, const void *bytes, size_t size, off_t offset);
int __real_fdatasync(int fd);
int __real_ftruncate(int fd, off_t size);
int __real_open(const char *name, int flags, ...);
int __real_close(int fd);

/* Nothing is known to be on the disk but OLD: changed; a sync is under way that began after the change; a sync has failed, and no later
 * one saves it. */
enum sector_state { SECTOR_CLEAN, SECTOR_CHANGED, SECTOR_SYNCING, SECTOR_LOST };

struct sector {
    enum sector_state state;
    int sync;     /* SECTOR_SYNCING: which one */
    uint8_t *old; /* NULL while it is clean */
};

static char file[300];                                     /* "": there is no journal */
static bool descriptors[FDS_MAX], to_be_reported[FDS_MAX]; /* of something that could not be written */
static struct sector sectors[SECTORS_MAX];
static bool name_lasts;
static int syncs;
/* The file's bytes, so many of them for certain: a server that starts reads it sector by sector, each of which would be a call. */
static const uint8_t *image;
static int64_t image_size;

void journal_disk_begin(const char *path)
{
    snprintf(file, sizeof(file), "%s", path);
}

static void measure_image(int fd)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        violation("cannot look at the upload journal: %s", strerror(errno));
    image_size = min_i64((int64_t)status.st_size, SECTORS_MAX * SECTOR);
}

static void map_image(int fd)
{
    if (image)
        (void)munmap((void *)(uintptr_t)image, SECTORS_MAX * SECTOR);
    image = mmap(NULL, SECTORS_MAX * SECTOR, PROT_READ, MAP_SHARED, fd, 0);
    if (image == MAP_FAILED)
        violation("cannot map the upload journal: %s", strerror(errno));
    measure_image(fd);
}

static ssize_t read_image(int fd, void *bytes, size_t size, int64_t offset)
{
    if (offset + (int64_t)size > image_size)
        measure_image(fd);
    if (offset + (int64_t)size > image_size)
        return __real_pread(fd, bytes, size, offset);
    memcpy(bytes, image + offset, size);
    return (ssize_t)size;
}

void journal_disk_opened(const char *name, int fd)
{
    if (file[0] && strcmp(name, file) == 0 && fd < FDS_MAX) {
        descriptors[fd] = true;
        to_be_reported[fd] = false;
        map_image(fd);
    }
}

void journal_disk_forget(int fd)
{
    descriptors[fd] = false;
}

bool journal_disk_has(int fd)
{
    return fd >= 0 && fd < FDS_MAX && descriptors[fd];
}

bool journal_disk_refuses(const char *name, int flags)
{
    return (flags & O_DIRECT) && file[0] && strcmp(name, file) == 0;
}

void journal_disk_name_synced(void)
{
    name_lasts = true;
}

static void make_clean(struct sector *sector)
{
    free(sector->old);
    *sector = (struct sector){0};
}

/* Before SIZE bytes at OFFSET become BYTES. */
static void note_sectors(int fd, const uint8_t *bytes, size_t size, int64_t offset)
{
    for (int64_t i = offset / SECTOR; i * SECTOR < offset + (int64_t)size; i++) {
        uint8_t old[SECTOR] = {0};
        int64_t from = max_i64(i * SECTOR, offset), to = min_i64((i + 1) * SECTOR, offset + (int64_t)size);
        if (i >= SECTORS_MAX)
            violation("the upload journal is larger than it is said to be");
        if (read_image(fd, old, SECTOR, i * SECTOR) < 0)
            violation("cannot read the upload journal: %s", strerror(errno));
        struct sector *sector = &sectors[i];
        if (sector->state == SECTOR_CLEAN &&
            memcmp(old + (from - i * SECTOR), bytes + (from - offset), (size_t)(to - from)) == 0)
            continue;
        if (sector->state == SECTOR_CLEAN) {
            sector->old = malloc(SECTOR);
            memcpy(sector->old, old, SECTOR);
        }
        sector->state = SECTOR_CHANGED;
    }
}

ssize_t journal_disk_write(int fd, const void *bytes, size_t size, off_t offset)
{
    if (!disk_call(true))
        return -1;
    if (size > 1 && chance(20000))
        size = (size_t)chance_between(1, (int64_t)size - 1);
    note_sectors(fd, bytes, size, (int64_t)offset);
    return __real_pwrite(fd, bytes, size, offset);
}

ssize_t journal_disk_read(int fd, void *bytes, size_t size, off_t offset)
{
    if (size > SECTOR && chance(disk_fail)) { /* a look at each sector is not meant */
        errno = EIO;
        return -1;
    }
    return read_image(fd, bytes, size, (int64_t)offset);
}

/* What cannot be written is reported to every descriptor once, as in the kernel. */
int journal_disk_sync(int fd)
{
    int own = ++syncs;
    for (size_t i = 0; i < SECTORS_MAX; i++) {
        if (sectors[i].state == SECTOR_CHANGED) {
            sectors[i].state = SECTOR_SYNCING;
            sectors[i].sync = own;
        }
    }
    disk_wait_sync();
    bool fine = disk_call(true);
    for (size_t i = 0; i < SECTORS_MAX; i++) {
        if (sectors[i].state != SECTOR_SYNCING || sectors[i].sync > own)
            continue;
        if (fine)
            make_clean(&sectors[i]);
        else
            sectors[i].state = SECTOR_LOST;
    }
    if (!fine) {
        memcpy(to_be_reported, descriptors, sizeof(to_be_reported));
    } else if (to_be_reported[fd]) {
        fine = false;
        errno = EIO;
    }
    to_be_reported[fd] = false;
    return fine ? 0 : -1;
}

/* What is cut off is gone for good. */
int journal_disk_cut(int fd, off_t size)
{
    if (!disk_call(true))
        return -1;
    for (int64_t i = ((int64_t)size + SECTOR - 1) / SECTOR; i < SECTORS_MAX; i++)
        make_clean(&sectors[i]);
    image_size = min_i64(image_size, (int64_t)size);
    return __real_ftruncate(fd, size);
}

void journal_disk_power_cut(void)
{
    int64_t back = chance(300000) ? 1000000 : chance(500000) ? 500000 : 0;
    int lost = 0, changed = 0;
    int fd = file[0] ? __real_open(file, O_RDWR) : -1;
    for (int64_t i = 0; fd >= 0 && i < SECTORS_MAX; i++) {
        struct sector *sector = &sectors[i];
        if (sector->state == SECTOR_CLEAN)
            continue;
        changed++;
        if (chance(back)) {
            lost++;
            if (__real_pwrite(fd, sector->old, SECTOR, i * SECTOR) != SECTOR)
                violation("cannot write to the upload journal: %s", strerror(errno));
        }
        make_clean(sector);
    }
    if (fd < 0)
        return;
    (void)__real_close(fd);
    if (changed > 0)
        say("of the upload journal %d of %d unsynced sectors are lost", lost, changed);
    if (!name_lasts && unlink(file) == 0)
        say("the upload journal had no lasting name");
}

void journal_disk_remove(void)
{
    for (int64_t i = 0; i < SECTORS_MAX; i++)
        make_clean(&sectors[i]);
    if (unlink(file) == 0)
        say("the upload journal is removed");
}
