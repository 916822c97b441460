-- Reelstore: brings the tracker's tables of the predecessor up to date, MySQL and MariaDB. Run tracker.sql before.
-- `reel-tracker --init-db` does both, asks before each step whether it is needed (the lines that begin with "-- @"),
-- and may be stopped and run again at any point. By hand, on tables as the predecessor left them, once:
-- mariadb tnv_trackerdb < tracker.sql && mariadb tnv_trackerdb < tracker-upgrade.sql
-- Stop the trackers, take a backup.

-- ---- t_groups_info ----

-- @unless column t_groups_info state
-- @say t_groups_info: added column state (every group open for new users)
ALTER TABLE t_groups_info ADD COLUMN state TINYINT NOT NULL DEFAULT 0;

-- @unless column t_groups_info weight
-- @say t_groups_info: added column weight (100 for every group)
ALTER TABLE t_groups_info ADD COLUMN weight INT NOT NULL DEFAULT 100;

-- @unless collation t_groups_info group_name utf8mb4_bin
-- @say t_groups_info: group names are compared exactly
ALTER TABLE t_groups_info MODIFY group_name VARCHAR(32) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- A group that stands there twice keeps its first row; the others move to t_groups_info_duplicates.
-- @unless index t_groups_info group_name
-- @if rows SELECT 1 FROM t_groups_info WHERE group_name IS NOT NULL GROUP BY group_name HAVING COUNT(*) > 1 LIMIT 1
-- @unless table t_groups_info_duplicates
-- @say created table t_groups_info_duplicates
CREATE TABLE IF NOT EXISTS t_groups_info_duplicates (
    id INT UNSIGNED NOT NULL PRIMARY KEY,
    group_name VARCHAR(32) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    create_time TIMESTAMP NULL,
    update_time TIMESTAMP NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- @unless index t_groups_info group_name
-- @if table t_groups_info_duplicates
-- @say t_groups_info: copied duplicate groups to t_groups_info_duplicates
INSERT INTO t_groups_info_duplicates (id, group_name, create_time, update_time)
SELECT g.id, g.group_name, g.create_time, g.update_time
FROM t_groups_info g
JOIN (SELECT group_name, MIN(id) AS first_id FROM t_groups_info WHERE group_name IS NOT NULL
      GROUP BY group_name HAVING COUNT(*) > 1) f
  ON f.group_name = g.group_name AND g.id > f.first_id
WHERE NOT EXISTS (SELECT 1 FROM t_groups_info_duplicates d WHERE d.id = g.id);

-- @unless index t_groups_info group_name
-- @if table t_groups_info_duplicates
-- @say t_groups_info: removed the copied rows
DELETE g FROM t_groups_info g JOIN t_groups_info_duplicates d ON d.id = g.id AND d.group_name = g.group_name;

-- @unless index t_groups_info group_name
-- @say t_groups_info: added the unique index group_name
ALTER TABLE t_groups_info ADD UNIQUE KEY group_name (group_name);

-- ---- t_router ----

-- The predecessor had no unique index, compared without regard to case and trailing spaces, and took the row with the
-- lowest id. So of the rows that it took for one user, that row decides: the others are kept in t_router_duplicates as
-- they were; those in another spelling stay in t_router and lead to the same group; equal ones are removed from it.
-- @unless index t_router appid_userid
-- @if rows SELECT 1 FROM t_router WHERE appid IS NOT NULL AND userid IS NOT NULL GROUP BY appid, userid HAVING COUNT(*) > 1 LIMIT 1
-- @unless table t_router_duplicates
-- @say created table t_router_duplicates
CREATE TABLE IF NOT EXISTS t_router_duplicates (
    id INT UNSIGNED NOT NULL PRIMARY KEY,
    appid VARBINARY(32),
    userid VARBINARY(255),
    group_name VARCHAR(32),
    create_time TIMESTAMP NULL,
    update_time TIMESTAMP NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- @unless index t_router appid_userid
-- @if table t_router_duplicates
-- @say t_router: copied rows that the predecessor never found to t_router_duplicates
INSERT INTO t_router_duplicates (id, appid, userid, group_name, create_time, update_time)
SELECT r.id, r.appid, r.userid, r.group_name, r.create_time, r.update_time
FROM t_router r
JOIN (SELECT appid, userid, MIN(id) AS first_id FROM t_router WHERE appid IS NOT NULL AND userid IS NOT NULL
      GROUP BY appid, userid HAVING COUNT(*) > 1) f
  ON f.appid = r.appid AND f.userid = r.userid AND r.id > f.first_id
WHERE NOT EXISTS (SELECT 1 FROM t_router_duplicates d WHERE d.id = r.id);

-- @unless index t_router appid_userid
-- @if table t_router_duplicates
-- @say t_router: led other spellings of a user to the group of the row that the predecessor found
UPDATE t_router r
JOIN (SELECT appid, userid, MIN(id) AS first_id FROM t_router WHERE appid IS NOT NULL AND userid IS NOT NULL
      GROUP BY appid, userid HAVING COUNT(*) > 1) f
  ON f.appid = r.appid AND f.userid = r.userid AND r.id > f.first_id
JOIN t_router k ON k.id = f.first_id
SET r.group_name = k.group_name, r.update_time = r.update_time;

-- @unless type t_router userid varbinary(255)
-- @say t_router: applications and users are bytes now, 255 of them for a user
ALTER TABLE t_router MODIFY appid VARBINARY(32), MODIFY userid VARBINARY(255);

-- @unless type t_router appid varbinary(32)
-- @say t_router: applications are bytes now
ALTER TABLE t_router MODIFY appid VARBINARY(32);

-- @unless index t_router appid_userid
-- @if table t_router_duplicates
-- @say t_router: removed the copied rows that are equal to a kept one
DELETE r FROM t_router r
JOIN (SELECT appid, userid, MIN(id) AS first_id FROM t_router WHERE appid IS NOT NULL AND userid IS NOT NULL
      GROUP BY appid, userid HAVING COUNT(*) > 1) f
  ON f.appid = r.appid AND f.userid = r.userid AND r.id > f.first_id
JOIN t_router_duplicates d ON d.id = r.id;

-- @unless index t_router appid_userid
-- @say t_router: added the unique index appid_userid
ALTER TABLE t_router ADD UNIQUE KEY appid_userid (appid, userid);
