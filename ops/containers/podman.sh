#!/bin/bash
# A Podman service of one's own: its images, state and socket live in DIR, beside any other of the machine.
# usage: podman.sh start|stop|status DIR       needs root; clients set CONTAINER_HOST=unix://DIR/podman.sock
# It runs containers by runc and needs no systemd; containers that still run when it is stopped go on running.
set -euo pipefail

usage() { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
[ $# -eq 2 ] || usage
mkdir -p "$2"
dir=$(cd "$2" && pwd)
socket=$dir/podman.sock

answers() { curl -fs --max-time 1 --unix-socket "$socket" http://podman/_ping >/dev/null 2>&1; }

# The pid of this directory's service, or nothing: a pid file outlives a machine and its number may be another's by now.
service_pid() {
    local pid
    pid=$(cat "$dir/podman.pid" 2>/dev/null) || return 0
    if tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- "unix://$socket"; then echo "$pid"; fi
}

configure() {
    local init files
    init=$(command -v tini-static || command -v docker-init || command -v tini)
    files=$(ulimit -Hn)
    [ "$files" != unlimited ] && [ "$files" -le 1048576 ] || files=1048576
    # Podman's own default for open files is beyond what root may have where it lacks CAP_SYS_RESOURCE.
    cat >"$dir/containers.conf" <<CONF
[containers]
default_ulimits = ["core=0:0", "nofile=$files:$files", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
init_path = "$init"
CONF
}

start() {
    local program
    if answers; then return 0; fi
    # A Unix socket's path has 108 bytes in the kernel.
    if [ ${#socket} -gt 100 ]; then
        echo "podman.sh: $socket is too long a path for a socket: choose a shorter directory" >&2
        exit 1
    fi
    for program in podman runc tini; do
        command -v "$program" >/dev/null && continue
        echo "podman.sh: no $program here: apt-get install --no-install-recommends podman runc tini" >&2
        exit 1
    done
    configure
    rm -f "$socket"
    # With CONTAINER_HOST, podman would be the client of another service.
    CONTAINERS_CONF=$dir/containers.conf nohup setsid env -u CONTAINER_HOST podman \
        --root "$dir/data" --runroot "$dir/run" --tmpdir "$dir/tmp" --cgroup-manager cgroupfs system service --time=0 "unix://$socket" >"$dir/podman.log" 2>&1 </dev/null &
    echo $! >"$dir/podman.pid"
    for _ in $(seq 300); do
        if answers; then return 0; fi
        sleep 0.1
    done
    echo "podman.sh: no answer from $socket after 30 s; the end of $dir/podman.log:" >&2
    tail -5 "$dir/podman.log" >&2
    exit 1
}

stop() {
    local pid
    pid=$(service_pid)
    [ -n "$pid" ] || return 0
    kill -TERM "$pid"
    for _ in $(seq 300); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    if kill -0 "$pid" 2>/dev/null; then
        echo "podman.sh: $pid did not end within 30 s, killing it" >&2
        kill -KILL "$pid"
    fi
    # The storage stays mounted for as long as it may be used again.
    umount "$dir/data/overlay" 2>/dev/null || true
}

case $1 in
start) start ;;
stop) stop ;;
status) if answers; then echo "$socket answers"; else echo "$socket does not answer"; exit 3; fi ;;
*) usage ;;
esac
