"""What a person at a shell meets: interruption, directories, status and doctor, trouble that is said, bars on a terminal."""
import json
import os
import pathlib
import pty
import re
import signal
import subprocess
import time

from suite import BIN, USER, wait_for


def text(done):
    return done.stdout.decode().strip()


def reel_line(suite, *arguments):
    return [str(BIN / "reel"), "-t", f"127.0.0.1:{suite.tracker.port}", "-u", USER, *map(str, arguments)]


def test_what_was_stored_is_printed_before_a_signal_ends_it(suite, tmp_path):
    paths = [tmp_path / f"file{i:03}" for i in range(300)]
    for path in paths[:-1]:
        path.write_bytes(os.urandom(20_000))
    os.mkfifo(paths[-1])  # where nothing comes: it waits there if the machine holds the test for so long
    silent = os.open(paths[-1], os.O_RDWR)
    process = subprocess.Popen(reel_line(suite, "upload", *paths), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    first = [process.stdout.readline() for _ in range(5)]
    process.terminate()
    rest, errors = process.communicate(timeout=120)
    os.close(silent)
    assert process.returncode == -signal.SIGTERM
    lines = (b"".join(first) + rest).decode().splitlines()
    done = int(re.search(rb"interrupted: (\d+) of 300 files done", errors)[1])
    assert done == len(lines) < 300
    for line in lines[:3] + lines[-3:]:
        id, path = line.split("\t")
        assert text(suite.reel("size", id)) == "20000" and os.path.exists(path)


def test_a_reader_that_hangs_does_not_keep_the_command(suite):
    id = text(suite.reel("upload", "-", input=bytes(10_000_000)))
    process = subprocess.Popen(reel_line(suite, "download", id, "-"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.read(1000)
    tasks = pathlib.Path(f"/proc/{process.pid}/task")
    wait_for(lambda: any("pipe_write" in (task / "wchan").read_text() for task in tasks.iterdir()), what="a write that waits for the reader")
    process.send_signal(signal.SIGINT)
    assert process.wait(80) == 128 + signal.SIGINT and b"interrupted" in process.stderr.read()
    process.stdout.close()
    process.stderr.close()


def test_what_nohup_has_it_ignore_does_not_end_it(suite, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    process = subprocess.Popen(["nohup", *reel_line(suite, "upload", fifo)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               stdin=subprocess.DEVNULL)
    with open(fifo, "wb") as pipe:  # opened: the command reads
        pipe.write(b"first, ")
        pipe.flush()
        wait_for(lambda: "reel" in pathlib.Path(f"/proc/{process.pid}/comm").read_text(), what="reel runs")
        process.send_signal(signal.SIGHUP)
        time.sleep(3)  # longer than a signal that counts would give it
        pipe.write(b"second")
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert suite.reel("download", output.decode().strip(), "-").stdout == b"first, second"


def test_a_directory_is_uploaded_by_several_at_once(suite, tmp_path):
    for part in ("a/b", "c"):
        (tmp_path / "tree" / part).mkdir(parents=True)
        for i in range(10):
            (tmp_path / "tree" / part / f"{i}").write_bytes(os.urandom(1000 * i))
    done = suite.reel("upload", "-r", "--parallel", "4", tmp_path / "tree")
    rows = [line.split("\t") for line in text(done).splitlines()]
    assert len(rows) == 20
    (tmp_path / "ids").write_bytes(done.stdout)
    (tmp_path / "back").mkdir()
    suite.reel("download", rows[0][0], "-o", tmp_path / "one")
    assert (tmp_path / "one").read_bytes() == open(rows[0][1], "rb").read()
    suite.reel("delete", "--files-from", tmp_path / "ids")
    assert suite.reel("delete", "--files-from", tmp_path / "ids", check=False).returncode == 7


def test_the_digest_follows_the_content(suite, tmp_path):
    before = suite.storage.http("/metrics")[1]
    count = lambda page: sum(float(line.rsplit(" ", 1)[1]) for line in page.splitlines()
                             if line.startswith("reel_packet_requests_total") and 'command="put_trailer"' in line)
    id = text(suite.reel("upload", "-", input=os.urandom(3_000_000)))
    wait_for(lambda: count(suite.storage.http("/metrics")[1]) == count(before) + 1, what="one PUT_TRAILER")
    suite.reel("download", "--verify", id, tmp_path / "copy")


def test_sources_that_are_not_what_they_seem(suite, tmp_path):
    id = text(suite.reel("upload", "/proc/version"))
    assert suite.reel("download", id, "-").stdout == open("/proc/version", "rb").read()
    growing = tmp_path / "growing"
    growing.write_bytes(bytes(50_000_000))
    for _ in range(5):
        process = subprocess.Popen(reel_line(suite, "upload", growing), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while process.poll() is None:
            with open(growing, "ab") as file:
                file.write(b"x")
            time.sleep(0.001)
        output, errors = process.communicate()
        if process.returncode != 0:  # else nothing was written while it was read: the machine held the test
            break
    assert process.returncode == 1 and output == b"" and b"while it was read" in errors


def test_names_of_every_length_come_back(suite, tmp_path):
    for length in (250, 251, 255):
        name = "ü" * ((length - 4) // 2) + "x" * ((length - 4) % 2) + ".mp4"
        assert len(name.encode()) == length
        id = text(suite.reel("upload", "--name", name, "-", input=b"content"))
        suite.reel("download", id, "--into", tmp_path)
        assert (tmp_path / name).read_bytes() == b"content"
        assert suite.reel("download", id, "--into", tmp_path, check=False).returncode == 4


def test_deleted_twice_and_users_without_files(suite):
    id = text(suite.reel("upload", "-", input=b"x"))
    suite.reel("delete", id)
    again = suite.reel("delete", id, check=False)
    assert again.returncode == 7 and b"deleted already" in again.stderr
    nobody = suite.reel("list", user="typo-of-a-user")
    assert nobody.stdout == b"" and b"typo-of-a-user" in nobody.stderr


def test_a_wrong_port_is_named(suite):
    wrong = subprocess.run([str(BIN / "reel"), "-t", f"127.0.0.1:{suite.httpd.port}", "-u", USER, "size", "f"],
                           capture_output=True, timeout=60)
    assert wrong.returncode != 0 and b"speaks HTTP" in wrong.stderr


def test_status_and_doctor(own_suite):
    own_suite.start()
    table = text(own_suite.reel("status"))
    assert "group001" in table and f"127.0.0.1:{own_suite.storage.port}" in table and "ACTIVE" in table
    asked = ("--idservers", f"127.0.0.1:{own_suite.idserver.port}", "--http", f"http://127.0.0.1:{own_suite.httpd.port}")
    text(own_suite.reel("upload", "-", input=b"x"))
    well = own_suite.reel("doctor", *asked, check=False)
    assert well.returncode == 0, well.stdout.decode()
    # Who hangs holds nobody else up: all are asked at once, each for three seconds at most, or less by --max-time.
    hanging = [own_suite.storage, own_suite.idserver, own_suite.httpd]
    for daemon in hanging:
        daemon.process.send_signal(signal.SIGSTOP)
    def timed(*more):
        begun = time.monotonic()
        done = own_suite.reel("--json", "doctor", *more, *asked, check=False)
        return done, time.monotonic() - begun
    try:
        hung, took = timed()
        took_less = timed("--max-time", "1s")[1]
        for _ in range(5):  # a machine that holds the command now and then does not do so each time
            took = min(took, timed()[1]) if took >= 9 else took
            took_less = min(took_less, timed("--max-time", "1s")[1]) if took_less >= 3 else took_less
    finally:
        for daemon in hanging:
            daemon.process.send_signal(signal.SIGCONT)
    assert hung.returncode == 5
    late = [finding["part"] for finding in json.loads(hung.stdout)["findings"] if "no answer in time" in finding["text"]]
    assert len(late) == 3, hung.stdout
    assert 3 <= took < 9 and took_less < 3, (took, took_less)
    own_suite.storage.kill()
    own_suite.idserver.kill()
    ill = own_suite.reel("--json", "doctor", *asked, check=False)
    assert ill.returncode == 5
    findings = json.loads(ill.stdout)["findings"]
    bad = {finding["part"]: finding for finding in findings if finding["severity"] == "CRITICAL"}
    assert "systemctl status reel-storage" in bad[f"storage 127.0.0.1:{own_suite.storage.port}"]["remedy"]
    assert "systemctl status reel-idserver" in bad[f"idserver 127.0.0.1:{own_suite.idserver.port}"]["remedy"]


def test_a_server_that_stands_still_is_said(own_suite):
    own_suite.start()
    own_suite.reel("upload", "-", input=b"x")
    own_suite.storage.process.send_signal(signal.SIGSTOP)
    try:
        for seconds in (3, 9):  # on a machine that held it, three may have been over before it was connected
            done = own_suite.reel("--max-time", f"{seconds}s", "upload", "-", input=b"x", check=False)
            if b"waiting for the server to confirm" in done.stderr:
                break
    finally:
        own_suite.storage.process.send_signal(signal.SIGCONT)
    assert done.returncode == 5
    assert b"waiting for the server to confirm" in done.stderr and b"--max-time is over" in done.stderr


def test_bars_on_a_terminal(suite, tmp_path):
    path = tmp_path / ("Name mit " + "ü" * 30)
    path.write_bytes(os.urandom(3_000_000))
    main, other = pty.openpty()
    process = subprocess.Popen(reel_line(suite, "upload", path, path), stdout=subprocess.PIPE, stderr=other,
                               env={**os.environ, "TERM": "xterm"})
    os.close(other)
    shown = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:
            break
        shown += part
    os.close(main)
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert "of 2 files" in shown.decode() and "100%" in shown.decode() and "ü" in shown.decode()
