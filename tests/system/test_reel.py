"""The reel command and libreel."""
import json
import os
import re
import subprocess
import threading


from suite import BIN, BUILD, ROOT, USER, wait_for

CLIP = ROOT / "tests" / "media" / "clip.mp4"


def text(done):
    return done.stdout.decode().strip()


def test_upload_prints_a_file_id_that_everything_else_takes(suite, tmp_path):
    id = text(suite.reel("upload", CLIP))
    assert re.fullmatch(r"[0-9a-f]{30}\d{6}", id)
    suite.reel("download", id, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == CLIP.read_bytes()
    assert text(suite.reel("size", id)) == str(CLIP.stat().st_size)
    stat = json.loads(suite.reel("--json", "stat", id).stdout)
    assert stat["size"] == CLIP.stat().st_size and "clip.mp4" in json.dumps(stat) and "video/mp4" in json.dumps(stat)
    assert id in text(suite.reel("list"))
    suite.reel("delete", id)
    gone = suite.reel("download", id, tmp_path / "gone", check=False)
    assert gone.returncode == 7 and gone.stderr and not (tmp_path / "gone").exists()
    gone = suite.reel("download", id, "-o", "-", check=False)
    assert gone.returncode == 7 and b"deleted" in gone.stderr and gone.stdout == b""
    suite.reel("restore", id)
    suite.reel("download", id, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == CLIP.read_bytes()


def test_standard_input_and_output(suite):
    content = os.urandom(3_000_001)
    id = text(suite.reel("upload", "-", input=content))
    assert suite.reel("download", id, "-").stdout == content


def test_a_download_is_resumed(suite, tmp_path):
    content = os.urandom(2_000_000)
    id = text(suite.reel("upload", "-", input=content))
    path, part = tmp_path / "film", tmp_path / "film.part"

    def sent(count):
        """The storage server's count of bytes grows by COUNT."""
        before = suite.storage.metric("reel_storage_download_bytes_total")
        done = suite.reel("download", "-c", id, path, check=False)
        wait_for(lambda: suite.storage.metric("reel_storage_download_bytes_total") >= before + count, what="bytes sent")
        assert suite.storage.metric("reel_storage_download_bytes_total") == before + count
        return done.returncode

    part.write_bytes(content[:700_001])
    assert sent(2_000_000 - 700_001) == 0 and path.read_bytes() == content and not part.exists()
    assert sent(0) == 0 and path.read_bytes() == content
    path.write_bytes(content[:1_999_000])
    assert sent(1_000) == 0 and path.read_bytes() == content and not part.exists()
    wrong = b"x" + content[1:1_999_000]
    path.write_bytes(wrong)
    assert sent(1_000) == 6 and path.read_bytes() == wrong and not part.exists()
    path.write_bytes(content + b"x")
    assert sent(0) == 1 and path.read_bytes() == content + b"x" and not part.exists()


def test_groups_and_status(suite):
    assert "GROUPNAME: group001" in text(suite.reel("groups"))
    assert "group001" in json.dumps(json.loads(suite.reel("--json", "status").stdout))


def test_url_is_a_link_that_works(suite, tmp_path):
    id = text(suite.reel("upload", CLIP))
    url = text(suite.reel("--http", f"http://127.0.0.1:{suite.httpd.port}", "url", "--name", "ein Film ü.mp4", id))
    subprocess.run(["curl", "-sS", "--fail", "-o", str(tmp_path / "f"), url], check=True)
    assert (tmp_path / "f").read_bytes() == CLIP.read_bytes()


def test_exit_codes_and_errors_say_what_is_wrong(suite, tmp_path):
    missing = suite.reel("size", "no-such-file", check=False)
    assert missing.returncode == 3 and b"no-such-file" in missing.stderr
    assert suite.reel("nonsense", check=False).returncode == 2
    absent = suite.reel("upload", tmp_path / "absent", check=False)
    assert absent.returncode == 10 and absent.stderr.decode().count("absent") == 1
    id = text(suite.reel("upload", "-", input=b"first"))
    assert suite.reel("download", id, tmp_path / "no" / "directory", check=False).returncode == 10
    taken = suite.reel("upload", "--file-id", id, "-", input=b"second", check=False)
    assert taken.returncode == 4
    again = suite.reel("upload", "--file-id", id, "-", input=b"first")
    assert text(again) == id
    nobody = subprocess.run([str(BIN / "reel"), "-t", "127.0.0.1:1", "-u", USER, "size", "x"], capture_output=True)
    assert nobody.returncode == 5 and b"127.0.0.1:1" in nobody.stderr


def test_trackers_from_the_environment_and_a_dead_one_is_passed_over(suite):
    environment = dict(os.environ, REEL_TRACKERS=f"127.0.0.1:1,127.0.0.1:{suite.tracker.port}", REEL_USER=USER)
    for _ in range(5):
        done = subprocess.run([str(BIN / "reel"), "groups"], env=environment, capture_output=True, timeout=120)
        assert done.returncode == 0 and b"group001" in done.stdout


def test_a_dead_storage_server_is_passed_over_for_uploads_too(own_suite, tmp_path):
    own_suite.start()
    own_suite.add_storage("storage2").start()
    own_suite.wait_active(2)
    own_suite.storage.kill()
    for i in range(6):
        id = text(own_suite.reel("upload", CLIP))
        own_suite.reel("download", id, tmp_path / str(i))
        assert (tmp_path / str(i)).read_bytes() == CLIP.read_bytes()


def test_a_large_file_in_pieces_outlives_a_storage_server_and_is_gone_on_with(own_suite, tmp_path, monkeypatch):
    own_suite.start()
    own_suite.add_storage("storage2").start()
    own_suite.wait_active(2)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    film = tmp_path / "film"
    film.write_bytes(os.urandom(128 << 20))
    states = tmp_path / "state" / "reelstore" / "uploads"

    def upload(*options):
        """Until some of the content has come."""
        before = sum(f.stat().st_size for f in own_suite.files())
        process = subprocess.Popen([str(BIN / "reel"), "-t", f"127.0.0.1:{own_suite.tracker.port}", "-u", USER, "upload", "-j", "4", *options, film],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_for(lambda: sum(f.stat().st_size for f in own_suite.files()) - before > 8 << 20, what="some content")
        return process

    def expect_stored(process):
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        own_suite.reel("download", out.decode().strip(), tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == film.read_bytes()
        assert not list(states.iterdir())
        return err

    process = upload()
    own_suite.storage.kill()
    expect_stored(process)

    for _ in range(5):
        process = upload()
        process.send_signal(2)
        _, err = process.communicate(timeout=300)
        if process.returncode != 0:  # else the machine held the test until everything was stored
            break
    assert process.returncode == -2, err
    assert b"the same command with -c continues where it stopped" in err, err
    [state] = states.iterdir()
    assert state.read_text().count("piece ") == 4 and state.stat().st_mode & 0o777 == 0o600
    process = subprocess.Popen([str(BIN / "reel"), "-t", f"127.0.0.1:{own_suite.tracker.port}", "-u", USER, "upload", "-c", film],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert b"continuing at byte" in expect_stored(process)


def test_parallel_commands(suite, tmp_path):
    problems = []

    def work(number):
        try:
            content = os.urandom(200_000 + number)
            id = text(suite.reel("upload", "-", input=content))
            assert suite.reel("download", id, "-").stdout == content
        except BaseException as problem:
            problems.append(problem)
    threads = [threading.Thread(target=work, args=(i,)) for i in range(12)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not problems, problems[0]


def test_the_example_program_works(suite, tmp_path):
    done = subprocess.run([str(BIN / "reel-example"), f"127.0.0.1:{suite.tracker.port}", str(CLIP)],
                          capture_output=True, timeout=240)
    assert done.returncode == 0, done.stderr


def test_the_program_of_the_readme_builds_against_what_is_installed(suite, tmp_path):
    """Wherever `cmake --install --prefix` puts it."""
    subprocess.run(["cmake", "--install", str(BUILD), "--prefix", str(tmp_path / "usr")], check=True,
                   stdout=subprocess.DEVNULL)
    source = re.search(r"(    #include <reel\.h>\n.*?\n    }\n)", (ROOT / "README.md").read_text(), re.S)[1]
    source = source.replace('"tracker1,tracker2"', f'"127.0.0.1:{suite.tracker.port}"').replace("film.mp4", str(CLIP))
    (tmp_path / "program.c").write_text(source)
    pc, = (tmp_path / "usr").rglob("reel.pc")
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "reel"], check=True, capture_output=True, text=True,
                           env={**os.environ, "PKG_CONFIG_PATH": str(pc.parent)}).stdout.split()
    sanitizers = ["-fsanitize=address,undefined"] if "asan" in BUILD.name else []
    subprocess.run(["cc", "-std=c11", "-Wall", "-Werror", *sanitizers, "-o", str(tmp_path / "program"),
                    str(tmp_path / "program.c"), *flags], check=True)
    done = subprocess.run([str(tmp_path / "program")], capture_output=True, text=True,
                          env={**os.environ, "LD_LIBRARY_PATH": str(pc.parent.parent)})
    assert done.returncode == 0, done.stderr
    assert text(suite.reel("-u", "alice", "size", done.stdout.strip())) == str(CLIP.stat().st_size)
