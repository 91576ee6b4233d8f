"""kill -9 at each step of a publication, in a process of its own."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.datasets.directory import DirectoryStore
from pipeline.datasets.errors import Fenced
from pipeline.datasets.tree import JobTree
from tests.unit.datasets_support import make_product, marker, staged, visible

#: Step and which time it is reached, in order: A is put in a free place, B takes the place of another job's.
STEPS = [
    ("begun", 1),
    ("staged", 1),
    ("staged", 2),
    ("journal", 1),
    ("show", 1),
    ("shown", 1),
    ("show", 2),
    ("replace", 1),
    ("replaced", 1),
    ("all shown", 1),
    ("committed", 1),
]

VICTIM = """
import os, signal, sys
from pathlib import Path
from pipeline.datasets.directory import DirectoryStore
from pipeline.datasets.tree import JobTree
from tests.unit.datasets_support import marker

root, job, step, count = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
left = [count]

def die(name):
    left[0] -= name == step
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)

with DirectoryStore(root, on_step=die).begin(marker(attempt=1), force=True) as publication:
    for name in ("A", "B"):
        publication.stage(JobTree(job), (name,), name, {})
    publication.commit()
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def job(tmp_path: Path) -> Path:
    directory = tmp_path / "job"
    directory.mkdir()
    return directory


def publish(root: Path, job: Path, content: str, *names: str, **who: object) -> None:
    shutil.rmtree(job)
    with DirectoryStore(root).begin(marker(**who), force=True) as publication:  # type: ignore[arg-type]
        for name in names:
            make_product(job, name, content)
            publication.stage(JobTree(job), (name,), name, {})
        publication.commit()


def kill_at(root: Path, job: Path, step: str, count: int) -> bool:
    """Publish A and B as attempt 1 over another job's B, killed at a step; return whether the commit had ended."""
    publish(root, job, "theirs", "B", job_id="job-b")
    shutil.rmtree(job)
    for name in ("A", "B"):
        make_product(job, name, "one")
    command = [sys.executable, "-c", VICTIM, str(root), str(job), step, str(count)]
    victim = subprocess.run(command, check=False, timeout=60, cwd=Path(__file__).parents[2], capture_output=True)
    assert victim.returncode == -signal.SIGKILL, victim.stderr.decode()
    return step == "committed"


@pytest.mark.parametrize(("step", "count"), STEPS)
def test_after_a_kill_a_sweep_leaves_all_or_none(root: Path, job: Path, step: str, count: int) -> None:
    ended = kill_at(root, job, step, count)
    assert set(visible(root).items()) <= {("A", "one"), ("B", "one"), ("B", "theirs")}
    assert DirectoryStore(root).sweep(older_than=0) == ["job-a/1"]
    assert visible(root) == ({"A": "one", "B": "one"} if ended else {"B": "theirs"})
    assert staged(root) == []


@pytest.mark.parametrize(("step", "count"), STEPS)
def test_after_a_kill_the_next_attempt_withdraws_what_it_does_not_publish_itself(
    root: Path, job: Path, step: str, count: int
) -> None:
    ended = kill_at(root, job, step, count)
    publish(root, job, "two", "C", attempt=2)
    expected = {"A": "one", "B": "one"} if ended else {"B": "theirs"}
    assert visible(root) == {**expected, "C": "two"}
    assert staged(root) == []


@pytest.mark.parametrize(("step", "count"), STEPS)
def test_after_a_kill_the_next_attempt_replaces_what_was_shown(root: Path, job: Path, step: str, count: int) -> None:
    kill_at(root, job, step, count)
    publish(root, job, "two", "A", "B", attempt=2)
    assert visible(root) == {"A": "two", "B": "two"}
    assert staged(root) == []


@pytest.mark.parametrize(("step", "count"), STEPS)
def test_after_a_kill_the_same_attempt_can_publish_again(root: Path, job: Path, step: str, count: int) -> None:
    ended = kill_at(root, job, step, count)
    publish(root, job, "again", "A", "B", attempt=1)
    content = "one" if ended else "again"
    assert visible(root) == {"A": content, "B": content}
    assert staged(root) == []


def test_an_attempt_that_begins_withdraws_what_a_dead_one_showed(root: Path, job: Path) -> None:
    kill_at(root, job, "all shown", 1)
    DirectoryStore(root).begin(marker(attempt=2)).close()
    assert visible(root) == {"B": "theirs"}
    assert staged(root) == []


@pytest.mark.parametrize("clear", ["sweep", "same attempt", "next attempt"])
def test_leftovers_survive_an_attempt_that_dies_while_it_clears_up(root: Path, job: Path, clear: str) -> None:
    kill_at(root, job, "all shown", 1)
    pid = os.fork()
    if pid == 0:
        DirectoryStore(root, on_step=lambda _step: os.kill(os.getpid(), signal.SIGKILL)).begin(marker(attempt=2))
    assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    assert visible(root) == {"A": "one", "B": "one"}
    if clear == "sweep":
        DirectoryStore(root).sweep(older_than=0)
    else:
        DirectoryStore(root).begin(marker(attempt=2 if clear == "same attempt" else 3)).close()
    assert visible(root) == {"B": "theirs"}
    assert staged(root) == []


@pytest.mark.parametrize("moment", ["journal", "show", "shown", "replace", "replaced", "all shown"])
def test_an_attempt_that_slept_through_its_successor_changes_nothing(root: Path, job: Path, moment: str) -> None:
    """At `moment` of attempt 1's commit, attempt 2 begins, publishes C and ends; then attempt 1 goes on."""
    publish(root, job, "theirs", "B", job_id="job-b")
    shutil.rmtree(job)
    for name in ("A", "B", "C"):
        make_product(job, name, "one")
    successor = iter([None])

    def overtake(step: str) -> None:
        if step == moment and next(successor, "done") is None:
            with DirectoryStore(root).begin(marker(attempt=2)) as later:
                later.stage(JobTree(job), ("C",), "C", {})
                later.commit()

    late = DirectoryStore(root, on_step=overtake).begin(marker(attempt=1), force=True)
    late.stage(JobTree(job), ("A",), "A", {})
    late.stage(JobTree(job), ("B",), "B", {})
    with pytest.raises(Fenced):
        late.commit()
    late.close()
    assert visible(root) == {"B": "theirs", "C": "one"}
    assert staged(root) == []
