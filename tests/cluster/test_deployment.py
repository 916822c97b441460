"""docs/deployment.md, command for command, on three machines, each with a systemd of its own and the packages."""
import os
import pathlib
import re
import secrets
import shutil
import sys

import pytest

from lab import NETWORK, wait_for
from suite import ROOT

sys.path.append(str(ROOT / "tests/packages"))

HOSTS = ("reel1", "reel2", "reel3")
BLOCK = re.compile(r"<!-- (run|file|copy): (?:(\S+) on: )?([^>]*?) -->\n```\w+\n(.*?)```", re.S)
UPGRADE = "## Upgrade without downtime"


@pytest.fixture
def dist():
    if not os.environ.get("REEL_DIST"):
        pytest.skip("no packages: REEL_DIST=DIR names those that scripts/package.sh built; scripts/nightly.sh packages does both")
    return pathlib.Path(os.environ["REEL_DIST"])


@pytest.fixture
def three(lab, dist):
    """This machine's own system, with nothing enabled and nothing in its databases, booted three times."""
    from machine import Machine
    if not shutil.which("systemd-nspawn"):
        pytest.skip("systemd-nspawn is missing: scripts/install-packages.sh cluster (package systemd-container)")
    hosts = {name: lab.host(name) for name in HOSTS}
    machines = {}
    try:
        for name, host in hosts.items():
            bricks = host.dir / "srv"
            bricks.mkdir()
            machine = machines[name] = Machine(lab.dir / "machines", name, "/", f"/proc/{host.keeper.pid}/ns/net",
                                               ["--capability=CAP_NET_ADMIN", "--bind=/dev/fuse", f"--bind={bricks}:/srv"])
            for pattern in ("etc/systemd/system/*.wants", "etc/systemd/system/*.requires", "etc/rc?.d", "etc/keepalived", "etc/reelstore",
                            "var/lib/glusterd", "var/lib/mysql", "var/lib/reelstore", "var/log/journal"):
                for path in machine.root.glob(pattern):
                    shutil.rmtree(path)
            (machine.path("/etc/machine-id")).write_text(secrets.token_hex(16) + "\n")  # else all units would be enabled
            machine.path("/etc/fstab").write_text("")
            # Without a network nothing can be newer than what is installed; else apt would upgrade what this machine has old.
            for path in machine.path("/var/lib/apt/lists").glob("*_*"):
                path.unlink()
            machine.path("/etc/hosts").write_text("127.0.0.1 localhost\n" + "".join(f"{h.ip} {n}\n" for n, h in hosts.items()))
            for directory in ("/etc/keepalived", "/etc/reelstore", "/var/lib/glusterd", "/var/log/mysql"):
                machine.path(directory).mkdir(parents=True, exist_ok=True)
            shutil.copytree(dist, machine.path("/root/dist"), ignore=shutil.ignore_patterns("debug", "libreel-dev*"))
            machine.boot()
            # What the installation of mariadb-server leaves on a new machine.
            machine.sh("install -d -o mysql -g mysql /var/lib/mysql /var/log/mysql && mariadb-install-db --user=mysql --skip-test-db >/dev/null && "
                       "systemctl start mariadb")
        yield machines
    finally:
        for machine in machines.values():
            machine.stop()


def addresses(lab, text):
    """The documentation's addresses as those of the lab."""
    for number, name in enumerate(HOSTS, 11):
        text = re.sub(rf"192\.0\.2\.{number}\b", lab.host(name).ip, text)
    return re.sub(r"192\.0\.2\.(10[0-9])\b", NETWORK + r"\1", text)


def put(machine, file, text):
    """As an editor does it: owner and mode stay."""
    path = machine.path(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def copy(machine, others, text):
    """What the block does by scp, for which these machines have no server: of a file that is there owner and mode stay."""
    hosts, files = re.fullmatch(r"for host in ([^;]*); do\n    scp (.*) \$host:/etc/reelstore/\ndone\n", text).groups()
    for host in hosts.split():
        for file in files.split():
            others[host].path(file).write_bytes(machine.path(file).read_bytes())


def test_every_command_of_the_deployment_page_works(lab, three, dist):
    from test_life import next_version
    page = (ROOT / "docs" / "deployment.md").read_text()
    begin, upgrade = page.index("## Three hosts"), page.index(UPGRADE)
    assert len(BLOCK.findall(page)) == page.count("\n```") // 2, "blocks are not all marked for a test"
    blocks = [(block.start(), *block.groups()) for block in BLOCK.finditer(page) if block.start() > begin]
    assert len(blocks) > 20
    newer = False
    for place, kind, file, names, text in blocks:
        if place > upgrade and not newer:
            newer = True
            next_version(dist, lab.dir / "next")
            for machine in three.values():
                shutil.rmtree(machine.path("/root/dist"))
                shutil.copytree(lab.dir / "next", machine.path("/root/dist"))
        text = addresses(lab, text)
        for name in names.split():
            machine = three[name]
            if kind == "file":
                put(machine, file, text)
                continue
            if kind == "copy":
                copy(machine, three, text)
                continue
            if "/keepalived\n" in text:  # the examples name the documentation's addresses
                site = machine.path("/usr/share/doc/reelstore/examples/keepalived/reelstore-site.conf")
                site.write_text(addresses(lab, site.read_text()))
            done = machine.run("timeout", "150", "sh", "-ec", f"cd /root\n{text}", check=False, timeout=200)
            assert done.returncode == 0, f"on {name}: code {done.returncode}\n{text}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}\n{machine.journal()}"
    listing = three["reel1"].run("reel", "-t", "localhost", "admin", "group", "list").stdout
    assert re.search(r"group002 +open +300 +2 +2", listing), listing
    wait_for(lambda: sum(NETWORK + "101" in lab.host(name).addresses() for name in HOSTS) == 1, 10, "one owner of the virtual address")
    for name, machine in three.items():
        assert "+next" in machine.run("dpkg-query", "-W", "reelstore-tracker").stdout
        left = machine.sh("find /etc/reelstore -name '*storage*.conf' -perm /007; systemctl list-units --failed --plain --no-legend 'reel-*'").stdout
        assert left == "", f"{name}: {left}"
        users = set(machine.sh("for pid in $(pgrep -f '^/usr/sbin/reel-'); do stat -c %U /proc/$pid; done").stdout.split())
        assert users == {"reelstore"}
