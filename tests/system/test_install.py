"""What `cmake --install` puts where, and that systemd, shells and man understand it. On real machines: tests/packages."""
import os
import pty
import re
import shutil
import subprocess
import tempfile

import pytest

from suite import BUILD, ROOT

DAEMONS = ("tracker", "idserver", "storage", "httpd")


def install(destination, prefix="/usr"):
    subprocess.run(["cmake", "--install", str(BUILD), "--prefix", prefix], check=True, stdout=subprocess.DEVNULL,
                   env={**os.environ, "DESTDIR": str(destination)})


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("installed")
    install(directory)
    return directory


def test_everything_is_installed(installed):
    there = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
    wanted = ["usr/bin/reel", "usr/include/reel.h", "etc/logrotate.d/reelstore", "etc/reelstore/reel.conf", "usr/lib/sysusers.d/reelstore.conf",
              "usr/lib/tmpfiles.d/reelstore.conf", "usr/lib/reelstore/setup-daemon", "usr/share/man/man1/reel.1", "usr/share/man/man5/reel.conf.5",
              "usr/share/bash-completion/completions/reel", "usr/share/zsh/site-functions/_reel", "usr/share/fish/vendor_completions.d/reel.fish",
              "usr/lib/systemd/system/reel-storage@.service", "usr/lib/systemd/system/reel-backup@.timer",
              "usr/share/doc/reelstore/docs/deployment.md", "usr/share/doc/reelstore/examples/keepalived/check-reelstore"]
    for name in DAEMONS:
        wanted += [f"usr/sbin/reel-{name}", f"etc/reelstore/{name}.conf", f"usr/lib/systemd/system/reel-{name}.service",
                   f"usr/share/man/man8/reel-{name}.8", f"usr/share/man/man5/reel-{name}.conf.5", f"usr/share/doc/reelstore/examples/{name}.conf"]
    assert not [name for name in wanted if name not in there]
    for name in DAEMONS:
        assert (installed / f"etc/reelstore/{name}.conf").stat().st_mode & 0o7777 == 0o640


def test_a_configuration_that_is_there_is_kept(tmp_path):
    mine = tmp_path / "etc/reelstore/tracker.conf"
    mine.parent.mkdir(parents=True)
    mine.write_text("# mine\n")
    install(tmp_path)
    assert mine.read_text() == "# mine\n"
    assert (mine.parent / "storage.conf").exists()


def test_sources_may_lie_anywhere(tmp_path):
    """What the build runs itself quotes paths as a shell needs it; compilers are run by CMake."""
    top = tmp_path / "a copy (1) of 'ü' & more"
    shutil.copytree(ROOT, top, symlinks=True, ignore=shutil.ignore_patterns(".git", "build", "dist", "var", "__pycache__"))
    subprocess.run(["cmake", "-G", "Ninja", "-S", top, "-B", top / "build"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", top / "build", "--target", "reel_sql"], check=True, stdout=subprocess.DEVNULL)
    assert len(list((top / "build/generated/sql").iterdir())) == 3


def test_paths_in_units_follow_the_prefix(tmp_path):
    install(tmp_path, "/opt/reel")
    unit = (tmp_path / "opt/reel/lib/systemd/system/reel-tracker.service").read_text()
    assert "ExecStart=/opt/reel/sbin/reel-tracker -c /opt/reel/etc/reelstore/tracker.conf\n" in unit
    assert not (tmp_path / "etc").exists()


@pytest.mark.parametrize("name", DAEMONS)
def test_the_installed_configuration_serves_this_machine_alone(installed, name):
    file = installed / f"etc/reelstore/{name}.conf"
    output = subprocess.run([str(installed / f"usr/sbin/reel-{name}"), "-c", str(file), "--print-config"], check=True, capture_output=True,
                          text=True).stdout
    listening = re.findall(r"^listen = (.*)", output, re.M)
    assert listening and all(address.startswith("127.0.0.1:") for address in listening), listening
    assert re.search(r"^user = reelstore$", output[output.index("[daemon]"):], re.M)


def test_systemd_understands_the_units(installed):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is missing")
    # It looks for the programs and the user that units name.
    with tempfile.TemporaryDirectory() as directory:
        units = []
        folder = installed / "usr/lib/systemd/system"
        for unit in [*folder.glob("*.service"), *folder.glob("*.socket")]:
            name = unit.name.replace("@.", "@storage.")
            text = unit.read_text().replace("/usr/sbin/", f"{installed}/usr/sbin/")
            with open(f"{directory}/{name}", "w") as file:
                file.write(re.sub(r"^(User|Group)=reelstore$", r"\1=daemon", text, flags=re.M))
            units.append(f"{directory}/{name}")
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True)
    complaints = [line for line in done.stderr.splitlines() if "reel-" in line]
    assert done.returncode == 0 and not complaints, done.stderr


@pytest.mark.parametrize("shell, file", [("bash", "usr/share/bash-completion/completions/reel"), ("zsh", "usr/share/zsh/site-functions/_reel"),
                                         ("fish", "usr/share/fish/vendor_completions.d/reel.fish"), ("sh", "usr/lib/reelstore/setup-daemon")])
def test_shells_understand_what_is_for_them(installed, shell, file):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is missing")
    done = subprocess.run([shell, "-n", str(installed / file)], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr


COMPLETED = [
    ("reel up", {"upload"}), ("reel list --so", {"--sort"}), ("reel list --sort n", {"name"}), ("reel -q tra", {"trash"}),
    ("reel admin group dr", {"drain"}), ("reel du --repair", set()), ("reel admin q", {"quota"}), ("reel admin group re", {"remove", "rebalance"}),
    ("reel admin quota re", set()), ("reel admin -n group drain --em", {"--empty"}), ("reel auth to", {"token"}), ("reel --user bob adm", {"admin"}),
    ("reel -u list up", {"upload"}), ("reel upload my", {"my film.mp4", "my films"}), ("reel download --into my", {"my films"})]
BASH = """
    compopt() { :; }
    . "$SITE/bash-completion/completions/reel"
    while IFS= read -r line; do
        echo "> $line"
        read -ra COMP_WORDS <<<"$line"
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _reel
        printf '%s\\n' "${COMPREPLY[@]}"
    done <"$LINES_FILE" >"$SEEN"
    """
FISH = """
    source $SITE/fish/vendor_completions.d/reel.fish
    while read line
        echo "> $line"
        complete -C $line
    end <$LINES_FILE >$SEEN
    """
# Its completion needs the line editor, and this a terminal.
ZSH = """
    fpath=($SITE/zsh/site-functions $fpath)
    autoload -U compinit
    compinit -D -u
    compadd() {
        local -a found
        [[ " $* " = *" -"[OAD]" "* ]] && { builtin compadd "$@"; return }
        builtin compadd -O found "$@"
        print -rl -- ${(Q)found} >>$SEEN
        builtin compadd "$@"
    }
    zle -C seen list-choices _main_complete
    zle-line-init() {
        local line
        for line in ${(f)"$(<$LINES_FILE)"}; do
            print -r -- "> $line" >>$SEEN
            BUFFER=$line CURSOR=$#line
            zle seen
        done
        BUFFER=exit
        zle accept-line
    }
    zle -N zle-line-init
    """


def completed(shell, installed, directory):
    """What SHELL completes each of COMPLETED to, in DIRECTORY."""
    home = directory / "home"
    home.mkdir()
    (home / ".zshrc").write_text(ZSH)
    lines, seen = home / "lines", home / "seen"
    lines.write_text("".join(f"{line}\n" for line, _ in COMPLETED))
    ours, theirs = pty.openpty()
    command = {"bash": ["bash", "--norc", "-c", BASH], "fish": ["fish", "--no-config", "-c", FISH], "zsh": ["zsh", "-d", "-i"]}[shell]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=directory, start_new_session=True, env={
        **os.environ, "HOME": str(home), "ZDOTDIR": str(home), "TERM": "xterm", "SITE": str(installed / "usr/share"), "LINES_FILE": str(lines),
        "SEEN": str(seen)})
    os.close(theirs)
    said = b""
    try:
        while True:  # a terminal that nobody has any more gives EIO
            said += os.read(ours, 4096)
    except OSError:
        os.close(ours)
    assert process.wait(timeout=60) == 0 and seen.exists(), said
    found = {}
    for line in seen.read_text().splitlines():
        if line.startswith("> "):
            found[line[2:]] = words = set()
        elif line:
            words.add(line.split("\t")[0].rstrip("/"))
    return found


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_options(installed, tmp_path, shell):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is missing")
    (tmp_path / "my film.mp4").touch()
    (tmp_path / "my films").mkdir()
    assert completed(shell, installed, tmp_path) == dict(COMPLETED)


def test_manual_pages_are_well_formed(installed):
    if not shutil.which("man"):
        pytest.skip("man is missing")
    pages = sorted((installed / "usr/share/man").rglob("*.[158]"))
    assert len(pages) == (11 if (BUILD / "bin/reel-poster").exists() else 10)
    for page in pages:
        done = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", str(page)], capture_output=True, text=True,
                              env={**os.environ, "MANROFFSEQ": "", "MANWIDTH": "80", "PAGER": "cat"})
        assert done.returncode == 0 and not done.stderr, f"{page}: {done.stderr}"
        text = re.sub(".\b", "", done.stdout)
        assert "NAME\n" in text and "SEE ALSO\n" in text


def test_each_command_explains_itself():
    reel = str(BUILD / "bin/reel")
    verbs = re.findall(r"^  (\w+) ", subprocess.run([reel, "--help"], capture_output=True, text=True, check=True).stdout.split("Options:")[0], re.M)
    assert len(verbs) > 12
    for verb in verbs:
        output = subprocess.run([reel, verb, "--help"], capture_output=True, text=True, check=True).stdout
        assert output.startswith(f"Usage: reel {verb}"), output


@pytest.mark.parametrize("name", ["compose", "compose-cluster"])
def test_the_logs_of_every_container_are_bounded(name):
    """Docker keeps all of them otherwise."""
    text = (ROOT / f"packaging/{name}.yaml").read_text()
    for image in re.finditer(r"^( +)image: .*\n", text, re.M):
        block = re.match(rf"(?:{image[1]}.*\n)*", text[image.start():])[0]
        assert re.search(rf"^{image[1]}logging: ", block, re.M), block
    assert re.search(r"^    driver: json-file\n    options: \{max-size: 10m, max-file: \"5\"\}$", text, re.M)


@pytest.mark.parametrize("name", ["compose", "compose-cluster"])
def test_a_container_has_as_long_to_stop_as_its_daemon_may_take(name):
    """The default of container engines is 10 s."""
    shown = subprocess.run([BUILD / "bin/reel-storage", "-c", "/dev/null", "-o", "storage.group=g", "-o", "storage.paths=/srv", "--print-config"],
                           check=True, capture_output=True, text=True).stdout
    limit = int(re.search(r"^stop_timeout = (\d+)s$", shown, re.M)[1]) + 17  # docs/operations.md
    daemon = (ROOT / f"packaging/{name}.yaml").read_text().partition("x-daemon: &daemon")[2].partition("\nx-")[0].partition("\nservices:")[0]
    assert int(re.search(r"^  stop_grace_period: (\d+)s", daemon, re.M)[1]) > limit
