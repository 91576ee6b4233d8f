"""Telling how far downloads are: bars in a terminal, plain lines elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

MIB = 1 << 20


class Reporter(Protocol):
    """Hears about a set of downloads."""

    def started(self, what: str, files: int, size: int) -> None:
        """Hear that `files` files of `size` bytes together are about to be downloaded."""

    def received(self, count: int) -> None:
        """Hear that `count` bytes more have come; called from several threads."""

    def finished(self, name: str) -> None:
        """Hear that the file called `name` is complete and verified; called from several threads."""


class Silence:
    """A reporter for callers that show nothing."""

    def started(self, what: str, files: int, size: int) -> None:
        """Ignore it."""

    def received(self, count: int) -> None:
        """Ignore it."""

    def finished(self, name: str) -> None:
        """Ignore it."""


class PlainLines:
    """A reporter for logs and pipes: a line at the start and at each finished file."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._files = 0
        self._done = 0

    def started(self, what: str, files: int, size: int) -> None:
        """Say how much is coming."""
        self._files = files
        self._done = 0
        self._write(f"{what}: downloading {files} files, {size / MIB:.0f} MiB\n")

    def received(self, count: int) -> None:
        """Ignore single chunks: a log has no use for them."""

    def finished(self, name: str) -> None:
        """Say which file came and how many are done."""
        self._done += 1
        self._write(f"  {self._done}/{self._files} {name}\n")


class Bar:
    """A reporter that draws one bar over all files."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None, file="", visible=False)

    def started(self, what: str, files: int, size: int) -> None:
        """Show the bar."""
        self._progress.reset(self._task, description=what, total=size, visible=True)

    def received(self, count: int) -> None:
        """Move the bar."""
        self._progress.advance(self._task, count)

    def finished(self, name: str) -> None:
        """Show the name of the file beside the bar."""
        self._progress.update(self._task, file=name)


@contextmanager
def _bar(console: Console) -> Iterator[Reporter]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TextColumn("{task.fields[file]}", style="dim"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield Bar(progress)


@contextmanager
def _lines() -> Iterator[Reporter]:
    def write(line: str) -> None:
        sys.stderr.write(line)
        sys.stderr.flush()

    yield PlainLines(write)


def reporter() -> AbstractContextManager[Reporter]:
    """Return the reporter that fits standard error: a bar in a terminal, else plain lines."""
    console = Console(stderr=True)
    return _bar(console) if console.is_terminal else _lines()
