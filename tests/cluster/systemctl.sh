#!/bin/sh
# A stand-in for systemctl on a host of the lab, which has no init: systemctl start|stop|restart UNIT...
# Starts what the unit names (the project's own from conf/systemd), and waits until it is ready as systemd does.
set -eu
verb=$1
shift

background() { # UNIT COMMAND...
    unit=$1
    shift
    setsid "$@" </dev/null >>"/var/log/$unit.log" 2>&1 &
    echo $! >"/run/unit-$unit.pid"
}

ready() { # SECONDS COMMAND...: until COMMAND succeeds
    tries=$(($1 * 10))
    shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        if [ $tries = 0 ]; then
            echo "systemctl: $unit does not become ready" >&2
            tail -n 30 "/var/log/$unit.log" >&2
            exit 1
        fi
        sleep 0.1
    done
}

start() {
    unit=$1
    if [ -e "/run/unit-$unit.pid" ] && kill -0 "$(cat "/run/unit-$unit.pid")" 2>/dev/null; then return; fi
    case $unit in
        glusterd) glusterd -p /run/glusterd.pid && ready 30 gluster --mode=script pool list ;;
        mariadb)
            mkdir -p /run/mysqld && chown mysql /run/mysqld
            background mariadb mariadbd --user=mysql ${NEW_CLUSTER:-}
            ready 60 mariadb -e "SELECT 1" ;;
        garb)
            . /etc/default/garb
            background garb garbd --group "$GALERA_GROUP" --address "gcomm://$(echo "$GALERA_NODES" | tr ' ' ,)" --options "$GALERA_OPTIONS" ;;
        keepalived) background keepalived keepalived -n -l -p /run/keepalived.pid -r /run/keepalived-vrrp.pid ;;
        reel-*)
            instance=${unit#*@}
            file=conf/systemd/$unit.service
            [ "$instance" = "$unit" ] || file=conf/systemd/${unit%%@*}@.service
            command=$(sed -n 's/^ExecStart=//p' "$file" | sed "s/%i/$instance/; s#/usr/sbin/##")
            : >"/var/log/$unit.log"
            background "$unit" $command
            ready 30 grep -q ' ready: ' "/var/log/$unit.log" ;;
        *) echo "systemctl: unit $unit is unknown here" >&2; exit 5 ;;
    esac
}

stop() {
    [ -e "/run/unit-$1.pid" ] || return 0
    pid=$(cat "/run/unit-$1.pid")
    kill "$pid" 2>/dev/null || return 0
    tries=600
    # Who ended is buried by the lab's first process.
    while kill -0 "$pid" 2>/dev/null && [ $tries -gt 0 ]; do
        sleep 0.1
        tries=$((tries - 1))
    done
    rm "/run/unit-$1.pid"
}

for name; do
    case $verb in
        start) start "$name" ;;
        stop) stop "$name" ;;
        restart) stop "$name"; start "$name" ;;
        *) echo "systemctl: no $verb here" >&2; exit 1 ;;
    esac
done
