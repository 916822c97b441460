"""The site that most tests share: media1 and media2 store and serve, media3 holds the arbiter's brick, db1 the database,
control1 to control3 the trackers and ID servers."""
import contextlib
import urllib.parse

import daemons
import wire
from daemons import APP, Reel
from database import Database
from gluster import Pool, Volume
from lab import wait_for

USER = "alice"


class Site:
    def __init__(self, lab):
        self.lab = lab
        self.media = [lab.host(f"media{n}") for n in (1, 2, 3)]
        self.control = [lab.host(f"control{n}") for n in (1, 2, 3)]
        self.database = Database(lab.host("db1"))
        for name in ("tnv_trackerdb", "tnv_idsdb", "tnv_storagedb"):
            self.database.sql(f"CREATE DATABASE {name}")
        self.pool = Pool(self.media)
        self.volume = Volume(self.pool, "group001")
        for host in self.media[:2]:
            self.volume.mount(host)
        self.trackers = [daemons.tracker(h, self.database) for h in self.control]
        self.idservers = [daemons.idserver(h, self.database) for h in self.control[:2]]
        self.storages = [self.storage(self.media[0]), self.storage(self.media[1], mount_check="marker")]
        self.httpds = [daemons.httpd(h, self.control) for h in self.media[:2]]
        self.second = None
        for daemon in (self.trackers[0], self.idservers[0], self.storages[0]):
            daemon.init_db()
        for daemon in self.daemons:
            daemon.start()
        self.reel = Reel(lab, [h.ip for h in self.control], USER)
        for tracker in self.trackers:
            daemons.active(tracker, len(self.storages))
        # A user stays where the first look-up sends her: this one, while there is no other group.
        assert daemons.group_of(self.trackers[0], USER) == "group001"
        self.make_whole()

    def storage(self, host, group="group001", shift=0, **options):
        return daemons.storage(host, self.database, group, f"{group}=/srv/{group}", self.control, self.control[:2], shift, **options)

    @property
    def daemons(self):
        return [*self.trackers, *self.idservers, *self.storages, *self.httpds, *(self.second.storages if self.second else [])]

    def add_second_group(self):
        """group002 on a volume of its own, on the same hosts; only once. The tests have the trackers know it."""
        if not self.second:
            self.second = Group(self, "group002")
        return self.second

    def place(self, user, group):
        """Has USER's files in GROUP; to be called before anybody looks for one."""
        self.database.sql(f"INSERT INTO t_router (appid, userid, group_name) VALUES ('{APP}', '{user}', '{group}')", "tnv_trackerdb")

    def make_whole(self):
        """Everything runs, every cable is in, the volume is mounted and healed, and USER is a user of the first group."""
        for host in self.lab.hosts.values():
            host.mend()
        if self.database.node.process.poll() is not None:
            self.database.start()
        self.pool.make_whole()
        for volume in [self.volume, *([self.second.volume] if self.second else [])]:
            volume.make_whole()
        for daemon in self.daemons:
            if not daemon.running:
                daemon.start()
        for tracker in self.trackers:
            daemons.active(tracker, len(self.storages) + (len(self.second.storages) if self.second else 0), 30)
        for daemon in self.daemons:
            wait_for(daemon.healthy, 30, f"health of {daemon}: {daemon.http('/healthz')[1]}")
        for tracker in self.trackers:
            wait_for(lambda: daemons.group_of(tracker, USER) == "group001", 10, f"the route of {USER} to group001 by {tracker}")

    def client(self, index=0):
        return wire.Client(self.storages[index].address)

    def upload(self, index, file, content, user=USER):
        with self.client(index) as client:
            return client.upload(APP, user, file, content)

    def download(self, index, file, user=USER):
        with self.client(index) as client:
            return client.download(APP, user, file)

    def url(self, index, file, user=USER):
        address = self.httpds[index].address
        return f"http://{address[0]}:{address[1]}/files/{APP}/{urllib.parse.quote(user)}/{file}"

    def stop(self):
        problems = []
        for daemon in reversed(self.daemons):
            try:
                daemon.stop()
            except RuntimeError as problem:
                problems.append(str(problem))
        with contextlib.suppress(Exception):
            self.database.stop()
        assert not problems, "\n".join(problems)


class Group:
    """A further group: a volume over the same three hosts, and a storage server on each of its mounts."""

    def __init__(self, site, name):
        self.volume = Volume(site.pool, name)
        for host in site.media[:2]:
            self.volume.mount(host)
        self.storages = [site.storage(host, name, 10) for host in site.media[:2]]
        site.database.sql(f"INSERT IGNORE INTO t_groups_info (group_name) VALUES ('{name}')", "tnv_trackerdb")
        for storage in self.storages:
            storage.start()
