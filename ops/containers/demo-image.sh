#!/bin/bash
# The demo's job image: the Python job image with the packages of the demo extra, in the versions of requirements.lock.
# usage: demo-image.sh [TAG]      TAG defaults to jobstream/demo:1; needs our venv, a Python package index, and what
#                                 python-image.sh needs
set -euo pipefail

tag=${1:-jobstream/demo:1}
here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)
python=${PYTHON:-$project/.venv/bin/python}
packages="contourpy cycler fonttools kiwisolver matplotlib numpy packaging pillow pyparsing python-dateutil six"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Of the lock, the blocks of these packages: a name with its version, then its hashes.
awk -v wanted="$packages" '
    BEGIN { count = split(wanted, names, " "); for (i = 1; i <= count; i++) want[names[i]] = 1 }
    /^[a-z0-9]/ { name = $1; sub(/==.*/, "", name); keep = name in want; found += keep }
    /^[^ ]/ && !/^[a-z0-9]/ { keep = 0 }
    keep
    END { exit found != count }
' "$project/requirements.lock" >"$work/demo.lock" ||
    { echo "demo-image.sh: requirements.lock lacks one of: $packages" >&2; exit 1; }
# The image's Python is 3.11, whichever runs here.
"$python" -m pip install -q --no-deps --require-hashes --only-binary :all: --python-version 3.11 \
    --implementation cp --target "$work/packages" -r "$work/demo.lock"
"$here/python-image.sh" "$tag" "$work/packages"
