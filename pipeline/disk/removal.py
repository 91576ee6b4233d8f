"""Removing directories: out of sight at once, then for good; what a crash leaves is in the trash."""

import os
import secrets
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

#: New directories are made in the folder of their minute: older ones than this may be removed when they are empty.
_SETTLED = timedelta(hours=1)


class Trash:
    """The trash of a work root; only one process at a time may use it."""

    def __init__(self, root: Path) -> None:
        self._jobs = root / "jobs"
        self._folder = root / "trash"

    def empty(self) -> None:
        """Remove what a process that died left in it."""
        with suppress(FileNotFoundError):
            for path in self._folder.iterdir():
                _remove(path)

    def take(self, path: Path) -> None:
        """Remove a work directory, and the folders of its time that are empty then. What can't be removed stays."""
        hidden = self._folder / f"{path.name}.{secrets.token_hex(4)}"
        try:
            self._folder.mkdir(exist_ok=True)
            path.rename(hidden)
        except OSError:
            # a directory that is another user's can't be moved, but perhaps emptied
            hidden = path
        _remove(hidden)
        self._prune(path.parent)

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


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, onerror=_again)
    else:
        with suppress(OSError):
            path.unlink()


def _again(function: Callable[..., Any], path: str, _info: object) -> None:
    """Try once more where a job took the right to write from one of its directories."""
    failed = Path(path)
    with suppress(OSError):
        for each in (failed.parent, failed):
            if stat.S_ISDIR(each.lstat().st_mode):
                each.chmod(0o700)
        if function is os.rmdir:
            failed.rmdir()
        elif function is os.unlink:
            failed.unlink()
        else:
            shutil.rmtree(failed, ignore_errors=True)
