/*
 * db_backup: the pages go over in one step. In WAL mode that holds up no writer, and unlike many small steps it
 * cannot be made to start over by concurrent writers.
 */
#include "common/db/db_backup.h"

#include "common/db/db_url.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MODE 0640

static bool fail_sqlite(sqlite3 *handle, const char *doing, const char *path, struct error *error)
{
    return error_set(error, sqlite3_errcode(handle) == SQLITE_FULL ? ERROR_NO_SPACE : ERROR_GENERAL,
                     "backup: %s %s: %s", doing, path, sqlite3_errmsg(handle));
}

static bool copy_pages(sqlite3 *from, sqlite3 *to, const char *path, struct error *error)
{
    sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");

    if (!backup)
        return fail_sqlite(to, "cannot write to", path, error);
    (void)sqlite3_backup_step(backup, -1); /* its failure is that of the end */
    return sqlite3_backup_finish(backup) == SQLITE_OK || fail_sqlite(to, "cannot copy to", path, error);
}

static int keep_verdict(void *argument, int count, char **values, char **names)
{
    (void)names;
    if (count > 0 && values[0])
        snprintf(argument, 64, "%s", values[0]);
    return 1; /* the first line says it */
}

/* A copy that cannot be read is useless. */
static bool check_copy(sqlite3 *to, const char *path, struct error *error)
{
    char verdict[64] = "";

    (void)sqlite3_exec(to, "PRAGMA quick_check", keep_verdict, verdict, NULL);
    return strcmp(verdict, "ok") == 0 || error_set(error, ERROR_IO, "backup: the copy %s is damaged: %s",
                                                   path, verdict[0] != '\0' ? verdict : sqlite3_errmsg(to));
}

static bool make_copy(const struct db_url *url, const char *part, struct error *error)
{
    sqlite3 *from = NULL, *to = NULL;
    bool good = false;

    if (sqlite3_open_v2(url->path, &from, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        (void)fail_sqlite(from, "cannot open", url->path, error);
    else if (sqlite3_open_v2(part, &to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        (void)fail_sqlite(to, "cannot open", part, error);
    else if (sqlite3_busy_timeout(from, (int)min_i64(url->busy_timeout_ms, INT_MAX)) == SQLITE_OK)
        good = copy_pages(from, to, part, error) && check_copy(to, part, error);
    else
        (void)fail_sqlite(from, "cannot open", url->path, error);
    (void)sqlite3_close(from);
    /* Closing may still write (the copy's own log goes into it). */
    if (sqlite3_close(to) != SQLITE_OK && good)
        good = fail_sqlite(to, "cannot close", part, error);
    return good;
}

static bool sync_path(const char *path, int flags, struct error *error)
{
    int fd = open(path, flags | O_CLOEXEC);
    bool good = fd >= 0 && fsync(fd) == 0;

    if (!good)
        error_set_errno(error, errno, "backup: cannot sync %s", path);
    if (fd >= 0)
        (void)close(fd);
    return good;
}

/* The folder of PATH, so that the new name lasts. */
static bool sync_folder(const char *path, struct error *error)
{
    char folder[PATH_MAX];

    snprintf(folder, sizeof(folder), "%s", path);
    char *slash = strrchr(folder, '/');
    if (!slash)
        return sync_path(".", O_RDONLY | O_DIRECTORY, error);
    slash[slash == folder] = '\0';
    return sync_path(folder, O_RDONLY | O_DIRECTORY, error);
}

static bool write_backup(const struct db_url *url, const char *path, const char *part, struct error *error)
{
    struct stat source;

    if (stat(url->path, &source) != 0)
        return error_set_errno(error, errno, "backup: cannot read %s", url->path);
    (void)unlink(part); /* of a backup that was interrupted */
    int fd = open(part, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, FILE_MODE);
    if (fd < 0)
        return error_set_errno(error, errno, "backup: cannot make %s", part);
    (void)close(fd); /* empty */
    if (make_copy(url, part, error) && sync_path(part, O_RDWR, error)) {
        if (rename(part, path) == 0)
            return sync_folder(path, error);
        error_set_errno(error, errno, "backup: cannot rename %s to %s", part, path);
    }
    (void)unlink(part);
    return false;
}

bool db_backup(const char *url, const char *path, FILE *out, struct error *error)
{
    struct db_url parsed;
    struct stat made;
    char part[PATH_MAX];
    bool good;

    if (!db_url_parse(url, &parsed, error))
        return false;
    int length = snprintf(part, sizeof(part), "%s.part", path);
    if (parsed.backend != DB_BACKEND_SQLITE)
        good = error_set(
            error, ERROR_GENERAL,
            "backup: %s is a MySQL database, which is backed up by mariadb-dump --single-transaction %s",
            parsed.text, parsed.database);
    else if (path[0] == '\0' || length < 0 || (size_t)length >= sizeof(part))
        good = error_set(error, ERROR_GENERAL, "backup: \"%s\" is not the path of a file", path);
    else
        good = write_backup(&parsed, path, part, error);
    if (good && out && stat(path, &made) == 0)
        (void)fprintf(out, "%s: %lld bytes of %s\n", path, (long long)made.st_size, parsed.path);
    db_url_clear(&parsed);
    return good;
}
