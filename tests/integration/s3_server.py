"""A real S3 server on loopback: Versity's gateway over a folder, built from source where Go is installed."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.waiting import until

PROJECT = Path(__file__).resolve().parent.parent.parent
VERSION = "v1.8.0"
PROGRAM = PROJECT / ".cache" / "tools" / f"versitygw-{VERSION}"
ACCESS, SECRET = "tester", "hidden-secret"


@dataclass(frozen=True)
class S3:
    """A running server; buckets are folders of `root`."""

    endpoint: str
    root: Path


def can_be_built() -> bool:
    """Say whether the program, or what makes it, is there."""
    return PROGRAM.exists() or _go() is not None


def build() -> None:
    """Make the program if it isn't there, which takes minutes once."""
    if PROGRAM.exists():
        return
    go = _go()
    assert go is not None
    folder = PROGRAM.parent / f"{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    built = subprocess.run(
        [go, "install", f"github.com/versity/versitygw/cmd/versitygw@{VERSION}"],
        env={**os.environ, "GOBIN": str(folder), "GOFLAGS": "-trimpath"},
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode == 0:
        (folder / "versitygw").replace(PROGRAM)
    shutil.rmtree(folder, ignore_errors=True)
    assert built.returncode == 0, built.stderr.strip()[-2000:]


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


def _go() -> str | None:
    return shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
