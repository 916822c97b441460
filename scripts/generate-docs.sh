#!/usr/bin/env bash
# Writes docs/configuration.md, the manual pages (docs/man) and the completions (conf/completions) from what the programs print
# about their options: scripts/generate-docs.sh [BIN_DIR].
# BIN_DIR holds the binaries (default build/release/bin). With --check as the first argument nothing is written, and the
# exit code is 1 where a file differs from what the programs print.
set -euo pipefail
cd "$(dirname "$0")/.."
check=no
if [ "${1:-}" = --check ]; then
    check=yes
    shift
fi
bin=${1:-build/release/bin}
page=docs/configuration.md
new=$(mktemp)
trap 'rm -f "$new"' EXIT

cat >"$new" <<'INTRODUCTION'
# Configuration

This page is written by `scripts/generate-docs.sh` from the tables of options inside the daemons; `reel-NAME --help` says
the same.

## The file

Each daemon reads one file: `-c FILE`, or `/etc/reelstore/NAME.conf` (NAME: tracker, idserver, storage, httpd). Commented
examples are in `conf/`.

```ini
# a comment; so is a line that begins with ;
[tracker]
listen = *:21000, [2001:db8::1]:21001
heartbeat_timeout = 40s
```

- A line is `[section]`, `name = value`, empty, or a comment. A comment is on a line of its own.
- `;` and `#` inside a value belong to it (`mysql://reel:a;b#c@db1/tnv_trackerdb`). If one of them follows a blank, the
  line is refused, because it is most likely meant as a comment; a text that really contains one is put in double quotes. The
  quotes are removed; there are no escapes inside them.
- An option appears once. There are no continuation lines and no included files. Names are case-sensitive.
- A line has at most 4094 bytes, a file 1 MiB.
- Anything that is unknown, given twice, of the wrong type, out of bounds or missing is an error that names file and line and says
  what would be right; the daemon does not start (exit code 2).

## Values

| type | forms |
|---|---|
| yes or no | `yes` `no`, `true` `false`, `on` `off`, `1` `0` |
| number | a whole number |
| size | bytes, or with `K`, `M`, `G`, `T` (powers of 1024): `4096`, `64K`, `10M`, `2G` |
| duration | with `ms`, `s`, `m`, `h`, `d`: `500ms`, `30s`, `5m`, `2h`, `7d`; a bare number is seconds |
| text | as it is, without the blanks around it |
| list | texts separated by commas |
| address | `192.0.2.1:21000`, `[2001:db8::1]:21000`, `media1:21000`, `*:21000` (every address of this machine); without `:port` the default port |
| addresses | several, separated by commas, semicolons or blanks |

## Which value holds

The command line (`-o SECTION.NAME=VALUE`; of two for one option, the later) takes precedence over the file, the file over
the default.

- `reel-NAME -c FILE --check-config` checks a file and exits with 0 or 2.
- `reel-NAME -c FILE --print-config` prints the whole configuration that would be used, defaults included. Passwords in
  URLs, and options whose name ends in `password` or `secret`, are shown as `***`.

## Reload

SIGHUP (`systemctl reload reel-NAME`) reads the file again. Every option that changed is logged: those with "yes" under
"reload" take effect at once, the others at the next restart. A file with an error changes nothing, and the log says
what is wrong. SIGHUP also reopens the log files; SIGUSR1 does only that.
INTRODUCTION

for name in tracker idserver storage httpd; do
    if [ ! -x "$bin/reel-$name" ]; then
        echo "generate-docs.sh: $bin/reel-$name is missing; build it first (scripts/build.sh release)" >&2
        exit 1
    fi
    printf '\n## reel-%s\n\n' "$name" >>"$new"
    "$bin/reel-$name" --help-markdown >>"$new"
done

if [ "$check" = yes ]; then
    if ! diff -u "$page" "$new"; then
        echo "generate-docs.sh: $page is not what the daemons say; run scripts/generate-docs.sh" >&2
        exit 1
    fi
    scripts/generate-manuals.py --check "$bin"
else
    mkdir -p docs
    cat "$new" >"$page"
    scripts/generate-manuals.py "$bin"
fi
