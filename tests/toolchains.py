"""Go and Node, where they are installed: on the path, or where CI puts them, which are wheels of both.

`python -m tests.toolchains go|node` ends with 0 where what the tests need is there.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

TOOLS = Path(__file__).resolve().parent.parent / ".cache" / "tools"
#: What the examples need, as their own files say.
GO, NODE = (1, 26), (22, 22)


def go(least: tuple[int, int] = GO) -> str | None:
    """Return a Go that is new enough: on the path, where its own installer puts it, or where CI does."""
    for folder in (None, "/usr/local/go/bin", str(TOOLS / "go" / "bin")):
        found = shutil.which("go", path=folder)
        if found is not None and _version([found, "env", "GOVERSION"], r"go(\d+)\.(\d+)") >= least:
            return found
    return None


def node(least: tuple[int, int] = NODE) -> tuple[str, list[str]] | None:
    """Return a Node that is new enough, and the command that is its npm; None where there is none."""
    wheel = TOOLS / "node"
    for folder, npm in ((None, None), (str(wheel / "bin"), wheel / "lib/node_modules/npm/bin/npm-cli.js")):
        found = shutil.which("node", path=folder)
        if found is None or _version([found, "--version"], r"v(\d+)\.(\d+)") < least:
            continue
        command = [found, str(npm)] if npm is not None else [shutil.which("npm") or "npm"]
        return found, command
    return None


def _version(command: list[str], pattern: str) -> tuple[int, int]:
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    version = re.match(pattern, said.stdout)
    return (int(version[1]), int(version[2])) if version else (0, 0)


if __name__ == "__main__":
    sys.exit({"go": go, "node": node}[sys.argv[1]]() is None)
