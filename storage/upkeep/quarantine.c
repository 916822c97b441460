/*
 * quarantine: each entry is looked at and removed while its directory is read, however many there are.
 */
#include "storage/upkeep/quarantine.h"

#include "storage/store/store_scan.h"
#include "storage/upkeep/fence.h"

#include "common/base/crash_point.h"

#include <string.h>

struct expiry {
    struct keeper *keeper;
    struct store_path *path;
    const char *directory, *beginning;
    int64_t now, age; /* seconds */
    int64_t removed, files, bytes;
    bool fine;
    struct error *error;
};

/* What is old stays old: another holder of the lease may have removed it, but nobody can have made it younger. */
static bool quarantine_expire_one(struct expiry *expiry, const char *name)
{
    char text[2 * STORE_SCAN_NAME_SIZE];
    struct store_scan_look look;
    snprintf(text, sizeof(text), "%s/%s", expiry->directory, name);
    if (!keeper_throttle(expiry->keeper, QUARANTINE_ENTRY_COST))
        return error_set(expiry->error, ERROR_CANCELLED, "interrupted");
    if (!store_scan_look(expiry->path, text, &look, expiry->error))
        return false;
    if (!look.found || !look.regular)
        return true;
    if (expiry->now - look.moved <= expiry->age) {
        expiry->files++;
        expiry->bytes += look.size;
        return true;
    }
    if (!fence_lease(expiry->keeper, expiry->error) ||
        !store_scan_remove(expiry->path, expiry->directory, name, expiry->error))
        return false;
    CRASH_POINT("quarantine-removed");
    expiry->removed++;
    return true;
}

static bool on_entry(void *argument, const char *name)
{
    struct expiry *expiry = argument;
    if (strncmp(name, expiry->beginning, strlen(expiry->beginning)) == 0)
        expiry->fine = quarantine_expire_one(expiry, name);
    return expiry->fine;
}

/* What in DIRECTORY begins with BEGINNING and was last moved or changed longer ago than AGE seconds. */
static bool expire(struct expiry *expiry, const char *directory, const char *beginning, int64_t age)
{
    expiry->directory = directory;
    expiry->beginning = beginning;
    expiry->age = age;
    expiry->fine = true;
    return store_scan_read(expiry->path, directory, on_entry, expiry, expiry->error) && expiry->fine;
}

bool quarantine_expire(struct keeper *keeper, int64_t now, struct error *error)
{
    const struct store *store = keeper->storage->store;
    const struct storage_config *config = keeper->config;
    int64_t files = 0, bytes = 0;
    for (size_t i = 0; i < store_count(store); i++) {
        struct expiry expiry = {.keeper = keeper, .path = store_at(store, i), .now = now, .error = error};
        if (!expire(&expiry, ".", ".trial-", config->leftover_age_ms / 1000))
            return false;
        expiry.files = expiry.bytes = expiry.removed = 0;
        bool fine = expire(&expiry, STORE_QUARANTINE, "", config->quarantine_keep_ms / 1000);
        metric_add(keeper->metrics.quarantine_removed, expiry.removed);
        if (!fine)
            return false;
        files += expiry.files;
        bytes += expiry.bytes;
    }
    metric_set(keeper->metrics.quarantine_files, files);
    metric_set(keeper->metrics.quarantine_bytes, bytes);
    return true;
}

void quarantine_register_metrics(struct upkeep_metrics *metrics)
{
    metrics->quarantine_removed = metrics_counter("reel_storage_quarantine_removed_total",
                                                  "Files removed from quarantine after their time.", NULL);
    metrics->quarantine_files =
        metrics_gauge("reel_storage_quarantine_files", "Files in quarantine, at the last clean-up.", NULL);
    metrics->quarantine_bytes =
        metrics_gauge("reel_storage_quarantine_bytes", "Bytes in quarantine, at the last clean-up.", NULL);
}
