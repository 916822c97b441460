-- Reelstore: the storage servers' tables, SQLite. May be run at any time: creates what is missing, nothing
-- else. By hand: sqlite3 meta.db < storage.sql   (sql/README.md tells about the lines that begin with "-- @")

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
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    appid TEXT,
    userid TEXT,
    status INTEGER,
    file_path TEXT,
    file_size INTEGER,
    create_time TEXT DEFAULT CURRENT_TIMESTAMP,
    update_time TEXT DEFAULT CURRENT_TIMESTAMP,
    group_name TEXT NOT NULL DEFAULT '',
    file_name TEXT NOT NULL DEFAULT '',
    content_type TEXT NOT NULL DEFAULT '',
    digest TEXT NOT NULL DEFAULT '',
    deleted_at INTEGER NOT NULL DEFAULT 0,
    change_id INTEGER NOT NULL DEFAULT 0,
    sha256 TEXT NOT NULL DEFAULT '',
    expires_at INTEGER NOT NULL DEFAULT 0,
    UNIQUE (userid, appid, id)
);

-- @unless index t_file_01 t_file_01_file_path
CREATE INDEX IF NOT EXISTS t_file_01_file_path ON t_file_01 (file_path);

-- @unless index t_file_01 t_file_01_status_deleted
CREATE INDEX IF NOT EXISTS t_file_01_status_deleted ON t_file_01 (status, deleted_at);

-- Of files that expire alone. A table of an earlier version gets column and index from storage-upgrade.sql.
-- @if column t_file_01 expires_at
-- @unless index t_file_01 t_file_01_expires_at
CREATE INDEX IF NOT EXISTS t_file_01_expires_at ON t_file_01 (expires_at) WHERE expires_at > 0;

-- @unless trigger t_file_01_touch
CREATE TRIGGER IF NOT EXISTS t_file_01_touch AFTER UPDATE ON t_file_01
FOR EACH ROW WHEN NEW.update_time IS OLD.update_time
BEGIN
    UPDATE t_file_01 SET update_time = CURRENT_TIMESTAMP WHERE rowid = NEW.rowid;
END;

-- @unless table t_file_02
-- @say created table t_file_02
CREATE TABLE IF NOT EXISTS t_file_02 (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    appid TEXT,
    userid TEXT,
    status INTEGER,
    file_path TEXT,
    file_size INTEGER,
    create_time TEXT DEFAULT CURRENT_TIMESTAMP,
    update_time TEXT DEFAULT CURRENT_TIMESTAMP,
    group_name TEXT NOT NULL DEFAULT '',
    file_name TEXT NOT NULL DEFAULT '',
    content_type TEXT NOT NULL DEFAULT '',
    digest TEXT NOT NULL DEFAULT '',
    deleted_at INTEGER NOT NULL DEFAULT 0,
    change_id INTEGER NOT NULL DEFAULT 0,
    sha256 TEXT NOT NULL DEFAULT '',
    expires_at INTEGER NOT NULL DEFAULT 0,
    UNIQUE (userid, appid, id)
);

-- @unless index t_file_02 t_file_02_file_path
CREATE INDEX IF NOT EXISTS t_file_02_file_path ON t_file_02 (file_path);

-- @unless index t_file_02 t_file_02_status_deleted
CREATE INDEX IF NOT EXISTS t_file_02_status_deleted ON t_file_02 (status, deleted_at);

-- Of files that expire alone. A table of an earlier version gets column and index from storage-upgrade.sql.
-- @if column t_file_02 expires_at
-- @unless index t_file_02 t_file_02_expires_at
CREATE INDEX IF NOT EXISTS t_file_02_expires_at ON t_file_02 (expires_at) WHERE expires_at > 0;

-- @unless trigger t_file_02_touch
CREATE TRIGGER IF NOT EXISTS t_file_02_touch AFTER UPDATE ON t_file_02
FOR EACH ROW WHEN NEW.update_time IS OLD.update_time
BEGIN
    UPDATE t_file_02 SET update_time = CURRENT_TIMESTAMP WHERE rowid = NEW.rowid;
END;

-- @unless table t_file_03
-- @say created table t_file_03
CREATE TABLE IF NOT EXISTS t_file_03 (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    appid TEXT,
    userid TEXT,
    status INTEGER,
    file_path TEXT,
    file_size INTEGER,
    create_time TEXT DEFAULT CURRENT_TIMESTAMP,
    update_time TEXT DEFAULT CURRENT_TIMESTAMP,
    group_name TEXT NOT NULL DEFAULT '',
    file_name TEXT NOT NULL DEFAULT '',
    content_type TEXT NOT NULL DEFAULT '',
    digest TEXT NOT NULL DEFAULT '',
    deleted_at INTEGER NOT NULL DEFAULT 0,
    change_id INTEGER NOT NULL DEFAULT 0,
    sha256 TEXT NOT NULL DEFAULT '',
    expires_at INTEGER NOT NULL DEFAULT 0,
    UNIQUE (userid, appid, id)
);

-- @unless index t_file_03 t_file_03_file_path
CREATE INDEX IF NOT EXISTS t_file_03_file_path ON t_file_03 (file_path);

-- @unless index t_file_03 t_file_03_status_deleted
CREATE INDEX IF NOT EXISTS t_file_03_status_deleted ON t_file_03 (status, deleted_at);

-- Of files that expire alone. A table of an earlier version gets column and index from storage-upgrade.sql.
-- @if column t_file_03 expires_at
-- @unless index t_file_03 t_file_03_expires_at
CREATE INDEX IF NOT EXISTS t_file_03_expires_at ON t_file_03 (expires_at) WHERE expires_at > 0;

-- @unless trigger t_file_03_touch
CREATE TRIGGER IF NOT EXISTS t_file_03_touch AFTER UPDATE ON t_file_03
FOR EACH ROW WHEN NEW.update_time IS OLD.update_time
BEGIN
    UPDATE t_file_03 SET update_time = CURRENT_TIMESTAMP WHERE rowid = NEW.rowid;
END;

-- Two rows per group. upkeep/GROUP: which of its members does the upkeep (purge, clean-up, scrub) now, and how far the scrub
-- is; renewals grows while the owner is alive, nobody compares clocks; wanted, done: runs of the scrub that were asked for
-- and done; repair: the next one that begins is to repair. sweep/GROUP: how far the clean-up is (progress), and how many
-- confirmations of leftovers were given (wanted) and used up (done).
-- @unless table t_lease
-- @say created table t_lease
CREATE TABLE IF NOT EXISTS t_lease (
    name TEXT NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL DEFAULT '',
    renewals INTEGER NOT NULL DEFAULT 0,
    wanted INTEGER NOT NULL DEFAULT 0,
    repair INTEGER NOT NULL DEFAULT 0,
    done INTEGER NOT NULL DEFAULT 0,
    progress TEXT
);

-- One row per partial upload. token: 32 hex digits. file_size: -1 while not known. synced: bytes that are on the disk; only
-- they count. epoch: grows with each one who takes it over to write, who is told by claim (random; 0: who took it last is done with
-- the file); writer: the process (random) that wrote; mixed: bits, 1 where others wrote too, or may have, 2 where one of them may still
-- write to the file, 4 where a row of files that an earlier request adds may name it. state: 0 open, 1 being finished, 2 the file is stored (its row has file_path), 3 being
-- removed. keep: seconds that it is kept after a change; expires: until when, seconds since 1970. digest: '' none was stated.
-- file_expires: when the file that comes of it expires; 0: nobody said it, below 0: so many seconds after the upload.
-- @unless table t_partial
-- @say created table t_partial
CREATE TABLE IF NOT EXISTS t_partial (
    token TEXT NOT NULL PRIMARY KEY,
    appid TEXT NOT NULL,
    userid TEXT NOT NULL,
    id TEXT NOT NULL,
    group_name TEXT NOT NULL,
    file_path TEXT NOT NULL,
    file_size INTEGER NOT NULL DEFAULT -1,
    synced INTEGER NOT NULL DEFAULT 0,
    epoch INTEGER NOT NULL DEFAULT 0,
    claim INTEGER NOT NULL DEFAULT 0,
    writer INTEGER NOT NULL DEFAULT 0,
    mixed INTEGER NOT NULL DEFAULT 0,
    state INTEGER NOT NULL DEFAULT 0,
    keep INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    file_name TEXT NOT NULL DEFAULT '',
    content_type TEXT NOT NULL DEFAULT '',
    digest TEXT NOT NULL DEFAULT '',
    file_expires INTEGER NOT NULL DEFAULT 0
);

-- With the state, so that only those that are under way are counted: the rows of stored ones stay for days.
-- @unless index t_partial t_partial_user_state
CREATE INDEX IF NOT EXISTS t_partial_user_state ON t_partial (userid, appid, state);

-- @unless index t_partial t_partial_group_state
CREATE INDEX IF NOT EXISTS t_partial_group_state ON t_partial (group_name, state);

-- @unless index t_partial t_partial_file_path
CREATE INDEX IF NOT EXISTS t_partial_file_path ON t_partial (file_path);

-- @unless index t_partial t_partial_group
CREATE INDEX IF NOT EXISTS t_partial_group ON t_partial (group_name, expires);

-- One row per user and application whose files are counted: a quota was set for them (reel admin quota), or storage.quota_bytes or
-- storage.quota_files is. bytes_max, files_max: -1 no limit, -2 as the configuration says. bytes_used, files_used: of all their rows
-- but the former copies of files that moved to another group. recount_at: when they are counted anew, seconds since 1970.
-- @unless table t_quota
-- @say created table t_quota
CREATE TABLE IF NOT EXISTS t_quota (
    userid TEXT NOT NULL,
    appid TEXT NOT NULL,
    bytes_max INTEGER NOT NULL DEFAULT -2,
    files_max INTEGER NOT NULL DEFAULT -2,
    bytes_used INTEGER NOT NULL DEFAULT 0,
    files_used INTEGER NOT NULL DEFAULT 0,
    recount_at INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (userid, appid)
);

-- @unless index t_quota t_quota_recount
CREATE INDEX IF NOT EXISTS t_quota_recount ON t_quota (recount_at);
