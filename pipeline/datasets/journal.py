"""What an attempt is making visible in a directory store, written down first, so that it can be taken back.

A journal that is still there says that the commit never ended: nothing of it was reported, so whoever clears up after
the attempt (a later one, the same one again, a sweep) takes back what it had shown. A commit ends by removing it.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import orjson

from pipeline.datasets.copying import remove, sync_directory, write_files
from pipeline.datasets.marker import Marker
from pipeline.datasets.shelf import Shelf

JOURNAL = ".journal"
_LOWER = ".lower-"


@dataclass(frozen=True)
class Entry:
    """One product: its name in the attempt's staging directory, its place below the store's root."""

    name: str
    place: str


def write(attempt: Path, entries: list[Entry]) -> None:
    """Write an attempt's journal, durable and whole or not at all."""
    data = orjson.dumps([{"name": entry.name, "place": entry.place} for entry in entries])
    write_files(attempt, {f"{JOURNAL}.new": data})
    os.replace(attempt / f"{JOURNAL}.new", attempt / JOURNAL)  # noqa: PTH105
    sync_directory(attempt)


def end(attempt: Path, handle: int) -> None:
    """The commit has ended: from here on what it made visible stays, whatever happens to this process.

    `handle` is the attempt's open directory. The removal goes by path, so that it fails once a later attempt has
    moved the directory away; what follows doesn't, so that nothing can fail after the commit has ended.
    """
    (attempt / JOURNAL).unlink()
    os.fsync(handle)


def move_lower(job: Path, attempt: int) -> None:
    """Move the lower attempts' staging directories into this attempt's own.

    By one rename each, before anything in them is touched: a process that still runs such an attempt finds its
    paths gone, so it can't show a product that is being removed. Those without a journal showed nothing and go.
    Raises FileNotFoundError if this attempt's own directory has been moved away likewise.
    """
    own = job / str(attempt)
    for directory in list(job.iterdir()):
        if directory.name.isdecimal() and int(directory.name) < attempt:
            moved = own / f"{_LOWER}{directory.name}"
            remove(moved)
            try:
                directory.rename(moved)
            except FileNotFoundError:
                if own.exists():
                    continue
                raise
            if not _unfinished(moved):
                remove(moved)


def clear(attempt: Path) -> None:
    """Remove an attempt's own staging, but not what it moved in of lower attempts and has not taken back yet."""
    for path in list(attempt.iterdir()):
        if not path.name.startswith(_LOWER):
            remove(path)


def forget(directory: Path) -> None:
    """Remove a staging directory if it is empty."""
    try:
        directory.rmdir()
    except OSError:
        return


def undo(shelf: Shelf, directory: Path, job_id: str, number: int | None = None) -> None:
    """Take back what an unfinished attempt showed, and what attempts lower than it left, the highest first.

    `number` is the attempt's, by default the directory's name. Places that others have taken since stay as they
    are. Raises StoreBusy and OSError; calling it again goes on where it stopped.
    """
    attempt = int(directory.name) if number is None and directory.name.isdecimal() else number

    def ours(marker: Marker | None) -> bool:
        return marker is not None and (marker.job_id, marker.attempt) == (job_id, attempt)

    for entry in reversed(_read(directory)):
        shelf.take_back(shelf.root / entry.place, directory / entry.name, ours)
    undo_lower(shelf, directory, job_id)


def undo_lower(shelf: Shelf, directory: Path, job_id: str) -> None:
    """Take back what the lower attempts that were moved into `directory` left visible, and remove them."""
    moved = [path for path in directory.iterdir() if path.name.startswith(_LOWER)]
    for path in sorted(moved, key=_number, reverse=True):
        undo(shelf, path, job_id, _number(path))
        remove(path)


def _number(path: Path) -> int:
    return int(path.name.removeprefix(_LOWER))


def _unfinished(directory: Path) -> bool:
    nested = (path for path in directory.iterdir() if path.name.startswith(_LOWER))
    return (directory / JOURNAL).exists() or any(nested)


def _read(directory: Path) -> list[Entry]:
    try:
        data = (directory / JOURNAL).read_bytes()
    except FileNotFoundError:
        return []
    return [Entry(item["name"], item["place"]) for item in orjson.loads(data)]
