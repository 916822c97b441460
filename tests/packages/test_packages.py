"""The packages as files: what lintian finds, and that the library can be built against."""
import re
import subprocess

# The first upload of a package to Debian closes a bug there; these are not in Debian.
ACCEPTED = ("initial-upload-closes-no-bugs",)


def test_lintian_finds_nothing_that_matters(dist):
    changes, = dist.glob("*.changes")
    done = subprocess.run(["lintian", "--allow-root", "--fail-on=none", "--suppress-tags", ",".join(ACCEPTED), changes], capture_output=True, text=True)
    found = re.findall(r"^[EW]: .*", done.stdout, re.M)
    assert done.returncode == 0 and not found, done.stdout + done.stderr


def test_binaries_are_hardened(dist, tmp_path):
    for package, program in (("storage", "usr/sbin/reel-storage"), ("httpd", "usr/sbin/reel-httpd"), ("tools", "usr/bin/reel")):
        file, = dist.glob(f"reelstore-{package}_*.deb")
        subprocess.run(["dpkg-deb", "-x", file, tmp_path], check=True)
        told = subprocess.run(["readelf", "-dlhn", tmp_path / program], capture_output=True, text=True, check=True).stdout
        assert "DYN (Position-Independent Executable" in told
        assert "BIND_NOW" in told and "GNU_RELRO" in told
        assert "IBT" in told and "SHSTK" in told or "x86-64" not in told
