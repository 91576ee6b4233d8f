"""The directories of tasks, `<root>/tasks/<worker>/<task_id>-<attempt>-<random>`: each has its own, which goes with it.

What is kept of a failed task is in `kept` beside them, for a bounded time.
"""

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path

from pipeline.messages.task import Task

_KEPT = "kept"
_RUNS = "runs"


class TaskFolders:
    """The directories of one worker, which alone uses them; `keep` is how long kept ones stay (s)."""

    def __init__(self, root: Path, worker: str, keep: float) -> None:
        """Make nothing yet."""
        self._own = root.absolute() / "tasks" / worker
        self._keep = keep

    @property
    def records(self) -> Path:
        """Where the processes of running tasks are written down."""
        return self._own / _RUNS

    def create(self, task: Task) -> Path:
        """Make a directory that only this user can read; raises OSError."""
        self._own.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f"{task.task_id}-{task.attempt}-", dir=self._own))

    def remove(self, folder: Path) -> None:
        """Remove one; what can't be removed is left to `clear`."""
        shutil.rmtree(folder, ignore_errors=True)

    def keep(self, folder: Path) -> Path:
        """Put one aside and return where it is; raises OSError."""
        kept = self._own / _KEPT
        kept.mkdir(exist_ok=True)
        moved = kept / folder.name
        # its age counts from now
        os.utime(folder)
        return folder.rename(moved)

    def clear(self) -> None:
        """Remove what tasks left that this worker ran before it was killed: call it before the first `create`."""
        for folder in self._listed(self._own):
            if folder.name not in {_KEPT, _RUNS}:
                self.remove(folder)

    def sweep(self) -> None:
        """Remove what was kept for long enough."""
        for folder in self._listed(self._own / _KEPT):
            with contextlib.suppress(FileNotFoundError):
                if folder.stat().st_mtime < time.time() - self._keep:
                    self.remove(folder)

    @staticmethod
    def _listed(folder: Path) -> list[Path]:
        with contextlib.suppress(FileNotFoundError):
            return list(folder.iterdir())
        return []
