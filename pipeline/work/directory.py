"""An attempt's work directory, `<root>/jobs/YYYY/MM/DD/HH/MM/<job_id>-<attempt>` in UTC (spec §3.4).

Each attempt has its own, so that nothing an earlier one left, or still writes, gets into a later one. What is open is
also listed in `<root>/open/<worker>`: after a crash the directories to close are found there, without walking the tree.
"""

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from pipeline.crash_points import here
from pipeline.work import files
from pipeline.work.errors import AttemptError, Category

#: What an exit code that was never written would be (spec §7); no exit code takes more bytes.
_HELD = b"255\n"
_JOB_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:+@=-]{0,199}")


@dataclass(frozen=True, slots=True)
class WorkDirectory:
    """A directory that is open (`.running`) until `close` (`.done`)."""

    path: Path
    #: The entry in the list of open directories.
    entry: Path

    @property
    def is_there(self) -> bool:
        """Whether a directory is at the path, not a link that a job put there."""
        return self.path.is_dir() and not self.path.is_symlink()

    def regain(self) -> None:
        """Let the worker into a directory whose rights a job took away, as far as the worker may do that."""
        with contextlib.suppress(OSError):
            if self.is_there and self.path.stat().st_mode & stat.S_IRWXU != stat.S_IRWXU:
                self.path.chmod(0o755)

    def close(self) -> None:
        """Turn `.running` into `.done` with the time, whatever the job did to either; raises OSError.

        A full disk can't keep it open, and so from being removed: then the entry itself becomes `.done`, which takes
        no room, and is out of a job's reach before.
        """
        self.regain()
        if self.is_there:
            done, running = self.path / files.DONE, self.path / files.RUNNING
            _move_aside(done)
            _move_aside(running)
            try:
                files.write(done, _now().encode())
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                running.unlink(missing_ok=True)
                self.entry.replace(done)
                return
            running.unlink(missing_ok=True)
        self.entry.unlink(missing_ok=True)


class WorkRoot:
    """The root work directory of one worker; several workers may share one root."""

    def __init__(self, root: Path, worker: str) -> None:
        """Make nothing yet."""
        self.root = root.absolute()
        self._open = _list_of(self.root, worker)

    def create(self, job_id: str, attempt: int, when: datetime) -> WorkDirectory:
        """Make the directory of an attempt that starts now.

        Raises AttemptError for a job id that is no plain name, and if the directory exists (a directory is never
        used twice) or can't be made; one that was made but can't be used is closed.
        """
        name = name_of(job_id, attempt)
        path = self.root / "jobs" / when.astimezone(UTC).strftime("%Y/%m/%d/%H/%M") / name
        made = WorkDirectory(path, self._open / name)
        try:
            self._open.mkdir(parents=True, exist_ok=True)
            files.write(made.entry, os.fsencode(path))
            here("worker.directory-listed")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir()
        except OSError as error:
            if not isinstance(error, FileExistsError):
                with contextlib.suppress(OSError):
                    made.close()
            raise _unusable(path, error) from error
        here("worker.directory-made")
        try:
            path.chmod(0o755)
            files.write(path / files.RUNNING, _now().encode())
            files.write(path / files.EXIT_CODE_HOLD, _HELD)
        except OSError as error:
            with contextlib.suppress(OSError):
                made.close()
            raise _unusable(path, error) from error
        return made

    def leftovers(self) -> Iterator[WorkDirectory]:
        """Yield the directories that this worker opened and did not close: call it before the first `create`."""
        with contextlib.suppress(FileNotFoundError):
            for entry in sorted(self._open.iterdir()):
                if not entry.name.startswith("."):
                    yield _listed(entry)

    def relative(self, path: Path) -> str:
        """Return a work directory's path below the root, as URLs show it."""
        return quote(path.relative_to(self.root).as_posix())


def _move_aside(path: Path) -> None:
    """Give a directory that stands where a file belongs another name."""
    if path.is_dir() and not path.is_symlink():
        path.rename(path.with_name(f"{path.name}.{secrets.token_hex(4)}"))


def name_of(job_id: str, attempt: int) -> str:
    """Return the name of an attempt's directory; raises AttemptError for a job id that is no plain name."""
    if not _JOB_ID.fullmatch(job_id):
        raise AttemptError(f"job id {job_id!r} can't be part of a path", Category.INVALID)
    return f"{job_id}-{attempt}"


def opened_by(root: Path, worker: str, name: str) -> WorkDirectory | None:
    """Return the directory that a worker has open, or left so, by its name; None if it has none."""
    entry = _list_of(root, worker) / name
    return _listed(entry) if entry.is_file() else None


def _unusable(path: Path, error: OSError) -> AttemptError:
    return AttemptError(f"no work directory {path}: {error.strerror}", Category.WORK_DIR)


def _list_of(root: Path, worker: str) -> Path:
    return root / "open" / quote(worker, safe="")


def _listed(entry: Path) -> WorkDirectory:
    return WorkDirectory(Path(os.fsdecode(files.read(entry, 4096) or b"/nonexistent")), entry)


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
