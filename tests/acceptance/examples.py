"""The examples of `ops/examples`, made ready to run: compiled, or with their packages installed.

`python -m tests.acceptance.examples` makes them ready ahead of the tests. What is made stays in .cache, by the hash of
what it was made from.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import pytest

from ops.embedded.artifacts import of_server
from ops.embedded.fetch import ArtifactStore
from ops.embedded.filelock import file_lock
from ops.embedded.java import java_home
from tests import toolchains

PROJECT = Path(__file__).resolve().parents[2]
EXAMPLES = PROJECT / "ops" / "examples"
MADE = PROJECT / ".cache" / "tools" / "examples"
#: s that making one ready may take
PATIENCE = 900


@dataclass(frozen=True)
class Example:
    """A command that takes bootstrap, topic, submission id, job type and payload."""

    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str) -> str:
        """Run it and return what it says; raises CalledProcessError where it fails."""
        environment = {**os.environ, **self.environment}
        done = subprocess.run(
            [*self.command, *arguments], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def ready(name: str) -> Example:
    """Return an example that can be run; its test is skipped where its tool is missing, and fails so in CI."""
    return _KINDS[name]()


def _kcat() -> Example:
    if shutil.which("kcat") is None:
        _missing("kcat is not installed")
    return Example([str(EXAMPLES / "kcat" / "submit.sh")])


def _java() -> Example:
    store = ArtifactStore()
    jars = [path for server in ("kafka", "tools") for path in store.ensure(of_server(server), server)]
    return Example(
        [str(EXAMPLES / "java" / "submit.sh")],
        {"JAVA": str(java_home() / "bin" / "java"), "CLASSPATH": ":".join(map(str, jars))},
    )


def _python() -> Example:
    return Example([sys.executable, "-P", str(EXAMPLES / "python" / "submit.py")])


def _go() -> Example:
    program = toolchains.go()
    if program is None:
        _missing("Go {}.{} or newer is not installed".format(*toolchains.GO))
    settings = {"GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"}

    def build(folder: Path) -> None:
        _call([program, "build", "-trimpath", "-o", str(folder / "submit"), "."], EXAMPLES / "go", settings)

    return Example([str(_made("go", build) / "submit")])


def _node() -> Example:
    found = toolchains.node()
    if found is None:
        _missing("Node {}.{} or newer is not installed".format(*toolchains.NODE))
    program, npm = found

    def install(folder: Path) -> None:
        for file in ("package.json", "package-lock.json", "submit.mjs"):
            shutil.copy(EXAMPLES / "node" / file, folder)
        # no package's own script runs
        command = [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        _call(command, folder, {"PATH": f"{Path(program).parent}:{os.environ['PATH']}"})

    return Example([program, str(_made("node", install) / "submit.mjs")])


_KINDS: dict[str, Callable[[], Example]] = {"kcat": _kcat, "node": _node, "go": _go, "java": _java, "python": _python}
NAMES = tuple(_KINDS)


def _made(name: str, make: Callable[[Path], None]) -> Path:
    """Return the folder of what `make` made of the example as it is now."""
    files = sorted(path for path in (EXAMPLES / name).iterdir() if path.is_file())
    digest = hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in files)).hexdigest()[:16]
    folder = MADE / f"{name}-{digest}"
    MADE.mkdir(parents=True, exist_ok=True)
    with file_lock(MADE / f"{name}.lock", PATIENCE, f"making the example {name}"):
        if not folder.exists():
            fresh = MADE / f"{name}.{os.getpid()}"
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
            make(fresh)
            fresh.rename(folder)
    return folder


def _call(command: list[str], folder: Path, settings: dict[str, str]) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}: {(done.stdout + done.stderr).strip()[-2000:]}"


def _missing(reason: str) -> NoReturn:
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)


if __name__ == "__main__":
    for one in NAMES:
        ready(one)
