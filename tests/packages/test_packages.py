"""The packages as files: what lintian finds, and that the library can be built against."""
import re
import subprocess

# The first upload of a package to Debian closes a bug there; these are not in Debian.
ACCEPTED = ("initial-upload-closes-no-bugs",)


def test_lintian_finds_nothing_that_matters(dist):
    done = subprocess.run(["lintian", "--allow-root", "--fail-on=none", "--suppress-tags", ",".join(ACCEPTED), *dist.glob("*.deb"),
                           *dist.glob("*.dsc")], capture_output=True, text=True)
    found = re.findall(r"^[EW]: .*", done.stdout, re.M)
    assert done.returncode == 0 and not found, done.stdout + done.stderr


def test_binaries_are_hardened(dist, tmp_path):
    for package, program in (("storage", "usr/sbin/reel-storage"), ("httpd", "usr/sbin/reel-httpd"), ("tools", "usr/bin/reel")):
        file, = dist.glob(f"reelstore-{package}_*.deb")
        subprocess.run(["dpkg-deb", "-x", file, tmp_path], check=True)
        output = subprocess.run(["readelf", "-Wdlh", "--dyn-syms", tmp_path / program], capture_output=True, text=True, check=True).stdout
        assert "DYN (Position-Independent Executable" in output
        assert "BIND_NOW" in output and "GNU_RELRO" in output and "__stack_chk_fail" in output and "_chk@" in output
        if "X86-64" in output:  # control-flow protection: functions begin with endbr64
            assert (tmp_path / program).read_bytes().count(b"\xf3\x0f\x1e\xfa") > 100


def test_the_static_library_shows_the_public_functions_alone(dist, tmp_path):
    file, = dist.glob("libreel-dev_*.deb")
    subprocess.run(["dpkg-deb", "-x", file, tmp_path], check=True)
    library, = tmp_path.rglob("libreel.a")
    shown = subprocess.run(["nm", "--defined-only", "--extern-only", library], capture_output=True, text=True, check=True).stdout
    names = re.findall(r"^[0-9a-f]+ [A-Z] (\w+)", shown, re.M)
    assert len(names) > 20 and all(name.startswith("reel_") for name in names), names


def test_what_the_list_of_changes_names_lies_beside_it(dist):
    """lintian, dput and reprepro go by that file; debug symbols are in a directory of their own."""
    changes, = dist.glob("reelstore_*.changes")
    names = set(re.findall(r"^ [0-9a-f]{64} \d+ (\S+)$", changes.read_text(), re.M))
    assert {file.name for file in dist.glob("*.deb")} <= names and all((dist / name).exists() for name in names), names
