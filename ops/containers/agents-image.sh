#!/bin/bash
# The agents' image where no public image can be had: the Dockerfile's stages on a Debian 12 that debootstrap puts together
# from the mirror that apt knows. pip finds packages as it does on this host. Elsewhere `docker build .` is enough.
# usage: agents-image.sh [TAG [BASE]]      TAG defaults to jobstream:local, BASE to jobstream/python-base:1, which is
#                                          made only where it isn't there
# Needs root and apt's debootstrap.
set -euo pipefail

tag=${1:-jobstream:local}
base=${2:-jobstream/python-base:1}
project=$(cd "$(dirname "$0")/../.." && pwd)
fail() { printf 'agents-image.sh: %s\n' "$@" >&2; exit 1; }

make_base() {
    command -v debootstrap >/dev/null || fail "apt-get install debootstrap"
    local work mirror root
    work=$(mktemp -d)
    # expanded now: the name is gone when the shell ends
    # shellcheck disable=SC2064
    trap "rm -rf '$work'" EXIT
    root=$work/root
    mirror=$(apt-get download --print-uris base-files | sed -nE "s#^'([^ ]*)/pool/.*#\1#p")
    [ -n "$mirror" ] || fail "apt knows no mirror: run apt-get update"
    debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv bookworm "$root" "$mirror" \
        >"$work/log" 2>&1 || { tail -20 "$work/log" >&2; exit 1; }
    ln -sf python3 "$root/usr/bin/python"
    if [ -n "${PIP_CERT:-}" ]; then
        cp "$PIP_CERT" "$root/etc/ssl/pip.pem"
        printf '[global]\ncert = /etc/ssl/pip.pem\n' >"$root/etc/pip.conf"
    fi
    rm -rf "$root"/var/cache/apt "$root"/var/lib/apt/lists
    tar -C "$root" --numeric-owner -c . |
        docker import --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin LANG=C.UTF-8' - "$base" >/dev/null
    echo "built $base"
}

docker image inspect "$base" >/dev/null 2>&1 || make_base
# the old builder: the other one is a plug-in that Debian's package doesn't have
said=$(DOCKER_BUILDKIT=0 docker build --quiet --network host --build-arg "PYTHON_IMAGE=$base" --tag "$tag" "$project" 2>&1) ||
    { echo "$said" | tail -20 >&2; exit 1; }
echo "built $tag"
