-- Reelstore: brings the ID server's table of the predecessor up to date, MySQL and MariaDB. Run idserver.sql before.
-- `reel-idserver --init-db` does both and may be stopped and run again at any point. By hand:
-- mariadb tnv_idsdb < idserver.sql && mariadb tnv_idsdb < idserver-upgrade.sql
-- Stop the ID servers, take a backup.

-- @unless type t_id_gen id varbinary(65)
-- @say t_id_gen: keys are bytes now, 65 of them
ALTER TABLE t_id_gen MODIFY id VARBINARY(65) NOT NULL;
