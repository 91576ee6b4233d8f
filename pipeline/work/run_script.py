"""`_run.sh`: runs an attempt's command again, by hand (spec §3.4)."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET = re.compile(r"secret|token|passw|credential|api_?key|access_?key|private", re.IGNORECASE)


def is_secret(name: str) -> bool:
    """Say whether a variable's name sounds as if its value were nobody's business."""
    return _SECRET.search(name) is not None


def render(directory: Path, env: Mapping[str, str], argv: Sequence[str]) -> bytes:
    """Return the script: the directory, an `export` for each variable, the command with its words quoted.

    The values of secrets are left out; a comment tells what to set.
    """
    lines = ["#!/bin/sh", "set -e", f"cd {shlex.quote(str(directory))}"]
    for name, value in env.items():
        if not _NAME.fullmatch(name):
            continue
        if is_secret(name):
            lines.append(f"# {name} is left out here: export it before")
        else:
            lines.append(f"export {name}={shlex.quote(value)}")
    lines.append(f"exec {shlex.join(argv)}")
    return ("\n".join(lines) + "\n").encode(errors="surrogateescape")
