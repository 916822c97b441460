"""The life of an installation from packages, on a machine with a real systemd: what each test leaves is where the next begins."""
import pathlib
import re
import subprocess
import time

from machine import wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]
DAEMONS = ("tracker", "idserver", "storage", "httpd")
INSTALL = "cd /root && apt-get install -y ./dist/reelstore-*.deb"


def reel(machine, *arguments, **more):
    return machine.run("reel", "-u", "alice", *arguments, **more).stdout.strip()


def states(machine):
    """ActiveState of each daemon, the user of its process, and whether it is enabled."""
    found = {}
    for name in DAEMONS:
        shown = dict(line.split("=", 1) for line in machine.run(
            "systemctl", "show", f"reel-{name}", "-p", "ActiveState,UnitFileState,MainPID,NRestarts").stdout.splitlines())
        user = machine.run("stat", "-c", "%U", f"/proc/{shown['MainPID']}", check=False).stdout.strip()
        found[name] = (shown["ActiveState"], shown["UnitFileState"], user)
    return found


RUNNING = {name: ("active", "enabled", "reelstore") for name in DAEMONS}


def test_from_apt_install_to_a_stored_file(machine):
    """Two commands; docs/deployment.md has them too."""
    machine.sh("head -c 5000000 /dev/urandom >/root/film.mp4")
    began = time.monotonic()
    machine.sh(INSTALL)
    installed = time.monotonic() - began
    id = reel(machine, "upload", "/root/film.mp4")
    print(f"apt install: {installed:.1f} s; until the first file is stored: {time.monotonic() - began:.1f} s, 2 commands")
    machine.path("/root/id").write_text(id)
    assert re.fullmatch(r"[0-9a-f]{30}\d{6}", id)
    assert states(machine) == RUNNING
    assert machine.run("systemctl", "--failed", "--plain", "--no-legend").stdout == ""


def test_nobody_else_reads_configurations_and_metadata(machine):
    seen = machine.run("stat", "-c", "%U:%G %a %n", *(f"/etc/reelstore/{name}.conf" for name in DAEMONS)).stdout.splitlines()
    assert seen == [f"root:reelstore 640 /etc/reelstore/{name}.conf" for name in DAEMONS]
    owners = machine.sh("find /var/lib/reelstore /var/log/reelstore /var/backups/reelstore -printf '%u\\n' | sort -u").stdout.split()
    assert owners == ["reelstore"]
    assert machine.sh("find /var/lib/reelstore /var/log/reelstore /var/backups/reelstore -perm /007").stdout == ""
    assert machine.run("runuser", "-u", "nobody", "--", "cat", "/var/lib/reelstore/storage.db", check=False).returncode != 0


def test_keys_are_made_and_nobody_else_reads_them(machine):
    seen = machine.run("stat", "-c", "%U:%G %a %n", "/etc/reelstore/keys", "/etc/reelstore/reel.keys").stdout.splitlines()
    assert seen == ["reelstore:reelstore 600 /etc/reelstore/keys", "root:root 600 /etc/reelstore/reel.keys"]
    before = machine.path("/etc/reelstore/keys").read_text()
    assert len(re.findall(r"^\S+ \S+ [A-Za-z0-9+/]{43}= ?", before, re.M)) == 3
    for name in DAEMONS:
        machine.run("/usr/lib/reelstore/setup-daemon", name)
        assert "auth.mode is prefer" not in machine.journal(f"reel-{name}")
    assert machine.path("/etc/reelstore/keys").read_text() == before, "they were made again"
    who = machine.run("reel", "auth", "whoami").stdout
    assert '"operator"' in who and '"ops"' in who
    # Whoever has no key gets nothing, neither over packets nor over HTTP.
    done = machine.run("runuser", "-u", "nobody", "--", "reel", "-u", "alice", "list", check=False)
    assert done.returncode == 9 and "HELLO" in done.stderr, done.stderr
    url = "http://127.0.0.1:8080/files/tnvideo/alice/" + machine.path("/root/id").read_text()
    assert machine.run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", url).stdout == "403"


def test_it_serves_this_machine_alone_until_told_otherwise(machine):
    ports = machine.sh("cat /proc/net/tcp /proc/net/tcp6 | awk '$4 == \"0A\" {print $2}'").stdout.split()
    assert len(ports) >= 8
    assert all(port.startswith(("0100007F:", "00000000000000000000000001000000:")) for port in ports), ports


def test_the_round_trip_of_the_package_tests(machine):
    script = (ROOT / "debian/tests/round-trip").read_text()
    assert "stored, fetched twice, deleted, restored" in machine.run("sh", "-ec", script).stdout


def test_units_are_what_systemd_understands(machine):
    units = machine.sh("ls /lib/systemd/system/reel-*.service").stdout.split()
    assert len(units) >= 6
    done = machine.run("systemd-analyze", "verify", "--man=no", *[unit.replace("@.", "@storage.") for unit in units], check=False)
    assert done.returncode == 0 and "reel-" not in done.stderr, done.stderr


def test_a_nightly_backup_runs(machine):
    for name in ("tracker", "idserver", "storage"):
        machine.run("systemctl", "start", f"reel-backup@{name}.service")
    copies = machine.sh("stat -c '%U %a' /var/backups/reelstore/*.db").stdout.splitlines()
    assert len(copies) == 3 and all(copy.startswith("reelstore 6") for copy in copies), copies


def test_a_reload_of_a_file_that_is_refused_fails(machine):
    for name in DAEMONS:
        machine.sh(f"cp -p /etc/reelstore/{name}.conf /root/kept.conf; printf '\\n[{name}]\\nnonsense = 1\\n' >>/etc/reelstore/{name}.conf")
        done = machine.run("systemctl", "reload", f"reel-{name}", check=False)
        assert done.returncode != 0 and "nonsense" in machine.journal(f"reel-{name}"), done
        machine.sh(f"cp -p /root/kept.conf /etc/reelstore/{name}.conf; systemctl reload reel-{name}")
    assert states(machine) == RUNNING


def test_what_root_initialises_the_daemon_can_write(machine):
    machine.sh("""
        systemctl stop reel-idserver
        rm /var/lib/reelstore/idserver.db*
        reel-idserver -c /etc/reelstore/idserver.conf --init-db
        sed 's/^user = .*//; s/idserver.db/other.db/' /etc/reelstore/idserver.conf >/root/plain.conf
        reel-idserver -c /root/plain.conf --init-db
        """)
    assert set(machine.sh("stat -c %U /var/lib/reelstore/idserver.db /var/lib/reelstore/other.db").stdout.split()) == {"reelstore"}
    # Its numbers begin anew: move past those that were given.
    machine.sh("rm /var/lib/reelstore/other.db*; cp /var/backups/reelstore/idserver-*.db /var/lib/reelstore/idserver.db; "
               "chown reelstore: /var/lib/reelstore/idserver.db; systemctl start reel-idserver")


def test_a_second_storage_server_is_an_instance(machine):
    machine.sh("""
        install -d -o reelstore -g reelstore -m 0750 /srv/media2
        sed 's/23000/23010/; s/23100/23110/; s/storage.db/storage2.db/; s,group001=/var/lib/reelstore/data,group002=/srv/media2,; s/group001/group002/' \\
            /etc/reelstore/storage.conf >/etc/reelstore/storage2.conf
        reel-storage -c /etc/reelstore/storage2.conf --init-db
        systemctl enable --now reel-storage@storage2
        """)
    wait_for(lambda: len(re.findall("ACTIVE", machine.run("reel", "groups").stdout)) >= 2, 30, "both storage servers are active")


def test_a_store_below_home_is_named_with_what_helps(machine):
    machine.sh("""
        install -d -o reelstore -g reelstore -m 0750 /home/media
        sed 's/23010/23020/; s/23110/23120/; s/storage2.db/storage3.db/; s,/srv/media2,/home/media,; s/group002/group003/g' \\
            /etc/reelstore/storage2.conf >/etc/reelstore/storage3.conf
        reel-storage -c /etc/reelstore/storage3.conf --init-db
        systemctl start --no-block reel-storage@storage3
        """)
    wait_for(lambda: "ProtectHome" in machine.journal("reel-storage@storage3"), 30, "the log names ProtectHome")
    machine.sh("""
        mkdir -p /etc/systemd/system/reel-storage@storage3.service.d
        printf '[Service]\\nProtectHome=no\\n' >/etc/systemd/system/reel-storage@storage3.service.d/home.conf
        systemctl daemon-reload
        systemctl restart reel-storage@storage3
        """)
    wait_for(lambda: re.search(r"^reel_storage_path_writable\{.*\} 1$", machine.run("curl", "-s", "http://127.0.0.1:23120/metrics").stdout, re.M), 30,
             "the store below /home is used")
    machine.sh("""
        systemctl stop reel-storage@storage3
        rm -r /etc/systemd/system/reel-storage@storage3.service.d /etc/reelstore/storage3.conf
        systemctl daemon-reload
        """)


def test_the_database_url_may_be_a_credential(machine):
    """As docs/operations.md, "The database", says; the file is root's alone."""
    machine.sh("""
        echo sqlite:/var/lib/reelstore/tracker.db >/etc/reelstore/database-url
        chmod 0600 /etc/reelstore/database-url
        cp -p /etc/reelstore/tracker.conf /root/tracker.conf
        sed -i 's/^url = .*/url_file = database/' /etc/reelstore/tracker.conf
        mkdir -p /etc/systemd/system/reel-tracker.service.d
        printf '[Service]\\nLoadCredential=database:/etc/reelstore/database-url\\n' >/etc/systemd/system/reel-tracker.service.d/database.conf
        systemctl daemon-reload
        systemctl restart reel-tracker
        """)
    assert "ok" in machine.run("curl", "-sf", "http://127.0.0.1:21100/healthz").stdout
    wait_for(lambda: "ACTIVE" in machine.run("reel", "groups", check=False).stdout, 30, "the storage servers have joined again")
    machine.sh("""
        rm -r /etc/systemd/system/reel-tracker.service.d /etc/reelstore/database-url
        cp -p /root/tracker.conf /etc/reelstore/tracker.conf
        systemctl daemon-reload
        systemctl restart reel-tracker
        """)


def test_it_is_there_again_after_a_reboot(machine):
    began = time.monotonic()
    machine.reboot()
    assert states(machine) == RUNNING
    id = machine.path("/root/id").read_text()
    reel(machine, "--max-time", "60s", "download", id, "/root/copy.mp4")
    machine.sh("cmp /root/film.mp4 /root/copy.mp4")
    print(f"rebooted, and the file read again: {time.monotonic() - began:.1f} s")


LOAD = """
# Uploads, reads by the command and over HTTP without pause, and without trying again; a line for each failure. Ends when /root/stop is there.
n=0
id=$(cat /root/id)
while [ ! -e /root/stop ]; do
    head -c 200000 /dev/urandom >/root/load.$1
    new=$(reel -q -u alice upload /root/load.$1) || echo "upload: $?"
    reel -q -u alice download -o /root/back.$1 "$new" && cmp /root/load.$1 /root/back.$1 || echo "download: $?"
    n=$((n + 1))
done
echo "rounds: $n"
"""

WEB = """
# The same with curl, which takes no second try either: what a browser sees.
n=0
url=$(reel -u alice url --sign --expires 1h "$(cat /root/id)")
token=$(reel -u alice auth token --rights w --expires 1h)
head -c 100000 /dev/urandom >/root/small.$1
while [ ! -e /root/stop ]; do
    code=$(curl -sS --max-time 60 -o /root/web.$1 -w '%{http_code}' "$url") && [ "$code" = 200 ] && cmp /root/film.mp4 /root/web.$1 || echo "GET: $code"
    code=$(curl -sS --max-time 60 -o /root/said.$1 -w '%{http_code}' -T /root/small.$1 -H "Authorization: Bearer $token" \
        "http://127.0.0.1:8080/files/tnvideo/alice/load-$$-$1-$n") && [ "$code" = 201 ] || echo "PUT: $code $(cat /root/said.$1)"
    n=$((n + 1))
done
echo "rounds: $n"
"""


def next_version(dist, directory):
    """The packages once more, of a later version."""
    directory.mkdir(parents=True)
    for package in dist.glob("reelstore-*.deb"):
        tree = directory / "tree"
        subprocess.run(["dpkg-deb", "-R", package, tree], check=True)
        control = tree / "DEBIAN/control"
        control.write_text(re.sub(r"^Version: (.*)", r"Version: \1+next", control.read_text(), flags=re.M))
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "-b", tree, directory / package.name], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["rm", "-r", tree], check=True)


def start_load(machine):
    """Clients that take no second try."""
    machine.sh("""
        sed -i '/^httpd-1 /s/rights=r\\b/rights=rwd/' /etc/reelstore/keys
        sed -i 's/^#write = on/write = on/' /etc/reelstore/httpd.conf
        systemctl reload reel-tracker reel-storage reel-httpd
        """)
    machine.path("/root/stop").unlink(missing_ok=True)
    machine.path("/root/load").write_text(LOAD)
    machine.path("/root/web").write_text(WEB)
    return [machine.start("sh", "/root/" + kind, number) for kind, number in (("load", 1), ("load", 2), ("web", 3), ("web", 4))]


def end_load(machine, loads, what):
    time.sleep(2)
    machine.path("/root/stop").touch()
    said = [load.communicate(timeout=480) for load in loads]
    rounds = [re.fullmatch(r"rounds: (\d+)\n", out) for out, _ in said]
    assert all(found and int(found[1]) > 3 for found in rounds), said
    machine.sh("sed -i 's/^write = on/#write = on/' /etc/reelstore/httpd.conf; systemctl reload reel-httpd")
    print(f"{what}: {[int(found[1]) for found in rounds]} rounds, 0 failures")


def test_restarts_under_load_fail_no_request(machine):
    """Listening sockets outlive a restart: whoever connects meanwhile waits."""
    loads = start_load(machine)
    for _ in range(3):
        for name in DAEMONS:
            machine.run("systemctl", "restart", f"reel-{name}")
    end_load(machine, loads, "12 restarts under load")
    assert "listening sockets are taken over" in machine.journal("reel-httpd")
    # Other addresses take the place of those that systemd keeps, and a stop keeps none.
    machine.sh("""
        sed -i 's/^listen = 127.0.0.1:8080/listen = *:8080/' /etc/reelstore/httpd.conf
        systemctl restart reel-httpd
        curl -s -o /dev/null http://127.0.0.2:8080/
        sed -i 's/^listen = [*]:8080/listen = 127.0.0.1:8080/' /etc/reelstore/httpd.conf
        systemctl restart reel-httpd
        curl -s -o /dev/null http://127.0.0.1:8080/
        ! curl -s -o /dev/null http://127.0.0.2:8080/
        systemctl stop reel-httpd
        ! curl -s -o /dev/null http://127.0.0.1:8080/
        systemctl start reel-httpd
        """)


def test_an_upgrade_under_load_fails_no_request(machine, dist):
    machine.sh("sed -i 's/^\\[httpd\\]/[httpd]\\nretry_after = 7s/' /etc/reelstore/httpd.conf")
    next_version(dist, machine.path("/root/next"))
    before = {name: machine.run("systemctl", "show", "-P", "MainPID", f"reel-{name}").stdout for name in (*DAEMONS, "storage@storage2")}
    loads = start_load(machine)
    time.sleep(2)
    machine.sh("cd /root && apt-get install -y ./next/reelstore-*.deb")
    end_load(machine, loads, "upgrade under load")
    assert states(machine) == RUNNING
    for name, pid in before.items():
        assert machine.run("systemctl", "show", "-P", "MainPID", f"reel-{name}").stdout != pid, f"reel-{name} was not restarted"
    assert "+next" in machine.run("dpkg-query", "-W", "reelstore-storage").stdout
    assert "retry_after = 7s" in machine.path("/etc/reelstore/httpd.conf").read_text()


def test_an_upgrade_of_an_installation_without_keys_leaves_it_open_and_says_so(machine):
    """As a version made it that knew no keys."""
    machine.sh("""
        cp -p /etc/reelstore/tracker.conf /root/tracker.secure
        cp -p /etc/reelstore/httpd.conf /root/httpd.secure
        sed -i '/^\\[auth\\]/,/^keys = /d' /etc/reelstore/tracker.conf
        sed -i '/^\\[auth\\]/,/^keys = /d; /^access = /d' /etc/reelstore/httpd.conf
        mv /etc/reelstore/keys /root/keys
        """)
    before = {name: machine.path(f"/etc/reelstore/{name}.conf").read_text() for name in ("tracker", "httpd")}
    machine.sh("dpkg -i /root/next/reelstore-tracker_*.deb /root/next/reelstore-httpd_*.deb")
    assert before == {name: machine.path(f"/etc/reelstore/{name}.conf").read_text() for name in before}
    assert not machine.path("/etc/reelstore/keys").exists()
    for name, said in (("tracker", "auth.mode is prefer and auth.keys is empty"), ("httpd", "httpd.access is open")):
        wait_for(lambda: said in machine.journal(f"reel-{name}"), 30, f"reel-{name} says so")
    machine.sh("""
        mv /root/keys /etc/reelstore/keys
        mv /root/tracker.secure /etc/reelstore/tracker.conf
        mv /root/httpd.secure /etc/reelstore/httpd.conf
        systemctl restart reel-tracker reel-httpd
        """)


def test_a_configuration_that_was_removed_is_not_made_again(machine):
    machine.sh("systemctl disable --now reel-httpd && rm /etc/reelstore/httpd.conf && dpkg -i /root/next/reelstore-httpd_*.deb")
    assert not machine.path("/etc/reelstore/httpd.conf").exists()


def test_purge_leaves_what_was_stored_and_nothing_else(machine):
    machine.sh("apt-get purge -y 'reelstore-*'")
    left = machine.sh("find / -xdev \\( -path /root -o -path /proc -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/log/apt "
                      "-o -path /var/lib/reelstore -o -path /var/backups/reelstore -o -path /var/log/journal -o -path /run/log -o -path /srv -o -path /home \\) -prune "
                      "-o -name '*reel*' -print").stdout.split()
    # Configurations that the administrator made are his.
    assert sorted(left) == ["/etc/reelstore", "/etc/systemd/system/multi-user.target.wants/reel-storage@storage2.service"], left
    assert machine.sh("ls /etc/reelstore").stdout.split() == ["storage2.conf"]
    assert machine.run("systemctl", "list-units", "--plain", "--no-legend", "reel-*").stdout.strip() == ""
    assert int(machine.sh("find /var/lib/reelstore/data -type f | wc -l").stdout) > 3


def test_what_was_stored_is_found_by_a_new_installation(machine):
    machine.sh(INSTALL)
    id = machine.path("/root/id").read_text()
    machine.sh("rm -f /root/copy.mp4")
    reel(machine, "--max-time", "60s", "download", id, "/root/copy.mp4")
    machine.sh("cmp /root/film.mp4 /root/copy.mp4")
