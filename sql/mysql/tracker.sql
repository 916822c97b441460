-- Reelstore: the tracker's tables, MySQL and MariaDB. May be run at any time: creates what is missing, nothing else.
-- By hand: mariadb tnv_trackerdb < tracker.sql   (sql/README.md tells about the lines that begin with "-- @")

-- state: 0 open for new users, 1 draining. weight: share of the new users, 0 for none.
-- @unless table t_groups_info
-- @say created table t_groups_info
CREATE TABLE IF NOT EXISTS t_groups_info (
    id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    group_name VARCHAR(32) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
    create_time TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP,
    update_time TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
    state TINYINT NOT NULL DEFAULT 0,
    weight INT NOT NULL DEFAULT 100,
    UNIQUE KEY group_name (group_name)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

-- A tracker without any group would refuse everybody.
-- @unless rows SELECT 1 FROM t_groups_info LIMIT 1
-- @say added group group001
INSERT INTO t_groups_info (group_name)
SELECT 'group001' FROM DUAL WHERE NOT EXISTS (SELECT 1 FROM t_groups_info);

-- Which group a user's files are in. Application and user are bytes: exact, neither case nor spaces are folded.
-- @unless table t_router
-- @say created table t_router
CREATE TABLE IF NOT EXISTS t_router (
    id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    appid VARBINARY(32),
    userid VARBINARY(255),
    group_name VARCHAR(32),
    create_time TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP,
    update_time TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
    UNIQUE KEY appid_userid (appid, userid)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
