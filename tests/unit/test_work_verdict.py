"""What the end of a command means: what is said of a failure."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.containers.outcome import Outcome
from pipeline.containers.spec import Labels, RunSpec
from pipeline.work.errors import Category
from pipeline.work.verdict import failure

NOW = datetime(2026, 1, 2, tzinfo=UTC)
NO_ROOM = "output was cut: No space left on device"


@pytest.fixture
def spec(tmp_path: Path) -> RunSpec:
    labels = Labels(job="fam-1", attempt=1, holder="w:1:a", worker="w")
    return RunSpec(
        argv=("false",),
        working_dir=tmp_path,
        stdout=tmp_path / "out",
        stderr=tmp_path / "err",
        labels=labels,
    )


def ended(exit_code: int, *notes: str) -> Outcome:
    return Outcome(exit_code=exit_code, started=NOW, ended=NOW, duration_s=0.0, notes=notes)


def test_a_command_that_failed_is_quoted_with_its_last_words(spec: RunSpec) -> None:
    spec.stderr.write_text("no such tile\n")
    said = failure(ended(7), spec)
    assert said is not None
    assert (said.error, said.category) == ("the command failed with exit code 7", Category.COMMAND)
    assert said.traceback == "the command failed with exit code 7\nno such tile"


def test_where_its_last_words_had_no_room_the_failure_says_so_in_their_place(spec: RunSpec) -> None:
    said = failure(ended(28, NO_ROOM), spec)
    assert said is not None
    assert said.traceback == f"the command failed with exit code 28\n{NO_ROOM}"


def test_of_what_succeeded_there_is_no_failure_whatever_was_noticed(spec: RunSpec) -> None:
    assert failure(ended(0, NO_ROOM), spec) is None
