#!/bin/bash
# A Docker daemon of one's own: its data, state and socket live in DIR, beside any other daemon of the machine.
# usage: dockerd.sh start|stop|status DIR      needs root; clients set DOCKER_HOST=unix://DIR/docker.sock
# It touches no firewall rule and publishes ports on loopback only, through Docker's user-land proxy.
# DOCKERD_LIVE_RESTORE=1: containers outlive the daemon, as the setting live-restore says.
set -euo pipefail

usage() { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }
[ $# -eq 2 ] || usage
mkdir -p "$2"
dir=$(cd "$2" && pwd)
socket=$dir/docker.sock

answers() { curl -fs --max-time 1 --unix-socket "$socket" http://docker/_ping >/dev/null 2>&1; }

# The pid of this directory's daemon, or nothing: a pid file outlives a machine and its number may be another's by now.
daemon_pid() {
    local pid
    pid=$(cat "$dir/dockerd.pid" 2>/dev/null) || return 0
    if tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- "--pidfile $dir/dockerd.pid"; then echo "$pid"; fi
}

# Of a daemon that was killed, containerd ends a moment later; until then a new daemon would take it for its own.
await_containerd() {
    local pid
    pid=$(cat "$dir/exec/containerd/containerd.pid" 2>/dev/null) || return 0
    for _ in $(seq 300); do
        kill -0 "$pid" 2>/dev/null || return 0
        sleep 0.1
    done
}

start() {
    if answers; then return 0; fi
    # A Unix socket's path has 108 bytes in the kernel; dockerd's own message does not say which path is too long.
    if [ ${#socket} -gt 100 ]; then
        echo "dockerd.sh: $socket is too long a path for a socket: choose a shorter directory" >&2
        exit 1
    fi
    if ! command -v dockerd >/dev/null; then
        echo "dockerd.sh: no dockerd here: apt-get install --no-install-recommends docker.io iptables" >&2
        exit 1
    fi
    if [ -z "$(daemon_pid)" ]; then
        rm -f "$dir/dockerd.pid"
        await_containerd
    fi
    if [ "${DOCKERD_LIVE_RESTORE:-0}" = 1 ]; then echo '{"live-restore": true}'; else echo '{}'; fi >"$dir/daemon.json"
    nohup setsid dockerd --config-file "$dir/daemon.json" --data-root "$dir/data" --exec-root "$dir/exec" \
        --pidfile "$dir/dockerd.pid" -H "unix://$socket" -G root \
        --iptables=false --ip6tables=false --ip-masq=false --ip-forward=false --ip 127.0.0.1 \
        >"$dir/dockerd.log" 2>&1 </dev/null &
    for _ in $(seq 300); do
        if answers; then return 0; fi
        sleep 0.1
    done
    echo "dockerd.sh: no answer from $socket after 30 s; the end of $dir/dockerd.log:" >&2
    tail -5 "$dir/dockerd.log" >&2
    exit 1
}

# Network namespaces stay mounted, and DIR could not be removed; containers that outlive the daemon still need theirs.
unmount() {
    grep -qs live-restore "$dir/daemon.json" && return 0
    for namespace in "$dir"/exec/netns/*; do
        umount "$namespace" 2>/dev/null || true
    done
}

stop() {
    local pid
    pid=$(daemon_pid)
    if [ -n "$pid" ]; then
        kill -TERM "$pid"
        for _ in $(seq 300); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
        if kill -0 "$pid" 2>/dev/null; then
            echo "dockerd.sh: $pid did not end within 30 s, killing it" >&2
            kill -KILL "$pid"
        fi
    fi
    unmount
}

case $1 in
start) start ;;
stop) stop ;;
status) if answers; then echo "$socket answers"; else echo "$socket does not answer"; exit 3; fi ;;
*) usage ;;
esac
