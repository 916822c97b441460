"""docs/deployment.md, "One machine", and README.md, "Installing for real", command for command."""
import pathlib
import re

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
    wait_for(lambda: fresh.run("curl", "-sf", "-o", "/root/web.mp4", f"http://127.0.0.1:8080/files/tnvideo/alice/{id}", check=False).returncode == 0,
             30, "the file over HTTP")
    fresh.sh("cmp /root/film.mp4 /root/web.mp4; reel -u alice upload /root/film.mp4 >/dev/null; ls -d /srv/media/000")
    listening = fresh.sh("cat /proc/net/tcp /proc/net/tcp6 | awk '$4 == \"0A\" {print $2}'").stdout
    assert all(re.search(rf"\b0+:{port:04X}\b", listening) for port in (8080, 21000, 23000)), listening
    assert "ok" in fresh.run("curl", "-sf", "http://127.0.0.1:23100/healthz").stdout
    assert len(fresh.run("systemctl", "list-timers", "--no-legend", "reel-backup@*").stdout.splitlines()) == 3


def test_the_readme_installs_in_the_same_way():
    text = (ROOT / "README.md").read_text()
    commands = re.findall(r"^    (\S.*)", text[text.index("## Installing for real"):text.index("## From C")], re.M)
    assert commands == ["scripts/package.sh", "apt-get install -y ./dist/reelstore-*.deb", "reel -u alice upload film.mp4"]
