#!/bin/bash
# The smallest image that has a shell: Debian's static busybox and nothing else. Needs apt's busybox-static; no network.
# usage: busybox-image.sh [TAG]      TAG defaults to jobstream/busybox:1
set -euo pipefail

tag=${1:-jobstream/busybox:1}
busybox=$(command -v busybox) || { echo "busybox-image.sh: apt-get install busybox-static" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/bin" "$work/etc" "$work/tmp"
chmod 755 "$work"
chmod 1777 "$work/tmp"
cp "$busybox" "$work/bin/busybox"
for applet in $("$busybox" --list); do
    [ -e "$work/bin/$applet" ] || ln -s busybox "$work/bin/$applet"
done
printf 'root:x:0:0:root:/:/bin/sh\njob:x:10001:10001:job:/tmp:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' >"$work/etc/passwd"
printf 'root:x:0:\njob:x:10001:\nnogroup:x:65534:\n' >"$work/etc/group"
tar -C "$work" --owner=0 --group=0 --numeric-owner -c . |
    docker import --change 'ENV PATH=/bin' --change 'CMD ["sh"]' - "$tag" >/dev/null
echo "built $tag"
