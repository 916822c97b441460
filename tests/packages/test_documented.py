"""docs/deployment.md, "One machine", and README.md, "Installing for real", command for command."""
import pathlib
import re
import shlex

from machine import wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_the_commands_for_one_machine_work(fresh):
    page = (ROOT / "docs/deployment.md").read_text()
    blocks = re.findall(r"<!-- run: one -->\n```sh\n(.*?)```", page, re.S)
    assert len(blocks) >= 4
    fresh.sh("head -c 3000000 /dev/urandom >/root/film.mp4")
    outputs = [fresh.run("sh", "-ec", f"cd /root\n{block}").stdout for block in blocks]
    id = outputs[0].split()[-1]
    # What was stored before is served from where it was moved to, to others too.
    link = fresh.run("reel", "-u", "alice", "url", "--sign", id).stdout.strip()
    wait_for(lambda: fresh.run("curl", "-sf", "-o", "/root/web.mp4", link, check=False).returncode == 0, 30, "the file over HTTP")
    fresh.sh("cmp /root/film.mp4 /root/web.mp4; reel -u alice upload /root/film.mp4 >/dev/null; ls -d /srv/media/000")
    listening = fresh.sh("cat /proc/net/tcp /proc/net/tcp6 | awk '$4 == \"0A\" {print $2}'").stdout
    assert all(re.search(rf"\b0+:{port:04X}\b", listening) for port in (8080, 21000, 23000)), listening
    assert "ok" in fresh.run("curl", "-sf", "http://127.0.0.1:23100/healthz").stdout
    assert len(fresh.run("systemctl", "list-timers", "--no-legend", "reel-backup@*").stdout.splitlines()) == 3


def test_the_readme_installs_in_the_same_way():
    text = (ROOT / "README.md").read_text()
    commands = re.findall(r"^    (\S.*)", text[text.index("## Installing for real"):text.index("## From C")], re.M)
    assert commands == ["scripts/package.sh", "apt-get install -y ./dist/reelstore-*.deb", "reel -u alice upload film.mp4"]


def test_the_entry_of_the_image_runs_what_the_composition_says(fresh):
    """packaging/compose.yaml without containers: its commands, by the entry point, on one machine that has all its names."""
    text = (ROOT / "packaging/compose.yaml").read_text()
    commands = [[word.strip().strip('"') for word in line.split(",")] for line in re.findall(r"command: \[(.*?)\]", text, re.S)]
    assert [command[0] for command in commands] == ["tracker", "idserver", "storage", "httpd"]
    fresh.sh("""
        cd /root && apt-get install -y ./dist/reelstore-*.deb
        systemctl stop reel-tracker reel-idserver reel-storage reel-httpd
        rm -r /etc/reelstore/*.conf /etc/reelstore/*keys /var/lib/reelstore/*
        install -d -o reelstore -g reelstore /var/lib/reelstore/data
        echo '127.0.0.1 tracker idserver storage' >>/etc/hosts
        """)
    entry = fresh.path("/usr/local/bin/container-entry")
    entry.write_text((ROOT / "packaging/container-entry").read_text())
    entry.chmod(0o755)
    for command in commands:
        fresh.start("sh", "-c", f"exec runuser -u reelstore -- /usr/local/bin/container-entry {shlex.join(command)} >/root/{command[0]}.log 2>&1")
    fresh.sh("head -c 100000 /dev/urandom >/root/film.mp4")
    try:
        wait_for(lambda: fresh.run("/usr/local/bin/container-entry", "reel", "-t", "tracker", "-u", "alice", "upload", "/root/film.mp4", check=False).returncode == 0, 60,
                 "an upload")
    except AssertionError as late:
        raise AssertionError(fresh.sh("tail -n 20 /root/*.log").stdout) from late
    for name, port in (("tracker", 21100), ("idserver", 22100), ("storage", 23100), ("httpd", 8180)):
        wait_for(lambda: fresh.run("curl", "-sf", f"http://127.0.0.1:{port}/healthz", check=False).stdout.startswith("ok"), 30, f"reel-{name} is well")
    assert fresh.run("/usr/local/bin/container-entry", "nonsense", check=False).returncode == 2
    for name in ("tracker", "idserver", "storage", "httpd"):  # makes no tables, asks for no settings
        assert fresh.run("/usr/local/bin/container-entry", name, "--version").stdout.strip().startswith(f"reel-{name} ")
