-- Run once, when MariaDB's volume is new: the databases of the daemons, whose tables --init-db makes.
CREATE DATABASE tnv_trackerdb;
CREATE DATABASE tnv_idsdb;
CREATE DATABASE tnv_storagedb;
GRANT ALL ON tnv_trackerdb.* TO reel@'%';
GRANT ALL ON tnv_idsdb.* TO reel@'%';
GRANT ALL ON tnv_storagedb.* TO reel@'%';
