"""A submission that is sent again under its id: while its job is remembered, and after it was forgotten."""

import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from ops.cli import exits
from ops.cli.main import app
from ops.submitting import Submission, Submitter
from pipeline.identity import asked_of
from pipeline.index.documents import plan
from tests.integration.ledger_bench import QUEUE, RUN, Bench, Orchestrator

WHOLE = ["job-queued", "job-started", "job-completed"]
ASKED = Submission(QUEUE, {"name": "again"}, "same-id")


@pytest.fixture
def bench(kafka: str, tmp_path: Path) -> Iterator[Bench]:
    prefix = f"again{time.time_ns() % 10**9}."
    made = Bench(kafka, tmp_path / "bench", prefix, {"inbox_partitions": 1}, tick_ms=200, window_ms=8000,
                 document_ms=2000, session_ms=6000)  # fmt: skip
    yield made
    made.close()


@pytest.fixture
def orchestrator(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Orchestrator]:
    """One with a gate in it."""
    monkeypatch.setattr("tests.integration.ledger_bench.RUN", RUN.replace("gate=False", "gate=True"))
    started = bench.orchestrator().start()
    yield started
    started.end()


def _submit(bench: Bench) -> None:
    with Submitter(bench.settings) as submitter:
        submitter.send(ASKED).result(30)


def _reached(bench: Bench, status: str, count: int) -> list[str]:
    """Play on until so many jobs have this status; return the jobs."""
    bench.until(lambda: len([job for job in list(bench.facts) if status in bench.statuses(job)]) >= count, what=status)
    return [job for job in bench.facts if status in bench.statuses(job)]


def _indexed(bench: Bench) -> dict[str, dict]:
    """The documents of jobs that the index has once every fact was written, the last ones first."""
    written: dict[tuple[str, str], tuple[int, dict]] = {}
    for facts in reversed(list(bench.facts.values())):
        for fact in reversed(list(facts.values())):
            for action in plan(fact).actions:
                place = (action.index, action.id)
                if action.version is not None and action.version >= written.get(place, (0, {}))[0]:
                    written[place] = (action.version, orjson.loads(action.body))
    return {job: document for (_, job), (_, document) in written.items()}


def test_a_submission_runs_once_while_its_job_is_remembered_and_as_another_job_after_it_was_forgotten(
    bench: Bench, orchestrator: Orchestrator
) -> None:
    _submit(bench)
    _submit(bench)
    (first,) = _reached(bench, "job-completed", 1)
    _submit(bench)
    # another payload behind it in the same partition tells that it was taken, and did nothing
    with Submitter(bench.settings) as submitter:
        submitter.send(Submission(QUEUE, {"name": "behind"}, "same-id")).result(30)
    behind = next(job for job in _reached(bench, "job-completed", 2) if job != first)
    assert set(bench.facts) == {first, behind}

    def again() -> bool:
        _submit(bench)
        bench.turn(0.5)
        return len(bench.facts) > 2

    bench.until(again, what="the first job is forgotten")
    _reached(bench, "job-completed", 3)
    second = next(job for job in bench.facts if job not in (first, behind))
    assert (second != first, asked_of(second)) == (True, asked_of(first))
    assert bench.statuses(first) == bench.statuses(second) == WHOLE
    indexed = _indexed(bench)
    assert {job: indexed[job]["status"] for job in (first, second)} == dict.fromkeys((first, second), "job-completed")
    for words in (("audit",), ("replay", "verify"), ("ledger", "verify")):
        result = CliRunner().invoke(app, list(words), env=bench.environment)
        assert result.exit_code == exits.OK, result.output
