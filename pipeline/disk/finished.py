"""Finding the work directories of attempts that ended, the oldest first."""

import os
from collections.abc import Iterator, Set
from pathlib import Path

from pipeline.disk.order import Finished
from pipeline.work import files

#: `YYYY/MM/DD/HH/MM` below `jobs`.
_LEVELS = 5
#: Bytes of an exit code.
_CODE = 16


def finished(root: Path, in_use: Set[str]) -> Iterator[Finished]:
    """Yield each attempt that is closed (`.done`) and not in use, in the order of its time and name.

    What a job wrote into its own directory is not believed: one in use is left alone, whatever is in it.
    """
    for minute in _below(root / "jobs", _LEVELS):
        for path in _folders(minute):
            if path.name not in in_use and os.path.lexists(path / files.DONE):
                yield Finished(path, files.read(path / files.EXIT_CODE, _CODE) == b"0\n")


def _below(folder: Path, levels: int) -> Iterator[Path]:
    if levels == 0:
        yield folder
        return
    for inner in _folders(folder):
        if inner.name.isdigit():
            yield from _below(inner, levels - 1)


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        # gone since, or not ours to read
        return []
