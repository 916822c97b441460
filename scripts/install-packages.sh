#!/usr/bin/env bash
# Installs Debian packages for the named sets, those that are missing only; uses sudo where not root.
#   scripts/install-packages.sh build|run|test|http|players|cluster|bench|analysis|coverage|package ...
set -euo pipefail

declare -A sets=(
    [build]="gcc libc6-dev cmake ninja-build pkg-config libevent-dev libhttp-parser-dev libmariadb-dev libsqlite3-dev
        libinih-dev uthash-dev libxxhash-dev libmagic-dev libsystemd-dev libjansson-dev zlib1g-dev libssl-dev libexpat1-dev
        libavformat-dev libavcodec-dev libavutil-dev libswscale-dev"
    [run]="libmagic-mgc ca-certificates curl"
    [test]="mariadb-server mariadb-client libcmocka-dev python3 python3-pytest python3-xxhash curl wget ffmpeg sqlite3 procps iproute2
        iptables prometheus zsh fish mypy man-db systemd"
    [http]="varnish nginx-light haproxy squid slowhttptest mpv chromium firefox-esr ffmpeg wget curl python3-websocket
        python3-jsonschema python3-tuspy php-cli"
    [players]="rclone vlc-bin vlc-plugin-base gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
        gstreamer1.0-libav gir1.2-gstreamer-1.0 python3-gi"
    [cluster]="systemd-container glusterfs-server glusterfs-client keepalived mariadb-server mariadb-client galera-4 galera-arbitrator-4 rsync
        iproute2 util-linux curl ffmpeg python3 python3-pytest python3-xxhash procps xxhash"
    [bench]="nginx-light redis-server e2fsprogs"
    [analysis]="clang clang-tidy clang-format cppcheck valgrind libclang-rt-14-dev"
    [coverage]="gcovr"
    [package]="debhelper dpkg-dev fakeroot lintian mmdebstrap systemd-container eatmydata"
)

missing=()
for set in "$@"; do
    [ -n "${sets[$set]:-}" ] || { echo "install-packages.sh: unknown set '$set'; known: ${!sets[*]}" >&2; exit 2; }
    for package in ${sets[$set]}; do
        state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$state" = installed ] || missing+=("$package")
    done
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || {
        echo "install-packages.sh: these packages are missing, and there is neither root nor sudo to install them:" >&2
        echo "    ${missing[*]}" >&2
        exit 1
    }
    as_root=(sudo)
fi
echo "Installing: ${missing[*]}"
# Servers that a package brings are for our own private instances: none is started by its installation.
policy=/usr/sbin/policy-rc.d
made_policy=
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod 755 "$policy"
    made_policy=yes
fi
finish() { [ -z "$made_policy" ] || "${as_root[@]}" rm -f "$policy"; }
trap finish EXIT
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
