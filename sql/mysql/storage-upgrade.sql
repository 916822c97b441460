-- Reelstore: brings the storage servers' tables of the predecessor up to date, MySQL and MariaDB. Run storage.sql before.
-- `reel-storage --init-db` does both, asks before each step whether it is needed (the lines that begin with "-- @"),
-- and may be stopped and run again at any point. By hand, on tables as the predecessor left them, once:
-- mariadb tnv_storagedb < storage.sql && mariadb tnv_storagedb < storage-upgrade.sql
-- Stop the storage servers, take a backup. The first step of each table copies it: count on the time and the space.

-- ---- t_file_01 ----

-- Another user's file may carry the same file ID: the row gets a key of its own.
-- @if primary-key t_file_01 id
-- @say t_file_01: added the key row_id; file IDs, applications, users and paths are bytes now
ALTER TABLE t_file_01
    DROP PRIMARY KEY,
    ADD COLUMN row_id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY FIRST,
    MODIFY id VARBINARY(256) NOT NULL,
    MODIFY appid VARBINARY(32),
    MODIFY userid VARBINARY(255),
    MODIFY file_path VARBINARY(1024);

-- @unless type t_file_01 id varbinary(256)
-- @say t_file_01: file IDs are bytes now
ALTER TABLE t_file_01 MODIFY id VARBINARY(256) NOT NULL;

-- @unless type t_file_01 appid varbinary(32)
-- @say t_file_01: applications are bytes now
ALTER TABLE t_file_01 MODIFY appid VARBINARY(32);

-- @unless type t_file_01 userid varbinary(255)
-- @say t_file_01: users are bytes now
ALTER TABLE t_file_01 MODIFY userid VARBINARY(255);

-- @unless type t_file_01 file_path varbinary(1024)
-- @say t_file_01: paths are bytes now
ALTER TABLE t_file_01 MODIFY file_path VARBINARY(1024);

-- @unless column t_file_01 group_name
-- @say t_file_01: added column group_name ('' for the files that are there)
ALTER TABLE t_file_01 ADD COLUMN group_name VARCHAR(32) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL DEFAULT '';

-- @unless column t_file_01 file_name
-- @say t_file_01: added column file_name
ALTER TABLE t_file_01 ADD COLUMN file_name VARBINARY(256) NOT NULL DEFAULT '';

-- @unless column t_file_01 content_type
-- @say t_file_01: added column content_type
ALTER TABLE t_file_01 ADD COLUMN content_type VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL DEFAULT '';

-- @unless column t_file_01 digest
-- @say t_file_01: added column digest ('' for the files that are there)
ALTER TABLE t_file_01 ADD COLUMN digest CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '';

-- @unless column t_file_01 deleted_at
-- @say t_file_01: added column deleted_at
ALTER TABLE t_file_01 ADD COLUMN deleted_at BIGINT NOT NULL DEFAULT 0;

-- @unless column t_file_01 change_id
-- @say t_file_01: added column change_id
ALTER TABLE t_file_01 ADD COLUMN change_id BIGINT NOT NULL DEFAULT 0;

-- @unless column t_file_01 sha256
-- @say t_file_01: added column sha256
ALTER TABLE t_file_01 ADD COLUMN sha256 CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '';

-- @unless column t_file_01 expires_at
-- @say t_file_01: added column expires_at
ALTER TABLE t_file_01 ADD COLUMN expires_at BIGINT NOT NULL DEFAULT 0;

-- @unless index t_file_01 user_file
-- @say t_file_01: added the unique index user_file
ALTER TABLE t_file_01 ADD UNIQUE KEY user_file (userid, appid, id);

-- @unless index t_file_01 file_path
-- @say t_file_01: added the index file_path
ALTER TABLE t_file_01 ADD KEY file_path (file_path(255));

-- @unless index t_file_01 status_deleted
-- @say t_file_01: added the index status_deleted
ALTER TABLE t_file_01 ADD KEY status_deleted (status, deleted_at);

-- @unless index t_file_01 expires_at
-- @say t_file_01: added the index expires_at
ALTER TABLE t_file_01 ADD KEY expires_at (expires_at);

-- ---- t_file_02 ----

-- Another user's file may carry the same file ID: the row gets a key of its own.
-- @if primary-key t_file_02 id
-- @say t_file_02: added the key row_id; file IDs, applications, users and paths are bytes now
ALTER TABLE t_file_02
    DROP PRIMARY KEY,
    ADD COLUMN row_id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY FIRST,
    MODIFY id VARBINARY(256) NOT NULL,
    MODIFY appid VARBINARY(32),
    MODIFY userid VARBINARY(255),
    MODIFY file_path VARBINARY(1024);

-- @unless type t_file_02 id varbinary(256)
-- @say t_file_02: file IDs are bytes now
ALTER TABLE t_file_02 MODIFY id VARBINARY(256) NOT NULL;

-- @unless type t_file_02 appid varbinary(32)
-- @say t_file_02: applications are bytes now
ALTER TABLE t_file_02 MODIFY appid VARBINARY(32);

-- @unless type t_file_02 userid varbinary(255)
-- @say t_file_02: users are bytes now
ALTER TABLE t_file_02 MODIFY userid VARBINARY(255);

-- @unless type t_file_02 file_path varbinary(1024)
-- @say t_file_02: paths are bytes now
ALTER TABLE t_file_02 MODIFY file_path VARBINARY(1024);

-- @unless column t_file_02 group_name
-- @say t_file_02: added column group_name ('' for the files that are there)
ALTER TABLE t_file_02 ADD COLUMN group_name VARCHAR(32) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL DEFAULT '';

-- @unless column t_file_02 file_name
-- @say t_file_02: added column file_name
ALTER TABLE t_file_02 ADD COLUMN file_name VARBINARY(256) NOT NULL DEFAULT '';

-- @unless column t_file_02 content_type
-- @say t_file_02: added column content_type
ALTER TABLE t_file_02 ADD COLUMN content_type VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL DEFAULT '';

-- @unless column t_file_02 digest
-- @say t_file_02: added column digest ('' for the files that are there)
ALTER TABLE t_file_02 ADD COLUMN digest CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '';

-- @unless column t_file_02 deleted_at
-- @say t_file_02: added column deleted_at
ALTER TABLE t_file_02 ADD COLUMN deleted_at BIGINT NOT NULL DEFAULT 0;

-- @unless column t_file_02 change_id
-- @say t_file_02: added column change_id
ALTER TABLE t_file_02 ADD COLUMN change_id BIGINT NOT NULL DEFAULT 0;

-- @unless column t_file_02 sha256
-- @say t_file_02: added column sha256
ALTER TABLE t_file_02 ADD COLUMN sha256 CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '';

-- @unless column t_file_02 expires_at
-- @say t_file_02: added column expires_at
ALTER TABLE t_file_02 ADD COLUMN expires_at BIGINT NOT NULL DEFAULT 0;

-- @unless index t_file_02 user_file
-- @say t_file_02: added the unique index user_file
ALTER TABLE t_file_02 ADD UNIQUE KEY user_file (userid, appid, id);

-- @unless index t_file_02 file_path
-- @say t_file_02: added the index file_path
ALTER TABLE t_file_02 ADD KEY file_path (file_path(255));

-- @unless index t_file_02 status_deleted
-- @say t_file_02: added the index status_deleted
ALTER TABLE t_file_02 ADD KEY status_deleted (status, deleted_at);

-- @unless index t_file_02 expires_at
-- @say t_file_02: added the index expires_at
ALTER TABLE t_file_02 ADD KEY expires_at (expires_at);

-- ---- t_file_03 ----

-- Another user's file may carry the same file ID: the row gets a key of its own.
-- @if primary-key t_file_03 id
-- @say t_file_03: added the key row_id; file IDs, applications, users and paths are bytes now
ALTER TABLE t_file_03
    DROP PRIMARY KEY,
    ADD COLUMN row_id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY FIRST,
    MODIFY id VARBINARY(256) NOT NULL,
    MODIFY appid VARBINARY(32),
    MODIFY userid VARBINARY(255),
    MODIFY file_path VARBINARY(1024);

-- @unless type t_file_03 id varbinary(256)
-- @say t_file_03: file IDs are bytes now
ALTER TABLE t_file_03 MODIFY id VARBINARY(256) NOT NULL;

-- @unless type t_file_03 appid varbinary(32)
-- @say t_file_03: applications are bytes now
ALTER TABLE t_file_03 MODIFY appid VARBINARY(32);

-- @unless type t_file_03 userid varbinary(255)
-- @say t_file_03: users are bytes now
ALTER TABLE t_file_03 MODIFY userid VARBINARY(255);

-- @unless type t_file_03 file_path varbinary(1024)
-- @say t_file_03: paths are bytes now
ALTER TABLE t_file_03 MODIFY file_path VARBINARY(1024);

-- @unless column t_file_03 group_name
-- @say t_file_03: added column group_name ('' for the files that are there)
ALTER TABLE t_file_03 ADD COLUMN group_name VARCHAR(32) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL DEFAULT '';

-- @unless column t_file_03 file_name
-- @say t_file_03: added column file_name
ALTER TABLE t_file_03 ADD COLUMN file_name VARBINARY(256) NOT NULL DEFAULT '';

-- @unless column t_file_03 content_type
-- @say t_file_03: added column content_type
ALTER TABLE t_file_03 ADD COLUMN content_type VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL DEFAULT '';

-- @unless column t_file_03 digest
-- @say t_file_03: added column digest ('' for the files that are there)
ALTER TABLE t_file_03 ADD COLUMN digest CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '';

-- @unless column t_file_03 deleted_at
-- @say t_file_03: added column deleted_at
ALTER TABLE t_file_03 ADD COLUMN deleted_at BIGINT NOT NULL DEFAULT 0;

-- @unless column t_file_03 change_id
-- @say t_file_03: added column change_id
ALTER TABLE t_file_03 ADD COLUMN change_id BIGINT NOT NULL DEFAULT 0;

-- @unless column t_file_03 sha256
-- @say t_file_03: added column sha256
ALTER TABLE t_file_03 ADD COLUMN sha256 CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '';

-- @unless column t_file_03 expires_at
-- @say t_file_03: added column expires_at
ALTER TABLE t_file_03 ADD COLUMN expires_at BIGINT NOT NULL DEFAULT 0;

-- @unless index t_file_03 user_file
-- @say t_file_03: added the unique index user_file
ALTER TABLE t_file_03 ADD UNIQUE KEY user_file (userid, appid, id);

-- @unless index t_file_03 file_path
-- @say t_file_03: added the index file_path
ALTER TABLE t_file_03 ADD KEY file_path (file_path(255));

-- @unless index t_file_03 status_deleted
-- @say t_file_03: added the index status_deleted
ALTER TABLE t_file_03 ADD KEY status_deleted (status, deleted_at);

-- @unless index t_file_03 expires_at
-- @say t_file_03: added the index expires_at
ALTER TABLE t_file_03 ADD KEY expires_at (expires_at);

-- ---- rows of earlier versions ----

-- A deleted file that an earlier version marked as damaged lost the fact that it is deleted: its time of deletion tells.
-- @say t_file_01: files that are damaged and deleted have a status of their own
UPDATE t_file_01 SET status = 4 WHERE status = 3 AND deleted_at > 0;

-- A deleted file that an earlier version marked as damaged lost the fact that it is deleted: its time of deletion tells.
-- @say t_file_02: files that are damaged and deleted have a status of their own
UPDATE t_file_02 SET status = 4 WHERE status = 3 AND deleted_at > 0;

-- A deleted file that an earlier version marked as damaged lost the fact that it is deleted: its time of deletion tells.
-- @say t_file_03: files that are damaged and deleted have a status of their own
UPDATE t_file_03 SET status = 4 WHERE status = 3 AND deleted_at > 0;
