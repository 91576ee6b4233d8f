"""Going through a directory that a job filled: of any depth, with any number of files, which may vanish meanwhile."""

import os
from collections.abc import Iterator
from pathlib import Path

#: Directories that may wait to be looked into; those beyond are passed over.
_WAITING = 100_000


def files_below(directory: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the path and the status of each file below a directory, in no order; links are not followed.

    What can't be looked at is left out. Takes no memory for files, and no stack for depth.
    """
    waiting = [str(directory)]
    while waiting:
        try:
            entries = os.scandir(waiting.pop())
        except OSError:
            continue
        with entries:
            for entry in entries:
                try:
                    if not entry.is_dir(follow_symlinks=False):
                        yield entry.path, entry.stat(follow_symlinks=False)
                    elif len(waiting) < _WAITING:
                        waiting.append(entry.path)
                except OSError:
                    continue
