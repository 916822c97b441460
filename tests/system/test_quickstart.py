"""scripts/quickstart.sh as a new user types it."""
import json
import os
import pathlib
import re
import subprocess
import urllib.error
import urllib.request

import pytest

import wire
from suite import ROOT, port_block

QUICKSTART = ROOT / "scripts" / "quickstart.sh"


def run(*arguments, check=True):
    done = subprocess.run([str(QUICKSTART), *map(str, arguments)], capture_output=True, text=True, timeout=900,
                          stdin=subprocess.DEVNULL)
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def pids(directory):
    return {p.stem: int(p.read_text()) for p in (directory / "run").glob("*.pid")}


# What a stranger may try at the tracker, the ID server and the storage server: (port, command, body).
QUESTIONS = [(0, wire.GROUPS, b""), (0, wire.LOCATE, wire.file_key("tnvideo", "quickstart", "")),
             (0, wire.JOIN, wire.join_body("group001", "stranger", 23000)), (1, wire.GET, b"quickstart\0"),
             (2, wire.FILESIZE, wire.file_key("tnvideo", "quickstart", "a")),
             (2, wire.DELETE, wire.file_key("tnvideo", "quickstart", "a"))]


def strangers(base, port, command, body):
    """The reply to somebody without a key."""
    return wire.ask(("127.0.0.1", base + port), command, body)


def strangers_are_refused(base):
    for question in QUESTIONS:
        reply = strangers(base, *question)
        assert not reply.ok and reply.number in (wire.UNAUTHENTICATED, wire.FORBIDDEN), (question, reply)


def first_session(directory, home):
    """What README.md has one do next, command for command, in both languages."""
    lines = [re.findall(r"^    (\S.*)", re.search(heading + r"\n(.*?)\n## ", (ROOT / page).read_text(), re.S)[1], re.M)
             for page, heading in (("README.md", "## A first session"), ("README.zh-CN.md", "## 第一次使用"))]
    assert [line.split("#")[0].rstrip() for line in lines[0]] == [line.split("#")[0].rstrip() for line in lines[1]]
    assert lines[0][0] == "scripts/quickstart.sh ~/film.mp4" and len(lines[0]) >= 8
    (home / "other.mp4").write_bytes(os.urandom(300_000))
    script = "\n".join(lines[0][1:]).replace("$PWD/var/quickstart", f"'{directory}'").replace("$PWD", f"'{ROOT}'")
    done = subprocess.run(["sh", "-ec", script], capture_output=True, text=True, timeout=600, cwd=home, stdin=subprocess.DEVNULL,
                          env={name: value for name, value in os.environ.items() if not name.startswith("REEL_")} | {"HOME": str(home)})
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert (home / "copy.mp4").read_bytes() == (home / "other.mp4").read_bytes()
    link = re.search(r"^http://\S+/other\.mp4\?\S+$", done.stdout, re.M)[0]
    assert urllib.request.urlopen(link, timeout=60).read() == (home / "other.mp4").read_bytes()
    assert "group001" in done.stdout and "STATUS: ACTIVE" in done.stdout, done.stdout


@pytest.mark.parametrize("metadata", ["sqlite", "mariadb"])
def test_one_command_gives_a_link_that_plays(tmp_path, metadata, request):
    directory, base = tmp_path / "quick start", port_block(8)
    more = []
    if metadata == "mariadb":
        server = request.getfixturevalue("mariadb")
        more = ["--mysql", server.url("").rstrip("/")]
    try:
        done = run("--dir", directory, "--port-base", base, *more)
        link = re.search(r"Play it: +(\S+)", done.stdout)[1]
        assert link.startswith(f"http://127.0.0.1:{base + 3}/files/")
        assert re.search(r"File ID: +[0-9a-f]{30}\d{6}", done.stdout)
        clip = (ROOT / "tests/media/clip.mp4").read_bytes()
        assert urllib.request.urlopen(link, timeout=60).read() == clip
        # The link is signed, and nothing else opens the file.
        assert "s=" in link and "url --sign" in done.stdout
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(link.partition("?")[0], timeout=60)
        # The web page is there, and its link signs in.
        page, token = re.search(r"Web page: +(\S+/)#token=(\S+)", done.stdout).groups()
        assert b'"web/main.js"' in urllib.request.urlopen(page, timeout=60).read()
        session = urllib.request.Request(page + "api/v1/session", headers={"Authorization": "Bearer " + token})
        facts = json.load(urllib.request.urlopen(session, timeout=60))
        assert facts["user"] == "quickstart" and facts["rights"] == "rwdl" and facts["writes"] and facts["operates"]
        first = pids(directory)
        assert set(first) - {"poster"} == {"tracker", "idserver", "storage", "httpd"}  # pictures only where there is FFmpeg
        for name in set(first) - {"poster"}:
            assert (directory / "log" / f"{name}.log").stat().st_size > 0
        assert any((directory / "data").rglob("*_???"))
        # Twice is fine; the first link goes on working.
        other = tmp_path / "other ü.bin"
        other.write_bytes(os.urandom(1234567))
        strangers_are_refused(base)
        first_session(directory, tmp_path)
        # On MariaDB the second time is as open as it gets.
        freely = ["--auth", "prefer", "--access", "open"] if metadata == "mariadb" else []
        done = run("--dir", directory, "--port-base", base, *more, *freely, other)
        assert urllib.request.urlopen(link, timeout=60).read() == clip
        link2 = re.search(r"Play it: +(\S+)", done.stdout)[1]
        if freely:
            assert "?" not in link2 and "Links:" not in done.stdout
            assert urllib.request.urlopen(link.partition("?")[0], timeout=60).read() == clip
            assert [strangers(base, *question).ok for question in QUESTIONS[:2]] == [True, True]
        else:
            strangers_are_refused(base)
        assert urllib.request.urlopen(link2, timeout=60).read() == other.read_bytes()
        # Another place on the same ports is refused, and does no harm.
        taken = run("--dir", tmp_path / "second", "--port-base", base, check=False)
        assert taken.returncode != 0 and str(base) in taken.stderr and "in use" in taken.stderr
        assert "--port-base" in taken.stderr
        assert urllib.request.urlopen(link, timeout=60).read() == clip
        running = pids(directory)
    finally:
        stopped = run("--dir", directory, "--stop")
    for name, pid in running.items():
        assert f"reel-{name}" in stopped.stdout
        assert not pathlib.Path(f"/proc/{pid}").exists()
    assert pids(directory) == {}
    assert "Nothing runs" in run("--dir", directory, "--stop").stdout
    if metadata == "mariadb":
        for database in ("tnv_trackerdb", "tnv_idsdb", "tnv_storagedb"):
            server.sql(f"DROP DATABASE {database}")


def test_wrong_options_are_reported(tmp_path):
    for arguments in (["--nonsense"], ["--port-base", "x"], ["--port-base", "70000"], ["/no/such/file"],
                      ["--mysql", "http://x"], ["--mysql", "mysql://u:p@host/database"]):
        done = run("--dir", tmp_path / "d", *arguments, check=False)
        assert done.returncode != 0 and done.stderr.startswith(("quickstart.sh:", "Usage")), done.stderr
