-- Reelstore: the ID server's table, SQLite. May be run at any time: creates what is missing, nothing
-- else. By hand: sqlite3 meta.db < idserver.sql   (sql/README.md tells about the lines that begin with "-- @")

-- id: the key, a store path. id_value: the first value that no ID server has reserved yet.
-- @unless table t_id_gen
-- @say created table t_id_gen
CREATE TABLE IF NOT EXISTS t_id_gen (
    id TEXT NOT NULL PRIMARY KEY,
    id_value INTEGER,
    create_time TEXT DEFAULT CURRENT_TIMESTAMP,
    update_time TEXT DEFAULT CURRENT_TIMESTAMP
);

-- @unless trigger t_id_gen_touch
CREATE TRIGGER IF NOT EXISTS t_id_gen_touch AFTER UPDATE ON t_id_gen
FOR EACH ROW WHEN NEW.update_time IS OLD.update_time
BEGIN
    UPDATE t_id_gen SET update_time = CURRENT_TIMESTAMP WHERE rowid = NEW.rowid;
END;
