"""A real S3 server on loopback: Versity's gateway over a folder, built from source where Go is installed.

`python -m tests.integration.s3_server` builds it ahead of the tests.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ops.embedded.filelock import file_lock
from tests.asked import asked_for
from tests.toolchains import go
from tests.waiting import until

PROJECT = Path(__file__).resolve().parent.parent.parent
VERSION = "v1.8.0"
PROGRAM = PROJECT / ".cache" / "tools" / f"versitygw-{VERSION}"
#: The Go that the program needs.
LEAST = (1, 25)
#: Seconds that building it may take.
PATIENCE = 1200
ACCESS, SECRET = "tester", "hidden-secret"


@dataclass(frozen=True)
class S3:
    """A running server; buckets are folders of `root`."""

    endpoint: str
    root: Path


def needed() -> None:
    """Make the program if it isn't there, which takes minutes once.

    Where it can't be made, the test that calls this is skipped and says why; where JOBSTREAM_TEST_ENGINES lists `s3` it
    fails, so that who asked for it has run it. In CI it is made only for who asks: it takes minutes of both cores.
    """
    why = ""
    asked = asked_for("s3")
    if os.environ.get("CI") == "true" and not asked and not PROGRAM.exists():
        why = "JOBSTREAM_TEST_ENGINES doesn't list s3"
    elif not can_be_built():
        why = f"it is built from source, and Go {LEAST[0]}.{LEAST[1]} or newer is not installed"
    else:
        try:
            build()
        except (OSError, subprocess.SubprocessError) as error:
            said = getattr(error, "stderr", None) or str(error)
            why = f"it could not be built: {str(said).strip()[-2000:]}"
    if why:
        (pytest.fail if asked else pytest.skip)(f"no S3 server: {why}")


def can_be_built() -> bool:
    """Say whether the program, or what makes it, is there."""
    return PROGRAM.exists() or go(LEAST) is not None


def build() -> None:
    """Make the program if it isn't there; raises OSError or SubprocessError if that fails or takes too long."""
    if PROGRAM.exists():
        return
    program = go(LEAST)
    if program is None:
        raise FileNotFoundError("go")
    # the workers of a parallel run may want it at once
    with file_lock(PROGRAM.parent / "versitygw.lock", PATIENCE, "building the S3 server"):
        if not PROGRAM.exists():
            _build(program)


def _build(go: str) -> None:
    folder = PROGRAM.parent / f"{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(
            [go, "install", "-trimpath", "-ldflags=-s -w", f"github.com/versity/versitygw/cmd/versitygw@{VERSION}"],
            env={**os.environ, "GOBIN": str(folder), "GOFLAGS": "", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        (folder / "versitygw").replace(PROGRAM)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def serving(root: Path) -> Iterator[S3]:
    """A server over `root`; the program must be there."""
    root.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (root.parent / "s3.log").open("wb") as log:
        process = subprocess.Popen(
            [PROGRAM, "--port", f"127.0.0.1:{port}", "--access", ACCESS, "--secret", SECRET, "posix", str(root)],
            stdout=log,
            stderr=log,
        )
    try:
        until(lambda: process.poll() is not None or _answers(port), what="the S3 server's port")
        assert process.poll() is None, (root.parent / "s3.log").read_text()[-2000:]
        yield S3(f"http://127.0.0.1:{port}", root)
    finally:
        process.terminate()
        process.wait(10)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    build()
