"""The examples of docs/http.md that make signed links give what `reel url --sign` gives, and what tests/system/links.py says."""
import re
import shutil
import subprocess

import pytest

import links
from suite import BIN, ROOT

SECRET = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="  # 0, 1, ..., 31
OTHER = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="
EXPIRES = 0x67A1B2C3
FILES = [("tnvideo", "alice", "6748f1c0abcdef"), ("tnvideo", "üser/ä b+~*'(", "a b%2F&?#🎬")]
EXAMPLES = dict(re.findall(r"<!-- example: (\w+) -->\n```\w+\n(.*?)```", (ROOT / "docs" / "http.md").read_text(), re.S))
RUN = {"php": (["php"], "link.php"), "python": (["/usr/bin/python3"], "link.py"), "java": (["java"], "Link.java"),
       "node": (["node"], "link.js")}


def expected(application, user, file):
    return links.Signer("app-a", bytes(range(32))).query(application, user, file, EXPIRES)


def same(link, other):
    """Two ways of percent-encoding are one link."""
    path, _, query = link.partition("?")
    other_path, _, other_query = other.partition("?")
    split = lambda text: [links.urllib.parse.unquote(part) for part in text.split("/")]
    return split(path) == split(other_path) and query == other_query


def test_there_is_an_example_for_each_language():
    assert set(EXAMPLES) == set(RUN)


@pytest.mark.parametrize("language", sorted(RUN))
def test_an_example_signs_as_we_do(language, tmp_path):
    command, name = RUN[language]
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed: THE EXAMPLE FOR {language.upper()} IS NOT RUN")
    (tmp_path / name).write_text(EXAMPLES[language])
    for application, user, file in FILES[1:] if language == "java" else FILES:  # it takes seconds to begin
        done = subprocess.run([*command, str(tmp_path / name), SECRET, "app-a", application, user, file, str(EXPIRES)],
                              capture_output=True, text=True, timeout=120)
        if language == "java" and done.returncode != 0 and "compiler" in done.stderr:
            pytest.skip("this Java has no compiler: THE EXAMPLE FOR JAVA IS NOT RUN")
        assert done.returncode == 0, done.stderr
        assert same(done.stdout.strip(), expected(application, user, file)), done.stdout


@pytest.mark.parametrize("scope,client", [("file", None), ("prefix:3", None), ("user", None), ("file", "192.0.2.77"),
                                          ("user", "2001:db8::1")])
def test_reel_signs_as_another_program_does(scope, client, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(f"st storage {OTHER}\napp-a issuer {SECRET}\n")
    keys.chmod(0o600)
    signer = links.Signer("app-a", bytes(range(32)))
    for application, user, file in FILES:
        done = subprocess.run([str(BIN / "reel"), "url", "--sign", "--http", "http://h:1//", "-a", application, "-u", user, "--expires",
                               "2100-01-01", "--scope", scope, *(["--network", client] if client else []), "--", file],
                              capture_output=True, text=True, env={"REEL_KEYS": str(keys)})
        assert done.returncode == 0, done.stderr
        kind = {"file": "f", "user": "u"}.get(scope, "p" + scope.partition(":")[2])
        make = signer.query if scope == "file" else lambda *more, client: signer.prefixed(*more, scope=kind, client=client)
        assert same(done.stdout.strip(), "http://h:1" + make(application, user, file, 4102444800, client=client)), done.stdout


def test_reel_binds_a_link_to_a_name(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(f"app-a issuer {SECRET}\n")
    keys.chmod(0o600)
    signer, name = links.Signer("app-a", bytes(range(32))), "a b\u00e4.mp4"
    for named in (True, False):
        done = subprocess.run([str(BIN / "reel"), "url", "--sign", "--exact", "--http", "http://h", "-a", "tnvideo", "-u", "alice", "--expires",
                               "2100-01-01", *(["--name", name] if named else []), "id"],
                              capture_output=True, text=True, env={"REEL_KEYS": str(keys)})
        assert done.returncode == 0, done.stderr
        query = signer.exact("tnvideo", "alice", "id", 4102444800, name if named else "")
        shown = "/" + links.urllib.parse.quote(name) if named else ""
        assert same(done.stdout.strip(), f"http://h/files/tnvideo/alice/id{shown}?{query}"), done.stdout


@pytest.mark.parametrize("keys,options,said", [
    ("st storage S\n", [], "no key with the role issuer"),
    ("a issuer S\nb issuer O\n", [], "2 keys with the role issuer"),
    ("a issuer S - - applications=other\n", [], "not for the application tnvideo"),
    ("a issuer S - - rights=w\n", [], "right to read"),
    ("a issuer S\n", ["--scope", "prefix:99"], "has 2"),
    ("a issuer S\n", ["--network", "host"], "not a numeric address"),
    ("a issuer S\n", ["--scope", "prefix:0"], "prefix:N"),
    ("a issuer S\n", ["--expires", "soon"], "--expires"),
    ("a issuer S\n", ["--exact", "--scope", "user"], "can be bound to its name"),
])
def test_reel_says_what_is_wrong_with_a_link(keys, options, said, tmp_path):
    file = tmp_path / "keys"
    file.write_text(keys.replace(" S", " " + SECRET).replace(" O", " " + OTHER))
    file.chmod(0o600)
    done = subprocess.run([str(BIN / "reel"), "url", "--sign", "--http", "http://h", "-u", "alice", *options, "id"],
                          capture_output=True, text=True, env={"REEL_KEYS": str(file)})
    assert done.returncode != 0 and said in done.stderr and SECRET not in done.stderr


def test_reel_takes_one_key_of_several_by_its_id(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"a issuer {OTHER}\nb issuer {SECRET}\n")
    file.chmod(0o600)
    done = subprocess.run([str(BIN / "reel"), "url", "--sign", "--http", "http://h", "-u", "alice", "id"],
                          capture_output=True, text=True, env={"REEL_KEYS": f"b@{file}"})
    assert done.returncode == 0 and "&k=b&" in done.stdout
