-- Reelstore: the ID server's table, MySQL and MariaDB. May be run at any time: creates what is missing, nothing else.
-- By hand: mariadb tnv_idsdb < idserver.sql   (sql/README.md tells about the lines that begin with "-- @")

-- id: the key, a store path. id_value: the first value that no ID server has reserved yet.
-- @unless table t_id_gen
-- @say created table t_id_gen
CREATE TABLE IF NOT EXISTS t_id_gen (
    id VARBINARY(65) NOT NULL PRIMARY KEY,
    id_value BIGINT,
    create_time TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP,
    update_time TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
