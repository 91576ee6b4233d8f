"""Removing directories: out of sight at once, then for good; what a crash leaves is in the trash."""

import os
import secrets
import shutil
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

#: New directories are made in the folder of their minute: older ones than this may be removed when they are empty.
_SETTLED = timedelta(hours=1)
#: Directories of the trash that are looked at before it is listed again.
_AT_ONCE = 10_000
#: Times that a directory is gone through: something may still write to it.
_PASSES = 3


class Trash:
    """The trash of a work root; only one process at a time may use it.

    A directory in it is emptied by putting the directories of its own beside it: whatever a job made takes neither
    stack nor memory, has no path that is too long, and is gone on with after a crash.
    """

    def __init__(self, root: Path) -> None:
        self._jobs = root / "jobs"
        self._folder = root / "trash"

    def empty(self) -> None:
        """Remove what is in it; what can't be removed stays."""
        left: set[str] = set()
        with suppress(FileNotFoundError):
            while waiting := [name for name in _names(self._folder) if name not in left]:
                left.update(name for name in waiting if not self._remove(self._folder / name))

    def take(self, path: Path) -> None:
        """Remove a work directory, and the folders of its time that are empty then. What can't be removed stays."""
        try:
            self._folder.mkdir(exist_ok=True)
            self._hide(path)
        except OSError:
            # a directory that is another user's can't be moved, but perhaps emptied
            with suppress(RecursionError):
                shutil.rmtree(path, ignore_errors=True)
        self.empty()
        self._prune(path.parent)

    def _hide(self, path: Path) -> None:
        # cut as bytes, in which a name's length is limited
        hidden = self._folder / f"{os.fsdecode(os.fsencode(path.name)[:200])}.{secrets.token_hex(4)}"
        try:
            path.rename(hidden)
        except PermissionError:
            # a directory that its job took the right to write from
            path.chmod(0o700)
            path.rename(hidden)

    def _remove(self, path: Path) -> bool:
        """Remove something in the trash; False if it, or something that was in it, is still there."""
        try:
            if path.is_symlink() or not path.is_dir():
                path.unlink()
                return True
            if not os.access(path, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
                path.chmod(0o700)
            for _ in range(_PASSES):
                self._empty(path)
                with suppress(OSError):
                    path.rmdir()
                    return True
        except OSError:
            return False
        return False

    def _empty(self, folder: Path) -> None:
        with os.scandir(folder) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        self._hide(Path(entry.path))
                    else:
                        Path(entry.path).unlink()

    def _prune(self, minute: Path) -> None:
        try:
            time = datetime.strptime(minute.relative_to(self._jobs).as_posix(), "%Y/%m/%d/%H/%M").replace(tzinfo=UTC)
        except ValueError:
            return
        age = datetime.now(UTC) - time
        with suppress(OSError):
            if age > _SETTLED:
                minute.rmdir()
                minute.parent.rmdir()
            if age > timedelta(days=1) + _SETTLED:
                minute.parent.parent.rmdir()


def _names(folder: Path) -> list[str]:
    """Return some of the names in a folder."""
    with os.scandir(folder) as entries:
        return [entry.name for _, entry in zip(range(_AT_ONCE), entries, strict=False)]
