"""python/reel, the library from Python, against a running suite."""
import ctypes
import os
import pathlib
import shutil
import subprocess
import sys
import threading

import pytest

from suite import APP, BUILD, ROOT

LIBRARY = BUILD / "lib/libreel.so.0"


@pytest.fixture(scope="module")
def sanitizer():
    """The runtime of AddressSanitizer, which must be there before a library that was built with it is loaded; "" without."""
    if "libasan" not in subprocess.run(["readelf", "-d", str(LIBRARY)], capture_output=True, text=True, check=True).stdout:
        return ""
    return subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def python(suite, sanitizer):
    """Runs a script with the module, `client` opened for alice; what it printed."""
    def run(script, *arguments, expect=0):
        head = f"import os, sys, threading, reel\nclient = reel.Client('127.0.0.1:{suite.tracker.port}', user='alice')\n"
        done = subprocess.run(["/usr/bin/python3", "-c", head + script, *map(str, arguments)], capture_output=True, text=True, timeout=120,
                              env={**os.environ, "PYTHONPATH": str(ROOT / "python"), "REEL_LIBRARY": str(LIBRARY), "LD_PRELOAD": sanitizer,
                                   "PYTHONDONTWRITEBYTECODE": "1", "ASAN_OPTIONS": "detect_leaks=0:exitcode=99"})
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout
    return run


def test_a_file_goes_in_and_comes_back(python, tmp_path):
    content = os.urandom(700_001)
    (tmp_path / "film ü.bin").write_bytes(content)
    output = python("""
path, copy = sys.argv[1:]
seen = []
id = client.upload(path, content_type="video/mp4", progress=lambda done, total: seen.append((done, total)))
file = client.stat(id)
print(file.id == id, file.size, client.size(id), file.name == os.path.basename(path), file.content_type, file.deleted, file.created.tzinfo is not None)
print(seen[-1])
client.download(id, copy, verify=True)
print(client.read(id, offset=5, size=10) == open(path, "rb").read()[5:15])
again = client.upload(open(path, "rb"), file_id=id)
print(again == id, id in [f.id for f in client.list()])
other = client.upload(b"bytes", name="note.txt")
print(client.read(other), client.stat(other).name, len(client.status()["groups"]))
print(client.url(id, "http://media1:8080").startswith("http://media1:8080/files/tnvideo/alice/"), reel.version() != "")
""", tmp_path / "film ü.bin", tmp_path / "copy")
    assert output.splitlines() == [
        "True 700001 700001 True video/mp4 False True", "(700001, 700001)", "True", "True True", "b'bytes' note.txt 1", "True True"]
    assert (tmp_path / "copy").read_bytes() == content


def test_failures_are_exceptions_with_their_number(python, tmp_path):
    output = python("""
id = client.upload(b"some bytes")
def fails(kind, function, *arguments, **more):
    try:
        function(*arguments, **more)
    except kind as error:
        print(type(error).__name__, error.code, bool(str(error)))
fails(reel.Exists, client.upload, b"other bytes", file_id=id)
client.delete(id)
fails(reel.Deleted, client.size, id)
print([f.id for f in client.list(deleted=True) if f.id == id] == [id])
client.restore(id)
print(client.size(id))
fails(reel.NotFound, client.read, id[:-6] + "999999")
fails(reel.Error, client.upload, "/no/such/file")
fails(reel.Unavailable, reel.Client("127.0.0.1:1", user="alice", connect_timeout=0.2, call_timeout=1).size, id)
client.close(); client.close()
try:
    client.size(id)
except ValueError as error:
    print(error)
""")
    lines = output.splitlines()
    assert lines[0].startswith("Exists -5") and lines[1].startswith("Deleted -6") and lines[2:4] == ["True", "10"]
    assert lines[4].startswith("NotFound -4") and lines[5].startswith("Error") and lines[6].startswith("Unavailable")
    assert lines[7] == "the client is closed"


def test_what_a_callback_raises_ends_the_call(python):
    output = python("""
class Enough(Exception): pass
def stop(*_): raise Enough("enough")
id = client.upload(bytes(3_000_000))
for call in (lambda: client.read_into(id, stop), lambda: client.upload(bytes(3_000_000), progress=stop)):
    try:
        call()
    except Enough as error:
        print(error)
print(client.size(id))
""")
    assert output.splitlines() == ["enough", "enough", "3000000"]


def test_requests_have_a_name_and_users_a_quota(python, suite):
    output = python("""
print(len(client.request), client.quota())
parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
with reel.Client(f"127.0.0.1:{sys.argv[1]}", user="alice", request=parent) as other:
    print(other.request)
""", suite.tracker.port)
    assert output.splitlines() == ["32 Quota(bytes_used=None, files_used=None, bytes=None, files=None)", "0af7651916cd43dd8448eb211c80319c"]
    suite.reel("admin", "quota", "quota-of-python", "--files", "7")
    output = python("""
with reel.Client(f"127.0.0.1:{sys.argv[1]}", user="alice", group="group001") as other:
    print([one for one in other.quotas() if one.user == "quota-of-python"])
""", suite.tracker.port)
    assert output.splitlines() == [f"[UserQuota(application='{APP}', user='quota-of-python', quota=Quota(bytes_used=0, files_used=0, bytes=None, files=7), held=0)]"]


def test_an_open_file_goes_on_where_python_reads_it(python, tmp_path):
    """Python reads ahead: the descriptor stands further on than the file object."""
    (tmp_path / "film").write_bytes(os.urandom(100_000))
    output = python("""
import io
content = open(sys.argv[1], "rb").read()
with open(sys.argv[1], "rb") as file:
    head = file.read(12)
    id = client.upload(file)
    print(client.read(id) == content[12:], file.tell() == len(content), file.read())
with open(sys.argv[1], "r+b") as file:
    file.seek(0, os.SEEK_END)
    file.write(b"more")
    file.seek(-6, os.SEEK_CUR)
    file.write(b"!")
    print(client.read(client.upload(file)) == content[-1:] + b"more")
memory = io.BytesIO(content)
memory.seek(50)
print(client.read(client.upload(memory)) == content[50:])
print(client.read(client.upload(bytearray(b"array"))), client.read(client.upload(memoryview(b"view"))))
try:
    client.upload(open(sys.argv[1]))
except TypeError as error:
    print(error)
""", tmp_path / "film")
    assert output.splitlines() == ["True True b''", "True", "True", "b'array' b'view'", 'a file that is open for text: open it with "rb"']


def test_names_are_taken_whole_or_not_at_all(python, tmp_path):
    """A NUL would end them for C; bytes that are no UTF-8 come back as they went in."""
    output = python("""
path, = sys.argv[1:]
id = client.upload(b"kept")
for call in (lambda: client.delete(id + "\\0x"), lambda: client.rename(id, "a\\0b"), lambda: client.upload(b"x", name="a\\0b"),
             lambda: client.upload(path + "\\0x"), lambda: client.download(id, path + "\\0x"), lambda: client.stat("x", user="alice\\0x")):
    try:
        call()
        print("done")
    except ValueError:
        print("refused")
print(client.stat(id).deleted, client.stat(id).name == "", os.path.exists(path))
odd = client.upload(b"odd", file_id="caf\\udce9")
print(odd == "caf\\udce9", odd in [file.id for file in client.list()], client.read(odd))
""", tmp_path / "copy")
    assert output.splitlines() == ["refused"] * 6 + ["False True False", "True True b'odd'"]


def test_ctrl_c_ends_a_transfer(python):
    """Without a callback of the caller's: Python sees signals only where it runs."""
    output = python("""
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have its background ignore it
content, id = bytes(400_000_000), client.upload(b"x")[:-6] + "999999"  # its own ends with a count from 0 on, and chance
for seen in (None, lambda done, total: None):
    try:  # so soon that no machine has stored all of it
        threading.Thread(target=lambda: (time.sleep(0.1), os.kill(os.getpid(), signal.SIGINT)), daemon=True).start()
        client.upload(content, file_id=id, progress=seen)
    except KeyboardInterrupt:
        print("interrupted", signal.getsignal(signal.SIGINT) is signal.default_int_handler)
try:
    print(client.size(id))
except reel.NotFound:
    print("not stored")
client.cancel()
try:
    client.upload(content)
except reel.Error as error:
    print(error.code)
""")
    assert output.splitlines() == ["interrupted True"] * 2 + ["not stored", "-17"]


def test_threads_share_a_client(python):
    output = python("""
done = []
def work(number):
    content = os.urandom(100_000 + number)
    done.append(client.read(client.upload(content)) == content)
threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
print(done)
""")
    assert output.strip() == str([True] * 8)


def test_structures_are_those_of_the_header(tmp_path):
    """Sizes and places of members, by the compiler."""
    sys.path.insert(0, str(ROOT / "python"))
    text = (ROOT / "python/reel/__init__.py").read_text()
    names = {"_Error": "reel_error", "_Options": "reel_options", "_Key": "reel_key", "_File": "reel_file", "_Upload": "reel_upload", "_Download": "reel_download",
             "_Quota": "reel_quota"}
    # The module without its library: the classes alone.
    scope = {}
    exec(compile(text.replace("_library = _load()", "_library = None"), "reel", "exec"), scope)
    program = ["#include <reel.h>", "#include <stdio.h>", "int main(void) {"]
    expected = []
    for python_name, c_name in names.items():
        structure = scope[python_name]
        program.append(f'printf("%zu\\n", sizeof(struct {c_name}));')
        expected.append(ctypes.sizeof(structure))
        for member, *_ in structure._fields_:
            program.append(f'printf("%zu\\n", offsetof(struct {c_name}, {member}));')
            expected.append(getattr(structure, member).offset)
    (tmp_path / "places.c").write_text("\n".join(program) + "\n}\n")
    subprocess.run(["cc", f"-I{ROOT}/client", "-o", str(tmp_path / "places"), str(tmp_path / "places.c")], check=True)
    assert [int(line) for line in subprocess.check_output([str(tmp_path / "places")], text=True).split()] == expected


def test_the_examples_run(suite, sanitizer, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python"), "REEL_LIBRARY": str(LIBRARY), "LD_PRELOAD": sanitizer,
                   "PYTHONDONTWRITEBYTECODE": "1", "ASAN_OPTIONS": "detect_leaks=0:exitcode=99"}
    (tmp_path / "a").write_bytes(b"first")
    trackers = f"127.0.0.1:{suite.tracker.port}"
    link = subprocess.run(["/usr/bin/python3", str(ROOT / "python/examples/upload.py"), trackers, "mirrored", "http://x:8080", str(tmp_path / "a")],
                          capture_output=True, text=True, env=environment, check=True).stdout.strip()
    (tmp_path / "mirror").mkdir()
    subprocess.run(["/usr/bin/python3", str(ROOT / "python/examples/mirror.py"), trackers, "mirrored", str(tmp_path / "mirror")], env=environment, check=True)
    assert (tmp_path / "mirror" / pathlib.Path(link).name).read_bytes() == b"first"


def test_types_are_complete():
    if not shutil.which("mypy"):
        pytest.skip("mypy is missing")
    done = subprocess.run(["mypy", "--strict", "--cache-dir=/dev/null", str(ROOT / "python/reel")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
