"""Several processes on one work root, some of which are killed."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pipeline.work.directory import WorkRoot
from tests.unit.disk_support import admit, keeper

PROJECT = Path(__file__).resolve().parent.parent.parent
OLD = "datetime(2026, 1, 2, 3, 4, tzinfo=UTC)"
#: Takes a seat, opens a directory with some data, says so, and waits to be killed.
RUNS = f"""
import sys; from datetime import UTC, datetime; from pathlib import Path
from pipeline.disk.errors import DiskShortError
from tests.unit.disk_support import admit, keeper, opened
root, job, need, size = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
try:
    seat = admit(keeper(root), job + "-1", need, "other")
except DiskShortError:
    print("short", flush=True)
else:
    opened(root, job, {OLD}, size, "other")
    print("runs", flush=True)
sys.stdin.read()
"""


@contextmanager
def processes(
    root: Path, jobs: list[str], need: int, size: int
) -> Iterator[tuple[list[subprocess.Popen[str]], list[str]]]:
    """Start one process a job, and yield what each said; all are killed in the end."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", RUNS, str(root), job, str(need), str(size)],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for job in jobs
    ]
    try:
        yield started, [process.stdout.readline().strip() for process in started if process.stdout]
    finally:
        for process in started:
            process.kill()
            process.communicate()


def test_of_processes_that_race_for_the_same_room_as_many_get_it_as_it_is_enough_for(tmp_path: Path) -> None:
    with processes(tmp_path, [f"f{number}-1" for number in range(5)], need=40, size=0) as (_, said):
        assert sorted(said) == ["runs", "runs", "short", "short", "short"]


def test_what_a_killed_process_reserved_and_left_is_free_for_the_next(tmp_path: Path) -> None:
    with processes(tmp_path, ["fa-1"], need=80, size=50) as (_, said):
        assert said == ["runs"]
    path = tmp_path / "jobs/2026/01/02/03/04/fa-1-1"
    assert (path / ".running").exists()
    admit(keeper(tmp_path), "small", 20)
    assert path.exists()
    admit(keeper(tmp_path), "large", 60)
    assert not path.exists()
    assert list(WorkRoot(tmp_path, "other").leftovers()) == []
    assert sorted(one.name for one in (tmp_path / "room").iterdir()) == ["large", "small"]


def test_a_starting_worker_closes_what_others_left_when_they_died(tmp_path: Path) -> None:
    with processes(tmp_path, ["fa-1"], need=0, size=1):
        keeper(tmp_path).sweep()
        path = tmp_path / "jobs/2026/01/02/03/04/fa-1-1"
        assert not (path / ".done").exists()
    keeper(tmp_path).sweep()
    assert (path / ".done").exists()
    assert datetime.fromisoformat((path / ".done").read_text()).tzinfo == UTC
    assert list((tmp_path / "room").iterdir()) == []
