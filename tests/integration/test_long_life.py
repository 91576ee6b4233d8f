"""Orchestrators that take over large tables, stand by for each other, and are replaced one by one, on a real broker."""

import json
import signal
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest

from ops.bench.filling import fill
from ops.bench.lives import Life
from pipeline.messages.inbox import Heartbeat, Held
from tests.integration.ledger_bench import HOLDER, Bench, Orchestrator
from tests.waiting import until

WHOLE = ["job-queued", "job-started", "job-completed"]
FILLED = 300


@pytest.fixture
def installation(kafka: str, tmp_path: Path) -> Iterator["Installation"]:
    made = Installation(kafka, tmp_path)
    yield made
    made.close()


class Installation:
    """A broker's topics and two orchestrators; a lease is short, and ticks and heartbeats come often."""

    def __init__(self, kafka: str, folder: Path) -> None:
        prefix = f"l{folder.name[-12:].replace('_', '-')}."
        self.bench = Bench(kafka, folder, prefix, lease_ms=4000, tick_ms=300, session_ms=10_000)
        self.bench.forwards_ticks = True
        self.one, self.two = (self.bench.orchestrator(name) for name in ("a", "b"))

    def close(self) -> None:
        for orchestrator in (self.one, self.two):
            if orchestrator.process is not None and orchestrator.process.poll() is None:
                orchestrator.process.kill()
                orchestrator.process.wait(10)
        self.bench.close()

    def both_stand_by(self) -> None:
        self.one.start()
        self.two.start()
        until(lambda: self.one.count("stands by") and self.two.count("stands by"), 60, what="both stand by")


def last(orchestrator: Orchestrator, event: str) -> dict:
    """Return the last line that the process logged of an event."""
    lines = [json.loads(line) for line in orchestrator.log.read_text().splitlines() if f'"{event}"' in line]
    return lines[-1]


def test_a_filled_table_is_what_an_orchestrator_would_have_written(installation: Installation) -> None:
    # the first lives of each partition are folded by the orchestrator's own code, and must leave the same rows
    filled = fill(installation.bench.settings, FILLED)
    assert (filled.families, filled.messages) == (FILLED, 4 * FILLED + installation.bench.topology.inbox_partitions)
    bench = installation.bench
    installation.one.start()
    assert last(installation.one, "read the changelogs")["records"] == filled.rows
    duplicate = Life.of(FILLED - 1, 0, 0, 0)
    again = bench.submit_payload(duplicate.payload, "again")
    bench.until(lambda: bench.statuses(again) == ["job-deduped"])
    assert json.loads(bench.facts[again][1].document)["dedup_job"] == duplicate.job_id


def test_who_stood_by_for_a_killed_owner_reads_next_to_nothing_and_knows_all(installation: Installation) -> None:
    bench = installation.bench
    installation.both_stand_by()
    jobs = [bench.submit(f"kept-{number}") for number in range(40)]
    bench.until_all(jobs, WHOLE)
    rows = 3 * len(jobs)
    until(lambda: installation.two.end(signal.SIGKILL) != 0, 30)
    owned = installation.one.count("owns partitions")
    bench.until(lambda: installation.one.count("owns partitions") > owned, 60, "the other owns all")
    assert last(installation.one, "owns partitions")["partitions"] == [0, 1, 2, 3]
    assert last(installation.one, "read the changelogs")["records"] < rows / 2
    again = [bench.submit(f"kept-{number}", f"again-{number}") for number in range(40)]
    bench.until_all(again, ["job-deduped"])
    assert bench.repeats == []


def test_orchestrators_are_replaced_one_by_one_and_no_lease_ends(installation: Installation) -> None:
    bench = installation.bench
    bench.completes = False
    installation.both_stand_by()
    jobs = [bench.submit(f"runs-{number}") for number in range(8)]
    bench.until_all(jobs, WHOLE[:2])
    held = {bench.topology.job_partition(job): [] for job in jobs}  # type: ignore[var-annotated]
    for job in jobs:
        held[bench.topology.job_partition(job)].append(Held(job, 1))
    beat = cycle(held.items())

    def beats() -> None:
        for _ in held:
            partition, attempts = next(beat)
            bench.heartbeat(partition, Heartbeat(HOLDER, tuple(attempts)))
        bench.turn(0.2)

    for orchestrator in (installation.one, installation.two):
        assert orchestrator.end() == 0
        owned = orchestrator.count("owns partitions")
        orchestrator.start(wait=False)

        def owns(one: Orchestrator = orchestrator, before: int = owned) -> bool:
            beats()
            return one.count("owns partitions") > before

        until(owns, 60, 0.0, "the new one owns partitions")
        ticks = len(bench.ticks)

        def time_passes(before: int = ticks) -> bool:
            beats()
            return len(bench.ticks) >= before + 60

        # longer than a lease
        until(time_passes, 60, 0.0, "ticks come")
    assert {tuple(bench.statuses(job)) for job in jobs} == {tuple(WHOLE[:2])}
    for job in jobs:
        bench.report("completed", job, 1)
    bench.until_all(jobs, WHOLE)
