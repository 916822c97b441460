-- Reelstore: the tracker's tables, SQLite. May be run at any time: creates what is missing, nothing
-- else. By hand: sqlite3 meta.db < tracker.sql   (sql/README.md tells about the lines that begin with "-- @")

-- state: 0 open for new users, 1 draining. weight: share of the new users, 0 for none.
-- @unless table t_groups_info
-- @say created table t_groups_info
CREATE TABLE IF NOT EXISTS t_groups_info (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    group_name TEXT UNIQUE,
    create_time TEXT DEFAULT CURRENT_TIMESTAMP,
    update_time TEXT DEFAULT CURRENT_TIMESTAMP,
    state INTEGER NOT NULL DEFAULT 0,
    weight INTEGER NOT NULL DEFAULT 100
);

-- @unless trigger t_groups_info_touch
CREATE TRIGGER IF NOT EXISTS t_groups_info_touch AFTER UPDATE ON t_groups_info
FOR EACH ROW WHEN NEW.update_time IS OLD.update_time
BEGIN
    UPDATE t_groups_info SET update_time = CURRENT_TIMESTAMP WHERE rowid = NEW.rowid;
END;

-- A tracker without any group would refuse everybody.
-- @unless rows SELECT 1 FROM t_groups_info LIMIT 1
-- @say added group group001
INSERT INTO t_groups_info (group_name)
SELECT 'group001' WHERE NOT EXISTS (SELECT 1 FROM t_groups_info);

-- Which group a user's files are in. Application and user are bytes: exact, neither case nor spaces are folded.
-- @unless table t_router
-- @say created table t_router
CREATE TABLE IF NOT EXISTS t_router (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    appid TEXT,
    userid TEXT,
    group_name TEXT,
    create_time TEXT DEFAULT CURRENT_TIMESTAMP,
    update_time TEXT DEFAULT CURRENT_TIMESTAMP,
    UNIQUE (appid, userid)
);

-- @unless trigger t_router_touch
CREATE TRIGGER IF NOT EXISTS t_router_touch AFTER UPDATE ON t_router
FOR EACH ROW WHEN NEW.update_time IS OLD.update_time
BEGIN
    UPDATE t_router SET update_time = CURRENT_TIMESTAMP WHERE rowid = NEW.rowid;
END;
