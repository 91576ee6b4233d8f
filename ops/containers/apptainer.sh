#!/bin/bash
# Apptainer in a folder of its own, from Debian's packages of a newer release: its libraries come with it, and the system's
# packages stay as they are. Where it is there already, nothing is asked for.
# usage: apptainer.sh DIR                      then DIR/bin/apptainer; Debian, 140 MB
#   APPTAINER_VERSION   the version wanted, 1.4.5 if unset; where the archive has only another, that one is taken, and said
#   APPTAINER_SUITE     the release it comes from, sid if unset
# Nothing of it depends on the running system but the kernel; DIR can't be moved, since the programs name their libraries.
set -euo pipefail

usage() { sed -n '2,6s/^# //p' "$0" >&2; exit 2; }
fail() { echo "apptainer.sh: $*" >&2; exit 1; }
[ $# -eq 1 ] || usage
wanted=${APPTAINER_VERSION:-1.4.5}
suite=${APPTAINER_SUITE:-sid}
mkdir -p "$1" || fail "$1 can't be made"
dir=$(cd "$1" && pwd)
root=$dir/root
# Its own libraries, the tool that makes programs use them, and what makes images.
packages=(libc6 libseccomp2 libsqlite3-0 libgcc-s1 libstdc++6 patchelf squashfs-tools liblz4-1 liblzma5 liblzo2-2 libzstd1 zlib1g)
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# Written last, so that whoever was interrupted begins anew.
installed() { [ "$(cat "$dir/wanted" 2>/dev/null)" = "$wanted" ] && "$dir/bin/apptainer" version >/dev/null 2>&1; }

# The archive that this machine's own packages come from.
mirror() {
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep -m 1 -E '/debian/?$' || true
}

apt() {
    local tool=$1
    shift
    "$tool" -qq -o Dir::Etc::SourceList="$dir/apt/sources.list" -o Dir::Etc::SourceParts=- \
        -o Dir::State::Lists="$dir/apt/lists" -o Dir::State::Status=/dev/null -o Dir::Cache="$dir/apt" \
        -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false \
        -o APT::Sandbox::User=root "$@"
}

fetch() {
    local url version
    for program in apt-get dpkg; do
        command -v "$program" >/dev/null || fail "no $program here: it takes Debian's packages"
    done
    [ -e "$keyring" ] || fail "no $keyring here: apt-get install debian-archive-keyring"
    url=$(mirror)
    [ -n "$url" ] || fail "apt is configured for no Debian archive: see 'apt-get indextargets'"
    rm -rf "$root" "$dir/apt" "$dir/debs"
    mkdir -p "$dir/apt/lists/partial" "$dir/apt/archives/partial" "$dir/debs" "$root"
    echo "deb [signed-by=$keyring] $url $suite main" >"$dir/apt/sources.list"
    apt apt-get update >"$dir/apt.log" 2>&1 || { tail -5 "$dir/apt.log" >&2; fail "the package lists of $suite can't be had"; }
    version=$(apt apt-cache madison apptainer | awk '{print $3}' | grep -m 1 "^$wanted-" || true)
    if [ -z "$version" ]; then
        version=$(apt apt-cache madison apptainer | awk 'NR == 1 {print $3}')
        [ -n "$version" ] || fail "$suite has no package apptainer"
        echo "apptainer.sh: $suite has no Apptainer $wanted any more: taking $version" >&2
    fi
    (cd "$dir/debs" && apt apt-get download "apptainer=$version" "${packages[@]}" >>"$dir/apt.log" 2>&1) ||
        { tail -5 "$dir/apt.log" >&2; fail "the packages can't be had"; }
}

unpack() {
    local deb elf lib loader
    for deb in "$dir"/debs/*.deb; do dpkg -x "$deb" "$root"; done
    # What Debian's base system links beside /usr.
    for elf in lib lib64; do [ -e "$root/$elf" ] || ln -s "usr/$elf" "$root/$elf"; done
    loader=$(find "$root/usr" -name 'ld-linux*.so.*' -type f -o -name 'ld-linux*.so.*' -type l | head -1)
    lib=$root/usr/lib/$(uname -m)-linux-gnu
    find "$root/usr/bin" "$lib/apptainer" -type f -perm -u+x ! -name patchelf | while read -r elf; do
        [ "$(head -c 4 "$elf" | tail -c 3)" = ELF ] || continue
        "$loader" --library-path "$lib" "$root/usr/bin/patchelf" --set-interpreter "$loader" --force-rpath \
            --set-rpath "$lib" "$elf" 2>>"$dir/apt.log" || true
    done
    # The package finds all but these beside its program, and there may be no systemd to ask for control groups.
    ln -sfn ../etc "$root/usr/etc"
    ln -sfn ../../etc "$root/usr/lib/etc"
    mkdir -p "$root/usr/lib/var/lib/apptainer/mnt/session" "$root/usr/var/lib/apptainer/mnt/session"
    sed -i 's/^systemd cgroups = yes/systemd cgroups = no/' "$root/etc/apptainer/apptainer.conf"
    ln -sfn root/usr/bin "$dir/bin"
    "$dir/bin/apptainer" version >/dev/null || fail "what was unpacked in $dir doesn't run"
    rm -rf "$dir/apt" "$dir/debs"
    echo "$wanted" >"$dir/wanted"
}

exec 9>"$dir/lock"
flock -w 600 9 || fail "another one has been installing into $dir for 10 minutes"
installed || { fetch && unpack; }
echo "$dir/bin/apptainer: $("$dir/bin/apptainer" version)"
