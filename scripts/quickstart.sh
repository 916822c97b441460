#!/usr/bin/env bash
# From a fresh clone to a link that plays and a web page: installs what is needed, builds a release, starts the four daemons on this
# machine, uploads a file, downloads it over the packet protocol and over HTTP, and compares every byte.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: scripts/quickstart.sh [OPTION]... [FILE]
  FILE            what to upload (default: the sample clip tests/media/clip.mp4)
  --dir DIR       where configuration, metadata, logs and files live (default: ./var/quickstart)
  --port-base N   tracker on port N, ID server N+1, storage N+2, HTTP N+3, their admin ports N+4..N+7
                  (default: 21000, 22000, 23000, 8080; admin 21100, 22100, 23100, 8180)
  --access MODE   signed: HTTP gives files to signed links only; open: to everyone who knows their address (default: signed)
  --mysql URL     metadata in MySQL or MariaDB: mysql://user:password@host[:port][,host2...] (default: SQLite files);
                  ?tls=off behind it for a server on another host without TLS
  --auth MODE     who may ask what: required (only who proves to have a key; keys are made in DIR/etc/keys), prefer or off
                  (default: required)
  --stop          stop the daemons that were started for DIR, and nothing else
  --help          this text
TEXT
}

fail() { echo "quickstart.sh: $*" >&2; exit 1; }

top=$(cd "$(dirname "$0")/.." && pwd)
here=$PWD command=$0
dir=./var/quickstart port_base= mysql= file= stop= access=signed auth=required
while [ $# -gt 0 ]; do
    case $1 in
        --dir) [ $# -ge 2 ] || fail "--dir needs a directory"; dir=$2; shift ;;
        --dir=*) dir=${1#*=} ;;
        --port-base) [ $# -ge 2 ] || fail "--port-base needs a number"; port_base=$2; shift ;;
        --port-base=*) port_base=${1#*=} ;;
        --access) [ $# -ge 2 ] || fail "--access needs open or signed"; access=$2; shift ;;
        --access=*) access=${1#*=} ;;
        --mysql) [ $# -ge 2 ] || fail "--mysql needs a URL"; mysql=$2; shift ;;
        --mysql=*) mysql=${1#*=} ;;
        --auth) [ $# -ge 2 ] || fail "--auth needs off, prefer or required"; auth=$2; shift ;;
        --auth=*) auth=${1#*=} ;;
        --stop) stop=yes ;;
        --help|-h) usage; exit 0 ;;
        -*) usage >&2; fail "unknown option $1" ;;
        *) [ -z "$file" ] || fail "one FILE only: '$file' and '$1' were given"; file=$1 ;;
    esac
    shift
done
[ -n "$file" ] || file=$top/tests/media/clip.mp4
[ -n "$stop" ] || { [ -f "$file" ] && [ -r "$file" ]; } || fail "cannot read the file '$file'"
[ -n "$stop" ] || mkdir -p "$dir" || fail "cannot make the directory $dir"
[ -d "$dir" ] || { echo "Nothing runs for $dir: there is no such directory."; exit 0; }
dir=$(cd "$dir" && pwd)
# These stand in the configuration as paths among others, which a comma separates.
case $dir in *[,=\;\#]*) fail "the path '$dir' has a comma, '=', ';' or '#', which a store path cannot have" ;; esac

if [ -n "$port_base" ]; then
    case $port_base in *[!0-9]*) fail "--port-base takes a number, not '$port_base'" ;; esac
    [ "$port_base" -ge 1 ] && [ "$port_base" -le 65528 ] || fail "--port-base must be from 1 to 65528"
    tracker=$port_base idserver=$((port_base + 1)) storage=$((port_base + 2)) httpd=$((port_base + 3))
    tracker_admin=$((port_base + 4)) idserver_admin=$((port_base + 5))
    storage_admin=$((port_base + 6)) httpd_admin=$((port_base + 7))
else
    tracker=21000 idserver=22000 storage=23000 httpd=8080
    tracker_admin=21100 idserver_admin=22100 storage_admin=23100 httpd_admin=8180
fi
case $access in open | signed) ;; *) fail "--access takes open or signed, not '$access'" ;; esac
case ${mysql%%\?*} in
    "") ;;
    mysql://*/?*) fail "--mysql takes a URL without a database (it makes its own: tnv_trackerdb, tnv_idsdb, tnv_storagedb)" ;;
    mysql://?*) ;;
    *) fail "--mysql takes a URL like mysql://user:password@host:3306, not '$mysql'" ;;
esac

case $auth in off|prefer|required) ;; *) fail "--auth takes off, prefer or required, not '$auth'" ;; esac

bin=$top/build/release/bin
daemons="tracker idserver storage httpd"

# The pid of DIR's daemon NAME, or nothing: the pid file's process counts only if it runs with DIR's configuration.
running_pid() {
    local pid
    pid=$(cat "$dir/run/$1.pid" 2>/dev/null) || return 1
    [ -n "$pid" ] && [ -r "/proc/$pid/cmdline" ] || return 1
    local own=$dir/etc/$1.conf
    [ "$1" != poster ] || own=$dir/run/poster.sock
    tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qxF "$own" || return 1
    echo "$pid"
}

# HTTP first, then storage: what asks goes before what answers.
stop_all() {
    local name pid tries stopped=()
    for name in httpd poster storage idserver tracker; do
        pid=$(running_pid "$name") || continue
        kill "$pid" 2>/dev/null || continue
        for tries in $(seq 1 600); do
            running_pid "$name" >/dev/null || break
            sleep 0.05
        done
        if running_pid "$name" >/dev/null; then
            echo "reel-$name (pid $pid) did not stop within 30 s: killed"
            kill -9 "$pid" 2>/dev/null || true
        fi
        stopped+=("$pid")
        [ "$name" != poster ] || rm -f "$dir/run/poster.pid"
        [ -z "${1:-}" ] || echo "Stopped reel-$name (pid $pid)."
    done
    [ -z "${1:-}" ] || [ ${#stopped[@]} -gt 0 ] || echo "Nothing runs for $dir."
    # A process on its way out has no command line any more; it is gone when its entry is.
    for pid in "${stopped[@]}"; do
        for tries in $(seq 1 100); do
            [ -d "/proc/$pid" ] || break
            sleep 0.05
        done
    done
}

if [ -n "$stop" ]; then
    stop_all loud
    exit 0
fi

echo "== Packages"
"$top/scripts/install-packages.sh" build run
echo "== Build (release)"
"$top/scripts/build.sh" release

echo "== Configuration in $dir/etc"
mkdir -p "$dir"/{etc,run,log,data,meta}
database_url() { # DAEMON DATABASE
    if [ -n "$mysql" ]; then
        local query=
        local base=${mysql%%\?*}
        [ "$base" = "$mysql" ] || query="?${mysql#*\?}"
        echo "${base%/}/$2$query"
    else
        echo "sqlite:$dir/meta/$1.db"
    fi
}
# One key for each part that asks another, one for whoever runs this, one that signs links; those of an earlier run stay.
keys=$dir/etc/keys
make_key() { # ROLES ID [OPTION...]
    { [ -s "$keys" ] && grep -q "^$2 " "$keys"; } || "$bin/reel" auth new-key -o "$keys" "$@" || fail "cannot make a key in $keys"
}
make_key storage storage-1 groups=group001
make_key gateway httpd-1 applications=tnvideo rights=rwdl
# That of an earlier version only read.
sed -i '/^httpd-1 /s/rights=r\( \|$\)/rights=rwdl\1/' "$keys"
make_key operator,issuer quickstart
make_key issuer links rights=r applications=tnvideo
(umask 077; cat >"$dir/etc/reel.conf" <<TEXT
# Written by scripts/quickstart.sh for the reel command.
[client]
trackers = 127.0.0.1:$tracker
user = quickstart
http = http://127.0.0.1:$httpd
keys = quickstart@$keys
auth = $auth
TEXT
)
common_options() { # NAME ADMIN_PORT
    cat <<TEXT
# Written by scripts/quickstart.sh; every option is described in docs/configuration.md.
[daemon]
pid_file = $dir/run/$1.pid

[log]
file = $dir/log/$1.log

[admin]
listen = 127.0.0.1:$2

[auth]
mode = $auth
keys = $keys

TEXT
}
write_config() { # NAME ADMIN_PORT, the rest from standard input; only its owner reads what may hold a password
    (umask 077; { common_options "$1" "$2"; cat; } >"$dir/etc/$1.conf")
}
write_config tracker $tracker_admin <<TEXT
[tracker]
listen = 127.0.0.1:$tracker

[database]
url = $(database_url tracker tnv_trackerdb)
TEXT
write_config idserver $idserver_admin <<TEXT
[idserver]
listen = 127.0.0.1:$idserver

[database]
url = $(database_url idserver tnv_idsdb)
TEXT
write_config storage $storage_admin <<TEXT
[storage]
listen = 127.0.0.1:$storage
group = group001
paths = quickstart=$dir/data
trackers = 127.0.0.1:$tracker
idservers = 127.0.0.1:$idserver
heartbeat_interval = 1s

[database]
url = $(database_url storage tnv_storagedb)
TEXT
# Pictures of films: where reel-poster was built (it needs FFmpeg's libraries) and its socket's name fits.
posters= poster_line=
if [ -x "$bin/reel-poster" ] && [ "$(printf %s "$dir/run/poster.sock" | wc -c)" -lt 108 ]; then
    posters=yes poster_line="poster_socket = $dir/run/poster.sock"
fi
# hls.js for browsers that know no HLS, where scripts/fetch-web.sh has fetched it.
web_folder=$top/httpd/web/npm/dist
write_config httpd $httpd_admin <<TEXT
[httpd]
listen = 127.0.0.1:$httpd
trackers = 127.0.0.1:$tracker
application = tnvideo
user = quickstart
access = $access
write = on
web = on
web_operators = tnvideo/quickstart
web_folder = $web_folder
$poster_line
TEXT

stop_all
echo "== Database"
for name in tracker idserver storage; do
    "$bin/reel-$name" -c "$dir/etc/$name.conf" --init-db >"$dir/log/init-$name.log" 2>&1 || {
        cat "$dir/log/init-$name.log" >&2
        fail "the database of reel-$name could not be set up"
    }
done

echo "== Start"
give_up() {
    stop_all
    fail "$*"
}
for name in $daemons; do
    : >>"$dir/log/$name.log"
    lines=$(wc -l <"$dir/log/$name.log")
    : >"$dir/log/$name.out"
    setsid nohup "$bin/reel-$name" -c "$dir/etc/$name.conf" </dev/null >>"$dir/log/$name.out" 2>&1 &
    pid=$!
    ready=
    for tries in $(seq 1 100); do
        # Its own word, not that of somebody else who has the port.
        admin=${name}_admin
        if curl -s "http://127.0.0.1:${!admin}/status" | grep -qE "\"pid\": *$pid\b"; then
            ready=yes
            break
        fi
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    if [ -z "$ready" ]; then
        tail -n "+$((lines + 1))" "$dir/log/$name.log" | tail -n 20 >&2
        tail -n 20 "$dir/log/$name.out" >&2
        hint=
        ! grep -q 'is in use' "$dir/log/$name.out" || hint="; --port-base N takes other ports"
        give_up "reel-$name did not start$hint; its log is $dir/log/$name.log"
    fi
    echo "reel-$name runs on 127.0.0.1:${!name} (pid $(running_pid "$name"))"
done

if [ -n "$posters" ]; then
    rm -f "$dir/run/poster.sock"
    setsid nohup "$bin/reel-poster" --socket "$dir/run/poster.sock" </dev/null >>"$dir/log/poster.log" 2>&1 &
    echo $! >"$dir/run/poster.pid"
    echo "reel-poster makes pictures (pid $!)"
fi

reel=("$bin/reel" --config "$dir/etc/reel.conf")
for tries in $(seq 1 100); do
    "${reel[@]}" groups 2>/dev/null | grep -q 'STATUS: ACTIVE' && break
    [ "$tries" -lt 100 ] || give_up "the storage server did not become ACTIVE within 10 s; see $dir/log/storage.log"
    sleep 0.1
done

echo "== Round trip of $file ($(stat -L -c %s "$file") bytes)"
copy=$(mktemp -d "$dir/run/check.XXXXXX")
trap 'rm -rf "$copy"' EXIT
id=$("${reel[@]}" upload "$file") || give_up "the upload failed"
"${reel[@]}" download "$id" "$copy/packet" || give_up "the download over the packet protocol failed"
cmp "$file" "$copy/packet" || give_up "the download over the packet protocol differs from what was uploaded"
echo "Packet protocol: the same $(stat -c %s "$copy/packet") bytes came back."
url() { # OPTION... ID
    local sign=()
    [ "$access" = open ] || sign=(--sign --expires 30d)
    REEL_KEYS=links@$keys "${reel[@]}" --http "http://127.0.0.1:$httpd" url "${sign[@]}" "$@"
}
link=http://127.0.0.1:$httpd/files/$id
[ "$access" = open ] || link=$(url "$id")
named=$(url --name "$(basename "$file")" "$id")
for url in "$link" "$named"; do
    curl -sS --fail -o "$copy/http" "$url" || give_up "the download of $url failed"
    cmp "$file" "$copy/http" || give_up "the download of $url differs from what was uploaded"
done
echo "HTTP: the same $(stat -c %s "$copy/http") bytes came back."
page=http://127.0.0.1:$httpd/
token=$("${reel[@]}" auth token --rights rwdl --expires 30d) || give_up "no token could be made for the web page"
[ "$(curl -sS -o "$copy/page" -w '%{http_code}' "$page")" = 200 ] || give_up "the web page $page is not there"
curl -sS --fail -o "$copy/list" -H "Authorization: Bearer $token" "${page}api/v1/files/tnvideo/quickstart" ||
    give_up "the web page's token lists nothing; see $dir/log/httpd.log"

# As they can be typed where this was typed.
stop_command=$(printf '%q' "$command")
[ "$dir" = "$here/var/quickstart" ] || stop_command="$stop_command --dir $(printf '%q' "$dir")"
shown_reel=$bin/reel
[ "$here" != "$top" ] || shown_reel=build/release/bin/reel
more=
[ "$access" = open ] || more="Links:    these hold for 30 days; more of them, for six hours (--scope user: for all files of the user):
          REEL_KEYS=links@$(printf '%q' "$keys") $(printf '%q' "$shown_reel") -u quickstart --http http://127.0.0.1:$httpd url --sign --expires 6h FILE_ID
"
cat <<TEXT

File ID:  $id
Web page: $page#token=$token
          (signed in for 30 days: upload, play, share, delete; $page for others, with a token of: reel auth token)
Play it:  $link
          $named
Try:      mpv '$link'      (or a browser, VLC, wget -c, curl -r)
          $(printf '%q' "$shown_reel") --config $(printf '%q' "$dir/etc/reel.conf") upload ANOTHER_FILE
${more}Logs:     $dir/log/
Stop:     $stop_command --stop
TEXT
