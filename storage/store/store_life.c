/*
 * store_life: locks of open file descriptions (F_OFD_SETLK): nothing but the last close of theirs takes them away.
 */
#include "storage/store/store_life.h"

#include "storage/store/store_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct flock byte_of(int64_t life)
{
    return (struct flock){
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)((uint64_t)life >> 2), .l_len = 1};
}

void store_life_begin(struct store_held_root *root)
{
    do
        arc4random_buf(&root->life, sizeof(root->life));
    while (root->life >> 2 == 0);
    root->life &= ~INT64_C(1);
    if (!root->system.one_journal)
        return;
    struct flock lock = byte_of(root->life);
    int fd = openat(root->public.fd, STORE_MARKER, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && fcntl(fd, F_OFD_SETLK, &lock) == 0) {
        root->life_fd = fd;
        root->life |= 1;
    } else if (fd >= 0) {
        (void)close(fd); /* nothing was written */
    }
}

int64_t store_life_in(struct store_path *path)
{
    struct error ignored;
    struct store_root *root;
    if (!store_path_enter(path, &root, &ignored))
        return 2; /* fits no root: nothing is touched */
    int64_t life = CONTAINER_OF(root, struct store_held_root, public)->life;
    if (atomic_load(&path->mounted_below))
        life &= ~INT64_C(1);
    store_path_leave(path, root);
    return life;
}

bool store_life_fits(struct store_path *path, const struct store_root *root, int fd, int64_t life,
                     struct error *error)
{
    const struct store_held_root *held = CONTAINER_OF(root, const struct store_held_root, public);
    struct stat status;
    if (held->life >> 1 != life >> 1)
        return error_set(error, ERROR_UNAVAILABLE, "another directory lies at %s now", path->directory);
    if (!(life & 1))
        return true;
    if (fstat(fd, &status) != 0)
        return error_set_errno(error, errno, "cannot look at a file in %s", path->directory);
    if (status.st_dev == held->device)
        return true;
    atomic_store(&path->mounted_below, true);
    return error_set(
        error, ERROR_UNAVAILABLE,
        "another file system was mounted below %s, where it is not known whether other writers have "
        "ended; try again",
        path->directory);
}

bool store_life_is_over(struct store_path *path, int64_t life)
{
    struct error ignored;
    struct store_root *root;
    struct flock lock = byte_of(life);
    if (!(life & 1) || atomic_load(&path->mounted_below) || !store_path_enter(path, &root, &ignored))
        return false;
    int fd = CONTAINER_OF(root, struct store_held_root, public)->life_fd;
    bool over = fd >= 0 && fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_UNLCK;
    store_path_leave(path, root);
    return over;
}
