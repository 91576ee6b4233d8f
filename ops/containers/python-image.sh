#!/bin/bash
# A job image with Python 3.11, put together from Debian 12's own packages: no registry and no package scripts are run.
# usage: python-image.sh [TAG [PACKAGES]]
#   TAG       defaults to jobstream/python:1
#   PACKAGES  a folder made by `pip install --target`, copied onto the image's Python path (its wheels must be for 3.11)
# Needs apt-get (packages are downloaded, not installed) and apt's busybox-static.
set -euo pipefail

tag=${1:-jobstream/python:1}
packages=${2:-}
busybox=$(command -v busybox) || { echo "python-image.sh: apt-get install busybox-static" >&2; exit 1; }
debs=(libc6 zlib1g libexpat1 libssl3 libffi8 libbz2-1.0 liblzma5 libuuid1 libncursesw6 libtinfo6 libsqlite3-0
    libreadline8 libdb5.3 libcrypt1 libnsl2 libtirpc3 libcom-err2 libstdc++6 libgcc-s1
    python3.11-minimal libpython3.11-minimal libpython3.11-stdlib media-types tzdata base-files)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root" "$work/debs"
chmod 755 "$root"
# apt drops to the user _apt for downloads, who must be able to write here.
chmod 755 "$work" && chmod 777 "$work/debs"
(cd "$work/debs" && apt-get download -q "${debs[@]}" >"$work/apt.log" 2>&1) || { cat "$work/apt.log" >&2; exit 1; }
for deb in "$work"/debs/*.deb; do dpkg -x "$deb" "$root"; done

mkdir -p "$root"/{bin,tmp,proc,sys,dev,work,etc}
chmod 1777 "$root/tmp"
cp "$busybox" "$root/bin/busybox"
for applet in $("$busybox" --list); do
    [ -e "$root/bin/$applet" ] || [ -e "$root/usr/bin/$applet" ] || ln -s busybox "$root/bin/$applet"
done
ln -sf python3.11 "$root/usr/bin/python3"
ln -sf python3.11 "$root/usr/bin/python"
printf 'root:x:0:0:root:/root:/bin/sh\njob:x:10001:10001:job:/work:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\njob:x:10001:\nnogroup:x:65534:\n' >"$root/etc/group"
rm -rf "$root"/usr/share/{doc,man,locale,lintian} "$root"/usr/lib/*/gconv
if [ -n "$packages" ]; then
    mkdir -p "$root/usr/local/lib/python3.11/dist-packages"
    cp -a "$packages"/. "$root/usr/local/lib/python3.11/dist-packages/"
fi
/sbin/ldconfig -r "$root"
tar -C "$root" --owner=0 --group=0 --numeric-owner -c . |
    docker import --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 PYTHONPATH=/usr/local/lib/python3.11/dist-packages PYTHONDONTWRITEBYTECODE=1' \
        --change 'CMD ["python3"]' - "$tag" >/dev/null
echo "built $tag"
