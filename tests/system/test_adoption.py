"""Taking the place of the predecessor: its databases with rows in them, its store, its clients."""
import os
import struct

import wire
from suite import APP, new_id
from test_http import fetch, path
from test_storage import wire_table

LEGACY_FILE_TABLE = """CREATE TABLE `t_file_0{n}` (
  `id` varchar(256) NOT NULL DEFAULT '', `appid` varchar(32) DEFAULT NULL, `userid` varchar(128) DEFAULT NULL,
  `status` tinyint(4) DEFAULT NULL, `file_path` varchar(512) DEFAULT NULL, `file_size` bigint(20) DEFAULT NULL,
  `create_time` timestamp NULL DEFAULT CURRENT_TIMESTAMP,
  `update_time` timestamp NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, PRIMARY KEY (`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;"""
LEGACY = {
    "trackerdb": """
CREATE TABLE `t_groups_info` (`id` int(11) unsigned NOT NULL AUTO_INCREMENT, `group_name` varchar(32) DEFAULT NULL,
  `create_time` timestamp NULL DEFAULT CURRENT_TIMESTAMP,
  `update_time` timestamp NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, PRIMARY KEY (`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
INSERT INTO t_groups_info(group_name) VALUES ('group001');
CREATE TABLE `t_router` (`id` int(11) unsigned NOT NULL AUTO_INCREMENT, `appid` varchar(32) DEFAULT NULL,
  `userid` varchar(128) DEFAULT NULL, `group_name` varchar(32) DEFAULT NULL,
  `create_time` timestamp NULL DEFAULT CURRENT_TIMESTAMP,
  `update_time` timestamp NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, PRIMARY KEY (`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
INSERT INTO t_router(appid, userid, group_name) VALUES
  ('tnvideo', 'tnv001', 'group001'), ('tnvideo', 'tnv002', 'group001'), ('tnvideo', 'tnv002', 'group001');
""",
    "idsdb": """
CREATE TABLE `t_id_gen` (`id` varchar(64) NOT NULL DEFAULT '', `id_value` bigint(20) DEFAULT NULL,
  `create_time` timestamp NULL DEFAULT CURRENT_TIMESTAMP,
  `update_time` timestamp NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, PRIMARY KEY (`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
INSERT INTO t_id_gen(id, id_value) VALUES ('../data', 300);
""",
    "storagedb": "\n".join(LEGACY_FILE_TABLE.format(n=n) for n in (1, 2, 3)),
}


def test_an_existing_installation_is_adopted_with_every_row(mariadb_suite):
    files = {}
    for n, (user, file) in enumerate([("tnv001", new_id()), ("tnv002", new_id()), ("tnv001", new_id()),
                                      ("a-third", new_id())]):
        place = f"000/000/000/5F9E3FA7_{n:03X}"
        content = os.urandom(5000 + n)
        target = mariadb_suite.dir / "data" / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        files[(user, file)] = (f"../data/{place}", content)
    mariadb_suite.add_tracker()
    mariadb_suite.add_idserver()
    mariadb_suite.add_storage(paths=f"../data={mariadb_suite.dir}/data")
    mariadb_suite.add_httpd()
    for database, script in LEGACY.items():
        mariadb_suite.mariadb.sql(f"CREATE DATABASE {mariadb_suite.prefix}{database}")
        mariadb_suite.sql(database, script)
    for (user, file), (place, content) in files.items():
        mariadb_suite.sql("storagedb", f"INSERT INTO t_file_0{wire_table(user)}(id, appid, userid, status, file_path, "
                                   f"file_size) VALUES ('{file}', '{APP}', '{user}', 0, '{place}', {len(content)})")
    for daemon in mariadb_suite.daemons.values():
        if daemon.name != "httpd":
            daemon.init_db()
            daemon.init_db()
        daemon.start()
    mariadb_suite.wait_active()
    assert mariadb_suite.sql("trackerdb", "SELECT userid, group_name FROM t_router ORDER BY userid") == [
        ["tnv001", "group001"], ["tnv002", "group001"]]
    with mariadb_suite.client() as client:
        for (user, file), (place, content) in files.items():
            assert client.size(APP, user, file) == len(content)
            assert client.download(APP, user, file).body == content
        stat = client.stat(APP, "tnv001", list(files)[0][1])
        assert stat["created"] == 0x5F9E3FA7 and stat["size"] == 5000
        assert client.upload(APP, "tnv001", "new-file", b"new").ok
        row = mariadb_suite.sql("storagedb", f"SELECT file_path FROM t_file_0{wire_table('tnv001')} WHERE id='new-file'")
        assert row[0][0].startswith("../data/000/000/000/") and row[0][0].endswith("_12C")
        # The same bytes again under a legacy row's ID: stored already. Other bytes: refused.
        (user, file), (place, content) = list(files.items())[0]
        assert client.upload(APP, user, file, content).ok
        assert client.upload(APP, user, file, content[::-1]).number == wire.EXISTS
    for (user, file), (place, content) in list(files.items())[:3]:
        answer, body = fetch(mariadb_suite, path(file, user=user))
        assert answer.status == 200 and body == content and answer.headers["ETag"].startswith('"')


def test_a_legacy_storage_server_and_client_work_with_our_tracker_and_id_server(own_suite):
    tracker, idserver = own_suite.add_tracker(), own_suite.add_idserver()
    for daemon in (tracker, idserver):
        daemon.init_db()
        daemon.start()
    with wire.Client(tracker.address) as storage, wire.Client(idserver.address) as ids:
        assert storage.call(wire.JOIN, wire.join_body("group001", "legacy", 23000)).ok
        assert storage.call(wire.BEAT, wire.field("group001", 17) + wire.field("legacy", 129)).ok
        assert [struct.unpack(">q", ids.call(wire.GET, b"../data\0").body)[0] for _ in range(3)] == [0, 1, 2]
        reply = wire.ask(tracker.address, wire.SADDRS, wire.file_key(APP, "tnv009", new_id()))
        assert reply.body == b"group001" + bytes(9) + b"127.0.0.1:23000;\0"
