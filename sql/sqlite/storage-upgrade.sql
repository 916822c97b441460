-- Reelstore: brings the rows of earlier versions up to date, SQLite. Run storage.sql before. May be run at any time.
-- By hand: sqlite3 meta.db < storage-upgrade.sql   (sql/README.md tells about the lines that begin with "-- @")

-- @unless column t_file_01 change_id
-- @say t_file_01: added column change_id
ALTER TABLE t_file_01 ADD COLUMN change_id INTEGER NOT NULL DEFAULT 0;

-- @unless column t_file_01 sha256
-- @say t_file_01: added column sha256
ALTER TABLE t_file_01 ADD COLUMN sha256 TEXT NOT NULL DEFAULT '';

-- @unless column t_file_01 expires_at
-- @say t_file_01: added column expires_at
ALTER TABLE t_file_01 ADD COLUMN expires_at INTEGER NOT NULL DEFAULT 0;

-- Of files that expire alone.
-- @unless index t_file_01 t_file_01_expires_at
CREATE INDEX IF NOT EXISTS t_file_01_expires_at ON t_file_01 (expires_at) WHERE expires_at > 0;

-- A deleted file that an earlier version marked as damaged lost the fact that it is deleted: its time of deletion tells.
-- @say t_file_01: files that are damaged and deleted have a status of their own
UPDATE t_file_01 SET status = 4 WHERE status = 3 AND deleted_at > 0;

-- @unless column t_file_02 change_id
-- @say t_file_02: added column change_id
ALTER TABLE t_file_02 ADD COLUMN change_id INTEGER NOT NULL DEFAULT 0;

-- @unless column t_file_02 sha256
-- @say t_file_02: added column sha256
ALTER TABLE t_file_02 ADD COLUMN sha256 TEXT NOT NULL DEFAULT '';

-- @unless column t_file_02 expires_at
-- @say t_file_02: added column expires_at
ALTER TABLE t_file_02 ADD COLUMN expires_at INTEGER NOT NULL DEFAULT 0;

-- Of files that expire alone.
-- @unless index t_file_02 t_file_02_expires_at
CREATE INDEX IF NOT EXISTS t_file_02_expires_at ON t_file_02 (expires_at) WHERE expires_at > 0;

-- A deleted file that an earlier version marked as damaged lost the fact that it is deleted: its time of deletion tells.
-- @say t_file_02: files that are damaged and deleted have a status of their own
UPDATE t_file_02 SET status = 4 WHERE status = 3 AND deleted_at > 0;

-- @unless column t_file_03 change_id
-- @say t_file_03: added column change_id
ALTER TABLE t_file_03 ADD COLUMN change_id INTEGER NOT NULL DEFAULT 0;

-- @unless column t_file_03 sha256
-- @say t_file_03: added column sha256
ALTER TABLE t_file_03 ADD COLUMN sha256 TEXT NOT NULL DEFAULT '';

-- @unless column t_file_03 expires_at
-- @say t_file_03: added column expires_at
ALTER TABLE t_file_03 ADD COLUMN expires_at INTEGER NOT NULL DEFAULT 0;

-- Of files that expire alone.
-- @unless index t_file_03 t_file_03_expires_at
CREATE INDEX IF NOT EXISTS t_file_03_expires_at ON t_file_03 (expires_at) WHERE expires_at > 0;

-- A deleted file that an earlier version marked as damaged lost the fact that it is deleted: its time of deletion tells.
-- @say t_file_03: files that are damaged and deleted have a status of their own
UPDATE t_file_03 SET status = 4 WHERE status = 3 AND deleted_at > 0;
