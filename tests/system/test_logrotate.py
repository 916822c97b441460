"""conf/logrotate: what runs as root after a rotation signals daemons of this system, whatever stands in their pid files."""
import os
import subprocess

from suite import ROOT, wait_for


def postrotate(directory, systemd="none", environment=None):
    """The script of the file, with its pid files in DIRECTORY and without systemd, whose directory SYSTEMD would be."""
    text = (ROOT / "conf/logrotate/reelstore").read_text()
    script = text.partition("postrotate\n")[2].partition("endscript")[0]
    assert "/run/reelstore" in script and "/run/systemd" in script
    script = script.replace("/run/reelstore", str(directory)).replace("/run/systemd", str(directory / systemd))
    return subprocess.run(["sh", "-e", "-c", script], capture_output=True, text=True, timeout=60, env=environment)


def test_daemons_reopen_their_logs_and_nobody_else_is_signalled(suite, tmp_path):
    stranger = subprocess.Popen(["sleep", "600"])
    try:
        # bash also takes "-1", which is every process, and what follows a number.
        for name, pid in (("forged", stranger.pid), ("all", -1), ("group", 0), ("more", f"{stranger.pid} {stranger.pid}"), ("empty", ""),
                          ("init", 1), ("text", "$(touch " + str(tmp_path / "run") + ")"), ("gone", 4194303)):
            (tmp_path / f"{name}.pid").write_text(f"{pid}\n")
        (tmp_path / "tracker.pid").write_text(f"{suite.tracker.process.pid}\n")
        log = suite.tracker.log_file
        log.rename(log.with_suffix(".1"))
        done = postrotate(tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        wait_for(log.exists, what="the tracker to open its log anew")
        assert stranger.poll() is None and not (tmp_path / "run").exists()
    finally:
        stranger.kill()
        stranger.wait()


def test_a_daemon_that_is_reloading_at_that_moment_gets_the_signal_too(tmp_path):
    """Else it would go on writing to the old file, which is compressed the next day."""
    calls = tmp_path / "calls"
    (tmp_path / "systemd" / "system").mkdir(parents=True)
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f"""#!/bin/sh
case "$*" in
    list-units*--state=*reloading*) echo "reel-tracker.service loaded reloading reload-notify Reelstore tracker" ;;
    kill*) echo "$*" >>{calls} ;;
esac
""")
    systemctl.chmod(0o755)
    done = postrotate(tmp_path, "systemd", {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert (done.returncode, done.stderr) == (0, "")
    assert calls.read_text() == "kill --kill-who=main --signal=USR1 reel-tracker.service\n"
