#!/bin/bash
# Makes .venv with exactly the packages of requirements.lock, and jobstream itself in editable mode.
# usage: ops/setup.sh      PYTHON names the interpreter to use (default: the first python3 that is new enough)
# It returns at once while requirements.lock, pyproject.toml and the interpreter are those of the last run; after an
# interruption, run it again.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf 'setup: %s\n' "$@" >&2; exit 1; }
new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.11 python3.12 python3.13}; do
        if command -v "$candidate" >/dev/null && new_enough "$candidate"; then command -v "$candidate"; return; fi
    done
    fail "Python 3.11 or newer is needed; here is $(${PYTHON:-python3} --version 2>&1 | head -1 || true)." \
        "Install one (Debian 12, Ubuntu 24.04: apt-get install python3 python3-venv) or name it: PYTHON=/path/to/python make setup"
}

python=$(find_python)
stamp=.venv/.jobstream-setup
wanted=$(cat requirements.lock pyproject.toml | sha256sum | cut -c1-64)-$("$python" -c 'import sys; print(sys.version)' | tr -d '\n')
if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && [ -x .venv/bin/python ]; then exit 0; fi

"$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "$python has no venv module." "On Debian and Ubuntu it is a package of its own: apt-get install python3-venv"
if [ ! -x .venv/bin/pip ] || ! .venv/bin/python -c '' 2>/dev/null ||
    [ "$(.venv/bin/python -c 'import sys; print(sys.version)')" != "$("$python" -c 'import sys; print(sys.version)')" ]; then
    "$python" -m venv --clear .venv || fail "$python could not make a virtual environment in $PWD/.venv"
fi

quiet=-q
if [ -t 1 ]; then quiet=; fi
install() {
    # not compiled ahead: most of it is never imported, and what is, the first import compiles
    .venv/bin/python -m pip install $quiet --disable-pip-version-check --no-input --no-compile "$@" || fail \
        "pip could not install the packages; its own message is above." \
        "No network? Behind a proxy, set HTTPS_PROXY; for a package index of your own, pip's PIP_INDEX_URL. Then run it again:" \
        "what was downloaded is kept."
}
echo "setup: installing $(grep -c '^[a-z0-9].*==' requirements.lock) pinned packages into .venv (a few minutes the first time)"
install --require-hashes -r requirements.lock
# setuptools is in the lock: an isolated build would download another one.
PYTHONWARNINGS=ignore install --no-deps --no-build-isolation -e .
echo "$wanted" >"$stamp"
echo "setup: done"
