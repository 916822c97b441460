-- Reelstore: the storage servers' tables, MySQL and MariaDB. May be run at any time: creates what is missing, nothing
-- else. By hand: mariadb tnv_storagedb < storage.sql   (sql/README.md tells about the lines that begin with "-- @")

-- One row per file. id: the file ID. status: 0 or NULL normal, 1 deleted, 2 being
-- purged, 3 found damaged by the scrub, 4 damaged and deleted. digest: XXH3-128, 32 hex digits, '' unknown.
-- deleted_at: seconds since 1970; of a row that is not deleted 0, or a negative number that its last restoration chose.
-- sha256: of the content, 64 hex digits, '' unknown: what a digest alone decides about lost bytes (docs/durability.md).
-- change_id: chosen at random by the last DELETE or RESTORE, so that whoever lost the answer to one finds out whether it was done.
-- expires_at: seconds since 1970 when the upkeep deletes the file, 0: never.
-- The time of the upload is in the last component of file_path. File ID, application,
-- user, path and name are bytes: exact, neither case nor spaces are folded.
-- @unless table t_file_01
-- @say created table t_file_01
CREATE TABLE IF NOT EXISTS t_file_01 (
    row_id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    id VARBINARY(256) NOT NULL,
    appid VARBINARY(32),
    userid VARBINARY(255),
    status TINYINT,
    file_path VARBINARY(1024),
    file_size BIGINT,
    create_time TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP,
    update_time TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
    group_name VARCHAR(32) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL DEFAULT '',
    file_name VARBINARY(256) NOT NULL DEFAULT '',
    content_type VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL DEFAULT '',
    digest CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '',
    deleted_at BIGINT NOT NULL DEFAULT 0,
    change_id BIGINT NOT NULL DEFAULT 0,
    sha256 CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '',
    expires_at BIGINT NOT NULL DEFAULT 0,
    UNIQUE KEY user_file (userid, appid, id),
    KEY file_path (file_path(255)),
    KEY status_deleted (status, deleted_at),
    KEY expires_at (expires_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- @unless table t_file_02
-- @say created table t_file_02
CREATE TABLE IF NOT EXISTS t_file_02 LIKE t_file_01;

-- @unless table t_file_03
-- @say created table t_file_03
CREATE TABLE IF NOT EXISTS t_file_03 LIKE t_file_01;

-- Two rows per group. upkeep/GROUP: which of its members does the upkeep (purge, clean-up, scrub) now, and how far the scrub
-- is; renewals grows while the owner is alive, nobody compares clocks; wanted, done: runs of the scrub that were asked for
-- and done; repair: the next one that begins is to repair. sweep/GROUP: how far the clean-up is (progress), and how many
-- confirmations of leftovers were given (wanted) and used up (done).
-- @unless table t_lease
-- @say created table t_lease
CREATE TABLE IF NOT EXISTS t_lease (
    name VARBINARY(64) NOT NULL PRIMARY KEY,
    owner VARBINARY(255) NOT NULL DEFAULT '',
    renewals BIGINT NOT NULL DEFAULT 0,
    wanted BIGINT NOT NULL DEFAULT 0,
    repair TINYINT NOT NULL DEFAULT 0,
    done BIGINT NOT NULL DEFAULT 0,
    progress BLOB
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- One row per partial upload. token: 32 hex digits. file_size: -1 while not known. synced: bytes that are on the disk; only
-- they count. epoch: grows with each one who takes it over to write, who is told by claim (random; 0: who took it last is done with
-- the file); writer: the process (random) that wrote; mixed: bits, 1 where others wrote too, or may have, 2 where one of them may still
-- write to the file, 4 where a row of files that an earlier request adds may name it. state: 0 open, 1 being finished, 2 the file is stored (its row has file_path), 3 being
-- removed. keep: seconds that it is kept after a change; expires: until when, seconds since 1970. digest: '' none was stated.
-- file_expires: when the file that comes of it expires; 0: nobody said it, below 0: so many seconds after the upload.
-- Two keys have the state, so that only those that are under way are counted: the rows of stored ones stay for days.
-- @unless table t_partial
-- @say created table t_partial
CREATE TABLE IF NOT EXISTS t_partial (
    token CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    appid VARBINARY(32) NOT NULL,
    userid VARBINARY(255) NOT NULL,
    id VARBINARY(256) NOT NULL,
    group_name VARBINARY(32) NOT NULL,
    file_path VARBINARY(1024) NOT NULL,
    file_size BIGINT NOT NULL DEFAULT -1,
    synced BIGINT NOT NULL DEFAULT 0,
    epoch BIGINT NOT NULL DEFAULT 0,
    claim BIGINT NOT NULL DEFAULT 0,
    writer BIGINT NOT NULL DEFAULT 0,
    mixed TINYINT NOT NULL DEFAULT 0,
    state TINYINT NOT NULL DEFAULT 0,
    keep BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    file_name VARBINARY(256) NOT NULL DEFAULT '',
    content_type VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL DEFAULT '',
    digest CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '',
    file_expires BIGINT NOT NULL DEFAULT 0,
    KEY user_state (userid, appid, state),
    KEY file_path (file_path(255)),
    KEY group_state (group_name, state),
    KEY group_expires (group_name, expires)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- One row per user and application whose files are counted: a quota was set for them (reel admin quota), or storage.quota_bytes or
-- storage.quota_files is. bytes_max, files_max: -1 no limit, -2 as the configuration says. bytes_used, files_used: of all their rows
-- but the former copies of files that moved to another group. recount_at: when they are counted anew, seconds since 1970.
-- @unless table t_quota
-- @say created table t_quota
CREATE TABLE IF NOT EXISTS t_quota (
    userid VARBINARY(255) NOT NULL,
    appid VARBINARY(32) NOT NULL,
    bytes_max BIGINT NOT NULL DEFAULT -2,
    files_max BIGINT NOT NULL DEFAULT -2,
    bytes_used BIGINT NOT NULL DEFAULT 0,
    files_used BIGINT NOT NULL DEFAULT 0,
    recount_at BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (userid, appid),
    KEY recount (recount_at)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
