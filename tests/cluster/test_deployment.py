"""docs/deployment.md, command for command, on three hosts."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from lab import NETWORK, wait_for
from suite import BUILD, ROOT

HOSTS = ("reel1", "reel2", "reel3")
BLOCK = re.compile(r"<!-- (run|file): (?:(\S+) on: )?([^>]*?) -->\n```\w+\n(.*?)```", re.S)


@pytest.fixture
def three(lab):
    hosts = {name: lab.host(name) for name in HOSTS}
    tools = lab.dir / "tools"
    tools.mkdir()
    here = pathlib.Path(__file__).parent
    shutil.copy(here / "systemctl.sh", tools / "systemctl")
    installed = lab.dir / "installed"
    installed.write_text(subprocess.run(["dpkg-query", "-W", "-f", "${Package}\n"], capture_output=True, text=True).stdout)
    (tools / "apt-get").write_text(f"""#!/bin/sh
# apt-get install -y PACKAGE...: they are on the machine; what the installation of mariadb-server does is done here.
shift 2
for package; do grep -qx "$package" {installed} || {{ echo "$package is not installed" >&2; exit 1; }}; done
mkdir -p /var/log/mysql /var/lib/mysql /run/mysqld && chown mysql /var/lib/mysql /var/log/mysql /run/mysqld
mariadb-install-db --user=mysql --skip-test-db >/dev/null
""")
    (tools / "galera_new_cluster").write_text("#!/bin/sh\nNEW_CLUSTER=--wsrep-new-cluster systemctl start mariadb\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    place = lab.dir / "deployment"
    shutil.copytree(ROOT / "conf", place / "conf")
    for file in (place / "conf").rglob("*"):
        if file.is_file():
            file.write_text(addresses(hosts, file.read_text()))
    yield hosts
    for host in hosts.values():
        host.run("sh", "-c", f"cd {place}; PATH={tools}:$PATH; systemctl stop keepalived reel-httpd reel-storage reel-storage@storage2 "
                             "reel-idserver reel-tracker garb mariadb; umount -l /srv/group001 /srv/group002", check=False, timeout=200)


def addresses(hosts, text):
    """The documentation's addresses as those of the lab."""
    for number, host in enumerate(hosts.values(), 11):
        text = re.sub(rf"192\.0\.2\.{number}\b", host.ip, text)
    return re.sub(r"192\.0\.2\.(10[0-9])\b", NETWORK + r"\1", text)


def test_every_command_of_the_deployment_page_works(lab, three):
    page = (ROOT / "docs" / "deployment.md").read_text()
    blocks = BLOCK.findall(page)
    fences = page.count("\n```") // 2
    assert len(blocks) == fences > 20, f"{len(blocks)} blocks are marked for the test, {fences} are there"
    path = f"{lab.dir}/tools:{lab.dir}/usr/sbin:{lab.dir}/usr/bin:{os.environ['PATH']}"
    for kind, file, names, text in blocks:
        text = addresses(three, text).replace("build/release", str(BUILD)).replace("--prefix /usr", f"--prefix {lab.dir}/usr")
        for name in names.split():
            host = three[name]
            if kind == "file":
                host.path(file).write_text(text)
                continue
            done = host.run("timeout", "120", "sh", "-ec", f"cd {lab.dir}/deployment\nexport PATH={path} LD_LIBRARY_PATH={lab.dir}/usr/lib\n{text}",
                            check=False, timeout=150, stdin=subprocess.DEVNULL)
            assert done.returncode == 0, f"on {name}: code {done.returncode}\n{text}\n{done.stdout}\n{done.stderr}\n{logs(host)}"
    listing = three["reel1"].run("sh", "-c", f"PATH={path}; reel -t localhost admin group list").stdout
    assert re.search(r"group002 +open +300 +2 +2", listing), listing
    wait_for(lambda: sum(NETWORK + "101" in h.addresses() for h in three.values()) == 1, 10, "one owner of the virtual address")


def logs(host):
    return "\n".join(f"--- {file.name}\n" + "\n".join(file.read_text(errors="replace").splitlines()[-15:])
                     for file in host.path("/var/log").glob("*.log"))
