"""A small disk: as large as it is said to be, and as full as a work root is."""

from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.disk.keeper import Keeper, Wish, written
from pipeline.disk.seats import Seat
from pipeline.inputs.patience import Patience
from pipeline.work import files
from pipeline.work.directory import WorkDirectory, WorkRoot

MIB = 1 << 20
WORKER = "w1"


class Usage(NamedTuple):
    total: int
    free: int


def keeper(root: Path, capacity_mib: int = 100, also: Path | None = None, **more: Any) -> Keeper:
    """A keeper of a disk of this size that holds the root, and another folder."""

    def measure(path: Path) -> Usage:
        taken = written(path) + (written(also) if also else 0)
        return Usage(capacity_mib * MIB, max(0, capacity_mib * MIB - taken))

    return Keeper(root, 10, measure=measure, **more)


def admit(of: Keeper, name: str, need_mib: int = 0, worker: str = WORKER, seconds: float = 20) -> Seat:
    return of.admit(Wish(name, worker, need_mib * MIB), Patience(seconds))


def opened(root: Path, job: str, when: datetime, size_mib: int = 0, worker: str = WORKER) -> WorkDirectory:
    """The open directory of a job's first attempt, with some data."""
    made = WorkRoot(root, worker).create(job, 1, when)
    (made.path / "data").write_bytes(b"x" * (size_mib * MIB))
    return made


def ended(root: Path, job: str, when: datetime, size_mib: int, code: int | None = 0) -> Path:
    """The closed directory of an attempt that ended with an exit code, or was closed after a crash."""
    made = opened(root, job, when, size_mib)
    if code is not None:
        files.write(made.path / files.EXIT_CODE, f"{code}\n".encode())
    made.close()
    return made.path
